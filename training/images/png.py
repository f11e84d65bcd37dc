# Copyright 2026 The GDD-1S authors.
# SPDX-License-Identifier: Apache-2.0
"""PNG files: single images and grids of images. Pixels are uint8 in NHWC or HWC layout, 1 or 3 channels."""

import contextlib
import os
import secrets
from collections.abc import Sequence

import numpy as np
import PIL.Image
import PIL.ImageDraw

from dnnlib.files import naming

CAPTION_HEIGHT = 14  # pixels below an image, for Pillow's built-in font
BACKGROUND = 255


def save_png(path: str | os.PathLike, pixels: np.ndarray) -> None:
    """Write one image to a PNG file; the file appears under its name only when it is complete.

    Args:
        path:   File to create or replace; its folder must exist.
        pixels: uint8 ndarray [H, W, C], C = 1 (grey) or 3 (RGB).
    Raises:
        ValueError: Another shape or type.
        OSError:    The file cannot be written.
    """
    if pixels.dtype != np.uint8 or pixels.ndim != 3 or pixels.shape[2] not in (1, 3):
        raise ValueError(
            f'pixels: {pixels.dtype} {list(pixels.shape)} is not uint8 [H, W, 1 or 3], so no PNG can hold it'
        )
    image = PIL.Image.fromarray(pixels[:, :, 0] if pixels.shape[2] == 1 else pixels)
    # Not dnnlib's atomic_write: its fsync would cost more than the sampling of a 50 000-image set.
    temporary = os.path.join(os.path.dirname(path), f'.tmp-{os.getpid()}-{secrets.token_hex(6)}')
    with naming(path):
        try:
            image.save(temporary, format='PNG')
            os.replace(temporary, path)
        except BaseException:
            with contextlib.suppress(OSError):
                os.remove(temporary)
            raise


def make_grid(images: np.ndarray, columns: int, captions: Sequence[object] | None = None) -> np.ndarray:
    """Arrange images in rows, left to right and top to bottom.

    Args:
        images:   uint8 ndarray [N, H, W, C], C = 1 or 3.
        columns:  Images per row, >= 1. The last row is filled up with white.
        captions: None, or one short text per image, written below it.
    Returns:
        uint8 ndarray [rows * cell height, columns * W, C]; the cell is H high, more with captions.
    Raises:
        ValueError: No images, no columns, or another number of captions.
    """
    if len(images) == 0 or columns < 1:
        raise ValueError(f'images: {len(images)}, columns={columns}: a grid needs at least one of each')
    if captions is not None and len(captions) != len(images):
        raise ValueError(f'captions: {len(captions)} texts for {len(images)} images; give one text per image')
    n, height, width, channels = images.shape
    cell = height + (0 if captions is None else CAPTION_HEIGHT)
    rows = -(-n // columns)
    grid = np.full([rows * cell, columns * width, channels], BACKGROUND, dtype=np.uint8)
    for i, image in enumerate(images):
        y, x = i // columns * cell, i % columns * width
        grid[y : y + height, x : x + width] = image
        if captions is not None:
            grid[y + height : y + cell, x : x + width] = draw_caption(str(captions[i]), width)
    return grid


def draw_caption(text: str, width: int) -> np.ndarray:
    """Return a strip with centred black text, cut at its sides: uint8 [CAPTION_HEIGHT, width, 1]."""
    strip = PIL.Image.new('L', (width, CAPTION_HEIGHT), BACKGROUND)
    draw = PIL.ImageDraw.Draw(strip)
    draw.text(((width - draw.textlength(text)) / 2, 1), text, fill=0)
    return np.asarray(strip)[:, :, np.newaxis]


def save_grid(
    path: str | os.PathLike, images: np.ndarray, columns: int, captions: Sequence[object] | None = None
) -> None:
    """Write images as one PNG file (see `make_grid`); the file appears only when it is complete.

    Args:
        path:     File to create or replace; its folder must exist.
        images:   uint8 ndarray [N, H, W, C], C = 1 or 3.
        columns:  Images per row.
        captions: None, or one short text per image.
    """
    save_png(path, make_grid(images, columns, captions))
