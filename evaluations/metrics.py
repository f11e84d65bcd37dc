# Copyright 2026 The GDD-1S authors.
# SPDX-License-Identifier: Apache-2.0

"""Distances and scores computed from features; pure functions of arrays.

Legend: N images, D features, K classes.
"""

import numpy as np
import torch

_ROUNDING = 1e-6    # negative eigenvalues up to this fraction of the largest are rounding, not an error


def _symmetric(name, sigma, dim):
    """Check one covariance argument and return it as a symmetric float64 matrix."""
    sigma = np.asarray(sigma, dtype=np.float64)
    if sigma.shape != (dim, dim):
        raise ValueError(f'{name} has shape {sigma.shape}, but its mean has {dim} entries; it must be ({dim}, {dim})')
    if not np.isfinite(sigma).all():
        raise ValueError(f'{name} holds values that are not finite; the features it was made from were broken')
    return (sigma + sigma.T) / 2


def _eigenvalues(name, values):
    """Clip eigenvalues that rounding made negative; refuse those that are truly negative."""
    if values.size and values[0] < -_ROUNDING * max(values[-1], 1):
        raise ValueError(f'{name} has the eigenvalue {values[0]:g}; a covariance has none below 0')
    return np.clip(values, 0, None)


def frechet_parts(mu1, sigma1, mu2, sigma2):
    """Return the two terms of the Frechet distance between two Gaussians.

    tr((S1 S2)^(1/2)) is taken as the sum of the square roots of the eigenvalues of
    the symmetric matrix S1^(1/2) S2 S1^(1/2). It equals the trace of the matrix
    square root that the official programs take, but needs no such function, stays
    real, and is stable when a covariance has lower rank than features.

    Args:
        mu1, mu2: Means, float [D].
        sigma1, sigma2: Covariances, float [D, D].
    Returns:
        (|mu1 - mu2|^2, tr S1 + tr S2 - 2 tr((S1 S2)^(1/2))), float64 numbers. The second
        may be below 0 by rounding when the sets are identical.
    Raises:
        ValueError: Shapes that do not fit, values that are not finite, or a matrix
            that is not a covariance.
    """
    mu1, mu2 = np.asarray(mu1, dtype=np.float64), np.asarray(mu2, dtype=np.float64)
    if mu1.ndim != 1 or mu1.shape != mu2.shape:
        raise ValueError(f'the means have shapes {mu1.shape} and {mu2.shape}; both must be vectors of the same length')
    if not (np.isfinite(mu1).all() and np.isfinite(mu2).all()):
        raise ValueError('a mean holds values that are not finite; the features it was made from were broken')
    sigma1 = _symmetric('sigma1', sigma1, mu1.size)
    sigma2 = _symmetric('sigma2', sigma2, mu2.size)

    w, v = np.linalg.eigh(sigma1)
    root = (v * np.sqrt(_eigenvalues('sigma1', w))) @ v.T                   # [D, D]
    product = root @ sigma2 @ root                                          # [D, D]
    eig = _eigenvalues('the product of the covariances', np.linalg.eigvalsh((product + product.T) / 2))
    cov_term = np.trace(sigma1) + np.trace(sigma2) - 2 * np.sqrt(eig).sum()
    return float(np.square(mu1 - mu2).sum()), float(cov_term)


def frechet_distance(mu1, sigma1, mu2, sigma2):
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


def class_accuracy(logits, labels):
    """Return the fraction of images whose largest logit is that of their label.

    Args:
        logits: Class scores, float tensor [N, K].
        labels: Class indices 0..K-1, int tensor [N].
    Returns:
        Accuracy, 0..1.
    Raises:
        ValueError: Shapes that do not fit, no images, or a label outside 0..K-1.
    """
    logits, labels = torch.as_tensor(logits), torch.as_tensor(labels)
    if logits.ndim != 2 or labels.shape != logits.shape[:1] or labels.numel() == 0:
        raise ValueError(f'logits have shape {tuple(logits.shape)} and labels {tuple(labels.shape)}; '
                         'they must be [N, K] and [N] with N >= 1')
    if labels.min() < 0 or labels.max() >= logits.shape[1]:
        raise ValueError(f'labels reach from {int(labels.min())} to {int(labels.max())}, but there are '
                         f'{logits.shape[1]} classes, 0..{logits.shape[1] - 1}')
    return float((logits.argmax(dim=1) == labels.to(logits.device)).double().mean())
