# Copyright 2026 The GDD-1S authors.
# SPDX-License-Identifier: Apache-2.0
"""Optimizers of the distillation, by their official names."""
import torch


def make_optimizer(kind, params, **kwargs):
    """Make an optimizer.

    Args:
        kind:   'adam' (Kingma and Ba 2015) or 'radam' (Liu et al. 2020). The official code takes any other word for RAdam.
        params: Parameters, a list.
        kwargs: lr, betas, eps, weight_decay (L2, added to the gradient).
    Returns:
        torch.optim.Optimizer that needs no Python work per parameter on CUDA.
    Raises:
        ValueError: Unknown kind.
    """
    if kind == 'adam':
        return torch.optim.Adam(params, fused=True, **kwargs)
    if kind == 'radam':
        return torch.optim.RAdam(params, foreach=True, **kwargs)
    raise ValueError(f'optimizer {kind!r} is unknown; use adam or radam')
