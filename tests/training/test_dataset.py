# Copyright 2026 The GDD-1S authors.
# SPDX-License-Identifier: Apache-2.0
"""Tests of training/dataset.py: reading, labels, subsets, errors, and the sampler."""

import hashlib
import io
import itertools
import json
import pickle

import numpy as np
import PIL.Image
import pytest
import torch

from tests.support import ROOT
from tests.support.image_files import encode, png_16bit_rgb, random_pixels, write_files
from training.dataset import DatasetError, ImageFolderDataset, InfiniteSampler

# SHA-256 of bytes 16 .. 16 + 10000*784 of the original file train-images-idx3-ubyte.
MNIST_SUBSET_SHA256 = '2f7182bf021ffc5c1f62db987487f14d899b5c639f421a80f3095affc09a7db2'


def small_files(count=10, labels=None):
    files = {f'00000/img{k:08d}.png': encode(random_pixels(k)) for k in range(count)}
    if labels is not None:
        pairs = [[name, label] for name, label in zip(files, labels)]
        files['dataset.json'] = json.dumps({'labels': pairs}).encode()
    return files


# ------------------------------------------------------------------------------------------------
# Reading.


@pytest.mark.parametrize('target', ['data.zip', 'data'])
def test_items_are_the_stored_pixels_and_onehot_labels(tmp_path, target):
    path = write_files(tmp_path / target, small_files(labels=[3, 0, 1, 2, 0, 1, 2, 3, 0, 1]))
    dataset = ImageFolderDataset(path, resolution=8, use_labels=True)
    assert (len(dataset), dataset.name, dataset.label_dim, dataset.resolution) == (10, 'data', 4, 8)
    assert dataset.image_shape == [3, 8, 8] and dataset.num_channels == 3
    assert dataset.has_labels and dataset.has_onehot_labels
    for k, (image, label) in enumerate(dataset):
        assert image.dtype == np.uint8 and label.dtype == np.float32
        np.testing.assert_array_equal(image, random_pixels(k).transpose(2, 0, 1))
        assert label.tolist() == np.eye(4)[[3, 0, 1, 2, 0, 1, 2, 3, 0, 1][k]].tolist()


def test_grayscale_and_jpeg_files(tmp_path):
    gray = np.full((8, 8), 77, dtype=np.uint8)
    dataset = ImageFolderDataset(
        write_files(tmp_path / 'a.zip', {'a.JPG': encode(gray, 'jpeg'), 'b.png': encode(gray)})
    )
    assert dataset.image_shape == [1, 8, 8]
    assert dataset[0][0].tolist() == dataset[1][0].tolist() == [gray.tolist()]


def test_order_is_by_code_point_of_the_whole_path(tmp_path):
    names = ['a/x.png', 'a-b/x.png', 'B/x.png', 'a/notes.txt', 'é.png']
    files = {name: encode(np.full((4, 4), k, dtype=np.uint8)) for k, name in enumerate(names)}
    for target in ('order', 'order.zip'):
        dataset = ImageFolderDataset(write_files(tmp_path / target, files))
        assert [image[0, 0, 0] for image, _label in dataset] == [2, 1, 0, 4]  # B < a-b < a/ < é


def test_max_size_keeps_the_subset_of_edm(tmp_path):
    path = write_files(tmp_path / 'data.zip', small_files())
    dataset = ImageFolderDataset(path, max_size=5)
    assert [dataset.get_details(i)[0] for i in range(5)] == [1, 2, 4, 8, 9]
    wrapped, other = (ImageFolderDataset(path, max_size=5, random_seed=seed) for seed in (1 << 31, 1))
    assert [wrapped.get_details(i)[0] for i in range(5)] == [1, 2, 4, 8, 9]
    assert [other.get_details(i)[0] for i in range(5)] != [1, 2, 4, 8, 9]
    assert len(ImageFolderDataset(path, max_size=10)) == len(ImageFolderDataset(path, max_size=99)) == 10


