# Copyright 2026 The GDD-1S authors.
# SPDX-License-Identifier: Apache-2.0
"""Tests of training/student/frozen_cast.py: the same bits as converting at every pass, shared training, no
conversions."""

import copy

import pytest
import torch
from torch.utils._python_dispatch import TorchDispatchMode

from tests.support import tiny_runs
from training import networks
from training.student.freeze import freeze_layers
from training.student.frozen_cast import refresh_twin, with_frozen_cast

ARCHITECTURES = {
    'ncsnpp': dict(tiny_runs.UNET, channel_mult=[1, 2]),
    'adm': dict(
        model_type='DhariwalUNet',
        model_channels=32,
        channel_mult=[1, 2],
        num_blocks=1,
        attn_resolutions=[4],
        dropout=0.0,
    ),
}


def make_pair(arch='ncsnpp', level=1):
    torch.manual_seed(3)
    net = networks.GDDPrecond(
        img_resolution=8, img_channels=3, label_dim=3, use_fp16=True, **ARCHITECTURES[arch]
    )
    for p in net.parameters():  # no zero layers: everything must matter
        p.data.add_(0.05 * torch.randn_like(p))
    freeze_layers(net, level)
    return net.train(), with_frozen_cast(net, torch.bfloat16)


def run(net, dtype=torch.bfloat16):
    """Forward and backward of the U-Net in 16 bit, as `use_fp16` does on CUDA."""
    x = torch.randn([2, 3, 8, 8], generator=torch.Generator().manual_seed(1)).to(dtype)
    out = net.model(x, torch.tensor([0.3, 1.1]), torch.eye(3)[:2])
    out.float().square().sum().backward()
    return out.detach(), {name: p.grad for name, p in net.named_parameters() if p.grad is not None}


class CountConversions(TorchDispatchMode):
    """Collect the shapes of leaf tensors that are converted from float32 to bfloat16."""

    def __init__(self, tensors):
        super().__init__()
        self.pointers, self.found = {t.data_ptr(): name for name, t in tensors}, []

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        if func is torch.ops.aten._to_copy.default and args[0].data_ptr() in self.pointers:
            self.found.append(self.pointers[args[0].data_ptr()])
        return func(*args, **(kwargs or {}))


@pytest.mark.parametrize('level', [0, 1, 3])
@pytest.mark.parametrize('arch', ARCHITECTURES)
def test_outputs_and_gradients_have_the_same_bits(arch, level):
    net, twin = make_pair(arch, level)
    reference = copy.deepcopy(net)
    expected, gradients = run(reference)
    found, own = run(twin)
    assert expected.dtype == torch.bfloat16 and torch.equal(found, expected) and expected.float().std() > 1e-3
    assert own.keys() == gradients.keys() == {name for name, p in net.named_parameters() if p.requires_grad}
    assert all(torch.equal(own[name], gradient) for name, gradient in gradients.items())
    # What must not pass: one weight in another place.
    with torch.no_grad():
        dict(twin.named_parameters())['model.map_layer0.weight'].mul_(1.02)
    assert not torch.equal(run(twin)[0], expected)


def test_training_is_shared_and_the_master_keeps_float32():
    net, twin = make_pair()
    kept = {name: p.detach().clone() for name, p in net.named_parameters()}
    for name, p in net.named_parameters():
        own = dict(twin.named_parameters())[name]
        convolution = name.endswith(
            ('conv0.weight', 'conv0.bias', 'conv1.weight', 'conv1.bias', 'proj.weight', 'proj.bias')
        )
        assert (own is p) == p.requires_grad == (not convolution), name
        assert own.dtype == (torch.bfloat16 if convolution else torch.float32) and p.dtype == torch.float32
        assert torch.equal(own.float(), p) or convolution
    assert type(twin) is type(net) and twin.training and twin.img_resolution == 8
    optimizer = torch.optim.Adam([p for p in net.parameters() if p.requires_grad], lr=0.1)
    before = run(twin)[0]
    optimizer.step()
    assert not torch.equal(run(twin)[0], before)
    for name, p in net.named_parameters():
        assert torch.equal(p, kept[name]) != p.requires_grad, name
    with torch.no_grad():  # float32 is still there, and not the twin's rounded numbers
        x = torch.randn([1, 3, 8, 8])
        assert not torch.equal(
            net(x, torch.tensor([80.0]), torch.eye(3)[:1]),
            twin.to(torch.float32)(x, torch.tensor([80.0]), torch.eye(3)[:1]),
        )


def test_no_frozen_weight_is_converted_in_a_forward_pass():
    net, twin = make_pair()
    frozen = {name for name, p in net.named_parameters() if not p.requires_grad}
    for module, expected in ((net, frozen), (twin, set())):
        tensors = [*module.named_parameters(), *module.named_buffers()]
        with CountConversions(tensors) as mode, torch.no_grad():
            module.model(
                torch.zeros([1, 3, 8, 8], dtype=torch.bfloat16), torch.zeros([1]), torch.zeros([1, 3])
            )
        names = set(mode.found)
        assert names & frozen == expected and any(name.endswith('skip.weight') for name in names)
        assert any('resample_filter' in name for name in names) == bool(expected)


def test_twin_is_refreshed_in_place():
    """After a state is loaded, the same twin computes what a new one would; references to it stay valid."""
    (net, twin), (other, _twin) = make_pair(), make_pair()
    with torch.no_grad():
        for p in other.parameters():
            p.add_(0.1 * torch.randn_like(p))
    tensors = list(twin.parameters())
    net.load_state_dict(other.state_dict())
    fresh = with_frozen_cast(net, torch.bfloat16)
    stale = run(twin)[0]
    refresh_twin(twin, net)
    assert all(a is b for a, b in zip(tensors, twin.parameters(), strict=True))
    assert not tiny_runs.differences(twin.state_dict(), fresh.state_dict())
    assert torch.equal(run(twin)[0], run(fresh)[0]) and not torch.equal(run(twin)[0], stale)
    before = {name: tensor.clone() for name, tensor in net.state_dict().items()}
    refresh_twin(net, net)
    assert not tiny_runs.differences(before, net.state_dict())
