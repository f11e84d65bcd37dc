# Copyright 2026 The GDD-1S authors.
# SPDX-License-Identifier: Apache-2.0
"""Seed lists: ranges and their order, refusals, batches and repeats."""

import numpy as np
import pytest

from training.sampling.seeds import find_repeats, parse_seeds, split_positions


def test_batches_are_consecutive_and_full():
    assert [part.tolist() for part in split_positions(7, 3)] == [[0, 1, 2], [3, 4, 5], [6]]
    assert [len(part) for part in split_positions(6, 3)] == [3, 3] and len(split_positions(1, 64)) == 1


def test_repeats_are_later_positions_of_a_seed():
    assert find_repeats(np.array([5, 3, 5, 5, 4, 3])) == {2, 3, 5} and find_repeats(np.arange(3)) == set()


def test_seed_lists():
    assert parse_seeds('1, 5,3-5 ,5').tolist() == [1, 5, 3, 4, 5, 5]
    assert parse_seeds('9223372036854775806').tolist() == [(1 << 63) - 2]
    for text in ('', '1,', '5-3', 'a', '-1', '1-2-3', '0-100000000', '9223372036854775807'):
        with pytest.raises(ValueError, match='^seeds='):
            parse_seeds(text)
