# Copyright 2026 The GDD-1S authors.
# SPDX-License-Identifier: Apache-2.0
"""Tests of training/image_generator.py, by its public name `training.load_generator`."""

import pathlib
import pickle
import subprocess
import sys

import numpy as np
import pytest
import torch
from click.testing import CliRunner

import generate
from dnnlib.errors import ArgumentError
from tests.support import ROOT
from tests.support.tiny_exports import ARCHITECTURES, write_snapshot
from torch_utils.pickle_machine import UnsafePickleError
from training import ImageGenerator, load_generator, networks
from training.sampling import samplers


@pytest.fixture(scope='module')
def files(tmp_path_factory):
    """Snapshots: a conditional and an unconditional student, one of two steps, and a teacher."""
    folder = tmp_path_factory.mktemp('networks')
    return dict(
        student=write_snapshot(folder / 'student.pkl', **ARCHITECTURES['ncsnpp']),
        plain=write_snapshot(folder / 'plain.pkl', **ARCHITECTURES['ddpmpp']),
        two_step=write_snapshot(
            folder / 'two.pkl', metadata=dict(num_steps=2, middle_sigma=0.5), **ARCHITECTURES['ncsnpp']
        ),
        teacher=write_snapshot(folder / 'teacher.pkl', cls=networks.EDMPrecond, **ARCHITECTURES['ncsnpp']),
    )


@pytest.fixture(scope='module')
def G(files):
    return load_generator(files['student'], device='cpu')


@pytest.mark.parametrize(
    'name, options',
    [('student', {}), ('plain', {}), ('two_step', {}), ('teacher', dict(steps=3, S_churn=2.0))],
)
def test_the_images_of_generate(name, options, files, tmp_path):
    """Byte by byte, and their classes; the number of images is no multiple of a batch."""
    arguments = [f'--{option}={value}' for option, value in options.items()]
    out = tmp_path / 'out'
    common = [f'--network={files[name]}', f'--outdir={out}', '--seeds=5-11', '--batch=4', '--device=cpu']
    result = CliRunner().invoke(generate.cmdline, [*common, *arguments])
    assert result.exit_code == 0, result.output
    with np.load(out / 'image_pack.npz') as pack:
        pixels, labels = pack['arr_0'], pack['arr_1'] if 'arr_1' in pack else None
    own = load_generator(files[name], device='cpu')
    found = own(7, seed=5, batch=4, dtype=torch.uint8, **options)
    assert found.dtype == torch.uint8 and np.array_equal(found.permute(0, 2, 3, 1).numpy(), pixels)
    drawn = own.draw_labels(7, seed=5)
    assert (labels is None and drawn is None) or np.array_equal(drawn.numpy(), labels)


def test_shapes_types_and_ranges(G):
    images = G(3)
    assert images.shape == (3, 3, 8, 8) == (3, *G.image_shape) and images.dtype == torch.float32
    assert images.is_contiguous() and not images.requires_grad and G.num_classes == 4
    exact = G(3, dtype=torch.float64)
    assert torch.equal(exact.float(), images) and G(3, dtype=torch.bfloat16).dtype == torch.bfloat16
    expected = (exact * 127.5 + 128).floor().clip(0, 255).to(torch.uint8)
    assert torch.equal(G(3, dtype=torch.uint8), expected)
    assert G(0).shape == (0, 3, 8, 8) and G([]).shape == (0, 3, 8, 8)


def test_what_a_prompt_shows(G, files):
    assert repr(G) == '<generator of 3x8x8 images, 4 classes, GDDPrecond on cpu>'
    assert repr(load_generator(files['plain'], device='cpu')).startswith(
        '<generator of 1x8x8 images, GDDPrecond'
    )


def test_seeds_are_a_number_or_a_list(G):
    images = G(4, seed=2)
    assert torch.equal(G([2, 3, 4, 5]), images) and torch.equal(G(np.int64(4), seed=2), images)
    assert torch.equal(G(np.arange(2, 6)), images) and torch.equal(G(torch.arange(2, 6)), images)
    assert torch.equal(G(2), G(2, seed=0)) and not torch.equal(G(1), G(1, seed=1))
    torch.testing.assert_close(G([5, 2]), images[[3, 0]], rtol=0, atol=1e-6)  # other neighbours: rounding


