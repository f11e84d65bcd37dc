# Copyright 2026 The GDD-1S authors.
# SPDX-License-Identifier: Apache-2.0
"""Optimizers of the distillation, by their official names."""

import torch


class RAdam(torch.optim.RAdam):
    """RAdam that leaves out steps like the fused Adam, where `found_inf` (a tensor, 1.0 or 0.0) says so.

    torch has no fused RAdam, so the host waits for the tensor.
    """

    def step(self, closure=None):
        found = getattr(self, 'found_inf', None)
        return None if found is not None and found.item() else super().step(closure)


def make_optimizer(kind, params, **kwargs):
    """Make an optimizer.

    Args:
        kind:   'adam' (Kingma and Ba 2015) or 'radam' (Liu et al. 2020). The official code takes any other word for RAdam.
        params: Parameters, a list.
        kwargs: lr, betas, eps, weight_decay (L2, added to the gradient).
    Returns:
        torch.optim.Optimizer whose steps need no Python work per parameter on CUDA.
    Raises:
        ValueError: Unknown kind.
    """
    if kind == 'adam':
        return torch.optim.Adam(params, fused=True, **kwargs)
    if kind == 'radam':
        return RAdam(params, foreach=True, **kwargs)
    raise ValueError(f'optimizer {kind!r} is unknown; use adam or radam')
