# Copyright 2026 The GDD-1S authors.
# SPDX-License-Identifier: Apache-2.0
"""Augmentation on a device against the CPU, with the same draws: EDM's for teachers, ADA, DiffAugment."""

import pytest
import torch

from tests.support.devices import FORWARD, GRADIENT, distance
from torch_utils.randomness import map_nested
from training.adversarial import ada, diffaugment
from training.augment import AugmentPipe
from training.config import AUGMENTATIONS

EVERYTHING = dict(AUGMENTATIONS, rotate_int=1, translate_int=1, brightness=1, contrast=1, lumaflip=1, hue=1,
                  saturation=1)  # fmt: skip


def moved(tree, device):
    return map_nested(lambda value: value.to(device), tree)


@pytest.mark.parametrize('channels', [1, 3])
def test_pipe_of_teachers(channels, device):
    torch.manual_seed(0)
    pipe, images = AugmentPipe(p=0.8, **EVERYTHING), torch.rand(8, channels, 16, 16) * 2 - 1
    draws = pipe.draw(8, torch.Generator('cpu').manual_seed(1))
    expected, labels = pipe.apply(images, draws)
    found, found_labels = pipe.apply(images.to(device), moved(draws, device))
    assert distance(found, expected) < 10 * FORWARD and distance(found_labels, labels) < FORWARD


def augmented(images, draws, device, function):
    images = images.clone().to(device).requires_grad_(True)
    out = function(images, moved(draws, device))
    out.square().sum().backward()
    return out, images.grad


@pytest.mark.parametrize('name', ['ada', 'diffaug'])
def test_in_front_of_the_discriminator(name, device):
    torch.manual_seed(0)
    images, generator = torch.rand(8, 3, 16, 16) * 2 - 1, torch.Generator('cpu').manual_seed(1)
    if name == 'ada':
        draws, function = ada.draw(8, generator), lambda x, draws: ada.AdaPipe(0.7).apply(x, draws)
    else:
        draws, function = diffaugment.draw(images, 8, generator), diffaugment.apply_draws
    expected, found = (augmented(images, draws, where, function) for where in ('cpu', device))
    assert distance(found[0], expected[0]) < 10 * FORWARD and distance(found[1], expected[1]) < 10 * GRADIENT


def test_strength_of_ada(device):
    found = ada.AdaptiveStrength(0.3, 0.6, batch_size=1000, device=device)
    for iteration in range(4):
        found.observe([torch.ones(4, 3, device=device)])
        found.finish_iteration(iteration)
    assert found.p.device == device and float(found.p) == pytest.approx(0.3 + 1000 * 4 / 500_000)
