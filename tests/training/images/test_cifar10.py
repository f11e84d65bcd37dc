# Copyright 2026 The GDD-1S authors.
# SPDX-License-Identifier: Apache-2.0
"""Tests of the CIFAR-10 archive: whole, damaged, with pickles that execute, never end or fill the memory."""

import gzip
import pickle
import struct
import time
import tracemalloc

import numpy as np
import pytest

from tests.support.conversions import convert, images_of, run_error, stored_json
from tests.support.image_files import python2_batch, write_cifar10
from training.images.cifar10 import Inert, read_plain_pickle


def python3_batch(protocol):
    return lambda pixels, labels: pickle.dumps({'data': pixels, 'labels': labels}, protocol=protocol)


@pytest.mark.parametrize('make_batch', [python2_batch, python3_batch(2), python3_batch(4)])
def test_cifar10(tmp_path, make_batch):
    path, images, labels = write_cifar10(tmp_path, make_batch)
    dataset = convert(tmp_path, path)
    np.testing.assert_array_equal(images_of(dataset), images)
    assert [dataset.get_details(k)[2] for k in range(15)] == labels
    assert stored_json(tmp_path / 'out' / 'made.zip')['class_names'][3] == 'cat'


class Attack:
    def __reduce__(self):
        return (eval, ('open("attacked", "w").close()',))


@pytest.mark.parametrize(
    'make_batch, words',
    [
        (lambda pixels, labels: pickle.dumps({'data': Attack(), 'labels': labels}), 'builtins.eval'),
        (lambda pixels, labels: pickle.dumps([1, 2]), 'not the CIFAR-10 python archive'),
        (lambda pixels, labels: b'no pickle', 'not the CIFAR-10 python archive'),
        (lambda pixels, labels: python3_batch(4)(pixels, [10] * len(labels)), 'labels outside 0..9'),
        (lambda pixels, labels: python3_batch(4)(pixels, labels[:-1]), 'not as many labels'),
        (lambda pixels, labels: python3_batch(4)(pixels.astype(np.int16), labels), 'type i2'),
        (lambda pixels, labels: python3_batch(4)(pixels[:, :100].copy(), labels), 'shape (3, 100)'),
    ],
)
def test_bad_cifar10_archives(tmp_path, monkeypatch, make_batch, words):
    monkeypatch.chdir(tmp_path)
    path, _images, _labels = write_cifar10(tmp_path, make_batch)
    assert words in run_error(f'--source={path}', '--dest=out.zip')
    assert [file.name for file in tmp_path.iterdir()] == [path.name]


def test_cifar10_name_with_other_content(tmp_path):
    path = tmp_path / 'cifar-10-python.tar.gz'
    path.write_bytes(b'text')
    assert 'not the CIFAR-10 python archive' in run_error(f'--source={path}', f'--dest={tmp_path / "o.zip"}')


# ------------------------------------------------------------------------------------------------
# The end of the archive, and hostile pickles.


def test_every_flipped_bit_that_matters_is_found(tmp_path):
    """The gzip header tells a time and a name, which nobody reads; all else is below the checksum."""
    path, _images, _labels = write_cifar10(tmp_path, python2_batch)
    whole = path.read_bytes()
    header = 10 + len(path.name.removesuffix('.gz')) + 1
    for position in [*range(header, len(whole), len(whole) // 20), *range(len(whole) - 8, len(whole))]:
        data = bytearray(whole)
        data[position] ^= 1 << position % 8
        path.write_bytes(data)
        message = run_error(f'--source={path}', f'--dest={tmp_path / "o.zip"}')
        assert 'not the CIFAR-10 python archive' in message, position


def test_plain_data_is_what_pickle_reads():
    value = {'a': [1, -2, 1 << 40, 2.5, None, True, False], 'b': ('x', b'y', (), ('z',)), 'c': [[], {}]}
    for protocol in (2, 3, 4, 5):
        data = pickle.dumps(value, protocol=protocol)
        if protocol == 2:
            value['b'] = ('x', 'not bytes', (), ('z',))
            data = pickle.dumps(value, protocol=2)
        assert read_plain_pickle(data, set()) == pickle.loads(data)
        value['b'] = ('x', b'y', (), ('z',))
    array = read_plain_pickle(
        pickle.dumps(np.zeros(2), protocol=4),
        {('numpy._core.multiarray', '_reconstruct'), ('numpy', 'ndarray'), ('numpy', 'dtype')},
    )
    assert type(array) is Inert and array.state[1] == (2,)


def nested_tuples(depth):
    """A pickle that leaves (t, t) of (t, t) of ... on the stack: hashing or printing it never ends."""
    doubled = b''.join(b'h' + bytes([k]) + b'\x86\x94' for k in range(depth))
    return b'\x80\x04)\x94' + doubled


HOSTILE = {
    'a memo index of 4 GB': b'\x80\x02Nr\xff\xff\xff\x7f0.',
    'text of 4 GB': b'\x80\x02X\xff\xff\xff\xffa.',
    'bytes of 8 EB': b'\x80\x04\x8e' + struct.pack('<Q', 1 << 62) + b'a.',
    'nested tuples as a key': b'\x80\x04}' + nested_tuples(60)[2:] + b'Ns.',
    'nested tuples in a set': b'\x80\x04\x8f(' + nested_tuples(60)[2:] + b'\x90.',
    'nested tuples as a name': nested_tuples(60) + b'\x8c\x01x\x93.',
    'nested tuples as a shape': pickle.dumps({'labels': [0]})[:2]
    + b'}(\x8c\x04datacnumpy\ndtype\n)R(K\x01'
    + nested_tuples(60)[2:]
    + b'cnumpy\ndtype\n\x8c\x02u1\x85R\x89Ntb\x8c\x06labels]u.',
    'marks without end': b'\x80\x02' + b'(' * 1000 + b't' * 1001 + b'.',
    'an end without a beginning': b'\x80\x02.',
    'no end': b'\x80\x02N',
    'a persistent name': b'\x80\x02Pfile\n.',
}


@pytest.mark.parametrize('name', HOSTILE)
def test_hostile_pickles_end_at_once_in_one_line(tmp_path, name):
    path, _images, _labels = write_cifar10(tmp_path, lambda pixels, labels: HOSTILE[name])
    tracemalloc.start()
    begin = time.process_time()
    message = run_error(f'--source={path}', f'--dest={tmp_path / "o.zip"}')
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert 'not the CIFAR-10 python archive' in message and '\n' not in message and len(message) < 1000
    assert peak < 50_000_000 and time.process_time() - begin < 60  # it would be days


def test_an_archive_that_decompresses_without_end_is_refused(tmp_path, monkeypatch):
    monkeypatch.setattr('training.images.cifar10._MAX_BYTES', 1 << 20)
    path = tmp_path / 'cifar-10-python.tar.gz'
    path.write_bytes(gzip.compress(bytes(2 << 20)))
    assert 'more than 1,048,576 bytes' in run_error(f'--source={path}', f'--dest={tmp_path / "o.zip"}')
