# Copyright 2026 The GDD-1S authors.
# SPDX-License-Identifier: Apache-2.0
"""Tests of training/update/ema.py: the decay of the official code, and what is averaged."""

import copy

import pytest
import torch

from training.update.ema import EMA, _lerp_on_device, entry_name


def small_net(value=0.0):
    net = torch.nn.BatchNorm1d(3)
    torch.nn.init.constant_(net.weight, value)
    torch.nn.init.constant_(net.bias, -value)
    return net


@pytest.mark.parametrize(
    'nimg, expected', [(0, 0.0), (100096, 0.965166), (1000192, 0.996458), (4999936, 0.999290)]
)
def test_decay_of_the_recipes(nimg, expected):
    """Batch 256, half-life 0.5 million images, ramp 0.05; the half-life itself is not reached before 10
    million."""
    assert EMA(small_net(), 500000, rampup=0.05).decay(nimg, 256) == pytest.approx(expected, abs=5e-7)
    assert EMA(small_net(), 50000000, rampup=0.05).decay(nimg, 256) == pytest.approx(expected, abs=5e-7)


def test_half_life_halves():
    ema = EMA(small_net(), 1000, rampup=0)
    assert ema.decay(0, 1000) == 0.5 and ema.decay(10**9, 500) == pytest.approx(0.5**0.5)
    assert EMA(small_net(), 1000, rampup=0.05).decay(10**9, 1000) == 0.5  # past the ramp
    assert EMA(small_net(), 1000, rampup=0.05).decay(10000, 500) == 0.5  # half-life 10000 * 0.05


def test_fixed_decay_and_no_average():
    assert EMA(small_net(), 1000, beta=0.999).decay(0, 64) == 0.999
    assert EMA(small_net(), 0, rampup=0.05).decay(10**6, 64) == 0.0


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
    assert ema.decay(0, 256) == 0.0 != ema.decay(256, 256) == pytest.approx(0.5**20)


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


def test_buffers_of_other_types_are_copied_for_every_half_life():
    net = small_net(2.0)
    ema = EMA(net, 1000, extra_nimg=[10])
    net.num_batches_tracked.fill_(9)
    net.running_var.fill_(3.0)
    ema.update(net, nimg=0, batch=1)
    for own in ema.nets.values():
        assert own.num_batches_tracked.item() == 9 and own.running_var.tolist() == [3.0] * 3


# ------------------------------------------------------------------------------------------------
# Several half-lives.


def train(*halflives, skip_at=(), values=(1.0, 4.0, -2.0, 3.0)):
    net = small_net(0.0)
    ema, nimg = EMA(net, halflives[0], rampup=0, extra_nimg=halflives[1:]), 0
    for i, value in enumerate(values):
        torch.nn.init.constant_(net.weight, value)
        ema.update(net, nimg, batch=100, skip=torch.tensor(float(i in skip_at)))
        nimg += 100
    return ema


def test_every_half_life_equals_an_average_of_its_own():
    ema = train(300, 50, 100000)
    assert list(ema.nets) == ['ema', 'ema-5e-05', 'ema-0.1'] and list(ema.extra_nets) == [
        'ema-5e-05',
        'ema-0.1',
    ]
    for net, halflife in zip(ema.nets.values(), (300, 50, 100000)):
        alone = train(halflife)
        assert torch.equal(net.weight, alone.net.weight)
    weights = [net.weight[0].item() for net in ema.nets.values()]
    assert len(set(weights)) == 3 and ema.net is ema.nets['ema']


@pytest.mark.parametrize(
    'nimg, name',
    [(50_000, 'ema-0.05'), (500_000, 'ema-0.5'), (2_000_000, 'ema-2'), (0, 'ema-0'), (1234, 'ema-0.001234')],
)
def test_names_are_half_lives_in_millions(nimg, name):
    assert entry_name(nimg) == name


def test_skipped_step_changes_nothing():
    """Not even towards the unchanged network: the average of three steps, of which one was skipped, has seen
    two."""
    skipped = train(300, 50, skip_at=[2])
    shorter = train(300, 50, values=(1.0, 4.0))
    following = train(300, 50, skip_at=[2], values=(1.0, 4.0, -2.0))
    for key, net in following.nets.items():
        assert torch.equal(net.weight, shorter.nets[key].weight)
        assert not torch.equal(net.weight, skipped.nets[key].weight)


def test_update_on_a_device_agrees_with_the_host_and_is_exact_at_both_ends():
    """What CUDA runs, with the weight in a tensor: equal up to rounding, and bit for bit where nothing may
    change."""
    generator = torch.Generator().manual_seed(0)
    own, other = (
        [torch.randn(5, generator=generator), torch.randn(2, 3, generator=generator)] for _ in range(2)
    )
    for weight in (0.0, 1.0, 0.25, 1e-4):
        found = [x.clone() for x in own]
        _lerp_on_device(found, other, torch.tensor(weight))
        for x, a, b in zip(found, own, other):
            assert torch.allclose(x, a + weight * (b - a), atol=1e-6)
            assert weight not in (0.0, 1.0) or torch.equal(x, b if weight else a)


def test_state_holds_all_half_lives():
    ema, fresh = train(300, 50), EMA(small_net(), 300, rampup=0, extra_nimg=[50])
    fresh.load_state_dict(copy.deepcopy(ema.state_dict()))
    assert all(torch.equal(net.weight, ema.nets[key].weight) for key, net in fresh.nets.items())
    with pytest.raises(ValueError, match='averages of the state are ema, ema-5e-05, those of ema are ema$'):
        EMA(small_net(), 300).load_state_dict(ema.state_dict())


def test_another_network_object_is_noticed():
    """The tensors of the network are collected once; a second network must not be mistaken for the first."""
    ema = EMA(small_net(), 0)
    for value in (1.0, 2.0):
        ema.update(small_net(value), nimg=100, batch=1)
        assert ema.net.weight.tolist() == [value] * 3
