# Copyright 2026 The GDD-1S authors.
# SPDX-License-Identifier: Apache-2.0
"""Tests of training/update/gradients.py in one process; tests/runs/test_two_processes.py has the average over
two."""

import math

import pytest
import torch

from tests.support import tiny_runs
from torch_utils import training_stats
from torch_utils.randomness import BatchRandom
from training.update import gradients

NAN, INF = math.nan, math.inf


def parameter(grad):
    param = torch.nn.Parameter(torch.zeros(torch.as_tensor(grad).shape))
    param.grad = torch.tensor(grad)
    return param


def test_finite_gradients_are_untouched():
    for mode in gradients.NAN_MODES:
        params = [parameter([3.0, 4.0]), parameter([[0.0, -12.0]])]
        found, norm = gradients.finish_gradients(params, mode)
        assert found.item() == 0.0 and found.dtype == torch.float32 and norm.item() == 13.0
        assert [p.grad.tolist() for p in params] == [[3.0, 4.0], [[0.0, -12.0]]]


def test_non_finite_entries_are_replaced_as_officially():
    params = [parameter([NAN, 1.0, INF]), parameter([[-INF, -2.5]]), parameter([1e-30, 3e38])]
    found, norm = gradients.finish_gradients(params, 'zero')
    assert found.item() == 1.0 and not math.isfinite(norm.item())
    for param, expected in zip(params, ([0.0, 1.0, 1e5], [[-1e5, -2.5]], [1e-30, 3e38])):
        assert torch.equal(param.grad, torch.tensor(expected))


@pytest.mark.parametrize('value, expected', [(NAN, 0.0), (INF, 1e5), (-INF, -1e5)])
def test_one_bad_entry_among_many_is_found(value, expected):
    grad = torch.ones(1000)
    grad[637] = value
    for mode in gradients.NAN_MODES:
        param = torch.nn.Parameter(torch.zeros(1000))
        param.grad = grad.clone()
        found, _norm = gradients.finish_gradients([parameter([1.0]), param], mode)
        assert found.item() == 1.0
    assert param.grad[637].item() == pytest.approx(expected) and param.grad.sum().item() == pytest.approx(
        999 + expected
    )


def test_torch_defaults_are_rejected():
    """nan_to_num without limits would give 3.4e38 for inf, whose square overflows in Adam."""
    param = parameter([INF])
    gradients.finish_gradients([param], 'zero')
    assert param.grad.item() == pytest.approx(1e5) and torch.nan_to_num(torch.tensor(INF)).item() > 1e38


def test_gradients_whose_squares_overflow_are_found():
    """Adam would keep an infinite second moment for ever, and never move that weight again."""
    for mode in gradients.NAN_MODES:
        params = [parameter([2e19, 1.0])]
        found, norm = gradients.finish_gradients(params, mode)
        assert (
            found.item() == 1.0
            and norm.item() == INF
            and params[0].grad.tolist() == [pytest.approx(2e19), 1.0]
        )
    assert gradients.finish_gradients([parameter([1e19])])[0].item() == 0.0


def test_parameters_without_gradient_are_left_out():
    frozen = torch.nn.Parameter(torch.zeros(2))
    found, norm = gradients.finish_gradients([frozen, parameter([2.0])])
    assert frozen.grad is None and found.item() == 0 and norm.item() == 2.0


def test_channels_last_gradients_are_sanitised_in_place():
    grad = torch.ones(2, 3, 4, 4).contiguous(memory_format=torch.channels_last)
    grad[1, 2, 3, 0] = NAN
    grad[0, 1, 2, 3] = 7
    param = torch.nn.Parameter(torch.zeros(2, 3, 4, 4))
    param.grad = grad
    assert gradients.finish_gradients([param, parameter([INF])], 'zero')[0].item() == 1.0
    assert param.grad is grad and grad[1, 2, 3, 0] == 0 and grad[0, 1, 2, 3] == 7 and grad.sum() == 101


