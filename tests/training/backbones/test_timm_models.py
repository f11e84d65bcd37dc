# Copyright 2026 The GDD-1S authors.
# SPDX-License-Identifier: Apache-2.0
"""Tests of training/backbones/timm_models.py: any timm model as a backbone, its weights, what is refused."""

import pytest
import timm
import torch
from safetensors.torch import save_file
from torch.nn import functional

from training.adversarial.features import ProjectedFeatures
from training.backbones import timm_models
from training.backbones import weights as backbone_weights
from training.backbones.spec import BackboneError, BackboneSpec
from training.backbones.stages import create_stages, get_spec
from training.backbones.timm_models import (
    TimmTransformerStages,
    match_names,
    resize_positions,
    transformer_size,
)
from training.backbones.weights import WeightsError, build_stages

# Small models of the kinds that differ: names rewritten by timm or not, 4 or 5 maps, NHWC, hard sigmoids.
CONVOLUTIONAL = {
    'resnet10t': (64, 128, 256, 512),
    'convnext_atto': (40, 80, 160, 320),
    'mobilenetv3_small_050': (8, 16, 24, 288),
    'regnetx_002': (24, 56, 152, 368),
}


def normalise(model, seed=0):
    """Fill norms and biases with numbers that a mistake could not hide behind."""
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for tensor in model.state_dict().values():
            if tensor.ndim == 1:
                tensor.copy_(0.5 + 0.5 * torch.rand(tensor.shape, generator=generator))
    return model.eval()


# ------------------------------------------------------------------------------------------------
# The cut.


@pytest.mark.parametrize('name', CONVOLUTIONAL)
def test_convolutional_models(name, tmp_path):
    """Weights from a file; the maps are those of timm's own feature extractor on the classifier; R1 works."""
    torch.manual_seed(0)
    model = normalise(timm.create_model(name))
    save_file(model.state_dict(), tmp_path / f'{name}.safetensors')
    stages, report = build_stages(name, 'pretrained', str(tmp_path))
    assert report.startswith(f'{name}: {tmp_path}/{name}.safetensors sha256 ')
    x = torch.randn(2, 3, 64, 64, requires_grad=True)
    maps = stages.eval()(x)
    assert [m.shape[1] for m in maps] == list(CONVOLUTIONAL[name]) == list(get_spec(name).channels)
    assert [tuple(m.shape[2:]) for m in maps] == [(16, 16), (8, 8), (4, 4), (2, 2)]
    for ours, theirs in zip(
        maps, [m for m in model.forward_intermediates(x, intermediates_only=True) if m.shape[2] <= 16][-4:]
    ):
        torch.testing.assert_close(ours, theirs, rtol=1e-4, atol=1e-4)
    (gradient,) = torch.autograd.grad(maps[3].sin().sum(), [x], create_graph=True)
    gradient.square().sum().backward()
    assert torch.isfinite(x.grad).all() and x.grad.abs().max() > 0


def test_generic_cut_equals_the_official_one():
    """On the official EfficientNet, were it treated as any timm model."""
    name = 'tf_efficientnet_lite0'
    torch.manual_seed(0)
    official = normalise(create_stages(name)[0])
    generic, shapes = timm_models.create_timm_stages(timm_models.timm_spec(name))
    state = official.state_dict()
    names = match_names(generic.state_dict(), shapes)
    generic.load_state_dict({names[key]: value for key, value in state.items() if key in names}, strict=False)
    x = torch.randn(1, 3, 64, 64)
    for a, b in zip(official(x), generic.eval()(x), strict=True):
        assert torch.equal(a, b)
    assert timm_models.timm_spec(name).channels == get_spec(name).channels


def test_maps_with_channels_last():
    net = torch.nn.Module()
    net.forward = lambda x: [torch.zeros(1, 8 >> k, 8 >> k, 5 + k) for k in range(4)]
    assert [tuple(m.shape) for m in timm_models.TimmStages(net, is_nhwc=True)(None)] == [
        (1, 5 + k, 8 >> k, 8 >> k) for k in range(4)
    ]
    spec = get_spec('swin_tiny_patch4_window7_224')
    assert spec.channels == (96, 192, 384, 768) and spec.input_size == 224 and not spec.is_transformer


