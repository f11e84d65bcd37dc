# Copyright 2026 The GDD-1S authors.
# SPDX-License-Identifier: Apache-2.0
"""Readers of the source formats that dataset_tool.py converts and inspects.

A source lists its images cheaply; `load_pixels` does the expensive part, in any process.
Legend: N images, C channels, H W pixels. All images leave here as uint8 [H, W] or [H, W, 3], 0..255.
"""

import gzip
import itertools
import math
import os
import pickle
import tarfile
import zipfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import PIL.Image

from training.images.files import LABEL_FILE, DatasetError, FileTree, decode_image, is_image_name

CIFAR10_ARCHIVE = 'cifar-10-python.tar.gz'
CIFAR10_CLASSES = ('airplane', 'automobile', 'bird', 'cat', 'deer', 'dog', 'frog', 'horse', 'ship', 'truck')
MNIST_FILES = tuple(
    f'{part}-images-idx3-ubyte{suffix}' for part in ('train', 't10k') for suffix in ('', '.gz')
)
_MNIST_PADDING = 2  # 28x28 -> 32x32
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

    where: str  # words that name the image in an error
    content: (
        Any  # Path of an image file, its bytes, pixels uint8 [H, W] or [H, W, 3], or the DatasetError met
    )


class Source(NamedTuple):
    """A source that has been recognised; files are read while iterating over `items`."""

    kind: str  # words for the user
    labels: list  # class number, vector or None, for each item
    items: Iterator[SourceItem]
    class_names: list | None = None  # name of class 0, 1, 2, ..., where known
    names: tuple = ()  # file of each item, where items are files
    repeated: tuple = ()  # names that an archive stores more than once
    ignored: tuple = ()  # files that are no images by their name

    @property
    def count(self):
        """Number of items."""
        return len(self.labels)

    def name_of(self, index):
        """Return the file name of an item, or its number where there are no files."""
        return self.names[index] if self.names else f'image {index}'


def open_source(path, max_images=None, use_labels=True, strict=True):
    """Recognise a source by its name and content.

    Args:
        path:       Folder of images, zip, MNIST idx file or folder, CIFAR-10 archive, or npz.
        max_images: Stop after this many images, or None for all.
        use_labels: Read the labels; otherwise all are None.
        strict:     Refuse names stored twice and labels for only some of the images.
    Returns:
        Source.
    Raises:
        DatasetError: there is no such path, or it is none of these, or it is damaged.
    """
    path = os.fspath(path)
    if not os.path.exists(path):
        raise DatasetError(f'--source={path} does not exist; give an existing folder or file')
    source = _open_folder(path, use_labels) if os.path.isdir(path) else _open_file(path, use_labels)
    labels = source.labels[:max_images] if use_labels else [None] * len(source.labels[:max_images])
    source = source._replace(
        labels=labels,
        items=itertools.islice(source.items, max_images),
        names=source.names[:max_images],
        class_names=source.class_names if use_labels else None,
    )
    if strict:
        _refuse_ambiguity(path, source)
    return source


