# Copyright 2026 The GDD-1S authors.
# SPDX-License-Identifier: Apache-2.0

"""Numbers from the same features as independent programs: torch-fidelity and prdc, which the tests install.

Tolerances: the other programs take means and kernels in float32; ours in float64. Where images are measured
as well, the features themselves differ by up to 1e-4 relative, and so do the numbers.
"""

import json

import numpy as np
import PIL.Image
import prdc
import pytest
import torch
from torch_fidelity import calculate_metrics
from torch_fidelity.metric_fid import fid_features_to_statistics, fid_statistics_to_metric
from torch_fidelity.metric_isc import isc_features_to_metric
from torch_fidelity.metric_kid import kid_features_to_metric
from torch_fidelity.metric_prc import prc_features_to_metric

import fid
from evaluations.detectors.inception import random_state
from evaluations.metrics.frechet import frechet_distance
from evaluations.metrics.inception_score import inception_score
from evaluations.metrics.kid import kernel_distance
from evaluations.metrics.manifold import density_coverage, precision_recall
from evaluations.metrics.moments import FeatureStats
from tests.support.inception_files import torch_state


def make_features(seed, count, shift=0.0, spread=1.0, dim=64):
    """Features like a network's: not negative, skewed, with a falling spectrum, float32."""
    mix = np.random.RandomState(0).randn(dim, dim) * np.exp(-np.arange(dim) / 16)[:, np.newaxis]
    return torch.from_numpy(
        np.maximum(spread * np.random.RandomState(seed).randn(count, dim) @ mix + shift, 0)
    ).float()


@pytest.fixture(scope='module')
def sets():
    return dict(samples=make_features(1, 700, shift=0.3, spread=0.8), reference=make_features(2, 500))


def moments(features):
    stats = FeatureStats(features.shape[1])
    stats.append(features)
    return stats.mean(), stats.cov()


def test_frechet_distance(sets):
    theirs = fid_statistics_to_metric(*map(fid_features_to_statistics, sets.values()), verbose=False)
    ours = frechet_distance(*moments(sets['samples']), *moments(sets['reference']))
    assert ours == pytest.approx(theirs['frechet_inception_distance'], rel=1e-6)
    assert ours > 1


def test_frechet_distance_of_few_samples(sets):
    # Fewer than dimensions: their general eigenvalues are off by 1e-8 of the trace or so.
    few = sets['samples'][:40]
    theirs = fid_statistics_to_metric(
        fid_features_to_statistics(few), fid_features_to_statistics(sets['reference']), verbose=False
    )
    assert frechet_distance(*moments(few), *moments(sets['reference'])) == pytest.approx(
        theirs['frechet_inception_distance'], rel=1e-5
    )


def test_kernel_distance(sets):
    theirs = kid_features_to_metric(
        sets['samples'], sets['reference'], kid_subsets=20, kid_subset_size=200, rng_seed=2020, verbose=False
    )
    ours = kernel_distance(**sets, num_subsets=20, subset_size=200, seed=2020)
    assert ours.mean == pytest.approx(theirs['kernel_inception_distance_mean'], rel=1e-4)
    assert ours.std == pytest.approx(theirs['kernel_inception_distance_std'], rel=1e-4)


