# Copyright 2026 The GDD-1S authors.
# SPDX-License-Identifier: Apache-2.0

"""What makes numbers misleading, or not comparable with published ones, in words; no number depends on it."""

import os
import re
from collections.abc import Collection, Sequence

import numpy as np

from evaluations.comparison import Comparison
from evaluations.inputs.image_sources import FolderImages, PackedImages
from evaluations.metrics.inception_score import seems_sorted
from evaluations.metrics.names import PROTOCOL_IMAGES, is_published_protocol, metric_name
from training.images.files import FileTree


def describe_choice(
    comparisons: Sequence[Comparison], num_images: int, image_shape: Sequence[int]
) -> list[str]:
    """Return remarks about detectors, references and the number of images, one line each.

    Args:
        comparisons: What will be compared.
        num_images: Images that will be measured.
        image_shape: Their (C, H, W).
    """
    notes = []
    for detector in dict.fromkeys(comparison.detector for comparison in comparisons):
        notes += detector.notes
        if is_published_protocol(detector.name) and num_images != PROTOCOL_IMAGES:
            notes.append(
                f'{num_images} images: the distance falls with their number, and published numbers have '
                f'{PROTOCOL_IMAGES}; this one is called {metric_name(detector.name, "fid", num_images)}'
            )
        if num_images <= detector.feature_dim:
            notes.append(
                f'{num_images} images are not more than the {detector.feature_dim} features of '
                f'{detector.name}; the distance is dominated by chance'
            )
    for path in dict.fromkeys(comparison.reference.path for comparison in comparisons):
        side = resolution_in_name(path)
        if side is not None and side not in image_shape[1:]:
            notes.append(
                f'the name of {path} speaks of {side}x{side} pixels, '
                f'but the images have {image_shape[2]}x{image_shape[1]}'
            )
    return notes


def describe_images(
    path: str | os.PathLike, source: FolderImages | PackedImages, metrics: Collection[str] = ()
) -> list[str]:
    """Return remarks about the images, one line each.

    Args:
        path: Where the images come from.
        source: The source opened from it.
        metrics: Metrics to be computed; the Inception Score depends on the order of the images.
    """
    notes = []
    if isinstance(source, PackedImages):
        if source.pack.statistics() is not None:
            notes.append(
                f'{path} holds reference statistics as well; are these real images meant as samples?'
            )
        labels = source.pack.labels if 'is' in metrics else None
    else:
        notes += [f'{path}: {remark}' for remark in source.remarks]
        tree = FileTree(path)
        jpegs = sum(name.lower().endswith(('.jpg', '.jpeg')) for name in tree.names)
        if jpegs:
            notes.append(
                f'{jpegs} files of {path} are JPEG; compression moves features, and published numbers use PNG'
            )
        labels = list((tree.read_label_map() or {}).values()) if 'is' in metrics else None
    if labels is not None and all(isinstance(label, (int, np.integer)) for label in labels):
        if seems_sorted(labels):
            notes.append(
                f'{path} is sorted by class; the Inception Score of consecutive groups is then far too low'
            )
    return notes


def resolution_in_name(path: str) -> int | None:
    """Return the side in pixels that a file name such as ffhq-64x64.npz states, or None."""
    match = re.search(r'(?<!\d)(\d{2,4})x\1(?!\d)', os.path.basename(str(path)))
    return int(match[1]) if match else None
