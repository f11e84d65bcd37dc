# Copyright 2026 The GDD-1S authors.
# SPDX-License-Identifier: Apache-2.0
"""What errors of the operating system mean to a user, and what works instead."""

import errno
import os

# What the operating system refuses -> what that means, and what works. Others keep the system's own words.
_CURES = {
    'ENOSPC': 'no space is left on the device; free some, or choose another place',
    'EDQUOT': 'the disk quota is used up; delete files of yours, or choose another place',
    'EFBIG': 'the file would exceed the size limit; raise it (ulimit -f), or choose another place',
    'EROFS': 'the file system can only be read; choose another place',
    'EACCES': 'permission denied; change the permissions (chmod), or choose another place',
    'EPERM': 'the operation is not permitted; change owner or permissions, or choose another place',
    'ENAMETOOLONG': 'the name or path is too long; choose a shorter one',
    'ENOENT': 'there is no such file or folder; check the path',
    'ENOTDIR': 'a part of the path is a file, not a folder; check the path',
    'EISDIR': 'this is a folder, not a file; give a file',
    'EEXIST': 'this exists already; choose another name',
    'ELOOP': 'links lead in a circle; check the path',
    'EMFILE': 'too many files are open; raise the limit (ulimit -n 65536), or use --workers=0',
    'ENFILE': 'too many files are open on this machine; end other programs',
    'ENOMEM': 'memory is exhausted; free some, or use fewer processes or a smaller --batch',
    'EAGAIN': 'no further process can be started; raise the limit (ulimit -u), or use --workers=0',
    'EIO': 'the device reports an error; check the disk, or choose another place',
    'ESTALE': 'the network file system has lost the file; try again',
    'ETXTBSY': 'the file is being executed; choose another name',
    'EBADF': 'it was closed; keep it open, for example with > log.txt',
    'EPIPE': 'its reader has ended; keep it, or write to a file with > log.txt',
}
_NO_INODES = 'the file system can hold no further files (inodes); delete files, or choose another place'
NO_MEMORY = 'memory is exhausted; free some, or use fewer processes or a smaller --batch'
_TORCH_NO_MEMORY = "can't allocate memory"  # torch on the CPU raises a plain RuntimeError


def describe_os_error(error: OSError) -> str:
    """Return one line with the file, what is wrong with it and what works.

    Args:
        error: As the operating system raised it; without a file name only the rest is said.
    """
    if error.errno is None:  # made by Python code, with a message of its own
        return ' '.join(str(error).split())
    code = errno.errorcode.get(error.errno, '')
    words = _CURES.get(code) or error.strerror or str(error)
    if code == 'ENOSPC' and _is_out_of_inodes(error.filename):
        words = _NO_INODES
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
    return usage.f_files > 0 and usage.f_favail == 0 and usage.f_bavail > 0