@pytest.mark.parametrize('memory_format', [torch.contiguous_format, torch.channels_last])
def test_average_over_processes(memory_format, monkeypatch):
    """With the sum over processes replaced: every gradient is divided by the number before, and ends in its
    place."""
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
    assert torch.equal(params[1].grad, other * 5.5) and params[1].grad.is_contiguous(
        memory_format=memory_format
    )


def test_non_finite_entries_of_one_process_are_replaced_after_the_average(monkeypatch):
    """Replacing before the average would hand (0 + 4) / 2 = 2 to the optimizer instead of 0."""
    monkeypatch.setattr(gradients.distributed, 'get_world_size', lambda: 2)
    monkeypatch.setattr(
        gradients.distributed, 'all_reduce_sum_', lambda flat: flat.add_(torch.tensor([NAN, 1.0]))
    )
    param = parameter([4.0, 4.0])
    found, _norm = gradients.finish_gradients([param], 'zero')
    assert found.item() == 1.0 and param.grad.tolist() == [0.0, 3.0]


# ------------------------------------------------------------------------------------------------
# Steps.

STEPS = ([1.0, -2.0], [NAN, 5.0], [0.5, 3.0], [INF, -INF], [2.0, 2.0])


def train(mode, steps=STEPS):
    """Take Adam steps with given gradients of one parameter; return (parameter, optimizer, guard, what step()
    returned)."""
    param = torch.nn.Parameter(torch.tensor([1.0, 2.0]))
    optimizer = torch.optim.Adam([param], lr=0.1, betas=(0.5, 0.9), fused=True)
    guard, returned = gradients.StepGuard(mode), []
    for grad in steps:
        param.grad = torch.tensor(grad)
        returned.append(guard.step('G', optimizer, [param]))
    return param, optimizer, guard, returned


def test_skipped_steps_leave_no_trace():
    """Parameters, moments and the step counter equal those of a run without these steps, bit for bit."""
    param, optimizer, guard, returned = train('skip')
    expected, reference, _guard, _returned = train(
        'skip', [grad for grad in STEPS if all(map(math.isfinite, grad))]
    )
    assert torch.equal(param, expected) and [value.item() for value in returned] == [0, 1, 0, 1, 0]
    state, other = optimizer.state[param], reference.state[expected]
    assert state['step'].item() == 3 and all(torch.equal(state[name], other[name]) for name in state)
    assert guard.counts() == {'G': 2}


def test_a_step_that_only_zeroes_the_gradient_is_no_skipped_step():
    """The moments would decay, the counter advance and the parameters move: what the comparison above must
    notice."""
    param, *_rest = train('skip')
    zeroed, optimizer, guard, returned = train('zero')
    assert not torch.equal(param, zeroed) and optimizer.state[zeroed]['step'].item() == 5
    assert returned == [None] * 5 and guard.counts() == {'G': 2}
    by_hand, *_rest = train('skip', [[1.0, -2.0], [0.0, 5.0], [0.5, 3.0], [1e5, -1e5], [2.0, 2.0]])
    assert torch.equal(zeroed, by_hand)


def test_counts_and_rates_are_reported_and_continued(monkeypatch):
    monkeypatch.setattr(training_stats, '_counters', {})
    collector = training_stats.Collector()
    guard = train('skip')[2]
    guard.report()
    collector.update()
    assert collector.names() == [
        'Grad/G/nonfinite',
        'Grad/G/norm',
        'LearningRate/G',
        'Progress/nonfinite_steps',
    ]
    assert collector.mean('Grad/G/nonfinite') == pytest.approx(0.4) and collector.num('Grad/G/nonfinite') == 5
    assert collector.mean('LearningRate/G') == 0.1 and collector.mean('Progress/nonfinite_steps') == 2
    resumed = gradients.StepGuard()
    resumed.load_state_dict(guard.state_dict())
    param = parameter([NAN])
    resumed.step('D', torch.optim.Adam([param], fused=True), [param])
    assert resumed.counts() == {'G': 2, 'D': 1}