def test_xflip_appends_mirrored_copies_after_the_subset(tmp_path):
    path = write_files(tmp_path / 'data.zip', small_files(labels=range(10)))
    dataset = ImageFolderDataset(path, max_size=5, xflip=True, use_labels=True)
    assert len(dataset) == 10
    for k in range(5):
        image, label = dataset[k]
        mirrored, same_label = dataset[k + 5]
        np.testing.assert_array_equal(mirrored, image[:, :, ::-1])
        assert not np.array_equal(mirrored, image[:, ::-1, :])  # the wrong axis would be seen
        assert label.tolist() == same_label.tolist()
    assert dataset.get_details(6) == (2, True, 2)


def test_items_and_cache_are_copies(tmp_path):
    path = write_files(tmp_path / 'data', small_files(labels=range(10)))
    dataset = ImageFolderDataset(path, use_labels=True, xflip=True, cache=True)
    image, label = dataset[4]
    image[...] = 0
    label[...] = 5
    (path / '00000/img00000004.png').write_bytes(b'gone')  # from now on only the cache has it
    np.testing.assert_array_equal(dataset[4][0], random_pixels(4).transpose(2, 0, 1))
    np.testing.assert_array_equal(dataset[14][0], random_pixels(4).transpose(2, 0, 1)[:, :, ::-1])
    assert dataset[4][1].tolist() == np.eye(10)[4].tolist()
    with pytest.raises(DatasetError, match='img00000004.png'):
        ImageFolderDataset(path)[4]


# ------------------------------------------------------------------------------------------------
# Labels.


def test_label_dim_counts_images_outside_the_subset(tmp_path):
    path = write_files(tmp_path / 'data.zip', small_files(labels=[7, 0, 1, 2, 0, 1, 2, 3, 0, 1]))
    dataset = ImageFolderDataset(path, use_labels=True, max_size=5)  # item 0 with label 7 is left out
    assert dataset.label_dim == 8 and dataset[0][1].shape == (8,)


def test_vector_labels_are_returned_as_they_are(tmp_path):
    labels = [[k / 4, -1, 2] for k in range(10)]
    dataset = ImageFolderDataset(
        write_files(tmp_path / 'data.zip', small_files(labels=labels)), use_labels=True
    )
    assert dataset.label_dim == 3 and not dataset.has_onehot_labels
    assert dataset[3][1].tolist() == [0.75, -1, 2] and dataset[3][1].dtype == np.float32


def test_labels_onehot_of_many_indices(tmp_path):
    path = write_files(tmp_path / 'data.zip', small_files(labels=range(10)))
    dataset = ImageFolderDataset(path, use_labels=True, xflip=True)
    assert dataset.labels_onehot([2, 13]).tolist() == np.eye(10)[[2, 3]].tolist()
    assert ImageFolderDataset(path).labels_onehot(np.arange(4)).shape == (4, 0)


@pytest.mark.parametrize('content', [None, b'{"labels": null}'])
def test_no_labels_in_the_archive(tmp_path, content):
    files = small_files(3)
    if content:
        files['dataset.json'] = content
    dataset = ImageFolderDataset(write_files(tmp_path / 'data.zip', files), use_labels=True)
    assert dataset.label_dim == 0 and not dataset.has_labels and dataset[0][1].shape == (0,)


def test_labels_are_ignored_unless_asked_for(tmp_path):
    dataset = ImageFolderDataset(write_files(tmp_path / 'data.zip', small_files(labels=range(10))))
    assert dataset.label_dim == 0 and dataset.get_details(0) == (0, False, None)


def test_backslashes_in_label_names(tmp_path):
    files = {'a/x.png': encode(random_pixels(0)), 'dataset.json': b'{"labels": [["a\\\\x.png", 2]]}'}
    assert ImageFolderDataset(write_files(tmp_path / 'data.zip', files), use_labels=True).label_dim == 3


