# Copyright 2026 The GDD-1S authors.
# SPDX-License-Identifier: Apache-2.0

"""The evaluator's command line: printed lines, kinds of reference, options, remarks and errors.

A small detector with fixed random weights stands in for Inception.
"""

import json
import os
import re
import subprocess
import sys

import click.testing
import numpy as np
import pytest
import torch

from evaluations import evaluator, npz_pair
from evaluations.detectors.inception import random_state
from evaluations.detectors.registry import Detector, Measured, get_detector
from evaluations.metrics.inception_score import inception_score
from evaluations.metrics.kid import kernel_distance
from evaluations.metrics.manifold import density_coverage, precision_recall

RS = np.random.RandomState
NUMBER = re.compile(r'(Inception Score|FID|sFID|Precision|Recall|KID|Density|Coverage): (\S+)')
WEIGHTS = torch.from_numpy(RS(0).randn(48, 8 + 5 + 10)).float() / 50


def run_small(images, spatial):
    values = (images.expand(-1, 3, -1, -1).float() - 128).flatten(1) @ WEIGHTS  # [N, 23]
    features, maps, logits = values.split([8, 5, 10], dim=1)
    return Measured(features, logits, maps if spatial else None)


def make_images(seed, count=40, spread=127):
    return (128 + RS(seed).uniform(-spread, spread, size=(count, 4, 4, 3))).astype(np.uint8)


def features_of(images, part=0):
    return run_small(torch.from_numpy(images).permute(0, 3, 1, 2), True)[part].numpy().astype(np.float64)


def slow_frechet(x, y):
    """From features, or from (mu, sigma)."""
    (mu1, s1), (mu2, s2) = (
        z if isinstance(z, tuple) else (z.mean(axis=0), np.cov(z, rowvar=False)) for z in (x, y)
    )
    return (
        np.square(mu1 - mu2).sum()
        + np.trace(s1 + s2)
        - 2 * np.sqrt(np.linalg.eigvals(s1 @ s2).astype(complex)).sum().real
    )


@pytest.fixture
def loaded(monkeypatch):
    """Put the small detector in the place of Inception; lists what it was loaded with."""
    calls = []

    def load(backend, device, path):
        calls.append((backend, str(device), path))
        return Detector(
            'inception',
            run_small,
            8,
            'ab' * 32,
            device,
            num_classes=10,
            spatial_dim=5,
            preprocessing='none',
            notes=['a remark about weights'],
        )

    monkeypatch.setattr(evaluator, 'load_detector', load)
    return calls


@pytest.fixture
def files(tmp_path):
    """Paths of a sample pack and of references of each kind."""
    samples, reference, whole = make_images(1), make_images(2, 30), make_images(3, 200)
    moments = {
        f'{name}{suffix}': f(features_of(whole, part))
        for part, suffix in ((0, ''), (2, '_s'))
        for name, f in (('mu', lambda x: x.mean(axis=0)), ('sigma', lambda x: np.cov(x, rowvar=False)))
    }
    edm = {key: moments[key] for key in ('mu', 'sigma')}
    packs = {
        'samples': dict(arr_0=samples),
        'images': dict(arr_0=reference),
        'virtual': dict(arr_0=reference, **moments),
        'edm': edm,
        'moments': moments,
        'no_spatial': dict(arr_0=reference, **edm),
    }
    for name, arrays in packs.items():
        np.savez(tmp_path / f'{name}.npz', **arrays)
    return {name: str(tmp_path / f'{name}.npz') for name in packs} | {'arrays': packs, 'folder': tmp_path}


def run(*args):
    return click.testing.CliRunner().invoke(evaluator.main, [*args, '--device=cpu'])


def numbers(result):
    """Numbers of the printed lines, by name, in order."""
    assert result.exit_code == 0, result.output
    return {match[1]: float(match[2]) for line in result.output.splitlines() if (match := NUMBER.match(line))}


def expected_numbers(files, reference_images, reference_moments=None, spatial_moments=None):
    samples = files['arrays']['samples']['arr_0']
    pr = precision_recall(samples=features_of(samples), reference=features_of(reference_images))
    return {
        'Inception Score': inception_score(features_of(samples, 1)).mean,
        'FID': slow_frechet(features_of(samples), reference_moments or features_of(reference_images)),
        'sFID': slow_frechet(features_of(samples, 2), spatial_moments or features_of(reference_images, 2)),
        'Precision': pr.precision,
        'Recall': pr.recall,
    }