def test_labels_of_all_and_of_each(G):
    torch.testing.assert_close(G(3, labels=2), G(3, labels=[2, 2, 2]), rtol=0, atol=0)
    each = G(3, labels=torch.tensor([0, 3, 1]))
    for i, label in enumerate((0, 3, 1)):
        torch.testing.assert_close(each[i], G(3, labels=label)[i], rtol=0, atol=0)
    assert torch.equal(G(3, labels=G.draw_labels(3)), G(3))


@pytest.mark.parametrize(
    'options, message',
    [
        (dict(labels=4), 'labels=4: the network has 4 classes; choose 0 to 3'),
        (dict(labels=[0, 1, -1]), 'labels=-1: the network has 4 classes'),
        (dict(labels=[0, 1]), 'labels: 2 classes for 3 images'),
        (dict(labels=1.0), 'labels must be a class number'),
        (dict(seed=-1), 'seed=-1 must be a whole number, at least 0'),
        (dict(seeds=-3), 'seeds=-3 must be a whole number'),
        (dict(seeds='10'), 'seeds=10 must be a whole number'),
        (dict(seeds=[2, 1.5]), 'seeds=1.5 must be a whole number'),
        (dict(seeds=2.0), 'seeds=2 must be a whole number'),
        (dict(seed='x'), 'seed=x must be a whole number'),
        (dict(seeds=[1], seed=0), 'seed=0: the seeds are given already'),
        (dict(dtype=torch.int64), 'dtype=torch.int64 must be one of torch.float32'),
        (dict(batch=0), 'batch=0 must be at least 1; try batch=64'),
        (dict(step=3), 'step is unknown; samplers have sampler, steps'),
        (dict(steps=1, sampler='edm'), 'at least 2 steps'),
    ],
)
def test_bad_arguments(options, message, G):
    with pytest.raises(ValueError, match=message.replace('[', r'\[')):
        G(**{'seeds': 3, **options})


def test_a_network_without_classes(files):
    own = load_generator(files['plain'], device='cpu')
    assert own.draw_labels(2) is None and own.num_classes == 0 and own(2).shape == (2, 1, 8, 8)
    with pytest.raises(ArgumentError, match='labels=0: the network is unconditional'):
        own(2, labels=0)


def test_which_weights(files):
    raw = load_generator(files['student'], device='cpu', key='net')
    assert not torch.equal(raw(1), load_generator(files['student'], device='cpu')(1))
    with pytest.raises(ValueError, match="network=.*has no entry 'ema-0.05'"):
        load_generator(files['student'], key='ema-0.05')


def test_no_code_of_a_pickle_runs(tmp_path):
    class Bad:
        def __reduce__(self):
            return pathlib.Path.touch, (tmp_path / 'ran',)

    (tmp_path / 'bad.pkl').write_bytes(pickle.dumps(Bad()))
    with pytest.raises(UnsafePickleError, match='nothing in it was run'):
        load_generator(tmp_path / 'bad.pkl')
    assert not (tmp_path / 'ran').exists()
    pickle.loads((tmp_path / 'bad.pkl').read_bytes())
    assert (tmp_path / 'ran').exists()  # so the file was dangerous


def test_images_that_are_not_finite(files, tmp_path):
    own = load_generator(files['student'], device='cpu')
    next(own.net.parameters()).data.fill_(torch.nan)
    with pytest.raises(ValueError, match='the image of seed 7, 8 is not finite'):
        own(2, seed=7)


def test_the_state_of_torch_is_left_alone(G, monkeypatch):
    monkeypatch.setattr(torch.backends.cudnn, 'allow_tf32', True)
    seen = []
    original = samplers.SAMPLERS['one_step']

    def watching(*args, **kwargs):
        seen.append(torch.backends.cudnn.allow_tf32)
        return original(*args, **kwargs)

    monkeypatch.setitem(samplers.SAMPLERS, 'one_step', watching)
    before = torch.get_rng_state()
    G(2)
    assert seen == [False] and torch.backends.cudnn.allow_tf32 and torch.equal(before, torch.get_rng_state())


def test_importing_the_package_is_cheap():
    """`import training` alone loads nothing, `from training import load_generator` what it needs."""
    code = (
        'import sys, training\n'
        "assert not {'torch', 'numpy', 'training.image_generator'} & set(sys.modules)\n"
        "assert 'load_generator' in training.__all__\n"
    )
    subprocess.run([sys.executable, '-c', code], cwd=ROOT, check=True)
    assert ImageGenerator.__module__ == 'training.image_generator'
    with pytest.raises(ImportError):
        from training import nothing  # noqa: F401
