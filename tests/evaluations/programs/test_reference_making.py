# Copyright 2026 The GDD-1S authors.
# SPDX-License-Identifier: Apache-2.0
"""References with held-out images: which images are where, their distance, refusals."""

import numpy as np
import pytest

from dnnlib.errors import ArgumentError
from evaluations.detectors.registry import get_detector
from evaluations.inputs.image_sources import choose_subset, open_images
from evaluations.inputs.reference import load_reference, save_reference
from evaluations.metrics.frechet import frechet_distance
from evaluations.programs.reference_making import make_reference, open_heldout
from tests.evaluations.reviewing.test_neighbours import write_zip


@pytest.fixture(scope='module')
def files(tmp_path_factory):
    folder = tmp_path_factory.mktemp('making')
    values = np.random.RandomState(0).randint(0, 256, 21)
    return write_zip(folder / 'a.zip', values), write_zip(folder / 'b.zip', values[:9] // 2)


def test_split(files, tmp_path):
    detector = get_detector('random-conv')
    made = make_reference(files[0], detector, features=4, seed=3, split=True, batch=5)
    source, _ = open_images(files[0])
    [(images, _)] = source.batches([np.arange(21)])
    features = detector.features(images).double().numpy()
    train = choose_subset(21, 10, 3)  # as ImageFolderDataset chooses with max_size=10 and random_seed=3
    held = np.setdiff1d(np.arange(21), train)[:10]
    assert np.allclose(made.mu, features[train].mean(axis=0), atol=1e-5) and made.num_images == 10
    assert made.heldout_num_images == 10 and made.heldout == 'the other half of a, seed 3'
    expected = frechet_distance(
        features[held].mean(axis=0), np.cov(features[held], rowvar=False), made.mu, made.sigma
    )
    assert made.heldout_distance == pytest.approx(expected, rel=1e-3)
    assert set(made.features_rows) <= set(train)
    assert np.allclose(made.features, features[made.features_rows], atol=1e-5)
    save_reference(tmp_path / 'r.npz', made)
    read = load_reference(tmp_path / 'r.npz')
    assert read.heldout == made.heldout and read.heldout_distance == made.heldout_distance
    assert np.array_equal(read.heldout_features, made.heldout_features)
    assert np.array_equal(read.features_rows, made.features_rows)


def test_held_out_images_of_another_file(files):
    made = make_reference(files[0], get_detector('random-conv'), features=0, seed=0, heldout=files[1])
    assert (made.num_images, made.heldout_num_images, made.heldout) == (21, 9, 'b')
    assert made.heldout_features is None and made.heldout_distance > 0
    plain = make_reference(files[0], get_detector('random-conv'), features=0, seed=0)
    assert np.array_equal(plain.mu, made.mu) and plain.heldout is None


def test_refusals(files, tmp_path):
    source, _ = open_images(files[0])
    with pytest.raises(ArgumentError, match='both hold images out'):
        open_heldout(source, files[1], True, 0)
    with pytest.raises(ArgumentError, match='heldout='):
        open_heldout(source, str(tmp_path / 'none.zip'), False, 0)
    few, _ = open_images(write_zip(tmp_path / 'few.zip', [1, 2, 3]))
    with pytest.raises(ArgumentError, match='give at least 4 images'):
        open_heldout(few, None, True, 0)
