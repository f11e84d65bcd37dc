# Copyright 2026 The GDD-1S authors.
# SPDX-License-Identifier: Apache-2.0

"""Sliced Wasserstein distances of features: SW (2607.02375, iRDM) and MIND (2605.06797).

They look at all of a distribution, not only at its mean and covariance, and need fewer images than FID.

Legend: N M images, D features, S directions.
"""

import numpy as np
import torch

from evaluations.metrics.frechet import Array, as_feature_pair

NUM_DIRECTIONS = 1024  # of iRDM's program; MIND's default elsewhere is 1000
_BLOCK = 64  # directions at a time


def random_directions(dim: int, count: int = NUM_DIRECTIONS, seed: int = 0) -> torch.Tensor:
    """Return unit vectors, uniform on the sphere, float64 [S, D]; the same on every device."""
    normal = np.random.RandomState(seed).randn(count, dim)
    return torch.from_numpy(normal / np.linalg.norm(normal, axis=1, keepdims=True))


def direction_distances(
    samples: Array, reference: Array, directions: torch.Tensor, power: int = 2, seed: int = 0
) -> torch.Tensor:
    """Return W_p^p between the two sets along each direction, float64 [S].

    Of the larger set a random subset of the size of the smaller one is used, as published programs do.

    Args:
        samples, reference: Features, float tensors or arrays [N, D] and [M, D].
        directions, power: Unit vectors [S, D]; p, at least 1.
        seed: Of the choice of a subset.
    Raises:
        ValueError: Sets that cannot be compared.
    """
    x, y = as_feature_pair(samples, reference)
    size, rng = min(len(x), len(y)), np.random.RandomState(seed)
    x, y = (
        part if len(part) == size else part[torch.from_numpy(rng.permutation(len(part))[:size])]
        for part in (x, y)
    )
    dtype = torch.promote_types(torch.promote_types(x.dtype, y.dtype), torch.float32)
    found = []
    for part in directions.to(x.device, dtype).split(_BLOCK):
        along = [(features.to(dtype) @ part.T).sort(dim=0).values for features in (x, y)]  # [N, block]
        found.append((along[0] - along[1]).double().abs().pow(power).mean(dim=0))
    return torch.cat(found)


def sliced_wasserstein(samples: Array, reference: Array, seed: int = 0) -> float:
    """Return SW_2, the root of the mean of W_2^2 over random directions.

    Above 0 also for two sets of one distribution: compare it with that of held-out images, and only
    values of equally many images.

    Args:
        samples, reference: Features, float tensors or arrays [N, D] and [M, D].
        seed: Of the directions, and of the choice from the larger set.
    Raises:
        ValueError: Sets that cannot be compared.
    """
    directions = random_directions(samples.shape[1], seed=seed)
    return float(direction_distances(samples, reference, directions, seed=seed).mean().sqrt())


def mind(samples: Array, reference: Array, seed: int = 0) -> float:
    """Return MIND, 3 D times the mean of W_2^2: three times the squared distance for a mere shift.

    Arguments and errors as of `sliced_wasserstein`.
    """
    return 3 * samples.shape[1] * sliced_wasserstein(samples, reference, seed) ** 2
