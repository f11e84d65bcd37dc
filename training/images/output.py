# Copyright 2026 The GDD-1S authors.
# SPDX-License-Identifier: Apache-2.0
"""Where generated images go: PNG files named by seed, their labels, and the image pack of the GDD evaluator.

A folder holds the images of one network and one sampler: files named by seed alone could not be told apart
later. Memory stays bounded by one round of batches, whatever the number of images.
"""

import contextlib
import json
import os
import re
import zipfile
from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np

from dnnlib.errors import ArgumentError, arg
from dnnlib.files import atomic_write
from training.images.decoding import decode_image
from training.images.files import LABEL_FILE, DatasetError, FileTree
from training.images.png import save_png

PACK_FILE = 'image_pack.npz'
RECORD_FILE = 'generation.json'
SUBDIR_SIZE = 1000
# Entries of the record that decide what the image of a seed looks like, and where it lies.
IDENTITY = ('sha256', 'key', 'sampler', 'arguments', 'class_idx', 'rng_device', 'subdirs')
_IMAGE_NAME, _FOLDER_NAME = re.compile(r'\d{6,}\.png'), re.compile(r'\d{6,}')


def png_name(seed: int, subdirs: bool) -> str:
    """Return the official name of a seed, relative to the folder: `000012.png` or `000000/000012.png`."""
    return f'{seed - seed % SUBDIR_SIZE:06d}/{seed:06d}.png' if subdirs else f'{seed:06d}.png'


def write_json(path: str | os.PathLike, content: dict[str, Any]) -> None:
    """Write a JSON file atomically, one line per entry of the outer object."""
    lines = [f'{json.dumps(key)}: {json.dumps(value)}' for key, value in content.items()]
    with atomic_write(path) as file:
        file.write(('{\n' + ',\n'.join(lines) + '\n}\n').encode())


def generated_files(outdir: str | os.PathLike) -> list[str]:
    """List what an earlier call can have made, relative to the folder: PNG files of seeds, and the pack."""
    names = []
    for name in os.listdir(outdir):
        if name == PACK_FILE or _IMAGE_NAME.fullmatch(name):
            names.append(name)
        elif _FOLDER_NAME.fullmatch(name) and os.path.isdir(os.path.join(outdir, name)):
            names += [
                f'{name}/{file}'
                for file in os.listdir(os.path.join(outdir, name))
                if _IMAGE_NAME.fullmatch(file)
            ]
    return sorted(names)


def read_record(outdir: str | os.PathLike) -> dict[str, Any]:
    """Return the record that an earlier call left in the folder, {} if there is none that can be read."""
    try:
        with open(os.path.join(outdir, RECORD_FILE), encoding='utf-8') as file:
            record = json.load(file)
    except (OSError, ValueError):
        return {}
    return record if isinstance(record, dict) else {}


def claim_folder(outdir: str | os.PathLike, record: dict[str, Any], overwrite: bool = False) -> None:
    """Create the output folder or find it fit for these images, and leave the record of the settings there.

    Images of the same settings may be there: they stay, and `seeds` of the record grows.

    Args:
        outdir:    Folder of the images.
        record:    What the images are made from, plain values: entries of IDENTITY, `network` and `seeds`.
        overwrite: Delete the images, the pack and the labels of earlier calls first, and nothing else.
    Raises:
        ArgumentError: The folder holds images made with other settings, or of unknown origin.
        OSError:       The folder cannot be written.
    """
    os.makedirs(outdir, exist_ok=True)
    known_labels = read_labels(outdir)  # Damage is found out before any image is made.
    files, earlier = generated_files(outdir), read_record(outdir)
    if overwrite:
        remove_images(outdir, files, known_labels)
    elif files:
        require_same_settings(outdir, files, earlier, record)
        known = str(earlier.get('seeds'))
        new = f',{record["seeds"]},' not in f',{known},'
        record = dict(record, seeds=f'{known},{record["seeds"]}' if new else known)
    write_json(os.path.join(outdir, RECORD_FILE), record)


def require_same_settings(
    outdir: str | os.PathLike, files: list[str], earlier: dict[str, Any], record: dict[str, Any]
) -> None:
    """Raise ArgumentError unless the images in a folder have been made with the settings of `record`."""
    found = (arg('outdir', os.fspath(outdir)), f' holds {len(files)} files such as {files[0]}')
    advice = ('; choose another folder, or add ', arg('overwrite'), ' to delete them')
    if not earlier:
        raise ArgumentError(*found, f' of unknown origin ({RECORD_FILE} is missing)', *advice)
    differing = [key for key in IDENTITY if earlier.get(key) != record[key]]
    if differing:
        key = 'network' if differing[0] == 'sha256' else differing[0]
        values = '' if earlier.get(key) == record[key] else f': {earlier.get(key)} instead of {record[key]}'
        raise ArgumentError(*found, f', made with other settings (another {key}{values})', *advice)


