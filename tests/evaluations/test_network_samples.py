# Copyright 2026 The GDD-1S authors.
# SPDX-License-Identifier: Apache-2.0
"""Tests of evaluations/network_samples.py: blocks of seeds, where noise is drawn, and the sampler in words.

tests/scripts/test_fid.py loads networks with it.
"""

import pytest
import torch

from dnnlib.errors import ArgumentError, as_option
from evaluations.network_samples import choose_rng_device, plan_text, seed_blocks


def test_one_block_is_the_seeds_as_they_were_given():
    ((text, seeds),) = seed_blocks('3,7-9', 1)
    assert text == '3,7-9' and seeds.tolist() == [3, 7, 8, 9]


def test_further_blocks_follow_the_first():
    blocks = seed_blocks('10-15', 3)
    assert [text for text, _ in blocks] == ['10-15', '16-21', '22-27']
    assert [block.tolist() for _, block in blocks][1] == [16, 17, 18, 19, 20, 21]


def test_gaps_of_the_seeds_are_repeated():
    blocks = seed_blocks('1,5', 2)
    assert [text for text, _ in blocks] == ['1,5', '1,5 + 5'] and blocks[1][1].tolist() == [6, 10]


def test_one_image_has_no_statistics():
    with pytest.raises(ArgumentError) as caught:
        seed_blocks('5', 2)
    assert caught.value.spell(as_option) == (
        '--seeds=5 is one image; statistics need at least 2, such as --seeds=0-1999'
    )


def test_noise_is_drawn_where_it_is_asked_for():
    cpu, gpu = torch.device('cpu'), torch.device('cuda', 0)
    assert choose_rng_device('auto', cpu) is None and choose_rng_device('auto', gpu) is None
    assert choose_rng_device('cpu', gpu) == 'cpu' and choose_rng_device('cuda', gpu) is None
    with pytest.raises(ArgumentError, match='there is no GPU'):
        choose_rng_device('cuda', cpu)


def test_sampler_in_words():
    assert plan_text(('edm', dict(num_steps=18, S_churn=0.5))) == 'sampler edm, num_steps=18, S_churn=0.5'
