# Copyright 2026 The GDD-1S authors.
# SPDX-License-Identifier: Apache-2.0
"""Seed lists: ranges and their order, refusals, batches and repeats; random numbers of single seeds."""

import numpy as np
import pytest
import torch

from training.sampling.seeds import StackedRandomGenerator, find_repeats, parse_seeds, split_positions


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


def test_random_numbers_of_the_original():
    rnd = StackedRandomGenerator('cpu', [0, 1, 2**32 + 5])
    latents = rnd.randn([3, 3, 16, 16])
    labels = rnd.randint(4, size=[3])
    noise = rnd.randn_like(torch.zeros([3, 3, 16, 16], dtype=torch.float64))
    assert (latents.dtype, labels.dtype, noise.dtype) == (torch.float32, torch.int64, torch.float64)
    assert latents[:, 0, 0, :3].flatten().tolist() == pytest.approx(
        [-1.125840, -1.152360, -0.250579, -1.525596, -0.750232, -0.653981, 1.842330, 0.518887, -1.711921],
        abs=1e-6,
    )
    assert labels.tolist() == [1, 2, 1]
    assert noise[:, 0, 0, :3].flatten().tolist() == pytest.approx(
        [-0.825154, 0.931778, -0.109447, -1.348621, 0.895961, -1.141886, 1.578168, 1.135604, 0.835612],
        abs=1e-6,
    )
    with pytest.raises(ValueError, match=r'size=\[2, 5\].*3'):
        rnd.randn([2, 5])
