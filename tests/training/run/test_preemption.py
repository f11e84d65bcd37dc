# Copyright 2026 The GDD-1S authors.
# SPDX-License-Identifier: Apache-2.0
"""Tests of training/run/preemption.py in one process; tests/runs/test_kill_and_resume.py has whole runs."""

import os
import signal

import pytest
import torch

from torch_utils.distributed import ProcessLost
from training.run import preemption
from training.run.preemption import Interruption

CPU = torch.device('cpu')


@pytest.mark.parametrize('number', [signal.SIGTERM, signal.SIGUSR1])
def test_signals_stop_the_run_after_the_iteration(number):
    before = signal.getsignal(number)
    with Interruption(0, CPU) as interruption:
        assert interruption.poll(1) == (False, False)
        os.kill(os.getpid(), number)
        os.kill(os.getpid(), number)  # impatience changes nothing
        assert (
            interruption.poll(2) == (True, True) and interruption.signal_name == signal.Signals(number).name
        )
    assert signal.getsignal(number) == before


@pytest.mark.parametrize(
    'error, number, raised',
    [
        (ProcessLost, signal.SIGTERM, [signal.SIGTERM]),
        (ProcessLost, signal.SIGUSR1, []),
        (KeyError, signal.SIGTERM, []),
    ],
)
def test_launcher_that_has_lost_a_process_ends_the_others_at_once(error, number, raised, monkeypatch):
    found = []
    monkeypatch.setattr(preemption.signal, 'raise_signal', found.append)
    with pytest.raises(error):
        with Interruption(0, CPU):
            os.kill(os.getpid(), number)
            raise error
    assert found == raised


def test_states_by_the_clock(monkeypatch):
    now = [100.0]
    monkeypatch.setattr(preemption.time, 'monotonic', lambda: now[0])
    interruption = Interruption(2, CPU)
    for seconds, due in ((0, False), (119, False), (120, True), (500, True)):
        now[0] = 100.0 + seconds
        assert interruption.poll(1) == (False, due)
    interruption.state_written()
    assert interruption.poll(1) == (False, False)
    now[0] += 120
    assert interruption.poll(1) == (False, True)
    never = Interruption(0, CPU)
    now[0] += 1e9
    assert never.poll(1) == (False, False)


def test_processes_agree(monkeypatch):
    """Whatever one process has heard counts for all; with CUDA they talk every few iterations."""
    others = torch.tensor([0, 0])
    monkeypatch.setattr(preemption.distributed, 'get_world_size', lambda: 2)
    monkeypatch.setattr(preemption.distributed, 'all_reduce_sum_', lambda flags: flags.add_(others))
    interruption = Interruption(0, torch.device('cuda'))
    assert [interruption.poll(k) for k in (7, 8)] == [(False, False)] * 2
    others += torch.tensor([1, 0])
    assert [interruption.poll(k) for k in (9, 15, 16)] == [(False, False)] * 2 + [(True, True)]
    others.copy_(torch.tensor([0, 1]))
    assert Interruption(0, CPU).poll(3) == (False, True)


def test_loader_processes_leave_signals_alone():
    handlers = {number: signal.getsignal(number) for number in preemption.PREEMPTION_SIGNALS}
    try:
        preemption.ignore_signals(0)
        for number in handlers:
            os.kill(os.getpid(), number)
    finally:
        for number, handler in handlers.items():
            signal.signal(number, handler)
