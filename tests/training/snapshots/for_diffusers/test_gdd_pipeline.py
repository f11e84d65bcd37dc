# Copyright 2026 The GDD-1S authors.
# SPDX-License-Identifier: Apache-2.0
"""Tests of the pipeline that travels in a folder for diffusers, as diffusers itself loads it."""

import numpy as np
import pytest
import torch

from tests.support import tiny_exports
from tests.support.tiny_exports import ARCHITECTURES, load_pipeline, need, write_snapshot
from training import load_generator

need('diffusers')


@pytest.fixture(scope='module')
def exported(tmp_path_factory):
    """Function name -> (pipeline, generator of this project): conditional, unconditional, of two steps."""
    folder = tmp_path_factory.mktemp('exported')
    known = {}
    kinds = dict(
        cond=dict(ARCHITECTURES['ncsnpp']),
        uncond=dict(ARCHITECTURES['ddpmpp']),
        two_step=dict(ARCHITECTURES['ncsnpp'], metadata=dict(num_steps=2, middle_sigma=0.5)),
    )

    def get(name):
        if name not in known:
            network = write_snapshot(folder / f'{name}.pkl', **kinds[name])
            tiny_exports.run(network, 'diffusers', '--dest', folder / name)
            known[name] = load_pipeline(folder / name), load_generator(network, device='cpu')
        return known[name]

    return get


@pytest.mark.parametrize('name', ['cond', 'uncond', 'two_step'])
def test_a_seed_gives_the_image_of_generate(name, exported):
    """Byte by byte: `load_generator` is held to generate.py by tests/training/test_image_generator.py."""
    pipe, G = exported(name)
    pixels = G(5, seed=3, dtype=torch.uint8).permute(0, 2, 3, 1).numpy()
    images = pipe(seeds=range(3, 8)).images
    assert [image.mode for image in images] == ['L' if G.image_shape[0] == 1 else 'RGB'] * 5
    assert np.array_equal(np.stack([np.asarray(image) for image in images]).reshape(pixels.shape), pixels)


def test_classes(exported):
    pipe, G = exported('cond')
    for labels in (2, [0, 3]):
        found = pipe(seeds=[1, 2], class_labels=labels, output_type='np').images
        expected = G([1, 2], labels=labels, dtype=torch.uint8).permute(0, 2, 3, 1).numpy()
        assert np.array_equal((found * 255).round(), expected)


def test_kinds_of_output(exported):
    pipe, _G = exported('cond')
    (tensor,) = pipe(seeds=[0, 1], output_type='pt', return_dict=False)
    array = pipe(seeds=[0, 1], output_type='np').images
    assert tensor.shape == (2, 3, 8, 8) and array.shape == (2, 8, 8, 3) and array.dtype == np.float32
    assert np.array_equal(tensor.permute(0, 2, 3, 1).numpy(), array) and 0 <= array.min() < array.max() <= 1
    with pytest.raises(ValueError, match="output_type='jpg' is unknown; use 'pil', 'np' or 'pt'"):
        pipe(output_type='jpg')


def test_a_generator_of_torch_instead_of_seeds(exported):
    pipe, _G = exported('cond')

    def make(seed):
        return pipe(batch_size=3, generator=torch.Generator().manual_seed(seed), output_type='np').images

    assert np.array_equal(make(1), make(1)) and not np.array_equal(make(1), make(2)) and len(make(1)) == 3
    assert len(pipe().images) == 1
