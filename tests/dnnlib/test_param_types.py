# Copyright 2026 The GDD-1S authors.
# SPDX-License-Identifier: Apache-2.0
"""Tests of dnnlib/param_types.py: numbers on the command line, and those that are none."""

import click
import pytest

from dnnlib.param_types import IntList, Number, whole


@pytest.mark.parametrize(
    'kind, text, expected',
    [
        (Number(0, 1), '0', 0.0),
        (Number(0, 1), '1e0', 1.0),
        (Number(-20, 20), '-1.2', -1.2),
        (Number(0, 1), 0.5, 0.5),
        (whole(1), '2147483647', 2**31 - 1),
        (whole(0, 3), 3, 3),
        (IntList(1024), '1,2,2', [1, 2, 2]),
        (IntList(1024), ' 4, 1-2 ,1024', [4, 1, 2, 1024]),
    ],
)
def test_numbers(kind, text, expected):
    found = kind.convert(text, None, None)
    assert found == expected and type(found) is type(expected)


@pytest.mark.parametrize(
    'kind, text, message',
    [
        (Number(0, 1), 'nan', 'nan is not a finite number; give one in the range 0<=x<=1'),
        (Number(0, 1e6), 'inf', 'inf is not a finite number; give one in the range 0<=x<=1e+06'),
        (Number(0, 1e6), '-inf', '-inf is not a finite number'),
        (Number(0, 1e6), '1e400', '1e400 is not a finite number'),
        (Number(0, 1, above=True), '0', '0 is not in the range 0<x<=1'),
        (Number(0, 1, below=True), '1', '1 is not in the range 0<=x<1'),
        (Number(0, 1), 'x', "'x' is not a number; give one"),
        (Number(0, 1), '', "'' is not a number; give one"),
        (whole(1, 9), '2.0', "'2.0' is not a whole number; give one in the range 1<=x<=9"),
        (whole(1), '2147483648', '2147483648 is not in the range 1<=x<=2147483647'),
        (whole(1), '9' * 5000, 'is not a whole number'),
        (IntList(1024), '1-1025', 'of at most 64 numbers up to 1024'),
        (IntList(1024), '1-99999999999', 'of at most 64 numbers'),
        (IntList(1024, entries=3), '1,2,3-4', 'of at most 3 numbers'),
        (IntList(9), '3-1', 'must be a list of integers or ranges, such as 1,2,2 or 1-3'),
        (IntList(9), '1,,2', 'must be a list'),
        (IntList(9), '0', 'must be a list'),
    ],
)
def test_numbers_that_are_none(kind, text, message):
    with pytest.raises(click.BadParameter) as caught:
        kind.convert(text, None, None)
    assert message in caught.value.message
