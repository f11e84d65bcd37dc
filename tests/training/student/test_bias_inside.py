# Copyright 2026 The GDD-1S authors.
# SPDX-License-Identifier: Apache-2.0

"""The twin whose convolutions add their biases: the same function and gradients, the same tensors."""

import torch

from benchmarks.operations import OperationCounter
from tests.support.tiny_runs import UNET
from training import networks
from training.student.bias_inside import BiasInsideConv2d, with_bias_inside


def network():
    torch.manual_seed(0)
    net = networks.GDDPrecond(img_resolution=8, img_channels=3, **UNET).train()
    for parameter in net.parameters():  # some start at zero, and biases too
        torch.nn.init.normal_(parameter, std=0.2)
    return net.to(memory_format=torch.channels_last)


def gradients(net, owner):
    x = torch.randn([2, 3, 8, 8], generator=torch.Generator().manual_seed(1))
    owner.zero_grad()
    image = net(x * 80, torch.tensor(80.0))
    image.square().sum().backward()
    return image, [p.grad.clone() for p in owner.parameters()]


def test_twin_computes_the_same_up_to_rounding():
    net = network()
    twin = with_bias_inside(net)
    expected, found = gradients(net, net), gradients(twin, net)
    torch.testing.assert_close(found[0], expected[0], rtol=1e-4, atol=1e-4)
    for a, b in zip(found[1], expected[1]):
        torch.testing.assert_close(a, b, rtol=1e-3, atol=1e-3 * float(b.abs().max()))


def test_twin_shares_all_tensors_and_leaves_the_network_alone():
    net = network()
    twin = with_bias_inside(net)
    assert all(a is b for a, b in zip(twin.parameters(), net.parameters(), strict=True))
    assert all(a is b for a, b in zip(twin.buffers(), net.buffers(), strict=True))
    assert twin.training and not any(type(layer) is BiasInsideConv2d for layer in net.modules())
    changed = [layer for layer in twin.modules() if type(layer) is BiasInsideConv2d]
    assert changed and not any(layer.up or layer.down for layer in changed)


def test_there_are_fewer_passes_over_memory():
    net = network()
    counts = []
    for module in (net, with_bias_inside(net)):
        with OperationCounter() as counter:
            gradients(module, net)
        counts.append(counter.stages[''].bytes)
    assert counts[1] < 0.95 * counts[0]
