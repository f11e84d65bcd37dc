# Copyright 2026 The GDD-1S authors.
# SPDX-License-Identifier: Apache-2.0
"""The generator of a distillation: the teacher's network and weights under GDD's preconditioning."""

from collections.abc import Mapping
from typing import Any

import torch

from dnnlib import EasyDict
from dnnlib.errors import ArgumentError, arg, as_option
from training import networks
from training.choices import RANDOM_TEACHER
from training.student.frozen_cast import with_frozen_cast
from training.student.transfer import complete_network_kwargs, copy_teacher, load_teacher, teacher_facts

# Arguments of a teacher that its student does not take over.
DROPPED = ('augment_dim', 'sigma_min', 'sigma_max', 'sigma_data', 'label_dropout')


def build_generator(
    dataset: Any,
    device: torch.device,
    layout: torch.memory_format,
    *,
    data: str,
    transfer: str,
    trust_pickle: bool,
    network_kwargs: Mapping | None,
    network_options: Mapping,
) -> tuple[networks.GDDPrecond, torch.nn.Module | None, dict]:
    """Build a generator that starts from the weights of a teacher, in train mode.

    Args:
        dataset: Training images.
        device:  Device to train on.
        layout:  Memory format of weights.
        data, transfer, trust_pickle: Files, as in the options; `data` is for messages.
        network_kwargs:  Architecture; None takes that of the teacher.
        network_options: Arguments that every run chooses anew.
    Returns:
        Generator on the device; teacher as loaded (float32, on the CPU; None without one); what was learnt
        about them: network_kwargs, and teacher (sha256, class_name).
    Raises:
        ArgumentError: Teacher, data and options do not fit.
    """
    teacher, info = load_teacher(transfer, trust_pickle)
    kwargs = generator_kwargs(
        info,
        dataset,
        data=data,
        transfer=transfer,
        network_kwargs=network_kwargs,
        network_options=network_options,
    )
    net = networks.GDDPrecond(**kwargs)
    copy_teacher(teacher, net, transfer)
    net = net.to(device, memory_format=layout).train()
    return net, teacher, dict(network_kwargs=kwargs, teacher=teacher_facts(info))


def generator_kwargs(info: EasyDict, dataset: Any, *, transfer: str, **options: Any) -> dict[str, Any]:
    """Complete the generator's constructor arguments and check teacher against data.

    Args:
        info:     What `load_teacher` tells about the teacher.
        dataset:  Training images.
        transfer: File of the teacher.
        options:  As for `complete_network_kwargs`.
    Raises:
        ArgumentError: Teacher and data do not fit, or the teacher is no EDM network.
    """
    if info.class_name not in ('EDMPrecond', 'GDDPrecond'):
        raise ArgumentError(
            arg('transfer', transfer),
            f' is a {info.class_name}, whose weights mean something else to the student; give a teacher '
            'trained with ',
            arg('precond', 'edm'),
            ', such as edm-cifar10-32x32-uncond-ve.pkl',
        )
    return complete_network_kwargs(info, dataset, transfer=transfer, drop=DROPPED, **options)


def computing_generator(net: networks.GDDPrecond) -> networks.GDDPrecond:
    """Return the network for forward passes: itself, or in bfloat16 a twin with frozen weights converted.

    Args:
        net: Generator on its device, frozen parameters marked. After loading a state into it call
             `refresh_twin`.
    """
    on_cuda = next(net.parameters()).device.type == 'cuda'
    return with_frozen_cast(net, net.low_dtype) if net.use_fp16 and on_cuda else net


def describe_generator(
    net: networks.GDDPrecond, precision: str, transfer: str, facts: Mapping[str, str]
) -> list[str]:
    """Return lines about precision and teacher of a generator.

    Args:
        net:       Generator on its device.
        precision: 'fp32' or 'bf16'.
        transfer:  File of the teacher.
        facts:     Its sha256.
    """
    on_cuda = next(net.parameters()).device.type == 'cuda'
    reduced = precision == 'bf16' and not on_cuda
    given = as_option(arg('transfer', transfer))
    return [
        *(
            [f'Precision: float32, since {as_option(arg("precision", "bf16"))} takes effect on CUDA only']
            if reduced
            else []
        ),
        f'Teacher: none, random weights ({given})'
        if transfer == RANDOM_TEACHER
        else f'Teacher: {given} sha256 {facts["sha256"][:16]}',
    ]
