# Copyright 2026 The GDD-1S authors.
# SPDX-License-Identifier: Apache-2.0
"""Geometry of dataset_tool.py: crops and resizing as in EDM.

Legend: H W pixels. Images are uint8 [H, W] or [H, W, 3], 0..255.
"""

from collections.abc import Callable

import numpy as np
import PIL.Image


def resize(pixels: np.ndarray, width: int | None = None, height: int | None = None) -> np.ndarray:
    """Resize with Pillow's Lanczos filter, ignoring the aspect; None keeps that extent.

    Args:
        pixels: uint8 [H, W] or [H, W, 3].
        width:  New width in pixels.
        height: New height in pixels.
    Returns:
        uint8 [height, width] or [height, width, 3]; the input itself when nothing changes.
    """
    size = (width or pixels.shape[1], height or pixels.shape[0])
    if size == (pixels.shape[1], pixels.shape[0]):
        return pixels
    return np.asarray(PIL.Image.fromarray(pixels).resize(size, PIL.Image.Resampling.LANCZOS))


def center_crop(pixels: np.ndarray, width: int, height: int) -> np.ndarray:
    """Cut the central square, make it RGB, and resize it. Arguments and result as for `resize`."""
    side = min(pixels.shape[:2])
    top, left = ((extent - side) // 2 for extent in pixels.shape[:2])
    bottom, right = ((extent + side) // 2 for extent in pixels.shape[:2])
    return resize(_to_rgb(pixels[top:bottom, left:right]), width, height)


def center_crop_wide(pixels: np.ndarray, width: int, height: int) -> np.ndarray | None:
    """Cut a central band, resize it to width x height, and centre it in a black square.

    The band is round(width * H / W) rows high, as in EDM; this distorts unless the image is `width` wide.

    Args:
        pixels: uint8 [H, W] or [H, W, 3].
        width:  Side of the resulting square in pixels.
        height: Height of the band in the result in pixels, at most `width`.
    Returns:
        uint8 [width, width, 3]; None when the image is narrower than `width` or the band lower than `height`.
    """
    rows, columns = pixels.shape[:2]
    band = round(width * rows / columns)
    if columns < width or band < height:
        return None
    band_pixels = pixels[(rows - band) // 2 : (rows + band) // 2]
    canvas = np.zeros([width, width, 3], dtype=np.uint8)
    canvas[(width - height) // 2 : (width + height) // 2] = resize(_to_rgb(band_pixels), width, height)
    return canvas


def _to_rgb(pixels: np.ndarray) -> np.ndarray:
    return np.repeat(pixels[:, :, np.newaxis], 3, axis=2) if pixels.ndim == 2 else pixels


# Name on the command line -> function of (pixels, width, height); None as a result skips the image.
TRANSFORMS: dict[str | None, Callable[..., np.ndarray | None]] = {
    None: resize,
    'resize': resize,
    'center-crop': center_crop,
    'center-crop-wide': center_crop_wide,
}
