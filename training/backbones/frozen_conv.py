# Copyright 2026 The GDD-1S authors.
# SPDX-License-Identifier: Apache-2.0
"""Convolutions whose weights never get a gradient, for derivatives of second order (R1).

torch's double backward of a convolution also computes what only a trained weight needs, and takes the groups
of a depthwise convolution one by one. A convolution with fixed weights is linear in its input: its derivative
is the transposed convolution, whose derivative is the convolution again.

Letters in shape comments: N batch, C channels, H W pixels.
"""

from typing import Any

import torch
from torch.nn import functional
from torch.overrides import TorchFunctionMode

Sizes = tuple[int, int]


class FrozenConv(torch.autograd.Function):
    """Convolution with fixed weights, differentiable any number of times; the same bits as conv2d.

    Arguments of `apply`: x [N, C, H, W], weight, bias or None, stride, padding, dilation, groups.
    """

    @staticmethod
    def forward(
        ctx: Any,
        x: torch.Tensor,
        weight: torch.Tensor,
        bias: torch.Tensor | None,
        stride: Sizes,
        padding: Sizes,
        dilation: Sizes,
        groups: int,
    ) -> torch.Tensor:
        ctx.save_for_backward(weight)
        ctx.arguments = (x.shape, stride, padding, dilation, groups)
        return functional.conv2d(x, weight, bias, stride, padding, dilation, groups)  # [N, C_out, H', W']

    @staticmethod
    def backward(ctx: Any, grad: torch.Tensor) -> tuple:
        (weight,) = ctx.saved_tensors
        return FrozenConvGradient.apply(grad, weight, *ctx.arguments), *[None] * 6


class FrozenConvGradient(torch.autograd.Function):
    """Gradient of `FrozenConv` for its input, which is linear in the gradient of its output.

    Arguments of `apply`: grad [N, C_out, H', W'], weight, shape of the input, stride, padding, dilation,
    groups.
    """

    @staticmethod
    def forward(
        ctx: Any,
        grad: torch.Tensor,
        weight: torch.Tensor,
        shape: torch.Size,
        stride: Sizes,
        padding: Sizes,
        dilation: Sizes,
        groups: int,
    ) -> torch.Tensor:
        ctx.save_for_backward(weight)
        ctx.arguments = (stride, padding, dilation, groups)
        # Of the input only shape, type and memory order count, so that no activation is kept for it.
        like = grad.new_empty([1]).expand(shape)
        mask = [True, False, False]  # input, weight, bias
        return torch.ops.aten.convolution_backward(
            grad, like, weight, None, stride, padding, dilation, False, [0, 0], groups, mask
        )[0]  # [N, C, H, W]

    @staticmethod
    def backward(ctx: Any, grad: torch.Tensor) -> tuple:
        (weight,) = ctx.saved_tensors
        return FrozenConv.apply(grad, weight, None, *ctx.arguments), *[None] * 6


class FrozenConvolutions(TorchFunctionMode):
    """Let every conv2d with weights that need no gradient be a `FrozenConv`, as a context manager.

    It only has to surround the forward pass. Modules and their state dicts stay as they are; convolutions
    that it cannot take (weights with gradients, padding by name) stay torch's.
    """

    def __torch_function__(self, func: Any, types: Any, args: tuple = (), kwargs: dict | None = None) -> Any:
        if func is torch.conv2d:
            call = conv_arguments(*args, **(kwargs or {}))
            if call is not None:
                return FrozenConv.apply(*call)
        return func(*args, **(kwargs or {}))


def conv_arguments(
    x: torch.Tensor,
    weight: torch.Tensor,
    bias: torch.Tensor | None = None,
    stride: int | Sizes = 1,
    padding: int | Sizes | str = 0,
    dilation: int | Sizes = 1,
    groups: int = 1,
) -> tuple | None:
    """Return the arguments of conv2d for `FrozenConv`, or None where it does not fit."""
    trained = weight.requires_grad or (bias is not None and bias.requires_grad)
    if trained or not x.requires_grad or isinstance(padding, str):
        return None
    pairs = [(v, v) if isinstance(v, int) else tuple(v) for v in (stride, padding, dilation)]
    return x, weight, bias, *pairs, groups
