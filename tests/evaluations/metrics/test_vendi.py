# Copyright 2026 The GDD-1S authors.
# SPDX-License-Identifier: Apache-2.0

"""Vendi score: values by hand, the authors' program, duplicates, refusals."""

import math

import numpy as np
import pytest
import torch

from evaluations.metrics.vendi import vendi_score

X = np.array([[1.0, 0], [0, 1], [1, 1]])


@pytest.mark.parametrize('order, value', [(1, 1.8898815748), (2, 1.8), (0.5, 1.9428090416), (math.inf, 1.5)])
def test_by_hand(order, value):
    assert vendi_score(X, order) == pytest.approx(value, rel=1e-9)


def test_another_set_with_the_same_value_by_coincidence():
    assert vendi_score(np.array([[1.0, 0], [1, 0], [0, 1]])) == pytest.approx(1.8898815748, rel=1e-9)


def test_against_the_authors_program():
    vendi = pytest.importorskip('vendi_score.vendi')
    x = np.random.RandomState(0).randn(60, 12) + 0.5
    unit = x / np.linalg.norm(x, axis=1, keepdims=True)
    assert vendi_score(x) == pytest.approx(vendi.score_K(unit @ unit.T), rel=1e-9)
    assert vendi_score(x, 2) == pytest.approx(vendi.score_K(unit @ unit.T, q=2), rel=1e-9)
    # Rejected: similarities of features that were not scaled to unit length.
    assert abs(vendi_score(x) - vendi.score_K(x @ x.T / 12)) > 1


def test_convention():
    x = np.random.RandomState(0).randn(50, 8)
    assert vendi_score(np.eye(5)) == pytest.approx(5) and vendi_score(np.ones([7, 3])) == pytest.approx(1)
    assert vendi_score(np.concatenate([x, x])) == pytest.approx(vendi_score(x))
    # Duplicates in the place of other images lower it.
    assert vendi_score(np.concatenate([x[:5]] * 10)) < 0.8 * vendi_score(x)
    assert vendi_score(torch.from_numpy(x).float()) == pytest.approx(vendi_score(x), rel=1e-5)


def test_refusals():
    with pytest.raises(ValueError, match='row of zeros'):
        vendi_score(np.array([[1.0, 0], [0, 0]]))
    with pytest.raises(ValueError, match='order=0'):
        vendi_score(X, 0)
