# Copyright 2026 The GDD-1S authors.
# SPDX-License-Identifier: Apache-2.0
"""Names, labels and the image pack of generated images."""

import json
import tracemalloc

import numpy as np
import pytest

from training.images.output import (
    IDENTITY,
    ImagePack,
    claim_folder,
    generated_files,
    png_name,
    read_images,
    read_labels,
    read_record,
    write_labels,
)
from training.images.png import save_png


def test_names_are_the_official_ones():
    assert png_name(7, False) == '000007.png' and png_name(1234567, False) == '1234567.png'
    assert png_name(7, True) == '000000/000007.png' and png_name(12999, True) == '012000/012999.png'


def test_pack_equals_numpys_savez(tmp_path):
    images = np.random.RandomState(0).randint(256, size=[7, 4, 4, 3]).astype(np.uint8)
    labels = np.arange(7)
    with ImagePack(str(tmp_path / 'pack.npz'), images.shape) as pack:
        pack.append(images[:3])
        assert [
            p.name for p in tmp_path.iterdir() if not p.name.startswith('.')
        ] == []  # Not visible before it is complete.
        pack.append(images[3:])
        pack.finish(labels)
    np.savez(tmp_path / 'numpy.npz', images, labels)
    ours, numpys = np.load(tmp_path / 'pack.npz'), np.load(tmp_path / 'numpy.npz')
    assert ours.files == numpys.files == ['arr_0', 'arr_1']
    for name in ours.files:
        assert ours[name].dtype == numpys[name].dtype and np.array_equal(ours[name], numpys[name])
    with ImagePack(str(tmp_path / 'free.npz'), images.shape) as pack:
        pack.append(images)
        pack.finish()
    assert np.load(tmp_path / 'free.npz').files == ['arr_0']


def test_unfinished_pack_leaves_nothing(tmp_path):
    with pytest.raises(ValueError, match='1 images were added, but 2 announced'):
        with ImagePack(str(tmp_path / 'pack.npz'), [2, 4, 4, 3]) as pack:
            pack.append(np.zeros([1, 4, 4, 3], np.uint8))
            pack.finish()
    with pytest.raises(KeyboardInterrupt):
        with ImagePack(str(tmp_path / 'pack.npz'), [2, 4, 4, 3]) as pack:
            raise KeyboardInterrupt
    assert list(tmp_path.iterdir()) == []


def test_memory_does_not_grow_with_the_pack(tmp_path):
    batch = np.zeros([64, 32, 32, 3], np.uint8)
    with ImagePack(str(tmp_path / 'pack.npz'), [64 * 100, 32, 32, 3]) as pack:
        pack.append(batch)
        tracemalloc.start()
        for _ in range(99):
            pack.append(batch)
        peak = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
        pack.finish()
    assert peak < 4 * batch.nbytes  # All images together are 100 batches.


def test_labels_of_several_calls_are_kept_together(tmp_path):
    write_labels(tmp_path, ['b.png', 'a.png'], np.array([1, 0]))
    write_labels(tmp_path, ['c.png', 'b.png'], np.array([2, 3]))
    assert json.loads((tmp_path / 'dataset.json').read_text()) == {
        'labels': [['a.png', 0], ['b.png', 3], ['c.png', 2]]
    }
    write_labels(tmp_path, ['b.png'], None)  # Overwritten by an unconditional network: its label is gone.
    assert read_labels(tmp_path) == {'a.png': 0, 'c.png': 2}


def test_no_label_file_without_labels(tmp_path):
    write_labels(tmp_path, ['a.png'], None)
    assert list(tmp_path.iterdir()) == []
    (tmp_path / 'dataset.json').write_text('{"labels": 3}')
    with pytest.raises(ValueError, match='outdir='):
        read_labels(tmp_path)


def record(**changes):
    return dict(dict.fromkeys(IDENTITY, 'x'), network='a.pkl', seeds='0-3') | changes


