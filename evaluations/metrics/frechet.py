# Copyright 2026 The GDD-1S authors.
# SPDX-License-Identifier: Apache-2.0

"""Distances and scores computed from features; pure functions of arrays.

Legend: N images, D features, K classes.
"""

import numpy as np
import torch

Array = np.ndarray | torch.Tensor
_ROUNDING = 1e-6  # negative eigenvalues up to this fraction of the largest are rounding, not an error


def _matrix(values: Array, device: torch.device | None = None) -> torch.Tensor:
    """Return an argument as a float64 tensor; NumPy arrays go to `device`, tensors stay where they are."""
    if isinstance(values, torch.Tensor):
        return values.detach().to(device=device, dtype=torch.float64)
    return torch.as_tensor(np.asarray(values, dtype=np.float64), device=device)


def _symmetric(name: str, sigma: Array, mu: torch.Tensor) -> torch.Tensor:
    """Check one covariance argument and return it as a symmetric float64 matrix."""
    sigma = _matrix(sigma, mu.device)
    dim = len(mu)
    if sigma.shape != (dim, dim):
        raise ValueError(
            f'{name} has shape {tuple(sigma.shape)}, but its mean has {dim} entries; '
            f'it must be ({dim}, {dim})'
        )
    if not sigma.isfinite().all():
        raise ValueError(
            f'{name} holds values that are not finite; the features it was made from were broken'
        )
    return (sigma + sigma.T) / 2


def _factor(name: str, sigma: torch.Tensor) -> torch.Tensor:
    """Return A of shape [D, R] with A A^T = sigma, where R is the rank.

    Cholesky where it succeeds (one third of the time of an eigendecomposition). A matrix of fewer
    images than features does not have full rank: its eigenvalues at the level of rounding are
    left out, because their square roots (1e-8 for 1e-16) would add up to a visible error.
    """
    factor, failed = torch.linalg.cholesky_ex(sigma)  # [D, D]
    if not failed:
        return factor
    w, v = torch.linalg.eigh(sigma)  # [D], [D, D]
    if len(w) and w[0] < -_ROUNDING * w[-1].clamp(min=1):
        raise ValueError(f'{name} has the eigenvalue {float(w[0]):g}; a covariance has none below 0')
    kept = w > len(w) * torch.finfo(w.dtype).eps * w[-1]
    return v[:, kept] * w[kept].sqrt()  # [D, R]


def frechet_parts(mu1: Array, sigma1: Array, mu2: Array, sigma2: Array) -> tuple[float, float]:
    """Return the two terms of the Frechet distance between two Gaussians.

    With S1 = A A^T, the nonzero eigenvalues of S1 S2 are those of the symmetric matrix
    A^T S2 A, so tr((S1 S2)^(1/2)) is the sum of their square roots. It equals the trace of the
    matrix square root that the official programs take, but needs no such function, stays
    real, and is stable when a covariance has lower rank than features.

    Args:
        mu1, mu2: Means, float [D]; NumPy arrays, or tensors (computed on the device of `mu1`).
        sigma1, sigma2: Covariances, float [D, D].
    Returns:
        (|mu1 - mu2|^2, tr S1 + tr S2 - 2 tr((S1 S2)^(1/2))), float64 numbers. The second
        may be below 0 by rounding when the sets are nearly identical.
    Raises:
        ValueError: Shapes that do not fit, values that are not finite, or a matrix
            that is not a covariance.
    """
    mu1 = _matrix(mu1)
    mu2 = _matrix(mu2, mu1.device)
    if mu1.ndim != 1 or mu1.shape != mu2.shape:
        raise ValueError(
            f'the means have shapes {tuple(mu1.shape)} and {tuple(mu2.shape)}; '
            'both must be vectors of the same length'
        )
    if not (mu1.isfinite().all() and mu2.isfinite().all()):
        raise ValueError('a mean holds values that are not finite; the features it was made from were broken')
    sigma1 = _symmetric('sigma1', sigma1, mu1)
    sigma2 = _symmetric('sigma2', sigma2, mu2)

    factor, other = _factor('sigma1', sigma1), sigma2  # [D, R], [D, D]
    factor2 = _factor('sigma2', sigma2)
    if factor2.shape[1] < factor.shape[1]:  # the smaller rank leaves less to rounding
        factor, other = factor2, sigma1
    product = factor.T @ other @ factor  # [R, R]
    eig = torch.linalg.eigvalsh((product + product.T) / 2).clamp(min=0)
    cov_term = sigma1.trace() + sigma2.trace() - 2 * eig.sqrt().sum()
    return float((mu1 - mu2).square().sum()), float(cov_term)


def frechet_distance(mu1: Array, sigma1: Array, mu2: Array, sigma2: Array) -> float:
    """Return the Frechet distance between two Gaussians.

    |mu1 - mu2|^2 + tr(S1 + S2 - 2 (S1 S2)^(1/2)), Heusel et al. 2017, Eq. (6).

    Args:
        mu1, mu2: Means, float [D].
        sigma1, sigma2: Covariances, float [D, D].
    Returns:
        The squared distance, float64; not clipped at 0.
    Raises:
        ValueError: See `frechet_parts`.
    """
    return sum(frechet_parts(mu1, sigma1, mu2, sigma2))


def as_features(name: str, features: Array) -> torch.Tensor:
    """Return features as a tensor [N, D] without copying them, after checking them.

    Args:
        name: Argument that gave them, for messages.
        features: Tensor, or NumPy array (which may be mapped from a file), float [N, D].
    Returns:
        The tensor, on the device and of the type it had.
    Raises:
        ValueError: Another shape or type, no images, or values that are not finite.
    """
    features = features.detach() if isinstance(features, torch.Tensor) else torch.as_tensor(features)
    if features.ndim != 2 or features.numel() == 0 or not features.is_floating_point():
        raise ValueError(
            f'{name} is {features.dtype} of shape {tuple(features.shape)}; it must be floating-point '
            'features [N, D] of at least one image'
        )
    if not torch.stack(features.aminmax()).isfinite().all():  # unlike isfinite() of all, needs no memory
        raise ValueError(f'{name} holds values that are not finite; the detector or its weights are broken')
    return features


def as_feature_pair(samples: Array, reference: Array) -> tuple[torch.Tensor, torch.Tensor]:
    """Return both sets as `as_features` does, the reference on the device of the samples.

    Raises:
        ValueError: See `as_features`; or the sets have different numbers of features.
    """
    samples, reference = as_features('samples', samples), as_features('reference', reference)
    if samples.shape[1] != reference.shape[1]:
        raise ValueError(
            f'samples have {samples.shape[1]} features and reference has {reference.shape[1]}; '
            'both must come from the same detector'
        )
    return samples, reference.to(samples.device)
