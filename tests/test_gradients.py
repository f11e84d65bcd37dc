# Copyright 2026 The GDD-1S authors.
# SPDX-License-Identifier: Apache-2.0
"""Tests of training/gradients.py in one process; tests/test_two_processes.py has the average over two."""

import math

import pytest
import torch

from training import gradients

NAN, INF = math.nan, math.inf


def parameter(grad):
    param = torch.nn.Parameter(torch.zeros(torch.as_tensor(grad).shape))
    param.grad = torch.tensor(grad)
    return param


def test_finite_gradients_are_untouched():
    params = [parameter([3.0, 4.0]), parameter([[0.0, -12.0]])]
    bad, norm = gradients.finish_gradients(params)
    assert bad.item() == 0 and bad.dtype == torch.int64 and norm.item() == 13.0
    assert [p.grad.tolist() for p in params] == [[3.0, 4.0], [[0.0, -12.0]]]


def test_non_finite_entries_are_replaced_and_counted():
    params = [parameter([NAN, 1.0, INF]), parameter([[-INF, -2.5]]), parameter([1e-30, 3e38])]
    bad, norm = gradients.finish_gradients(params)
    assert bad.item() == 3 and not math.isfinite(norm.item())
    for param, expected in zip(params, ([0.0, 1.0, 1e5], [[-1e5, -2.5]], [1e-30, 3e38])):
        assert torch.equal(param.grad, torch.tensor(expected))


@pytest.mark.parametrize('value, expected', [(NAN, 0.0), (INF, 1e5), (-INF, -1e5)])
def test_one_bad_entry_among_many_is_found(value, expected):
    grad = torch.ones(1000)
    grad[637] = value
    param = torch.nn.Parameter(torch.zeros(1000))
    param.grad = grad
    bad, _norm = gradients.finish_gradients([parameter([1.0]), param])
    assert bad.item() == 1 and param.grad[637].item() == pytest.approx(expected)
    assert param.grad.sum().item() == pytest.approx(999 + expected)


def test_torch_defaults_are_rejected():
    """nan_to_num without limits would give 3.4e38 for inf, whose square overflows in Adam."""
    param = parameter([INF])
    gradients.finish_gradients([param])
    assert param.grad.item() == pytest.approx(1e5) and torch.nan_to_num(torch.tensor(INF)).item() > 1e38


def test_overflowing_norm_of_finite_gradients_counts_nothing():
    params = [parameter([3e38, 3e38])]
    bad, norm = gradients.finish_gradients(params)
    assert bad.item() == 0 and norm.item() == INF and params[0].grad.tolist() == [pytest.approx(3e38)] * 2


def test_parameters_without_gradient_are_left_out():
    frozen = torch.nn.Parameter(torch.zeros(2))
    bad, norm = gradients.finish_gradients([frozen, parameter([2.0])])
    assert frozen.grad is None and bad.item() == 0 and norm.item() == 2.0


def test_channels_last_gradients_are_sanitised_in_place():
    grad = torch.ones(2, 3, 4, 4).contiguous(memory_format=torch.channels_last)
    grad[1, 2, 3, 0] = NAN
    param = torch.nn.Parameter(torch.zeros(2, 3, 4, 4))
    param.grad = grad
    assert gradients.finish_gradients([param])[0].item() == 1
    assert param.grad is grad and grad[1, 2, 3, 0] == 0 and grad.sum() == 95


@pytest.mark.parametrize('memory_format', [torch.contiguous_format, torch.channels_last])
def test_average_over_processes(memory_format, monkeypatch):
    """With the sum over processes replaced: every gradient is divided by the number before, and ends in its place."""
    other = torch.arange(96.0).reshape(2, 3, 4, 4)
    params = [parameter([1.0, 5.0]), torch.nn.Parameter(torch.zeros(2, 3, 4, 4))]
    params[1].grad = (other * 10).contiguous(memory_format=memory_format)
    calls = []

    def fake_sum(flat):
        calls.append(flat.clone())
        return flat.add_(torch.cat([torch.tensor([3.0, 1.0]), other.flatten()]) / 2)

    monkeypatch.setattr(gradients.distributed, 'get_world_size', lambda: 2)
    monkeypatch.setattr(gradients.distributed, 'all_reduce_sum_', fake_sum)
    gradients.average_over_processes(params)
    assert len(calls) == 1 and calls[0][:2].tolist() == [0.5, 2.5]
    assert params[0].grad.tolist() == [2.0, 3.0]
    assert torch.equal(params[1].grad, other * 5.5) and params[1].grad.is_contiguous(memory_format=memory_format)


def test_non_finite_entries_of_one_process_are_replaced_after_the_average(monkeypatch):
    """Replacing before the average would hand (0 + 4) / 2 = 2 to the optimizer instead of 0."""
    monkeypatch.setattr(gradients.distributed, 'get_world_size', lambda: 2)
    monkeypatch.setattr(gradients.distributed, 'all_reduce_sum_', lambda flat: flat.add_(torch.tensor([NAN, 1.0])))
    param = parameter([4.0, 4.0])
    bad, _norm = gradients.finish_gradients([param])
    assert bad.item() == 1 and param.grad.tolist() == [0.0, 3.0]
