# Copyright 2026 The GDD-1S authors.
# SPDX-License-Identifier: Apache-2.0

"""Arrays of an .npz file: verified, and what they announce compared with what the file can hold, before use.

An .npz file is a zip of .npy files. Sizes stand in it three times: in the directory of the zip, in the header
of each array, and as the bytes themselves. Memory is taken only for what the bytes can fill.
"""

import contextlib
import math
import os
import stat
import struct
import tokenize
import typing
import zipfile
import zlib
from collections.abc import Iterator

import numpy as np

# What zipfile and NumPy raise for damaged, encrypted or foreign files.
BROKEN = (
    OSError,
    ValueError,
    TypeError,
    KeyError,
    EOFError,
    RuntimeError,
    RecursionError,
    MemoryError,
    OverflowError,
    SyntaxError,
    struct.error,
    tokenize.TokenError,
    zlib.error,
    zipfile.BadZipFile,
)
_DEFLATE_RATIO = 1032  # zlib's format cannot expand a byte further
_LOADED_RATIO = 32  # arrays that are held in memory: features and statistics hardly compress
_SMALL_BYTES = 64 << 20  # announced sizes up to this are believed
_PLAIN_KINDS = 'biufUS'  # numbers and texts; objects would be pickled


class NpzError(ValueError):
    """Why a file cannot be used, without its name: who knows what the file is for says that."""


class Header(typing.NamedTuple):
    """What an array says about itself."""

    shape: tuple
    fortran: bool
    dtype: np.dtype
    missing: int  # bytes that it announces and the file does not hold
    stored: int  # bytes that it takes in the file

    def nbytes(self, axis: int = 0) -> int:
        """Return the bytes of the whole array, or with axis=1 of one of its rows."""
        return math.prod(self.shape[axis:]) * self.dtype.itemsize

    def is_believable(self, axis: int = 0) -> bool:
        """Tell whether the array, or one of its rows, may be held in memory, given its size in the file."""
        return self.nbytes(axis) <= max(_SMALL_BYTES, _LOADED_RATIO * self.stored)


class NpzFile:
    """The arrays of one .npz file; checksums and sizes are verified when it is made.

    Args:
        path: Local file.
    Attributes:
        headers: Name -> `Header`, in the order of the file.
    Raises:
        NpzError: Missing, damaged, or another kind of file.
    """

    def __init__(self, path: str | os.PathLike) -> None:
        self.path = os.fspath(path)
        with reading():
            if not stat.S_ISREG(os.stat(self.path).st_mode) and not os.path.isdir(self.path):
                raise NpzError('it is a pipe or a device, not a file')
            with zipfile.ZipFile(self.path) as archive:
                _check_sizes(archive.infolist(), os.path.getsize(self.path))
                damaged = archive.testzip()
                if damaged is not None:
                    raise NpzError(f'Bad CRC-32 for file {damaged!r}')
                self.headers = {
                    info.filename.removesuffix('.npy'): _read_member_header(archive, info)
                    for info in archive.infolist()
                    if info.filename.endswith('.npy')
                }

    def load(self, name: str) -> np.ndarray:
        """Return an array of numbers or texts.

        Raises:
            NpzError: It is absent, damaged, larger than the file can hold, or of another type.
        """
        if name not in self.headers:
            raise NpzError(f'{name} is not a file in the archive')
        header = self.headers[name]
        if header.dtype.kind not in _PLAIN_KINDS:
            raise NpzError(f'{name} holds {header.dtype}, not numbers')
        if header.missing:
            raise NpzError(f'{name} is {header.missing} bytes short of its shape {header.shape}')
        if not header.is_believable():
            raise NpzError(
                f'{name} announces {header.nbytes()} bytes, which {header.stored} bytes of file do not hold'
            )
        with reading(), zipfile.ZipFile(self.path) as archive, archive.open(f'{name}.npy') as stream:
            return np.lib.format.read_array(stream, allow_pickle=False)

    @contextlib.contextmanager
    def open(self, name: str) -> Iterator[zipfile.ZipExtFile]:
        """Open the bytes of an array behind its header, to be read bit by bit."""
        with reading():
            archive = zipfile.ZipFile(self.path)
        with archive:
            with reading():
                stream = archive.open(f'{name}.npy')
                read_header(stream)
            yield stream


@contextlib.contextmanager
def reading() -> Iterator[None]:
    """Turn whatever a damaged or foreign file raises into `NpzError`."""
    try:
        yield
    except NpzError:
        raise
    except BROKEN as error:
        strerror = getattr(error, 'strerror', None)
        reason = strerror or (str(error).splitlines() or [type(error).__name__])[0]
        raise NpzError(reason or type(error).__name__) from error


def read_header(stream: typing.BinaryIO) -> tuple[tuple, bool, np.dtype]:
    """Read the header of an .npy stream, up to the data: (shape, whether in Fortran order, dtype)."""
    version = np.lib.format.read_magic(stream)
    readers = {(1, 0): np.lib.format.read_array_header_1_0, (2, 0): np.lib.format.read_array_header_2_0}
    if version not in readers:
        raise ValueError(f'has the unknown format version {version}')
    shape, fortran, dtype = readers[version](stream)
    if any(side < 0 for side in shape):
        raise ValueError(f'has the shape {shape}, with a side below 0')
    return shape, fortran, dtype


def _read_member_header(archive: zipfile.ZipFile, info: zipfile.ZipInfo) -> Header:
    with archive.open(info) as stream:
        shape, fortran, dtype = read_header(stream)
        announced = stream.tell() + math.prod(shape) * dtype.itemsize
    # Objects take as many bytes as they are written in, not as many as their pointers.
    missing = 0 if dtype.hasobject else max(announced - info.file_size, 0)
    return Header(shape, fortran, dtype, missing, info.compress_size)


def _check_sizes(infos: list, file_size: int) -> None:
    """Refuse sizes that cannot be: `testzip` would read for hours, and readers take memory for them."""
    names = [info.filename for info in infos]
    repeated = next((name for name in names if names.count(name) > 1), None) if len(names) < 1000 else 'all'
    if repeated is not None:
        raise NpzError(f'it stores {repeated} more than once')
    for info in infos:
        if info.compress_type not in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED):
            raise NpzError(f'{info.filename} is compressed in a way that NumPy does not read or write')
        ratio = 1 if info.compress_type == zipfile.ZIP_STORED else _DEFLATE_RATIO
        if info.file_size > ratio * info.compress_size:
            raise NpzError(
                f'{info.filename} announces {info.file_size} bytes, '
                f'which {info.compress_size} bytes of file cannot hold'
            )
    if sum(info.compress_size for info in infos) > file_size:
        raise NpzError('its parts together are larger than the file')