def test_lines_against_images(loaded, files):
    result = run(files['samples'], files['images'])
    lines = result.output.splitlines()
    expected = expected_numbers(files, files['arrays']['images']['arr_0'])
    assert numbers(result) == pytest.approx(expected, rel=1e-4)
    # The lines of OpenAI's program, in its order; floats as Python prints them.
    steps = [
        'computing reference batch activations...',
        'computing/reading reference batch statistics...',
        'computing sample batch activations...',
        'computing/reading sample batch statistics...',
        'Computing evaluations...',
    ]
    assert [line for line in lines if line in steps] == steps
    printed = [line for line in lines[lines.index(steps[-1]) :] if NUMBER.match(line)]
    assert [line.split(':')[0] for line in printed] == list(expected)
    assert (
        all(NUMBER.fullmatch(line)[2] == repr(float(NUMBER.fullmatch(line)[2])) for line in printed)
        and len(printed[0]) > 30
    )
    assert any('a remark about weights' in line for line in lines)


def test_no_reference(loaded, files):
    result = run(files['samples'], 'none')
    expected = expected_numbers(files, files['arrays']['images']['arr_0'])
    assert numbers(result) == {'Inception Score': pytest.approx(expected['Inception Score'], rel=1e-5)}
    assert not re.search('reference batch|Reference:|batch statistics|Distances', result.output)


def test_virtual_reference(loaded, files):
    # Statistics of the whole data set for FID and sFID, the images inside for precision and recall.
    arrays = files['arrays']['virtual']
    expected = expected_numbers(
        files, arrays['arr_0'], (arrays['mu'], arrays['sigma']), (arrays['mu_s'], arrays['sigma_s'])
    )
    found = numbers(run(files['samples'], files['virtual']))
    assert found == pytest.approx(expected, rel=1e-4)
    of_images = expected_numbers(files, arrays['arr_0'])
    assert (
        abs(of_images['FID'] - found['FID']) > 0.01 * found['FID']
    )  # the statistics of 30 images are others


def test_statistics_only(loaded, files):
    edm = run(files['samples'], files['edm'])
    assert list(numbers(edm)) == ['Inception Score', 'FID']
    assert 'no precision and recall' in edm.output and 'no sFID' in edm.output
    both = run(files['samples'], files['moments'])
    assert list(numbers(both)) == ['Inception Score', 'FID', 'sFID']
    assert 'no sFID' not in both.output


def test_reference_without_spatial_statistics(loaded, files):
    result = run(files['samples'], files['no_spatial'])
    arrays = files['arrays']['no_spatial']
    expected = expected_numbers(files, arrays['arr_0'], (arrays['mu'], arrays['sigma']))
    assert numbers(result) == pytest.approx(expected, rel=1e-4)
    assert 'sFID is relative to its 30 images, unlike FID' in result.output


def test_convention_of_the_order(loaded, files):
    # A collapsed SAMPLE has high precision and low recall; swapped arguments give the opposite.
    path = str(files['folder'] / 'collapsed.npz')
    np.savez(path, (128 + RS(5).uniform(-4, 4, size=(40, 4, 4, 3))).astype(np.uint8))
    found, swapped = numbers(run(path, files['images'])), numbers(run(files['images'], path))
    assert found['Precision'] == 1 and found['Recall'] < 0.2
    assert (swapped['Precision'], swapped['Recall']) == (found['Recall'], found['Precision'])


def test_more_metrics(loaded, files):
    sets = dict(
        samples=features_of(files['arrays']['samples']['arr_0']),
        reference=features_of(files['arrays']['images']['arr_0']),
    )
    result = run(files['samples'], files['images'], '--kid', '--density-coverage')
    found, quality = numbers(result), density_coverage(**sets, k=5)
    assert list(found)[5:] == ['KID', 'Density', 'Coverage']
    assert found['KID'] == pytest.approx(kernel_distance(**sets).mean, rel=1e-4)
    assert (found['Density'], found['Coverage']) == pytest.approx((quality.density, quality.coverage))
    assert 'over 100 subsets' in result.output
    assert list(numbers(run(files['samples'], files['images'], '--kid')))[5:] == ['KID']
    assert list(numbers(run(files['samples'], files['images'], '--density-coverage')))[5:] == [
        'Density',
        'Coverage',
    ]


