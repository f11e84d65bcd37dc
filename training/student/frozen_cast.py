# Copyright 2026 The GDD-1S authors.
# SPDX-License-Identifier: Apache-2.0
"""Frozen convolutions in the number type they compute in, converted once instead of at every forward pass.

The U-Nets keep float32 weights and convert them where they are used (training/networks.py, as EDM). For
trained weights that is the price of mixed precision. Frozen ones, 80 to 90 % of a GDD-I generator,
would be converted to the same numbers twice per iteration.
"""

import copy

import torch

from training.networks import Conv2d


def with_frozen_cast(net: torch.nn.Module, dtype: torch.dtype) -> torch.nn.Module:
    """Make a twin of a network that computes the same bits, with its frozen convolutions stored in `dtype`.

    The twin shares every trained parameter and every other tensor with `net`, so gradients and optimizer
    steps reach both. `net` stays the one to save and to average: its frozen weights keep float32.

    Args:
        net:   Network with training.networks.Conv2d layers; parameters without requires_grad are the frozen
               ones.
        dtype: Type of the activations in the convolutions, such as torch.bfloat16.
    Returns:
        The twin, in the mode (train, eval) of `net`. After changing frozen weights of `net` call
        `refresh_twin`.
    """
    shared = {id(tensor): tensor for tensor in [*net.parameters(), *net.buffers()]}
    for layer in net.modules():
        if isinstance(layer, Conv2d):
            for tensor in (layer.weight, layer.bias):
                if tensor is not None and not tensor.requires_grad:
                    shared[id(tensor)] = torch.nn.Parameter(tensor.detach().to(dtype), requires_grad=False)
            if layer.resample_filter is not None:
                shared[id(layer.resample_filter)] = layer.resample_filter.to(dtype)
    return copy.deepcopy(net, memo=shared)  # what is in the memo is taken, not copied


@torch.no_grad()
def refresh_twin(twin: torch.nn.Module, net: torch.nn.Module) -> None:
    """Bring the converted weights of a twin up to date, in place, after a state was loaded into `net`.

    Args:
        twin: A copy of `net` with tensors of other types; what it shares with `net`, also everything if it is
              `net` itself, needs nothing.
        net:  The network that it was made of.
    """
    for own, source in zip(
        [*twin.parameters(), *twin.buffers()], [*net.parameters(), *net.buffers()], strict=True
    ):
        if own is not source:  # what both share is as it was loaded
            own.copy_(source)
