# Copyright 2026 The GDD-1S authors.
# SPDX-License-Identifier: Apache-2.0
"""Tests of training/backbones/teacher.py: which maps of the encoder, at which level, with which labels."""

import pytest
import torch
from torch.nn import functional

from dnnlib.errors import ArgumentError
from tests.support.tiny_runs import UNET
from training import networks
from training.backbones.teacher import TeacherStages, four_levels

N = 2


def make_net(side=16, classes=3, cls=networks.EDMPrecond, **arguments):
    torch.manual_seed(0)
    net = cls(img_resolution=side, img_channels=3, label_dim=classes, **dict(UNET, **arguments)).eval()
    with torch.no_grad():
        for parameter in net.parameters():  # the branches of an untrained network are all but zero
            parameter.add_(0.1 * torch.randn_like(parameter))
    return net


def inputs(side=16, classes=3):
    sigma = torch.tensor([0.1, 3.0]).reshape(N, 1, 1, 1)
    return torch.randn(N, 3, side, side), sigma, torch.randn(N, 3, side, side), torch.eye(classes)[:N]


def hooked(net, names, x, sigma, labels):
    """Return what the named entries of the encoder give inside a whole call of the network."""
    found = {}
    for name in names:
        net.model.enc[name].register_forward_hook(lambda _m, _i, out, name=name: found.update({name: out}))
    net(x, sigma, labels)
    return [found[name] for name in names]


@pytest.mark.parametrize('cls', [networks.EDMPrecond, networks.GDDPrecond])
def test_maps_are_those_of_a_whole_call_on_noisy_images(cls):
    net = make_net(num_blocks=2, cls=cls)
    x, sigma, noise, labels = inputs()
    maps = TeacherStages(net)(x, sigma, noise, labels)
    expected = hooked(net, ['16x16_block1', '8x8_block1'], x + sigma * noise, sigma, labels)
    for ours, theirs in zip(maps, expected):
        torch.testing.assert_close(ours, functional.group_norm(theirs, 2), rtol=1e-5, atol=1e-6)
    for wrong in (  # of another block; without noise; at another level
        hooked(net, ['16x16_block0'], x + sigma * noise, sigma, labels),
        hooked(net, ['16x16_block1'], x, sigma, labels),
        hooked(net, ['16x16_block1'], x + sigma * noise, 2 * sigma, labels),
    ):
        assert (maps[0] - functional.group_norm(wrong[0], 2)).abs().max() > 1e-3


@pytest.mark.parametrize(
    'model, channels, sizes',
    [
        (dict(channel_mult=[1, 2]), [8, 16, 16, 16], [16, 8, 4, 2]),
        (dict(channel_mult=[1, 2, 2, 3]), [8, 16, 16, 24], [16, 8, 4, 2]),
        (dict(channel_mult=[1, 1, 2, 2, 3]), [8, 16, 16, 24], [8, 4, 2, 1]),  # the coarsest four
        (dict(channel_mult=[1, 2], encoder_type='skip'), [8, 16, 16, 16], [16, 8, 4, 2]),
    ],
)
def test_four_maps_of_any_encoder(model, channels, sizes):
    stages = TeacherStages(make_net(attn_resolutions=[], **model))
    assert (stages.channels, stages.sizes) == (channels, sizes)
    maps = stages(*inputs())
    assert [(x.shape[1], x.shape[2]) for x in maps] == list(zip(channels, sizes))
    assert stages.spec.channels == tuple(channels) and not stages.spec.is_transformer


def test_adm_and_published_shapes():
    """EDM's layouts: 256 channels at 32, 16, 8 pixels; ADM: 192, 384, 576, 768 (narrower here)."""
    adm = dict(model_type='DhariwalUNet', model_channels=32, channel_mult=[1, 2, 3, 4], num_blocks=1)
    net = networks.EDMPrecond(img_resolution=64, img_channels=3, label_dim=0, attn_resolutions=[], **adm)
    stages = TeacherStages(net)
    assert (stages.channels, stages.sizes) == ([32, 64, 96, 128], [64, 32, 16, 8])
    with torch.device('meta'):
        net = networks.EDMPrecond(
            img_resolution=32,
            img_channels=3,
            **dict(UNET, model_channels=128, channel_mult=[2, 2, 2], num_blocks=4),
        )
        stages = TeacherStages(net)
    assert stages.channels[:3] == [256, 256, 256] and stages.sizes == [32, 16, 8, 4]


