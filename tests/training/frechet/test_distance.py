# Copyright 2026 The GDD-1S authors.
# SPDX-License-Identifier: Apache-2.0
"""Tests of training/frechet/distance.py: value and map by the vectors of the specification, and at the
edges."""

import pytest
import torch

from evaluations.metrics.frechet import frechet_distance
from training.frechet.distance import Reference


def double(values):
    return torch.tensor(values, dtype=torch.float64)


MEAN, COVARIANCE = double([1.0, 2.0]), double([[2.0, 0.5], [0.5, 1.0]])
REFERENCE = Reference(double([0.0, 1.5]), double([[1.0, -0.3], [-0.3, 0.5]]))


def random_gaussian(seed, dim, count):
    rows = torch.randn(count, dim, generator=torch.Generator().manual_seed(seed)).double()
    rows = rows * torch.linspace(0.5, 2, dim) + seed
    return rows.mean(dim=0), torch.cov(rows.T)


def test_two_dimensions_by_hand():
    found = REFERENCE.compare(MEAN, COVARIANCE)
    root = double([[0.983683472576, -0.179907825791], [-0.179907825791, 0.683837096259]])
    torch.testing.assert_close(REFERENCE.root, root, rtol=0, atol=1e-9)
    assert float(found.distance) == pytest.approx(1.8033014128, abs=1e-9)
    expected = double([[0.752036499775, -0.274667718257], [-0.274667718257, 0.743944012323]])
    torch.testing.assert_close(found.map, expected, rtol=0, atol=1e-9)
    torch.testing.assert_close(found.map @ COVARIANCE @ found.map, REFERENCE.covariance, rtol=0, atol=1e-12)
    assert found.shift.tolist() == [1, 0.5] and float(found.floored) == 0
    # A map of the right eigenvalues in the wrong order of factors carries one Gaussian to another.
    wrong = torch.linalg.inv(REFERENCE.root) @ found.map @ REFERENCE.root
    assert (wrong @ COVARIANCE @ wrong.T - REFERENCE.covariance).abs().max() > 1e-2


def test_value_equals_the_metrics():
    (m1, s1), (m2, s2) = random_gaussian(0, 16, 200), random_gaussian(1, 16, 200)
    found = Reference(m2, s2).compare(m1, s1)
    assert float(found.distance) == pytest.approx(frechet_distance(m1, s1, m2, s2), rel=1e-9)


def test_map_is_the_gradient_for_the_covariance():
    """I - T by autograd through the eigenvalues, and by finite differences (specification 2.4)."""
    covariance = COVARIANCE.clone().requires_grad_(True)
    inner = REFERENCE.root @ covariance @ REFERENCE.root
    value = covariance.trace() - 2 * torch.linalg.eigvalsh((inner + inner.T) / 2).sqrt().sum()
    (gradient,) = torch.autograd.grad(value, covariance)
    closed = torch.eye(2) - REFERENCE.compare(MEAN, COVARIANCE).map
    torch.testing.assert_close((gradient + gradient.T) / 2, closed, rtol=0, atol=1e-10)
    step = torch.zeros(2, 2).double()
    step[0, 1] = step[1, 0] = 1e-6
    up, down = (REFERENCE.compare(MEAN, COVARIANCE + sign * step).distance for sign in (1, -1))
    assert float(up - down) / 2e-6 == pytest.approx(0.549335437, abs=1e-7)


def test_equal_gaussians():
    mean, covariance = random_gaussian(0, 16, 200)
    found = Reference(mean, covariance).compare(mean, covariance)
    assert float(found.distance) == pytest.approx(0, abs=1e-10)
    torch.testing.assert_close(found.map, torch.eye(16).double(), rtol=0, atol=1e-8)
    moved = Reference(mean, covariance).compare(mean + 2, covariance)
    assert float(moved.distance) == pytest.approx(16 * 4) and torch.equal(moved.map, found.map)


def test_too_few_images_for_the_features_stay_finite():
    """Eigenvalues of exactly 0, on either side, where the root has no derivative."""
    (m1, s1), (m2, s2) = random_gaussian(0, 16, 5), random_gaussian(1, 16, 200)
    for first, second in (((m1, s1), (m2, s2)), ((m2, s2), (m1, s1)), ((m1, 0 * s1), (m2, 0 * s2))):
        found = Reference(*second).compare(*first)
        assert found.distance.isfinite() and found.map.isfinite().all()
    assert float(Reference(m2, s2).compare(m1, s1).floored) == pytest.approx(12 / 16)
    assert float(Reference(m2, s2).compare(m1, s1).distance) == pytest.approx(
        frechet_distance(m1, s1, m2, s2), rel=1e-6
    )
