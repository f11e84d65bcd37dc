# Copyright 2026 The GDD-1S authors.
# SPDX-License-Identifier: Apache-2.0
"""Tests of training/ema.py: the decay of the official code, and what is averaged."""

import copy

import pytest
import torch

from training.ema import EMA


def small_net(value=0.0):
    net = torch.nn.BatchNorm1d(3)
    torch.nn.init.constant_(net.weight, value)
    torch.nn.init.constant_(net.bias, -value)
    return net


@pytest.mark.parametrize('nimg, expected', [(0, 0.0), (100096, 0.965166), (1000192, 0.996458), (4999936, 0.999290)])
def test_decay_of_the_recipes(nimg, expected):
    """Batch 256, half-life 0.5 million images, ramp 0.05; the half-life itself is not reached before 10 million."""
    assert EMA(small_net(), 500000, rampup=0.05).decay(nimg, 256) == pytest.approx(expected, abs=5e-7)
    assert EMA(small_net(), 50000000, rampup=0.05).decay(nimg, 256) == pytest.approx(expected, abs=5e-7)


def test_half_life_halves():
    ema = EMA(small_net(), 1000, rampup=0)
    assert ema.decay(0, 1000) == 0.5 and ema.decay(10 ** 9, 500) == pytest.approx(0.5 ** 0.5)
    assert EMA(small_net(), 1000, rampup=0.05).decay(10 ** 9, 1000) == 0.5      # past the ramp
    assert EMA(small_net(), 1000, rampup=0.05).decay(10000, 500) == 0.5         # half-life 10000 * 0.05


def test_fixed_decay_and_no_average():
    assert EMA(small_net(), 1000, beta=0.999).decay(0, 64) == 0.999
    assert EMA(small_net(), 0, rampup=0.05).decay(10 ** 6, 64) == 0.0


def test_first_iteration_copies_exactly():
    net = torch.nn.Linear(5, 5)
    ema = EMA(net, 500000)
    torch.nn.init.normal_(net.weight, generator=torch.Generator().manual_seed(1))
    ema.update(net, nimg=0, batch=256)
    assert torch.equal(ema.net.weight, net.weight)


def test_average_against_a_slow_reference():
    ema = EMA(small_net(0.0), 300, rampup=0.5)
    average, nimg = 0.0, 0
    for value in (1.0, 4.0, -2.0, 3.0):
        net = small_net(value)
        ema.update(net, nimg, batch=100)
        halflife = min(300, nimg * 0.5)
        keep = 0.5 ** (100 / halflife) if halflife else 0.0
        average = keep * average + (1 - keep) * value
        nimg += 100
    assert ema.net.weight.tolist() == pytest.approx([average] * 3)
    assert ema.net.bias.tolist() == pytest.approx([-average] * 3)


def test_images_are_counted_before_the_iteration():
    """Counting the iteration itself would keep 0.5 ** 20 = 1e-6 of the start already in the first one."""
    ema = EMA(small_net(1.0), 500000, rampup=0.05)
    assert ema.decay(0, 256) == 0.0 != ema.decay(256, 256) == pytest.approx(0.5 ** 20)


def test_swapped_weights_are_rejected():
    """The average keeps `decay` of itself: at 0.9 it moves by a tenth, not by nine tenths."""
    ema = EMA(small_net(0.0), 1000, beta=0.9)
    ema.update(small_net(1.0), nimg=0, batch=1)
    assert ema.net.weight.tolist() == pytest.approx([0.1] * 3)


def test_buffers_are_copied_and_the_network_is_left_alone():
    net = small_net(2.0).train()
    ema = EMA(net, 1000, beta=0.9)
    assert not ema.net.training and not any(p.requires_grad for p in ema.net.parameters())
    net.running_mean.fill_(7.0)
    net.num_batches_tracked.fill_(5)
    before = copy.deepcopy(net.state_dict())
    ema.update(net, nimg=0, batch=1)
    assert ema.net.running_mean.tolist() == [7.0] * 3 and ema.net.num_batches_tracked.item() == 5
    assert net.training and all(torch.equal(before[key], value) for key, value in net.state_dict().items())
