# Copyright 2026 The GDD-1S authors.
# SPDX-License-Identifier: Apache-2.0
"""Tests of image packs (npz): whole, damaged, and such as announce more than they hold."""

import io
import os
import zipfile

import numpy as np
import pytest

from tests.support.conversions import convert, images_of, run_error, stored_labels
from tests.support.image_files import random_pixels, write_files


@pytest.mark.parametrize('save', [np.savez, np.savez_compressed])
@pytest.mark.parametrize('shape', [(5, 8, 8, 3), (5, 8, 8, 1), (5, 8, 8)])
def test_npz(tmp_path, save, shape):
    images, labels = random_pixels(4, shape), np.array([3, 0, 1, 1, 2])
    save(tmp_path / 'pack.npz', images, labels)
    dataset = convert(tmp_path, tmp_path / 'pack.npz')
    np.testing.assert_array_equal(images_of(dataset).transpose(0, 2, 3, 1), images.reshape(5, 8, 8, -1))
    assert [dataset.get_details(k)[2] for k in range(5)] == labels.tolist()


def test_npz_without_labels_with_vectors_and_with_more_arrays(tmp_path):
    images = random_pixels(4, (3, 8, 8, 3))
    np.savez(tmp_path / 'free.npz', images, mu=np.zeros(4))  # reference batches carry statistics as well
    assert not convert(tmp_path / 'a', tmp_path / 'free.npz').has_labels
    np.savez(tmp_path / 'onehot.npz', images, np.eye(3, dtype=np.float32))
    dataset = convert(tmp_path / 'b', tmp_path / 'onehot.npz', '--max-images=2')
    assert len(dataset) == 2 and dataset.get_details(1)[2] == [0, 1, 0]


