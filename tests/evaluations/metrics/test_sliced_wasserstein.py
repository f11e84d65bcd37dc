# Copyright 2026 The GDD-1S authors.
# SPDX-License-Identifier: Apache-2.0

"""Sliced Wasserstein distances: values by hand, closed forms, torch-fidelity, wrong versions."""

import numpy as np
import pytest
import torch

from evaluations.metrics.sliced_wasserstein import (
    direction_distances,
    mind,
    random_directions,
    sliced_wasserstein,
)

X, Y = np.array([[0.0, 0], [1, 2], [3, 1]]), np.array([[1.0, 1], [2, 0], [5, 4]])
V = np.array([[0.0, 1], [1, 1], [2, 2]])
THETA = torch.tensor([[1.0, 0], [0, 1], [0.6, 0.8]], dtype=torch.float64)
RS = np.random.RandomState


def test_by_hand():
    squared = direction_distances(X, Y, THETA)
    assert squared.tolist() == pytest.approx([2, 1.3333333333, 5.0133333333])
    assert direction_distances(X, Y, THETA, power=1).tolist() == pytest.approx(
        [1.3333333333, 0.6666666667, 1.8666666667]
    )
    assert float(squared.mean().sqrt()) == pytest.approx(1.6679994671)
    assert 3 * 2 * float(squared.mean()) == pytest.approx(16.6933333333)  # MIND, D = 2
    floor = float(direction_distances(V, X, THETA).mean().sqrt())
    assert floor == pytest.approx(0.6073622386)
    assert float(squared.mean().sqrt()) / floor == pytest.approx(2.7463009075)


def test_one_dimension_is_the_distance_of_sorted_values():
    stats = pytest.importorskip('scipy.stats')
    x, y = RS(0).randn(50, 1), RS(1).randn(50, 1) + 1
    first = direction_distances(x, y, torch.ones(1, 1), power=1)
    assert float(first) == pytest.approx(stats.wasserstein_distance(x[:, 0], y[:, 0]))
    # Two Gaussians: (difference of means)^2 + (difference of deviations)^2.
    x, y = RS(0).randn(4000, 1), 3 * RS(1).randn(4000, 1) + 1
    assert sliced_wasserstein(x, y) == pytest.approx(5**0.5, rel=0.06)
    # The rejected way: pairs in the order of the files instead of sorted.
    assert np.square(x - y).mean() > 1.5 * 5


def test_mind_is_three_times_the_squared_shift():
    x = RS(0).randn(200, 16)
    shift = RS(1).randn(16)
    assert mind(x, x + shift) == pytest.approx(3 * np.square(shift).sum(), rel=0.15)


def test_convention():
    x, y = RS(0).randn(300, 8), RS(1).randn(300, 8)
    assert sliced_wasserstein(x, x[::-1].copy()) == 0
    assert sliced_wasserstein(x, y) == sliced_wasserstein(x, y)
    assert 0 < sliced_wasserstein(x, y) < sliced_wasserstein(x, y + 0.5)
    directions = torch.eye(8, dtype=torch.float64)
    assert float(direction_distances(x, x + 2, directions).mean()) == pytest.approx(4)
    norms = random_directions(8, 5).norm(dim=1)
    assert torch.allclose(norms, torch.ones_like(norms))
    assert random_directions(3, 2, seed=0)[0].tolist() == pytest.approx(
        (RS(0).randn(3) / np.linalg.norm(RS(0).randn(3))).tolist()
    )


def test_the_larger_set_is_cut_to_the_smaller():
    x, y = RS(0).randn(500, 4), RS(1).randn(200, 4)
    assert sliced_wasserstein(x, y) == sliced_wasserstein(x, y)
    assert sliced_wasserstein(x, y, seed=1) != sliced_wasserstein(x, y)
    with pytest.raises(ValueError, match='4 features and reference has 3'):
        sliced_wasserstein(x, RS(1).randn(20, 3))
