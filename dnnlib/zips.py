# Copyright 2026 The GDD-1S authors.
# SPDX-License-Identifier: Apache-2.0
"""Check a zip file of ours before it is used: states, weights, references and packs are all zips.

Whoever reads only parts of a zip, or reads it with another program such as torch, never learns that a bit
has changed; the checksums (CRC-32) in the file tell.
"""

import lzma
import os
import struct
import zipfile
import zlib
from typing import BinaryIO

from dnnlib.errors import ArgumentError

_CHUNK_BYTES = 1 << 20
_END_BYTES, _MAX_COMMENT_BYTES = 22, 0xFFFF
# What zipfile raises for damaged, encrypted and foreign files.
ZIP_DAMAGE = (
    zipfile.BadZipFile,
    zlib.error,
    lzma.LZMAError,
    struct.error,
    EOFError,
    ValueError,
    OverflowError,
    NotImplementedError,
    RuntimeError,
    OSError,
)


class ZipError(ArgumentError):
    """The zip file is damaged, or no zip file; one line without the name of the file, which callers know."""


def verify_zip(file: str | os.PathLike | BinaryIO, max_bytes: int | None = None) -> None:
    """Read every member once and compare it with its checksum and its announced size.

    Args:
        file:      Path, or binary file object that can seek.
        max_bytes: Largest size of all members together when unpacked; None for no limit. Memory is not needed
                   for them, but time.
    Raises:
        ZipError: Damaged, truncated, encrypted, or no zip.
        FileNotFoundError, PermissionError, IsADirectoryError: It cannot be opened.
    """
    try:
        with zipfile.ZipFile(file) as archive:
            members = archive.infolist()
            if len(members) != _announced_members(archive.fp):
                raise ZipError('the file is damaged (the list of its parts is incomplete)')
            _check_sizes(members, _file_size(archive.fp), max_bytes)
            for member in members:
                _read_through(archive, member)
    except (ZipError, FileNotFoundError, PermissionError, IsADirectoryError):
        raise
    except ZIP_DAMAGE as error:
        reason = ' '.join(str(error).split())[:200] or type(error).__name__
        raise ZipError(f'the file is damaged or incomplete ({reason})') from error


def _check_sizes(members: list[zipfile.ZipInfo], file_size: int, max_bytes: int | None) -> None:
    if sum(member.compress_size for member in members) > file_size:
        raise ZipError('the parts together are larger than the file')
    for member in members:
        if member.compress_type == zipfile.ZIP_STORED and member.file_size != member.compress_size:
            raise ZipError(f'{_shown(member)} announces two different sizes')
    if max_bytes is not None and sum(member.file_size for member in members) > max_bytes:
        raise ZipError(f'the parts together are larger than {max_bytes} bytes')


def _read_through(archive: zipfile.ZipFile, member: zipfile.ZipInfo) -> None:
    size = 0
    with archive.open(member) as part:  # zipfile compares the checksum at its end
        while chunk := part.read(_CHUNK_BYTES):
            size += len(chunk)
    if size != member.file_size:
        raise ZipError(f'{_shown(member)} has {size} of {member.file_size} bytes')


def _shown(member: zipfile.ZipInfo) -> str:
    return ascii(member.filename[:80])


def _announced_members(file: BinaryIO) -> int:
    # The number of members in the end record of the zip, by which a damaged list of them shows.
    tail_bytes = min(_file_size(file), _END_BYTES + _MAX_COMMENT_BYTES)
    file.seek(-tail_bytes, os.SEEK_END)
    tail = file.read(tail_bytes)
    end = tail.rindex(b'PK\x05\x06')
    (count,) = struct.unpack_from('<H', tail, end + 10)
    if count == 0xFFFF:  # more than fit: the record of the zip64 extension before it
        (count,) = struct.unpack_from('<Q', tail, tail.rindex(b'PK\x06\x06', 0, end) + 32)
    return count


def _file_size(file: BinaryIO) -> int:
    position = file.tell()
    size = file.seek(0, os.SEEK_END)
    file.seek(position)
    return size
