# Copyright 2026 The GDD-1S authors.
# SPDX-License-Identifier: Apache-2.0
"""Tests of training/loss.py: EDM's numbers, an image-by-image reference, and weights that must not pass."""

import math

import numpy as np
import pytest
import torch

from training.loss import EDMLoss

# EDM's own loss on a network that returns zeros, torch seeded with 0.
EDM_TOTAL = 8.304145e+05
EDM_SIGMA = [1.914000, 0.211800, 0.022048, 0.595781]


def make_images():
    values = np.random.RandomState(12345).standard_normal([4, 3, 16, 16])
    return torch.from_numpy(values.astype(np.float32)).clamp(-1, 1)


class Recorder:
    """Network that returns a multiple of its input and remembers what it was given."""

    def __init__(self, factor=0.0):
        self.factor, self.calls = factor, []

    def __call__(self, x, sigma, class_labels=None):
        self.calls.append((x, sigma, class_labels))
        return x * self.factor


def test_numbers_of_edm():
    net = Recorder()
    torch.manual_seed(0)
    loss = EDMLoss()(net, make_images())
    assert loss.shape == (4, 3, 16, 16) and loss.sum().item() == pytest.approx(EDM_TOTAL, rel=2e-7)
    sigma = net.calls[0][1]
    assert sigma.shape == (4, 1, 1, 1) and sigma.flatten().tolist() == pytest.approx(EDM_SIGMA, rel=2e-5)


def test_against_a_loop_over_pixels():
    images = make_images()[:2, :, :3, :3]
    level, noise = torch.tensor([0.3, -1.1]).reshape(2, 1, 1, 1), torch.randn(images.shape)
    net = Recorder(0.25)
    loss = EDMLoss(P_mean=-1.0, P_std=0.5, sigma_data=0.7)(net, images, level=level, noise=noise)
    for index in np.ndindex(*images.shape):
        sigma = math.exp(0.5 * level[index[0]].item() - 1.0)
        y, n = images[index].item(), noise[index].item() * sigma
        weight = (sigma ** 2 + 0.7 ** 2) / (sigma * 0.7) ** 2
        assert loss[index].item() == pytest.approx(weight * (0.25 * (y + n) - y) ** 2, rel=1e-4, abs=1e-6)


def test_given_noise_equals_drawn_noise_in_edms_order():
    torch.manual_seed(0)
    drawn = EDMLoss()(Recorder(0.5), make_images())
    torch.manual_seed(0)
    level = torch.randn([4, 1, 1, 1])
    noise = torch.randn([4, 3, 16, 16])
    assert torch.equal(EDMLoss()(Recorder(0.5), make_images(), None, level, noise), drawn)


def test_perfect_denoiser_has_no_loss_and_labels_travel():
    images, labels = make_images(), torch.eye(4)
    net = Recorder()
    EDMLoss()(net, images, labels)
    assert net.calls[0][2] is labels
    assert EDMLoss()(lambda x, sigma, class_labels: images, images).abs().max() == 0


@pytest.mark.parametrize('weight', [
    lambda s: 1 / s ** 2,                                     # VE's and VP's weight
    lambda s: (s ** 2 + 0.25) / (s + 0.5) ** 2,               # what EDM's paper would give with a sum for the product
    lambda s: (s ** 2 + 0.25) / (s * 0.5),                    # the square forgotten
])
def test_wrong_weights_are_rejected(weight):
    torch.manual_seed(0)
    sigma = (torch.randn([4, 1, 1, 1]) * 1.2 - 1.2).exp()
    wrong = (weight(sigma) * make_images() ** 2).sum().item()
    right = ((sigma ** 2 + 0.25) / (sigma * 0.5) ** 2 * make_images() ** 2).sum().item()
    assert right == pytest.approx(EDM_TOTAL, rel=2e-7) and wrong != pytest.approx(EDM_TOTAL, rel=1e-3)
