# Copyright 2026 The GDD-1S authors.
# SPDX-License-Identifier: Apache-2.0
"""The error of a mean in bfloat16, by hand."""

import pytest
import torch

from benchmarks.reduction_error import bfloat16_mean, errors


def test_every_addition_rounds_to_eight_bits():
    parts = [torch.tensor([256.0 * 3]), torch.tensor([3.0]), torch.tensor([3.0])]
    assert bfloat16_mean(parts).tolist() == [256.0]  # 256 + 1 + 1: bfloat16 has no 257
    assert bfloat16_mean([torch.tensor([3.0])] * 4).tolist() == [3.0]
    assert errors(parts) == (pytest.approx(2 / 258), pytest.approx((768 - 258) / 258))


def test_random_parts_lose_half_of_the_last_bit():
    generator = torch.Generator().manual_seed(0)
    parts = [torch.randn(4096, generator=generator) for _ in range(2)]
    rounding, sampling = errors(parts)
    assert 1e-3 < rounding < 2**-8 and 0.5 < sampling < 2
