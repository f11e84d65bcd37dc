# Copyright 2026 The GDD-1S authors.
# SPDX-License-Identifier: Apache-2.0
"""The loss of instance-based distillation: how far the student is from its target, image by image."""

import functools
from collections.abc import Callable, Mapping

import torch

from torch_utils import training_stats
from torch_utils.batches import labels_or_none
from torch_utils.randomness import BatchRandom
from training.choices import check_max_steps
from training.instance.targets import distillation_target, draw_indices, image_levels, index_levels


class InstanceLoss:
    """Compute the distance between the student's output and its target, of t, u and s as in docs/methods.md.

    Args:
        student:   Generator in training; also makes the long jumps of the targets, without gradient.
        teacher:   Frozen denoiser, eval mode; makes the jumps over one interval.
        kind:      One of `targets.INSTANCE_TYPES`.
        max_steps: Number of intervals.
        distance:  Function (images, images) -> distance of each pair, [N].
    Raises:
        ArgumentError: `max_steps` does not fit `kind`.
    """

    def __init__(
        self,
        student: torch.nn.Module,
        teacher: torch.nn.Module,
        kind: str,
        max_steps: int,
        distance: Callable[[torch.Tensor, torch.Tensor], torch.Tensor],
    ) -> None:
        check_max_steps(kind, max_steps)
        self.student, self.teacher = student, teacher
        self.kind, self.max_steps, self.distance = kind, max_steps, distance

    def draw(self, rng: BatchRandom, count: int) -> dict[str, torch.Tensor]:
        """Draw the time indices of an iteration.

        Args:
            rng:   BatchRandom of the iteration.
            count: Images of this process.
        Returns:
            Dict of t, u, s, int64 [count], on the CPU, where the choice between teacher and student is made.
        """
        draw = functools.partial(draw_indices, self.kind, self.max_steps)
        return rng.share(lambda n, generator: draw(n, generator=generator), count, 'instance', device='cpu')

    def mean_distance(
        self, images: torch.Tensor, labels: torch.Tensor, z: torch.Tensor, indices: Mapping[str, torch.Tensor]
    ) -> torch.Tensor:
        """Compute the mean distance of the student's images to their targets.

        Args:
            images:  Real images [N, C, H, W], -1..1.
            labels:  One-hot labels [N, K]; [N, 0] = unconditional.
            z:       Standard normal noise, shape of `images`.
            indices: Dict of t, u, s, int64 [N] on the CPU.
        Returns:
            Scalar, a mean over images.
        """
        labels = labels_or_none(labels)
        sigma = image_levels(index_levels(self.max_steps)[indices['t']], images)  # [N, 1, 1, 1]
        noisy = images + sigma * z  # [N, C, H, W]
        with torch.no_grad():
            target = distillation_target(
                self.kind, self.student, self.teacher, noisy, indices, labels, self.max_steps
            )
        distances = self.distance(self.student(noisy, sigma, labels), target)  # [N]
        training_stats.report('Loss/dist/fake', distances.detach())
        return distances.mean()
