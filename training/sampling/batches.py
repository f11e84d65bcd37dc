# Copyright 2026 The GDD-1S authors.
# SPDX-License-Identifier: Apache-2.0
"""A batch of images as work that the device was given: nothing here waits for a GPU."""

from collections.abc import Sequence
from typing import Any, NamedTuple

import torch

from training.sampling import samplers


class StartedBatch(NamedTuple):
    """What a device is making of some seeds.

    Attributes:
        pixels:     uint8 [N, C, H, W] on the device.
        labels:     Class indices, int64 [N], on the device; None for an unconditional network.
        not_finite: Images whose pixels mean nothing, bool [N], on the device: `samplers.refuse_not_finite`.
    """

    pixels: torch.Tensor
    labels: torch.Tensor | None
    not_finite: torch.Tensor


def start_batch(net: torch.nn.Module, seeds: Sequence[int], **options: Any) -> StartedBatch:
    """Let the device make one image per seed; the options are those of `samplers.sample_batch`."""
    images, labels = samplers.sample_batch(net, seeds, **options)
    return StartedBatch(samplers.quantise(images), labels, samplers.not_finite(images))
