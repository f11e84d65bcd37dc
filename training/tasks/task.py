# Copyright 2026 The GDD-1S authors.
# SPDX-License-Identifier: Apache-2.0
"""What training_loop.py asks of a task, whichever of them it trains."""

from collections.abc import Sequence
from typing import Any, Protocol

import torch

from torch_utils.randomness import BatchRandom
from training.update.gradients import StepGuard


class Task(Protocol):
    """Networks, losses and optimizers of a run, and one iteration of it.

    Not a base class: nothing is inherited.

    Attributes:
        trained: The network that is averaged, measured and exported.
        guard:   Takes the optimizer steps; keeps, counts and reports non-finite ones.
        facts:   What was learnt while building, for `RunFacts`: network_kwargs, and where there is one
                 `teacher` (a dict of sha256 and class_name) and `target_sha256`.
    """

    trained: torch.nn.Module
    guard: StepGuard
    facts: dict[str, Any]

    def step(
        self, images: torch.Tensor, labels: torch.Tensor, rng: BatchRandom, iteration: int
    ) -> torch.Tensor | None:
        """Run one iteration, up to and including the optimizer steps.

        Args:
            images:    Images of this process, float32 [N, C, H, W], -1..1.
            labels:    One-hot labels [N, K]; K = 0 without classes.
            rng:       BatchRandom of this iteration: every random number comes from it.
            iteration: Index of the iteration, from 0.
        Returns:
            A scalar on the device: 1 if the step of `trained` was left out, so that the averages stay, else
            0. None where steps are never left out. From `StepGuard.step`.
        """

    def snapshot_entries(self) -> dict[str, Any]:
        """Return what a snapshot holds beside the averages, by key."""

    def state_dict(self) -> dict[str, Any]:
        """Return everything a resume needs, as tensors and plain values. All ranks call this together."""

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Continue from `state_dict()`; RuntimeError, ValueError or KeyError where it does not fit."""

    def replicas(self) -> Sequence[torch.nn.Module]:
        """Return the networks that are equal on all processes; this is checked now and then."""

    def summary(self) -> list[str]:
        """Return lines for the log: what is trained, from and against what."""
