# Copyright 2026 The GDD-1S authors.
# SPDX-License-Identifier: Apache-2.0
"""The Fréchet distance between Gaussians, and the map that tells where each feature should go.

Nothing here is differentiated by autograd: with the optimal map x -> m_r + T (x - m) between the two
Gaussians the gradient is known in closed form (training/frechet/moments.py), and eigenvalues near 0 do no
harm.

Letters: D width of the features; everything is float64.
"""

from typing import NamedTuple

import torch

FLOOR = 1e-10  # of the largest eigenvalue: smaller ones count as this large in the map, not in the distance


class FrechetTerms(NamedTuple):
    """How generated features differ from the reference.

    Attributes:
        distance: Fréchet distance, scalar.
        shift:    m - m_r, [D].
        map:      T, symmetric [D, D]: T S T = S_r for covariances S, S_r of full rank.
        floored:  Share of the eigenvalues that were too small for the map, 0..1.
    """

    distance: torch.Tensor
    shift: torch.Tensor
    map: torch.Tensor
    floored: torch.Tensor


class Reference:
    """The mean and covariance that generated features shall have.

    Args:
        mean:       [D].
        covariance: [D, D].
    """

    def __init__(self, mean: torch.Tensor, covariance: torch.Tensor) -> None:
        self.mean, self.covariance = mean.to(torch.float64), covariance.to(torch.float64)
        values, vectors = torch.linalg.eigh((self.covariance + self.covariance.T) / 2)
        self.root = (vectors * values.clamp(min=0).sqrt()) @ vectors.T  # S_r^(1/2), [D, D]

    def compare(self, mean: torch.Tensor, covariance: torch.Tensor) -> FrechetTerms:
        """Compare a population of generated features with the reference.

        With R = S_r^(1/2) the eigenvalues of R S R are those of S S_r, so tr (S S_r)^(1/2) is the sum of
        their roots; T = R (R S R)^(-1/2) R.

        Args:
            mean:       [D].
            covariance: [D, D].
        """
        inner = self.root @ covariance @ self.root
        values, vectors = torch.linalg.eigh((inner + inner.T) / 2)  # ascending
        shift = mean - self.mean
        trace = covariance.trace() + self.covariance.trace() - 2 * values.clamp(min=0).sqrt().sum()
        floor = (FLOOR * values[-1]).clamp(min=torch.finfo(values.dtype).tiny)
        half = self.root @ vectors  # [D, D]
        transport = (half * values.clamp(min=floor).rsqrt()) @ half.T
        return FrechetTerms(shift.square().sum() + trace, shift, transport, (values < floor).double().mean())

    def state_dict(self) -> dict[str, torch.Tensor]:
        """Return its tensors on the CPU."""
        return dict(mean=self.mean.cpu(), covariance=self.covariance.cpu())
