# Copyright 2026 The GDD-1S authors.
# SPDX-License-Identifier: Apache-2.0
"""Test the stages of the official backbones against timm and torchvision, and folded batch norms."""

import copy

import pytest
import timm
import torch
import torchvision
from timm.models.deit import VisionTransformerDistilled
from timm.models.vision_transformer import VisionTransformer

from tests.support.norms import randomise_norms
from training.backbones.stages import (
    BACKBONES,
    TransformerStages,
    VGGStages,
    create_stages,
    fold_batch_norms,
    get_spec,
    move_statistics,
)

LITE0 = 'tf_efficientnet_lite0'


@pytest.mark.parametrize('name', [LITE0, 'tf_efficientnet_b0.ns_jft_in1k'])
def test_efficientnet_stages_equal_timm(name):
    torch.manual_seed(0)
    plain = timm.create_model(name, features_only=True, out_indices=(1, 2, 3, 4)).eval()
    stages = create_stages(name)[0].eval()
    randomise_norms(plain)
    missing, _ = stages.load_state_dict(plain.state_dict(), strict=False)
    assert not missing
    x = torch.randn(1, 3, 64, 64)
    for ours, theirs in zip(stages(x), plain(x), strict=True):
        assert torch.equal(ours, theirs)
    assert [m.shape[1] for m in stages(x)] == list(get_spec(name).channels)


def test_trunk_sizes():
    with torch.device('meta'):
        sizes = {name: sum(p.numel() for p in create_stages(name)[0].parameters()) for name in BACKBONES}
    assert (
        sizes[LITE0] == 2_958_848
        and sizes['tf_efficientnet_b0'] == 3_595_388
        and sizes['vgg16_bn'] == 14_723_136
    )
    # The specification counts the unused heads and the final norm as well.
    unused = 2 * 768 + 1000 * 769
    assert sizes['deit_base_distilled_patch16_224'] == 87_338_192 - unused - 1000 * 769
    assert sizes['vit_base_patch16_224'] == 86_567_656 - unused


def test_vgg_stages_equal_torchvision():
    torch.manual_seed(0)
    plain = torchvision.models.vgg.make_layers(torchvision.models.vgg.cfgs['D'], batch_norm=True).eval()
    stages = VGGStages().eval()
    stages.features.load_state_dict(randomise_norms(plain).state_dict())
    x = torch.randn(1, 3, 32, 32)
    maps = stages(x)
    for tap, ours in zip((13, 23, 33, 43), maps, strict=True):
        torch.testing.assert_close(ours, plain[:tap](x))
    assert [(m.shape[1], m.shape[2]) for m in maps] == [(128, 16), (256, 8), (512, 4), (512, 2)]


@pytest.mark.parametrize('cls', [VisionTransformer, VisionTransformerDistilled])
def test_transformer_stages_equal_timm_and_are_twice_differentiable(cls):
    torch.manual_seed(0)
    model = cls(img_size=224, patch_size=16, embed_dim=8, depth=12, num_heads=2).double().eval()
    x = torch.randn(1, 3, 224, 224, dtype=torch.float64, requires_grad=True)
    expected = model.forward_intermediates(x, indices=[2, 5, 8, 11], norm=False, intermediates_only=True)
    maps = TransformerStages(model)(x)
    for ours, theirs in zip(maps, expected, strict=True):
        torch.testing.assert_close(ours, theirs)
    (gradient,) = torch.autograd.grad(maps[-1].sin().sum(), [x], create_graph=True)
    gradient.square().sum().backward()  # Fused attention would raise here.
    assert x.grad.abs().max() > 0


def test_names_with_and_without_tags():
    assert get_spec('tf_efficientnet_b0').name == 'tf_efficientnet_b0.ns_jft_in1k'
    assert get_spec(f'{LITE0}.in1k') is get_spec(LITE0)  # timm's full name of the same weights
    # Other weights: the same cut, their own normalisation and files.
    dino = get_spec('vit_base_patch16_224.dino')
    assert dino.family == 'transformer' and dino.channels == (768,) * 4 and dino.mean == (0.485, 0.456, 0.406)
    assert (
        dino.files == ('vit_base_patch16_224.dino.safetensors', 'vit_base_patch16_224.dino.pth')
        and not dino.package
    )


def test_folding_keeps_the_function():
    for stages in (VGGStages(), create_stages(LITE0)[0]):
        stages = randomise_norms(stages).double().eval()
        folded = copy.deepcopy(stages)
        fold_batch_norms(folded)
        assert not any(isinstance(m, torch.nn.BatchNorm2d) for m in folded.modules())
        x = torch.randn(1, 3, 32, 32, dtype=torch.float64)
        for a, b in zip(stages(x), folded(x)):
            torch.testing.assert_close(a, b, rtol=1e-10, atol=1e-10)


def test_probe_moves_the_statistics_by_one_step():
    torch.manual_seed(0)
    stages = VGGStages()
    first = stages.features[1]
    before = first.running_mean.clone()
    move_statistics(stages)
    batch = stages.features[0].bias  # A convolution of zeros is its bias.
    torch.testing.assert_close(first.running_mean, 0.9 * before + 0.1 * batch)
    assert not stages.training and int(first.num_batches_tracked) == 1
