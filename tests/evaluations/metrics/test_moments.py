# Copyright 2026 The GDD-1S authors.
# SPDX-License-Identifier: Apache-2.0

"""Streaming mean and covariance."""

import numpy as np
import pytest
import torch

from evaluations.metrics.moments import FeatureStats

X = np.random.RandomState(0).randn(500, 16)  # vector V1 of the specification


def collect(parts, dim=16):
    stats = FeatureStats(dim)
    for part in parts:
        stats.append(torch.from_numpy(part))
    return stats


def test_published_values():
    stats = collect([X])
    assert stats.mean()[:3] == pytest.approx([-0.019489819999, 0.030704857210, -0.083383847205], abs=1e-12)
    assert stats.cov()[0, :3] == pytest.approx([0.902794238919, 0.004396877491, -0.021567740013], abs=1e-12)


@pytest.mark.parametrize('shards', [1, 3, 7, 500, 600])  # sums are updated once per 1024 rows
def test_any_split_gives_the_same_statistics(shards):
    stats = collect(np.array_split(X, shards))  # 600 shards: some are empty
    assert stats.num_images == 500
    assert np.abs(stats.mean() - X.mean(axis=0)).max() < 1e-12
    assert np.abs(stats.cov() - np.cov(X, rowvar=False)).max() < 1e-12


def test_float32_features_are_accumulated_in_float64():
    x = (X + 100).astype(np.float32)
    exact = np.cov(x.astype(np.float64), rowvar=False)
    wrong = (x.T @ x - len(x) * np.outer(x.mean(axis=0), x.mean(axis=0))) / (len(x) - 1)  # all in float32
    assert np.abs(collect([x]).cov() - exact).max() < 1e-8
    assert np.abs(wrong - exact).max() > 1e-4


def test_covariance_is_unbiased():
    assert collect([np.array([[0.0], [2.0]])], dim=1).cov() == 2  # divided by N it would be 1


def test_too_few_images():
    with pytest.raises(ValueError, match='at least 2 images, but there are 1'):
        collect([X[:1]]).cov()
    with pytest.raises(ValueError, match='at least 1 images, but there are 0'):
        collect([]).mean()


def test_many_blocks_equal_one():
    x = np.random.RandomState(1).rand(5000, 3) + 5
    stats = collect(np.array_split(x, 37), dim=3)  # several blocks, and rows that wait at the end
    stats.reduce()
    assert stats.num_images == 5000
    assert (
        np.abs(stats.mean() - x.mean(axis=0)).max() < 1e-12
        and np.abs(stats.cov() - np.cov(x.T)).max() < 1e-11
    )


def test_statistics_can_be_looked_at_and_continued():
    stats = collect([X[:200]])
    assert np.abs(stats.cov() - np.cov(X[:200].T)).max() < 1e-12
    stats.append(torch.from_numpy(X[200:]))
    assert np.abs(stats.cov() - np.cov(X.T)).max() < 1e-12
