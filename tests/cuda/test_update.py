# Copyright 2026 The GDD-1S authors.
# SPDX-License-Identifier: Apache-2.0
"""From gradients to weights on a device: finite or not, steps left out, optimizers, averages."""

import math

import pytest
import torch

from tests.support.devices import FORWARD, distance, farthest
from training.update.ema import EMA
from training.update.gradients import StepGuard, finish_gradients
from training.update.optimizers import make_optimizer, step_unless


def parameters(device, bad=False):
    torch.manual_seed(0)
    params = [torch.nn.Parameter(torch.randn(shape).to(device)) for shape in ([3, 4], [5])]
    for p in params:
        p.grad = torch.randn(p.shape).to(device)
    if bad:
        params[1].grad[2] = math.nan
        params[0].grad[0, 0] = -math.inf
    return params


@pytest.mark.parametrize('mode', ['skip', 'zero'])
@pytest.mark.parametrize('bad', [False, True])
def test_gradients_are_finished_alike(mode, bad, device):
    results = []
    for where in (device, 'cpu'):
        params = parameters(where, bad)
        found, norm = finish_gradients(params, mode)
        assert found.device.type == torch.device(where).type
        results.append((float(found), float(norm), [p.grad.nan_to_num() for p in params]))
    assert results[0][0] == results[1][0] == bad
    assert results[0][1] == pytest.approx(results[1][1], rel=1e-5, nan_ok=True)
    assert farthest(results[0][2], results[1][2]) < FORWARD


@pytest.mark.parametrize('kind', ['adam', 'radam'])
def test_optimizers_step_alike_and_leave_out_what_is_not_finite(kind, device):
    ends = []
    for where, skips in ((device, (0, 1, 0, 0, 0, 0, 0)), ('cpu', (0, 0, 0, 0, 0, 0))):
        params = parameters(where)
        optimizer = make_optimizer(kind, params, lr=0.1, betas=(0.5, 0.9), eps=1e-8)
        for skip in skips:
            for p in params:
                p.grad = torch.full_like(p, math.nan if skip else 1 + p.shape[0] * 0.1)
            step_unless(optimizer, torch.full([], float(skip), device=where))
        ends.append([x for p in params for x in (p.detach(), *optimizer.state[p].values())])
    assert farthest(*ends) < FORWARD


def test_a_state_of_radam_goes_from_device_to_device(device):
    states = []
    for where in (device, 'cpu'):
        params = parameters(where)
        optimizer = make_optimizer('radam', params, lr=0.1, betas=(0.5, 0.9), eps=1e-8)
        optimizer.step()
        states.append((optimizer, params))
    (first, _), (second, params) = states
    second.load_state_dict(first.state_dict())
    assert {own['step'].device.type for own in second.state.values()} == {'cpu'}
    step_unless(second, torch.zeros([]))
    assert all(p.isfinite().all() for p in params)
    first.load_state_dict(second.state_dict())
    assert {own['step'].device.type for own in first.state.values()} == {device.type}
    step_unless(first, torch.zeros([], device=device))
    assert first.state[first.param_groups[0]['params'][0]]['step'] == 3


def test_guard_counts(device):
    guard = StepGuard('skip')
    for bad in (True, False, True):
        params = parameters(device, bad)
        guard.step('G', torch.optim.Adam(params, fused=True), params)
    assert guard.counts() == {'G': 2}


def test_averages(device):
    torch.manual_seed(0)
    net = torch.nn.Sequential(torch.nn.Linear(3, 4), torch.nn.BatchNorm1d(4))
    averages = []
    for where in (device, 'cpu'):
        own = torch.nn.Sequential(torch.nn.Linear(3, 4), torch.nn.BatchNorm1d(4))
        own.load_state_dict(net.state_dict())
        own.to(where)
        ema = EMA(own, halflife_nimg=1000, extra_nimg=[100])
        for step in range(4):
            with torch.no_grad():
                own[0].weight += 1
            ema.update(own, 5000 * step, 64, torch.full([], float(step == 2), device=where))
        averages.append([p for n in ema.nets.values() for p in n.parameters()])
    assert farthest(*averages) < FORWARD
    assert distance(averages[0][0], net[0].weight) > 0.1
