# Copyright 2026 The GDD-1S authors.
# SPDX-License-Identifier: Apache-2.0
"""Readers of the source formats that dataset_tool.py converts.

Legend: N images, C channels, H W pixels. All images leave here as uint8 [H, W] or [H, W, 3], 0..255.
"""

import gzip
import os
import pickle
import tarfile
from pathlib import Path
from typing import Any, Iterator, NamedTuple

import numpy as np

from training.image_files import DatasetError, FileTree, decode_image, is_image_name

CIFAR10_ARCHIVE = 'cifar-10-python.tar.gz'
MNIST_FILES = tuple(f'{part}-images-idx3-ubyte{suffix}' for part in ('train', 't10k') for suffix in ('', '.gz'))
_MNIST_PADDING = 2      # 28x28 -> 32x32
_MODE_AFTER = {'L': 'L', '1': 'L', 'LA': 'L', 'RGB': 'RGB', 'RGBA': 'RGB', 'RGBX': 'RGB', 'P': 'RGB', 'PA': 'RGB',
               'CMYK': 'RGB', 'YCbCr': 'RGB'}


class SourceItem(NamedTuple):
    """One image of a source."""

    where: str          # words that name the image in an error
    pixels: np.ndarray  # uint8 [H, W] or [H, W, 3], 0..255
    label: Any          # class number, vector, or None


class Source(NamedTuple):
    """A source that has been recognised; images are decoded while iterating over `items`."""

    kind: str                       # words for the user
    count: int                      # number of items
    items: Iterator[SourceItem]


def open_source(path, max_images=None):
    """Recognise a source by its name and content.

    Args:
        path:       Folder of images, MNIST idx file or folder, CIFAR-10 archive, or zip.
        max_images: Stop after this many images, or None for all.
    Returns:
        Source.
    Raises:
        DatasetError: there is no such path, or it is none of these, or it is damaged.
    """
    name = Path(path).name
    if not os.path.exists(path):
        raise DatasetError(f'--source={path} does not exist; give an existing folder or file')
    if os.path.isdir(path):
        found = [file for file in MNIST_FILES if Path(path, file).is_file()]
        return _open_mnist(Path(path, found[0]), max_images) if found else _open_folder(path, max_images)
    if name == CIFAR10_ARCHIVE:
        return _open_cifar10(path, max_images)
    if name in MNIST_FILES:
        return _open_mnist(Path(path), max_images)
    if name.lower().endswith('.zip'):
        return _open_zip(path, max_images)
    raise DatasetError(f'--source={path} is of no known kind; give a folder of images, a .zip, {CIFAR10_ARCHIVE}, or '
                       f'an MNIST file named {MNIST_FILES[0]} or {MNIST_FILES[1]}')


# ------------------------------------------------------------------------------------------------
# Folders and zip archives of images.

def _open_folder(path, max_images):
    tree = FileTree(path, option='--source')
    names = sorted(_image_names(tree), key=lambda name: name.split('/'))
    labels = tree.read_label_map() or _labels_from_folders(names)
    return _open_tree(f'folder {path}', tree, names[:max_images], labels)


def _open_zip(path, max_images):
    tree = FileTree(path, option='--source')
    return _open_tree(f'zip archive {path}', tree, _image_names(tree)[:max_images], tree.read_label_map() or {})


def _image_names(tree):
    names = [name for name in tree.names if is_image_name(name)]
    if not names:
        raise DatasetError(f'{tree.label} contains no images; PNG and JPEG files are looked for in all its folders')
    return names


def _labels_from_folders(names):
    """Class number = rank of the top-level folder; with a single folder (or none) there are no classes."""
    tops = {name: name.split('/')[0] if '/' in name else '' for name in names}
    numbers = {top: number for number, top in enumerate(sorted(set(tops.values())))}
    return {name: numbers[top] for name, top in tops.items()} if len(numbers) > 1 else {}


def _open_tree(kind, tree, names, labels):
    def read_items():
        for name in names:
            where = tree.where(name)
            yield SourceItem(where, _to_pixels(decode_image(tree.read(name), where), where), labels.get(name))
    return Source(kind, len(names), read_items())


def _to_pixels(image, where):
    """Convert to grayscale or RGB. Transparency is dropped, not blended; EXIF rotation is not applied."""
    if image.mode not in _MODE_AFTER:
        raise DatasetError(f'{where} has mode {image.mode} ({image.width}x{image.height}), which cannot be converted; '
                           'save it as 8-bit grayscale or RGB')
    return np.asarray(image.convert(_MODE_AFTER[image.mode]))   # [H, W] or [H, W, 3]


def _open_arrays(kind, where, images, labels, max_images):
    images = images[:max_images]
    items = (SourceItem(f'image {k} of {where}', image, int(labels[k])) for k, image in enumerate(images))
    return Source(kind, len(images), items)


# ------------------------------------------------------------------------------------------------
# MNIST idx files.