@pytest.mark.parametrize(
    'content, words',
    [
        (
            b'{"labels": [["00000/img00000000.png", 1]]}',
            'no label for 2 of 3 images, the first are 00000/img00000001.png',
        ),
        (b'{"labels": [', 'not JSON'),
        (b'\xff\xfe', 'not JSON'),
        (b'[]', 'no "labels" entry'),
        (b'{}', 'no "labels" entry'),
        (b'{"labels": {"a.png": 1}}', 'is a dict'),
        (b'{"labels": [["a.png", 1], "b.png"]}', 'entry 1 is b.png'),
        *[
            (
                json.dumps(
                    {'labels': [[f'00000/img{k:08d}.png', label] for k, label in enumerate(labels)]}
                ).encode(),
                words,
            )
            for labels, words in [
                ([0, -1, 2], 'from -1 to 2'),
                ([0, 1, 1 << 70], '0..999999'),
                (['cat', 'cat', 'dog'], "label of 00000/img00000000.png is 'cat'"),
                ([[1], [2], [1, 2]], 'one length'),
                *[
                    (odd, 'must give every image a class number')
                    for odd in [
                        [0, 1, None],
                        [0, 1, True],
                        [0, 1, [1]],
                        [0.5, 1, 2],
                        [[], [], []],
                        [[[1]], [[2]], [[3, 4]]],
                        [['1'], ['2'], ['3']],
                        [[0.5], [float('nan')], [1]],
                        [[1], [2], [10**400]],
                    ]
                ],
            ]
        ],
    ],
)
def test_bad_label_files(tmp_path, content, words):
    path = write_files(tmp_path / 'data.zip', {**small_files(3), 'dataset.json': content})
    with pytest.raises(DatasetError) as caught:
        ImageFolderDataset(path, use_labels=True)
    assert (
        words in str(caught.value) and f'path={path}' in str(caught.value) and '\n' not in str(caught.value)
    )


# ------------------------------------------------------------------------------------------------
# Errors.


def mode_file(mode, kind='png'):
    buffer = io.BytesIO()
    PIL.Image.new(mode, (8, 8)).save(buffer, format=kind)
    return buffer.getvalue()


@pytest.mark.parametrize(
    'data, words',
    [
        (mode_file('P'), 'mode P (8x8)'),
        (mode_file('1'), 'mode 1 (8x8)'),
        (mode_file('LA'), 'mode LA (8x8)'),
        (mode_file('RGBA'), 'mode RGBA (8x8)'),
        (mode_file('CMYK', 'tiff'), 'mode CMYK (8x8)'),
        (mode_file('I;16'), '16 or more bits'),
        (mode_file('F', 'tiff'), '16 or more bits'),
        (png_16bit_rgb(), '16 or more bits'),
        (encode(random_pixels(0, (8, 4, 3))), 'is 4x8 pixels with 3 channels, but the first image'),
        (encode(random_pixels(0, (8, 8))), '1 channel,'),
        (b'this is text', 'no known format'),
        (b'', 'no known format'),
        (mode_file('RGB', 'eps'), 'another program'),
        (encode(random_pixels(0, (64, 64, 3)))[:2000], 'not a readable image'),
    ],
)
@pytest.mark.parametrize('target', ['data.zip', 'data'])
def test_bad_image_is_named(tmp_path, target, data, words):
    files = small_files(3)
    files['00000/img00000001.png'] = data
    path = write_files(tmp_path / target, files)
    with pytest.raises(DatasetError) as caught:
        ImageFolderDataset(path)[1]
    message = str(caught.value)
    assert (
        words in message
        and '00000/img00000001.png' in message
        and f'path={path}' in message
        and '\n' not in message
    )


def test_bad_paths(tmp_path):
    (tmp_path / 'text.zip').write_text('not a zip')
    (tmp_path / 'data.tar').write_text('')
    (tmp_path / 'empty').mkdir()
    write_files(tmp_path / 'none.zip', {'readme.txt': b''})
    for name, words in [
        ('gone.zip', 'does not exist'),
        ('text.zip', 'not a readable zip'),
        ('data.tar', 'folder or a .zip'),
        ('empty', 'no images'),
        ('none.zip', 'no images'),
    ]:
        with pytest.raises(DatasetError, match=words) as caught:
            ImageFolderDataset(tmp_path / name)
        assert f'path={tmp_path / name}' in str(caught.value)


