# Copyright 2026 The GDD-1S authors.
# SPDX-License-Identifier: Apache-2.0
"""Tests of benchmarks/emulated_fp16.py: one rounding per convolution, both ways, and only there."""

import pytest
import torch
from torch.nn.functional import conv2d

from benchmarks.emulated_fp16 import RoundedConvolutions


@pytest.mark.parametrize('groups', [1, 4])
def test_convolutions_are_rounded_once(groups):
    torch.manual_seed(0)
    x = torch.randn(2, 4, 8, 8).half().requires_grad_()
    weight = torch.randn(8, 4 // groups, 3, 3).half().requires_grad_()
    wide_x, wide_weight = (tensor.detach().float().requires_grad_() for tensor in (x, weight))
    exact = conv2d(wide_x, wide_weight, padding=1, groups=groups)
    with RoundedConvolutions():
        out = conv2d(x, weight, padding=1, groups=groups)
        grad = torch.randn_like(out)
        out.backward(grad)
    exact.backward(grad.float())
    assert out.dtype == torch.float16 and out.equal(exact.half())
    assert x.grad.equal(wide_x.grad.half()) and weight.grad.equal(wide_weight.grad.half())


@pytest.mark.parametrize('dtype', [torch.float32, torch.bfloat16])
def test_other_numbers_stay_as_they_are(dtype):
    torch.manual_seed(0)
    x, weight = torch.randn(1, 4, 8, 8, dtype=dtype), torch.randn(8, 4, 3, 3, dtype=dtype)
    with RoundedConvolutions():
        out = conv2d(x, weight)
        product = x.half() @ x.half()
    assert out.equal(conv2d(x, weight)) and product.equal(x.half() @ x.half())
