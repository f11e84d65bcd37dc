# Copyright 2026 The GDD-1S authors.
# SPDX-License-Identifier: Apache-2.0
"""The generator of a distillation: the teacher's network and weights under GDD's preconditioning."""
import torch

from training import networks
from training.config import ConfigError
from training.transfer import complete_network_kwargs, copy_teacher, load_teacher


def build_generator(config, dataset, device):
    """Build a generator that starts from the weights of --transfer, in train mode.

    Args:
        config:  Resolved options (training/config.py); network_kwargs and teacher facts are filled in.
        dataset: Training images.
        device:  Device to train on.
    Returns:
        (generator on the device, teacher as loaded: float32, on the CPU).
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
        info:    What `load_network` tells about the teacher.
        dataset: Training images.
    Raises:
        ConfigError: Teacher and data do not fit, or the teacher is no EDM network.
    """
    if info.class_name not in ('EDMPrecond', 'GDDPrecond'):
        raise ConfigError(f"--transfer={config['transfer']} is a {info.class_name}, whose weights mean something else to the "
                          'student; give a teacher trained with --precond=edm, such as edm-cifar10-32x32-uncond-ve.pkl')
    drop = ('augment_dim', 'sigma_min', 'sigma_max', 'sigma_data', 'label_dropout')
    return complete_network_kwargs(config, info, dataset, drop)
