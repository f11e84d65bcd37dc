# Copyright 2026 The GDD-1S authors.
# SPDX-License-Identifier: Apache-2.0
"""FDr-k: values by hand, the published example as a warning, held-out images give 1, refusals."""

import numpy as np
import pytest

from dnnlib.errors import ArgumentError
from evaluations.inputs.reference import Reference
from evaluations.metrics.frechet import frechet_distance
from evaluations.reviewing.ratio import check_encoders, check_heldout, heldout_distance, mean_ratio

RS = np.random.RandomState


def moments(x):
    return x.mean(axis=0), np.cov(x, rowvar=False)


def reference(features=300, count=400):
    train, held = RS(0).randn(500, 4), RS(1).randn(count, 4)
    return Reference(
        *moments(train),
        heldout_num_images=count,
        heldout_distance=frechet_distance(*moments(held), *moments(train)),
        heldout_features=held[:features].astype(np.float32),
        path='a.npz',
    )


def test_mean_by_hand():
    raw = [0.77, 32.34, 24.69, 0.02, 1.49, 32.32]
    rounded = [1.68, 56.87, 14.19, 0.04, 0.60, 5.60]
    assert mean_ratio(raw, rounded) == pytest.approx(1.9202863887)
    # The paper prints 1.89 for this row: its normalisers are not rounded. So ours are stored in full.
    assert mean_ratio(raw, rounded) != pytest.approx(1.89, abs=0.01)
    # Rejected: a ratio of means lets the encoder with the largest numbers decide.
    assert sum(raw) / sum(rounded) != pytest.approx(mean_ratio(raw, rounded), abs=0.5)


def test_held_out_images_give_1_within_sampling_error():
    ref = reference()
    assert heldout_distance(ref, 400) == ref.heldout_distance
    fresh = [RS(seed).randn(200, 4) for seed in range(2, 12)]
    values = [frechet_distance(*moments(x), ref.mu, ref.sigma) for x in fresh]
    ratios = [mean_ratio([value], [heldout_distance(ref, 200)]) for value in values]
    assert np.mean(ratios) == pytest.approx(1, abs=0.4)
    # Rejected: 200 images against the distance of 400, which is smaller by its smaller bias.
    assert heldout_distance(ref, 200) > heldout_distance(ref, 400)


def test_too_few_held_out_images_are_refused_with_the_command():
    check_heldout(reference(), 300)
    check_heldout(reference(), 400)
    with pytest.raises(ArgumentError, match='fid.py ref split features=350'):
        check_heldout(reference(), 350)
    with pytest.raises(ArgumentError, match='features of 0 held-out images'):
        check_heldout(Reference(np.zeros(4), np.eye(4), heldout_num_images=400, heldout_distance=1.0), 300)


def test_one_encoder_counts_once():
    check_encoders([reference(), reference()], ['inception', 'random-conv'])
    with pytest.raises(ArgumentError, match='second reference with detector inception'):
        check_encoders([reference(), reference()], ['inception', 'inception'])


def test_copies_of_the_training_images_are_no_yardstick():
    same = Reference(np.zeros(4), np.eye(4), heldout_num_images=400, heldout_distance=0.0)
    with pytest.raises(ArgumentError, match='they are the training images'):
        check_heldout(same, 400)
    with pytest.raises(ValueError, match='they must differ from the training images'):
        mean_ratio([1.0], [0.0])
