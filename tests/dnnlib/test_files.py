# Copyright 2026 The GDD-1S authors.
# SPDX-License-Identifier: Apache-2.0
"""Tests of dnnlib/files.py: files appear whole, errors name them, one process writes at a time."""

import errno
import hashlib
import os
import socket
import stat
import subprocess
import sys

import pytest

from dnnlib.errors import ArgumentError
from dnnlib.files import atomic_write, claim, file_sha256, naming, refuse_special_file
from dnnlib.os_errors import underlying_os_error
from tests.support import ROOT

HOLD = """
import sys
from dnnlib.files import claim
with claim(sys.argv[1]):
    print('held', flush=True)
    input()
"""


def test_atomic_write(tmp_path):
    path = tmp_path / 'a.bin'
    with atomic_write(path) as file:
        file.write(b'new')
        assert not path.exists() and len(os.listdir(tmp_path)) == 1
    assert path.read_bytes() == b'new' and os.listdir(tmp_path) == ['a.bin']
    mask = os.umask(0)
    os.umask(mask)
    assert stat.S_IMODE(path.stat().st_mode) == 0o666 & ~mask  # as an ordinary file, not private


@pytest.mark.parametrize('error', [ValueError, KeyboardInterrupt, OSError(errno.ENOSPC, 'full')])
def test_atomic_write_keeps_the_old_file_on_errors(error, tmp_path):
    path = tmp_path / 'a.bin'
    path.write_bytes(b'old')
    with pytest.raises(getattr(error, '__class__', error) if isinstance(error, OSError) else error) as raised:
        with atomic_write(str(path)) as file:
            file.write(b'half')
            raise error
    assert path.read_bytes() == b'old' and os.listdir(tmp_path) == ['a.bin']
    if isinstance(error, OSError):
        assert raised.value.filename == str(path)


def test_atomic_write_in_the_current_folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with atomic_write('a.bin') as file:
        file.write(b'x')
    assert os.listdir() == ['a.bin']
    with pytest.raises(FileNotFoundError) as raised:
        with atomic_write('missing/a.bin'):
            pass
    assert raised.value.filename == 'missing/a.bin'  # not the temporary one


def test_naming_keeps_names_and_other_errors():
    for error, name in (
        (OSError(errno.EIO, 'bad'), 'mine'),
        (OSError(errno.EIO, 'bad', 'theirs'), 'theirs'),
        (OSError(errno.EIO, 'bad', '/a/.tmp-1-2'), 'mine'),
        (OSError('made by Python code'), None),
    ):
        with pytest.raises(OSError) as raised, naming('mine'):
            raise error
        assert raised.value.filename == name


def test_sha256(tmp_path):
    (tmp_path / 'a').write_bytes(b'content')
    assert file_sha256(tmp_path / 'a') == hashlib.sha256(b'content').hexdigest()


def test_pipes_devices_and_sockets_are_refused(tmp_path):
    os.mkfifo(tmp_path / 'pipe')
    (tmp_path / 'link').symlink_to(tmp_path / 'pipe')
    with socket.socket(socket.AF_UNIX) as unix:
        unix.bind(str(tmp_path / 's'))
    for path, kind in ((tmp_path / 'pipe', 'pipe'), (tmp_path / 'link', 'pipe'), ('/dev/zero', 'device'),
                       (tmp_path / 's', 'socket')):  # fmt: skip
        with pytest.raises(ArgumentError, match=f'^data=.* is a {kind}, not a file; save'):
            refuse_special_file(path, 'data')
    with pytest.raises(ArgumentError, match='is a pipe'):
        file_sha256(tmp_path / 'pipe')  # would wait for ever
    (tmp_path / 'file').write_text('')
    for path in (tmp_path / 'file', tmp_path, tmp_path / 'missing'):
        refuse_special_file(path)


@pytest.mark.parametrize('kind', ['folder', 'file'])
def test_two_processes_cannot_claim_one_output(kind, tmp_path):
    path = tmp_path / 'out'
    if kind == 'folder':
        path.mkdir()
    environment = dict(os.environ, PYTHONPATH=ROOT)
    with subprocess.Popen(
        [sys.executable, '-c', HOLD, str(path)],
        env=environment,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
    ) as other:
        assert other.stdout.readline() == b'held\n'
        with pytest.raises(ArgumentError, match=f'^dest=.*out is being written .* choose another {kind}'):
            with claim(path, 'dest'):
                pass
        other.kill()  # a killed process holds nothing
        other.wait()
        with claim(path), pytest.raises(ArgumentError), claim(path):
            pass
    assert os.listdir(tmp_path) == (['out'] if kind == 'folder' else [])


def test_claims_where_locks_are_unknown(tmp_path, monkeypatch):
    def refuse(_descriptor, _operation):
        raise OSError(errno.ENOLCK, 'No locks available')

    monkeypatch.setattr('dnnlib.files.fcntl.flock', refuse)
    with claim(tmp_path), claim(tmp_path):
        pass
    monkeypatch.setattr('dnnlib.files.fcntl', None)
    with claim(tmp_path):
        pass
    with pytest.raises(OSError) as raised:
        monkeypatch.undo()
        with claim(tmp_path / 'missing' / 'a.zip'):
            pass
    assert raised.value.filename == str(tmp_path / 'missing' / 'a.zip')


def test_naming_reaches_an_error_that_another_has_replaced(tmp_path):
    """As torch.save on a full disk: closing the unfinished archive raises an error of its own."""
    path = str(tmp_path / 'state.pt')
    with pytest.raises(RuntimeError) as raised, atomic_write(path):
        try:
            raise OSError(errno.ENOSPC, 'No space left on device')
        finally:
            raise RuntimeError('unexpected pos 64 vs 0')
    assert underlying_os_error(raised.value).filename == path
    assert os.listdir(tmp_path) == []
