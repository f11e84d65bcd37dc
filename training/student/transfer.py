# Copyright 2026 The GDD-1S authors.
# SPDX-License-Identifier: Apache-2.0
"""What every run that starts from a teacher does with it, be it distillation or further training."""

from collections.abc import Mapping, Sequence
from typing import Any

import torch

from dnnlib import EasyDict
from dnnlib.errors import ArgumentError, arg
from torch_utils import distributed
from training.choices import RANDOM_TEACHER
from training.snapshots.snapshot import copy_params_and_buffers, load_network


def load_teacher(transfer: str, trust_pickle: bool) -> tuple[torch.nn.Module | None, EasyDict]:
    """Load the network of a teacher, rank 0 first.

    Args:
        transfer:     File, URL, or 'random'.
        trust_pickle: Whether code inside the file may run.
    Returns:
        What `load_network` returns: the network, float32 on the CPU, and the facts about its file. With
        'random' no network, and no constructor arguments (init_kwargs) among the facts.
    """
    if transfer == RANDOM_TEACHER:
        return None, EasyDict(sha256='none', class_name='GDDPrecond', init_kwargs=None)
    return distributed.rank0_first(lambda: load_network(transfer, option='transfer', trust=trust_pickle))


def teacher_facts(info: EasyDict) -> dict[str, str]:
    """Return what a run remembers about its teacher: which file it was, and of which class."""
    return dict(sha256=info.sha256, class_name=info.class_name)


def complete_network_kwargs(
    info: EasyDict,
    dataset: Any,
    *,
    data: str,
    transfer: str,
    network_kwargs: Mapping | None,
    network_options: Mapping,
    drop: Sequence[str],
) -> dict[str, Any]:
    """Complete the constructor arguments of a network, and check the teacher against the data.

    Args:
        info:            What `load_teacher` tells about the teacher.
        dataset:         Training images.
        data, transfer:  Their files, for messages.
        network_kwargs:  Architecture; None takes that of the teacher.
        network_options: Arguments that every run chooses anew, also with a teacher's architecture.
        drop:            Arguments of the teacher that are not taken over.
    Returns:
        Dict of keyword arguments.
    Raises:
        ArgumentError: Resolution, channels or number of classes differ.
    """
    if info.init_kwargs is not None:
        _check_data(dataset, info.init_kwargs, arg('data', data), arg('transfer', transfer))
    if network_kwargs is None:
        kept = {key: value for key, value in info.init_kwargs.items() if key not in drop}
        network_kwargs = kept | network_options
    return network_kwargs | dict(
        img_resolution=dataset.resolution, img_channels=dataset.num_channels, label_dim=dataset.label_dim
    )


def _check_data(dataset: Any, kept: Mapping, data: Any, transfer: Any) -> None:
    """Refuse a teacher of other images."""
    for what, ours, theirs in [
        ('resolution', dataset.resolution, kept['img_resolution']),
        ('channels', dataset.num_channels, kept['img_channels']),
    ]:
        if ours != theirs:
            raise ArgumentError(
                data,
                f' has {what} {ours}, but the teacher ',
                transfer,
                f' has {theirs}; convert the data with dataset_tool.py to {what} {theirs}, or use another '
                'teacher',
            )
    classes = kept.get('label_dim', 0)
    if dataset.label_dim != classes:
        hint = f' with data of {classes} classes' if classes else ''
        raise ArgumentError(
            data,
            ' with ',
            arg('cond', dataset.label_dim > 0),
            f' gives {dataset.label_dim} classes, but the teacher ',
            transfer,
            f' has {classes}; use ',
            arg('cond', classes > 0),
            hint,
        )


def copy_teacher(teacher: torch.nn.Module | None, net: torch.nn.Module, transfer: str) -> None:
    """Copy the weights of the teacher into a network, all of them.

    Args:
        teacher:  Network to copy from; only its augmentation layer may be left over. None leaves `net` as it
                  is.
        net:      Network to overwrite.
        transfer: File of the teacher, for messages.
    Raises:
        ArgumentError: Names or shapes differ.
    """
    if teacher is None:
        return
    try:
        copy_params_and_buffers(teacher, net)
    except ValueError as error:
        hint = ['leave out ', arg('arch'), " to take the teacher's"]
        if has_augmentation(net) and not has_augmentation(teacher):
            hint = ['this teacher was trained without augmentation, use ', arg('augment', 0)]
        raise ArgumentError(arg('transfer', transfer), f': {error}; ', *hint) from error


def has_augmentation(net: torch.nn.Module) -> bool:
    """Tell whether a network takes augmentation labels."""
    return any(name.endswith('map_augment.weight') for name, _parameter in net.named_parameters())
