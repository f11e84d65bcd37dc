# Copyright 2026 The GDD-1S authors.
# SPDX-License-Identifier: Apache-2.0
"""Test the frozen features: random projection, input path, and what is refused."""

import numpy as np
import pytest
import torch
from timm.models.deit import VisionTransformerDistilled
from torch.nn import functional

from tests.golden import load
from tests.golden_gdd import check_features
from tests.support.tiny_runs import UNET
from training.adversarial.diffaugment import apply_draws, draw
from training.adversarial.features import (
    ProjectedFeatures,
    RandomProjection,
    TokenReadout,
    nominal_resolutions,
)
from training.backbones import weights as backbone_weights
from training.backbones.stages import TransformerStages, create_stages, get_spec
from training.backbones.teacher import TeacherStages
from training.networks import EDMPrecond

LITE0 = 'tf_efficientnet_lite0'


@pytest.fixture(scope='module')
def features():
    """ProjectedFeatures of the small backbone at 64 pixels; tests must not change it."""
    torch.manual_seed(0)
    return ProjectedFeatures([LITE0], 64, True, weights='random')


def test_statistics_stay_unless_asked():
    state = create_stages(LITE0)[0].state_dict()
    still, moved = (
        ProjectedFeatures([LITE0], 64, True, weights={LITE0: state}, moved_statistics=flag)
        for flag in (False, True)
    )
    name = 'bn1.running_var'
    assert torch.equal(still.backbones[LITE0].state_dict()[name], state[name])
    assert not torch.equal(moved.backbones[LITE0].state_dict()[name], state[name])


# ---- random projection ----------------------------------------------------------------------------------


def hand_projection(fused):
    projection = RandomProjection((24, 40, 112, 320), fused).double()
    with torch.no_grad():
        for j in range(4):
            for layer, phase, shift in (
                (projection.get_submodule(f'ccm{j}'), j, 0),
                (projection.get_submodule(f'csm{j}'), 10 + j, 1),
            ):
                k = torch.arange(layer.weight.numel(), dtype=torch.float64)
                layer.weight.copy_(0.1 * torch.sin(0.37 * k + phase).reshape(layer.weight.shape))
                layer.bias.copy_(0.1 * torch.cos(torch.arange(len(layer.bias), dtype=torch.float64) + shift))
    return projection


def hand_maps():
    maps = []
    for channels, size in zip((24, 40, 112, 320), (8, 4, 2, 1)):
        b, c, h, w = torch.meshgrid(
            *(torch.arange(n, dtype=torch.float64) for n in (2, channels, size, size)), indexing='ij'
        )
        maps.append(torch.sin(0.1 * c + 0.3 * h + 0.2 * w + b))
    return maps


@pytest.mark.parametrize('fused', [False, True])
def test_projection_against_the_table_of_the_specification(fused):
    expected = [
        ((2, 64, 16, 16), 9.8085932844e-04, 7.4554079962e-02, 7.8869158139e-02, 1.8573704675e-02),
        ((2, 64, 8, 8), 1.1265690784e-03, 7.1803042365e-02, 7.2498702722e-02, 5.8307055797e-02),
        ((2, 128, 4, 4), -1.0076209716e-03, 7.3206346888e-02, 5.3188701445e-02, -6.3249636247e-02),
        ((2, 256, 2, 2), -6.2035782745e-04, 7.3441233534e-02, 4.9463196560e-02, -3.2467827965e-02),
    ]
    with torch.no_grad():
        outputs = hand_projection(fused)(hand_maps())
    for x, (shape, *numbers) in zip(outputs, expected, strict=True):
        assert x.shape == shape
        ours = [x.mean(), x.square().mean().sqrt(), x[0, 0, 0, 0], x[1, -1, -1, -1]]
        np.testing.assert_allclose(ours, numbers, rtol=1e-9)


def test_projection_with_other_corners_is_rejected(monkeypatch):
    monkeypatch.setattr(
        'training.adversarial.features._upsample',
        lambda x: functional.interpolate(x, scale_factor=2, mode='bilinear', align_corners=False),
    )
    with torch.no_grad():
        h0 = hand_projection(False)(hand_maps())[0]
    assert abs(float(h0.square().mean().sqrt()) / 7.4554079962e-02 - 1) > 1e-6  # the right one agrees to 1e-9


def test_sizes_of_the_random_layers():
    for channels, expected in (
        ((24, 40, 112, 320), 200_128),
        ((128, 256, 512, 512), 435_136),
        ((96, 192, 384, 768), 523_200),
    ):
        state = RandomProjection(channels).state_dict()
        assert sum(t.numel() for n, t in state.items() if n.startswith('ccm')) == expected
        assert sum(t.numel() for n, t in state.items() if n.startswith('csm')) == 176_640
    assert sum(p.numel() for p in TokenReadout(768).parameters()) == 6_711_744


