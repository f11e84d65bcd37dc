# Copyright 2026 The GDD-1S authors.
# SPDX-License-Identifier: Apache-2.0
"""Tests of training/loss.py: EDM's numbers, pixel-by-pixel references, wrong sigmas and weights."""

import ast
import math
import pathlib

import numpy as np
import pytest
import torch

from torch_utils import persistence
from training import augment, loss, networks
from training.loss import EDMLoss, VELoss, VPLoss

# EDM's own losses on a network that returns zeros, torch seeded with 0: total and sigmas.
KNOWN = {
    EDMLoss: (8.304145e05, [1.914000, 0.211800, 0.022048, 0.595781]),
    VPLoss: (5.541872e02, [3.483591, 0.864129, 65.304565, 44.308491]),
    VELoss: (3.300735e05, [1.369835, 13.888629, 0.042492, 0.061575]),
}
LOSSES = list(KNOWN)


def make_images():
    values = np.random.RandomState(12345).standard_normal([4, 3, 16, 16])
    return torch.from_numpy(values.astype(np.float32)).clamp(-1, 1)


class Recorder:
    """Network that returns a multiple of its input and remembers what it was given."""

    def __init__(self, factor=0.0):
        self.factor, self.calls = factor, []

    def __call__(self, x, sigma, class_labels=None, augment_labels=None):
        self.calls.append((x, sigma, class_labels, augment_labels))
        return x * self.factor


@pytest.mark.parametrize('cls', LOSSES)
def test_numbers_of_edm(cls):
    net = Recorder()
    torch.manual_seed(0)
    found = cls()(net, make_images())
    total, sigmas = KNOWN[cls]
    assert found.shape == (4, 3, 16, 16) and found.sum().item() == pytest.approx(total, rel=5e-7)
    x, sigma, labels, augment_labels = net.calls[0]
    assert sigma.shape == (4, 1, 1, 1) and sigma.flatten().tolist() == pytest.approx(sigmas, rel=2e-5)
    assert labels is None and augment_labels is None


# Noise level and weight of each loss with arguments other than the defaults, from the paper's table 1.
REFERENCES = [
    (
        EDMLoss(P_mean=-1.0, P_std=0.5, sigma_data=0.7),
        lambda u: math.exp(0.5 * u - 1.0),
        lambda s: (s**2 + 0.49) / (s * 0.7) ** 2,
    ),
    (
        VPLoss(beta_d=10, beta_min=0.3, epsilon_t=0.1),
        lambda u: math.sqrt(math.expm1(5 * (1 - 0.9 * u) ** 2 + 0.3 * (1 - 0.9 * u))),
        lambda s: s**-2,
    ),
    (
        VELoss(sigma_min=0.1, sigma_max=10),
        lambda u: math.exp(math.log(0.1) + u * math.log(100)),
        lambda s: s**-2,
    ),
]


@pytest.mark.parametrize('loss_fn, sigma_of, weight_of', REFERENCES, ids=['edm', 'vp', 've'])
def test_against_a_loop_over_pixels(loss_fn, sigma_of, weight_of):
    images = make_images()[:2, :, :3, :3]
    level, noise = torch.tensor([0.3, 0.9]).reshape(2, 1, 1, 1), torch.randn(images.shape)
    found = loss_fn(Recorder(0.25), images, level=level, noise=noise)
    for index in np.ndindex(*images.shape):
        sigma = sigma_of(level[index[0]].item())
        y, n = images[index].item(), noise[index].item() * sigma
        assert found[index].item() == pytest.approx(
            weight_of(sigma) * (0.25 * (y + n) - y) ** 2, rel=1e-4, abs=1e-6
        )


