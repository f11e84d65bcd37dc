# Copyright 2026 The GDD-1S authors.
# SPDX-License-Identifier: Apache-2.0
"""The picture of nearest training images: which images are where, and what is refused."""

import zipfile

import numpy as np
import PIL.Image
import pytest
import torch

from dnnlib.errors import ArgumentError
from evaluations.inputs.image_sources import ChosenImages, hash_dataset, open_images
from evaluations.inputs.reference import Reference
from evaluations.reviewing.neighbours import open_training_images, save_neighbours


def write_zip(path, values):
    """Images of one grey each."""
    with zipfile.ZipFile(path, 'w') as archive:
        for i, value in enumerate(values):
            with archive.open(f'{i:03d}.png', 'w') as file:
                PIL.Image.fromarray(np.full([4, 4], value, np.uint8)).save(file, format='png')
    return str(path)


def reference(path, **fields):
    fields = dict(
        dict(dataset_sha256=hash_dataset(path), dataset='x', path='x.npz', features_seed=0), **fields
    )
    return Reference(np.zeros(1), np.eye(1), **fields)


def test_picture(tmp_path):
    samples, _ = open_images(write_zip(tmp_path / 'samples.zip', [9, 100, 203]))
    data = write_zip(tmp_path / 'train.zip', [200, 50, 101, 8])
    training = open_training_images(data, reference(data, features=np.zeros([4, 1], np.float32)))
    features = torch.tensor([[9.0], [100.0], [203.0]])
    picture = tmp_path / 'n.png'
    found = save_neighbours(
        str(picture), samples, features, training, torch.tensor([[200.0], [50.0], [101.0], [8.0]])
    )
    assert found == [1, 1, 3]
    pixels = np.asarray(PIL.Image.open(picture).convert('L'))[::4, ::4]
    assert pixels.tolist() == [[9, 8, 50, 101, 200], [100, 101, 50, 8, 200], [203, 200, 101, 50, 8]]


def test_rows_of_a_split_are_those_of_the_reference(tmp_path):
    data = write_zip(tmp_path / 'train.zip', [1, 2, 3, 4, 5, 6])
    ref = reference(data, features=np.zeros([2, 1], np.float32), features_rows=np.array([1, 4]))
    chosen = open_training_images(data, ref)
    assert isinstance(chosen, ChosenImages) and len(chosen) == 2
    [(images, _)] = chosen.batches([np.array([0, 1])])
    assert images[:, 0, 0, 0].tolist() == [2, 5]


def test_other_images_are_refused(tmp_path):
    data, other = write_zip(tmp_path / 'a.zip', [1, 2]), write_zip(tmp_path / 'b.zip', [1, 3])
    with pytest.raises(ArgumentError, match='is not what x.npz was made from'):
        open_training_images(other, reference(data, features=np.zeros([2, 1], np.float32)))
