# Copyright 2026 The GDD-1S authors.
# SPDX-License-Identifier: Apache-2.0
"""What dataset_tool.py converts and inspects: a source lists its items cheaply; decoding them is expensive.

Legend: N images, C channels, H W pixels. All images leave here as uint8 [H, W] or [H, W, 3], 0..255.
"""

from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import numpy as np
import PIL.Image

from training.images.decoding import MAX_PIXELS, decode_image
from training.images.files import DatasetError, Where, read_regular_file

_MODE_AFTER = {
    'L': 'L',
    '1': 'L',
    'LA': 'L',
    'RGB': 'RGB',
    'RGBA': 'RGB',
    'RGBX': 'RGB',
    'P': 'RGB',
    'PA': 'RGB',
    'CMYK': 'RGB',
    'YCbCr': 'RGB',
}


class SourceItem(NamedTuple):
    """One image of a source, as it travels to the process that decodes it."""

    where: Where  # parts of a message that name the image
    # Path of an image file, its bytes, pixels uint8 [H, W] or [H, W, 3], or the DatasetError met.
    content: Path | bytes | np.ndarray | DatasetError


class Source(NamedTuple):
    """A source that has been recognised; files are read while iterating over `items`."""

    kind: str  # words for the user
    labels: list  # class number, vector or None, for each item
    items: Iterator[SourceItem]
    class_names: list[str] | None = None  # name of class 0, 1, 2, ..., where known
    names: tuple[str, ...] = ()  # file of each item, where items are files
    repeated: tuple[str, ...] = ()  # names that an archive stores more than once
    ignored: tuple[str, ...] = ()  # files that are no images by their name
    label_where: Where = ('the labels',)  # parts of a message that name the file with the labels
    notes: tuple[Where, ...] = ()  # what a user should know: parts of a line each
    label_error: DatasetError | None = None  # why there are no labels, where a source is opened all the same

    @property
    def count(self) -> int:
        """Number of items."""
        return len(self.labels)

    def name_of(self, index: int) -> str:
        """Return the file name of an item, or its number where there are no files."""
        return self.names[index] if self.names else f'image {index}'


def load_image(item: SourceItem, max_pixels: int = MAX_PIXELS) -> PIL.Image.Image:
    """Decode one item.

    Args:
        item:       The item.
        max_pixels: Largest H x W that is read.
    Returns:
        Pillow image in the mode of the file.
    Raises:
        DatasetError: the image cannot be read, is damaged, or has more than 8 bits per channel.
    """
    content = item.content
    if isinstance(content, DatasetError):
        raise content
    if isinstance(content, np.ndarray):
        return PIL.Image.fromarray(content)
    if isinstance(content, Path):
        try:
            content = read_regular_file(content)
        except (OSError, ValueError) as error:
            raise DatasetError(*item.where, f' cannot be read ({error}); replace or remove it') from error
    return decode_image(content, item.where, max_pixels)


def to_pixels(image: PIL.Image.Image, where: Where) -> np.ndarray:
    """Convert a decoded image to grayscale or RGB. Transparency is dropped, not blended.

    Args:
        image: Pillow image with 8 bits per channel.
        where: Parts of a message that name the image.
    Returns:
        uint8 [H, W] or [H, W, 3], 0..255.
    Raises:
        DatasetError: the mode is a rare one, such as LAB.
    """
    if image.mode not in _MODE_AFTER:
        raise DatasetError(
            *where,
            f' has mode {image.mode} ({image.width}x{image.height}), which cannot be converted; '
            'save it as 8-bit grayscale or RGB',
        )
    return np.asarray(image.convert(_MODE_AFTER[image.mode]))


def array_source(
    kind: str, name: str, images: np.ndarray, labels: list[int], class_names: list[str] | None = None
) -> Source:
    """Return a source of images in memory.

    Args:
        kind:        Words for the user.
        name:        Path of the file they come from.
        images:      uint8 [N, H, W] or [N, H, W, 3].
        labels:      N class numbers.
        class_names: Name of class 0, 1, 2, ..., where known.
    """
    items = (SourceItem((f'image {k} of {name}',), image) for k, image in enumerate(images))
    return Source(
        kind, [int(label) for label in labels], items, class_names, label_where=(f'labels of {kind}',)
    )