def test_readout_makes_a_pyramid():
    shapes = [tuple(x.shape[1:]) for x in TokenReadout(8)([torch.randn(1, 8, 14, 14)] * 4)]
    assert shapes == [(96, 56, 56), (192, 28, 28), (384, 14, 14), (768, 7, 7)]


def test_projection_state_round_trip(features):
    state = features.projection_state()
    assert len(state) == 16 and f'{LITE0}.csm3.bias' in state
    torch.manual_seed(1)
    other = ProjectedFeatures([LITE0], 64, True, weights={LITE0: features.backbones[LITE0].state_dict()})
    x = torch.randn(2, 3, 32, 32)
    assert not torch.equal(other(x)[LITE0][0], features(x)[LITE0][0])
    other.load_projection_state(state)
    assert torch.equal(other(x)[LITE0][0], features(x)[LITE0][0])
    with pytest.raises(ValueError, match='1 missing, unknown or misshapen tensors, such as .*csm3.bias'):
        other.load_projection_state({n: t for n, t in state.items() if not n.endswith('csm3.bias')})


# ---- the teacher's encoder ------------------------------------------------------------------------------


def teacher_features(names, classes=3, **arguments):
    torch.manual_seed(0)
    net = EDMPrecond(img_resolution=16, img_channels=arguments.pop('channels', 3), label_dim=classes, **UNET)
    return ProjectedFeatures(names, 64, True, weights='random', teacher=TeacherStages(net), **arguments)


def noisy(channels=3):
    sigma = torch.tensor([0.1, 1.0]).reshape(2, 1, 1, 1)
    noise = dict(sigma=sigma, noise=torch.randn(2, channels, 16, 16))
    return torch.randn(2, channels, 16, 16), noise, torch.eye(3)[:2]


def test_teacher_beside_another_backbone():
    """Each sees its own images; heads of the teacher fit its maps, whatever the others are resized to."""
    F = teacher_features(['teacher', LITE0])
    x, noise, labels = noisy()
    maps = F(x, None, noise, labels)
    assert [m.shape[2] for m in maps['teacher']] == F.own_resolutions['teacher'] == [32, 16, 8, 4]
    assert [m.shape[2] for m in maps[LITE0]] == F.resolutions == [32, 16, 8, 4]
    assert [m.shape[1] for m in maps['teacher']] == F.channels
    alone = F.projections['teacher'](F.backbones['teacher'](x, *noise.values(), labels))
    assert all(torch.equal(a, b) for a, b in zip(maps['teacher'], alone))
    assert torch.equal(maps[LITE0][3], F(x, None, noise, labels.flip(0))[LITE0][3])
    assert not torch.equal(maps['teacher'][3], F(x, None, noise, labels.flip(0))['teacher'][3])
    assert {name.split('.')[0] for name in F.projection_state()} == {'teacher', LITE0}
    with pytest.raises(ValueError, match="the teacher's encoder looks at noisy images"):
        F(x)
    with pytest.raises(ValueError, match='teacher stands for the encoder of the teacher, and there is none'):
        ProjectedFeatures(['teacher'], 64, True)


def test_teacher_sees_grey_images_and_augmented_ones():
    F = teacher_features(['teacher'], channels=1, diffaugment=True)
    x, noise, labels = noisy(channels=1)
    draws = {'teacher': draw(x)}
    augmented = apply_draws(x, draws['teacher'])
    expected = F.projections['teacher'](F.backbones['teacher'](augmented, *noise.values(), labels))
    for ours, theirs in zip(F(x, draws, noise, labels)['teacher'], expected):
        torch.testing.assert_close(ours, theirs, rtol=1e-4, atol=1e-5)


def test_pooled_features_of_the_teacher():
    """One mean per channel and resolution, before any normalisation; for class tables without noise."""
    F = teacher_features(['teacher'])
    x, noise, labels = noisy()
    pooled = F.pooled('teacher', x, noise, labels)
    assert pooled.shape == (2, 16)
    maps = F.backbones['teacher'].levels(x, *noise.values(), labels)
    assert torch.equal(pooled[:, 8:], maps[1].mean(dim=[2, 3]))
    clean = dict(sigma=torch.full([2, 1, 1, 1], 0.002), noise=torch.zeros_like(x))
    assert torch.equal(F.pooled_features(x, labels), F.pooled('teacher', x, clean, labels))
    both = teacher_features(['teacher', LITE0])
    assert both.pooled_features(x, labels).shape == (2, 320)  # the official table is that of the other


