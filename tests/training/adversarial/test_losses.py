# Copyright 2026 The GDD-1S authors.
# SPDX-License-Identifier: Apache-2.0

"""Test the adversarial losses and R1 against hand values and loops."""

import math

import numpy as np
import pytest
import torch
from torch import nn

from dnnlib.errors import ArgumentError
from training.adversarial.losses import discriminator_loss, generator_loss, r1_penalty


def test_sum_convention_by_hand():
    logits = torch.tensor([[0.0, 1.0], [2.0, -1.0]], dtype=torch.float64)
    assert float(generator_loss([logits], 'ns')) == pytest.approx(1.2232992833, abs=1e-10)
    assert float(generator_loss([logits], 'hinge')) == pytest.approx(-1.0)
    assert float(generator_loss([logits, logits], 'ns')) == pytest.approx(2 * 1.2232992833, abs=1e-9)


def slow_discriminator_loss(fake, real, kind):
    total = 0
    for logits, sign in ((fake, 1), (real, -1)):
        for backbone in logits:
            for row in backbone.tolist():
                values = [
                    math.log1p(math.exp(sign * x)) if kind == 'ns' else max(0, 1 + sign * x) for x in row
                ]
                total += sum(values) / len(values)
    return total


@pytest.mark.parametrize('kind', ['ns', 'hinge'])
def test_discriminator_loss_against_a_loop(kind):
    torch.manual_seed(0)
    fake, real = ([2 * torch.randn(3, n, dtype=torch.float64) for n in (4, 7)] for _ in range(2))
    loss = float(discriminator_loss(fake, real, kind))
    assert loss == pytest.approx(slow_discriminator_loss(fake, real, kind))
    assert loss != pytest.approx(slow_discriminator_loss(real, fake, kind))
    # A mean over all logits of both backbones would be wrong: each backbone counts once per image.
    assert generator_loss(fake, kind) != pytest.approx(3 * generator_loss([torch.cat(fake, dim=1)], kind))


def test_unknown_loss_type():
    for call in (lambda: generator_loss([], 'wgan'), lambda: discriminator_loss([], [], 'wgan')):
        with pytest.raises(ArgumentError, match='loss_type=wgan is unknown; use loss_type=ns or hinge'):
            call()


def test_r1_of_a_quadratic_by_hand():
    images = torch.tensor([1.0, 2.0, 3.0]).reshape(3, 1, 1, 1).requires_grad_(True)
    rows = images.flatten(1)
    penalty = r1_penalty([rows**2, 5 * rows], images)  # gradient 2x + 5
    assert penalty.tolist() == [49.0, 81.0, 121.0]
    assert torch.autograd.grad(penalty.sum(), images)[0].flatten().tolist() == [28.0, 36.0, 44.0]
    with pytest.raises(ValueError, match='must require grad'):
        r1_penalty([rows], torch.zeros(3, 1, 1, 1))


def test_r1_against_finite_differences():
    torch.manual_seed(0)
    net = nn.Sequential(nn.Conv2d(2, 4, 3), nn.BatchNorm2d(4), nn.Tanh(), nn.Flatten()).double()
    images = torch.randn(3, 2, 5, 5, dtype=torch.float64)
    penalty = r1_penalty([net(images.requires_grad_(True))], images)
    slow = torch.zeros(3, dtype=torch.float64)
    with torch.no_grad():
        for index in np.ndindex(*images.shape):
            step = torch.zeros_like(images)
            step[index] = 1e-5
            slow[index[0]] += float((net(images + step).sum() - net(images - step).sum()) / 2e-5) ** 2
    np.testing.assert_allclose(penalty.detach(), slow, rtol=1e-6)
