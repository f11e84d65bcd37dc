# Copyright 2026 The GDD-1S authors.
# SPDX-License-Identifier: Apache-2.0
"""Tests of torch_utils/randomness.py: the noise of an image depends on the run and its position, not on the processes."""

import pytest
import torch

from torch_utils.randomness import PURPOSES, BatchRandom, derive_seed

SHAPE = [8, 2, 3, 3]


def whole_batch(world_size, purpose='noise', **options):
    """Put the shares of all processes together: position b of process r is image b * world_size + r."""
    shares = [
        BatchRandom(7, 640, rank, world_size, **options).randn([SHAPE[0] // world_size, *SHAPE[1:]], purpose)
        for rank in range(world_size)
    ]
    return torch.stack(shares, dim=1).reshape(SHAPE)


@pytest.mark.parametrize('world_size', [2, 4, 8])
def test_shares_of_the_processes_are_the_batch_of_one(world_size):
    assert torch.equal(whole_batch(world_size), whole_batch(1))


def test_contiguous_shares_are_rejected():
    """The sampler deals images out in turn, so joining the shares end to end gives another batch."""
    shares = [BatchRandom(7, 640, rank, 2).randn([4, *SHAPE[1:]], 'noise') for rank in range(2)]
    assert not torch.equal(torch.cat(shares), whole_batch(1))


def test_official_processes_have_streams_of_their_own():
    shares = [BatchRandom(7, 640, rank, 2, compat='official').randn(SHAPE, 'noise') for rank in range(2)]
    assert not torch.equal(*shares)
    alone = BatchRandom(7, 640, compat='official').randn(SHAPE, 'noise')
    assert torch.equal(alone, shares[0])  # the stream of a process does not depend on the others
    assert not torch.equal(whole_batch(1, compat='official'), whole_batch(2, compat='official'))
    assert not torch.equal(alone, whole_batch(1))


@pytest.mark.parametrize('compat', ['clean', 'official'])
def test_numbers_are_repeatable_and_purposes_independent(compat):
    batches = [whole_batch(1, purpose, compat=compat) for purpose in PURPOSES]
    assert all(
        torch.equal(batch, whole_batch(1, purpose, compat=compat))
        for batch, purpose in zip(batches, PURPOSES)
    )
    assert len({tuple(batch.flatten().tolist()) for batch in batches}) == len(PURPOSES)


@pytest.mark.parametrize('seed, nimg', [(8, 640), (7, 641), (76, 40), (7, 0)])
def test_seed_and_position_matter(seed, nimg):
    assert not torch.equal(BatchRandom(seed, nimg).randn(SHAPE, 'noise'), whole_batch(1))


def test_numbers_are_standard_normal():
    values = BatchRandom(0, 0).randn([64, 1, 32, 32], 'noise')
    assert values.dtype == torch.float32 and abs(values.mean()) < 0.02 and abs(values.std() - 1) < 0.02


def test_global_generators_are_seeded_per_process_and_position():
    drawn = []
    for nimg, rank in [(640, 0), (640, 0), (640, 1), (704, 0)]:
        BatchRandom(7, nimg, rank, 2).seed_global()
        drawn.append(torch.rand(3).tolist())
    assert drawn[0] == drawn[1] != drawn[2] and drawn[0] != drawn[3]


def test_drawing_leaves_the_global_generator_alone():
    torch.manual_seed(3)
    expected = torch.rand(2).tolist()
    torch.manual_seed(3)
    whole_batch(2)
    whole_batch(1, compat='official')
    assert torch.rand(2).tolist() == expected


def test_unknown_purpose_is_explained():
    with pytest.raises(ValueError, match="purpose='Z' is unknown; use one of noise, G, D, R1, dropout"):
        BatchRandom(0, 0).randn(SHAPE, 'Z')


def test_seeds_are_63_bit_and_differ_in_the_bits_that_each_generator_reads():
    """torch's CPU generator reads the low 32 bits only, the CUDA generator all of them."""
    parts = [
        (seed, nimg, purpose, rank)
        for seed in (0, 1, 42)
        for nimg in range(0, 25600, 256)
        for purpose in PURPOSES
        for rank in range(2)
    ]
    seeds = [derive_seed(*part) for part in parts]
    assert all(0 <= seed < 2**63 for seed in seeds)
    assert len(set(seeds)) == len({seed % 2**32 for seed in seeds}) == len(parts)
    assert derive_seed('a', 1) == derive_seed('a', 1) != derive_seed('a1')


def test_nested_draws_are_shared_as_flat_ones():
    """Every tensor of nested dicts: position b of process r is image b * W + r."""

    def draw(count, generator):
        return dict(
            a=torch.rand([count], generator=generator), b=dict(c=torch.rand([count, 2], generator=generator))
        )

    whole = BatchRandom(1, 0).share(draw, 6, 'G/fake')
    for rank in range(2):
        own = BatchRandom(1, 0, rank, 2).share(draw, 3, 'G/fake')
        assert torch.equal(own['a'], whole['a'][rank::2]) and torch.equal(
            own['b']['c'], whole['b']['c'][rank::2]
        )
