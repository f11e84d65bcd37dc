# Copyright 2026 The GDD-1S authors.
# SPDX-License-Identifier: Apache-2.0
"""The frozen network that instance-based distillation learns from: load, check, build the loss."""

from collections.abc import Mapping

import torch

from dnnlib.errors import Arg, ArgumentError, arg, as_option
from torch_utils import distributed
from training.instance.distances import build_distance
from training.instance.loss import InstanceLoss
from training.snapshots.snapshot import load_network

# Preconditioned networks that denoise at any noise level; each is used with its own coefficients.
SCORE_NETWORKS = ('EDMPrecond', 'VPPrecond', 'VEPrecond', 'iDDPMPrecond')


def build_instance_loss(
    student: torch.nn.Module,
    teacher: torch.nn.Module | None,
    device: torch.device,
    layout: torch.memory_format,
    *,
    kind: str,
    max_steps: int,
    distance: str,
    transfer: str,
    target: str | None,
    trust_pickle: bool,
) -> tuple[InstanceLoss, dict]:
    """Build the loss that the options ask for.

    Args:
        student:  Generator, as it computes.
        teacher:  Network of `transfer`, the score network unless `target` names another; None if there is
                  none.
        device:   Device to train on.
        layout:   Memory format of weights.
        kind, max_steps, distance: Method, as in the options.
        transfer, target, trust_pickle: Files, as in the options.
    Returns:
        The loss, and what was learnt on the way: target_sha256, if a file was read.
    Raises:
        ValueError: The score network does not fit, or the distance cannot be had.
    """
    source, facts = arg('transfer', transfer), {}
    if target:
        source = arg('target', target)
        teacher, info = distributed.rank0_first(
            lambda: load_network(target, option='target', trust=trust_pickle)
        )
        facts['target_sha256'] = info.sha256
    if teacher is None:
        raise ArgumentError(
            arg('teacher_type', kind),
            ' needs a score network, and ',
            source,
            ' has none; name one, for example ',
            arg('target', 'pretrained/edm-mnist-32x32-cond-ve.pkl'),
        )
    check_score_network(source, teacher, student)
    teacher = teacher.to(device, memory_format=layout).eval().requires_grad_(False)
    measure = distributed.rank0_first(lambda: build_distance(distance, device, student.img_channels))
    return InstanceLoss(student, teacher, kind, max_steps, measure), facts


def check_score_network(source: Arg, teacher: torch.nn.Module, student: torch.nn.Module) -> None:
    """Refuse a score network that cannot denoise at every level, or that makes other images than the student.

    Args:
        source:  Argument that named the network, an `Arg`.
        teacher: Score network.
        student: Generator.
    Raises:
        ArgumentError: One line for the user.
    """
    if type(teacher).__name__ not in SCORE_NETWORKS:
        raise ArgumentError(
            source,
            f' is a {type(teacher).__name__}, which denoises at its own few noise levels only; give the '
            'diffusion model it was made from, for example ',
            arg('target', 'edm-cifar10-32x32-uncond-ve.pkl'),
        )
    for what, attribute in (
        ('resolution', 'img_resolution'),
        ('channels', 'img_channels'),
        ('classes', 'label_dim'),
    ):
        ours, theirs = getattr(student, attribute), getattr(teacher, attribute)
        if ours != theirs:
            raise ArgumentError(
                source,
                f' has {theirs} {what}, but the student of ',
                arg('transfer'),
                f' has {ours}; both must be the same, so give a teacher of the same images, or leave ',
                arg('target'),
                ' out',
            )


def describe_instance_loss(loss: InstanceLoss, instance_kwargs: Mapping, target: str | None) -> str:
    """Return a line about an instance loss and its score network."""
    method = ' '.join(
        as_option(arg(name, value))
        for name, value in (
            ('teacher_type', loss.kind),
            ('max_steps', loss.max_steps),
            ('distance', instance_kwargs['distance']),
        )
    )
    source = (
        as_option(arg('target', target))
        if target
        else f'the teacher of {as_option(arg("transfer"))} (no {as_option(arg("target"))} given)'
    )
    return f'Instance loss: {method}; score network: {type(loss.teacher).__name__}, {source}'
