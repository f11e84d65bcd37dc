# Copyright 2026 The GDD-1S authors.
# SPDX-License-Identifier: Apache-2.0

"""Nearest neighbours in blocks: against all distances at once, copies, ties, refusals."""

import numpy as np
import pytest
import torch

from evaluations.metrics.nearest import nearest_neighbours, nearest_others

RS = np.random.RandomState


def slow(queries, points, k, skip_self=False):
    distances = np.linalg.norm(queries[:, None] - points[None], axis=2)
    if skip_self:
        np.fill_diagonal(distances, np.inf)
    order = distances.argsort(axis=1, kind='stable')[:, :k]
    return np.take_along_axis(distances, order, axis=1), order


@pytest.mark.parametrize('k', [1, 3])
def test_blocks_equal_all_distances_at_once(k):
    x, y = RS(0).randn(70, 6), RS(1).randn(101, 6)
    found = nearest_neighbours(x, y, k, rows=16, columns=23)
    distances, indices = slow(x, y, k)
    assert np.allclose(found.distances, distances, rtol=1e-12) and np.array_equal(found.indices, indices)
    found = nearest_others(y, k, rows=16, columns=23)
    distances, indices = slow(y, y, k, skip_self=True)
    assert np.allclose(found.distances, distances, rtol=1e-12) and np.array_equal(found.indices, indices)


def test_copies_are_at_distance_zero_also_far_from_the_origin():
    x = torch.from_numpy(RS(0).randn(40, 8).astype(np.float32)) + 1000
    found = nearest_neighbours(x, x.flip(0))
    assert found.distances.abs().max() == 0 and found.indices[:, 0].tolist() == list(range(39, -1, -1))
    # The way that is rejected: the same distances in float32 without the second look.
    assert torch.cdist(x, x, compute_mode='use_mm_for_euclid_dist').diagonal().max() > 1e-3


def test_a_copy_elsewhere_in_the_set_counts_and_equal_distances_go_by_index():
    points = torch.tensor([[0.0], [2.0], [1.0], [1.0]])
    found = nearest_others(points)
    assert found.distances[:, 0].tolist() == [1, 1, 0, 0]
    assert found.indices[:, 0].tolist() == [2, 2, 3, 2]


def test_progress_and_refusals():
    seen = []
    nearest_others(torch.randn(5, 2), rows=2, progress=lambda items, *words: seen.append(words) or items)
    assert seen == [('Neighbours', 3, 'blocks')]
    with pytest.raises(ValueError, match='k=3 neighbours of 2 other images'):
        nearest_others(torch.randn(3, 2), 3)
    with pytest.raises(ValueError, match='2 features and reference has 3'):
        nearest_neighbours(torch.randn(3, 2), torch.randn(3, 3))
