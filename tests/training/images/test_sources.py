# Copyright 2026 The GDD-1S authors.
# SPDX-License-Identifier: Apache-2.0
"""Tests of the sources of dataset_tool.py that are arrays: MNIST, CIFAR-10 and npz packs, whole, damaged and hostile."""

import io
import os
import pickle
import struct

import numpy as np
import pytest

from tests.support.conversions import convert, images_of, run_error, stored_json
from tests.support.image_files import python2_batch, random_pixels, write_cifar10, write_files, write_mnist
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
# npz packs.


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
        'attack.npz': (dict(arr_0=good, arr_1=np.array([Attack()] * 3)), 'no usable image pack'),
        'attack0.npz': (dict(arr_0=np.array([Attack()] * 3)), 'arr_0 is object [3]'),
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
    assert (
        f'arr_0 has {size + 384} bytes, but its header promises {size + 192 * count} for the shape [{count}, 8, 8, 3]'
        in message
    )


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
