# Copyright 2026 The GDD-1S authors.
# SPDX-License-Identifier: Apache-2.0
"""MNIST's idx files, plain or gzip, with their labels beside them."""

import gzip
import io
import math
from pathlib import Path

import numpy as np

from dnnlib.errors import arg
from training.images.files import DatasetError, read_regular_file
from training.images.items import Source, array_source

MNIST_FILES = tuple(
    f'{part}-images-idx3-ubyte{suffix}' for part in ('train', 't10k') for suffix in ('', '.gz')
)
_CHUNK_BYTES = 1 << 20
_SIDE, _PADDING = 28, 2  # 28x28 -> 32x32
_MAX_BYTES = 1 << 30  # 1.3 million images; the largest data set in this format, EMNIST, has 814,255


def read_gzip(data: bytes, limit: int) -> bytes:
    """Decompress to the end, where the checksum is compared.

    Args:
        data:  Content of a gzip file.
        limit: Largest number of bytes that is decompressed.
    Raises:
        ValueError: it holds more.
        OSError, EOFError, zlib.error: it is damaged, or is something else.
    """
    parts, total = [], 0
    with gzip.open(io.BytesIO(data)) as file:
        while part := file.read(_CHUNK_BYTES):  # a read of `limit` bytes would take them at once
            parts.append(part)
            total += len(part)
            if total > limit:
                raise ValueError(f'it holds more than {limit:,} bytes')
    return b''.join(parts)


def open_mnist(path: Path) -> Source:
    """Read images and labels; digits are padded from 28x28 to 32x32.

    Raises:
        DatasetError: one of the two files is missing, damaged, or of another format.
    """
    images = _read_idx(path, dimensions=3)  # [N, 28, 28]
    if images.shape[1:] != (_SIDE, _SIDE):
        raise DatasetError(
            arg('source'),
            f': {path} has images of {images.shape[2]}x{images.shape[1]} pixels, but MNIST has '
            '28x28; use the original file',
        )
    label_path = _find_labels(path)
    labels = _read_idx(label_path, dimensions=1)  # [N]
    if len(labels) != len(images):
        raise DatasetError(
            arg('source'),
            f': {label_path} has {len(labels)} labels for the {len(images)} images of '
            f'{path.name}; use files of the same release',
        )
    margin = (_PADDING, _PADDING)
    images = np.pad(images, ((0, 0), margin, margin))  # [N, 32, 32]
    return array_source(f'MNIST file {path} (28x28, padded to 32x32)', str(path), images, labels)


def _find_labels(path: Path) -> Path:
    plain = path.name.replace('images-idx3', 'labels-idx1').removesuffix('.gz')
    for candidate in (path.with_name(plain), path.with_name(f'{plain}.gz')):
        if candidate.is_file():
            return candidate
    raise DatasetError(
        arg('source', str(path)),
        f' needs its labels beside it; put {plain} or {plain}.gz into the same folder',
    )


def _read_idx(path: Path, dimensions: int) -> np.ndarray:
    """One idx file of bytes; the header holds 00 00 08 ndim, then each extent big-endian."""
    try:
        data = read_regular_file(path)
        data = read_gzip(data, _MAX_BYTES) if data[:2] == b'\x1f\x8b' else data
    except Exception as error:  # damaged gzip data surfaces as OS, EOF or zlib errors
        raise DatasetError(arg('source'), f': {path} cannot be read ({error}); download it again') from error
    header = 4 + 4 * dimensions
    if len(data) < header or data[:4] != bytes([0, 0, 8, dimensions]):
        raise DatasetError(
            arg('source'),
            f': {path} is not an MNIST idx file (it must start with the bytes 00 00 08 '
            f'0{dimensions}); download it again',
        )
    shape = np.frombuffer(data[4:header], dtype='>u4').astype(int).tolist()
    expected = header + math.prod(shape)
    if len(data) != expected or shape[0] == 0:
        raise DatasetError(
            arg('source'),
            f': {path} has {len(data)} bytes, but its header promises {expected} for the shape '
            f'{shape}; download it again',
        )
    return np.frombuffer(data, dtype=np.uint8, offset=header).reshape(shape)
