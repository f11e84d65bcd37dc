# Copyright 2026 The GDD-1S authors.
# SPDX-License-Identifier: Apache-2.0
"""Tests of dnnlib/zips.py: no changed byte of a member goes unnoticed, whatever wrote the zip."""

import io
import os
import random
import re
import struct
import zipfile

import numpy as np
import pytest

from dnnlib.zips import ZipError, verify_zip

CONTENT = {'a.txt': b'text' * 100, 'folder/b.bin': bytes(range(256)) * 20, 'empty': b''}


def make_zip(compression=zipfile.ZIP_STORED):
    file = io.BytesIO()
    with zipfile.ZipFile(file, 'w', compression) as archive:
        for name, data in CONTENT.items():
            archive.writestr(name, data)
    return file.getvalue()


def arrays(save):
    file = io.BytesIO()
    save(file, mu=np.arange(100.0), sigma=np.eye(10))
    return file.getvalue()


FILES = {
    'stored': make_zip(),
    'deflated': make_zip(zipfile.ZIP_DEFLATED),
    'npz': arrays(np.savez),
    'compressed npz': arrays(np.savez_compressed),
}


def unpacked(data):
    with zipfile.ZipFile(io.BytesIO(data)) as archive:
        return {member.filename: archive.read(member) for member in archive.infolist()}


@pytest.mark.parametrize('name', list(FILES))
def test_good_files_pass(name, tmp_path):
    path = tmp_path / 'a.zip'
    path.write_bytes(FILES[name])
    verify_zip(path)
    verify_zip(str(path))
    verify_zip(io.BytesIO(FILES[name]))


@pytest.mark.parametrize('name', list(FILES))
def test_flipped_bits_are_noticed_unless_they_change_nothing(name):
    rng = random.Random(0)
    noticed = 0
    for _ in range(200):
        data = bytearray(FILES[name])
        data[rng.randrange(len(data))] ^= 1 << rng.randrange(8)
        try:
            verify_zip(io.BytesIO(data))
        except ZipError as error:
            noticed += 1
            assert '\n' not in str(error)
        else:
            found = unpacked(data)
            assert list(found.values()) == list(unpacked(FILES[name]).values())
    assert noticed > 50


@pytest.mark.parametrize('name', list(FILES))
def test_every_cut_is_noticed(name):
    for length in range(0, len(FILES[name]), 37):
        with pytest.raises(ZipError, match='damaged or incomplete'):
            verify_zip(io.BytesIO(FILES[name][:length]))


def test_other_files(tmp_path):
    for data in (b'', b'text', b'\x80\x04N.', os.urandom(1000)):
        with pytest.raises(ZipError):
            verify_zip(io.BytesIO(data))
    with pytest.raises(FileNotFoundError):
        verify_zip(tmp_path / 'nothing.zip')
    with pytest.raises(IsADirectoryError):
        verify_zip(tmp_path)


def test_announced_sizes():
    """A member that claims more than it has, and members that share their bytes."""
    data = make_zip(zipfile.ZIP_DEFLATED)
    size = struct.pack('<I', len(CONTENT['a.txt']))
    with pytest.raises(ZipError, match=re.escape("'a.txt' has 400 of 100000 bytes") + '|damaged'):
        verify_zip(io.BytesIO(data.replace(size, struct.pack('<I', 100_000))))
    stored = make_zip()
    with pytest.raises(ZipError, match='together are larger than the file|two different sizes'):
        verify_zip(io.BytesIO(stored.replace(size, struct.pack('<I', 1 << 30))))


def test_what_unpacks_to_too_much():
    file = io.BytesIO()
    with zipfile.ZipFile(file, 'w', zipfile.ZIP_DEFLATED) as archive:
        archive.writestr('zeros', bytes(10_000_000))
    assert len(file.getvalue()) < 20_000
    verify_zip(file)
    with pytest.raises(ZipError, match='the parts together are larger than 1000000 bytes'):
        verify_zip(file, max_bytes=1_000_000)


def test_encrypted_members():
    data = bytearray(make_zip())
    for start in (match.start() for match in re.finditer(b'PK\x01\x02', bytes(data))):
        data[start + 8] |= 1
    for start in (match.start() for match in re.finditer(b'PK\x03\x04', bytes(data))):
        data[start + 6] |= 1
    with pytest.raises(ZipError, match='encrypted'):
        verify_zip(io.BytesIO(data))
