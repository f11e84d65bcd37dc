# Copyright 2026 The GDD-1S authors.
# SPDX-License-Identifier: Apache-2.0
"""Convolutions that add their bias themselves, for CPUs: one pass less over each map, forward and backward.

The U-Nets add biases after their convolutions (training/networks.py, as EDM), which on a CPU is a pass over
memory of its own. Inside the convolution the sum is rounded otherwise, so this
belongs to the fast arithmetic (training/adversarial/precision.py).
"""

import copy

import torch
from torch.nn.functional import conv2d

from training.networks import Conv2d


class BiasInsideConv2d(Conv2d):
    """`Conv2d` without resampling, with the bias inside."""

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        weight, bias = self.weight.to(x.dtype), self.bias.to(x.dtype)
        return conv2d(x, weight, bias, padding=weight.shape[-1] // 2)  # [N, C_out, H, W]


def with_bias_inside(net: torch.nn.Module) -> torch.nn.Module:
    """Make a twin of a network that adds the biases of its convolutions inside them.

    The twin shares all parameters and buffers with `net`, which stays the one to save and to average.

    Args:
        net: Network with training.networks.Conv2d layers.
    Returns:
        The twin, in the mode (train, eval) of `net`.
    """
    shared = {id(tensor): tensor for tensor in [*net.parameters(), *net.buffers()]}
    twin = copy.deepcopy(net, memo=shared)  # what is in the memo is taken, not copied
    for layer in twin.modules():
        plain = isinstance(layer, Conv2d) and not (layer.up or layer.down)
        if plain and layer.weight is not None and layer.bias is not None:
            # The same data, another forward; as in adversarial/batch_split.py, a new layer would have to be
            # hung into its parent.
            layer.__class__ = BiasInsideConv2d
    return twin