def test_damaged_zip_entry(tmp_path):
    path = write_files(tmp_path / 'data.zip', small_files(2))
    data = bytearray(path.read_bytes())
    data[data.index(b'IDAT') + 20] ^= 255  # the checksum of the first entry no longer holds
    path.write_bytes(data)
    with pytest.raises(DatasetError, match='img00000000.png .*cannot be read'):
        ImageFolderDataset(path)


def test_bad_arguments(tmp_path):
    path = write_files(tmp_path / 'data.zip', small_files(2))
    with pytest.raises(DatasetError, match='8x8 pixels with 3 channels, but resolution 16 is asked for'):
        ImageFolderDataset(path, resolution=16)
    with pytest.raises(DatasetError, match='max_size=0 must be at least 1'):
        ImageFolderDataset(path, max_size=0)
    wide = write_files(tmp_path / 'wide.zip', {'a.png': encode(random_pixels(0, (4, 8)))})
    with pytest.raises(DatasetError, match='must be square'):
        _ = ImageFolderDataset(wide).resolution
    with pytest.raises(IndexError):
        _ = ImageFolderDataset(path)[2]


# ------------------------------------------------------------------------------------------------
# Processes.


def test_pickle_drops_the_handle_and_keeps_the_cache(tmp_path):
    path = write_files(tmp_path / 'data.zip', small_files(4, labels=range(4)))
    dataset = ImageFolderDataset(path, use_labels=True, cache=True)
    image, label = dataset[2]
    copy = pickle.loads(pickle.dumps(dataset))
    path.unlink()
    np.testing.assert_array_equal(copy[2][0], image)
    assert copy[2][1].tolist() == label.tolist()
    with pytest.raises(DatasetError, match='not a readable zip'):
        _ = copy[3]


@pytest.mark.parametrize('start', ['spawn', 'fork'])
def test_worker_processes_read_the_same_items(tmp_path, start):
    dataset = ImageFolderDataset(
        write_files(tmp_path / 'data.zip', small_files(12, labels=range(12))), use_labels=True
    )
    _ = dataset[0]  # the parent has an open handle, which a forked worker must not use
    loader = torch.utils.data.DataLoader(
        dataset, sampler=InfiniteSampler(dataset), batch_size=3, num_workers=2, multiprocessing_context=start
    )
    expected = itertools.islice(InfiniteSampler(dataset), 12)
    batches = list(itertools.islice(loader, 4))
    for image, label, idx in zip(
        torch.cat([b[0] for b in batches]), torch.cat([b[1] for b in batches]), expected
    ):
        np.testing.assert_array_equal(image, dataset[idx][0])
        assert label.argmax() == idx


# ------------------------------------------------------------------------------------------------
# Real archives.


def test_cifar10_jpeg_archive(shared_dir):
    dataset = ImageFolderDataset(
        shared_dir / 'data' / 'cifar10-32x32-jpeg.zip', resolution=32, use_labels=True
    )
    assert (len(dataset), dataset.image_shape, dataset.label_dim) == (50000, [3, 32, 32], 10)
    assert dataset.labels_onehot(np.arange(50000)).sum(axis=0).tolist() == [5000] * 10
    image, label = dataset[12345]
    assert image.std() > 5 and label.sum() == 1


def test_committed_mnist_subset_holds_the_original_pixels():
    path = ROOT / 'datasets' / 'mnist-32x32.zip'
    assert path.stat().st_size < 6 << 20
    dataset = ImageFolderDataset(path, resolution=32, use_labels=True)
    images = np.stack([image for image, _label in dataset])  # [N, 1, 32, 32]
    digits = images[:, 0, 2:30, 2:30]  # [N, 28, 28]
    assert hashlib.sha256(digits.tobytes()).hexdigest() == MNIST_SUBSET_SHA256
    assert digits.sum(dtype=int) == images.sum(dtype=int)  # the padding is black
    counts = dataset.labels_onehot(np.arange(10000)).sum(axis=0).tolist()
    assert counts == [1001, 1127, 991, 1032, 980, 863, 1014, 1070, 944, 978]
    assert [dataset.get_details(i)[2] for i in range(10)] == [5, 0, 4, 1, 9, 2, 1, 3, 1, 4]


# ------------------------------------------------------------------------------------------------
# Sampler.


