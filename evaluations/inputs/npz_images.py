# Copyright 2026 The GDD-1S authors.
# SPDX-License-Identifier: Apache-2.0

"""Read images and statistics from the .npz files of OpenAI's evaluator, without loading all images.

`arr_0` holds the images, uint8 [N, H, W, C]; `arr_1`, if present, their classes; `mu`, `sigma` and
`mu_s`, `sigma_s` the statistics of Inception's pooled and spatial features, often of more images
than the file holds. `generate.py` writes image_pack.npz in this format.

Legend: N images, H W pixels, C channels, D features.
"""

import contextlib
import math
import os
import struct
import tokenize
import typing
import zipfile
import zlib

import numpy as np

_COPY = 'the file is incomplete or damaged, copy it again'
_EXPECTED = 'uint8 images [N, H, W, C] with 1 or 3 channels, such as image_pack.npz of generate.py'
# What zipfile and NumPy raise for damaged, encrypted or foreign files.
_BROKEN = (
    OSError,
    ValueError,
    EOFError,
    RuntimeError,
    MemoryError,
    OverflowError,
    SyntaxError,
    struct.error,
    tokenize.TokenError,
    zlib.error,
    zipfile.BadZipFile,
)


class Moments(typing.NamedTuple):
    """Mean and covariance of one kind of features."""

    mu: np.ndarray  # float64 [D]
    sigma: np.ndarray  # float64 [D, D]


def _read_header(stream):
    """Read the header of an .npy stream, up to the data: (shape, whether in Fortran order, dtype)."""
    version = np.lib.format.read_magic(stream)
    readers = {(1, 0): np.lib.format.read_array_header_1_0, (2, 0): np.lib.format.read_array_header_2_0}
    if version not in readers:
        raise ValueError(f'has the unknown format version {version}')
    return readers[version](stream)


def _fill(stream, array):
    """Read the bytes of a C-ordered array from a stream."""
    view = memoryview(array).cast('B')
    done = 0
    while done < len(view):
        count = stream.readinto(view[done:])
        if not count:
            raise EOFError(f'the data ends after {done} of {len(view)} bytes of a batch')
        done += count


