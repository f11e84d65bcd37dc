# Copyright 2026 The GDD-1S authors.
# SPDX-License-Identifier: Apache-2.0

"""CMMD (Jayasumana et al. 2024, arXiv 2401.09603): maximum mean discrepancy with a Gaussian kernel.

The paper's features are those of CLIP ViT-L/14 at 336 pixels, scaled to unit length; the formula takes any.

Legend: N M images, D features.
"""

import torch

from evaluations.metrics.frechet import Array, as_feature_pair

SIGMA, SCALE = 10.0, 1000.0  # of the paper's program
_ROWS = 2048  # of a block


def cmmd(samples: Array, reference: Array, sigma: float = SIGMA, normalise: bool = True) -> float:
    """Return 1000 times the squared maximum mean discrepancy, biased as in the paper's program.

    Between unit vectors the kernel exp(-|x - y|^2 / (2 sigma^2)) differs from 1 by 0.02 at most, so the mean
    of its difference to 1 is taken, in float64: the ones cancel. The value is nearly 10 |mean x - mean y|^2.

    Args:
        samples, reference: Features, float tensors or arrays [N, D] and [M, D].
        sigma: Width of the kernel.
        normalise: Scale features to unit length, as published.
    Raises:
        ValueError: Sets that cannot be compared.
    """
    x, y = as_feature_pair(samples, reference)
    inside = sum(_mean_excess(part, part, sigma, normalise) for part in (x, y))
    return SCALE * (inside - 2 * _mean_excess(x, y, sigma, normalise))


def _mean_excess(x: torch.Tensor, y: torch.Tensor, sigma: float, normalise: bool) -> float:
    """Return the mean of kernel - 1 over all pairs."""
    total = 0.0
    for rows in x.split(_ROWS):
        a = _prepared(rows, normalise)
        for columns in y.split(_ROWS):
            b = _prepared(columns, normalise)
            squared = a.square().sum(dim=1)[:, None] - 2 * a @ b.T + b.square().sum(dim=1)  # [R, C]
            total += float(torch.expm1(squared.clamp(min=0) / (-2 * sigma**2)).sum())
    return total / (len(x) * len(y))


def _prepared(rows: torch.Tensor, normalise: bool) -> torch.Tensor:
    rows = rows.double()
    if not normalise:
        return rows
    length = rows.norm(dim=1, keepdim=True)
    if not bool((length > 0).all()):
        raise ValueError('there is a feature vector of zeros, which has no direction; the detector is broken')
    return rows / length