def test_bad_npz_files(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    good = random_pixels(4, (3, 8, 8, 3))
    packs = {
        'other.npz': (dict(images=good), 'arr_0'),
        'float.npz': (dict(arr_0=good / 255), 'arr_0 is float64 [3, 8, 8, 3]'),
        'four.npz': (dict(arr_0=random_pixels(0, (3, 8, 8, 4))), 'arr_0 is uint8 [3, 8, 8, 4]'),
        'fortran.npz': (dict(arr_0=np.asfortranarray(good)), 'in Fortran order'),
        'empty.npz': (dict(arr_0=good[:0]), 'arr_0 is uint8 [0, 8, 8, 3]'),
        'short.npz': (dict(arr_0=good, arr_1=np.arange(2)), 'arr_1 is int64 [2]'),
        'words.npz': (dict(arr_0=good, arr_1=np.array(['a', 'b', 'c'])), 'arr_1 is <U1 [3]'),
        'attack.npz': (dict(arr_0=good, arr_1=np.array([eval] * 3)), 'no usable image pack'),
        'attack0.npz': (dict(arr_0=np.array([eval] * 3)), 'arr_0 is object [3]'),
        'negative.npz': (dict(arr_0=good, arr_1=np.array([0, -1, 1])), 'from -1 to 1'),
    }
    for name, (arrays, words) in packs.items():
        np.savez(name, **arrays)
        assert words in run_error(f'--source={name}', '--dest=out.zip')
        os.remove(name)
    with open('text.npz', 'wb') as file:
        file.write(b'text')
    assert 'no usable image pack' in run_error('--source=text.npz', '--dest=out.zip')
    os.remove('text.npz')
    assert os.listdir() == []


@pytest.mark.parametrize('count', [3, 10**15])  # a header may promise more than any memory holds
def test_npz_that_is_too_short(tmp_path, count):
    header = io.BytesIO()
    np.lib.format.write_array_header_1_0(
        header, {'descr': '|u1', 'fortran_order': False, 'shape': (count, 8, 8, 3)}
    )
    write_files(tmp_path / 'short.zip', {'arr_0.npy': header.getvalue() + bytes(2 * 192)}).rename(
        tmp_path / 'short.npz'
    )
    message = run_error(f'--source={tmp_path / "short.npz"}', f'--dest={tmp_path / "new" / "o.zip"}')
    size = len(header.getvalue())
    promised = f'its header promises {size + 192 * count} for the shape [{count}, 8, 8, 3]'
    assert f'arr_0 has {size + 384} bytes, but {promised}' in message


def test_damaged_npz(tmp_path):
    np.savez(tmp_path / 'damaged.npz', random_pixels(4, (3, 64, 64, 3)))
    data = bytearray((tmp_path / 'damaged.npz').read_bytes())
    data[-1000] ^= 255  # in the last image: the checksum fails once all has been read
    (tmp_path / 'damaged.npz').write_bytes(data)
    for options in ((), ('--skip-bad',)):  # what follows a break in the stream is lost, not skipped
        message = run_error(
            f'--source={tmp_path / "damaged.npz"}', f'--dest={tmp_path / "new" / "o.zip"}', *options
        )
        assert f'image 2 of {tmp_path / "damaged.npz"} cannot be read (Bad CRC' in message
    assert list((tmp_path / 'new').iterdir()) == []


# ------------------------------------------------------------------------------------------------
# Announced sizes, and labels.


def npy(array_bytes, **header):
    buffer = io.BytesIO()
    np.lib.format.write_array_header_1_0(buffer, {'descr': '|u1', 'fortran_order': False, **header})
    return buffer.getvalue() + array_bytes


@pytest.mark.parametrize('compression', [zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED])
@pytest.mark.parametrize('member', ['arr_0.npy', 'arr_1.npy'])
def test_forged_sizes_are_refused_before_memory_is_taken(tmp_path, member, compression):
    """Header and zip directory agree, but the archive cannot hold as much."""
    count = 10**11
    members = {
        'arr_0.npy': npy(bytes(48), shape=(1, 4, 4, 3)),
        'arr_1.npy': npy(bytes(8), descr='<i8', shape=(1,)),
    }
    shape, itemsize = ((count, 1, 1, 3), 3) if member == 'arr_0.npy' else ((1, count), 1)
    members[member] = npy(bytes(64), shape=shape)
    with zipfile.ZipFile(tmp_path / 'forged.npz', 'w', compression) as archive:
        for name, data in members.items():
            archive.writestr(name, data)
        archive.getinfo(member).file_size = len(members[member]) - 64 + count * itemsize
    message = run_error(f'--source={tmp_path / "forged.npz"}', f'--dest={tmp_path / "o.zip"}')
    assert 'is no usable image pack' in message and '\n' not in message


def test_labels_of_other_types(tmp_path):
    """Whole numbers are class numbers in any type; others are blamed on arr_1 and on their image."""
    images = random_pixels(4, (3, 8, 8, 3))
    for labels in (np.array([2.0, 0.0, 1.0]), np.array([2, 0, 1], np.uint8)):
        np.savez(tmp_path / 'pack.npz', images, labels)
        convert(tmp_path / str(labels.dtype), tmp_path / 'pack.npz')
        made = stored_labels(tmp_path / str(labels.dtype) / 'out' / 'made.zip')
        assert [label for _name, label in made] == [2, 0, 1]
    np.savez(tmp_path / 'pack.npz', images, np.array([0, 0.5, 1]))
    message = run_error(f'--source={tmp_path / "pack.npz"}', f'--dest={tmp_path / "o.zip"}')
    assert message.startswith(f'arr_1 of --source={tmp_path / "pack.npz"} must give every image')
    assert message.endswith('the label of image 1 is 0.5') and 'dataset.json' not in message
    np.savez(tmp_path / 'vectors.npz', images, np.asfortranarray([[0, 1], [2, 3], [4, 5]]))
    dataset = convert(tmp_path / 'v', tmp_path / 'vectors.npz')
    assert [dataset.get_details(k)[2] for k in range(3)] == [[0, 1], [2, 3], [4, 5]]
