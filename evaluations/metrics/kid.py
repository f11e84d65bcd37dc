# Copyright 2026 The GDD-1S authors.
# SPDX-License-Identifier: Apache-2.0

"""Kernel Inception distance (KID): squared maximum mean discrepancy of feature sets, Binkowski et al. 2018.

Legend: N M images, D features.
"""

import typing

import numpy as np
import torch

from evaluations.metrics.frechet import Array, as_feature_pair

NUM_SUBSETS, SUBSET_SIZE = 100, 1000  # of published numbers


class KernelDistance(typing.NamedTuple):
    """Mean and population standard deviation over random subsets, and how these were drawn."""

    mean: float
    std: float
    num_subsets: int
    subset_size: int
    seed: int


def polynomial_kernel(x: torch.Tensor, y: torch.Tensor) -> torch.Tensor:
    """Return (x y / D + 1)^3 for all pairs of rows: float [N, D], [M, D] -> [N, M]."""
    return (x @ y.T / x.shape[1] + 1) ** 3


def squared_mmd(x: torch.Tensor, y: torch.Tensor) -> torch.Tensor:
    """Return the unbiased estimate of the squared maximum mean discrepancy of two sets.

    Pairs of an image with itself are left out; the result may be below 0.

    Args:
        x, y: Features, float tensors [N, D] and [M, D]; N, M >= 2.
    Returns:
        The estimate, float tensor [].
    """
    self_terms = 0
    for z in (x, y):
        kernel = polynomial_kernel(z, z)  # [N, N]
        self_terms += (kernel.sum() - kernel.trace()) / (len(z) * (len(z) - 1))
    return self_terms - 2 * polynomial_kernel(x, y).mean()


def kernel_distance(
    *,
    samples: Array,
    reference: Array,
    num_subsets: int = NUM_SUBSETS,
    subset_size: int = SUBSET_SIZE,
    seed: int = 0,
) -> KernelDistance:
    """Estimate the kernel distance on random subsets of both sets.

    One NumPy generator draws all subsets without replacement, that of the samples before that
    of the reference, as StyleGAN and clean-fid (generated first) and torch-fidelity (first input
    first, seed 2020) do: with their seed the value is theirs. Computed in float64, which the
    difference of nearly equal sums deserves.

    Args:
        samples: Features of generated images, float tensor or array [N, D].
        reference: Features of real images, float [M, D].
        num_subsets: Subsets to average over.
        subset_size: Images per subset; the size of the smaller set, if that has fewer.
        seed: Seed of the choice of subsets.
    Returns:
        `KernelDistance`, in units of the kernel (papers often print 1000 times the mean).
    Raises:
        ValueError: Sets that do not fit together, or subsets of fewer than 2 images.
    """
    samples, reference = as_feature_pair(samples, reference)
    size = min(subset_size, len(samples), len(reference))
    if size < 2 or num_subsets < 1:
        raise ValueError(
            f'KID of {len(samples)} samples and {len(reference)} reference images with '
            f'num_subsets={num_subsets}, subset_size={subset_size} is not defined; '
            'it needs 1 subset and 2 images at least, '
            f'{NUM_SUBSETS} and {SUBSET_SIZE} are usual'
        )
    rng = np.random.RandomState(seed)
    values = []
    for _ in range(num_subsets):
        x, y = (
            part[torch.from_numpy(rng.choice(len(part), size, replace=False)).to(part.device)].to(
                torch.float64
            )
            for part in (samples, reference)
        )  # [subset_size, D]
        values.append(float(squared_mmd(x, y)))
    return KernelDistance(float(np.mean(values)), float(np.std(values)), num_subsets, size, seed)
