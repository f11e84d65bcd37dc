# Copyright 2026 The GDD-1S authors.
# SPDX-License-Identifier: Apache-2.0
"""Test benchmarks/sampling.py: both ways make the same, and the verdict is about what they made."""

import json
import os

import numpy as np
import pytest
from click.testing import CliRunner

import generate
from benchmarks import sampling
from dnnlib.util import EasyDict
from tests.golden import fill
from tests.support.generated_images import TINY
from training import networks
from training.snapshots.snapshot import save_snapshot


@pytest.fixture(scope='module')
def done(tmp_path_factory):
    """(options, way -> what it found): both ways, in this process."""
    folder = tmp_path_factory.mktemp('sampling')
    network = networks.GDDPrecond(label_dim=4, **dict(TINY, img_resolution=32, img_channels=1))
    save_snapshot(str(folder / 'net.pkl'), ema=fill(network))
    opts = EasyDict(network=str(folder / 'net.pkl'), outdir=str(folder), num=7, batch=3, device='cpu')
    opts.detector = 'mnist-classifier'
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(sampling, 'keep_freed_memory', lambda: None)  # it would stay so for other tests
        patch.setattr(generate, 'IMAGES_PER_WRITER', 2)
        return opts, {way: sampling.run_way(way, opts) for way in sampling.WAYS}


def test_both_ways_make_the_same_files_and_features(done):
    opts, found = done
    for task in sampling.TASKS[:2]:
        names = [set(os.listdir(sampling.folder_of(opts, way, task))) for way in sampling.WAYS]
        pictures = {f'{seed:06d}.png' for seed in range(7)}
        assert pictures <= names[0] and names[1] - names[0] == {'dataset.json'}
        assert ('image_pack.npz' in names[1]) == (task == 'PNG and NPZ')
    assert sampling.check_equal(found, opts) < 1e-2
    for result in found.values():
        assert len(result['mean']) == 64 and all(min(result[task]) >= 0 for task in sampling.TASKS)


def test_different_images_or_features_are_refused(done):
    opts, found = done
    wrong = dict(found, ours=dict(found['ours'], mean=[x + 1 for x in found['ours']['mean']]))
    with pytest.raises(sampling.click.ClickException, match='different images or features'):
        sampling.check_equal(wrong, opts)
    path = os.path.join(sampling.folder_of(opts, 'ours', 'PNG and NPZ'), 'image_pack.npz')
    images = np.load(path)['arr_0']
    try:
        np.savez(path, arr_0=images ^ 2)
        with pytest.raises(sampling.click.ClickException, match='different images or features'):
            sampling.check_equal(found, opts)
    finally:
        np.savez(path, arr_0=images)


def test_ratios_are_those_of_medians_over_the_runs():
    runs = [
        {
            'straightforward': {task: [8.0 * k, 4.0 * k, 900] for task in sampling.TASKS},
            'ours': {task: [2.0 * k, 5.0 * k, 300] for task in sampling.TASKS},
        }
        for k in (1, 2, 7)
    ]
    lines = list(sampling.table(runs, 100))
    assert lines[3] == '| PNG | ours | 4.00 | 10.00 | 3 | 25 | 4.00 | 0.80 |' and len(lines) == 9
    assert lines[-1].endswith('PNG 4.00 (0.80), PNG and NPZ 4.00 (0.80), evaluation 4.00 (0.80)')


def test_the_command_runs_each_way_in_turns_with_its_options(done, monkeypatch):
    opts, found = done
    asked = []

    def run_apart(command, **_options):
        way = command[3].removeprefix('--way=')
        asked.append((way, command[4:]))
        return EasyDict(stdout=f'words\n{json.dumps(found[way])}\n')

    monkeypatch.setattr(sampling.subprocess, 'run', run_apart)
    given = [f'--{name}={opts[name]}' for name in ('network', 'outdir', 'num', 'batch', 'device', 'detector')]
    result = CliRunner().invoke(sampling.main, [*given, '--runs=2'])
    assert result.exit_code == 0, result.output
    assert [way for way, _ in asked] == ['straightforward', 'ours'] * 2
    assert set(asked[0][1]) == set(given)
    assert (
        '7 images of' in result.output and 'times the straightforward loop' in result.output.splitlines()[-1]
    )
