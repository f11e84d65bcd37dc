# Copyright 2026 The GDD-1S authors.
# SPDX-License-Identifier: Apache-2.0
"""Tests of training/backbones/frozen_conv.py: derivatives of any order, bits and operations of R1."""

import collections
import contextlib

import pytest
import torch
from torch.nn import functional
from torch.utils._python_dispatch import TorchDispatchMode

from training.adversarial import losses
from training.adversarial.features import ProjectedFeatures
from training.backbones import frozen_conv
from training.backbones.frozen_conv import FrozenConv, FrozenConvolutions, conv_arguments

SETTINGS = [  # in, out channels, kernel, stride, padding, dilation, groups
    (3, 4, 3, (1, 1), (1, 1), (1, 1), 1),
    (4, 4, 3, (2, 2), (1, 1), (1, 1), 4),
    (4, 6, 3, (2, 1), (0, 2), (1, 2), 2),
]


class Count(TorchDispatchMode):
    def __init__(self):
        super().__init__()
        self.calls = collections.Counter()

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        self.calls[func._overloadpacket.__name__] += 1
        return func(*args, **(kwargs or {}))


@pytest.mark.parametrize('c_in, c_out, kernel, stride, padding, dilation, groups', SETTINGS)
def test_first_and_second_derivatives_by_differences(c_in, c_out, kernel, stride, padding, dilation, groups):
    torch.manual_seed(0)
    x = torch.randn(2, c_in, 6, 7, dtype=torch.float64, requires_grad=True)
    weight, bias = torch.randn(c_out, c_in // groups, kernel, kernel).double(), torch.randn(c_out).double()

    def function(x):
        return FrozenConv.apply(x.square(), weight, bias, stride, padding, dilation, groups)

    assert torch.autograd.gradcheck(function, x) and torch.autograd.gradgradcheck(function, x)


def penalty_gradient(features, images, head, mode):
    """R1 of a head on frozen features; returns (gradient of the head, operations)."""
    images = images.clone(memory_format=torch.preserve_format).requires_grad_(True)
    with Count() as count:
        with mode:
            maps = features(images)
        logits = [head(maps[name][-1]).flatten(1) for name in features.names]
        penalty = losses.r1_penalty(logits, images)
        (gradient,) = torch.autograd.grad(penalty.mean(), [head.weight])
    return gradient, count.calls


@pytest.mark.parametrize(
    'name, fused, layout',
    [
        ('tf_efficientnet_lite0', False, torch.channels_last),
        ('tf_efficientnet_lite0', True, torch.contiguous_format),
        ('vgg16_bn', True, torch.channels_last),
    ],
)
def test_r1_has_the_same_bits_with_fewer_operations(name, fused, layout):
    torch.manual_seed(0)
    features = ProjectedFeatures([name], 32, True, weights='random', fused=fused).to(memory_format=layout)
    head = torch.nn.Conv2d(256, 1, 1, bias=False)
    images = torch.randn(2, 3, 16, 16).contiguous(memory_format=layout)
    before, slow = penalty_gradient(features, images, head, contextlib.nullcontext())
    after, fast = penalty_gradient(features, images, head, FrozenConvolutions())
    assert torch.equal(before, after) and before.abs().max() > 0
    assert slow.total() - fast.total() > (15_000 if 'lite0' in name else 10)
    assert fast['slice'] == 0


def test_a_wrong_second_derivative_is_noticed(monkeypatch):
    monkeypatch.setattr(
        frozen_conv.FrozenConvGradient, 'backward', staticmethod(lambda ctx, grad: (grad * 0, *[None] * 6))
    )
    x = torch.randn(1, 2, 4, 4, dtype=torch.float64, requires_grad=True)
    weight = torch.randn(2, 2, 3, 3).double()
    with pytest.raises(RuntimeError, match='Jacobian mismatch'):
        torch.autograd.gradgradcheck(
            lambda x: FrozenConv.apply(x.square(), weight, None, (1, 1), (1, 1), (1, 1), 1), x
        )


def test_what_is_left_to_torch():
    x, weight = torch.randn(1, 2, 4, 4, requires_grad=True), torch.randn(2, 2, 3, 3)
    assert conv_arguments(x, weight) == (x, weight, None, (1, 1), (0, 0), (1, 1), 1)
    assert conv_arguments(x, weight, padding='same') is None
    assert conv_arguments(x.detach(), weight) is None
    assert conv_arguments(x, weight.clone().requires_grad_(True)) is None
    with FrozenConvolutions():
        frozen = functional.conv2d(x, weight, padding=1)
        trained = functional.conv2d(x, torch.nn.Parameter(weight), padding=1)
    assert type(frozen.grad_fn).__name__ == 'FrozenConvBackward' and torch.equal(frozen, trained)
    assert type(trained.grad_fn).__name__ == 'ConvolutionBackward0'
    assert type(functional.conv2d(x, weight).grad_fn).__name__ == 'ConvolutionBackward0'
