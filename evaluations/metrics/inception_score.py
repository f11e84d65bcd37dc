# Copyright 2026 The GDD-1S authors.
# SPDX-License-Identifier: Apache-2.0

"""Inception Score, as OpenAI's evaluator computes it: the mean over consecutive groups of images.

Legend: N images, K classes.
"""

import typing
from collections.abc import Sequence

import numpy as np
import torch

SPLIT_SIZE = 5000  # images per group in published numbers


class Score(typing.NamedTuple):
    """Mean of the scores of the groups, and the scores."""

    mean: float
    groups: list


class InceptionScore:
    """Accumulate the score of images that come in batches, in file order.

    The score of a group is exp(mean_i sum_c p_ic (ln p_ic - ln p_c)), where p_c is the mean of
    p_ic over the group, Salimans et al. 2016. Only the sums of p ln p and p are kept, in float64,
    so that nothing grows with the number of images. 0 ln 0 is 0; OpenAI's program, which takes
    logarithms of float32 probabilities, gives NaN there.

    Args:
        split_size: Images per group; the last group may be smaller and counts as much as the others.
    """

    def __init__(self, split_size: int = SPLIT_SIZE) -> None:
        if split_size < 1:
            raise ValueError(f'split_size={split_size} must be at least 1; {SPLIT_SIZE} is usual')
        self._split_size = split_size
        self._groups = []
        self._clear()

    def _clear(self) -> None:
        self._count = 0
        self._negative_entropy = 0  # sum of p ln p over images and classes
        self._probabilities = 0  # sum of p over images, [K]

    def _group_score(self) -> float:
        marginal = self._probabilities / self._count  # [K]
        return float((self._negative_entropy / self._count - torch.xlogy(marginal, marginal).sum()).exp())

    def append(self, logits: torch.Tensor) -> None:
        """Add a batch.

        Args:
            logits: Class scores, float tensor [N, K]; the detector's 1008 logits without bias. N may be 0.
        Raises:
            ValueError: Another shape, or logits that are no finite scores.
        """
        if logits.ndim != 2:
            raise ValueError(f'logits have shape {tuple(logits.shape)}; they must be [N, K]')
        while len(logits):
            part, logits = logits.tensor_split([self._split_size - self._count])
            p = part.to(torch.float64).softmax(dim=1)  # [N, K]
            negative_entropy = torch.xlogy(p, p).sum()
            if not negative_entropy.isfinite():
                raise ValueError(
                    'the logits hold values that are not finite; the detector or its weights are broken'
                )
            self._negative_entropy = self._negative_entropy + negative_entropy
            self._probabilities = self._probabilities + p.sum(dim=0)
            self._count += len(part)
            if self._count == self._split_size:
                self._groups.append(self._group_score())
                self._clear()

    def result(self) -> Score:
        """Return the `Score` of all images so far.

        Raises:
            ValueError: There are none.
        """
        groups = self._groups + ([self._group_score()] if self._count else [])
        if not groups:
            raise ValueError('the Inception Score needs at least 1 image')
        return Score(float(np.mean(groups)), groups)


def inception_score(logits: torch.Tensor | np.ndarray, split_size: int = SPLIT_SIZE) -> Score:
    """Return the Inception Score of class scores in file order; see `InceptionScore`.

    Args:
        logits: Class scores, float tensor or array [N, K].
        split_size: Images per group.
    Returns:
        The `Score`.
    Raises:
        ValueError: No images, another shape, or values that are not finite.
    """
    score = InceptionScore(split_size)
    for part in torch.as_tensor(logits).split(split_size):
        score.append(part)
    return score.result()


def seems_sorted(labels: Sequence[int] | np.ndarray, split_size: int = SPLIT_SIZE) -> bool:
    """Tell whether the order of the classes spoils the Inception Score.

    A group of a file sorted by class sees only a few classes, which makes the score far too low.
    The sign of it: neighbours have the same class much more often than in random order, that is,
    there are fewer than half as many runs of equal labels as expected. With one group the order
    does not matter.

    Args:
        labels: Class numbers in file order, int array [N].
        split_size: Images per group.
    """
    labels = np.asarray(labels)
    if len(labels) <= split_size:
        return False
    frequency = np.unique(labels, return_counts=True)[1] / len(labels)  # [K]
    changes = np.count_nonzero(labels[1:] != labels[:-1])
    return bool(changes < 0.5 * (len(labels) - 1) * (1 - np.square(frequency).sum()))
