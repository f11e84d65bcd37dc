# Copyright 2026 The GDD-1S authors.
# SPDX-License-Identifier: Apache-2.0

"""Inception Score: published vectors, streaming, wrong versions, and the warning about sorted files."""

import numpy as np
import pytest
import torch

from evaluations.metrics.inception_score import InceptionScore, inception_score, seems_sorted

RS = np.random.RandomState


@pytest.fixture(scope='module')
def logits():
    return RS(6).randn(100, 10) * 2


def slow_score(logits):
    """Score of one group by the definition."""
    p = np.exp(logits) / np.exp(logits).sum(axis=1, keepdims=True)
    return np.exp(np.mean([np.sum(row * (np.log(row) - np.log(p.mean(axis=0)))) for row in p]))


def test_groups_in_file_order(logits):
    score = inception_score(logits, split_size=30)
    assert score.groups == pytest.approx(
        [2.293313431159, 2.313073654137, 2.421759746210, 2.477696027187], rel=1e-9
    )
    assert score.mean == pytest.approx(2.376460714673, rel=1e-9)
    # A group of 10 counts as much as one of 30: weighting by size is another number.
    assert np.average(score.groups, weights=[30, 30, 30, 10]) != pytest.approx(score.mean, rel=1e-3)


def test_groups_have_5000_images():
    logits = torch.randn([5003, 4], generator=torch.Generator().manual_seed(0))
    first, rest = (inception_score(part).mean for part in (logits[:5000], logits[5000:]))
    assert (
        inception_score(logits).groups == pytest.approx([first, rest], rel=1e-12) and abs(first - rest) > 1e-3
    )


def test_one_group(logits):
    score = inception_score(logits)
    assert score.mean == pytest.approx(2.427875855971, rel=1e-9)
    assert score.mean == pytest.approx(slow_score(logits), rel=1e-12)


def test_ten_groups_of_other_tools(logits):
    consecutive = inception_score(logits, split_size=10)
    assert consecutive.mean == pytest.approx(2.176003897147, rel=1e-9)
    assert np.std(consecutive.groups) == pytest.approx(0.220589347500, rel=1e-9)
    shuffled = inception_score(logits[RS(2020).permutation(100)], split_size=10)
    assert shuffled.mean == pytest.approx(2.151275552284, rel=1e-9)
    assert np.std(shuffled.groups) == pytest.approx(0.272291730828, rel=1e-9)


def test_bounds():
    assert inception_score(np.zeros([20, 10])).mean == pytest.approx(1, rel=1e-12)
    onehot = np.where(np.arange(40)[:, np.newaxis] % 8 == np.arange(8), 0.0, -np.inf)
    assert inception_score(onehot).mean == pytest.approx(8, rel=1e-12)
    underflow = torch.tensor(
        [[0.0, -200], [-200, 0]]
    )  # float32 probabilities are 0: OpenAI's program gives NaN
    assert inception_score(underflow).mean == pytest.approx(2, rel=1e-12)
    p = underflow.softmax(dim=1)
    assert (p * p.log()).isnan().any()


@pytest.mark.parametrize('batch', [1, 7, 30, 100])
def test_batches_do_not_matter(logits, batch):
    score = InceptionScore(split_size=30)
    for part in torch.from_numpy(logits).split(batch):
        score.append(part)
        score.append(part[:0])
    result = score.result()
    assert result.groups == pytest.approx(inception_score(logits, split_size=30).groups, rel=1e-12)
    assert score.result() == result  # asking twice changes nothing


def test_bias_would_change_the_score(logits):
    # OpenAI's program leaves the bias of the last layer out; adding one must be visible.
    assert abs(inception_score(logits + np.linspace(-1, 1, 10)).mean - inception_score(logits).mean) > 1e-2


@pytest.mark.parametrize(
    'logits, split_size, words',
    [
        (np.zeros([0, 10]), 5000, 'at least 1 image'),
        (np.zeros([10]), 5000, r'shape \(10,\)'),
        (np.full([4, 3], np.nan), 5000, 'not finite'),
        (np.full([4, 3], np.inf), 5000, 'not finite'),
        (np.zeros([4, 3]), 0, 'split_size=0'),
    ],
)
def test_bad_logits_are_named(logits, split_size, words):
    with pytest.raises(ValueError, match=words):
        inception_score(logits, split_size=split_size)


@pytest.mark.parametrize(
    'labels, expected',
    [
        (np.repeat(np.arange(10), 100), True),
        (np.repeat(np.arange(10)[::-1], 100), True),
        (np.tile(np.repeat(np.arange(10), 10), 10), True),  # class after class, in every hundred
        (np.tile(np.arange(10), 100), False),  # interleaved
        (RS(0).randint(10, size=1000), False),
        (RS(0).choice(3, size=1000, p=[0.9, 0.05, 0.05]), False),
        (np.zeros(1000), False),  # one class: nothing to sort
    ],
)
def test_seems_sorted(labels, expected):
    assert seems_sorted(labels, split_size=100) is expected
    assert not seems_sorted(labels, split_size=1000)  # a single group does not care


def test_sorting_by_class_lowers_the_score():
    classes = np.arange(400) % 8
    logits = np.eye(8)[classes] * 5
    assert (
        inception_score(logits[np.argsort(classes)], split_size=50).mean
        < 1.1
        < 4
        < inception_score(logits, split_size=50).mean
    )
