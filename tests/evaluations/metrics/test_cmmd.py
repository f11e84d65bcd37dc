# Copyright 2026 The GDD-1S authors.
# SPDX-License-Identifier: Apache-2.0

"""CMMD: values by hand, a slow reference, wrong versions, conventions."""

import math

import numpy as np
import pytest

from evaluations.metrics.cmmd import cmmd

X, Y = np.array([[1.0, 0], [0, 1]]), np.array([[1.0, 0], [0.6, 0.8]])
RS = np.random.RandomState


def slow(x, y, sigma=10.0):
    """The definition, pair by pair."""

    def mean(a, b):
        return sum(math.exp(-sum((u - v) ** 2) / (2 * sigma**2)) for u in a for v in b) / (len(a) * len(b))

    return 1000 * (mean(x, x) + mean(y, y) - 2 * mean(x, y))


def test_by_hand():
    assert cmmd(X, Y) == pytest.approx(0.999000666333, rel=1e-10)
    assert cmmd(X, Y, sigma=1) == pytest.approx(90.6346234610, rel=1e-10)
    assert cmmd(np.array([[3.0, 0], [0, 2]]), Y, normalise=False) == pytest.approx(9.0099532671, rel=1e-10)
    assert cmmd(np.array([[3.0, 0], [0, 2]]), Y) == pytest.approx(0.999000666333, rel=1e-10)


def test_against_the_definition_and_wrong_versions():
    x, y = RS(0).randn(30, 6) + 1, RS(1).randn(20, 6)
    unit = [part / np.linalg.norm(part, axis=1, keepdims=True) for part in (x, y)]
    value = cmmd(x, y)
    assert value == pytest.approx(slow(*unit), rel=1e-9)
    assert abs(value - slow(x, y)) > 1  # not scaled to unit length
    assert abs(value - 10 * np.square(unit[0].mean(0) - unit[1].mean(0)).sum()) < 0.02 * value


def test_blocks(monkeypatch):
    x, y = RS(0).randn(50, 6), RS(1).randn(40, 6)
    whole = cmmd(x, y)
    monkeypatch.setattr('evaluations.metrics.cmmd._ROWS', 7)
    assert cmmd(x, y) == pytest.approx(whole, rel=1e-10)


def test_convention():
    x = RS(0).randn(400, 8)
    assert abs(cmmd(x, x)) < 1e-12
    near, far = (cmmd(x[:200] + shift, x[200:]) for shift in (0, 0.5))
    assert 0 < near < far
    # float32 features of a set against itself: the ones cancel exactly.
    assert abs(cmmd(x.astype(np.float32), x.astype(np.float32))) < 1e-9


def test_refusals():
    with pytest.raises(ValueError, match='vector of zeros'):
        cmmd(np.zeros([3, 2]), Y)
    with pytest.raises(ValueError, match='3 features and reference has 2'):
        cmmd(np.ones([3, 3]), Y)