def test_run_is_stopped_at_the_limit_and_not_before():
    guard = train('skip')[2]
    guard.check(3, 1000, lambda: '')
    guard.check(0, 1000, lambda: '')
    with pytest.raises(gradients.NonFiniteError) as caught:
        guard.check(2, 12500, lambda: 'the newest file is x.pkl')
    assert str(caught.value).startswith(
        'nan_limit=2 is reached: 2 optimizer steps had non-finite gradients (G 2) by 12.5 kimg; '
        'the newest file is x.pkl; go on from there with a lower lr'
    )
    assert '\n' not in str(caught.value)


def test_news_are_told_once_and_again_after_a_resume():
    guard = train('skip', [[1.0, 1.0]])[2]
    assert guard.news(100) is None
    guard = train('skip')[2]
    line = (
        'Warning: 2 optimizer step(s) (G 2) had non-finite gradients so far and were skipped; '
        'the run stops at 100 (--nan-limit)'
    )
    assert guard.news(100) == line and guard.news(100) is None
    resumed = gradients.StepGuard()
    resumed.load_state_dict(guard.state_dict())
    assert resumed.news(100) == line and resumed.news(100) is None
    line = train('zero')[2].news(0)
    assert line.endswith('so far and were taken with the entries replaced')


def test_bfloat16_on_the_way_halves_the_bytes_and_rounds_to_eight_bits(monkeypatch):
    """Two processes with the same gradient: the mean is the gradient, rounded where bfloat16 is sent."""
    sent = []

    def all_reduce(tensor):
        sent.append((tensor.dtype, tensor.numel() * tensor.element_size()))
        return tensor.mul_(2)

    monkeypatch.setattr(gradients.distributed, 'get_world_size', lambda: 2)
    monkeypatch.setattr(gradients.distributed, 'all_reduce_sum_', all_reduce)
    values = torch.randn(1000, generator=torch.Generator().manual_seed(0))
    errors = {}
    for kind in gradients.REDUCED:
        param = torch.nn.Parameter(torch.zeros(1000))
        param.grad = values.clone()
        gradients.finish_gradients([param], 'skip', gradients.REDUCED[kind])
        assert param.grad.dtype == torch.float32
        errors[kind] = ((param.grad - values).norm() / values.norm()).item()
    assert sent == [(torch.float32, 4000), (torch.bfloat16, 2000)]
    assert errors['fp32'] == 0 and 5e-4 < errors['bf16'] < 2**-8


def test_frozen_parameters_are_neither_derived_nor_sent(monkeypatch, tmp_path):
    material = tiny_runs.write_zip(tmp_path / 'data.zip'), tiny_runs.write_teacher(tmp_path / 'teacher.pkl')
    tiny_runs.use_random_backbones(monkeypatch.setattr)
    task = tiny_runs.make_task(material, '--freeze=1')
    sent = []
    monkeypatch.setattr(gradients.distributed, 'get_world_size', lambda: 2)
    monkeypatch.setattr(gradients.distributed, 'all_reduce_sum_', lambda flat: sent.append(flat.numel()))
    images = torch.zeros(8, 3, 8, 8)
    rng = BatchRandom(0, 0, 0, 1, torch.device('cpu'), 'clean')
    task.generator_step(task.inputs('G', images, torch.eye(3)[torch.arange(8) % 3], rng))
    trained = {name: p for name, p in task.G.named_parameters() if p.requires_grad}
    frozen = {name: p for name, p in task.G.named_parameters() if not p.requires_grad}
    assert any('conv0' in name for name in frozen) and all(p.grad is None for p in frozen.values())
    assert sent == [sum(p.numel() for p in trained.values())]
    assert not any(p.grad is not None for net in (task.D, task.F) for p in net.parameters())
