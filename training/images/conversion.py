# Copyright 2026 The GDD-1S authors.
# SPDX-License-Identifier: Apache-2.0
"""Conversion of a source into a dataset in EDM format: a zip with stored entries, or a folder.

It holds PNG images `00000/img00000000.png` of one square, power-of-two size, and `dataset.json` with the
labels. The same input gives the same bytes, as all entries carry one fixed time.

Legend: C channels, H W pixels. Images are uint8 [H, W] or [H, W, 3], 0..255.
"""

import contextlib
import functools
import io
import json
import os
import secrets
import shutil
import sys
import zipfile
from typing import NamedTuple

import numpy as np
import PIL.Image
import tqdm

from dnnlib.parallel import map_ordered
from dnnlib.progress import with_progress
from dnnlib.util import atomic_write
from training.images.files import LABEL_FILE, DatasetError, label_array
from training.images.sources import load_pixels
from training.images.transforms import TRANSFORMS

_ENTRY_TIME = (1980, 1, 1, 0, 0, 0)  # the earliest a zip can store


# ------------------------------------------------------------------------------------------------
# Destinations: context managers that yield save(name, data). Nothing is left behind after an error.


@contextlib.contextmanager
def _open_zip_dest(path):
    os.makedirs(os.path.dirname(path) or '.', exist_ok=True)
    with atomic_write(path) as file, zipfile.ZipFile(file, 'w', zipfile.ZIP_STORED) as archive:

        def save(name, data):
            entry = zipfile.ZipInfo(name, _ENTRY_TIME)
            entry.create_system = 3  # Unix, also when made on Windows
            entry.external_attr = 0o644 << 16
            archive.writestr(entry, data)

        yield save


@contextlib.contextmanager
def _open_folder_dest(path):
    temporary = os.path.join(os.path.dirname(path), f'.tmp-{os.getpid()}-{secrets.token_hex(6)}')
    os.makedirs(temporary)

    def save(name, data):
        target = os.path.join(temporary, name)
        os.makedirs(os.path.dirname(target), exist_ok=True)
        with open(target, 'wb') as file:
            file.write(data)

    try:
        yield save
        os.replace(temporary, path)
    finally:
        shutil.rmtree(temporary, ignore_errors=True)


def open_dest(path):
    """Open a new dataset for writing; it appears under its name only when complete.

    Args:
        path: `.zip` file that does not exist, or a folder that is empty or does not exist.
    Returns:
        Context manager yielding `save(name, data)`; parent folders are made on entering it.
    Raises:
        DatasetError: the destination exists already, or is empty text.
    """
    path = path.rstrip('/' + os.sep)
    if not path:
        raise DatasetError(
            '--dest must name a .zip file or a folder below the root; try --dest=datasets/mine.zip'
        )
    is_zip = path.lower().endswith('.zip')
    is_empty_folder = os.path.isdir(path) and not os.path.islink(path) and not os.listdir(path)
    if os.path.lexists(path) and (is_zip or not is_empty_folder):
        raise DatasetError(
            f'--dest={path} exists already and is not written over; remove it or choose another name'
        )
    return _open_zip_dest(path) if is_zip else _open_folder_dest(path)


# ------------------------------------------------------------------------------------------------
# Images.


class Converted(NamedTuple):
    """One image of the new dataset."""

    where: str  # words that name the original
    shape: tuple  # (H, W) or (H, W, 3)
    png: bytes  # content of the file


def convert_item(item, transform=None, resolution=None, png_compress=0):
    """Decode, transform and encode one image; all that worker processes do.

    Args:
        item:         training.dataset_sources.SourceItem.
        transform:    name in `image_transforms.TRANSFORMS`, or None.
        resolution:   (width, height) in pixels, or None.
        png_compress: PNG compression level, 0..9.
    Returns:
        Converted; None for an image that is too small for the transform; or the DatasetError of an unusable one.
    """
    width, height = resolution or (None, None)
    try:
        pixels = TRANSFORMS[transform](load_pixels(item), width, height)
    except DatasetError as error:
        return error
    if pixels is None:
        return None
    buffer = io.BytesIO()
    PIL.Image.fromarray(pixels).save(buffer, format='png', compress_level=png_compress, optimize=False)
    return Converted(item.where, pixels.shape, buffer.getvalue())