def test_missing_levels_are_means_of_pixels():
    maps = four_levels([torch.ones(1, 4, 8, 8), torch.arange(16.0).reshape(1, 1, 4, 4)])
    assert [x.shape[2] for x in maps] == [8, 4, 2, 1]
    assert maps[2].flatten().tolist() == [2.5, 4.5, 10.5, 12.5] and maps[3].item() == 7.5
    assert [x.shape[2] for x in four_levels([torch.ones(1, 4, s, s) for s in (16, 8, 4, 2, 1)])] == [
        8,
        4,
        2,
        1,
    ]


def test_frozen_and_without_dropout():
    net = make_net(dropout=0.5)
    stages = TeacherStages(net.train())
    before = [tensor.clone() for tensor in stages.state_dict().values()]
    stages.train()(*inputs())
    arguments = inputs()
    assert all(torch.equal(a, b) for a, b in zip(stages(*arguments), stages(*arguments)))
    assert all(torch.equal(a, b) for a, b in zip(before, stages.state_dict().values()))
    assert not any(p.requires_grad for p in stages.parameters()) and len(stages.net.model.dec) == 0
    assert len(net.model.dec) > 0 and all(p.requires_grad for p in net.parameters())  # a copy
    with torch.no_grad():
        next(iter(net.model.enc.values())).weight.zero_()
    assert stages(*arguments)[0].abs().sum() > 0


def test_gradients_reach_the_images_twice(monkeypatch):
    """R1 differentiates the gradient once more; both against finite differences, in float64."""
    monkeypatch.setattr(  # which is float32 for whatever comes
        networks.GroupNorm,
        'forward',
        lambda n, x: functional.group_norm(x, n.num_groups, n.weight, n.bias, n.eps),
    )
    stages = TeacherStages(make_net(side=8, channel_mult=[1], attn_resolutions=[])).double()
    x, sigma, noise, labels = (tensor.double() for tensor in inputs(side=8))
    x = (0.5 * x).requires_grad_(True)
    weights = [torch.randn_like(m) for m in stages(x, sigma, noise, labels)]

    def total(x):
        maps = stages(x, sigma, noise, labels)
        return sum((m.sin() * w).sum() for m, w in zip(maps, weights))

    (gradient,) = torch.autograd.grad(total(x), x, create_graph=True)
    penalty = gradient.square().sum()
    (second,) = torch.autograd.grad(penalty, x)
    direction = torch.randn_like(x)
    step = 1e-4

    def penalty_at(x):
        x = x.detach().requires_grad_(True)
        return torch.autograd.grad(total(x), x)[0].square().sum()

    for function, slope in ((total, gradient), (penalty_at, second)):
        difference = (function(x + step * direction) - function(x - step * direction)) / (2 * step)
        assert float(difference.detach()) == pytest.approx(
            float((slope.detach() * direction).sum()), rel=1e-5
        )


def test_labels_reach_the_encoder_and_are_needed():
    net = make_net()
    stages = TeacherStages(net)
    x, sigma, noise, labels = inputs()
    assert not torch.equal(stages(x, sigma, noise, labels)[0], stages(x, sigma, noise, labels.flip(0))[0])
    for wrong in (None, torch.zeros(N, 0), torch.zeros(N, 4)):
        with pytest.raises(ValueError, match='the teacher needs one-hot rows of 3 classes'):
            stages(x, sigma, noise, wrong)
    unconditional = TeacherStages(make_net(classes=0))
    assert torch.equal(unconditional(x, sigma, noise)[0], unconditional(x, sigma, noise, labels)[0])


def test_wrong_images_are_refused():
    stages = TeacherStages(make_net())
    with pytest.raises(ValueError, match='the teacher has 3 channels, 16 pixels'):
        stages(torch.zeros(N, 3, 8, 8), *inputs()[1:])
    with pytest.raises(ArgumentError, match='images of 4 pixels.* use another backbone'):
        TeacherStages(make_net(side=4, channel_mult=[1], attn_resolutions=[]))
