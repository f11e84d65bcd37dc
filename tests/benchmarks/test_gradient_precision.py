# Copyright 2026 The GDD-1S authors.
# SPDX-License-Identifier: Apache-2.0
"""Cosines of gradients: equal arithmetic gives 1, and fewer bits less."""

import torch

from benchmarks.gradient_precision import gradients, trained_discriminator
from training.adversarial.features import ProjectedFeatures
from training.adversarial.precision import Arithmetic


def test_bfloat16_moves_gradients_and_nothing_else_does():
    torch.manual_seed(0)
    features = ProjectedFeatures(['tf_efficientnet_lite0'], 32, True, weights='random', fused=True)
    reals, fakes = (torch.rand(4, 3, 8, 8) * 2 - 1 for _ in range(2))
    D = trained_discriminator(features, fakes, reals, 8)
    exact = gradients(features, D, fakes, reals, Arithmetic())
    again = gradients(features, D, fakes, reals, Arithmetic(torch.float32, torch.float32))
    rounded = gradients(features, D, fakes, reals, Arithmetic(torch.bfloat16, torch.bfloat16))
    assert set(exact) == {'image', 'D', 'R1'}
    for name in exact:
        same, other = (
            torch.cosine_similarity(exact[name], found[name], dim=0).item() for found in (again, rounded)
        )
        assert same > 0.999999 and 0.3 < other < 0.99999, (name, same, other)
