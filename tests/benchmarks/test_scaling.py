# Copyright 2026 The GDD-1S authors.
# SPDX-License-Identifier: Apache-2.0
"""The computed curve by hand: bytes, ring, links."""

import types

import pytest
import torch

from benchmarks import scaling


def test_bytes_of_an_iteration():
    task = types.SimpleNamespace(g_params=[torch.zeros(10, 3)], d_params=[torch.zeros(16), torch.zeros(16)])
    assert scaling.gradient_bytes(task, 16) == 4 * (30 + 32 + 2)
    assert scaling.gradient_bytes(task, 0, element=2) == 2 * (30 + 32)


def test_a_ring_sends_nearly_twice_the_bytes_over_the_slowest_link():
    links = (100.0, 10.0)
    assert scaling.ring_seconds(1, 1000, links) == 0
    assert scaling.ring_seconds(2, 1000, links) == pytest.approx(10)
    assert scaling.ring_seconds(8, 1000, links) == pytest.approx(17.5)
    assert scaling.ring_seconds(64, 1000, links) == pytest.approx(2 * 63 / 64 * 100)


def test_the_curve():
    rows = scaling.curve(100.0, 450e6)  # 1 ms over NVLink
    assert [row[0] for row in rows] == [1, 2, 4, 8, 64] and rows[0] == (1, 0.0, 0.0, 1.0)
    count, added, share, speed = rows[1]
    assert (count, added) == (2, pytest.approx(1.0))
    assert share == pytest.approx(1 / 101) and speed == pytest.approx(200 / 101)
    assert all(row[3] < row[0] for row in rows[1:])
