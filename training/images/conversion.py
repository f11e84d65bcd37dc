# Copyright 2026 The GDD-1S authors.
# SPDX-License-Identifier: Apache-2.0
"""Conversion of a source into a dataset in EDM format: a zip with stored entries, or a folder.

It holds PNG images `00000/img00000000.png` of one square, power-of-two size, and `dataset.json` with the
labels. The same input gives the same bytes, as all entries carry one fixed time.

Legend: C channels, H W pixels. Images are uint8 [H, W] or [H, W, 3], 0..255.
"""

import collections
import contextlib
import errno
import functools
import io
import json
import os
import secrets
import shutil
import sys
import zipfile
from collections.abc import Callable, Iterator
from typing import NamedTuple

import numpy as np
import PIL.Image
import tqdm

from dnnlib.errors import arg
from dnnlib.files import atomic_write, claim
from dnnlib.parallel import map_ordered
from dnnlib.progress import with_progress
from training.images.decoding import MAX_PIXELS, has_more_frames, orientation, upright
from training.images.files import LABEL_FILE, DatasetError, Where
from training.images.items import Source, SourceItem, load_image, to_pixels
from training.images.labels import label_array, unused_classes
from training.images.transforms import TRANSFORMS

Save = Callable[[str, bytes], None]

_ENTRY_TIME = (1980, 1, 1, 0, 0, 0)  # the earliest a zip can store
_CLASS_NAMES = 10  # classes up to which each is named in the summary
_SQUARE = (arg('transform', 'center-crop'), ' ', arg('resolution', '64x64'))
# What may be special about an image.
_FRAMES, _ROTATED = 'frames', 'rotated'


# ------------------------------------------------------------------------------------------------
# Destinations: context managers that yield save(name, data). Nothing is left behind after an error.


@contextlib.contextmanager
def _open_zip_dest(path: str) -> Iterator[Save]:
    os.makedirs(os.path.dirname(path) or '.', exist_ok=True)
    with claim(path, 'dest'):
        _refuse_existing(path)
        with atomic_write(path) as file, zipfile.ZipFile(file, 'w', zipfile.ZIP_STORED) as archive:

            def save(name: str, data: bytes) -> None:
                entry = zipfile.ZipInfo(name, _ENTRY_TIME)
                entry.create_system = 3  # Unix, also when made on Windows
                entry.external_attr = 0o644 << 16
                archive.writestr(entry, data)

            yield save


@contextlib.contextmanager
def _open_folder_dest(path: str) -> Iterator[Save]:
    parent = os.path.dirname(path)
    os.makedirs(parent or '.', exist_ok=True)
    temporary = os.path.join(parent, f'.tmp-{os.getpid()}-{secrets.token_hex(6)}')
    with claim(path, 'dest'):
        _refuse_existing(path)
        os.makedirs(temporary)

        def save(name: str, data: bytes) -> None:
            target = os.path.join(temporary, name)
            os.makedirs(os.path.dirname(target), exist_ok=True)
            with open(target, 'wb') as file:
                file.write(data)

        try:
            yield save
            os.replace(temporary, path)
        except OSError as error:
            if error.errno in (errno.ENOTEMPTY, errno.EEXIST):
                _refuse_existing(path)  # somebody has filled it meanwhile
            raise
        finally:
            shutil.rmtree(temporary, ignore_errors=True)


def open_dest(path: str) -> contextlib.AbstractContextManager[Save]:
    """Open a new dataset for writing; it appears under its name only when complete.

    Args:
        path: `.zip` file that does not exist, or a folder that is empty or does not exist.
    Returns:
        Context manager yielding `save(name, data)`; parent folders are made on entering it.
    Raises:
        DatasetError:  the destination exists already, or is empty text.
        ArgumentError: on entering, another process is writing it.
    """
    path = path.rstrip('/' + os.sep)
    if not path:
        raise DatasetError(
            arg('dest'),
            ' must name a .zip file or a folder below the root; try ',
            arg('dest', 'datasets/mine.zip'),
        )
    _refuse_existing(path)
    return _open_zip_dest(path) if path.lower().endswith('.zip') else _open_folder_dest(path)


