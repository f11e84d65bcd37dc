# Copyright 2026 The GDD-1S authors.
# SPDX-License-Identifier: Apache-2.0

"""The comparison of teacher and student: its samplers, its command, its refusals."""

import json
import os

import numpy as np
import PIL.Image
import pytest
import torch
from click.testing import CliRunner

from evaluations import teacher_and_student
from evaluations.detectors.registry import get_detector
from evaluations.inputs.reference import load_reference, save_reference
from tests.evaluations.test_sampler_table import make_reference
from tests.support import ROOT
from training.networks import EDMPrecond, GDDPrecond
from training.sampling.samplers import edm_sampler, multi_step_sampler, one_step_sampler, to_uint8
from training.snapshots.snapshot import save_snapshot


@pytest.fixture(scope='module')
def detector():
    return get_detector('mnist-classifier')


def make_network(cls=EDMPrecond, seed=0, **changes):
    torch.manual_seed(seed)
    kind = dict(
        img_resolution=32,
        img_channels=1,
        label_dim=10,
        model_type='SongUNet',
        model_channels=8,
        channel_mult=[1],
        num_blocks=1,
        attn_resolutions=[],
    )
    net = cls(**{**kind, **changes}).eval()
    for name, parameter in net.named_parameters():
        if name.endswith('weight'):  # some layers start at zero, which would make all networks alike
            torch.nn.init.normal_(parameter, std=0.1)
    return net


def test_samplers_of_the_comparison():
    teacher, student = make_network(), make_network(GDDPrecond, seed=1)
    samplers = teacher_and_student.make_samplers(teacher, student, steps=3)
    assert [s.nfe for s in samplers] == [5, 1, 1]
    seeds = [3, 70]
    results = [sampler(seeds) for sampler in samplers]
    for images, classes in results:  # the same classes for all three
        assert (
            images.shape == (2, 1, 32, 32)
            and images.dtype == torch.uint8
            and torch.equal(classes, results[0][1])
        )
    z = torch.stack([torch.randn(1, 32, 32, generator=torch.Generator().manual_seed(seed)) for seed in seeds])
    labels = torch.eye(10)[results[0][1]]
    with torch.no_grad():
        expected = [
            edm_sampler(teacher, z, labels, num_steps=3),
            teacher(z * 80, torch.tensor(80.0), labels, force_fp32=True),
            one_step_sampler(student, z, labels),
        ]
    for (images, _), wanted in zip(results, expected):
        wanted = to_uint8(wanted.double()).astype(int)
        assert (
            np.abs(images.permute(0, 2, 3, 1).numpy().astype(int) - wanted).max() <= 1
        )  # rounding at a boundary
    assert not torch.equal(results[1][0], results[2][0])
    two = teacher_and_student.make_samplers(
        teacher, student, steps=3, metadata=dict(num_steps=2, middle_sigma=0.5)
    )
    assert [(s.name, s.nfe) for s in two[1:]] == [('teacher, one step', 1), ('student, 2 steps', 2)]
    with torch.no_grad():
        wanted = to_uint8(multi_step_sampler(student, z, labels, num_steps=2, middle_sigma=0.5)).astype(int)
    assert np.abs(two[2](seeds)[0].permute(0, 2, 3, 1).numpy().astype(int) - wanted).max() <= 1


@pytest.fixture(scope='module')
def files(tmp_path_factory, detector):
    folder = tmp_path_factory.mktemp('compare')
    save_snapshot(folder / 'teacher.pkl', ema=make_network())
    save_snapshot(folder / 'student.pkl', ema=make_network(GDDPrecond, seed=1))
    save_snapshot(folder / 'colour.pkl', ema=make_network(img_channels=3))
    save_snapshot(folder / 'small.pkl', ema=make_network(img_resolution=16))
    save_reference(folder / 'ref.npz', make_reference(detector))
    (folder / 'real').mkdir()
    for i in range(5):
        PIL.Image.fromarray(np.full([32, 32], 40 * i, dtype=np.uint8)).save(folder / 'real' / f'{i}.png')
    return folder


def invoke(files, outdir, ok=True, **changes):
    options = {
        'teacher': files / 'teacher.pkl',
        'student': files / 'student.pkl',
        'ref': files / 'ref.npz',
        'num': 6,
        'steps': 2,
        'batch': 4,
        'outdir': outdir,
        **changes,
    }
    arguments = [f'--{k}' if v is True else f'--{k}={v}' for k, v in options.items() if v is not None]
    result = CliRunner().invoke(teacher_and_student.main, arguments)
    assert (result.exit_code == 0) == ok and 'Traceback' not in result.output, result.output
    assert ok or isinstance(result.exception, SystemExit)
    return result.output