def tiny_vit(monkeypatch):
    """Let timm's `vit_tiny_patch16_224` be a narrow one."""
    original = timm.create_model

    def create(name, **given):
        narrow = dict(embed_dim=16, num_heads=2, mlp_ratio=1.0) if name.startswith('vit_tiny') else {}
        return original(name, **narrow, **given)

    monkeypatch.setattr(timm, 'create_model', create)
    timm_models.timm_spec.cache_clear()


@pytest.fixture(autouse=True)
def forget_models():
    yield
    timm_models.timm_spec.cache_clear()


def test_transformer(monkeypatch, tmp_path):
    """Tokens after blocks 2, 5, 8 and 11 without final norm and class token, like a loop over the blocks."""
    tiny_vit(monkeypatch)
    torch.manual_seed(0)
    model = normalise(timm.create_model('vit_tiny_patch16_224'))
    torch.save(model.state_dict(), tmp_path / 'vit_tiny_patch16_224.pth')
    stages, _report = build_stages('vit_tiny_patch16_224', 'pretrained', str(tmp_path))
    assert type(stages) is TimmTransformerStages and stages.taps == [2, 5, 8, 11]
    x = torch.randn(1, 3, 224, 224, requires_grad=True)
    tokens = model.patch_embed(x)  # [1, 196, 16]
    tokens = torch.cat([model.cls_token, tokens], dim=1) + model.pos_embed
    maps = stages.eval()(x)
    for index, block in enumerate(model.blocks):
        tokens = block(tokens)
        if index in (2, 5, 8, 11):
            expected = tokens[:, 1:].transpose(1, 2).reshape(1, 16, 14, 14)
            torch.testing.assert_close(maps[(2, 5, 8, 11).index(index)], expected, rtol=1e-4, atol=1e-4)
    (gradient,) = torch.autograd.grad(maps[-1].sin().sum(), [x], create_graph=True)
    gradient.square().sum().backward()  # fused attention would raise here
    assert x.grad.abs().max() > 0


def test_transformer_in_the_features(monkeypatch):
    """With the official post-processing, beside a convolutional backbone; size, mean and std are its own."""
    tiny_vit(monkeypatch)
    F = ProjectedFeatures(
        ['vit_tiny_patch16_224', 'resnet10t'], 64, True, weights='random', fused=True, moved_statistics=True
    )
    maps = F(torch.randn(1, 3, 32, 32))
    assert [m.shape[2] for m in maps['vit_tiny_patch16_224']] == [112, 56, 28, 14]
    assert [m.shape[2] for m in maps['resnet10t']] == [32, 16, 8, 4]
    assert F.mean_vit_tiny_patch16_224.flatten().tolist() == [0.5] * 3
    assert F.mean_resnet10t.flatten().tolist() == pytest.approx([0.485, 0.456, 0.406])
    assert F.pooled_features(torch.randn(2, 3, 32, 32)).shape == (2, 512)  # of the convolutional one


@pytest.mark.parametrize(
    'pretrained, patch, size',
    [
        (224, 16, 224),
        (384, 16, 224),
        (518, 14, 224),
        (224, 8, 224),
        (224, 32, 256),
        (112, 16, 128),
        (224, 14, 224),
        (16, 16, 32),
    ],
)
def test_transformers_get_an_even_grid(pretrained, patch, size):
    assert transformer_size(pretrained, patch) == size and size % (2 * patch) == 0


def test_positions_are_resized_bilinearly():
    """As the official code does: prefix tokens stay, the grid is interpolated with align_corners=False."""
    table = torch.randn(1, 1 + 4 * 4, 3)
    grid = table[:, 1:].reshape(1, 4, 4, 3).permute(0, 3, 1, 2)
    found = resize_positions(table, 1 + 2 * 2)
    assert torch.equal(found[:, :1], table[:, :1])
    expected = functional.interpolate(grid, size=(2, 2), mode='bilinear', align_corners=False)
    assert torch.equal(found[:, 1:].reshape(1, 2, 2, 3).permute(0, 3, 1, 2), expected)
    # Halving bilinearly is the mean of 2x2; anything antialiased or bicubic differs.
    torch.testing.assert_close(expected, functional.avg_pool2d(grid, 2))
    assert resize_positions(table, 7) is table


