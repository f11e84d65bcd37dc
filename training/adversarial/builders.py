# Copyright 2026 The GDD-1S authors.
# SPDX-License-Identifier: Apache-2.0
"""Build what judges the student from the options of a run: feature networks, discriminator, class table."""

from collections.abc import Mapping
from typing import Any

import torch

from dnnlib.errors import ArgumentError, arg, message_parts
from torch_utils import distributed
from torch_utils.batches import stack_items
from torch_utils.randomness import derive_seed
from training.adversarial.class_table import make_class_table
from training.adversarial.discriminator import ProjectedDiscriminator
from training.adversarial.features import ProjectedFeatures
from training.backbones.teacher import TEACHER, TeacherStages

CLASS_TABLE_IMAGES = 4096


def build_features(
    feature_kwargs: Mapping,
    resolution: int,
    device: torch.device,
    seed: int,
    compat: str,
    teacher: torch.nn.Module | None = None,
    option: str = 'backbone',
) -> ProjectedFeatures:
    """Build the frozen feature networks; `clean` draws one projection, `official` one per rank.

    Args:
        feature_kwargs: Arguments of `ProjectedFeatures`; an `input_size` of None leaves the images alone.
        resolution:     Side of the images, in pixels.
        device:         Device to train on.
        seed:           Seed of the run.
        compat:         'clean' or 'official'.
        teacher:        Network whose encoder the name 'teacher' stands for; None where there is none.
        option:         The option that names the networks, for messages.
    Raises:
        ArgumentError: They cannot be had, or do not take such images.
    """
    kwargs = dict(feature_kwargs)
    wanted = kwargs.pop('input_size')
    target = wanted or resolution
    torch.manual_seed(derive_seed(seed, 'projection', distributed.get_rank() if compat == 'official' else 0))
    try:
        if TEACHER in kwargs['names'] and teacher is not None:
            kwargs['teacher'] = TeacherStages(teacher)
        return ProjectedFeatures(
            input_size=max(target, resolution), interpolate=resolution < target, **kwargs
        ).to(device)
    except ValueError as error:
        size = [arg('d_resolution', wanted or 0)]
        if not wanted and option == 'backbone':
            size += [' or ', arg('interp224', 0)]
        raise ArgumentError(
            arg(option, kwargs['names']),
            ' with ',
            *size,
            f' on images of {resolution} pixels: ',
            *message_parts(error),
        ) from error


def build_discriminator(
    discriminator_kwargs: Mapping,
    features: ProjectedFeatures,
    dataset: Any,
    device: torch.device,
    seed: int,
    compat: str,
) -> ProjectedDiscriminator:
    """Build the discriminator, with start values for its class embeddings where there are classes.

    Args:
        discriminator_kwargs: Arguments of `ProjectedDiscriminator`, and `class_embed`: source of the table.
        features:             What it looks through.
        dataset:              Training images.
        device:               Device to train on.
        seed:                 Seed of the run.
        compat:               'clean' or 'official'.
    Raises:
        ArgumentError: The class table cannot be had.
    """
    kwargs = dict(discriminator_kwargs)
    source = kwargs.pop('class_embed')
    torch.manual_seed(derive_seed(seed, 'discriminator'))
    table = None
    if dataset.label_dim:
        try:
            table = build_class_table(source, features, dataset, device, seed, all_rows=compat == 'official')
        except ValueError as error:
            raise ArgumentError(arg('class_embed', source), ': ', *message_parts(error)) from error
    return ProjectedDiscriminator(
        features.names,
        features.channels,
        features.resolutions,
        label_dim=dataset.label_dim,
        class_table=table,
        own_resolutions=features.own_resolutions,
        **kwargs,
    ).to(device)


def build_class_table(
    source: str, features: ProjectedFeatures, dataset: Any, device: torch.device, seed: int, all_rows: bool
) -> torch.Tensor:
    """Make the start values of the discriminator's class embeddings, [K, D] or more rows.

    Args:
        source:   File, URL, 'random' or 'computed'.
        features: Feature networks, for 'computed'.
        dataset:  Training images.
        device:   Device of `features`.
        seed:     Seed of the run, for 'random'.
        all_rows: Whether a table with more rows than classes stays whole (official).
    """
    pooled = labels = None
    if source == 'random':
        source = f'random:{seed}'
    elif source == 'computed':
        pooled, labels = pooled_dataset_features(features, dataset, device)
    return distributed.rank0_first(  # one process downloads
        lambda: make_class_table(dataset.label_dim, source, pooled, labels, all_rows=all_rows)
    )


@torch.no_grad()
def pooled_dataset_features(
    features: ProjectedFeatures, dataset: Any, device: torch.device, batch: int = 64
) -> tuple[torch.Tensor, torch.Tensor]:
    """Return pooled backbone features and labels of up to 4096 images spread evenly over the data set."""
    count = min(len(dataset), CLASS_TABLE_IMAGES)
    indices = [i * len(dataset) // count for i in range(count)]
    pooled, labels = [], []
    for begin in range(0, count, batch):
        images, classes = stack_items([dataset[i] for i in indices[begin : begin + batch]], device)
        pooled.append(features.pooled_features(images, classes.to(torch.float32)).cpu())
        labels.append(classes.cpu())
    return torch.cat(pooled), torch.cat(labels)
