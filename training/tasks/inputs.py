# Copyright 2026 The GDD-1S authors.
# SPDX-License-Identifier: Apache-2.0
"""What one stage of an iteration works on, whole or as micro-batches."""

import dataclasses

import torch

from torch_utils.randomness import map_nested


@dataclasses.dataclass(frozen=True)
class StageInputs:
    """All that a stage needs of the data and of chance.

    Attributes:
        images:  Real images [N, C, H, W], float32, -1..1.
        labels:  One-hot labels [N, K]; K = 0 without classes.
        z:       Standard normal noise [N, C, H, W], or None where nothing is generated (R1).
        draws:   Numbers of the augmentation, as from `InputAugment.draw`: nested, each tensor [N, ...].
        indices: Time indices t, u, s of instance-based distillation, int64 [N] on the CPU; {} without it.
        batch:   Images of this process in the undivided batch; N, unless this is a micro-batch.
    """

    images: torch.Tensor
    labels: torch.Tensor
    z: torch.Tensor | None
    draws: dict[str, dict]
    indices: dict[str, torch.Tensor]
    batch: int

    @property
    def share(self) -> float:
        """The part of the undivided batch that is here, 0..1: the weight of a mean over these images."""
        return len(self.images) / self.batch

    def part(self, begin: int, end: int) -> 'StageInputs':
        """Return images begin..end-1 with all that belongs to them."""

        def cut(value: torch.Tensor | None) -> torch.Tensor | None:
            return None if value is None else value[begin:end]

        fields = ('images', 'labels', 'z', 'draws', 'indices')
        return dataclasses.replace(self, **{name: map_nested(cut, getattr(self, name)) for name in fields})

    def micro_batches(self, size: int) -> list['StageInputs']:
        """Divide into parts of at most `size` images, in order."""
        return [self.part(begin, begin + size) for begin in range(0, len(self.images), size)]