@pytest.mark.parametrize('cls', LOSSES)
def test_given_numbers_equal_drawn_numbers_in_edms_order(cls):
    """Level, then the augmentation, then the noise, which has the shape of the augmented images."""

    def pipe(images):
        shift = torch.rand([len(images), 1, 1, 1])
        return images + shift, shift[:, :, 0, 0]

    torch.manual_seed(0)
    drawn = cls()(Recorder(0.5), make_images(), None, pipe)
    torch.manual_seed(0)
    level = (torch.randn if cls is EDMLoss else torch.rand)([4, 1, 1, 1])
    images, augment_labels = pipe(make_images())
    noise = torch.randn([4, 3, 16, 16])
    net = Recorder(0.5)
    given = cls()(net, images, level=level, noise=noise, augment_labels=augment_labels)
    assert torch.equal(given, drawn) and net.calls[0][3] is augment_labels
    assert not torch.equal(cls()(net, images, level=torch.rand([4, 1, 1, 1]), noise=noise), drawn)


@pytest.mark.parametrize('cls', LOSSES)
def test_perfect_denoiser_has_no_loss_and_labels_travel(cls):
    images, labels = make_images(), torch.eye(4)
    net = Recorder()
    cls()(net, images, labels)
    assert net.calls[0][2] is labels
    assert cls()(lambda x, sigma, class_labels, augment_labels: images, images).abs().max() == 0


@pytest.mark.parametrize('cls, low, high', [(VPLoss, 2**-10, 152.166977), (VELoss, 0.02, 100)])
def test_levels_cover_the_range_of_the_preconditioning(cls, low, high):
    sigma = cls().sigma(torch.tensor([0.0, 1.0]))
    assert sorted(sigma.tolist()) == pytest.approx([low, high], rel=1e-5)
    net = {VPLoss: networks.VPPrecond, VELoss: networks.VEPrecond}[cls](
        8, 3, model_channels=8, channel_mult=[1], num_blocks=1, attn_resolutions=[]
    )
    assert (net.sigma_min, net.sigma_max) == pytest.approx((low, high), rel=1e-6)


@pytest.mark.parametrize(
    'cls, weight',
    [
        (EDMLoss, lambda s: 1 / s**2),  # VE's and VP's weight
        (EDMLoss, lambda s: (s**2 + 0.25) / (s + 0.5) ** 2),  # a sum for the product
        (EDMLoss, lambda s: (s**2 + 0.25) / (s * 0.5)),  # the square forgotten
        (VPLoss, lambda s: (s**2 + 0.25) / (s * 0.5) ** 2),  # EDM's weight
        (VELoss, lambda s: 1 / s),
    ],
)
def test_wrong_weights_are_rejected(cls, weight):
    torch.manual_seed(0)
    level = (torch.randn if cls is EDMLoss else torch.rand)([4, 1, 1, 1])
    loss_fn = cls()
    totals = [(w(loss_fn.sigma(level)) * make_images() ** 2).sum().item() for w in (loss_fn.weight, weight)]
    assert totals[0] == pytest.approx(KNOWN[cls][0], rel=5e-7) and totals[1] != pytest.approx(
        KNOWN[cls][0], rel=1e-3
    )


def test_snapshots_can_hold_them():
    """Attributes in EDM's order, as its files have them (after these the recorded arguments follow)."""
    names = [list(vars(cls()))[:-2] for cls in LOSSES]
    assert names == [
        ['P_mean', 'P_std', 'sigma_data'],
        ['beta_d', 'beta_min', 'epsilon_t'],
        ['sigma_min', 'sigma_max'],
    ]
    assert all(persistence.is_persistent(cls()) for cls in LOSSES)
    assert EDMLoss(P_mean=-2.0)._init_kwargs == dict(P_mean=-2.0)


@pytest.mark.parametrize('module', [loss, augment])
def test_texts_run_where_edm_runs(module):
    """Snapshots carry these files, and EDM's loader runs them: Python 3.8 and torch alone."""
    text = pathlib.Path(module.__file__).read_text()
    tree = ast.parse(text, feature_version=(3, 8))
    imported = {alias.name for node in ast.walk(tree) if isinstance(node, ast.Import) for alias in node.names}
    imported |= {node.module for node in ast.walk(tree) if isinstance(node, ast.ImportFrom)}
    assert imported <= {
        '__future__',
        'collections.abc',
        'functools',
        'math',
        'torch',
        'torch.nn',
        'torch_utils',
    }
