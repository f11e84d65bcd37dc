# Copyright 2026 The GDD-1S authors.
# SPDX-License-Identifier: Apache-2.0

"""Read images and statistics from the .npz files of OpenAI's evaluator, without loading all images.

`arr_0` holds the images, uint8 [N, H, W, C]; `arr_1`, if present, their classes; `mu`, `sigma` and
`mu_s`, `sigma_s` the statistics of Inception's pooled and spatial features, often of more images
than the file holds. `generate.py` writes image_pack.npz in this format.

Legend: N images, H W pixels, C channels, D features.
"""

import contextlib
import os
import typing
from collections.abc import Iterator

import numpy as np

from dnnlib.errors import Arg, ArgumentError, arg
from dnnlib.files import refuse_special_file
from evaluations.inputs.npz_file import NpzError, NpzFile, reading
from evaluations.inputs.reference import check_values

_COPY = 'the file is incomplete or damaged, copy it again'
_EXPECTED = 'uint8 images [N, H, W, C] with 1 or 3 channels, such as image_pack.npz of generate.py'
_READ_BYTES = 64 << 20  # of images held besides those of the current batch


class Moments(typing.NamedTuple):
    """Mean and covariance of one kind of features."""

    mu: np.ndarray  # float64 [D]
    sigma: np.ndarray  # float64 [D, D]


class NpzImages:
    """Images and statistics of one `.npz` file.

    Creating it verifies the checksums of the file, and reads and checks the headers only.

    Args:
        path: The file.
    Raises:
        ArgumentError: Unreadable, `arr_0` is not a set of images, or there is neither `arr_0` nor `mu`.
    """

    def __init__(self, path: str | os.PathLike) -> None:
        self.path = os.fspath(path)
        refuse_special_file(self.path)
        with self._explained(f'give an .npz file that holds {_EXPECTED}'):
            self._npz = NpzFile(self.path)
        self._headers = self._npz.headers
        if not self._headers.keys() & {'arr_0', 'mu'}:
            raise ArgumentError(
                *self._name(),
                f' holds neither images, arr_0, nor statistics, mu; '
                f'it must hold {_EXPECTED}, or reference statistics',
            )
        self.shape, self.dtype = self._check_images() if self.has_images else ((0,), None)

    def _name(self, key: str | None = None) -> list[Arg | str]:
        return [arg('path', self.path), f', array {key},' if key else '']

    @contextlib.contextmanager
    def _explained(self, advice: str, key: str | None = None) -> Iterator[None]:
        """Name the file in errors of reading."""
        try:
            yield
        except NpzError as error:
            raise ArgumentError(*self._name(key), f' cannot be read: {error}; {advice}') from error

    @property
    def has_images(self) -> bool:
        """Whether there is an array of images."""
        return 'arr_0' in self._headers

    def __len__(self) -> int:
        return self.shape[0]

    def _check_images(self) -> tuple[tuple[int, ...], np.dtype]:
        """Check what can be checked without reading images: type, shape, and the number of bytes."""
        header = self._headers['arr_0']
        shape = header.shape
        if header.dtype != np.uint8 or len(shape) != 4 or shape[3] not in (1, 3) or min(shape) < 1:
            first = ' (channels come last)' if len(shape) == 4 and shape[1] in (1, 3) else ''
            raise ArgumentError(
                *self._name('arr_0'), f' is {header.dtype} of shape {shape}; it must hold {_EXPECTED}{first}'
            )
        if header.missing:
            raise ArgumentError(
                *self._name('arr_0'), f' is {header.missing} bytes short of its {shape[0]} images; {_COPY}'
            )
        if not header.is_believable(axis=0 if header.fortran else 1):
            raise ArgumentError(
                *self._name('arr_0'),
                f' announces images of {shape[2]}x{shape[1]} pixels in {header.stored} bytes; {_COPY}',
            )
        return shape, header.dtype

    def batches(self, size: int) -> Iterator[np.ndarray]:
        """Yield the images in file order, at most `size` at a time and 64 MiB, uint8 [n, H, W, C].

        The member is decompressed as it is read, so one batch is in memory. Only an array in
        Fortran order, where images are interleaved, is loaded whole.

        Raises:
            ArgumentError: The data is damaged.
        """
        size = max(min(size, _READ_BYTES // self._headers['arr_0'].nbytes(axis=1)), 1)
        if self._headers['arr_0'].fortran:
            with self._explained(_COPY, 'arr_0'):
                whole = self._npz.load('arr_0')
            for begin in range(0, len(self), size):
                yield np.ascontiguousarray(whole[begin : begin + size])
            return
        with self._explained(_COPY, 'arr_0'), self._npz.open('arr_0') as stream:
            for begin in range(0, len(self), size):
                images = np.empty([min(size, len(self) - begin), *self.shape[1:]], dtype=np.uint8)
                with reading():
                    _fill(stream, images)
                yield images

    def _load(self, key: str) -> np.ndarray:
        with self._explained(_COPY, key):
            return self._npz.load(key)

    @property
    def labels(self) -> np.ndarray | None:
        """Class numbers, int64 [N], or None if the file has none.

        Raises:
            ArgumentError: `arr_1` is something else.
        """
        if 'arr_1' not in self._headers:
            return None
        labels = self._load('arr_1')
        if labels.shape != (len(self),) or not np.issubdtype(labels.dtype, np.integer):
            raise ArgumentError(
                *self._name('arr_1'),
                f' is {labels.dtype} of shape {labels.shape}; '
                f'it must hold one class number per image, int [{len(self)}]',
            )
        return labels.astype(np.int64)

    def _moments(self, mu_key: str, sigma_key: str) -> Moments | None:
        present = [key for key in (mu_key, sigma_key) if key in self._headers]
        if not present:
            return None
        if len(present) == 1:
            raise ArgumentError(
                *self._name(),
                f' holds {present[0]}, but of {mu_key} and {sigma_key} both are needed; make the file again',
            )
        mu, sigma = self._load(mu_key), self._load(sigma_key)
        if (
            mu.ndim != 1
            or sigma.shape != (mu.size, mu.size)
            or not all(np.issubdtype(a.dtype, np.floating) for a in (mu, sigma))
        ):
            raise ArgumentError(
                *self._name(),
                f' holds {mu_key} {mu.shape} and {sigma_key} {sigma.shape}; '
                'they must be floating-point numbers of shape [D] and [D, D]',
            )
        check_values(arg('path', self.path), **{mu_key: mu, sigma_key: sigma})
        return Moments(mu.astype(np.float64), sigma.astype(np.float64))

    def statistics(self) -> Moments | None:
        """Return the stored statistics of pooled features, `mu` and `sigma`, or None."""
        return self._moments('mu', 'sigma')

    def spatial_statistics(self) -> Moments | None:
        """Return the stored statistics of spatial features, `mu_s` and `sigma_s`, or None."""
        return self._moments('mu_s', 'sigma_s')


def _fill(stream: typing.BinaryIO, array: np.ndarray) -> None:
    """Read the bytes of a C-ordered array from a stream."""
    view = memoryview(array).cast('B')
    done = 0
    while done < len(view):
        count = stream.readinto(view[done:])
        if not count:
            raise EOFError(f'the data ends after {done} of {len(view)} bytes of a batch')
        done += count
