# Copyright 2026 The GDD-1S authors.
# SPDX-License-Identifier: Apache-2.0
"""Where generated images go: PNG files named by seed, their labels, and the image pack of the GDD evaluator.

Memory stays bounded by one round of batches, whatever the number of images.
"""

import contextlib
import json
import os
import zipfile

import numpy as np

from dnnlib.util import atomic_write
from training.image_files import LABEL_FILE, FileTree

PACK_FILE = 'image_pack.npz'
RECORD_FILE = 'generation.json'
SUBDIR_SIZE = 1000


def png_name(seed, subdirs):
    """Return the official file name of a seed, relative to the output folder: `000012.png` or `000000/000012.png`."""
    return f'{seed - seed % SUBDIR_SIZE:06d}/{seed:06d}.png' if subdirs else f'{seed:06d}.png'


def write_json(path, content):
    """Write a JSON file atomically, one line per entry of the outer object."""
    lines = [f'{json.dumps(key)}: {json.dumps(value)}' for key, value in content.items()]
    with atomic_write(path) as file:
        file.write(('{\n' + ',\n'.join(lines) + '\n}\n').encode())


def read_labels(outdir):
    """Return name -> label of the dataset.json in a folder, {} if there is none.

    Raises:
        ValueError: The file cannot be understood; found out before any image is made.
    """
    if not os.path.exists(os.path.join(outdir, LABEL_FILE)):
        return {}
    return FileTree(outdir, '--outdir').read_label_map() or {}


def write_labels(outdir, names, labels):
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
    write_json(os.path.join(outdir, LABEL_FILE), {'labels': [[name, known[name]] for name in sorted(known)]})


class ImagePack:
    """Write image_pack.npz as images come in: arr_0 uint8 [N, H, W, C] in seed order, arr_1 int64 [N] classes.

    The arrays are those of numpy's savez, without a copy of all images in memory. Use it as a context manager: the
    file appears under its name when the block ends without an error, and only then.

    Args:
        path:        File to create or replace.
        image_shape: [N, H, W, C] of arr_0.
    """

    def __init__(self, path, image_shape):
        self.image_shape = tuple(image_shape)
        self._path = path
        self._written = 0
        self._stack = contextlib.ExitStack()
        self._archive = self._entry = None

    def __enter__(self):
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

    def append(self, pixels):
        """Add the next images, uint8 [n, H, W, C]."""
        self._entry.write(np.ascontiguousarray(pixels, dtype=np.uint8).data)
        self._written += len(pixels)

    def finish(self, labels=None):
        """Complete arr_0, and add arr_1 if there are labels (int64 [N]).

        Raises:
            ValueError: Fewer or more images than announced were added.
        """
        if self._written != self.image_shape[0]:
            raise ValueError(f'image pack: {self._written} images were added, but {self.image_shape[0]} announced')
        self._entry.close()
        if labels is not None:
            with self._archive.open('arr_1.npy', 'w') as entry:
                np.lib.format.write_array(entry, np.asarray(labels, dtype=np.int64))

    def __exit__(self, *exception):
        if self._entry is not None:
            with contextlib.suppress(OSError):  # A full disk has been reported already.
                self._entry.close()             # An open entry would keep the archive from closing.
        return self._stack.__exit__(*exception)
