# Copyright 2026 The GDD-1S authors.
# SPDX-License-Identifier: Apache-2.0
"""Test the benchmark of precision and recall: its features, and that torch-fidelity agrees in its table."""

import re

import torch
from click.testing import CliRunner

from benchmarks import manifold


def test_features_are_not_negative_and_repeat():
    features = manifold.make_features(30, 16, 1, 'cpu')
    assert features.shape == (30, 16) and features.dtype == torch.float32 and features.min() >= 0
    assert torch.equal(features, manifold.make_features(30, 16, 1, 'cpu'))
    assert not torch.equal(features, manifold.make_features(30, 16, 2, 'cpu'))


def test_share_of_matrix_products_is_a_share():
    sets = [manifold.make_features(40, 16, seed, 'cpu') for seed in (1, 2)]
    _seconds, _cpu, share, memory, result = manifold.run_ours(*sets, 'exact', 16)
    assert 0 < share < 1 and memory >= 0 and 0 <= result.precision <= 1


def test_torch_fidelity_agrees():
    args = ['--samples=60', '--reference=50', '--dim=16', '--baseline']
    result = CliRunner().invoke(manifold.main, args)
    assert result.exit_code == 0, result.output
    pairs = re.findall(r'(\d\.\d{4}), (\d\.\d{4}) \|', result.output)
    assert len(pairs) == 2 and pairs[0] == pairs[1] and float(pairs[0][0]) > 0
