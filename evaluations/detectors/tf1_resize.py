# Copyright 2026 The GDD-1S authors.
# SPDX-License-Identifier: Apache-2.0

"""TensorFlow 1's bilinear resize, which every published Inception number went through.

It aligns the top-left corners of the two pixel grids instead of the whole images and does not
antialias, so that any modern resize gives other features: single pixels differ by up to 159
grey levels where 32 pixels become 299.

Legend: N batch, C channels, H W pixels of the input, S pixels of the output.
"""

import torch


def _neighbours(
    size_in: int, size_out: int, device: torch.device
) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """Return (lower index, upper index, weight of the upper one) of each output pixel, [S] each."""
    # In float32, as TensorFlow computes it: the weights decide the last bits of the result.
    scale = torch.full([], size_in, dtype=torch.float32, device=device) / size_out
    position = torch.arange(size_out, dtype=torch.float32, device=device) * scale
    lower = position.floor()
    return lower.long(), (lower.long() + 1).clamp_max(size_in - 1), position - lower


def resize_bilinear_tf1(images: torch.Tensor, size: int) -> torch.Tensor:
    """Resize images as `tf.image.resize_bilinear(align_corners=False)` of TensorFlow 1 does.

    The arithmetic is that of TensorFlow's CPU kernel, operation by operation: first along the
    rows, then between two rows. Needs about three times the memory of the result.

    Args:
        images: uint8 or float [N, C, H, W], any range.
        size: Height and width of the result, S.
    Returns:
        float32 [N, C, S, S], of the same range. The input itself (as float32) where H = W = S.
    """
    x = images.to(torch.float32)
    height, width = x.shape[2:]
    if (height, width) == (size, size):
        return x
    left, right, weight = _neighbours(width, size, x.device)
    rows = x.index_select(3, left)  # [N, C, H, S]
    rows += (x.index_select(3, right) - rows).mul_(weight)
    upper, lower, weight = _neighbours(height, size, x.device)
    top = rows.index_select(2, upper)  # [N, C, S, S]
    top += (rows.index_select(2, lower) - top).mul_(weight[:, None])
    return top