def test_positions_of_another_size_are_loaded(monkeypatch):
    tiny_vit(monkeypatch)
    state = normalise(timm.create_model('vit_tiny_patch16_224', img_size=384)).state_dict()
    stages, _report = build_stages('vit_tiny_patch16_224', state)
    assert torch.equal(stages.net.pos_embed, resize_positions(state['pos_embed'], 1 + 14 * 14))


# ------------------------------------------------------------------------------------------------
# Names and weights.


@pytest.mark.parametrize(
    'name, text',
    [
        ('resnet5', "backbone 'resnet5' is neither an official set .*; did you mean resnet50"),
        ('7', 'such as resnet50 or vit_small'),
        ('', 'such as resnet50'),
        ('vit_smal_patch16', 'did you mean vit_small_patch16_'),
        ('resnet50.foo', "timm knows no weights 'foo' of resnet50; use resnet50.a1_in1k, "),
        (
            'inception_v3',
            'turns 224 pixels into maps of 52x52, 25x25, 12x12, 5x5; they must halve exactly from 56 to 7',
        ),
        ('levit_128', "'levit_128' has maps at strides 16, 32, 64; four at 4, 8, 16 and 32 are needed"),
    ],
)
def test_names_that_cannot_be_used(name, text):
    with pytest.raises(BackboneError, match=text) as caught:
        get_spec(name)
    assert '\n' not in str(caught.value)


def test_describing_a_model_leaves_the_random_state_alone():
    state = torch.get_rng_state()
    get_spec('resnet10t')
    assert torch.equal(torch.get_rng_state(), state)


def test_missing_weights_say_which_file_is_wanted_where(monkeypatch, tmp_path):
    def no_network(_spec):
        raise OSError('no route to host')

    monkeypatch.setattr(backbone_weights, 'download_weights', no_network)
    with pytest.raises(WeightsError) as caught:
        build_stages('resnet18', 'pretrained', str(tmp_path))
    text = str(caught.value)
    for part in (
        'backbone resnet18',
        str(tmp_path),
        'resnet18.safetensors, resnet18.pth, resnet18.a1_in1k.safetensors',
        'resnet18_a1_0-d63eafa0.pth',
        'no route to host',
    ):
        assert part in text
    assert '\n' not in text and 'pip install' not in text


def test_models_that_timm_has_no_weights_for():
    with pytest.raises(FileNotFoundError, match='timm knows no pretrained weights'):
        backbone_weights.download_weights(BackboneSpec('mixer_s16_224', 'timm_transformer', (), (), (), ()))


def test_weights_are_checked_strictly(tmp_path):
    state = timm.create_model('resnet10t').state_dict()
    assert build_stages(
        'resnet10t', {name: value for name, value in state.items() if not name.startswith('fc.')}
    )
    wrong = {
        'missing: net.conv1.0.weight': {
            name: value for name, value in state.items() if name != 'conv1.0.weight'
        },
        'unknown: stranger': dict(state, stranger=torch.zeros(1)),
        'wrong shape: net.bn1.bias': dict(state, **{'bn1.bias': torch.zeros(3)}),
        'not finite or negative: net.bn1.running_var': dict(state, **{'bn1.running_var': -torch.ones(64)}),
    }
    for message, changed in wrong.items():
        with pytest.raises(WeightsError, match=message):
            build_stages('resnet10t', changed)


def test_names_without_a_counterpart_are_refused():
    assert match_names(['net.model.a_0.b', 'net.c'], ['a.0.b', 'c', 'head']) == {
        'a.0.b': 'net.model.a_0.b',
        'c': 'net.c',
    }
    for trunk, whole in ((['net.x'], ['y']), (['net.a_0'], ['a.0', 'a_0'])):
        with pytest.raises(BackboneError, match='tensor .* of the trunk matches'):
            match_names(trunk, whole)
