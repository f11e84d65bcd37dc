# Copyright 2026 The GDD-1S authors.
# SPDX-License-Identifier: Apache-2.0
"""Tests of MNIST's files: whole, damaged, and such as announce more than they hold."""

import gzip
import struct

import numpy as np
import pytest

from tests.support.conversions import convert, images_of, run_error
from tests.support.image_files import write_mnist
from training.images import mnist
from training.images.sources import open_source


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
    assert mnist.read_gzip(data, 1000) == bytes(1000)
    with pytest.raises(ValueError, match='more than 999 bytes'):
        mnist.read_gzip(data, 999)
    monkeypatch.setattr(mnist, '_MAX_BYTES', 2000)
    write_mnist(tmp_path / 'raw', compress=True)
    message = run_error(f'--source={tmp_path / "raw"}', f'--dest={tmp_path / "o.zip"}')
    assert 'it holds more than 2,000 bytes' in message
