# Copyright 2026 The GDD-1S authors.
# SPDX-License-Identifier: Apache-2.0
"""Image packs of guided-diffusion and generate.py: arr_0 uint8 [N, H, W, C], perhaps arr_1 with N labels."""

import math
import os
import zipfile
from collections.abc import Iterator
from typing import IO

import numpy as np

from dnnlib.errors import arg
from training.images.files import DatasetError, check_member_size
from training.images.items import Source, SourceItem

_MAX_IMAGES = 20_000_000  # more than ImageNet-21k has
_MAX_LABEL_NUMBERS = 1 << 26
_DEFLATE_RATIO = 1032  # 258 bytes from 2 bits
_HEADERS = {(1, 0): np.lib.format.read_array_header_1_0, (2, 0): np.lib.format.read_array_header_2_0}
_RULE = 'it must hold arr_0, uint8 [N, H, W, 3] or [N, H, W], and may hold arr_1 with N class numbers'


def open_pack(path: str) -> Source:
    """Read the headers of a pack, and its labels; images are read while iterating.

    Raises:
        DatasetError: it is no such file, or announces more than it can hold.
    """
    try:
        with zipfile.ZipFile(path) as archive:
            with archive.open('arr_0.npy') as entry:
                shape = _read_image_header(entry)
                _check_stored('arr_0', archive.getinfo('arr_0.npy'), entry.tell(), shape, 1)
            if os.path.getsize(path) < archive.getinfo('arr_0.npy').compress_size:
                raise ValueError('arr_0 announces more bytes than the file has')
            if shape[0] > _MAX_IMAGES:
                raise ValueError(
                    f'arr_0 has {shape[0]:,} images, more than the {_MAX_IMAGES:,} that are read'
                )
            labels = _read_labels(archive, shape[0]) if 'arr_1.npy' in archive.namelist() else None
    except Exception as error:  # zip, zlib and NumPy's header raise many kinds for damaged or foreign content
        reason = str(error.args[0]) if error.args else type(error).__name__
        raise DatasetError(arg('source', path), f' is no usable image pack ({reason}); {_RULE}') from error
    return Source(
        f'image pack {path}',
        [None] * shape[0] if labels is None else labels,
        _items(path, shape),
        label_where=('arr_1 of ', arg('source', path)),
    )


def _read_image_header(entry: IO[bytes]) -> tuple[int, ...]:
    """Read the header of arr_0 and leave `entry` at its first pixel; ValueError unless it holds images."""
    shape, fortran, dtype = _read_header(entry, 'arr_0')
    if (
        dtype != np.uint8
        or fortran
        or not (len(shape) == 3 or len(shape) == 4 and shape[3] in (1, 3))
        or min(shape) < 1
    ):
        raise ValueError(f'arr_0 is {dtype} {list(shape)}{" in Fortran order" if fortran else ""}')
    return shape


def _read_header(entry: IO[bytes], name: str) -> tuple[tuple[int, ...], bool, np.dtype]:
    version = np.lib.format.read_magic(entry)
    if version not in _HEADERS:
        raise ValueError(f'{name} has format version {version}')
    return _HEADERS[version](entry)


def _check_stored(
    name: str, info: zipfile.ZipInfo, header: int, shape: tuple[int, ...], itemsize: int
) -> None:
    """Raise ValueError unless header, zip entry and bytes in the archive agree on the size of an array."""
    expected = header + math.prod(shape) * itemsize
    if info.file_size != expected:
        raise ValueError(
            f'{name} has {info.file_size} bytes, but its header promises {expected} '
            f'for the shape {list(shape)}'
        )
    check_member_size(info, base=1 << 16, ratio=_DEFLATE_RATIO)


def _read_labels(archive: zipfile.ZipFile, count: int) -> list:
    """Read arr_1: class numbers, or one vector per image; whole numbers become ints."""
    info = archive.getinfo('arr_1.npy')
    with archive.open(info) as entry:
        shape, fortran, dtype = _read_header(entry, 'arr_1')
        if dtype.kind not in 'iuf' or len(shape) not in (1, 2) or shape[0] != count or 0 in shape:
            raise ValueError(f'arr_1 is {dtype} {list(shape)}')
        if math.prod(shape) > _MAX_LABEL_NUMBERS:
            raise ValueError(f'arr_1 has {math.prod(shape):,} numbers')
        _check_stored('arr_1', info, entry.tell(), shape, dtype.itemsize)
        values = np.frombuffer(entry.read(), dtype=dtype)
        entry.read(1)  # reaches the end, where the checksum is compared
    labels = values.reshape(shape, order='F' if fortran else 'C').tolist()
    if len(shape) == 1:
        labels = [int(label) if float(label).is_integer() else label for label in labels]
    return labels


def _items(path: str, shape: tuple[int, ...]) -> Iterator[SourceItem]:
    """Stream the images, so that a pack may exceed the memory."""
    size = math.prod(shape[1:])
    with zipfile.ZipFile(path) as archive, archive.open('arr_0.npy') as entry:
        _read_image_header(entry)
        for k in range(shape[0]):
            where = f'image {k} of {path}'
            try:
                pixels = np.frombuffer(entry.read(size), dtype=np.uint8).reshape(shape[1:])
            except Exception as error:  # as for any damaged archive
                raise DatasetError(f'{where} cannot be read ({error}); get the file again') from error
            # [H, W] or [H, W, 3]
            yield SourceItem((where,), pixels[..., 0] if pixels.shape[2:] == (1,) else pixels)