def test_only_files_named_like_ours_are_found(tmp_path):
    for folder in ('000000', 'photos', '12'):
        (tmp_path / folder).mkdir()
    ours = {'000001.png', '1234567.png', '000000/000002.png', 'image_pack.npz'}
    others = {
        'a.png',
        '12.png',
        'photos/000001.png',
        '12/000001.png',
        '000000/notes.txt',
        'generation.json',
        '000001.jpg',
    }
    for name in ours | others:
        (tmp_path / name).write_text('')
    assert generated_files(tmp_path) == sorted(ours)


def test_folder_is_claimed_by_its_record(tmp_path):
    folder = tmp_path / 'new' / 'folder'
    claim_folder(folder, record())
    assert read_record(folder) == record()
    claim_folder(folder, dict(record(), sha256='y'))  # No images yet: there is nothing to protect.
    save_png(str(folder / '000001.png'), np.zeros([2, 2, 1], np.uint8))
    for key in IDENTITY:
        with pytest.raises(ValueError, match=f'another {"network" if key == "sha256" else key}') as caught:
            claim_folder(folder, dict(record(sha256='y'), **{key: 'z'}) if key != 'sha256' else record())
        assert '\n' not in str(caught.value) and read_record(folder)['sha256'] == 'y'
    for seeds, total in (('4', '0-3,4'), ('0-3', '0-3,4'), ('5,6', '0-3,4,5,6')):
        claim_folder(folder, dict(record(sha256='y'), seeds=seeds))
        assert read_record(folder)['seeds'] == total
    (folder / 'generation.json').write_text('[1]')
    with pytest.raises(ValueError, match='1 files such as 000001.png of unknown origin'):
        claim_folder(folder, record())


def test_overwriting_removes_our_files_and_no_others(tmp_path):
    claim_folder(tmp_path, record())
    (tmp_path / '000000').mkdir()
    (tmp_path / '001000').mkdir()
    for name in (
        '000007.png',
        '000000/000001.png',
        '001000/001001.png',
        'image_pack.npz',
        'mine.png',
        '001000/mine.txt',
    ):
        (tmp_path / name).write_text('')
    write_labels(tmp_path, ['000007.png', '000000/000001.png', 'mine.png'], [1, 2, 3])
    claim_folder(tmp_path, record(), overwrite=True)
    left = sorted(path.relative_to(tmp_path).as_posix() for path in tmp_path.rglob('*'))
    assert left == ['001000', '001000/mine.txt', 'dataset.json', 'generation.json', 'mine.png']
    assert read_labels(tmp_path) == {'mine.png': 3}
    (tmp_path / '000007.png').write_text('')
    write_labels(tmp_path, ['000007.png'], [1])
    write_labels(tmp_path, ['mine.png'], None)
    claim_folder(tmp_path, record(), overwrite=True)
    assert not (tmp_path / 'dataset.json').exists()  # No labels are left.


@pytest.mark.parametrize('channels', [1, 3])
def test_finished_images_are_read_back_and_others_are_not(tmp_path, channels):
    images = np.random.RandomState(0).randint(256, size=[2, 4, 4, channels]).astype(np.uint8)
    for name, image in zip('ab', images):
        save_png(str(tmp_path / f'{name}.png'), image)
    shape = [4, 4, channels]
    assert np.array_equal(read_images(tmp_path, ['a.png', 'b.png'], shape), images)
    assert read_images(tmp_path, ['a.png', 'c.png'], shape) is None  # missing
    assert read_images(tmp_path, ['a.png'], [2, 8, channels]) is None  # as many values, another shape
    assert read_images(tmp_path, ['a.png'], [4, 4, 4 - channels]) is None
    (tmp_path / 'b.png').write_bytes((tmp_path / 'b.png').read_bytes()[:50])
    assert read_images(tmp_path, ['a.png', 'b.png'], shape) is None  # cut off