def load_image(item):
    """Decode one item.

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
            content = content.read_bytes()
        except OSError as error:
            raise DatasetError(f'{item.where} cannot be read ({error}); replace or remove it') from error
    return decode_image(content, item.where)


def to_pixels(image, where):
    """Convert a decoded image to grayscale or RGB. Transparency is dropped, not blended; EXIF rotation is not applied.

    Args:
        image: Pillow image with 8 bits per channel.
        where: Words that name the image in an error.
    Returns:
        uint8 [H, W] or [H, W, 3], 0..255.
    Raises:
        DatasetError: the mode is a rare one, such as LAB.
    """
    if image.mode not in _MODE_AFTER:
        raise DatasetError(
            f'{where} has mode {image.mode} ({image.width}x{image.height}), which cannot be converted; '
            'save it as 8-bit grayscale or RGB'
        )
    return np.asarray(image.convert(_MODE_AFTER[image.mode]))


def load_pixels(item):
    """Decode one item completely: `load_image`, then `to_pixels`."""
    return to_pixels(load_image(item), item.where)


def _open_file(path, use_labels):
    name = os.path.basename(path)
    if name == CIFAR10_ARCHIVE:
        return _open_cifar10(path)
    if name in MNIST_FILES:
        return _open_mnist(Path(path))
    if name.lower().endswith('.npz'):
        return _open_npz(path)
    if name.lower().endswith('.zip'):
        tree = FileTree(path, option='--source')
        return _open_tree(f'zip archive {path}', tree, _image_names(tree), use_labels)
    raise DatasetError(
        f'--source={path} is of no known kind; give a folder of images, a .zip, {CIFAR10_ARCHIVE}, an '
        f'.npz with arr_0, or an MNIST file named {MNIST_FILES[0]} or {MNIST_FILES[1]}'
    )


def _refuse_ambiguity(path, source):
    if source.repeated:
        raise DatasetError(
            f'--source={path} stores {len(source.repeated)} names twice, the first is '
            f'{source.repeated[0]}; make the archive again'
        )
    missing = [index for index, label in enumerate(source.labels) if label is None]
    if 0 < len(missing) < source.count:
        raise DatasetError(
            f'--source={path} has a {LABEL_FILE} with labels for some images, but none for {len(missing)} of '
            f'{source.count}, the first is {source.name_of(missing[0])}; add them, or give --labels=none'
        )


# ------------------------------------------------------------------------------------------------
# Folders and zip archives of images.


def _open_folder(path, use_labels):
    found = [file for file in MNIST_FILES if Path(path, file).is_file()]
    if found:
        return _open_mnist(Path(path, found[0]))
    if path.rstrip('/' + os.sep).endswith('_lmdb'):
        raise DatasetError(
            f'--source={path} is an LSUN database by its name, which is not read here; export its images '
            'to a folder first, with the tools of LSUN'
        )
    tree = FileTree(path, option='--source')
    names = sorted(_image_names(tree), key=lambda name: name.split('/'))
    return _open_tree(f'folder {path}', tree, names, use_labels)


def _image_names(tree):
    names = [name for name in tree.names if is_image_name(name)]
    if not names:
        raise DatasetError(
            f'{tree.label} contains no images; PNG and JPEG files are looked for in all its folders'
        )
    return names


def _labels_from_folders(names):
    """Class number = rank of the top-level folder; with a single folder (or none) there are no classes."""
    tops = {name: name.split('/')[0] if '/' in name else '' for name in names}
    class_names = sorted(set(tops.values()))
    if len(class_names) < 2:
        return {}, None
    numbers = {top: number for number, top in enumerate(class_names)}
    return {name: numbers[top] for name, top in tops.items()}, class_names


def _open_tree(kind, tree, names, use_labels):
    labels, class_names = {}, None
    if use_labels:
        labels, class_names = tree.read_label_map(), tree.read_class_names()
        if not labels and not tree.is_zip:
            labels, class_names = _labels_from_folders(names)
    labels = labels or {}
    known = set(names)
    return Source(
        kind,
        [labels.get(name.replace('\\', '/')) for name in names],
        _tree_items(tree, names),
        class_names,
        tuple(names),
        tuple(tree.repeated),
        tuple(name for name in tree.names if name not in known and name != LABEL_FILE),
    )


def _tree_items(tree, names):
    for name in names:
        content = Path(tree.path, name)
        if tree.is_zip:  # read here: opening a large archive in every process would take long and much memory
            try:
                content = tree.read(name)
            except DatasetError as error:
                content = error
        yield SourceItem(tree.where(name), content)


def _open_arrays(kind, where, images, labels, class_names=None):
    items = (SourceItem(f'image {k} of {where}', image) for k, image in enumerate(images))
    return Source(kind, [int(label) for label in labels], items, class_names)


# ------------------------------------------------------------------------------------------------
# Arrays in npz files.


def _open_npz(path):
    """The packs of guided-diffusion and generate.py: arr_0 uint8 [N, H, W, C], and perhaps arr_1 with N labels."""
    rule = 'it must hold arr_0, uint8 [N, H, W, 3] or [N, H, W], and may hold arr_1 with N class numbers'
    try:
        with zipfile.ZipFile(path) as archive:
            with archive.open('arr_0.npy') as entry:
                shape = _image_array_shape(entry)
                expected, stored = entry.tell() + math.prod(shape), archive.getinfo('arr_0.npy').file_size
            if stored != expected:
                raise ValueError(
                    f'arr_0 has {stored} bytes, but its header promises {expected} for the shape {list(shape)}'
                )
            labels = None
            if 'arr_1.npy' in archive.namelist():
                with archive.open('arr_1.npy') as entry:
                    labels = np.lib.format.read_array(entry, allow_pickle=False)
        if labels is not None and (
            labels.dtype.kind not in 'iuf' or labels.ndim not in (1, 2) or len(labels) != shape[0]
        ):
            raise ValueError(f'arr_1 is {labels.dtype} {list(labels.shape)}')
    except Exception as error:  # zip, zlib and NumPy's header raise many kinds for damaged or foreign content
        reason = str(error.args[0]) if error.args else type(error).__name__
        raise DatasetError(f'--source={path} is no usable image pack ({reason}); {rule}') from error
    return Source(
        f'image pack {path}',
        [None] * shape[0] if labels is None else labels.tolist(),
        _npz_items(path, shape),
    )


def _image_array_shape(entry):
    """Read the header of a .npy file and leave `entry` at its first pixel; ValueError unless it holds images."""
    readers = {(1, 0): np.lib.format.read_array_header_1_0, (2, 0): np.lib.format.read_array_header_2_0}
    version = np.lib.format.read_magic(entry)
    if version not in readers:
        raise ValueError(f'arr_0 has format version {version}')
    shape, fortran, dtype = readers[version](entry)
    if (
        dtype != np.uint8
        or fortran
        or not (len(shape) == 3 or len(shape) == 4 and shape[3] in (1, 3))
        or 0 in shape
    ):
        raise ValueError(f'arr_0 is {dtype} {list(shape)}{" in Fortran order" if fortran else ""}')
    return shape


def _npz_items(path, shape):
    """Stream the images, so that a pack may exceed the memory."""
    size = math.prod(shape[1:])
    with zipfile.ZipFile(path) as archive, archive.open('arr_0.npy') as entry:
        _image_array_shape(entry)
        for k in range(shape[0]):
            where = f'image {k} of {path}'
            try:
                pixels = np.frombuffer(entry.read(size), dtype=np.uint8).reshape(shape[1:])
            except Exception as error:  # as for any damaged archive
                raise DatasetError(f'{where} cannot be read ({error}); get the file again') from error
            yield SourceItem(
                where, pixels[..., 0] if pixels.shape[2:] == (1,) else pixels
            )  # [H, W] or [H, W, 3]


# ------------------------------------------------------------------------------------------------
# MNIST idx files.


def _open_mnist(path):
    images = _read_idx(path, dimensions=3)  # [N, 28, 28]
    if images.shape[1:] != (28, 28):
        raise DatasetError(
            f'--source: {path} has images of {images.shape[2]}x{images.shape[1]} pixels, but MNIST has '
            '28x28; use the original file'
        )
    label_path = _find_mnist_labels(path)
    labels = _read_idx(label_path, dimensions=1)  # [N]
    if len(labels) != len(images):
        raise DatasetError(
            f'--source: {label_path} has {len(labels)} labels for the {len(images)} images of '
            f'{path.name}; use files of the same release'
        )
    margin = (_MNIST_PADDING, _MNIST_PADDING)
    images = np.pad(images, ((0, 0), margin, margin))  # [N, 32, 32]
    return _open_arrays(f'MNIST file {path} (28x28, padded to 32x32)', path, images, labels)


def _find_mnist_labels(path):
    plain = path.name.replace('images-idx3', 'labels-idx1').removesuffix('.gz')
    for candidate in (path.with_name(plain), path.with_name(f'{plain}.gz')):
        if candidate.is_file():
            return candidate
    raise DatasetError(
        f'--source={path} needs its labels beside it; put {plain} or {plain}.gz into the same folder'
    )


def _read_idx(path, dimensions):
    """One idx file of bytes, plain or gzip; the header holds 00 00 08 ndim, then each extent big-endian."""
    try:
        data = Path(path).read_bytes()
        data = gzip.decompress(data) if data[:2] == b'\x1f\x8b' else data
    except Exception as error:  # damaged gzip data surfaces as OS, EOF or zlib errors
        raise DatasetError(f'--source: {path} cannot be read ({error}); download it again') from error
    header = 4 + 4 * dimensions
    if len(data) < header or data[:4] != bytes([0, 0, 8, dimensions]):
        raise DatasetError(
            f'--source: {path} is not an MNIST idx file (it must start with the bytes 00 00 08 '
            f'0{dimensions}); download it again'
        )
    shape = np.frombuffer(data[4:header], dtype='>u4').astype(int).tolist()
    expected = header + int(np.prod(shape, dtype=object))
    if len(data) != expected or shape[0] == 0:
        raise DatasetError(
            f'--source: {path} has {len(data)} bytes, but its header promises {expected} for the shape '
            f'{shape}; download it again'
        )
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

    _known = {
        ('numpy.core.multiarray', '_reconstruct'),
        ('numpy._core.multiarray', '_reconstruct'),
        ('numpy', 'ndarray'),
        ('numpy', 'dtype'),
        ('_codecs', 'encode'),
    }

    def find_class(self, module, name):
        if (module, name) not in self._known:
            raise pickle.UnpicklingError(f'it refers to {module}.{name}, which no CIFAR-10 batch needs')
        return _Inert


def _open_cifar10(path):
    images, labels = [], []
    try:
        with tarfile.open(path, 'r:gz') as archive:
            for number in range(1, 6):
                batch = _read_cifar10_batch(archive.extractfile(f'cifar-10-batches-py/data_batch_{number}'))
                images.append(batch[0])
                labels += batch[1]
    except Exception as error:  # tar, gzip and pickle raise many kinds for damaged or foreign content
        reason = str(error.args[0]) if error.args else type(error).__name__
        raise DatasetError(
            f'--source={path} is not the CIFAR-10 python archive ({reason}); download {CIFAR10_ARCHIVE} again'
        ) from error
    pixels = np.concatenate(images).reshape(-1, 3, 32, 32).transpose(0, 2, 3, 1)  # [N, 32, 32, 3]
    return _open_arrays(f'CIFAR-10 archive {path}', path, pixels, labels, list(CIFAR10_CLASSES))


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
    if isinstance(data, _Inert):  # protocol 2 written by Python 3: _codecs.encode(text, 'latin1')
        data = data.args[0]
    if isinstance(data, str):  # protocol 2 written by Python 2: bytes decoded as latin1 text
        data = data.encode('latin1')
    if dtype.args[0] != 'u1' or fortran or shape != (shape[0], 3072):
        raise ValueError(
            f'a batch holds an array of type {dtype.args[0]} and shape {shape}, not uint8 [N, 3072]'
        )
    return np.frombuffer(data, dtype=np.uint8).reshape(shape)
