# Copyright 2026 The GDD-1S authors.
# SPDX-License-Identifier: Apache-2.0
"""What errors of the operating system mean to a user, and what works instead."""

import errno
import os

# What the operating system refuses -> what works instead.
_CURES = {
    'ENOSPC': 'free some space, or choose another place',
    'EDQUOT': 'delete files of yours, or choose another place',
    'EFBIG': 'raise the limit (ulimit -f), or choose another place',
    'EROFS': 'choose another place',
    'EACCES': 'change the permissions (chmod), or choose another place',
    'EPERM': 'change owner or permissions, or choose another place',
    'ENAMETOOLONG': 'choose a shorter one',
    'ENOENT': 'check the path',
    'ENOTDIR': 'a part of the path is a file; check the path',
    'EISDIR': 'give a file, not a folder',
    'EEXIST': 'choose another name',
    'ELOOP': 'links lead in a circle; check the path',
    'EMFILE': 'raise the limit (ulimit -n 65536), or load without workers',
    'ENFILE': 'end other programs on this machine',
    'ENOMEM': 'free some memory, or use fewer processes or a smaller batch',
    'EAGAIN': 'no further process can be started; raise the limit (ulimit -u), or load without workers',
    'EIO': 'check the disk, or choose another place',
    'ESTALE': 'the network file system has lost the file; try again',
    'ETXTBSY': 'choose another name',
    'EBADF': 'keep it open, for example with > log.txt',
    'EPIPE': 'let its reader run on, or write to a file with > log.txt',
}
_INODES = 'no further files (inodes) fit; delete files, or choose another place'
NO_MEMORY = 'memory is exhausted; free some, or use fewer processes or a smaller batch'
_TORCH_NO_MEMORY = "can't allocate memory"  # torch on the CPU raises a plain RuntimeError


def describe_os_error(error: OSError) -> str:
    """Return one line with the file, what is wrong with it and what works.

    Args:
        error: As the operating system raised it; without a file name only the rest is said.
    """
    if error.errno is None:  # made by Python code, with a message of its own
        return ' '.join(str(error).split())
    code = errno.errorcode.get(error.errno, '')
    cure = _INODES if code == 'ENOSPC' and _is_out_of_inodes(error.filename) else _CURES.get(code)
    words = '; '.join(filter(None, (error.strerror or str(error), cure)))
    if error.filename is None or error.filename == '':
        return words
    name = os.fsdecode(error.filename) if isinstance(error.filename, (str, bytes)) else str(error.filename)
    return f'{name}: {words}'


def underlying_os_error(error: BaseException) -> OSError | None:
    """Return the error of the operating system that an exception is or was raised from, or None.

    Writers of archives and of torch raise others while they close a file that could not be written.
    """
    seen = set()
    while error is not None and id(error) not in seen:
        if isinstance(error, OSError) and error.errno is not None:
            return error
        seen.add(id(error))
        error = error.__cause__ or error.__context__
    return None


def is_memory_error(error: BaseException) -> bool:
    """Tell whether an exception means that memory is short, on the CPU or a GPU."""
    return isinstance(error, MemoryError) or (
        isinstance(error, RuntimeError)
        and (type(error).__name__ == 'OutOfMemoryError' or _TORCH_NO_MEMORY in str(error))
    )


def _is_out_of_inodes(path: object) -> bool:
    if not isinstance(path, (str, bytes)):
        return False
    path = os.path.abspath(path)
    while not os.path.exists(path) and os.path.dirname(path) != path:
        path = os.path.dirname(path)
    try:
        usage = os.statvfs(path)
    except (OSError, AttributeError):  # Windows has no statvfs
        return False
    return usage.f_files > 0 and usage.f_favail <= 2 and usage.f_bavail > 0
