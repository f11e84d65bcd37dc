# Copyright 2026 The GDD-1S authors.
# SPDX-License-Identifier: Apache-2.0
"""Seeds: lists of them, shared out in batches, and the random numbers that depend on a seed alone."""

import re
from collections.abc import Sequence
from typing import Any

import numpy as np
import torch

from dnnlib.errors import ArgumentError, arg
from torch_utils.randomness import to_device

MAX_SEEDS = 100_000_000
LARGEST_SEED = (1 << 63) - 1  # exclusive: ranges end one above their last seed


def parse_seeds(text: str) -> np.ndarray:
    """Return the seeds of a list of integers and inclusive ranges with commas, in that order, int64 [N].

    Raises:
        ArgumentError: An empty list, a reversed range, or something that is no number.
    """
    parts, count = [], 0
    for part in text.split(','):
        first, last = _parse_range(text, part)
        count += last - first + 1
        if count > MAX_SEEDS or last >= LARGEST_SEED:
            raise ArgumentError(
                arg('seeds', text),
                f': more than {MAX_SEEDS} seeds, or a seed of 64 bits; use 0-49999, or several calls',
            )
        parts.append(np.arange(first, last + 1, dtype=np.int64))
    return np.concatenate(parts)


def split_positions(count: int, max_batch: int) -> list[np.ndarray]:
    """Split 0..count-1 into consecutive batches; process r of P makes batches r, r + P, ....

    Which images share a batch does not depend on the number of processes, so neither does rounding: the files
    of one process and of eight are equal to the byte. The official rule makes the last batches smaller.
    """
    return np.array_split(np.arange(count), range(max_batch, count, max_batch))


def find_repeats(seeds: np.ndarray) -> set[int]:
    """Return the positions of seeds that occur earlier in the list: the same image, which needs no file."""
    return set(np.delete(np.arange(len(seeds)), np.unique(seeds, return_index=True)[1]).tolist())


def _parse_range(text: str, part: str) -> tuple[int, int]:
    # First and last seed of one part of the list.
    match = re.fullmatch(r'\s*(\d+)(?:\s*-\s*(\d+))?\s*', part)
    if match is None:
        raise ArgumentError(
            arg('seeds', text),
            f': {part.strip()!r} is neither a number nor a range; write for example 0-63 or 1,5,10-20',
        )
    first, last = int(match[1]), int(match[2] or match[1])
    if last < first:
        raise ArgumentError(
            arg('seeds', text), f': the range {part.strip()} is reversed; write {last}-{first}'
        )
    return first, last


class StackedRandomGenerator:
    """Draw every sample of a batch from its own generator, so that batching does not change the numbers.

    Args:
        device: Device of the generators. CPU and CUDA generators give different streams for one seed.
        seeds:  One integer per sample; taken modulo 2^32 as EDM does.
    """

    def __init__(self, device: torch.device | str, seeds: Sequence[int]) -> None:
        self.device = torch.device(device)
        self.generators = [torch.Generator(self.device).manual_seed(int(seed) % (1 << 32)) for seed in seeds]

    def _check_size(self, size: Sequence[int]) -> None:
        if size[0] != len(self.generators):
            raise ValueError(
                f'size={list(size)}: the leading size must be the number of seeds, {len(self.generators)}'
            )

    def randn(self, size: Sequence[int], **kwargs: Any) -> torch.Tensor:
        """Draw standard normal numbers of shape `size` = [N, ...]; `kwargs` go to torch.randn."""
        self._check_size(size)
        target = kwargs.pop('device', self.device)
        draws = [
            torch.randn(size[1:], generator=gen, device=self.device, **kwargs) for gen in self.generators
        ]
        return to_device(torch.stack(draws), torch.device(target))

    def randn_like(self, tensor: torch.Tensor) -> torch.Tensor:
        """Draw standard normal numbers with the shape, dtype, layout and device of `tensor`."""
        return self.randn(tensor.shape, dtype=tensor.dtype, layout=tensor.layout, device=tensor.device)

    def randint(self, high: int, size: Sequence[int], **kwargs: Any) -> torch.Tensor:
        """Draw integers 0..high-1 of shape `size` = [N, ...], int64 by default."""
        self._check_size(size)
        kwargs['device'] = self.device
        return torch.stack(
            [torch.randint(high, size=size[1:], generator=gen, **kwargs) for gen in self.generators]
        )