def check_shape(shape, first_shape, where):
    """Raise DatasetError unless an output image can be part of the dataset.

    Args:
        shape:       (H, W) or (H, W, C) of the image.
        first_shape: Shape of the first output image, or None when this is the first.
        where:       Words that name the image.
    """
    height, width = shape[:2]
    channels = shape[2] if len(shape) == 3 else 1
    if first_shape is not None:
        if shape != first_shape:
            first_channels = first_shape[2] if len(first_shape) == 3 else 1
            raise DatasetError(
                f'{where} is {width}x{height} with {channels} channel(s), but the dataset has '
                f'{first_shape[1]}x{first_shape[0]} with {first_channels}; make all alike with '
                '--transform=center-crop --resolution=64x64'
            )
        return
    if height != width:
        raise DatasetError(
            f'{where} must be square after scale and crop, got {width}x{height}; '
            'try --transform=center-crop --resolution=64x64'
        )
    if channels not in (1, 3):
        raise DatasetError(f'{where} must have 1 or 3 channels, got {channels}; save it as grayscale or RGB')
    if width & (width - 1):
        power = 1 << (width.bit_length() - 1)
        raise DatasetError(
            f'{where} is {width}x{height}, but the size must be a power of two; '
            f'try --resolution={power}x{power}'
        )


# ------------------------------------------------------------------------------------------------
# The whole.


def convert(source, save, transform=None, resolution=None, png_compress=0, skip_bad=False, workers=1):
    """Transform and store all images of a source, then the labels.

    A skipped image still consumes its number, so the names of its successors do not change.

    Args:
        source:       training.dataset_sources.Source.
        save:         Function of (name, data) from `open_dest`.
        transform:    name in `image_transforms.TRANSFORMS`, or None.
        resolution:   (width, height) in pixels, or None.
        png_compress: PNG compression level, 0..9.
        skip_bad:     Name images that cannot be read, and go on without them.
        workers:      Number of processes; the bytes do not depend on it.
    Returns:
        dict with `count`, `small` and `bad` (images stored, too small, unreadable), `shape` (of each) and
        `labels` (words for the user).
    Raises:
        DatasetError: an image or the labels are unusable, or no image remains.
    """
    label_words = _describe_labels(source)
    shape, pairs, small, bad = None, [], 0, 0
    job = functools.partial(
        convert_item, transform=transform, resolution=resolution, png_compress=png_compress
    )
    with contextlib.closing(map_ordered(job, source.items, workers, source.count)) as results:
        for number, result in enumerate(with_progress(results, 'Converting', source.count)):
            if isinstance(result, DatasetError):
                _refuse_or_name(result, skip_bad)
                bad += 1
            elif result is None:
                small += 1
            else:
                check_shape(result.shape, shape, result.where)
                shape = result.shape
                name = f'{number // 1000:05d}/img{number:08d}.png'
                save(name, result.png)
                pairs.append([name, source.labels[number]])
    if not pairs:
        reasons = [f'{bad} cannot be read'] * (bad > 0)
        if small:
            reasons.append(
                f'{small} are too small for --resolution={resolution[0]}x{resolution[1]}, so try a smaller one'
            )
        raise DatasetError(f'no image is left of the {source.count} of {source.kind}: {"; ".join(reasons)}')
    save(LABEL_FILE, json.dumps(_label_content(source, pairs)).encode())
    return dict(count=len(pairs), small=small, bad=bad, shape=shape, labels=label_words)


def _refuse_or_name(error, skip_bad):
    if not skip_bad:
        raise DatasetError(f'{error}; or leave out such images with --skip-bad') from error
    tqdm.tqdm.write(f'Left out: {error}', file=sys.stderr)


def _describe_labels(source):
    """Check the labels before any work is done; return words about them."""
    if all(label is None for label in source.labels):
        return 'no labels'
    array = label_array(source.labels, f'{LABEL_FILE} of {source.kind}')
    return (
        f'labels of {len(np.unique(array))} class(es)'
        if array.ndim == 1
        else f'label vectors of length {array.shape[1]}'
    )


def _label_content(source, pairs):
    """What dataset.json holds. EDM reads `labels` alone; `class_names` is ours."""
    if pairs[0][1] is None:
        return {'labels': None}
    return {'labels': pairs, **({'class_names': source.class_names} if source.class_names else {})}