def test_precision_mode(loaded, files, monkeypatch):
    seen = []
    monkeypatch.setattr(
        evaluator,
        'precision_recall',
        lambda **options: seen.append(options['mode']) or precision_recall(**options),
    )
    for mode in ('exact', 'openai-fp16'):
        assert (
            f'{mode} arithmetic' in run(files['samples'], files['images'], f'--precision-mode={mode}').output
        )
    assert seen == ['exact', 'openai-fp16']


def test_batch_does_not_change_numbers(loaded, files, monkeypatch):
    seen = []
    monkeypatch.setattr(
        Detector,
        'measure',
        lambda self, images, spatial=False, measure=Detector.measure: (
            seen.append(len(images)) or measure(self, images, spatial)
        ),
    )
    expected = numbers(run(files['samples'], files['images']))
    assert sum(seen) == 70 and max(seen) > 7
    seen.clear()
    assert numbers(run(files['samples'], files['images'], '--batch=7')) == pytest.approx(expected, rel=1e-5)
    assert sum(seen) == 70 and max(seen) == 7


def test_backend_and_weights_reach_the_loader(loaded, files):
    run(files['samples'], 'none', '--backend=tensorflow', '--detector-path=some.pb')
    run(files['samples'], 'none')
    assert loaded == [('tensorflow', 'cpu', 'some.pb'), ('torch', 'cpu', None)]


def test_json(loaded, files):
    path = files['folder'] / 'out.json'
    result = run(files['samples'], files['virtual'], f'--json={path}')
    content = json.loads(path.read_text())
    assert [entry['value'] for entry in content['results'].values()] == list(numbers(result).values())
    assert [entry['name'] for entry in content['results'].values()] == [
        'is40',
        'fid40',
        'sfid40',
        'precision40',
        'recall40',
    ]
    assert content['results']['precision'] | {'value': 0} == {
        'name': 'precision40',
        'value': 0,
        'k': 3,
        'mode': 'exact',
    }
    assert content['results']['fid']['stored_statistics'] == {'sample': False, 'ref': True}
    assert content['samples']['num_images'] == 40 and content['reference']['shape'] == [4, 4, 3]
    assert content['detector_sha256'] == 'ab' * 32 and content['software']['torch'] == torch.__version__
    assert any('40 samples' in note for note in content['notes'])


def test_grey_images(loaded, files):
    path = str(files['folder'] / 'grey.npz')
    np.savez(path, make_images(1)[..., :1])
    result = run(path, files['images'])
    assert (
        'the samples are 4x4 pixels, 1 channels, but the reference images 4x4 pixels, 3 channels'
        in result.output
    )
    assert len(numbers(result)) == 5


def test_remarks(loaded, files, monkeypatch):
    same = run(files['images'], files['images'])
    assert 'SAMPLE and REF are the same file' in same.output
    assert numbers(same)['FID'] == pytest.approx(0, abs=1e-3) and numbers(same)['Precision'] == 1
    reference_as_sample = run(files['virtual'], files['images'])
    assert 'holds statistics, which OpenAI makes of whole data sets' in reference_as_sample.output
    arrays = files['arrays']['virtual']
    assert numbers(reference_as_sample)['FID'] == pytest.approx(
        slow_frechet((arrays['mu'], arrays['sigma']), features_of(arrays['arr_0'])), rel=1e-4
    )

    monkeypatch.setattr(npz_pair, 'seems_sorted', lambda labels: bool((np.diff(labels) >= 0).all()))
    path = str(files['folder'] / 'labelled.npz')
    for labels, expected in ((np.repeat(np.arange(4), 10), True), (np.tile(np.arange(4), 10), False)):
        np.savez(path, make_images(1), labels)
        assert ('is sorted by class' in run(path, 'none').output) is expected


