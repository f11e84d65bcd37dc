# Copyright 2026 The GDD-1S authors.
# SPDX-License-Identifier: Apache-2.0
"""Names, labels and the image pack of generated images."""

import json
import tracemalloc

import numpy as np
import pytest

from training.image_output import ImagePack, png_name, read_labels, write_labels


def test_names_are_the_official_ones():
    assert png_name(7, False) == '000007.png' and png_name(1234567, False) == '1234567.png'
    assert png_name(7, True) == '000000/000007.png' and png_name(12999, True) == '012000/012999.png'


def test_pack_equals_numpys_savez(tmp_path):
    images = np.random.RandomState(0).randint(256, size=[7, 4, 4, 3]).astype(np.uint8)
    labels = np.arange(7)
    with ImagePack(str(tmp_path / 'pack.npz'), images.shape) as pack:
        pack.append(images[:3])
        assert [p.name for p in tmp_path.iterdir() if not p.name.startswith('.')] == []   # Not visible before it is complete.
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
    assert peak < 4 * batch.nbytes      # All images together are 100 batches.


def test_labels_of_several_calls_are_kept_together(tmp_path):
    write_labels(tmp_path, ['b.png', 'a.png'], np.array([1, 0]))
    write_labels(tmp_path, ['c.png', 'b.png'], np.array([2, 3]))
    assert json.loads((tmp_path / 'dataset.json').read_text()) == {'labels': [['a.png', 0], ['b.png', 3], ['c.png', 2]]}
    write_labels(tmp_path, ['b.png'], None)      # Overwritten by an unconditional network: its label is gone.
    assert read_labels(tmp_path) == {'a.png': 0, 'c.png': 2}


def test_no_label_file_without_labels(tmp_path):
    write_labels(tmp_path, ['a.png'], None)
    assert list(tmp_path.iterdir()) == []
    (tmp_path / 'dataset.json').write_text('{"labels": 3}')
    with pytest.raises(ValueError, match='--outdir'):
        read_labels(tmp_path)
