# Copyright 2026 The GDD-1S authors.
# SPDX-License-Identifier: Apache-2.0
"""Test that stages and peaks are counted right. No timing is asserted."""

import torch

from benchmarks import instruments

CPU = torch.device('cpu')


def test_stages_sum_up_and_nested_ones_count_for_themselves():
    now = [0.0]

    class Parts:
        def outer(self):
            now[0] += 1
            self.inner()
            now[0] += 2
            return 'result'

        def inner(self):
            now[0] += 10

    parts = Parts()
    timer = instruments.StageTimer(CPU, clock=lambda: now[0])
    with timer.around([(parts, 'outer', 'out'), (parts, 'inner', 'in')]):
        assert parts.outer() == 'result'
        now[0] += 100  # between stages: nobody's
        parts.inner()
    assert timer.seconds == {'out': 3, 'in': 20}
    parts.outer()  # the methods are as they were
    assert timer.seconds == {'out': 3, 'in': 20} and not vars(parts) and timer.current == ''


def test_functions_of_modules_are_timed_as_well():
    original = instruments.synchronize
    timer = instruments.StageTimer(CPU, clock=lambda: 0.0)
    with timer.around([(instruments, 'peak_memory_gib', 'memory')]):
        assert instruments.peak_memory_gib(CPU) > 0
    assert 'memory' in timer.seconds and instruments.peak_memory_gib.__name__ == 'peak_memory_gib'
    assert not hasattr(instruments.peak_memory_gib, '__wrapped__') and instruments.synchronize is original


def test_peak_is_the_rate_of_a_product(monkeypatch):
    monkeypatch.setattr(instruments, 'seconds_of', lambda function, device: function() is None or 0.25)
    assert instruments.matmul_peak(torch.float32, CPU, size=8, seconds=0) == 2 * 8**3 / 0.25
    assert instruments.peak_memory_gib(CPU) > 0.1
    assert instruments.copy_rate(CPU, seconds=0) == 2 * 2**26 / 0.25
