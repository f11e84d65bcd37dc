# Copyright 2026 The GDD-1S authors.
# SPDX-License-Identifier: Apache-2.0
"""The generator of a distillation: the teacher's network and weights under GDD's preconditioning."""

import torch

from training import networks
from training.config import RANDOM_TEACHER, ConfigError
from training.student.frozen_cast import with_frozen_cast
from training.student.transfer import complete_network_kwargs, copy_teacher, load_teacher


def build_generator(config, dataset, device):
    """Build a generator that starts from the weights of --transfer, in train mode.

    Args:
        config:  Resolved options (training/config.py); network_kwargs and teacher facts are filled in.
        dataset: Training images.
        device:  Device to train on.
    Returns:
        (generator on the device, teacher as loaded: float32, on the CPU; None with --transfer=random).
    Raises:
        ConfigError: Teacher, data and options do not fit.
    """
    teacher, info = load_teacher(config)
    config['network_kwargs'] = generator_kwargs(config, info, dataset)
    net = networks.GDDPrecond(**config['network_kwargs'])
    copy_teacher(config, teacher, net)
    layout = torch.channels_last if config['channels_last'] else torch.contiguous_format
    return net.to(device, memory_format=layout).train(), teacher


def generator_kwargs(config, info, dataset):
    """Complete the generator's constructor arguments and check teacher against data.

    Args:
        config:  Resolved options; network_kwargs None takes the architecture from the teacher.
        info:    What `load_teacher` tells about the teacher.
        dataset: Training images.
    Raises:
        ConfigError: Teacher and data do not fit, or the teacher is no EDM network.
    """
    if info.class_name not in ('EDMPrecond', 'GDDPrecond'):
        raise ConfigError(
            f'--transfer={config["transfer"]} is a {info.class_name}, whose weights mean something else to the '
            'student; give a teacher trained with --precond=edm, such as edm-cifar10-32x32-uncond-ve.pkl'
        )
    drop = ('augment_dim', 'sigma_min', 'sigma_max', 'sigma_data', 'label_dropout')
    return complete_network_kwargs(config, info, dataset, drop)


def computing_twin(net):
    """Return the network for forward passes: itself, or in bfloat16 a twin that does not convert frozen weights each time.

    Args:
        net: Generator on its device, frozen parameters marked. Make a new twin after loading a state into it.
    """
    on_cuda = next(net.parameters()).device.type == 'cuda'
    return with_frozen_cast(net, net.low_dtype) if net.use_fp16 and on_cuda else net


def describe_generator(config, net):
    """Return lines about precision and teacher of a generator."""
    on_cuda = next(net.parameters()).device.type == 'cuda'
    reduced = config['precision'] == 'bf16' and not on_cuda
    return [
        *(['Precision: float32, since --precision=bf16 takes effect on CUDA only'] if reduced else []),
        'Teacher: none, random weights (--transfer=random)'
        if config['transfer'] == RANDOM_TEACHER
        else f'Teacher: --transfer={config["transfer"]} sha256 {config["teacher"]["sha256"][:16]}',
    ]