# ---- whole path -----------------------------------------------------------------------------------------


def test_nominal_resolutions():
    assert nominal_resolutions(224) == [128, 64, 32, 16]
    assert nominal_resolutions(64) == [32, 16, 8, 4]
    assert nominal_resolutions(32, interpolate=False) == [16, 8, 4, 2]
    assert nominal_resolutions(224, interpolate=False) == [112, 56, 28, 14]


def test_shapes_and_frozen_state(features):
    maps = features.train()(torch.randn(2, 3, 32, 32))[LITE0]
    assert [tuple(m.shape[1:]) for m in maps] == [(64, 32, 32), (64, 16, 16), (128, 8, 8), (256, 4, 4)]
    assert [m.shape[1] for m in maps] == features.channels and [
        m.shape[2] for m in maps
    ] == features.resolutions
    assert not any(m.training for m in features.modules()) and not any(
        p.requires_grad for p in features.parameters()
    )
    assert features.weights_report == [f'{LITE0}: random weights']


def test_normalisation_comes_before_the_resize(features):
    x = torch.randn(1, 3, 32, 32)
    spec = get_spec(LITE0)
    mean, std = (torch.tensor(v)[:, None, None] for v in (spec.mean, spec.std))
    y = functional.interpolate(
        ((x + 1) / 2 - mean) / std, size=(64, 64), mode='bilinear', align_corners=False
    )
    expected = features.projections[LITE0](features.backbones[LITE0](y))
    for ours, theirs in zip(features(x)[LITE0], expected):
        assert torch.equal(ours, theirs)


def test_grey_images_equal_three_equal_channels(features):
    x = torch.randn(2, 1, 32, 32)
    assert torch.equal(features(x)[LITE0][3], features(x.repeat(1, 3, 1, 1))[LITE0][3])


def test_fused_equals_plain_up_to_rounding(features):
    fused = ProjectedFeatures(
        [LITE0], 64, True, weights={LITE0: features.backbones[LITE0].state_dict()}, fused=True
    )
    fused.load_projection_state(features.projection_state())
    x = torch.randn(2, 3, 32, 32)
    for a, b in zip(features(x)[LITE0], fused(x)[LITE0]):
        assert (a - b).norm() / a.norm() < 1e-5


def test_two_backbones_resize_on_their_own(monkeypatch):
    def tiny(name):
        model = VisionTransformerDistilled(
            img_size=224, patch_size=16, embed_dim=768, depth=12, num_heads=12, mlp_ratio=0.1
        )
        return TransformerStages(model), {}

    monkeypatch.setattr(
        backbone_weights, 'create_stages', lambda n: tiny(n) if 'deit' in n else create_stages(n)
    )
    F = ProjectedFeatures(['deit_base_distilled_patch16_224', LITE0], 64, True, weights='random')
    maps = F(torch.randn(1, 3, 32, 32))
    assert list(maps) == F.names == ['deit_base_distilled_patch16_224', LITE0]
    assert [m.shape[2] for m in maps[F.names[0]]] == [112, 56, 28, 14]
    assert [m.shape[2] for m in maps[LITE0]] == [32, 16, 8, 4]
    assert len(F.projection_state()) == 16 + 16 + 14


def test_wrong_images_are_refused(features):
    with pytest.raises(ValueError, match=r'\[2, 4, 32, 32\]'):
        features(torch.zeros(2, 4, 32, 32))
    native = ProjectedFeatures([LITE0], 64, False, weights='random')
    with pytest.raises(ValueError, match='images of 32x32 pixels, but interpolate=False and input_size=64'):
        native(torch.zeros(2, 3, 32, 32))
    with pytest.raises(ValueError, match='images of 100 pixels.* a multiple of 32 .*; try 96'):
        ProjectedFeatures([LITE0], 100, True, weights='random')
    with pytest.raises(ValueError, match=f'{LITE0},{LITE0} names a backbone twice'):
        ProjectedFeatures([LITE0, LITE0], 64, True, weights='random')


def test_pooled_features(features):
    x = torch.randn(2, 3, 64, 64)
    torch.testing.assert_close(features.pooled_features(x), features.backbones[LITE0](x)[-1].mean(dim=[2, 3]))


def test_golden_features(shared_dir):
    entries, arrays = load(shared_dir / 'golden', 'gdd', 'public')
    checks = list(check_features(entries, arrays, 'public', LITE0))
    assert len(checks) == 1 + 4 * 4 + 1  # names, four checks per level, gradient
    for name, error, tolerance in checks:
        assert error <= tolerance, f'{name}: {error}'
