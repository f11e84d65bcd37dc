# Copyright 2026 The GDD-1S authors.
# SPDX-License-Identifier: Apache-2.0
"""From the items of a dataset to the tensors that networks take."""

from collections.abc import Sequence
from typing import Any

import torch


def to_float(images: torch.Tensor) -> torch.Tensor:
    """Return uint8 images, 0..255, as float32, -1..1, of the same shape on the same device."""
    return images.to(torch.float32) / 127.5 - 1


def stack_items(items: Sequence[Any], device: torch.device) -> tuple[torch.Tensor, torch.Tensor]:
    """Return items of a dataset as a batch.

    Args:
        items:  Pairs of an image, uint8 [C, H, W], and a one-hot label, [K].
        device: Where the batch goes.
    Returns:
        Images float32 [N, C, H, W], -1..1, and labels [N, K] in the type in which they are stored.
    """
    images = torch.stack([torch.as_tensor(image) for image, _label in items])
    labels = torch.stack([torch.as_tensor(label) for _image, label in items])
    return to_float(images.to(device)), labels.to(device)


def labels_or_none(labels: torch.Tensor | None) -> torch.Tensor | None:
    """Return one-hot labels [N, K], or None where K = 0, which is how networks are told of no classes."""
    return labels if labels is not None and labels.shape[1] else None
