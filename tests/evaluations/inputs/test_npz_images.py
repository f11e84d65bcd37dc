# Copyright 2026 The GDD-1S authors.
# SPDX-License-Identifier: Apache-2.0

"""Streaming reader of .npz image files: published vector, both compressions, bounded memory, damaged files."""

import io
import zipfile

import numpy as np
import pytest

from evaluations.inputs.npz_images import NpzImages

IMAGES = np.random.RandomState(11).randint(0, 256, size=(7, 4, 4, 3)).astype(np.uint8)


@pytest.fixture
def save(tmp_path):
    def write(name='pack.npz', savez=np.savez, **arrays):
        savez(tmp_path / name, **arrays)
        return tmp_path / name

    return write


@pytest.mark.parametrize('savez', [np.savez, np.savez_compressed])
def test_published_vector(save, savez):
    path = save(savez=savez, arr_0=IMAGES)
    with zipfile.ZipFile(path) as archive:
        assert archive.getinfo('arr_0.npy').file_size == 464
    pack = NpzImages(path)
    assert (len(pack), pack.shape, pack.dtype) == (7, (7, 4, 4, 3), np.uint8)
    batches = list(pack.batches(3))
    assert [int(batch.sum()) for batch in batches] == [18494, 20255, 5598]
    assert sum(int(batch.sum()) for batch in batches) == 44347
    assert (np.concatenate(batches) == IMAGES).all()
    assert batches[0].flags.writeable and batches[0].flags.c_contiguous


@pytest.mark.parametrize('size', [1, 7, 100])
def test_batches_and_repetition(save, size):
    pack = NpzImages(save(arr_0=IMAGES))
    for _ in range(2):
        assert (np.concatenate(list(pack.batches(size))) == IMAGES).all()


def test_fortran_order(save):
    pack = NpzImages(save(arr_0=np.asfortranarray(IMAGES)))
    assert [len(batch) for batch in pack.batches(3)] == [3, 3, 1]
    assert (np.concatenate(list(pack.batches(3))) == IMAGES).all()


def test_header_version_2(tmp_path):
    content = io.BytesIO()
    np.lib.format.write_array(content, IMAGES, version=(2, 0))
    with zipfile.ZipFile(tmp_path / 'v2.npz', 'w') as archive:
        archive.writestr('arr_0.npy', content.getvalue())
    assert (next(NpzImages(tmp_path / 'v2.npz').batches(7)) == IMAGES).all()


def test_only_what_is_asked_for_is_read(save, monkeypatch):
    # A stream that is read in the order of the batches never holds more than one of them.
    pack = NpzImages(save(savez=np.savez_compressed, arr_0=np.zeros([64, 32, 32, 3], dtype=np.uint8)))
    read = []
    readinto = zipfile.ZipExtFile.readinto
    monkeypatch.setattr(
        zipfile.ZipExtFile, 'readinto', lambda self, view: read.append(count := readinto(self, view)) or count
    )
    stream = pack.batches(4)
    next(stream)
    assert sum(read) == 4 * 32 * 32 * 3
    next(stream)
    assert sum(read) == 8 * 32 * 32 * 3


def test_labels(save):
    assert NpzImages(save(arr_0=IMAGES)).labels is None
    labels = NpzImages(save(arr_0=IMAGES, arr_1=np.arange(7, dtype=np.int32))).labels
    assert labels.dtype == np.int64 and labels.tolist() == list(range(7))
    for wrong in (np.arange(6), np.zeros([7, 10]), np.ones(7)):
        with pytest.raises(ValueError, match=r'array arr_1, is .* one class number per image, int \[7\]'):
            NpzImages(save(arr_0=IMAGES, arr_1=wrong)).labels


