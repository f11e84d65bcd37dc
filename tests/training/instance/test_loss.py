# Copyright 2026 The GDD-1S authors.
# SPDX-License-Identifier: Apache-2.0
"""Tests of training/instance/loss.py on networks that can be written down: value, gradient, what is drawn."""

import pytest
import torch

from torch_utils import training_stats
from torch_utils.randomness import BatchRandom
from training.instance.distances import l2_distance
from training.instance.loss import InstanceLoss
from training.instance.targets import index_levels

N = 4


class Scale(torch.nn.Module):
    """A denoiser that multiplies by one number."""

    def __init__(self, value):
        super().__init__()
        self.value, self.labels = torch.nn.Parameter(torch.tensor(value)), []

    def forward(self, x, _sigma, labels=None):
        self.labels.append(labels)
        return self.value * x


@pytest.fixture
def loss(monkeypatch):
    monkeypatch.setattr(training_stats, '_counters', {})
    return InstanceLoss(Scale(0.5), Scale(0.0).requires_grad_(False), 'cd', 4, l2_distance)


def inputs(classes=0):
    torch.manual_seed(0)
    return (
        torch.rand(N, 3, 2, 2),
        torch.eye(max(classes, 1))[:, :classes].repeat(N, 1)[:N],
        torch.randn(N, 3, 2, 2),
    )


def test_value_and_gradient_by_hand(loss):
    """From t = 2 one step of Heun by the teacher D = 0 leads to 1, and Euler by the same to 0 (one interval
    again)."""
    images, labels, z = inputs()
    index = torch.full([N], 2)
    indices = dict(t=index, u=index - 1, s=index * 0)
    found = loss.mean_distance(images, labels, z, indices)
    found.backward()
    level = index_levels(4).float()
    noisy = images + level[2] * z
    # With D = 0 the slope at sigma is x / sigma, so both steps of Heun are straight: x shrinks as sigma does.
    target = noisy * level[0] / level[2]
    student = torch.tensor(0.5, requires_grad=True)
    expected = (student * noisy - target).square().mean()
    expected.backward()
    assert found.item() == pytest.approx(expected.item(), rel=1e-5)
    assert loss.student.value.grad.item() == pytest.approx(student.grad.item(), rel=1e-5)
    assert not [labels for labels in loss.student.labels + loss.teacher.labels if labels is not None]


def test_mean_of_parts_by_their_shares_is_the_mean(loss):
    images, labels, z = inputs(3)
    indices = loss.draw(BatchRandom(0, 0), N)
    assert set(indices) == {'t', 'u', 's'} and all(value.device.type == 'cpu' for value in indices.values())
    whole = loss.mean_distance(images, labels, z, indices)
    parts = [slice(0, 1), slice(1, 4)]
    found = [
        loss.mean_distance(images[p], labels[p], z[p], {name: value[p] for name, value in indices.items()})
        for p in parts
    ]
    assert (found[0] / 4 + found[1] * 3 / 4).item() == pytest.approx(whole.item(), rel=1e-6)
    assert (found[0] + found[1]).item() != pytest.approx(whole.item(), rel=1e-2)
    assert all(labels.shape[1] == 3 for labels in loss.student.labels)


def test_impossible_number_of_intervals():
    with pytest.raises(ValueError, match='power of two'):
        InstanceLoss(None, None, 'pd', 12, l2_distance)