def _open_mnist(path, max_images):
    images = _read_idx(path, dimensions=3)      # [N, 28, 28]
    if images.shape[1:] != (28, 28):
        raise DatasetError(f'--source: {path} has images of {images.shape[2]}x{images.shape[1]} pixels, but MNIST has '
                           '28x28; use the original file')
    label_path = _find_mnist_labels(path)
    labels = _read_idx(label_path, dimensions=1)    # [N]
    if len(labels) != len(images):
        raise DatasetError(f'--source: {label_path} has {len(labels)} labels for the {len(images)} images of '
                           f'{path.name}; use files of the same release')
    margin = (_MNIST_PADDING, _MNIST_PADDING)
    images = np.pad(images, ((0, 0), margin, margin))   # [N, 32, 32]
    return _open_arrays(f'MNIST file {path}', path, images, labels, max_images)


def _find_mnist_labels(path):
    plain = path.name.replace('images-idx3', 'labels-idx1').removesuffix('.gz')
    for candidate in (path.with_name(plain), path.with_name(f'{plain}.gz')):
        if candidate.is_file():
            return candidate
    raise DatasetError(f'--source={path} needs its labels beside it; put {plain} or {plain}.gz into the same folder')


def _read_idx(path, dimensions):
    """One idx file of bytes, plain or gzip; the header holds 00 00 08 ndim, then each extent big-endian."""
    try:
        data = Path(path).read_bytes()
        data = gzip.decompress(data) if data[:2] == b'\x1f\x8b' else data
    except Exception as error:  # damaged gzip data surfaces as OS, EOF or zlib errors
        raise DatasetError(f'--source: {path} cannot be read ({error}); download it again') from error
    header = 4 + 4 * dimensions
    if len(data) < header or data[:4] != bytes([0, 0, 8, dimensions]):
        raise DatasetError(f'--source: {path} is not an MNIST idx file (it must start with the bytes 00 00 08 '
                           f'0{dimensions}); download it again')
    shape = np.frombuffer(data[4:header], dtype='>u4').astype(int).tolist()
    expected = header + int(np.prod(shape, dtype=object))
    if len(data) != expected or shape[0] == 0:
        raise DatasetError(f'--source: {path} has {len(data)} bytes, but its header promises {expected} for the shape '
                           f'{shape}; download it again')
    return np.frombuffer(data, dtype=np.uint8, offset=header).reshape(shape)


# ------------------------------------------------------------------------------------------------
# CIFAR-10 python archive.

class _Inert:
    """Stand-in for every global of a batch file: it records and never does anything."""

    def __init__(self, *args):
        self.args = args
        self.state = None

    def __setstate__(self, state):
        self.state = state


class _InertUnpickler(pickle.Unpickler):
    """Unpickle plain containers; the few globals a NumPy array needs become `_Inert` records."""

    _known = {('numpy.core.multiarray', '_reconstruct'), ('numpy._core.multiarray', '_reconstruct'),
              ('numpy', 'ndarray'), ('numpy', 'dtype'), ('_codecs', 'encode')}

    def find_class(self, module, name):
        if (module, name) not in self._known:
            raise pickle.UnpicklingError(f'it refers to {module}.{name}, which no CIFAR-10 batch needs')
        return _Inert


def _open_cifar10(path, max_images):
    images, labels = [], []
    try:
        with tarfile.open(path, 'r:gz') as archive:
            for number in range(1, 6):
                batch = _read_cifar10_batch(archive.extractfile(f'cifar-10-batches-py/data_batch_{number}'))
                images.append(batch[0])
                labels += batch[1]
    except Exception as error:  # tar, gzip and pickle raise many kinds for damaged or foreign content
        reason = str(error.args[0]) if error.args else type(error).__name__
        raise DatasetError(f'--source={path} is not the CIFAR-10 python archive ({reason}); '
                           f'download {CIFAR10_ARCHIVE} again') from error
    pixels = np.concatenate(images).reshape(-1, 3, 32, 32).transpose(0, 2, 3, 1)    # [N, 32, 32, 3]
    return _open_arrays(f'CIFAR-10 archive {path}', path, pixels, labels, max_images)


def _read_cifar10_batch(file):
    """(uint8 [N, 3072], list of N class numbers) of one batch file; ValueError when it is anything else."""
    batch = _InertUnpickler(file, encoding='latin1').load()
    pixels = _read_cifar10_pixels(batch['data'])
    labels = batch['labels']
    if not isinstance(labels, list) or len(labels) != len(pixels):
        raise ValueError(f'a batch has {len(pixels)} images, but not as many labels')
    if any(type(label) is not int or not 0 <= label <= 9 for label in labels):
        raise ValueError('a batch has labels outside 0..9')
    return pixels, labels


def _read_cifar10_pixels(record):
    """Rebuild a uint8 [N, 3072] array from the recorded state (version, shape, dtype, fortran order, bytes)."""
    _version, shape, dtype, fortran, data = record.state
    if isinstance(data, _Inert):    # protocol 2 written by Python 3: _codecs.encode(text, 'latin1')
        data = data.args[0]
    if isinstance(data, str):       # protocol 2 written by Python 2: bytes decoded as latin1 text
        data = data.encode('latin1')
    if dtype.args[0] != 'u1' or fortran or shape != (shape[0], 3072):
        raise ValueError(f'a batch holds an array of type {dtype.args[0]} and shape {shape}, not uint8 [N, 3072]')
    return np.frombuffer(data, dtype=np.uint8).reshape(shape)
