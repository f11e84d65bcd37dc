# Copyright 2026 The GDD-1S authors.
# SPDX-License-Identifier: Apache-2.0
"""Batch norms for tests."""

import torch


def randomise_norms(module, seed=0):
    """Give batch norms statistics and weights that a mistake could not hide behind."""
    generator = torch.Generator().manual_seed(seed)
    for m in module.modules():
        if isinstance(m, torch.nn.BatchNorm2d):
            for tensor, low in (
                (m.weight, 0.8),
                (m.bias, -0.1),
                (m.running_mean, -0.1),
                (m.running_var, 0.8),
            ):
                with torch.no_grad():
                    tensor.copy_(low + 0.4 * torch.rand(tensor.shape, generator=generator))
    return module
