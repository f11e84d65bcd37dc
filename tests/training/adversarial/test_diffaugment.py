# Copyright 2026 The GDD-1S authors.
# SPDX-License-Identifier: Apache-2.0
"""Test DiffAugment: a pixel-by-pixel reference, ranges of the draws, derivatives."""

import numpy as np
import torch

from training.adversarial import diffaugment
from training.adversarial.features import ProjectedFeatures

LITE0 = 'tf_efficientnet_lite0'


def slow_diffaugment(image, p, shift_ratio=0.125, cut_ratio=0.2):
    """Augment one float64 image [C, H, W] by the letter of the specification, pixel by pixel."""
    c, height, width = image.shape
    x = image + (p['brightness'] - 0.5)
    x = (x - x.mean(axis=0)) * 2 * p['saturation'] + x.mean(axis=0)
    x = (x - x.mean()) * (p['contrast'] + 0.5) + x.mean()
    out = np.zeros_like(x)
    for i in range(height):
        for j in range(width):
            source = i + p['shift_y'], j + p['shift_x']
            if 0 <= source[0] < height and 0 <= source[1] < width:
                out[:, i, j] = x[:, source[0], source[1]]
    cut = int(cut_ratio * height + 0.5), int(cut_ratio * width + 0.5)
    for a in range(cut[0]):
        for b in range(cut[1]):
            i = min(max(p['cut_y'] - cut[0] // 2 + a, 0), height - 1)
            j = min(max(p['cut_x'] - cut[1] // 2 + b, 0), width - 1)
            out[:, i, j] = 0
    return out


def test_diffaugment_against_a_slow_reference():
    torch.manual_seed(0)
    x = torch.randn(8, 3, 32, 24, dtype=torch.float64)
    draws = diffaugment.draw(x)
    # Both far ends; an even cut may sit on the edge.
    draws['cut_y'][0], draws['cut_x'][0], draws['cut_y'][1] = 32, 0, 0
    ours = diffaugment.apply_draws(x, draws)
    for n in range(len(x)):
        p = {name: values[n].item() for name, values in draws.items()}
        np.testing.assert_allclose(ours[n], slow_diffaugment(x[n].numpy(), p), atol=1e-12)


def test_diffaugment_ranges():
    draws = diffaugment.draw(torch.zeros(4000, 1, 32, 64))
    limits = {
        name: (int(draws[name].min()), int(draws[name].max()))
        for name in ('shift_y', 'shift_x', 'cut_y', 'cut_x')
    }
    assert limits == {'shift_y': (-4, 4), 'shift_x': (-8, 8), 'cut_y': (0, 32), 'cut_x': (0, 63)}
    assert list(draws)[:3] == ['brightness', 'saturation', 'contrast'] and float(draws['contrast'].max()) < 1


def test_diffaugment_is_fresh_and_twice_differentiable():
    F = ProjectedFeatures([LITE0], 32, True, weights='random', diffaugment=True)
    x = torch.randn(2, 3, 32, 32, requires_grad=True)
    first, second = F(x)[LITE0][0], F(x)[LITE0][0]
    assert not torch.equal(first, second)
    (gradient,) = torch.autograd.grad(first.square().sum(), [x], create_graph=True)
    gradient.square().sum().backward()
    assert torch.isfinite(x.grad).all() and x.grad.abs().max() > 0
