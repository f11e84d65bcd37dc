# Copyright 2026 The GDD-1S authors.
# SPDX-License-Identifier: Apache-2.0
"""Generation and metrics on a device against the CPU."""

import numpy as np
import pytest
import torch

from evaluations.detectors import registry
from evaluations.metrics import frechet, kid, manifold, moments
from tests.support.devices import FORWARD, distance
from tests.support.tiny_runs import UNET
from training import networks
from training.sampling import samplers


@pytest.mark.parametrize('sampler, options', [
    ('one_step', {}), ('multi_step', dict(num_steps=2)), ('edm', dict(num_steps=4)),
    ('edm', dict(num_steps=4, S_churn=5)), ('ablation', dict(num_steps=4, solver='euler'))])  # fmt: skip
def test_images_of_the_same_seeds(sampler, options, device):
    torch.manual_seed(0)
    precond = networks.GDDPrecond if 'step' in sampler else networks.EDMPrecond
    net = precond(img_resolution=8, img_channels=3, label_dim=3, **UNET).eval()
    images = [
        samplers.sample_batch(net.to(where), range(4), sampler, device=where, rng_device='cpu', **options)[0]
        for where in ('cpu', device)
    ]
    assert distance(images[1], images[0]) < 10 * FORWARD
    first, second = (samplers.to_uint8(x).astype(int) for x in images)
    assert np.abs(first - second).max() <= 1 and (first != second).mean() < 0.01


@pytest.fixture
def features():
    torch.manual_seed(0)
    return torch.randn(60, 8), torch.randn(50, 8) + 0.5


def test_moments_and_distance(features, device):
    found = []
    for where in (device, 'cpu'):
        stats = [moments.FeatureStats(8, device=where) for _ in features]
        for each, values in zip(stats, features):
            each.append(values.to(where))
            each.reduce()
        found.append(frechet.frechet_distance(*(x for s in stats for x in (s.mean(), s.cov()))))
    assert found[0] == pytest.approx(found[1], rel=1e-6)


def test_manifolds_and_kernel_distance(features, device):
    found, expected = (
        (
            *manifold.precision_recall(samples=a, reference=b),
            *manifold.density_coverage(samples=a, reference=b),
            *kid.kernel_distance(samples=a, reference=b, subset_size=20),
        )
        for a, b in ([values.to(where) for values in features] for where in (device, 'cpu'))
    )
    assert found == pytest.approx(expected, abs=0.05)


def test_detector(device):
    images = torch.randint(
        0, 256, [8, 1, 32, 32], dtype=torch.uint8, generator=torch.Generator().manual_seed(0)
    )
    found, expected = (
        registry.get_detector('mnist-classifier', device=str(where)).measure(images).features
        for where in (device, 'cpu')
    )
    assert distance(torch.as_tensor(found), torch.as_tensor(expected)) < 10 * FORWARD
