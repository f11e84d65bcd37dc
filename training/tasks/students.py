# Copyright 2026 The GDD-1S authors.
# SPDX-License-Identifier: Apache-2.0
"""What the tasks with a student build alike: the student, and its loss against a score network."""

from typing import Any

import torch

from training import networks
from training.instance.loss import InstanceLoss
from training.student.generator import build_generator
from training.tasks.score_network import build_instance_loss


def build_student(
    config: dict, dataset: Any, device: torch.device, layout: torch.memory_format
) -> tuple[networks.GDDPrecond, torch.nn.Module | None, dict]:
    """Return generator, teacher and facts, as `build_generator`."""
    return build_generator(
        dataset,
        device,
        layout,
        data=config['dataset_kwargs']['path'],
        transfer=config['transfer'],
        trust_pickle=config['trust_pickle'],
        network_kwargs=config['network_kwargs'],
        network_options=config['network_options'],
    )


def instance_loss_from_config(
    config: dict,
    student: torch.nn.Module,
    teacher: torch.nn.Module | None,
    device: torch.device,
    layout: torch.memory_format,
) -> tuple[InstanceLoss, dict]:
    """Return the loss against a score network and facts, as `build_instance_loss`."""
    return build_instance_loss(
        student,
        teacher,
        device,
        layout,
        transfer=config['transfer'],
        target=config['target'],
        trust_pickle=config['trust_pickle'],
        **config['instance_kwargs'],
    )
