# Copyright 2026 The GDD-1S authors.
# SPDX-License-Identifier: Apache-2.0

"""Mean and covariance of features, in one pass over the images.

Legend: N images, D features.
"""

import numpy as np
import torch

from torch_utils import distributed as dist

_BLOCK_ROWS = 1024  # features per matrix product: products of single batches would wait for memory


class FeatureStats:
    """Accumulate mean and covariance of features in one pass, in float64.

    Raw sums are kept (as EDM does), so the parts of several processes add up to
    the same statistics as one process.

    Args:
        dim: Number of features D.
        device: Where to accumulate; the device of the features avoids copies.
    """

    def __init__(self, dim: int, device: torch.device | str = 'cpu') -> None:
        self.num_images = 0
        self._sum = torch.zeros([dim], dtype=torch.float64, device=device)
        self._outer = torch.zeros([dim, dim], dtype=torch.float64, device=device)
        self._waiting = []  # batches that do not fill a block yet
        self._num_waiting = 0

    def append(self, features: torch.Tensor) -> None:
        """Add the features of a batch, float [N, D]; N may be 0."""
        self._waiting.append(features.detach())
        self._num_waiting += len(features)
        self.num_images += len(features)
        if self._num_waiting >= _BLOCK_ROWS:
            self._add_waiting()

    def _add_waiting(self) -> None:
        if self._waiting:
            x = torch.cat(self._waiting).to(self._sum)  # [block, D]
            self._sum += x.sum(dim=0)  # [D]
            self._outer.addmm_(x.T, x)  # [D, D]
            self._waiting, self._num_waiting = [], 0

    def reduce(self) -> None:
        """Add up the parts of all processes, in place, on every process."""
        self._add_waiting()
        count = torch.tensor([self.num_images], dtype=torch.float64, device=self._sum.device)
        for part in (self._sum, self._outer, count):
            dist.all_reduce_sum_(part)
        self.num_images = int(count)

    def mean(self) -> np.ndarray:
        """Return the mean, float64 array [D].

        Raises:
            ValueError: No images were added.
        """
        self._require(1, 'a mean')
        return (self._sum / self.num_images).cpu().numpy()

    def cov(self) -> np.ndarray:
        """Return the unbiased covariance (divided by N - 1), float64 array [D, D].

        Raises:
            ValueError: Fewer than 2 images were added.
        """
        self._require(2, 'a covariance')
        mu = self._sum / self.num_images
        return ((self._outer - self.num_images * torch.outer(mu, mu)) / (self.num_images - 1)).cpu().numpy()

    def _require(self, minimum: int, what: str) -> None:
        if self.num_images < minimum:
            raise ValueError(
                f'{what} needs at least {minimum} images, but there are {self.num_images}; give more images'
            )
        self._add_waiting()
