# Copyright 2026 The GDD-1S authors.
# SPDX-License-Identifier: Apache-2.0
"""Tests of dnnlib/errors.py: messages whose arguments are spelled for Python or for the shell."""

import pickle

import pytest

from dnnlib.errors import ArgumentError, arg, as_option, as_python, shown


class PathError(ArgumentError):
    """A kind of its own, as modules have."""


@pytest.mark.parametrize(
    'value, text',
    [
        (500, '500'),
        (1e-4, '0.0001'),
        (0.1, '0.1'),
        (None, 'None'),
        ([1, 2.5], '1,2.5'),
        ((), ''),
        ('a b', 'a b'),
    ],
)
def test_values_are_shown_as_typed(value, text):
    assert shown(value) == text


def test_spelling():
    error = ArgumentError(arg('batch_gpu', 500), ' needs ', arg('lr'), '; try ', arg('batch_gpu', 512))
    assert str(error) == 'batch_gpu=500 needs lr; try batch_gpu=512' == error.spell(as_python)
    assert error.spell(as_option) == '--batch-gpu=500 needs --lr; try --batch-gpu=512'
    assert str(ArgumentError('no argument in it')) == 'no argument in it'


def test_other_names():
    error = PathError('the ', arg('path', 'a.zip'), ' of ', arg('other'))
    renamed = error.renamed(path='data')
    assert type(renamed) is PathError and renamed.__cause__ is error
    assert str(renamed) == 'the data=a.zip of other' and str(error) == 'the path=a.zip of other'


def test_errors_cross_over_between_processes():
    error = pickle.loads(pickle.dumps(PathError(arg('path', 'a.zip'), ' is bad')))
    assert type(error) is PathError and error.spell(as_option) == '--path=a.zip is bad'


def test_an_argument_without_value_survives_the_way_between_processes():
    error = pickle.loads(pickle.dumps(ArgumentError('use ', arg('resolution'))))
    assert error.spell(as_option) == 'use --resolution'
