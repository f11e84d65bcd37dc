# Copyright 2026 The GDD-1S authors.
# SPDX-License-Identifier: Apache-2.0
"""Tests of torch_utils/batches.py: values, types and shapes of a batch; no classes are None."""

import numpy as np
import torch

from torch_utils.batches import labels_or_none, stack_items, to_float
from training.sampling.samplers import quantise


def test_all_pixel_values_lie_in_the_range_and_come_back():
    pixels = torch.arange(256, dtype=torch.uint8).reshape(1, 1, 16, 16)
    images = to_float(pixels)
    assert images.dtype == torch.float32 and images.shape == pixels.shape
    assert images[0, 0, 0, 0] == -1 and images[0, 0, -1, -1] == 1 and images.diff().min() > 0
    assert torch.equal(quantise(images), pixels)
    assert abs(images.mean()) < 1e-6  # 0 lies between 127 and 128; x / 128 - 1 would be off by 0.004


def test_items_become_a_batch():
    items = [
        (np.full([3, 2, 2], value, dtype=np.uint8), np.eye(4, dtype=np.float32)[value]) for value in (0, 3)
    ]
    images, labels = stack_items(items, torch.device('cpu'))
    assert images.shape == (2, 3, 2, 2) and images.dtype == torch.float32
    assert torch.equal(images[:, 0, 0, 0], torch.tensor([0.0, 3.0]) / 127.5 - 1)
    assert labels.dtype == torch.float32 and labels.argmax(dim=1).tolist() == [0, 3]


def test_no_classes():
    assert labels_or_none(None) is None and labels_or_none(torch.zeros(2, 0)) is None
    labels = torch.eye(3)
    assert labels_or_none(labels) is labels
