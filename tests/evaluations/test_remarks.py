# Copyright 2026 The GDD-1S authors.
# SPDX-License-Identifier: Apache-2.0

"""Remarks about what makes numbers misleading."""

import pytest

from evaluations.remarks import resolution_in_name


@pytest.mark.parametrize(
    'name, side',
    [
        ('ffhq-64x64.npz', 64),
        ('a/cifar10-32x32.npz', 32),
        ('imagenet-64x64-baseline.npz', 64),
        ('x.npz', None),
        ('64x32.npz', None),
        ('2024x2024x.npz', 2024),
    ],
)
def test_resolution_in_a_name(name, side):
    assert resolution_in_name(name) == side
