# Copyright 2026 The GDD-1S authors.
# SPDX-License-Identifier: Apache-2.0
"""Tests of benchmarks/emulated_bf16.py: the U-Net computes in bfloat16, and nothing of it stays behind."""

import copy

import pytest
import torch

from benchmarks.emulated_bf16 import compute_in_bfloat16
from tests.support.tiny_runs import UNET
from training.networks import GDDPrecond


@pytest.mark.parametrize('use_fp16', [True, False])
def test_number_type_inside(use_fp16):
    torch.manual_seed(0)
    net = GDDPrecond(img_resolution=8, img_channels=3, label_dim=3, use_fp16=use_fp16, **UNET)
    x, sigma, labels = torch.randn(2, 3, 8, 8), torch.tensor([80.0, 80.0]), torch.eye(3)[:2]
    seen = []
    net.model.dec['8x8_block0'].register_forward_hook(lambda _m, _i, out: seen.append(out.dtype))
    out, exact = compute_in_bfloat16(net, 80 * x, sigma, labels), net(80 * x, sigma, labels)
    assert seen == [torch.bfloat16 if use_fp16 else torch.float32, torch.float32]
    assert out.dtype == torch.float32 and torch.equal(out, exact) != use_fp16
    assert (out - exact).norm() < 0.02 * exact.norm()
    assert compute_in_bfloat16(net, x, sigma, labels, force_fp32=True).equal(net(x, sigma, labels))
    out.sum().backward()
    assert all(p.grad.dtype == torch.float32 for p in net.parameters() if p.grad is not None)
    assert not copy.deepcopy(net).model._forward_pre_hooks
