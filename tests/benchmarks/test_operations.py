# Copyright 2026 The GDD-1S authors.
# SPDX-License-Identifier: Apache-2.0
"""Operations, bytes and launches by hand-made numbers."""

import torch

from benchmarks.operations import OperationCounter, own_bytes


def counted(function):
    with OperationCounter() as counter:
        function()
    return counter


def test_operations_are_counted_by_type():
    """By hand: 2 m n k of a product, 2 N Co Ci k k H W of a convolution, and as much again per gradient."""
    a, b = torch.zeros(3, 5), torch.zeros(5, 7)
    assert counted(lambda: a @ b).flops == {torch.float32: 2 * 3 * 5 * 7}
    assert counted(lambda: (a @ b, a.bfloat16() @ b.bfloat16())).flops == {
        torch.float32: 210,
        torch.bfloat16: 210,
    }
    x, w = torch.zeros(2, 3, 8, 8), torch.zeros(4, 3, 3, 3, requires_grad=True)
    once = 2 * 2 * 4 * 3 * 9 * 64
    assert counted(lambda: torch.conv2d(x, w, padding=1)).flops == {torch.float32: once}
    assert counted(lambda: torch.conv2d(x, w, padding=1).sum().backward()).flops == {torch.float32: 2 * once}
    x.requires_grad_(True)
    assert counted(lambda: torch.conv2d(x, w, padding=1).sum().backward()).flops == {torch.float32: 3 * once}
    assert counted(lambda: x + 1).flops == {}


def test_bytes_are_what_is_read_and_written():
    x = torch.zeros(4, 8)
    counts = counted(lambda: x.t() + 1).stages['']  # a view costs nothing
    assert (counts.launches, counts.bytes) == (1, 2 * 4 * 8 * 4)
    assert own_bytes(torch.zeros(1, 8).expand(100, 8)) == 8 * 4
    assert counted(lambda: x.expand(2, 4, 8).view(2, 4, 8)).stages == {}


def test_stages_and_the_roofline():
    names = iter(['first', 'second'])
    a, b = torch.zeros(16, 32), torch.zeros(32, 8)
    with OperationCounter(lambda: next(names)) as counter:
        a @ b
        a + 1
    product, addition = counter.stages['first'], counter.stages['second']
    assert product.flops == {torch.float32: 2 * 16 * 32 * 8} and not addition.flops
    moved = 4 * (16 * 32 + 32 * 8 + 16 * 8)
    assert product.floor({torch.float32: 8192.0}, 1e9) == (1.0, 0.0)  # bound by the product
    assert product.floor({torch.float32: 1e18}, moved / 2) == (2.0, 0.0)  # and by memory
    assert addition.floor({}, 2 * 16 * 32 * 4) == (0.0, 1.0)


def test_a_depthwise_convolution_is_work_of_memory():
    x, w = torch.zeros(2, 4, 8, 8), torch.zeros(4, 1, 3, 3)
    counts = counted(lambda: torch.conv2d(x, w, padding=1, groups=4)).stages['']
    assert counts.flops[torch.float32] == 2 * 2 * 4 * 9 * 64
    products, memory = counts.floor({torch.float32: 1.0}, 1e3)
    assert products == 0 and memory > 1
