# Copyright 2026 The GDD-1S authors.
# SPDX-License-Identifier: Apache-2.0

"""FID-infinity (Chong and Forsyth 2020, arXiv 1911.07023): the Frechet distance of infinitely many samples.

The distance is nearly a straight line in 1 / N. Only the bias of the samples is removed; that of the
reference, which all models share, stays.

Legend: N images, D features.
"""

import typing
from collections.abc import Sequence

import numpy as np

from evaluations.metrics.frechet import Array, as_features, frechet_distance
from evaluations.metrics.moments import FeatureStats

NUM_POINTS, FIRST_POINT = 15, 5000  # of the authors' program
NUM_ORDERS = 5  # random orders of the samples


class Extrapolation(typing.NamedTuple):
    """Mean and standard deviation of the intercept over random orders, the slope, and what was measured."""

    value: float
    std: float
    slope: float
    sizes: list[int]


def subset_sizes(num_images: int, dim: int) -> list[int]:
    """Return the numbers of images that distances are computed of, ascending.

    15, evenly spaced, from 5,000 or a tenth of all if that is less, but more than there are features.

    Args:
        num_images: N.
        dim: D.
    Raises:
        ValueError: Fewer than 2 (D + 1) images, too few for a line.
    """
    if num_images < 2 * (dim + 1):
        raise ValueError(
            f'extrapolation of {num_images} images with {dim} features is chance; '
            f'it needs at least {2 * (dim + 1)} images'
        )
    first = max(min(FIRST_POINT, num_images // 10), dim + 1)
    return sorted(set(np.linspace(first, num_images, NUM_POINTS).astype(np.int64).tolist()))


def fit_inverse(sizes: Sequence[int], values: Sequence[float]) -> tuple[float, float]:
    """Return (a, b) of the least-squares line values = a + b / sizes; a is the value at infinity."""
    slope, intercept = np.polyfit(1 / np.asarray(sizes, dtype=np.float64), np.asarray(values), 1)
    return float(intercept), float(slope)


def extrapolate_frechet(
    features: Array, mu: Array, sigma: Array, num_orders: int = NUM_ORDERS, seed: int = 0
) -> Extrapolation:
    """Extrapolate the Frechet distance to infinitely many samples.

    The subsets of an order are nested, so that one pass gives all statistics; the authors draw each anew. The
    spread is that of several orders: the points depend on each other, so the fit's own error means nothing.

    Args:
        features: Of the samples, float tensor or array [N, D].
        mu, sigma: Statistics of the reference, float [D] and [D, D].
        num_orders, seed: Random orders of the samples.
    Raises:
        ValueError: Too few images, or arrays that do not fit.
    """
    features = as_features('features', features)
    sizes, rng, fits = subset_sizes(*features.shape), np.random.RandomState(seed), []
    for _ in range(num_orders):
        order = rng.permutation(len(features))
        stats, values = FeatureStats(features.shape[1], features.device), []
        for begin, end in zip([0, *sizes], sizes):
            stats.append(features[order[begin:end]])
            values.append(frechet_distance(stats.mean(), stats.cov(), mu, sigma))
        fits.append(fit_inverse(sizes, values))
    intercepts, slopes = zip(*fits)
    return Extrapolation(float(np.mean(intercepts)), float(np.std(intercepts)), float(np.mean(slopes)), sizes)
