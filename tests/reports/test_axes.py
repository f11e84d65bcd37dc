# Copyright 2026 The GDD-1S authors.
# SPDX-License-Identifier: Apache-2.0
"""Tests of reports/axes.py."""

import pytest

from reports.axes import linear_ticks, log_ticks, make_axis, short, thin


@pytest.mark.parametrize(
    'low, high, ticks',
    [
        (0, 6, [0, 1, 2, 3, 4, 5, 6]),
        (-0.04, 0.93, [0, 0.2, 0.4, 0.6, 0.8]),
        (22000, 53000, [25000, 30000, 35000, 40000, 45000, 50000]),
        (0, 1, [0, 0.2, 0.4, 0.6, 0.8, 1]),
    ],
)
def test_linear_ticks_by_hand(low, high, ticks):
    assert linear_ticks(low, high) == pytest.approx(ticks)


@pytest.mark.parametrize(
    'low, high, ticks',
    [
        (0.5, 2000, [1, 10, 100, 1000]),
        (8, 700, [10, 20, 50, 100, 200, 500]),
        (3, 4, [3, 4]),
        (1e-6, 1e6, [1e-6, 1e-3, 1, 1e3, 1e6]),
    ],
)
def test_log_ticks_by_hand(low, high, ticks):
    assert log_ticks(low, high) == pytest.approx(ticks)


def test_places():
    axis = make_axis([0, 10], margin=0)
    assert [axis.place(v) for v in (0, 5, 10)] == [0, 0.5, 1]
    axis = make_axis([1, 100], log=True, margin=0)
    assert axis.place(10) == pytest.approx(0.5) and axis.ticks == [1, 10, 100]


def test_no_room_below_zero_without_a_sign():
    assert make_axis([0, 0]).low == 0 and make_axis([0, 0]).high == 1
    assert make_axis([1, 100]).low == 0 and make_axis([-1, 1]).low == pytest.approx(-1.1)
    constant = make_axis([5, 5])
    assert constant.low < 5 < constant.high and make_axis([5, 5], log=True).place(5) == pytest.approx(0.5)


def test_thinning_keeps_every_spike():
    x, y = list(range(10000)), [0.0] * 10000
    y[1234], y[7777] = 9.0, -9.0
    kept = thin(x, y)
    assert len(kept) <= 400 and (1234, 9.0) in kept and (7777, -9.0) in kept
    assert kept == sorted(kept) and thin([1, 2], [3, 4]) == [(1, 3), (2, 4)]


def test_short_numbers():
    assert [short(v) for v in (0, 0.5, 12, 12000, 22630.1, 3e-6, 5e6, -1500, 1e12)] == [
        '0', '0.5', '12', '12k', '22.63k', '3e-06', '5M', '-1.5k', '1e+12']  # fmt: skip