def _refuse_existing(path: str) -> None:
    is_zip = path.lower().endswith('.zip')
    is_empty_folder = os.path.isdir(path) and not os.path.islink(path) and not os.listdir(path)
    if os.path.lexists(path) and (is_zip or not is_empty_folder):
        raise DatasetError(
            arg('dest', path), ' exists already and is not written over; remove it or choose another name'
        )


# ------------------------------------------------------------------------------------------------
# Images.


class Converted(NamedTuple):
    """One image of the new dataset."""

    where: Where  # parts of a message that name the original
    shape: tuple[int, ...]  # (H, W) or (H, W, 3)
    png: bytes  # content of the file
    special: tuple[str, ...]  # what the summary should count


class Conversion(NamedTuple):
    """What has become of a source."""

    count: int  # images stored
    small: int  # left out as too small
    bad: int  # left out as unreadable
    shape: tuple[int, ...]  # of each image, (H, W) or (H, W, 3)
    labels: str  # words about the labels
    notes: list[Where]  # what a user should know: parts of a line each


def convert_item(
    item: SourceItem,
    transform: str | None = None,
    resolution: tuple[int, int] | None = None,
    png_compress: int = 0,
    exif: str = 'ignore',
    max_pixels: int = MAX_PIXELS,
) -> Converted | DatasetError | None:
    """Decode, transform and encode one image; all that worker processes do. Arguments as for `convert`.

    Returns:
        Converted; None for an image that is too small; or the DatasetError of an unusable one.
    """
    width, height = resolution or (None, None)
    try:
        original = load_image(item, max_pixels)
        is_rotated = orientation(original) != 1
        image = upright(original) if exif == 'apply' else original
        pixels = TRANSFORMS[transform](to_pixels(image, item.where), width, height)
    except DatasetError as error:
        return error
    if pixels is None:
        return None
    special = (_FRAMES,) * has_more_frames(original) + (_ROTATED,) * is_rotated
    buffer = io.BytesIO()
    PIL.Image.fromarray(pixels).save(buffer, format='png', compress_level=png_compress, optimize=False)
    return Converted(item.where, pixels.shape, buffer.getvalue(), special)


def check_shape(shape: tuple[int, ...], first_shape: tuple[int, ...] | None, where: Where) -> None:
    """Raise DatasetError unless an output image can be part of the dataset.

    Args:
        shape:       (H, W) or (H, W, C) of the image.
        first_shape: Shape of the first output image, or None when this is the first.
        where:       Parts of a message that name the image.
    """
    height, width = shape[:2]
    channels = shape[2] if len(shape) == 3 else 1
    if first_shape is not None:
        if shape != first_shape:
            first_channels = first_shape[2] if len(first_shape) == 3 else 1
            raise DatasetError(
                *where,
                f' is {width}x{height} with {channels} channel(s), but the dataset has '
                f'{first_shape[1]}x{first_shape[0]} with {first_channels}; make all alike with ',
                *_SQUARE,
            )
        return
    if height != width:
        raise DatasetError(
            *where, f' must be square after scale and crop, got {width}x{height}; try ', *_SQUARE
        )
    if channels not in (1, 3):
        raise DatasetError(*where, f' must have 1 or 3 channels, got {channels}; save it as grayscale or RGB')
    if width & (width - 1):
        power = 1 << (width.bit_length() - 1)
        raise DatasetError(
            *where,
            f' is {width}x{height}, but the size must be a power of two; try ',
            arg('resolution', f'{power}x{power}'),
        )


# ------------------------------------------------------------------------------------------------
# The whole.