@pytest.mark.parametrize('count', [700, 500])
def test_inception_score(count):
    logits = make_features(3, count) - make_features(4, count)
    theirs = isc_features_to_metric(logits, splits=10, shuffle=True, rng_seed=2020)
    shuffled = logits[np.random.RandomState(2020).permutation(count)]
    ours = inception_score(shuffled, split_size=count // 10)
    assert ours.mean == pytest.approx(theirs['inception_score_mean'], rel=1e-9)
    assert np.std(ours.groups) == pytest.approx(theirs['inception_score_std'], rel=1e-9)
    in_file_order = isc_features_to_metric(logits, splits=1, shuffle=False)
    assert inception_score(logits).mean == pytest.approx(in_file_order['inception_score_mean'], rel=1e-9)


@pytest.mark.parametrize('k', [1, 3, 5])
def test_precision_and_recall(sets, k):
    # Their first set are the samples (since 0.4; before, the two results were swapped). One image per
    # set may fall on the other side of a radius by rounding.
    theirs = prc_features_to_metric(sets['samples'], sets['reference'], prc_neighborhood=k, verbose=False)
    ours = precision_recall(**sets, k=k)
    assert ours.precision == pytest.approx(theirs['precision'], abs=1.5 / 700)
    assert ours.recall == pytest.approx(theirs['recall'], abs=1.5 / 500)
    assert 0.1 < ours.recall < ours.precision - 0.1  # so that swapped results cannot pass


@pytest.mark.parametrize('k', [3, 5])
def test_density_and_coverage(sets, k):
    theirs = prdc.compute_prdc(
        real_features=sets['reference'].numpy(), fake_features=sets['samples'].numpy(), nearest_k=k
    )
    ours, pr = density_coverage(**sets, k=k), precision_recall(**sets, k=k)
    assert ours.density == pytest.approx(theirs['density'], rel=1e-3)
    assert ours.coverage == pytest.approx(theirs['coverage'], abs=1.5 / 500)
    assert pr.precision == pytest.approx(theirs['precision'], abs=1.5 / 700)
    assert pr.recall == pytest.approx(theirs['recall'], abs=1.5 / 500)


def write_images(folder, seed, contrasts):
    """Write smooth random PNG images, 32x32 pixels, one for each contrast."""
    folder.mkdir()
    rs = np.random.RandomState(seed)
    for i, contrast in enumerate(contrasts):
        pixels = (
            (128 + rs.uniform(-contrast, contrast, [4, 8, 3]))
            .astype(np.uint8)
            .repeat(8, axis=0)
            .repeat(4, axis=1)
        )
        PIL.Image.fromarray(pixels).save(folder / f'{i:02d}.png')
    return str(folder)


THEIR_NAMES = {
    'is': 'inception_score_mean',
    'kid': 'kernel_inception_distance_mean',
    'frechet': 'frechet_inception_distance',
    'precision': 'precision',
    'recall': 'recall',
}


def run_torch_fidelity(samples, real, weights):
    found = calculate_metrics(
        input1=samples,
        input2=real,
        isc=True,
        fid=True,
        kid=True,
        prc=True,
        isc_splits=1,
        samples_shuffle=False,
        kid_subset_size=12,
        rng_seed=0,
        feature_extractor='inception-v3-compat',
        feature_extractor_weights_path=weights,
        batch_size=4,
        cuda=False,
        cache=False,
        save_cpu_ram=True,
        verbose=False,
    )
    return {name: found[key] for name, key in THEIR_NAMES.items()}


def run_fid(samples, real, weights, folder):
    ref, ours = folder / 'ref.npz', folder / 'ours.json'
    shared = (f'--detector-path={weights}', '--workers=0')
    made = ['ref', f'--data={real}', f'--dest={ref}', '--features=12', *shared]
    measured = ['calc', f'--images={samples}', f'--ref={ref}', '--num=14', '--metrics=is,kid,pr,fid', *shared]
    for command in (made, [*measured, f'--json={ours}']):
        fid.main(command, standalone_mode=False)
    results = json.loads(ours.read_text())['results']
    return {result['metric'].split('-')[0]: result['value'] for result in results}


def test_programs_agree_from_files_to_numbers(tmp_path):
    """The same PNG files and the same (random) Inception weights: all of torch-fidelity, and fid.py."""
    weights = str(tmp_path / 'random.pth')
    torch.save(torch_state(random_state(seed=3)), weights)
    # The samples are less diverse than the reference.
    samples = write_images(tmp_path / 'samples', 1, np.linspace(100, 115, 14))
    real = write_images(tmp_path / 'real', 2, np.linspace(60, 127, 12))
    found = run_fid(samples, real, weights, tmp_path)
    assert found == pytest.approx(run_torch_fidelity(samples, real, weights), rel=1e-4)
    # Numbers that could tell a mistake.
    assert found['is'] > 1.0001 and found['kid'] > 1e-4 and found['frechet'] > 0.1
    assert 0 < found['recall'] < found['precision'] - 0.1