def remove_images(outdir: str | os.PathLike, files: list[str], labels: dict[str, Any]) -> None:
    """Delete what `generated_files` has listed, the entries in dataset.json, and folders left empty."""
    for name in files:
        os.remove(os.path.join(outdir, name))
    for folder in {os.path.dirname(name) for name in files} - {''}:
        with contextlib.suppress(OSError):  # It holds something else as well.
            os.rmdir(os.path.join(outdir, folder))
    if set(labels) & set(files):
        write_labels(outdir, files, None)


def save_images(outdir: str | os.PathLike, names: Sequence[str], pixels: np.ndarray) -> None:
    """Write PNG files, in whatever process: uint8 [N, H, W, C] under N names relative to `outdir`."""
    for name, image in zip(names, pixels):
        path = os.path.join(outdir, name)
        os.makedirs(os.path.dirname(path), exist_ok=True)
        save_png(path, image)


def read_images(
    outdir: str | os.PathLike, names: Iterable[str], image_shape: Sequence[int]
) -> np.ndarray | None:
    """Read PNG files that an earlier call has finished.

    Args:
        outdir:      Folder of the images.
        names:       File names relative to `outdir`.
        image_shape: [H, W, C] of each image.
    Returns:
        uint8 ndarray [N, H, W, C], or None if a file is missing, damaged or of another shape.
    """
    images = []
    for name in names:
        try:
            with open(os.path.join(outdir, name), 'rb') as file:
                image = np.asarray(decode_image(file.read(), (name,)))
        except (OSError, DatasetError):
            return None
        if image.size != np.prod(image_shape) or image.shape[:2] != tuple(image_shape[:2]):
            return None
        images.append(image.reshape(image_shape))
    return np.stack(images) if images else None


def read_labels(outdir: str | os.PathLike) -> dict[str, Any]:
    """Return name -> label of the dataset.json in a folder, {} if there is none.

    Raises:
        DatasetError: The file cannot be understood; found out before any image is made.
    """
    if not os.path.exists(os.path.join(outdir, LABEL_FILE)):
        return {}
    try:
        return FileTree(outdir).read_label_map() or {}
    except DatasetError as error:
        raise error.renamed(path='outdir') from error


def write_labels(outdir: str | os.PathLike, names: list[str], labels: Iterable[int] | None) -> None:
    """Record the classes of PNG files in dataset.json, keeping entries of other files from earlier calls.

    Args:
        outdir: Folder of the images.
        names:  File names relative to `outdir`.
        labels: Class per file, or None for an unconditional network: entries of these files are then removed.
    """
    known = read_labels(outdir)
    if labels is None and not known:
        return
    for name in names:
        known.pop(name, None)
    known.update(zip(names, () if labels is None else (int(label) for label in labels)))
    if not known:
        os.remove(os.path.join(outdir, LABEL_FILE))
        return
    write_json(os.path.join(outdir, LABEL_FILE), {'labels': [[name, known[name]] for name in sorted(known)]})


class ImagePack:
    """Write image_pack.npz as images come: arr_0 uint8 [N, H, W, C] in seed order, arr_1 int64 [N] classes.

    The arrays are those of numpy's savez, without a copy of all images in memory. Use it as a context
    manager: the file appears under its name when the block ends without an error, and only then.

    Args:
        path:        File to create or replace.
        image_shape: [N, H, W, C] of arr_0.
    """

    def __init__(self, path: str | os.PathLike, image_shape: Sequence[int]) -> None:
        self.image_shape = tuple(image_shape)
        self._path = path
        self._written = 0
        self._stack = contextlib.ExitStack()
        self._archive = self._entry = None

    def __enter__(self) -> 'ImagePack':
        file = self._stack.enter_context(atomic_write(self._path))
        try:
            self._archive = self._stack.enter_context(zipfile.ZipFile(file, 'w', zipfile.ZIP_STORED))
            self._entry = self._archive.open('arr_0.npy', 'w', force_zip64=True)
            header = {'descr': '|u1', 'fortran_order': False, 'shape': self.image_shape}
            np.lib.format.write_array_header_1_0(self._entry, header)
        except BaseException as error:
            self.__exit__(type(error), error, error.__traceback__)
            raise
        return self

    def append(self, pixels: np.ndarray) -> None:
        """Add the next images, uint8 [n, H, W, C]."""
        self._entry.write(np.ascontiguousarray(pixels, dtype=np.uint8).data)
        self._written += len(pixels)

    def finish(self, labels: np.ndarray | None = None) -> None:
        """Complete arr_0, and add arr_1 if there are labels (int64 [N]).

        Raises:
            ValueError: Fewer or more images than announced were added.
        """
        if self._written != self.image_shape[0]:
            raise ValueError(
                f'image pack: {self._written} images were added, but {self.image_shape[0]} announced'
            )
        self._entry.close()
        if labels is not None:
            with self._archive.open('arr_1.npy', 'w') as entry:
                np.lib.format.write_array(entry, np.asarray(labels, dtype=np.int64))

    def __exit__(self, *exception: Any) -> bool | None:
        if self._entry is not None:
            with contextlib.suppress(OSError):  # A full disk has been reported already.
                self._entry.close()  # An open entry would keep the archive from closing.
        return self._stack.__exit__(*exception)
