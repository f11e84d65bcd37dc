# Copyright 2026 The GDD-1S authors.
# SPDX-License-Identifier: Apache-2.0
"""Instance-based distillation without adversarial loss: what one iteration does with teacher_only=True."""

from collections.abc import Iterator
from typing import Any

import torch

from torch_utils import misc
from torch_utils.randomness import BatchRandom
from training.student.freeze import freeze_layers, freeze_table
from training.student.frozen_cast import refresh_twin
from training.student.generator import computing_generator, describe_generator
from training.tasks.inputs import StageInputs
from training.tasks.score_network import describe_instance_loss
from training.tasks.students import build_student, instance_loss_from_config
from training.update.gradients import StepGuard
from training.update.optimizers import make_optimizer


class InstanceTask:
    """Generator, frozen score network and optimizer. A `Task` (training/tasks/task.py).

    There is no discriminator and no backbone, and nothing of them is imported.

    Args:
        config:      Resolved options (training/config.py); read, never changed.
        dataset:     Training images.
        device:      Device to train on.
        micro_batch: Images of one forward pass.
    Raises:
        ValueError: Teacher, data and options do not fit.
    """

    def __init__(self, config: dict, dataset: Any, device: torch.device, micro_batch: int) -> None:
        self.config, self.micro_batch = config, micro_batch
        self.layout = torch.channels_last if config['channels_last'] else torch.contiguous_format
        self.G, teacher, self.facts = build_student(config, dataset, device, self.layout)
        self.trained, self.g_params = self.G, freeze_layers(self.G, config['freeze'])
        misc.take_over_from_rank0(self.G)
        self.computing_G = computing_generator(self.G)
        self.instance, facts = instance_loss_from_config(
            config, self.computing_G, teacher, device, self.layout
        )
        self.facts.update(facts)
        self.guard = StepGuard(config['nan'], config['reduce'])
        self.g_optimizer = make_optimizer(
            config['optimizer_type'], self.g_params, **config['optimizer_kwargs']
        )

    def step(
        self, images: torch.Tensor, labels: torch.Tensor, rng: BatchRandom, iteration: int
    ) -> torch.Tensor | None:
        """Run one iteration, as `Task.step`; every iteration is alike."""
        z = rng.randn(images.shape, 'G').contiguous(memory_format=self.layout)
        indices = self.instance.draw(rng, len(images))
        return self.generator_step(StageInputs(images, labels, z, {}, indices, len(images)))

    def generator_step(self, inputs: StageInputs) -> torch.Tensor | None:
        """Bring the student nearer to its targets."""
        self.g_optimizer.zero_grad(set_to_none=True)
        for part in inputs.micro_batches(self.micro_batch):
            for loss in self.generator_losses(part):
                loss.backward()
        return self.guard.step('G', self.g_optimizer, self.g_params)

    def generator_losses(self, part: StageInputs) -> Iterator[torch.Tensor]:
        """Yield the losses of a micro-batch; over the iteration they sum up to the mean distance."""
        yield self.instance.mean_distance(part.images, part.labels, part.z, part.indices) * part.share

    def snapshot_entries(self) -> dict[str, Any]:
        """Return what to store beside the EMA."""
        return dict(net=self.G)

    def state_dict(self) -> dict[str, Any]:
        """Return everything a resume needs."""
        return dict(G=self.G.state_dict(), g_optimizer=self.g_optimizer.state_dict())

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Continue from `state_dict()`."""
        self.G.load_state_dict(state['G'])
        refresh_twin(self.computing_G, self.G)
        self.g_optimizer.load_state_dict(state['g_optimizer'])

    def replicas(self) -> list[torch.nn.Module]:
        """Return the networks that are equal on all processes."""
        return [self.G]

    def summary(self) -> list[str]:
        """Return lines that describe what is trained and against what."""
        config = self.config
        return [
            *freeze_table(self.G, config['freeze']),
            *describe_generator(self.G, config['precision'], config['transfer'], self.facts['teacher']),
            describe_instance_loss(self.instance, config['instance_kwargs'], config['target']),
        ]
