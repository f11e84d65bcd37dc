# Copyright 2026 The GDD-1S authors.
# SPDX-License-Identifier: Apache-2.0
"""Networks on a device against the CPU: outputs, gradients, reduced precision, discriminator and features."""

import pytest
import torch

from tests.support.devices import FORWARD, GRADIENT, THROUGH_RELUS, distance, farthest, with_gradients
from tests.support.tiny_runs import UNET
from training import networks
from training.adversarial.discriminator import ProjectedDiscriminator
from training.adversarial.features import ProjectedFeatures

ADM = dict(
    model_type='DhariwalUNet', model_channels=32, channel_mult=[1, 2], num_blocks=1, attn_resolutions=[4]
)
DDPMPP = dict(UNET, embedding_type='positional', encoder_type='standard', resample_filter=[1, 1],
              channel_mult_noise=1)  # fmt: skip


def randomised(net):
    """Fill parameters that start at zero, behind which a mistake could hide."""
    for p in net.parameters():
        torch.nn.init.normal_(p, std=0.1) if p.ndim < 2 else torch.nn.init.kaiming_normal_(p)
    return net


def inputs(channels=3, size=8, count=4):
    torch.manual_seed(1)
    x, sigma = torch.randn(count, channels, size, size), torch.tensor([0.02, 0.5, 2.0, 60.0])[:count]
    return x * 2, sigma, torch.eye(3)[torch.arange(count) % 3]


@pytest.mark.parametrize('precond', ['EDMPrecond', 'VPPrecond', 'VEPrecond', 'GDDPrecond'])
@pytest.mark.parametrize('unet', [UNET, DDPMPP, ADM], ids=['ncsnpp', 'ddpmpp', 'adm'])
def test_outputs_and_gradients(precond, unet, device):
    torch.manual_seed(0)
    net = randomised(getattr(networks, precond)(img_resolution=8, img_channels=3, label_dim=3, **unet)).eval()
    results = [with_gradients(lambda net, *x: net(*x), net, inputs(), where) for where in (device, 'cpu')]
    assert distance(results[0][0], results[1][0]) < FORWARD
    assert farthest(results[0][1], results[1][1]) < GRADIENT


@pytest.mark.parametrize('precond', ['EDMPrecond', 'GDDPrecond'])
def test_sixteen_bits_are_near_float32(precond, device):
    """EDM computes in float16 on CUDA, GDD in bfloat16; on the CPU both stay in float32."""
    torch.manual_seed(0)
    net = randomised(
        getattr(networks, precond)(img_resolution=8, img_channels=3, label_dim=3, use_fp16=True, **UNET)
    )
    x, sigma, labels = inputs()
    expected = net.eval()(x, sigma, labels)
    found = net.to(device)(*(value.to(device) for value in (x, sigma, labels)))
    assert found.dtype == torch.float32
    assert (1e-6 if device.type == 'cuda' else 0) <= distance(found, expected) < 0.03


@pytest.mark.parametrize(
    'name, layout', [('tf_efficientnet_lite0', torch.channels_last), ('vgg16_bn', torch.contiguous_format)]
)
def test_features(name, layout, device):
    torch.manual_seed(0)
    features = ProjectedFeatures([name], 32, True, weights='random').to(memory_format=layout)
    results = [
        with_gradients(lambda net, x: torch.cat([m.flatten(1) for m in net(x)[net.names[0]]], dim=1),
                       features, [inputs(size=32, count=2)[0]], where)
        for where in (device, 'cpu')
    ]  # fmt: skip
    assert distance(results[0][0], results[1][0]) < 10 * FORWARD
    assert farthest(results[0][1], results[1][1]) < THROUGH_RELUS


def test_discriminator(device):
    torch.manual_seed(0)
    net = ProjectedDiscriminator(['tf_efficientnet_lite0'], [8, 8, 8, 8], [32, 16, 8, 4], label_dim=3,
                                 class_table=torch.randn(3, 16), channel_max=16)  # fmt: skip
    maps = [torch.randn(4, 8, size, size) for size in (32, 16, 8, 4)]

    def judge(net, finest, *others):
        *coarser, labels = others
        return net({'tf_efficientnet_lite0': [finest, *coarser]}, labels)[0]

    given = [*maps, torch.eye(3)[[0, 1, 2, 0]]]
    results = [with_gradients(judge, net, given, where) for where in (device, 'cpu')]
    assert distance(results[0][0], results[1][0]) < FORWARD
    # As one vector: the bias in front of a batch norm has no gradient but rounding.
    gradients = [torch.cat([g.flatten().cpu() for g in result[1]]) for result in results]
    assert distance(*gradients) < 10 * GRADIENT
