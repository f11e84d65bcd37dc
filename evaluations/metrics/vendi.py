# Copyright 2026 The GDD-1S authors.
# SPDX-License-Identifier: Apache-2.0

"""Vendi score (Friedman and Dieng 2023, arXiv 2210.02410): how many different images a set effectively holds.

Legend: N images, D features.
"""

import math

import torch

from evaluations.metrics.frechet import Array, as_features

_ROWS = 4096  # features per matrix product


def vendi_score(features: Array, order: float = 1.0) -> float:
    """Return the exponential of the entropy of the eigenvalues of the cosine similarities over N.

    Features are scaled to unit length and not centred. The eigenvalues of X^T X / N, which are those of
    X X^T / N but for zeros, need no memory that grows with N. Between 1 (all the same) and N; only sets of
    one size and one detector compare.

    Args:
        features: Float tensor or array [N, D], no row all zeros.
        order: q of the family of scores, above 0: small ones weigh rare images, math.inf only the most
            frequent.
    Raises:
        ValueError: Features that cannot be used, or an order that is not above 0.
    """
    features = as_features('features', features)
    if not order > 0:
        raise ValueError(f'order={order} must be above 0; 1 is the score of the paper')
    dim = features.shape[1]
    gram = torch.zeros([dim, dim], dtype=torch.float64, device=features.device)
    for part in features.split(_ROWS):
        rows = part.double()
        length = rows.norm(dim=1, keepdim=True)  # [R, 1]
        if not bool((length > 0).all()):
            raise ValueError('features holds a row of zeros, which has no direction; the detector is broken')
        rows = rows / length
        gram.addmm_(rows.T, rows)
    values = torch.linalg.eigvalsh(gram / len(features))
    values = values[values > len(values) * torch.finfo(values.dtype).eps]  # the others are rounding
    if order == 1:
        return math.exp(float(-(values * values.log()).sum()))
    if math.isinf(order):
        return 1 / float(values.max())
    return float(values.pow(order).sum()) ** (1 / (1 - order))
