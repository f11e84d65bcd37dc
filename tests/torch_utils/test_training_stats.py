# Copyright 2026 The GDD-1S authors.
# SPDX-License-Identifier: Apache-2.0
"""Tests of torch_utils/training_stats.py in one process; several processes are in test_distributed."""

import math

import numpy as np
import pytest
import torch

from torch_utils import training_stats
from torch_utils.training_stats import Collector, report, report0


@pytest.fixture(autouse=True)
def fresh_statistics(monkeypatch):
    monkeypatch.setattr(training_stats, '_counters', {})


def test_hand_computed_values():
    collector = Collector()
    report('Loss/loss', torch.tensor([1.0, 2.0, 3.0]))
    report('Progress/tick', 0)
    collector.update()
    assert list(collector.as_dict()) == ['Loss/loss', 'Progress/tick']
    assert collector.as_dict()['Loss/loss'] == pytest.approx(dict(num=3, mean=2.0, std=math.sqrt(2 / 3)))
    assert collector.as_dict()['Progress/tick'] == dict(num=1, mean=0.0, std=0.0)
    assert collector['Loss/loss'] == 2.0 and collector.as_dict()['Loss/loss'].num == 3


@pytest.mark.parametrize('shapes', [[(5,)], [(3, 4), (), (0,), (2, 2, 2)]])
def test_slow_reference(shapes):
    random = np.random.RandomState(0)
    values = [random.standard_normal(shape).astype(np.float32) for shape in shapes]
    collector = Collector()
    for value in values:
        report('x', torch.from_numpy(np.asarray(value)))
    collector.update()
    everything = np.concatenate([value.ravel() for value in values]).astype(np.float64)
    assert collector.num('x') == everything.size
    assert collector.mean('x') == pytest.approx(everything.mean(), rel=1e-6, abs=1e-7)
    assert collector.std('x') == pytest.approx(everything.std(), rel=1e-5)  # population, not sample
    assert collector.std('x') != pytest.approx(everything.std(ddof=1), rel=1e-5)


def test_accumulation_is_float64():
    collector = Collector()
    report('x', torch.tensor(2.0**25))
    for _ in range(8):
        report('x', torch.tensor(1.0))  # lost one by one in float32
    report('kimg', 200000.128)
    collector.update()
    assert collector.mean('x') * 9 == 2.0**25 + 8
    assert collector.mean('kimg') == 200000.128


def test_each_update_covers_what_came_since_the_last():
    collector = Collector()
    report('x', 1.0)
    collector.update()
    report('x', 3.0)
    report('x', 5.0)
    collector.update()
    assert (collector.num('x'), collector.mean('x'), collector.std('x')) == (2, 4.0, 1.0)


@pytest.mark.parametrize('keep_previous, mean, num', [(True, 1.0, 1), (False, math.nan, 0)])
def test_keep_previous(keep_previous, mean, num):
    collector = Collector(keep_previous=keep_previous)
    report('x', 1.0)
    collector.update()
    collector.update()
    assert collector.mean('x') == pytest.approx(mean, nan_ok=True) and collector.num('x') == num


def test_collectors_do_not_disturb_each_other():
    first = Collector()
    report('a/x', 1.0)
    second = Collector(regex='a/.*')  # sees only what comes after it
    report('a/x', 3.0)
    report('b', 5.0)
    first.update()
    second.update()
    assert first.names() == ['a/x', 'b'] and first.mean('a/x') == 2.0
    assert second.names() == ['a/x'] and second.mean('a/x') == 3.0
    assert Collector(regex='a').names() == []  # the whole name must match


def test_missing_data():
    collector = Collector()
    report('empty', [])
    report('nan', torch.tensor([1.0, math.nan]))
    report('inf', math.inf)
    collector.update()
    assert (
        collector.num('empty') == 0
        and math.isnan(collector.mean('empty'))
        and math.isnan(collector.std('empty'))
    )
    assert (
        collector.num('nan') == 2 and math.isnan(collector.mean('nan')) and math.isnan(collector.std('nan'))
    )
    assert math.isnan(collector.std('inf')) and math.isnan(collector.mean('never reported'))
    report('nan', 2.0)
    collector.update()
    assert collector.mean('nan') == 2.0  # one bad tick does not spoil the later ones


def test_values_pass_through():
    value = torch.ones(2, requires_grad=True)
    assert report('x', value) is value and report0('y', value) is value
    collector = Collector()
    report('x', torch.tensor([True, False, True]))
    report('x', torch.tensor([2], dtype=torch.int64))
    report('x', [4, 5])
    collector.update()
    assert collector.num('x') == 6 and collector.mean('x') == 13 / 6


def test_reports_do_not_read_back(monkeypatch):
    # .item(), .tolist() and .cpu() would wait for the GPU at every report.
    def forbidden(*_args, **_kwargs):
        raise AssertionError('a report read a value back')

    collector = Collector()
    value = torch.ones(3)
    with monkeypatch.context() as patch:
        for name in ('item', 'tolist', 'cpu', 'numpy', '__bool__', '__float__', '__int__'):
            patch.setattr(torch.Tensor, name, forbidden)
        report('x', value)
        report('x', value)
    collector.update()
    assert collector.num('x') == 6


def test_saved_collector_goes_on_as_if_nothing_had_happened(monkeypatch):
    """Saving in the middle of an interval changes nothing, and a new process reports the whole interval."""
    collector, copies = Collector(), []
    for step, value in enumerate([1.0, 2.0, 4.0]):
        report('x', torch.tensor([value]))
        if step == 0:
            report('once', 7)
            collector.update()
        if step == 1:
            copies.append(collector.state_dict())
    collector.update()
    expected = collector.as_dict()
    assert (
        expected['x'] == dict(num=2, mean=3.0, std=1.0) and expected['once'].mean == 7
    )  # kept from the first interval
    monkeypatch.setattr(training_stats, '_counters', {})
    report('y', 1)  # something that the saved run had not, before the other is loaded
    other = Collector()
    other.load_state_dict(copies[0])
    report('x', torch.tensor([4.0]))
    other.update()
    assert {name: other.as_dict()[name] for name in expected} == expected and other.num('y') == 0
    assert all(isinstance(number, float) for number in copies[0]['pending']['x'])
