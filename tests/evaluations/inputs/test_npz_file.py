# Copyright 2026 The GDD-1S authors.
# SPDX-License-Identifier: Apache-2.0

"""Arrays of .npz files: flipped bits, announced sizes, foreign and hostile headers; memory stays bounded."""

import io
import os
import tracemalloc
import zipfile

import numpy as np
import pytest

from evaluations.inputs.npz_file import NpzError, NpzFile

ARRAYS = dict(mu=np.arange(3.0), sigma=np.eye(3), name=np.str_('toy'), count=np.int64(7))


def member(header, data=b''):
    """An .npy file with any header, whatever follows."""
    content = io.BytesIO()
    np.lib.format.write_array_header_1_0(content, header)
    return content.getvalue() + data


def write_zip(path, compression=zipfile.ZIP_STORED, **members):
    with zipfile.ZipFile(path, 'w', compression) as archive:
        for name, data in members.items():
            archive.writestr(f'{name}.npy', data)
    return path


@pytest.mark.parametrize('savez', [np.savez, np.savez_compressed])
def test_arrays_are_those_of_numpy(tmp_path, savez):
    savez(tmp_path / 'a.npz', **ARRAYS)
    npz = NpzFile(tmp_path / 'a.npz')
    assert list(npz.headers) == list(ARRAYS) and npz.headers['sigma'].shape == (3, 3)
    for name, value in ARRAYS.items():
        assert np.array_equal(npz.load(name), value)
    with npz.open('mu') as stream:
        assert np.frombuffer(stream.read(), dtype=np.float64).tolist() == [0, 1, 2]
    with pytest.raises(NpzError, match='nothing is not a file in the archive'):
        npz.load('nothing')


@pytest.mark.parametrize('savez', [np.savez, np.savez_compressed])
def test_a_flipped_bit_in_any_array_is_noticed(tmp_path, savez):
    path = tmp_path / 'a.npz'
    savez(path, **ARRAYS)
    good = path.read_bytes()
    with zipfile.ZipFile(path) as archive:
        infos, refused, harmless = archive.infolist(), 0, 0
    for info in infos:
        start = info.header_offset + 30 + int.from_bytes(good[info.header_offset + 26 :][:2], 'little')
        start += int.from_bytes(good[info.header_offset + 28 :][:2], 'little')
        for position in range(start, start + info.compress_size, 13):
            path.write_bytes(good[:position] + bytes([good[position] ^ 0x10]) + good[position + 1 :])
            try:
                npz = NpzFile(path)
            except NpzError:
                refused += 1
            else:  # a bit that means nothing to zlib, such as those behind the last code
                assert all(np.array_equal(npz.load(name), value) for name, value in ARRAYS.items())
                harmless += 1
    assert refused > 20 * harmless


@pytest.mark.parametrize('announced', [1 << 20, 200 << 20, 10**11])
def test_announced_sizes_are_not_believed(tmp_path, announced):
    """Also where the directory of the zip agrees with the header of the array."""
    data = member(dict(descr='|u1', fortran_order=False, shape=(announced,)), b'\0' * 64)
    path = tmp_path / 'forged.npz'
    with zipfile.ZipFile(path, 'w') as archive:
        archive.writestr('mu.npy', data)
        archive.getinfo('mu.npy').file_size = len(data) - 64 + announced
    tracemalloc.start()
    with pytest.raises(NpzError, match='announces .* cannot hold'):
        NpzFile(path)
    assert write_zip(path, mu=data)
    with pytest.raises(NpzError, match=f'{announced - 64} bytes short'):
        NpzFile(path).load('mu')
    assert tracemalloc.get_traced_memory()[1] < 5 << 20
    tracemalloc.stop()


def test_bombs_are_not_unpacked_into_memory(tmp_path):
    """128 MB of zeros take 128 KB in the file."""
    shape = (1 << 24,)
    data = member(dict(descr='<f8', fortran_order=False, shape=shape), bytes(8 << 24))
    path = write_zip(tmp_path / 'bomb.npz', zipfile.ZIP_DEFLATED, mu=data)
    assert os.path.getsize(path) < 1 << 18
    tracemalloc.start()
    with pytest.raises(NpzError, match='announces 134217728 bytes, which .* do not hold'):
        NpzFile(path).load('mu')
    assert tracemalloc.get_traced_memory()[1] < 16 << 20
    tracemalloc.stop()


@pytest.mark.parametrize(
    'data, words',
    [
        (b'', 'EOF|magic'),
        (b'\x93NUMPY\x09\x00', 'unknown format version'),
        (member(dict(descr='<f8', fortran_order=False, shape=(-1,))), 'below 0'),
        (b'\x93NUMPY\x01\x00\xff\x7f' + b'(' * 32767, ''),
        (b'\x93NUMPY\x01\x00\x80\x1f' + b'[' * 8064, ''),
        (
            member(dict(descr='|O', fortran_order=False, shape=(1,)), b'cos\nsystem\n.'),
            'holds object, not numbers',
        ),
    ],
)
def test_foreign_headers(tmp_path, data, words):
    with pytest.raises(NpzError, match=words) as caught:
        NpzFile(write_zip(tmp_path / 'x.npz', mu=data)).load('mu')
    assert str(caught.value) and '\n' not in str(caught.value)


def test_foreign_archives(tmp_path):
    with (
        pytest.warns(UserWarning, match='Duplicate'),
        zipfile.ZipFile(tmp_path / 'twice.npz', 'w') as archive,
    ):
        for _ in range(2):
            archive.writestr('mu.npy', member(dict(descr='<f8', fortran_order=False, shape=())))
    with pytest.raises(NpzError, match='stores mu.npy more than once'):
        NpzFile(tmp_path / 'twice.npz')
    write_zip(tmp_path / 'bz2.npz', zipfile.ZIP_BZIP2, mu=b'x' * 99)
    with pytest.raises(NpzError, match='compressed in a way'):
        NpzFile(tmp_path / 'bz2.npz')
    os.mkfifo(tmp_path / 'pipe.npz')
    with pytest.raises(NpzError, match='a pipe or a device'):
        NpzFile(tmp_path / 'pipe.npz')