@pytest.mark.parametrize(
    'sample, ref, options, words',
    [
        (
            'edm',
            'images',
            [],
            'SAMPLE=.*edm.npz holds statistics, but no images .* the order of arguments is SAMPLE REF',
        ),
        ('absent', 'none', [], 'SAMPLE=.*absent.npz cannot be read: No such file'),
        ('samples', 'absent', [], 'REF=.*absent.npz cannot be read: No such file'),
        (
            'samples',
            'other',
            [],
            'REF=.*other.npz holds statistics of 6 features, but inception gives 8 for FID',
        ),
        ('few', 'images', [], 'SAMPLE=.*few.npz holds 3 images; give at least 4'),
        ('samples', 'few', [], 'REF=.*few.npz holds 3 images'),
        ('samples', 'five', ['--density-coverage'], 'REF=.*five.npz holds 5 images; give at least 6'),
        ('samples', 'images', ['--json=out.txt'], '--json=out.txt must name a file ending in .json'),
        ('samples', 'images', ['--json=nowhere/out.json'], 'in a folder that exists'),
        ('samples', 'images', ['--device=abacus'], '--device=abacus cannot be used: .*try --device=cpu'),
        ('samples', 'images', ['--device=meta'], '--device=meta cannot be used'),
        ('samples', 'none', ['--kid'], '--kid needs a REF with images'),
        ('samples', 'edm', ['--density-coverage'], '--density-coverage needs a REF with images'),
        ('samples', 'images', ['--precision-mode=fast'], "'fast' is not one of 'exact', 'openai-fp16'"),
        ('samples', 'images', ['--batch=0'], "Invalid value for '--batch'"),
    ],
)
def test_errors_are_one_line_and_come_before_the_work(
    loaded, files, monkeypatch, sample, ref, options, words
):
    folder = files['folder']
    np.savez(folder / 'few.npz', make_images(1, 3))
    np.savez(folder / 'five.npz', make_images(1, 5))
    np.savez(folder / 'other.npz', mu=np.zeros(6), sigma=np.eye(6))
    monkeypatch.setattr(npz_pair, 'measure_images', lambda *_args: pytest.fail('work began'))
    result = click.testing.CliRunner().invoke(
        evaluator.main,
        [str(folder / f'{sample}.npz'), 'none' if ref == 'none' else str(folder / f'{ref}.npz'), *options],
    )
    assert result.exit_code in (1, 2) and isinstance(result.exception, SystemExit)
    assert re.search(words, result.output)
    assert result.exit_code == 2 or result.output.count('\n') == 1 or 'Detector' in result.output


def test_url_as_reference(loaded, files):
    expected = numbers(run(files['samples'], files['edm']))
    assert numbers(run(files['samples'], f'file://{files["edm"]}')) == expected


def test_loads_weights_for_pytorch(files):
    # The real network with random weights: its own file, and the score of its own logits.
    path, images = str(files['folder'] / 'random.pth'), make_images(1, 2)
    torch.save(random_state(0), path)
    np.savez(files['folder'] / 'two.npz', images)
    content = evaluator.evaluate(str(files['folder'] / 'two.npz'), 'none', detector_path=path, device='cpu')
    logits = get_detector('inception', path=path).logits(torch.from_numpy(images).permute(0, 3, 1, 2))
    assert content['results']['is']['value'] == pytest.approx(inception_score(logits).mean, rel=1e-6)
    assert (
        content['detector'] == f'inception-{content["detector_sha256"][:8]}'
        and content['detector_file'] == 'random.pth'
    )


def test_runs_by_its_path(files):
    # The folder of the script holds a statistics.py that must not stand in for the standard library's.
    result = subprocess.run(
        [
            sys.executable,
            os.path.join('evaluations', 'evaluator.py'),
            files['samples'],
            'none',
            '--device=cpu',
            '--detector-path=absent.pth',
        ],
        capture_output=True,
        text=True,
        timeout=300,
    )
    assert result.returncode == 1 and result.stdout == ''
    assert re.fullmatch(r'Error: --detector-path=absent\.pth cannot be read .*\n', result.stderr), (
        result.stderr
    )


def test_options_are_those_documented():
    assert {option for parameter in evaluator.main.params for option in parameter.opts} == {
        'sample',
        'ref',
        '--backend',
        '--detector-path',
        '--precision-mode',
        '--kid',
        '--density-coverage',
        '--device',
        '--batch',
        '--json',
    }
    text = click.testing.CliRunner().invoke(evaluator.main, ['--help']).output
    assert 'SAMPLE.npz REF.npz|none' in text
