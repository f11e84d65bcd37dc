# Copyright 2026 The GDD-1S authors.
# SPDX-License-Identifier: Apache-2.0
"""Mean and covariance of a population of generated features that is larger than a batch.

A batch is smaller than the features are wide, so its own covariance says nothing. Both populations here hold
features of earlier batches as constants; only the newest batch has a gradient (arXiv 2604.28190, section
3.2).

Letters: N size of the population, B images of a batch (of all processes), D width of the features.
"""

from collections.abc import Mapping
from typing import Any

import torch

from dnnlib.errors import ArgumentError, arg
from training.frechet.distance import FrechetTerms

REFRESH = 10_000  # batches after which the running sums are made anew


class FeatureQueue:
    """The last N features; a new batch replaces the oldest.

    Args:
        features: What it begins with, float32 [N, D].
    Raises:
        ArgumentError: Fewer than two features.
    """

    def __init__(self, features: torch.Tensor) -> None:
        if len(features) < 2:
            raise ArgumentError(
                arg('fd_queue', len(features)), ' has no covariance; use ', arg('fd_queue', 50000)
            )
        self.rows, self.position, self.batches = features.clone(), 0, 0
        self._sum_up()

    def push(self, features: torch.Tensor) -> None:
        """Take in a batch [B, D]; raises ArgumentError if it is larger than the queue."""
        if len(features) > len(self.rows):
            raise ArgumentError(
                arg('fd_queue', len(self.rows)),
                f' is smaller than a batch of {len(features)}; use ',
                arg('fd_queue', 10 * len(features)),
            )
        index = (self.position + torch.arange(len(features), device=self.rows.device)) % len(self.rows)
        for rows, sign in ((self.rows[index], -1), (features, 1)):
            rows = rows.double()
            self.total += sign * rows.sum(dim=0)
            self.products += sign * (rows.T @ rows)
        self.rows[index] = features.to(self.rows.dtype)
        self.position = (self.position + len(features)) % len(self.rows)
        self.batches += 1
        if self.batches % REFRESH == 0:
            self._sum_up()

    def moments(self) -> tuple[torch.Tensor, torch.Tensor]:
        """Return mean [D] and unbiased covariance [D, D], float64."""
        count = len(self.rows)
        mean = self.total / count
        return mean, (self.products - count * torch.outer(mean, mean)) / (count - 1)

    def gradient(self, features: torch.Tensor, terms: FrechetTerms) -> torch.Tensor:
        """Return d distance / d features of the newest batch, float64 [B, D].

        2/N (m - m_r) + 2/(N-1) (I - T)(x - m), with the moments after `push`.

        Args:
            features:   The batch, [B, D].
            terms:      `Reference.compare` of `moments`.
        """
        centred = features.double() - self.moments()[0]
        count = len(self.rows)
        return 2 / count * terms.shift + 2 / (count - 1) * (centred - centred @ terms.map)

    def state_dict(self) -> dict[str, Any]:
        """Return everything a resume needs, as tensors and plain values."""
        return dict(
            rows=self.rows.cpu(),
            position=self.position,
            batches=self.batches,
            total=self.total.cpu(),
            products=self.products.cpu(),
        )

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Continue from `state_dict()`."""
        for name in ('rows', 'total', 'products'):
            getattr(self, name).copy_(state[name])
        self.position, self.batches = state['position'], state['batches']

    def _sum_up(self) -> None:
        rows = self.rows.double()
        self.total, self.products = rows.sum(dim=0), rows.T @ rows


class MovingMoments:
    """Moving averages of mean and second moment over the batches.

    As many images as a population of B (1 + beta) / (1 - beta) count.

    Args:
        features: What it begins with, float32 [N, D].
        beta:     Weight of the past, 0..1.
    """

    def __init__(self, features: torch.Tensor, beta: float) -> None:
        self.beta = beta
        self.mean, self.second = _averages(features)

    def push(self, features: torch.Tensor) -> None:
        """Take in a batch [B, D]."""
        for own, new in zip((self.mean, self.second), _averages(features)):
            own.mul_(self.beta).add_(new, alpha=1 - self.beta)

    def moments(self) -> tuple[torch.Tensor, torch.Tensor]:
        """Return mean [D] and biased covariance [D, D], float64."""
        return self.mean, self.second - torch.outer(self.mean, self.mean)

    def gradient(self, features: torch.Tensor, terms: FrechetTerms) -> torch.Tensor:
        """Return d distance / d features of the newest batch, float64 [B, D]; arguments as for
        `FeatureQueue`.

        2 (1 - beta) / B [x - (m_r + T (x - m))]: each feature is drawn to where the map wants it.
        """
        centred = features.double() - self.mean
        weight = 2 * (1 - self.beta) / len(features)
        return weight * (terms.shift + centred - centred @ terms.map)

    def state_dict(self) -> dict[str, Any]:
        """Return everything a resume needs."""
        return dict(mean=self.mean.cpu(), second=self.second.cpu())

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Continue from `state_dict()`."""
        for name in ('mean', 'second'):
            getattr(self, name).copy_(state[name])


Population = FeatureQueue | MovingMoments


def _averages(features: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    rows = features.double()
    return rows.mean(dim=0), rows.T @ rows / len(rows)  # [D], [D, D]