class NpzImages:
    """Images and statistics of one `.npz` file.

    Creating it reads and checks the headers only.

    Args:
        path: The file.
        option: Argument of the command line that gave it, for messages.
    Raises:
        ValueError: Missing or unreadable, `arr_0` is not a set of images, or there is neither `arr_0` nor `mu`.
    """

    def __init__(self, path, option='FILE'):
        self.path = os.fspath(path)
        self._option = option
        with (
            self._explained(f'give an .npz file that holds {_EXPECTED}'),
            zipfile.ZipFile(self.path) as archive,
        ):
            self._keys = {os.path.splitext(name)[0] for name in archive.namelist() if name.endswith('.npy')}
        if not self._keys & {'arr_0', 'mu'}:
            raise ValueError(
                f'{self._name()} holds neither images, arr_0, nor statistics, mu; '
                f'it must hold {_EXPECTED}, or reference statistics'
            )
        self.shape, self._fortran, self.dtype = (
            self._images_header() if self.has_images else ((0,), False, None)
        )

    def _name(self, key=None):
        return f'{self._option}={self.path}' + (f', array {key},' if key else '')

    @contextlib.contextmanager
    def _explained(self, advice, key=None):
        """Turn errors of reading into one line."""
        try:
            yield
        except _BROKEN as err:
            reason = (
                err.strerror
                if isinstance(err, OSError) and err.strerror
                else (str(err).splitlines() or [type(err).__name__])[0]
            )
            raise ValueError(f'{self._name(key)} cannot be read: {reason}; {advice}') from err

    @property
    def has_images(self):
        """Whether there is an array of images."""
        return 'arr_0' in self._keys

    def __len__(self):
        return self.shape[0]

    def _images_header(self):
        """Check what can be checked without reading images: type, shape, and the number of bytes."""
        with (
            self._explained(_COPY, 'arr_0'),
            zipfile.ZipFile(self.path) as archive,
            archive.open('arr_0.npy') as stream,
        ):
            shape, fortran, dtype = _read_header(stream)
            missing = (
                stream.tell() + math.prod(shape) * dtype.itemsize - archive.getinfo('arr_0.npy').file_size
            )
        if dtype != np.uint8 or len(shape) != 4 or shape[3] not in (1, 3) or min(shape) < 1:
            first = ' (channels come last)' if len(shape) == 4 and shape[1] in (1, 3) else ''
            raise ValueError(
                f'{self._name("arr_0")} is {dtype} of shape {shape}; it must hold {_EXPECTED}{first}'
            )
        if missing > 0:
            raise ValueError(
                f'{self._name("arr_0")} is {missing} bytes short of its {shape[0]} images; {_COPY}'
            )
        return shape, fortran, dtype

    def batches(self, size):
        """Yield the images in file order, at most `size` at a time, uint8 [n, H, W, C].

        The member is decompressed as it is read, so one batch is in memory. Only an array in
        Fortran order, where images are interleaved, is loaded whole.

        Raises:
            ValueError: The data is damaged.
        """
        with self._explained(_COPY, 'arr_0'):
            archive = zipfile.ZipFile(self.path)
        with archive:
            with self._explained(_COPY, 'arr_0'):
                stream = archive.open('arr_0.npy')
                whole = (
                    np.lib.format.read_array(stream, allow_pickle=False)
                    if self._fortran
                    else _read_header(stream)
                )
            for begin in range(0, len(self), size):
                images = np.empty([min(size, len(self) - begin), *self.shape[1:]], dtype=np.uint8)
                with self._explained(_COPY, 'arr_0'):
                    if self._fortran:
                        images[:] = whole[begin : begin + size]
                    else:
                        _fill(stream, images)
                yield images  # outside: errors of the consumer are not ours

    def _load(self, key):
        with self._explained(_COPY, key), np.load(self.path, allow_pickle=False) as npz:
            return npz[key]

    @property
    def labels(self):
        """Class numbers, int64 [N], or None if the file has none.

        Raises:
            ValueError: `arr_1` is something else.
        """
        if 'arr_1' not in self._keys:
            return None
        labels = self._load('arr_1')
        if labels.shape != (len(self),) or not np.issubdtype(labels.dtype, np.integer):
            raise ValueError(
                f'{self._name("arr_1")} is {labels.dtype} of shape {labels.shape}; '
                f'it must hold one class number per image, int [{len(self)}]'
            )
        return labels.astype(np.int64)

    def _moments(self, mu_key, sigma_key):
        present = [key for key in (mu_key, sigma_key) if key in self._keys]
        if not present:
            return None
        if len(present) == 1:
            raise ValueError(
                f'{self._name()} holds {present[0]}, but of {mu_key} and {sigma_key} both are needed; make the file again'
            )
        mu, sigma = self._load(mu_key), self._load(sigma_key)
        if (
            mu.ndim != 1
            or sigma.shape != (mu.size, mu.size)
            or not all(np.issubdtype(a.dtype, np.floating) for a in (mu, sigma))
        ):
            raise ValueError(
                f'{self._name()} holds {mu_key} {mu.shape} and {sigma_key} {sigma.shape}; '
                'they must be floating-point numbers of shape [D] and [D, D]'
            )
        return Moments(mu.astype(np.float64), sigma.astype(np.float64))

    def statistics(self):
        """Return the stored statistics of pooled features, `mu` and `sigma`, as `Moments`, or None."""
        return self._moments('mu', 'sigma')

    def spatial_statistics(self):
        """Return the stored statistics of spatial features, `mu_s` and `sigma_s`, as `Moments`, or None."""
        return self._moments('mu_s', 'sigma_s')
