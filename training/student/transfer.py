# Copyright 2026 The GDD-1S authors.
# SPDX-License-Identifier: Apache-2.0
"""What every run that starts from a teacher (`--transfer`) does with it, be it distillation or further training."""

from dnnlib import EasyDict
from torch_utils import distributed
from training.config import RANDOM_TEACHER, ConfigError
from training.snapshots.snapshot import copy_params_and_buffers, load_network


def load_teacher(config):
    """Load the network of --transfer, rank 0 first, and note in the options which file it was.

    Args:
        config: Resolved options (training/config.py); gets the entry `teacher`.
    Returns:
        What `load_network` returns: the network, float32 on the CPU, and the facts about its file. With
        --transfer=random no network, and no constructor arguments (init_kwargs) among the facts.
    """
    if config['transfer'] == RANDOM_TEACHER:
        config['teacher'] = dict(sha256='none', class_name='GDDPrecond')
        return None, EasyDict(class_name='GDDPrecond', init_kwargs=None)
    teacher, info = distributed.rank0_first(
        lambda: load_network(config['transfer'], option='transfer', trust=config['trust_pickle'])
    )
    config['teacher'] = dict(sha256=info.sha256, class_name=info.class_name)
    return teacher, info


def complete_network_kwargs(config, info, dataset, drop):
    """Complete the constructor arguments of a network that starts from a teacher, and check teacher against data.

    Args:
        config:  Resolved options; network_kwargs None takes the architecture from the teacher.
        info:    What `load_teacher` tells about the teacher.
        dataset: Training images.
        drop:    Arguments of the teacher that are not taken over.
    Returns:
        Dict of keyword arguments.
    Raises:
        ConfigError: Resolution, channels or number of classes differ.
    """
    if info.init_kwargs is None:
        return config['network_kwargs'] | dict(
            img_resolution=dataset.resolution, img_channels=dataset.num_channels, label_dim=dataset.label_dim
        )
    data, teacher, kept = config['dataset_kwargs']['path'], config['transfer'], info.init_kwargs
    label_dim = kept.get('label_dim', 0)
    for what, ours, theirs in [
        ('resolution', dataset.resolution, kept['img_resolution']),
        ('channels', dataset.num_channels, kept['img_channels']),
    ]:
        if ours != theirs:
            raise ConfigError(
                f'--data={data} has {what} {ours}, but the teacher --transfer={teacher} has {theirs}; '
                f'convert the data with dataset_tool.py to {what} {theirs}, or use another teacher'
            )
    if dataset.label_dim != label_dim:
        hint = '--cond=False' if label_dim == 0 else f'--cond=True with data of {label_dim} classes'
        raise ConfigError(
            f'--data={data} with --cond={config["dataset_kwargs"]["use_labels"]} gives '
            f'{dataset.label_dim} classes, but the teacher --transfer={teacher} has {label_dim}; use {hint}'
        )
    kwargs = config['network_kwargs']
    if kwargs is None:
        kwargs = {key: value for key, value in kept.items() if key not in drop} | config['network_options']
    return kwargs | dict(
        img_resolution=dataset.resolution, img_channels=dataset.num_channels, label_dim=label_dim
    )


def copy_teacher(config, teacher, net):
    """Copy the weights of the teacher into a network, all of them.

    Args:
        config:  Resolved options.
        teacher: Network to copy from; only its augmentation layer may be left over. None leaves `net` as it is.
        net:     Network to overwrite.
    Raises:
        ConfigError: Names or shapes differ.
    """
    if teacher is None:
        return
    try:
        copy_params_and_buffers(teacher, net)
    except ValueError as error:
        hint = "leave out --arch to take the teacher's"
        if 'augment_dim' in config['network_options'] and not has_augmentation(teacher):
            hint = 'this teacher was trained without augmentation, use --augment=0'
        raise ConfigError(f'--transfer={config["transfer"]}: {error}; {hint}') from error


def has_augmentation(net):
    """Tell whether a network takes augmentation labels."""
    return any(name.endswith('map_augment.weight') for name, _parameter in net.named_parameters())
