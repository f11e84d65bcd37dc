# Copyright 2026 The GDD-1S authors.
# SPDX-License-Identifier: Apache-2.0

"""A picture of samples with their nearest training images: people look at this first.

Legend: N M images, C channels, H W pixels, D features, k neighbours.
"""

import numpy as np
import torch

from dnnlib.errors import ArgumentError, arg
from evaluations.inputs.image_sources import (
    ChosenImages,
    FolderImages,
    GeneratedImages,
    PackedImages,
    choose_subset,
    hash_dataset,
    open_images,
)
from evaluations.inputs.reference import Reference
from evaluations.metrics.nearest import nearest_neighbours
from training.images.png import save_grid

ROWS, COLUMNS = 12, 5  # samples shown, and training images beside each
Source = FolderImages | PackedImages | GeneratedImages | ChosenImages


def open_training_images(data: str, reference: Reference) -> ChosenImages:
    """Open the training images whose features a reference holds, in their order.

    Args:
        data: Folder, zip or pack that the reference was made from.
        reference: Has features of single images.
    Raises:
        ArgumentError: Other images than those of the reference.
    """
    if hash_dataset(data) != reference.dataset_sha256:
        raise ArgumentError(
            arg('train_data', data),
            f' is not what {reference.path} was made from ({reference.dataset}); give that, or make the '
            'reference again with `fid.py ref ',
            arg('features', 10000),
            ' ',
            arg('data', data),
            '`',
        )
    source, _ = open_images(data)
    rows = reference.features_rows
    if rows is None:
        rows = choose_subset(len(source), len(reference.features), reference.features_seed or 0)
    return ChosenImages(source, rows)


def save_neighbours(
    path: str, source: Source, features: torch.Tensor, training: Source, training_features: torch.Tensor
) -> list[float]:
    """Write a PNG: in each row a sample and its nearest training images, the most suspicious rows first.

    Args:
        path: File to write.
        source, features: The samples, and their features, float [N, D].
        training, training_features: Training images, and their features, float [M, D].
    Returns:
        The distance to the nearest training image of each row, ascending.
    """
    k = min(COLUMNS, len(training))
    near = nearest_neighbours(features, training_features, k)
    shown = (
        near.distances[:, 0].argsort(stable=True)[:ROWS].cpu().numpy()
    )  # samples nearest to a training image
    found = near.indices.cpu().numpy()[shown]  # [rows, k]
    rows = [
        np.concatenate([sample[None], images])
        for sample, images in zip(
            _pixels(source, shown), _pixels(training, found.ravel()).reshape(len(shown), k, *_shape(source))
        )
    ]
    save_grid(path, np.concatenate(rows), columns=1 + k)
    return near.distances[shown, 0].tolist()


def _shape(source: Source) -> tuple[int, int, int]:
    channels, height, width = source.image_shape
    return height, width, channels


def _pixels(source: Source, positions: np.ndarray) -> np.ndarray:
    """Return images by number in any order, uint8 [N, H, W, C]; sources are read in ascending order."""
    ascending, back = np.unique(positions, return_inverse=True)
    [(images, _)] = source.batches([ascending])
    return torch.as_tensor(images).permute(0, 2, 3, 1).cpu().numpy()[back.reshape(-1)]