def head(count, *args, **kwargs):
    return list(itertools.islice(InfiniteSampler(*args, **kwargs), count))


def slow_sampler(n, rank, replicas, seed, window_size, count, exchange_first=False):
    """Independent reference: one legacy draw and one exchange per position; `exchange_first` is wrong."""
    rng = np.random.RandomState(seed)
    order = rng.permutation(n)
    window = round(n * window_size)
    output = []
    for position in range(count):
        i = position % n
        j = (i - rng.randint(window)) % n if window > 1 else i
        emitted = order[j] if exchange_first else order[i]
        order[[i, j]] = order[[j, i]]
        if position % replicas == rank:
            output.append(int(emitted))
    return output


ONE_REPLICA = [2, 8, 4, 9, 1, 6, 2, 3, 0, 9, 7, 8, 1, 5, 6, 4, 3, 8, 2, 1, 9, 6, 7, 5, 8]


def test_sampler_golden_sequences():
    assert head(25, range(10)) == ONE_REPLICA
    assert head(12, range(10), 0, 2) == [2, 4, 1, 2, 0, 7, 1, 6, 3, 2, 9, 7]
    assert head(12, range(10), 1, 2) == [8, 9, 6, 3, 9, 8, 5, 4, 8, 1, 6, 5]
    assert head(10, range(5), window_size=0) == [2, 0, 1, 3, 4] * 2
    assert head(5, range(2), shuffle=False) == [0, 1, 0, 1, 0]


@pytest.mark.parametrize(
    'n, replicas, window', [(1, 1, 0.5), (7, 3, 0.5), (5, 1, 0.5), (3, 2, 1), (40, 4, 0.03)]
)
def test_sampler_equals_slow_reference(n, replicas, window):
    for rank in range(replicas):
        expected = slow_sampler(n, rank, replicas, 11, window, 200)
        assert head(len(expected), range(n), rank, replicas, seed=11, window_size=window) == expected


def test_exchanging_before_emitting_is_rejected():
    assert slow_sampler(10, 0, 1, 0, 0.5, 25) == ONE_REPLICA
    assert slow_sampler(10, 0, 1, 0, 0.5, 25, exchange_first=True) != ONE_REPLICA


def test_ranks_interleave_to_the_single_process_sequence():
    ranks = [head(20, range(9), rank, 3, seed=5) for rank in range(3)]
    assert [idx for step in zip(*ranks) for idx in step] == head(60, range(9), seed=5)


@pytest.mark.parametrize('window', [0, 0.5, 1])
def test_resume_continues_exactly(window):
    whole = head(200, range(17), window_size=window)
    for start in (0, 1, 16, 17, 100, 131):
        assert head(200 - start, range(17), window_size=window, start_idx=start) == whole[start:]
    # Two processes continue what one process began.
    ranks = [head(30, range(17), rank, 2, window_size=window, start_idx=100) for rank in range(2)]
    assert [idx for step in zip(*ranks) for idx in step] == whole[100:160]
    assert head(3, range(17), shuffle=False, start_idx=20) == [3, 4, 5]


def test_resume_across_replay_chunks():
    whole = slow_sampler(1000, 0, 1, 3, 0.5, 140000)
    assert head(100, range(1000), seed=3, start_idx=139900) == whole[-100:]


def test_iterating_twice_gives_the_same_sequence():
    sampler = InfiniteSampler(range(10), start_idx=3)
    assert list(itertools.islice(sampler, 9)) == list(itertools.islice(sampler, 9))


@pytest.mark.parametrize(
    'kwargs, words',
    [
        (dict(dataset=[]), 'empty'),
        (dict(rank=2, num_replicas=2), 'rank=2'),
        (dict(rank=-1), 'rank=-1'),
        (dict(num_replicas=0), 'num_replicas=0'),
        (dict(window_size=1.5), 'window_size=1.5'),
        (dict(start_idx=-1), 'start_idx=-1'),
    ],
)
def test_sampler_rejects_bad_arguments(kwargs, words):
    with pytest.raises(ValueError, match=words):
        InfiniteSampler(**{'dataset': range(4), **kwargs})