def convert(
    source: Source,
    save: Save,
    transform: str | None = None,
    resolution: tuple[int, int] | None = None,
    png_compress: int = 0,
    skip_bad: bool = False,
    exif: str = 'ignore',
    max_pixels: int = MAX_PIXELS,
    describe: Callable[[DatasetError], str] = str,
    workers: int = 1,
) -> Conversion:
    """Transform and store all images of a source, then the labels.

    A skipped image still consumes its number, so the names of its successors do not change.

    Args:
        source:       What to convert; it is used up.
        save:         Function of (name, data) from `open_dest`.
        transform:    Name in `TRANSFORMS`, or None.
        resolution:   (width, height) in pixels, or None.
        png_compress: PNG compression level, 0..9.
        skip_bad:     Name images that cannot be read, and go on without them.
        exif:         'apply' the orientation of EXIF, or 'ignore' it as EDM does.
        max_pixels:   Largest H x W of an original.
        describe:     Spells an error for the user.
        workers:      Number of processes; the bytes do not depend on it.
    Raises:
        DatasetError: an image or the labels are unusable, or no image remains.
    """
    label_words, notes = _describe_labels(source)
    shape, pairs, small, bad = None, [], 0, 0
    special = collections.defaultdict(list)
    job = functools.partial(
        convert_item,
        transform=transform,
        resolution=resolution,
        png_compress=png_compress,
        exif=exif,
        max_pixels=max_pixels,
    )
    with contextlib.closing(map_ordered(job, source.items, workers, source.count)) as results:
        for number, result in enumerate(with_progress(results, 'Converting', source.count)):
            if isinstance(result, DatasetError):
                _refuse_or_name(result, skip_bad, describe)
                bad += 1
            elif result is None:
                small += 1
            else:
                check_shape(result.shape, shape, result.where)
                shape = result.shape
                name = f'{number // 1000:05d}/img{number:08d}.png'
                save(name, result.png)
                pairs.append([name, source.labels[number]])
                for kind in result.special:
                    special[kind].append(source.name_of(number))
    if not pairs:
        raise _nothing_left(source, small, bad, resolution)
    save(LABEL_FILE, json.dumps(_label_content(source, pairs)).encode())
    return Conversion(
        len(pairs), small, bad, shape, label_words, [*source.notes, *notes, *_special_notes(special, exif)]
    )


def _refuse_or_name(error: DatasetError, skip_bad: bool, describe: Callable[[DatasetError], str]) -> None:
    if not skip_bad:
        raise DatasetError(*error.args, '; or leave out such images with ', arg('skip_bad')) from error
    tqdm.tqdm.write(f'Left out: {describe(error)}', file=sys.stderr)


def _nothing_left(source: Source, small: int, bad: int, resolution: tuple[int, int] | None) -> DatasetError:
    parts = [f'no image is left of the {source.count} of {source.kind}: ']
    if bad:
        parts.append(f'{bad} cannot be read' + ('; ' if small else ''))
    if small:
        size = arg('resolution', f'{resolution[0]}x{resolution[1]}')
        parts += [f'{small} are too small for ', size, ', so try a smaller one']
    return DatasetError(*parts)


def _special_notes(special: dict[str, list[str]], exif: str) -> list[Where]:
    notes = []
    if frames := special[_FRAMES]:
        words = f'{len(frames)} image(s) have several frames or pages, such as {frames[0]}; the first is used'
        notes.append((words,))
    if rotated := special[_ROTATED]:
        words = f'{len(rotated)} image(s) have an EXIF orientation, such as {rotated[0]}; it is '
        ignored = ('ignored, as by EDM; turn them with ', arg('exif', 'apply'))
        notes.append((words, *(ignored if exif == 'ignore' else ('applied',))))
    return notes


def _describe_labels(source: Source) -> tuple[str, list[Where]]:
    """Check the labels before any work is done; return words about them, and notes."""
    if all(label is None for label in source.labels):
        return 'no labels', []
    array = label_array(source.labels, source.label_where, source.name_of)
    if array.ndim == 2:
        return f'label vectors of length {array.shape[1]}', []
    classes = np.unique(array).tolist()
    remark = unused_classes(array)
    return f'labels of {len(classes)} class(es){_named(classes, source.class_names)}', [
        (remark,)
    ] if remark else []


def _named(classes: list[int], names: list[str] | None) -> str:
    """Class numbers with their names, where these are known: ': 0 cat, 1 dog'."""
    if not names:
        return ''
    texts = [f'{number} {names[number]}' for number in classes if number < len(names)]
    if len(texts) > _CLASS_NAMES:
        texts = [*texts[: _CLASS_NAMES - 1], f'... {texts[-1]}']
    return ': ' + ', '.join(texts)


def _label_content(source: Source, pairs: list) -> dict:
    """What dataset.json holds. EDM reads `labels` alone; `class_names` is ours."""
    if pairs[0][1] is None:
        return {'labels': None}
    return {'labels': pairs, **({'class_names': source.class_names} if source.class_names else {})}
