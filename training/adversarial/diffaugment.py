# Copyright 2026 The GDD-1S authors.
# SPDX-License-Identifier: Apache-2.0

"""Differentiable augmentation of the discriminator's input (DiffAugment).

The policy is colour, translation, cutout with the ratios of the official GDD code; every
image gets all of them. Zhao et al. 2020, "Differentiable Augmentation for Data-Efficient
GAN Training".

Letters in shape comments: N batch, C channels, H W pixels.
"""

import torch
from torch.nn import functional

SHIFT_RATIO = 0.125  # largest translation, as a part of the image side
CUTOUT_RATIO = 0.2  # side of the erased square, as a part of the image side


def draw(
    x: torch.Tensor, count: int | None = None, generator: torch.Generator | None = None
) -> dict[str, torch.Tensor]:
    """Draw the parameters for a batch, in the official order.

    Args:
        x:         Images, [N, C, H, W]; only shape, dtype and device are read.
        count:     Number of images to draw for, instead of N.
        generator: Generator to draw from, on whose device the numbers then are; None for the default
                   one of the device of `x`.
    Returns:
        By name: brightness, saturation, contrast uniform in 0..1, [N, 1, 1, 1]; shift_y, shift_x and
        cut_y, cut_x int64 [N], in pixels.
    """
    n, _, *size = x.shape
    n = n if count is None else count
    options = dict(generator=generator, device=x.device if generator is None else generator.device)
    draws = {
        name: torch.rand([n, 1, 1, 1], dtype=x.dtype, **options)
        for name in ('brightness', 'saturation', 'contrast')
    }
    for name, side in zip(('shift_y', 'shift_x'), size):
        limit = int(SHIFT_RATIO * side + 0.5)
        draws[name] = torch.randint(-limit, limit + 1, [n], **options)
    for name, side in zip(('cut_y', 'cut_x'), size):
        # An even square may also be centred on the far edge.
        draws[name] = torch.randint(0, side + 1 - _cutout_side(side) % 2, [n], **options)
    return draws


def apply_draws(x: torch.Tensor, draws: dict[str, torch.Tensor]) -> torch.Tensor:
    """Augment images with given parameters.

    Args:
        x:     Images, [N, C, H, W], -1..1.
        draws: Parameters as `draw` returns them.
    Returns:
        Augmented images, same shape.
    """
    x = x + (draws['brightness'] - 0.5)
    grey = x.mean(dim=1, keepdim=True)  # [N, 1, H, W]
    x = (x - grey) * (draws['saturation'] * 2) + grey
    mean = x.mean(dim=[1, 2, 3], keepdim=True)  # [N, 1, 1, 1]
    x = (x - mean) * (draws['contrast'] + 0.5) + mean
    return _cutout(_translate(x, draws['shift_y'], draws['shift_x']), draws['cut_y'], draws['cut_x'])


def _translate(x: torch.Tensor, shift_y: torch.Tensor, shift_x: torch.Tensor) -> torch.Tensor:
    # out[i, j] = x[i + shift_y, j + shift_x], zero outside.
    n, _, height, width = x.shape
    pad_y, pad_x = (int(SHIFT_RATIO * side + 0.5) for side in (height, width))
    padded = functional.pad(x, [pad_x, pad_x, pad_y, pad_y])
    image = torch.arange(n, device=x.device)[:, None, None]
    rows = torch.arange(height, device=x.device) + shift_y[:, None] + pad_y  # [N, H]
    columns = torch.arange(width, device=x.device) + shift_x[:, None] + pad_x  # [N, W]
    shifted = padded[image, :, rows[:, :, None], columns[:, None, :]]  # [N, H, W, C]
    return shifted.permute(0, 3, 1, 2)  # [N, C, H, W]


def _cutout(x: torch.Tensor, cut_y: torch.Tensor, cut_x: torch.Tensor) -> torch.Tensor:
    # Parts of the square outside the image are lost; nothing is wrapped or moved inside.
    inside = []
    for side, offset in zip(x.shape[2:], (cut_y, cut_x)):
        square = _cutout_side(side)
        start = (offset - square // 2)[:, None]  # [N, 1]
        position = torch.arange(side, device=x.device)
        inside.append((position >= start) & (position < start + square))  # [N, side]
    erased = inside[0][:, :, None] & inside[1][:, None, :]  # [N, H, W]
    return x.masked_fill(erased[:, None], 0)


def _cutout_side(side: int) -> int:
    return int(CUTOUT_RATIO * side + 0.5)
