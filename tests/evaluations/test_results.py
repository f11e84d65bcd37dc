# Copyright 2026 The GDD-1S authors.
# SPDX-License-Identifier: Apache-2.0

"""Numbers of one pass, against doing it all at once; how they are printed."""

import types

import numpy as np
import pytest
import torch

from evaluations import results
from evaluations.comparison import Comparison, add_reference_features
from evaluations.inputs.image_sources import open_images
from evaluations.measure import measure_images
from evaluations.metrics.frechet import frechet_distance
from evaluations.metrics.inception_score import inception_score
from evaluations.metrics.kid import kernel_distance
from evaluations.metrics.manifold import density_coverage, precision_recall
from tests.support.toy_images import FEATURES, LABELS, run_toy, toy, toy_reference, write_sources


@pytest.fixture(scope='module')
def paths(tmp_path_factory):
    return write_sources(tmp_path_factory.mktemp('images'))


def test_all_numbers_of_one_pass(paths):
    detector = toy()
    comparison = Comparison(toy_reference(), detector, ['fid', 'sfid', 'is', 'kid', 'pr', 'dc'])
    assert comparison.reasons == {}
    meters = results.make_meters([comparison])
    add_reference_features([comparison])
    measure_images(open_images(paths[0], num_classes=3)[0], list(meters.values()), batch=20)
    found = {entry['metric']: entry for entry in results.compute_results(comparison, meters[detector])}
    names = ['class-accuracy', 'sfid', 'is', 'kid', 'precision', 'recall', 'density', 'coverage', 'frechet']
    assert list(found) == [f'{name}-toy-50' for name in names]  # the Frechet distance comes last

    def distance(mine, mu, sigma):
        return frechet_distance(mine.mean(axis=0), np.cov(mine.T), mu, sigma)

    mine, ref = FEATURES.double().numpy(), comparison.reference
    pr = precision_recall(samples=FEATURES, reference=torch.from_numpy(ref.features), k=3)
    dc = density_coverage(samples=FEATURES, reference=torch.from_numpy(ref.features), k=5)
    expected = [
        (FEATURES[:, :3].argmax(dim=1).numpy() == LABELS).mean(),
        distance(mine[:, :2] * 2, ref.mu_s, ref.sigma_s),
        inception_score(FEATURES[:, :3]).mean,
        kernel_distance(samples=FEATURES, reference=ref.features).mean,
        *pr,
        *dc,
        distance(mine, ref.mu, ref.sigma),
    ]
    assert [entry['value'] for entry in found.values()] == pytest.approx(expected, rel=1e-4)
    assert (
        found['frechet-toy-50']['mean_term'] + found['frechet-toy-50']['cov_term']
        == found['frechet-toy-50']['value']
    )
    # A mode collapse: precise, but without recall; swapped arguments would show the opposite.
    assert (
        found['recall-toy-50']['k'],
        found['recall-toy-50']['num_reference'],
        found['density-toy-50']['k'],
    ) == (3, 30, 5)


def test_precision_and_recall_are_not_swapped(tmp_path):
    pack = tmp_path / 'collapsed.npz'
    rng = np.random.RandomState(2)
    spread = rng.randint(0, 256, [40, 4, 4, 3]).astype(np.uint8)
    np.savez(
        pack,
        arr_0=np.clip(spread[:1].astype(int) + rng.randint(-2, 3, [40, 4, 4, 3]), 0, 255).astype(np.uint8),
    )
    detector = toy()
    features = run_toy(torch.from_numpy(spread.transpose(0, 3, 1, 2)), False).features.numpy()
    comparison = Comparison(toy_reference(features=features), detector, ['pr'])
    meters = results.make_meters([comparison])
    add_reference_features([comparison])
    measure_images(open_images(str(pack))[0], list(meters.values()))
    precision, recall = (entry['value'] for entry in results.compute_results(comparison, meters[detector]))
    assert precision > 0.9 and recall < 0.2


def test_summary_of_blocks(capsys):
    blocks = [[dict(metric='fid50k', value=value, ref='r.npz')] for value in (2.0, 1.5, 2.5)]
    [line] = results.summarise(blocks)
    assert (line['min'], line['mean'], line['max'], line['values']) == (1.5, 2.0, 2.5, [2.0, 1.5, 2.5])
    assert line['std'] == pytest.approx(0.5)  # divided by n - 1; by n it would be 0.41
    results.print_summary([line])
    assert capsys.readouterr().out == 'fid50k over 3 blocks of seeds: min 1.5, mean 2, max 2.5, std 0.5\n'


def test_printed_numbers(capsys):
    results.print_results(
        [
            dict(metric='kid50k', value=1 / 3, std=0.5, num_subsets=100, num_reference=7),
            dict(metric='is50k', value=9, std=1, groups=10, split_size=5000),
            dict(metric='recall50k', value=0.25, k=3, num_reference=7),
            dict(metric='fid50k', value=-1e-6, mean_term=0, cov_term=-1e-6),
        ]
    )
    lines = capsys.readouterr().out.splitlines()
    assert lines[0] == 'kid50k: 0.333333  (std 0.5 over 100 subsets, 7 reference images)' and lines[
        1
    ].startswith('is50k: 9  (std 1 over 10 groups')
    assert lines[2] == 'recall50k: 0.25  (k 3, 7 reference images)'
    assert 'below 0 by rounding' in lines[4] and lines[5] == 'fid50k: -1e-06'


def test_facts_about_the_software():
    facts = results.describe_software(types.SimpleNamespace(type='cpu'))
    assert facts['torch'] == torch.__version__ and facts['processes'] == 1 and facts['tf32'] is False