def test_comparison_from_the_command_line(files, tmp_path):
    out = tmp_path / 'new' / 'run'
    output = invoke(files, out, data=files / 'real', detector='mnist-classifier', **{'seeds-start': 100})
    assert sorted(p.name for p in out.iterdir()) == ['comparison.json', 'comparison.md', 'comparison.png']
    content = json.loads((out / 'comparison.json').read_text())
    assert (
        content['metric'] == 'frechet-mnist-classifier-6'
        and content['seeds'] == [100, 105]
        and content['steps'] == 2
    )
    assert [(r['name'], r['nfe'], r['num_images']) for r in content['rows']] == [
        ('real images', None, 5),
        ('teacher, 2 steps', 3, 6),
        ('teacher, one step', 1, 6),
        ('student, one step', 1, 6),
    ]
    assert all(r['frechet'] > 0 for r in content['rows']) and content['rows'][0]['accuracy'] is None
    for row in content['rows']:
        assert row['name'] in output and row['name'] in (out / 'comparison.md').read_text()
    with PIL.Image.open(
        out / 'comparison.png'
    ) as picture:  # three blocks of 8 columns, 1 row, margins, captions
        assert picture.size[0] == 3 * (8 * 32 + 8) and picture.size[1] > 32 + 8
    again = invoke(files, tmp_path, data=files / 'real', **{'seeds-start': 101})
    assert (
        json.loads((tmp_path / 'comparison.json').read_text())['rows'][3]['frechet']
        != content['rows'][3]['frechet']
    )
    assert 'seeds 101 to 106' in again


def test_lines_below_the_table(files, tmp_path):
    many = tmp_path / 'many'
    many.mkdir()
    rng = np.random.RandomState(0)
    for i in range(60):
        pixels = rng.randint(0, 256, [4, 4]).astype(np.uint8).repeat(8, 0).repeat(8, 1)
        PIL.Image.fromarray(pixels).save(many / f'{i:02d}.png')
    output = invoke(files, tmp_path / 'run', data=many)
    content = json.loads((tmp_path / 'run' / 'comparison.json').read_text())
    assert content['closing'][0] == 'Student beside 40 training images; in brackets 20 other real images'
    assert len(content['rows']) == 4 and content['closing'][3].startswith('memorisation: authentic')
    for line in content['closing']:
        assert line in output and f'- {line}\n' in (tmp_path / 'run' / 'comparison.md').read_text()
    few = invoke(files, tmp_path / 'few', data=files / 'real')
    assert 'memorisation need at least 60 images' in few


def test_the_teachers_row_is_measured_once(files, tmp_path):
    """Stored beside the teacher, taken from there and named so, measured again where the user wants it."""
    alone = invoke(files, tmp_path / 'alone', student=None, remeasure=True)
    content = json.loads((tmp_path / 'alone' / 'comparison.json').read_text())
    assert [row['name'] for row in content['rows']] == ['teacher, 2 steps', 'teacher, one step']
    assert content['student'] is None and 'stored' not in alone
    stored = files / 'teacher.comparison.json'
    content['rows'][0]['frechet'] = 12.5  # to be recognised
    stored.write_text(json.dumps(dict(content, command='an earlier command')))
    try:
        output = invoke(files, tmp_path / 'both')
        assert (
            'Note: the row "teacher, 2 steps (stored)" comes from: an earlier command; --remeasure' in output
        )
        rows = json.loads((tmp_path / 'both' / 'comparison.json').read_text())['rows']
        assert rows[0]['name'] == 'teacher, 2 steps (stored)' and rows[0]['frechet'] == 12.5
        with PIL.Image.open(tmp_path / 'both' / 'comparison.png') as picture:
            assert picture.size[0] == 3 * (8 * 32 + 8)  # the images of the picture are made here
        for changes in (dict(remeasure=True), dict(steps=3), {'seeds-start': 9}):
            assert 'stored' not in invoke(files, tmp_path / 'again', **changes)
    finally:
        stored.unlink()


@pytest.mark.parametrize(
    'changes, words',
    [
        (dict(teacher='missing.pkl'), '--teacher=missing.pkl'),
        (dict(student='colour.pkl'), '(1, 32, 10), but --student='),
        (dict(teacher='small.pkl', student='small.pkl'), 'takes (1, 32, 32)'),
        (dict(ref='missing.npz'), '--ref=missing.npz cannot be read'),
        (dict(data='missing.zip'), '--data=missing.zip does not exist'),
        (
            dict(detector='tf_efficientnet_lite0'),
            '',
        ),  # refused with or without its weights: another reference
    ],
)
def test_comparison_refuses(files, tmp_path, changes, words):
    changes = {k: files / v if (files / v).exists() else v for k, v in changes.items()}
    output = invoke(files, tmp_path, ok=False, **changes)
    assert words in output and output.count('\n') == 1
    assert not list(tmp_path.iterdir())


def test_reference_file_of_the_repository_fits_the_shipped_detector(detector):
    reference = load_reference(os.path.join(ROOT, 'datasets', 'mnist-32x32-train-ref-mnist-classifier.npz'))
    assert reference.check(detector, (1, 32, 32)) == [] and reference.num_images == 60000