def test_statistics(save):
    pack = NpzImages(save(arr_0=IMAGES))
    assert pack.statistics() is None and pack.spatial_statistics() is None
    pack = NpzImages(
        save(mu=np.arange(3, dtype=np.float32), sigma=np.eye(3), mu_s=np.ones(2), sigma_s=np.eye(2) * 2)
    )
    assert not pack.has_images and len(pack) == 0
    assert pack.statistics().mu.dtype == np.float64 and pack.statistics().mu.tolist() == [0, 1, 2]
    assert pack.spatial_statistics().sigma.tolist() == [[2, 0], [0, 2]]


@pytest.mark.parametrize(
    'arrays, words',
    [
        (dict(mu=np.ones(3)), 'holds mu, but of mu and sigma both are needed'),
        (dict(mu=np.ones(3), sigma=np.eye(2)), r'holds mu \(3,\) and sigma \(2, 2\)'),
        (dict(mu=np.ones(3, dtype=int), sigma=np.eye(3)), 'must be floating-point'),
        (
            dict(mu=np.array([None, 1]), sigma=np.eye(2)),
            'array mu, cannot be read',
        ),  # pickled: never executed
    ],
)
def test_bad_statistics_are_named(save, arrays, words):
    with pytest.raises(ValueError, match=words):
        NpzImages(save(**arrays)).statistics()


@pytest.mark.parametrize(
    'arrays, words',
    [
        (dict(images=IMAGES), 'neither images, arr_0, nor statistics, mu'),
        (
            dict(arr_0=IMAGES.astype(np.float32)),
            r'is float32 of shape \(7, 4, 4, 3\); it must hold uint8 images',
        ),
        (dict(arr_0=IMAGES[0]), r'is uint8 of shape \(4, 4, 3\)'),
        (dict(arr_0=IMAGES.transpose(0, 3, 1, 2).copy()), 'channels come last'),
        (dict(arr_0=IMAGES[:0]), r'shape \(0, 4, 4, 3\)'),
        (dict(arr_0=np.array([None] * 4)), 'is object of shape'),
    ],
)
def test_bad_images_are_named(save, arrays, words):
    with pytest.raises(ValueError, match=words):
        NpzImages(save(**arrays))


def test_files_that_are_no_npz(tmp_path):
    with pytest.raises(ValueError, match='path=.*absent.npz cannot be read: No such file'):
        NpzImages(tmp_path / 'absent.npz')
    with pytest.raises(ValueError, match='cannot be read: Is a directory'):
        NpzImages(tmp_path)
    np.save(tmp_path / 'single.npy', IMAGES)
    with pytest.raises(ValueError, match='cannot be read: File is not a zip file; give an .npz file'):
        NpzImages(tmp_path / 'single.npy')


def test_truncated_member(tmp_path):
    content = io.BytesIO()
    np.save(content, IMAGES)
    for cut, words in ((-5, '5 bytes short of its 7 images'), (20, 'cannot be read: EOF')):
        with zipfile.ZipFile(tmp_path / 'cut.npz', 'w') as archive:
            archive.writestr('arr_0.npy', content.getvalue()[:cut])
        with pytest.raises(ValueError, match=words):
            NpzImages(tmp_path / 'cut.npz')


@pytest.mark.parametrize('savez', [np.savez, np.savez_compressed])
def test_damage_never_passes_and_never_gives_another_error(save, savez):
    path = save(savez=savez, arr_0=IMAGES, arr_1=np.arange(7))
    good, passed = path.read_bytes(), 0
    for position in range(0, len(good), 7):
        path.write_bytes(good[:position] + bytes([good[position] ^ 0x55]) + good[position + 1 :])
        try:
            pack = NpzImages(path)
            assert (np.concatenate(list(pack.batches(3))) == IMAGES).all()
            passed += 1  # damage outside of the images, such as dates
            assert pack.labels is None or pack.labels.shape == (7,)
        except ValueError as err:
            assert str(path) in str(err) and '\n' not in str(err)
    assert passed < len(good) / 7 / 2
    for length in range(0, len(good), 90):
        path.write_bytes(good[:length])
        with pytest.raises(ValueError):
            list(NpzImages(path).batches(3))
