# Copyright 2026 The GDD-1S authors.
# SPDX-License-Identifier: Apache-2.0
"""Files: written whole or not at all, by one process at a time, and named in every error."""

import contextlib
import errno
import hashlib
import os
import secrets
import stat
from collections.abc import Iterator
from typing import BinaryIO

from dnnlib.errors import ArgumentError, arg
from dnnlib.os_errors import underlying_os_error

try:
    import fcntl
except ImportError:  # Windows
    fcntl = None

_CHUNK_BYTES = 1 << 20
_BUSY = (errno.EAGAIN, errno.EACCES)  # what a lock that another process holds answers
_SPECIAL = (
    (stat.S_ISFIFO, 'a pipe'),
    (stat.S_ISCHR, 'a device'),
    (stat.S_ISBLK, 'a device'),
    (stat.S_ISSOCK, 'a socket'),
)


@contextlib.contextmanager
def naming(path: str | os.PathLike) -> Iterator[None]:
    """Let errors of the operating system inside the block name a file; most of those of writing name none.

    Args:
        path: The file as the user knows it; it replaces the name of a temporary file.
    """
    try:
        yield
    except Exception as error:
        # torch.save raises another error while it closes the archive that could not be written.
        system = underlying_os_error(error)
        if system is not None and (system.filename is None or _is_temporary(system.filename)):
            system.filename = os.fspath(path)
        raise


@contextlib.contextmanager
def atomic_write(path: str | os.PathLike) -> Iterator[BinaryIO]:
    """Open a temporary file beside `path` and rename it to `path` once complete.

    Nobody ever sees half a file: an error, or a kill, leaves an earlier `path` as it was.

    Args:
        path: File to create or replace; its folder must exist.
    Yields:
        Binary file object.
    Raises:
        OSError: It cannot be written; the error names `path`.
    """
    path = os.fspath(path)
    temporary = os.path.join(os.path.dirname(path), f'.tmp-{os.getpid()}-{secrets.token_hex(6)}')
    with naming(path):
        try:
            with open(temporary, 'xb') as file:
                yield file
                file.flush()
                os.fsync(file.fileno())
            os.replace(temporary, path)
        except BaseException:
            with contextlib.suppress(OSError):
                os.remove(temporary)
            raise


def file_sha256(path: str | os.PathLike) -> str:
    """Return the SHA-256 hex digest of a file."""
    refuse_special_file(path)
    digest = hashlib.sha256()
    with open(path, 'rb') as file:
        while chunk := file.read(_CHUNK_BYTES):
            digest.update(chunk)
    return digest.hexdigest()


def refuse_special_file(path: str | os.PathLike, name: str = 'path') -> None:
    """Refuse pipes, devices and sockets, whose reading may never end; links are followed.

    Folders and missing files are left to the caller, who knows what is wanted instead.

    Args:
        path: What the user gave as input.
        name: Argument that `path` came from.
    Raises:
        ArgumentError: `path` is one of them.
    """
    try:
        mode = os.stat(path).st_mode
    except OSError:
        return
    kind = next((words for is_kind, words in _SPECIAL if is_kind(mode)), None)
    if kind:
        raise ArgumentError(
            arg(name, os.fspath(path)), f' is {kind}, not a file; save its content as a file and give that'
        )


@contextlib.contextmanager
def claim(path: str | os.PathLike, name: str = 'outdir') -> Iterator[None]:
    """Keep other processes from writing an output at the same time, until the block ends or the process does.

    An existing folder is locked itself. For a file, which may not exist yet, a lock file `.NAME.lock` lies
    beside it meanwhile. Where the file system knows no locks (some network ones), nothing is held.

    Args:
        path: Existing folder, or file to be written; the folder of the file must exist.
        name: Argument that `path` came from.
    Raises:
        ArgumentError: Another process holds it.
        OSError:       The folder cannot be written.
    """
    if fcntl is None:
        yield
        return
    path, is_folder = os.fspath(path), os.path.isdir(path)
    lock = path if is_folder else os.path.join(os.path.dirname(path), f'.{os.path.basename(path)}.lock')
    try:
        descriptor = _locked(lock, os.O_RDONLY if is_folder else os.O_RDWR | os.O_CREAT)
    except OSError as error:
        error.filename = path  # not the lock file, of which the user knows nothing
        raise
    if descriptor is None:
        kind = 'folder' if is_folder else 'file'
        raise ArgumentError(
            arg(name, path),
            f' is being written by another process; wait until it ends, or choose another {kind}',
        )
    try:
        yield
    finally:
        if not is_folder:
            with contextlib.suppress(OSError):
                os.remove(lock)  # while it is held, so that nobody else's is removed
        os.close(descriptor)


def _locked(path: str, flags: int) -> int | None:
    # A descriptor that holds the lock, or None where another process does.
    while True:
        descriptor = os.open(path, flags, 0o666)
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            if error.errno in _BUSY:
                os.close(descriptor)
                return None
            return descriptor  # no locks on this file system
        try:
            if os.path.samestat(os.fstat(descriptor), os.stat(path)):
                return descriptor
        except FileNotFoundError:
            pass
        os.close(descriptor)  # its last holder has removed the file in between: once more


def _is_temporary(name: object) -> bool:
    return (
        os.path.basename(os.fsdecode(name)).startswith('.tmp-') if isinstance(name, (str, bytes)) else False
    )
