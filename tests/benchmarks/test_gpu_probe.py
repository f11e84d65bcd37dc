# Copyright 2026 The GDD-1S authors.
# SPDX-License-Identifier: Apache-2.0
"""The rates that are probed; test_gpu_campaign.py runs the command. No timing is asserted."""

import torch

from benchmarks import gpu_probe

CPU = torch.device('cpu')


def test_every_type_is_probed_and_tf32_only_where_it_exists(monkeypatch):
    asked = []
    monkeypatch.setattr(
        gpu_probe,
        'matmul_peak',
        lambda dtype, device, seconds: (asked.append((dtype, torch.backends.cuda.matmul.allow_tf32)), 1.0)[1],
    )
    assert list(gpu_probe.product_rates(CPU, 0)) == ['fp32', 'fp16', 'bf16']
    assert list(gpu_probe.product_rates(torch.device('cuda'), 0)) == ['fp32', 'tf32', 'fp16', 'bf16']
    assert [flag for dtype, flag in asked if dtype == torch.float32] == [False, False, True]
    assert not torch.backends.cuda.matmul.allow_tf32


def test_launches_take_time():
    assert 0 < gpu_probe.launch_seconds(CPU, count=10) < 1
