# Copyright 2026 The GDD-1S authors.
# SPDX-License-Identifier: Apache-2.0
"""Tests of `export.py --format=diffusers`, and of the cards; what diffusers makes of the folder is tested in
tests/training/snapshots/for_diffusers/."""

import json
import os
import sys

import numpy as np
import PIL.Image
import pytest
import torch

from dnnlib.files import file_sha256
from tests.support.tiny_exports import ARCHITECTURES, fail, invoke, need, run, write_snapshot
from training import load_generator, networks

need('safetensors')


@pytest.fixture
def student(tmp_path):
    """Snapshot of a conditional student."""
    metadata = dict(loss='gdd', nimg=5000, batch_size=32)
    return write_snapshot(tmp_path / 'student.pkl', metadata=metadata, **ARCHITECTURES['ncsnpp'])


def write_measured(path, network, **changes):
    """Write what `fid.py gen --json` would write about a network."""
    results = [dict(metric='fid50k', value=2.5, seeds='0-49999', detector='inception', ref='refs/digits.npz')]
    content = dict(network='student.pkl', network_sha256=file_sha256(network), key='ema', results=results)
    path.write_text(json.dumps({**content, **changes}))
    return str(path)


def test_a_folder_beside_the_network(student, tmp_path):
    output = run(student, 'diffusers')
    assert 'GDDPrecond of student.pkl: generator at sigma 80' in output
    assert f'wrote {tmp_path}/student-diffusers (' in output and 'random input: 0 (' in output
    assert sorted(os.listdir(tmp_path)) == ['student-diffusers', 'student.pkl']
    assert sorted(os.listdir(tmp_path / 'student-diffusers')) == [
        'README.md', 'gdd_pipeline.py', 'model_index.json', 'samples.png', 'unet']  # fmt: skip
    with PIL.Image.open(tmp_path / 'student-diffusers' / 'samples.png') as image:
        pixels = np.asarray(image)
    grid = (
        load_generator(student, device='cpu')(16).mul(127.5).add(128).clip(0, 255).byte().permute(0, 2, 3, 1)
    )
    assert pixels.shape == (16, 64, 3) and np.array_equal(pixels[:8, 8:16], grid[1].numpy())


def test_cards_hold_what_was_measured(student, tmp_path):
    """Of files beside the network, and of those that are named."""
    elsewhere = tmp_path / 'elsewhere'
    elsewhere.mkdir()
    run(student, 'diffusers', '--metrics', write_measured(elsewhere / 'a.json', student))
    card = (tmp_path / 'student-diffusers' / 'README.md').read_text('utf-8')
    assert '| fid50k | 2.5 | student.pkl | 0-49999 | digits.npz | inception | not recorded |' in card
    assert '# student-diffusers' in card and '| images seen | 5,000 |' in card and 'of 4 classes' in card
    write_measured(tmp_path / 'b.json', student, overlap=['inception'])
    run(student, 'safetensors', '--dest', tmp_path / 'new' / 'x.safetensors')
    assert sorted(os.listdir(tmp_path / 'new')) == ['x.md', 'x.safetensors']
    card = (tmp_path / 'new' / 'x.md').read_text('utf-8')
    G = load_generator(tmp_path / 'new' / 'x.safetensors', device='cpu')
    assert torch.equal(G(2), load_generator(student, device='cpu')(2))
    assert '| inception | inception |' in card and "load_generator('x.safetensors')" in card


def test_metrics_that_cannot_be_used(student, tmp_path):
    other = write_measured(tmp_path / 'other.json', student, network_sha256='0')
    assert f'--metrics={other} is not about ema of {student}' in fail(
        student, 'diffusers', '--metrics', other
    )
    assert 'holds no results' in fail(student, 'safetensors', '--metrics', tmp_path / 'none.json')
    output = run(student, 'pkl', '--dest', tmp_path / 'b.pkl', '--metrics', other)
    assert 'Warning: --metrics has no effect with --format=pkl' in output
    assert sorted(os.listdir(tmp_path)) == ['b.pkl', 'other.json', 'student.pkl']


def test_nothing_is_replaced_without_a_word(student, tmp_path):
    dest = tmp_path / 'out'
    run(student, 'diffusers', '--dest', dest)
    (dest / 'README.md').write_text('mine')
    assert f'--dest={dest} exists already; add --overwrite' in fail(student, 'diffusers', '--dest', dest)
    assert (dest / 'README.md').read_text() == 'mine'
    run(student, 'diffusers', '--dest', dest, '--overwrite')
    assert (dest / 'README.md').read_text() != 'mine'
    assert sorted(os.listdir(tmp_path)) == ['out', 'student.pkl']  # no scratch folder is left
    for name in ('photos', 'file'):
        (tmp_path / name).mkdir() if name == 'photos' else (tmp_path / name).write_text('precious')
    for more in ([], ['--overwrite']):
        output = fail(student, 'diffusers', '--dest', tmp_path / 'photos', *more)
        assert 'exists and is no folder of an earlier export' in output
    assert 'exists already' in fail(student, 'diffusers', '--dest', tmp_path / 'file')
    (tmp_path / 'x.md').write_text('mine')
    assert f'{tmp_path}/x.md exists already' in fail(
        student, 'safetensors', '--dest', tmp_path / 'x.safetensors'
    )
    assert (tmp_path / 'x.md').read_text() == 'mine' and not (tmp_path / 'x.safetensors').exists()


def test_a_teacher_is_refused_unless_it_makes_images_in_one_step(tmp_path):
    teacher = write_snapshot(tmp_path / 't.pkl', cls=networks.EDMPrecond, **ARCHITECTURES['ddpmpp'])
    assert 'needs a generator of one step or a few' in fail(teacher, 'diffusers')
    assert '--format=safetensors' in fail(teacher, 'diffusers', '--function=denoiser')
    run(teacher, 'diffusers', '--function=generator', '--sigma_max=20')
    config = json.loads((tmp_path / 't-diffusers' / 'unet' / 'config.json').read_text())
    assert (config['class_name'], config['levels']) == ('EDMPrecond', [20.0])


def test_a_file_in_the_way_and_a_missing_package(student, tmp_path, monkeypatch):
    (tmp_path / 'file').write_text('')
    assert 'cannot be written' in fail(student, 'diffusers', '--dest', tmp_path / 'file' / 'out')
    monkeypatch.setitem(sys.modules, 'safetensors.torch', None)
    assert 'pip install' in fail(student, 'diffusers')
    assert sorted(os.listdir(tmp_path)) == ['file', 'student.pkl']
    assert invoke(student, 'diffuser').exit_code == 2
