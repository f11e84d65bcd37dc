# Copyright 2026 The GDD-1S authors.
# SPDX-License-Identifier: Apache-2.0
"""Test that operations, stages and peaks are counted right. No timing is asserted."""

import torch

from benchmarks import instruments

CPU = torch.device('cpu')


def counted(function):
    with instruments.FlopCounter() as counter:
        function()
    return counter.flops


def test_operations_are_counted_by_type():
    """By hand: 2 m n k of a product, 2 N Co Ci k k H W of a convolution, and as much again per gradient."""
    a, b = torch.zeros(3, 5), torch.zeros(5, 7)
    assert counted(lambda: a @ b) == {torch.float32: 2 * 3 * 5 * 7}
    assert counted(lambda: (a @ b, a.bfloat16() @ b.bfloat16())) == {torch.float32: 210, torch.bfloat16: 210}
    x, w = torch.zeros(2, 3, 8, 8), torch.zeros(4, 3, 3, 3, requires_grad=True)
    once = 2 * 2 * 4 * 3 * 9 * 64
    assert counted(lambda: torch.conv2d(x, w, padding=1)) == {torch.float32: once}
    assert counted(lambda: torch.conv2d(x, w, padding=1).sum().backward()) == {torch.float32: 2 * once}
    x.requires_grad_(True)
    assert counted(lambda: torch.conv2d(x, w, padding=1).sum().backward()) == {torch.float32: 3 * once}
    assert counted(lambda: x + 1) == {}


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
    assert timer.seconds == {'out': 3, 'in': 20} and not vars(parts)


def test_peak_is_the_rate_of_a_product(monkeypatch):
    monkeypatch.setattr(instruments, 'seconds_of', lambda function, device: function() is None or 0.25)
    assert instruments.matmul_peak(torch.float32, CPU, size=8, seconds=0) == 2 * 8**3 / 0.25
    assert instruments.peak_memory_gib(CPU) > 0.1
