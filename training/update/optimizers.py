# Copyright 2026 The GDD-1S authors.
# SPDX-License-Identifier: Apache-2.0
"""Optimizers of the training, by their official names, and steps that can be left out."""

from collections.abc import Sequence
from typing import Any

import torch

from dnnlib.errors import ArgumentError, arg


class RAdam(torch.optim.RAdam):
    """RAdam that leaves out steps like the fused Adam (see `step_unless`).

    torch has no fused RAdam, so the host waits for the tensor.
    """

    def step(self, closure: Any = None) -> Any:
        found = getattr(self, 'found_inf', None)
        return None if found is not None and found.item() else super().step(closure)


def make_optimizer(kind: str, params: Sequence[torch.nn.Parameter], **kwargs: Any) -> torch.optim.Optimizer:
    """Make an optimizer.

    Args:
        kind:   'adam' (Kingma and Ba 2015) or 'radam' (Liu et al. 2020). The official code takes any other
                word for RAdam.
        params: Parameters.
        kwargs: lr, betas, eps, weight_decay (L2, added to the gradient).
    Returns:
        Optimizer whose steps need no Python work per parameter on CUDA.
    Raises:
        ArgumentError: Unknown kind.
    """
    if kind == 'adam':
        return torch.optim.Adam(params, fused=True, **kwargs)
    if kind == 'radam':
        return RAdam(params, foreach=True, **kwargs)
    raise ArgumentError(
        arg('optimizer_type', kind), ' is unknown; use ', arg('optimizer_type', 'adam'), ' or radam'
    )


def step_unless(optimizer: torch.optim.Optimizer, skip: torch.Tensor | None) -> None:
    """Take an optimizer step unless a tensor says not to, without the host having to read that tensor.

    `found_inf` is what torch made for its GradScaler, and has no other name: a fused optimizer reads it on
    its device, and where it is 1 leaves parameters, moments and its own step counter alone. This is the one
    place that sets it.

    Args:
        optimizer: From `make_optimizer`, or another fused one.
        skip:      1.0 to leave the step out or 0.0, scalar tensor on the device of the parameters; None for
                   0.
    """
    optimizer.found_inf = skip
    optimizer.step()
