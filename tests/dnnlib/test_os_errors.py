# Copyright 2026 The GDD-1S authors.
# SPDX-License-Identifier: Apache-2.0
"""Tests of dnnlib/os_errors.py: errors of the operating system say the file, what is wrong and what works."""

import errno
import os
import types

import pytest
import torch

from dnnlib.os_errors import describe_os_error, is_memory_error, underlying_os_error

CODES = (
    'ENOSPC EDQUOT EFBIG EROFS EACCES EPERM ENAMETOOLONG ENOENT ENOTDIR EISDIR EEXIST ELOOP EMFILE ENFILE '
    'ENOMEM EAGAIN EIO ESTALE ETXTBSY EBADF EPIPE'
).split()


@pytest.mark.parametrize('code', CODES)
def test_file_reason_and_cure(code):
    number = getattr(errno, code)
    text = describe_os_error(OSError(number, os.strerror(number), 'out/a.pkl'))
    assert text.startswith(f'out/a.pkl: {os.strerror(number)}; ') and len(text.split('; ', 1)[1]) > 5


def test_files_without_a_name_and_unknown_reasons():
    assert describe_os_error(OSError(errno.EFBIG, 'File too large')).startswith('File too large; raise')
    assert (
        describe_os_error(OSError(errno.EPROTO, 'Protocol error', b'caf\xe9')) == 'caf\udce9: Protocol error'
    )
    assert describe_os_error(OSError('two\nlines')) == 'two lines'


def test_no_inodes_left(monkeypatch, tmp_path):
    usage = types.SimpleNamespace(f_files=100, f_favail=0, f_bavail=50)
    monkeypatch.setattr(os, 'statvfs', lambda path: usage, raising=False)
    error = OSError(errno.ENOSPC, 'No space left on device', str(tmp_path / 'missing' / 'a'))
    assert 'inodes' in describe_os_error(error)
    usage.f_bavail = 0
    assert 'free some space' in describe_os_error(error)


def test_the_error_behind_another():
    def raise_from(first):
        try:
            raise first
        finally:
            raise RuntimeError('unexpected position')

    for first, found in (
        (OSError(errno.ENOSPC, 'full'), True),
        (KeyError('a'), False),
        (OSError('ours'), False),
    ):
        with pytest.raises(RuntimeError) as raised:
            raise_from(first)
        assert (underlying_os_error(raised.value) is first) == found
    circle = RuntimeError()
    circle.__cause__ = other = RuntimeError()
    other.__cause__ = circle
    assert underlying_os_error(circle) is None


def test_torch_on_a_full_disk_is_recognised(tmp_path):
    """torch.save raises an error of its own when the file cannot be completed."""
    if not os.path.exists('/dev/full'):
        pytest.skip('needs /dev/full')
    with pytest.raises((OSError, RuntimeError)) as raised:
        with open('/dev/full', 'wb') as file:
            torch.save(torch.zeros(100_000), file)
    assert underlying_os_error(raised.value).errno == errno.ENOSPC


def test_memory():
    assert is_memory_error(MemoryError()) and is_memory_error(torch.OutOfMemoryError('CUDA out of memory'))
    assert is_memory_error(RuntimeError("DefaultCPUAllocator: can't allocate memory: you tried"))
    assert not is_memory_error(RuntimeError('shape mismatch')) and not is_memory_error(ValueError('memory'))
