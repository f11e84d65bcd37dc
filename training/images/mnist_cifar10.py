# Copyright 2026 The GDD-1S authors.
# SPDX-License-Identifier: Apache-2.0
"""MNIST and CIFAR-10 in the files of their authors, read to the checksum and without executing anything."""

import gzip
import io
import math
import tarfile
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
_MNIST_BYTES = 1 << 30  # 1.3 million images; the largest data set in this format, EMNIST, has 814,255
CIFAR10_ARCHIVE = 'cifar-10-python.tar.gz'
CIFAR10_CLASSES = ('airplane', 'automobile', 'bird', 'cat', 'deer', 'dog', 'frog', 'horse', 'ship', 'truck')
_CIFAR10_BYTES = 1 << 29  # of the tar; the original has 186 MB


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


# ------------------------------------------------------------------------------------------------
# MNIST's idx files, plain or gzip, with their labels beside them.


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
    header = 4 + 4 * dimensions
    try:
        data = read_regular_file(path)
        if data[:2] == b'\x1f\x8b':
            with gzip.open(io.BytesIO(data)) as file:
                promised = _idx_size(file.read(header))[1]
            data = read_gzip(data, min(promised, _MNIST_BYTES))
    except Exception as error:  # damaged gzip data surfaces as OS, EOF or zlib errors
        raise DatasetError(arg('source'), f': {path} cannot be read ({error}); download it again') from error
    if len(data) < header or data[:4] != bytes([0, 0, 8, dimensions]):
        raise DatasetError(
            arg('source'),
            f': {path} is not an MNIST idx file (it must start with the bytes 00 00 08 '
            f'0{dimensions}); download it again',
        )
    shape, expected = _idx_size(data[:header])
    if len(data) != expected or shape[0] == 0:
        raise DatasetError(
            arg('source'),
            f': {path} has {len(data)} bytes, but its header promises {expected} for the shape '
            f'{shape}; download it again',
        )
    return np.frombuffer(data, dtype=np.uint8, offset=header).reshape(shape)


def _idx_size(header: bytes) -> tuple[list[int], int]:
    """Shape of the array, and bytes of the whole file."""
    shape = np.frombuffer(header[4:], dtype='>u4').tolist()
    return shape, len(header) + math.prod(shape)


# ------------------------------------------------------------------------------------------------
# CIFAR-10: a tar.gz with five pickled batches.


def open_cifar10(path: str) -> Source:
    """Read the five training batches, 50,000 images.

    Raises:
        DatasetError: it is another file, or damaged.
    """
    images, labels = [], []
    try:
        content = read_gzip(read_regular_file(path), _CIFAR10_BYTES)
        with tarfile.open(fileobj=io.BytesIO(content), mode='r:') as archive:
            for number in range(1, 6):
                batch = _read_batch(archive.extractfile(f'cifar-10-batches-py/data_batch_{number}').read())
                images.append(batch[0])
                labels += batch[1]
    except Exception as error:  # tar, gzip and pickle raise many kinds for damaged or foreign content
        reason = str(error) or type(error).__name__
        raise DatasetError(
            arg('source', path),
            f' is not the CIFAR-10 python archive ({reason}); download {CIFAR10_ARCHIVE} again',
        ) from error
    pixels = np.concatenate(images).reshape(-1, 3, 32, 32).transpose(0, 2, 3, 1)  # [N, 32, 32, 3]
    return array_source(f'CIFAR-10 archive {path}', path, pixels, labels, list(CIFAR10_CLASSES))


def _read_batch(data: bytes) -> tuple[np.ndarray, list[int]]:
    """(uint8 [N, 3072], list of N class numbers) of one batch file; ValueError when it is anything else."""
    from torch_utils.pickle_values import (
        ArrayRecord,
        read_plain,
    )  # torch takes seconds: only where it is needed

    batch = read_plain(data, 'a CIFAR-10 batch')
    if not isinstance(batch, dict) or not isinstance(batch.get('data'), ArrayRecord):
        raise ValueError('a batch holds no array named data')
    array, labels = batch['data'], batch.get('labels')
    if array.dtype != np.uint8 or len(array.shape) != 2 or array.shape[1] != 3072:
        raise ValueError(
            f'a batch holds an array of type {array.dtype} and shape {list(array.shape)}, not uint8 [N, 3072]'
        )
    if not isinstance(labels, list) or len(labels) != array.shape[0]:
        raise ValueError(f'a batch has {array.shape[0]} images, but not as many labels')
    if any(type(label) is not int or not 0 <= label <= 9 for label in labels):
        raise ValueError('a batch has labels outside 0..9')
    return array.to_array(), labels
