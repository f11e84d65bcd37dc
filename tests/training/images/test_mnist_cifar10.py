# Copyright 2026 The GDD-1S authors.
# SPDX-License-Identifier: Apache-2.0
"""Tests of MNIST and CIFAR-10: whole, damaged, with pickles that execute, never end or fill the memory."""

import gzip
import pickle
import struct
import time
import tracemalloc

import numpy as np
import pytest

from tests.support.conversions import convert, images_of, run_error, stored_json
from tests.support.image_files import python2_batch, write_cifar10, write_mnist
from training.images import mnist_cifar10
from training.images.mnist_cifar10 import read_gzip
from training.images.sources import open_source

# ------------------------------------------------------------------------------------------------
# MNIST.


@pytest.mark.parametrize('compress', [False, True])
@pytest.mark.parametrize(
    'part, as_folder', [('train', True), ('train', False), ('t10k', False), ('t10k', True)]
)
def test_mnist(tmp_path, part, as_folder, compress):
    images, labels = write_mnist(tmp_path / 'raw', part, compress=compress)
    name = f'{part}-images-idx3-ubyte' + ('.gz' if compress else '')
    dataset = convert(tmp_path, tmp_path / 'raw' if as_folder else tmp_path / 'raw' / name)
    made = images_of(dataset)  # [N, 1, 32, 32]
    np.testing.assert_array_equal(made[:, 0], np.pad(images, [(0, 0), (2, 2), (2, 2)]))
    assert [dataset.get_details(k)[2] for k in range(5)] == labels


def test_mnist_folder_with_both_parts_gives_the_training_set(tmp_path):
    write_mnist(tmp_path / 'raw', 't10k', count=2)
    write_mnist(tmp_path / 'raw', 'train', count=3)
    assert open_source(tmp_path / 'raw').count == 3
    assert (
        open_source(tmp_path / 'raw', max_images=2).count
        == len(list(open_source(tmp_path / 'raw', 2).items))
        == 2
    )


def test_bad_mnist_files(tmp_path):
    dest = f'--dest={tmp_path / "out.zip"}'
    raw = tmp_path / 'raw'
    write_mnist(raw)
    source = raw / 'train-images-idx3-ubyte'
    labels = raw / 'train-labels-idx1-ubyte'
    whole, whole_labels = source.read_bytes(), labels.read_bytes()
    for image_bytes, label_bytes, words in [
        (whole[:-1], whole_labels, 'has 3935 bytes, but its header promises 3936'),
        (b'hello', whole_labels, 'not an MNIST idx file'),
        (b'\x1f\x8bdamaged', whole_labels, 'cannot be read'),
        (whole[:4] + struct.pack('>III', 0, 28, 28), whole_labels, 'promises'),
        (whole, whole_labels[:4] + struct.pack('>I', 2) + b'ab', '2 labels for the 5 images'),
    ]:
        source.write_bytes(image_bytes)
        labels.write_bytes(label_bytes)
        assert words in run_error(f'--source={source}', dest)
    write_mnist(raw, side=27)
    assert 'images of 27x27' in run_error(f'--source={source}', dest)
    labels.unlink()
    write_mnist(tmp_path / 'other')
    (tmp_path / 'other' / 'train-labels-idx1-ubyte').unlink()
    assert 'put train-labels-idx1-ubyte' in run_error(f'--source={tmp_path / "other"}', dest)
    assert not (tmp_path / 'out.zip').exists()


def test_flipped_bits_of_a_gzip_file_are_found_to_its_last_byte(tmp_path):
    write_mnist(tmp_path / 'raw', compress=True)
    source = tmp_path / 'raw' / 'train-images-idx3-ubyte.gz'
    whole = source.read_bytes()
    for position in [*range(-8, 0), len(whole) // 2]:  # the checksum and the length are the last 8 bytes
        data = bytearray(whole)
        data[position] ^= 1
        source.write_bytes(data)
        assert 'cannot be read' in run_error(f'--source={source}', f'--dest={tmp_path / "o.zip"}'), position


def test_decompression_is_bounded(tmp_path, monkeypatch):
    data = gzip.compress(bytes(1000))
    assert read_gzip(data, 1000) == bytes(1000)
    with pytest.raises(ValueError, match='more than 999 bytes'):
        read_gzip(data, 999)
    monkeypatch.setattr(mnist_cifar10, '_MNIST_BYTES', 2000)
    write_mnist(tmp_path / 'raw', compress=True)
    message = run_error(f'--source={tmp_path / "raw"}', f'--dest={tmp_path / "o.zip"}')
    assert 'it holds more than 2,000 bytes' in message
    # A header that promises less than what follows, which is not read.
    monkeypatch.undo()
    source = tmp_path / 'raw' / 'train-images-idx3-ubyte.gz'
    source.write_bytes(gzip.compress(struct.pack('>IIII', 2051, 2, 28, 28) + bytes(100 << 20)))
    tracemalloc.start()
    message = run_error(f'--source={source}', f'--dest={tmp_path / "o.zip"}')
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert 'it holds more than 1,584 bytes' in message and peak < 20_000_000


# ------------------------------------------------------------------------------------------------
# CIFAR-10.


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
        (lambda pixels, labels: python3_batch(4)(pixels.astype(np.int16), labels), 'type int16'),
        (lambda pixels, labels: python3_batch(4)(pixels[:, :100].copy(), labels), 'shape [3, 100]'),
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
    monkeypatch.setattr('training.images.mnist_cifar10._CIFAR10_BYTES', 1 << 20)
    path = tmp_path / 'cifar-10-python.tar.gz'
    path.write_bytes(gzip.compress(bytes(2 << 20)))
    assert 'more than 1,048,576 bytes' in run_error(f'--source={path}', f'--dest={tmp_path / "o.zip"}')
