# Copyright 2026 The GDD-1S authors.
# SPDX-License-Identifier: Apache-2.0
"""The straightforward loop does the work of ours, once per iteration, and the work that ours leaves out."""

import copy

import pytest
import torch

from benchmarks import throughput
from benchmarks.reference_loop import frozen_by_the_loss, require_plain
from dnnlib.errors import ArgumentError
from tests.benchmarks.test_throughput import tiny_config
from tests.support import tiny_runs

GDD = ('--transfer=random', '--freeze=1', *tiny_runs.NETWORK_ARGS, *tiny_runs.GAN_ARGS)


@pytest.fixture(scope='module')
def bench():
    return throughput.Measurement(tiny_config(*GDD), reference=True)


def test_one_iteration_moves_what_is_trained(bench):
    loop = bench.run
    before = {name: copy.deepcopy(net.state_dict()) for name, net in dict(G=loop.G, D=loop.D).items()}
    for with_r1 in (False, True):
        bench.iterate(with_r1)
    moved = {name for name, value in loop.G.state_dict().items() if not torch.equal(value, before['G'][name])}
    trained = {id(p) for group in loop.g_optimizer.param_groups for p in group['params']}
    assert moved <= {name for name, p in loop.G.named_parameters() if id(p) in trained} and moved
    assert all(
        not torch.equal(p, before['D'][name]) for name, p in loop.D.named_parameters() if 'conv' in name
    )
    assert any(not torch.equal(a, b) for a, b in zip(loop.average.parameters(), loop.G.parameters()))
    assert all(torch.isfinite(p).all() for p in loop.G.parameters())


def test_it_does_more_than_ours(bench):
    ours = throughput.Measurement(tiny_config(*GDD))
    straight, plain = bench.count(True), ours.count(True)
    assert straight.flops[torch.float32] > plain.flops[torch.float32]
    for kind in ('bytes', 'launches'):
        totals = [sum(getattr(part, kind) for part in c.stages.values()) for c in (straight, plain)]
        assert totals[0] > totals[1], kind
    assert {'data', 'G', 'D', 'R1', 'optimizer', 'EMA'} <= set(straight.stages)


def test_the_official_rule_computes_gradients_of_up_and_down_blocks():
    names = [
        'model.enc.8x8_block0.conv0.weight',
        'model.enc.4x4_down.conv0.weight',
        'model.dec.4x4_in0.qkv.weight',
    ]
    assert [frozen_by_the_loss(name, 1) for name in names] == [True, False, False]
    assert frozen_by_the_loss(names[2], 2) and not any(frozen_by_the_loss(name, 0) for name in names)


@pytest.mark.parametrize(
    'args, words',
    [
        (tiny_runs.TEACHER_ARGS, 'this recipe is another thing; use mode=faithful'),
        ((*GDD, '--diffaug=1'), 'neither augmentation nor steps'),
        ((*GDD, '--batch-gpu=2'), ''),
    ],
)
def test_it_refuses_what_it_does_not_do(args, words):
    config = tiny_config(*args)
    if not words:
        config, words = dict(config, batch_gpu=2), 'without accumulation'
    with pytest.raises(ArgumentError, match=words):
        require_plain(config)
