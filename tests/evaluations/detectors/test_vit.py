# Copyright 2026 The GDD-1S authors.
# SPDX-License-Identifier: Apache-2.0
"""CLIP and DINOv2: preprocessing against torchvision and by hand, networks against others, all formats."""

import math

import numpy as np
import PIL.Image
import pytest
import torch

from evaluations.detectors import vit
from evaluations.detectors.vit_weights import clip_state, dinov2_state
from tests.support.vit_files import DEPTH, HEADS, WIDTH, randomised, small_clip, small_dinov2

pytest.importorskip('timm', reason='pip install timm')


def random_images(*shape, seed=0):
    return torch.randint(0, 256, shape, dtype=torch.uint8, generator=torch.Generator().manual_seed(seed))


@pytest.mark.parametrize('size', [224, 336])
@pytest.mark.parametrize('height, width', [(64, 64), (32, 51), (300, 257), (224, 224), (1, 3)])
def test_clip_preprocessing_equals_torchvision(height, width, size):
    transforms = pytest.importorskip('torchvision.transforms')
    transform = transforms.Compose(
        [
            transforms.Resize(size, interpolation=transforms.InterpolationMode.BICUBIC),
            transforms.CenterCrop(size),
            transforms.ToTensor(),
            transforms.Normalize(vit.CLIP_MEAN, vit.CLIP_STD),
        ]
    )
    images = random_images(2, 3, height, width)
    expected = torch.stack(
        [transform(PIL.Image.fromarray(image.permute(1, 2, 0).numpy())) for image in images]
    )
    assert torch.allclose(vit.preprocess_clip(images, size), expected, atol=1e-6)


def test_clip_preprocessing_of_no_images():
    assert vit.preprocess_clip(random_images(0, 3, 8, 8)).shape == (0, 3, 224, 224)


def test_dinov2_preprocessing_is_not_quantised_nor_clipped():
    images = random_images(1, 3, 40, 30)
    x = vit.preprocess_dinov2(images)
    grey = x[0, 0] * 0.229 * 255 + 0.485 * 255
    assert (
        x.shape == (1, 3, 224, 224) and float(grey.min()) < 0 and float(grey.max()) > 255
    )  # bicubic overshoot
    # Pillow's floating-point mode is an independent antialiased bicubic filter.
    channel = PIL.Image.fromarray(images[0, 0].numpy().astype(np.float32)).resize(
        (224, 224), PIL.Image.Resampling.BICUBIC
    )
    assert float((grey - torch.from_numpy(np.array(channel))).abs().max()) < 0.01
    large = random_images(1, 3, 448, 448, seed=1)
    grey = vit.preprocess_dinov2(large)[0, 2] * 0.225 * 255 + 0.406 * 255
    channel = PIL.Image.fromarray(large[0, 2].numpy().astype(np.float32)).resize(
        (224, 224), PIL.Image.Resampling.BICUBIC
    )
    assert float((grey - torch.from_numpy(np.array(channel))).abs().max()) < 0.01


def cubic_weights(t, a=-0.75):
    """Weights of the four neighbours at distance t from the second, of torch's bicubic kernel."""

    def near(d):
        return (a + 2) * d**3 - (a + 3) * d**2 + 1

    def far(d):
        return a * d**3 - 5 * a * d**2 + 8 * a * d - 4 * a

    return [far(1 + t), near(t), near(1 - t), far(2 - t)]


def slow_positions(pos_embed, grid):
    """Resample a position embedding entry by entry, by the rule of the authors' code."""
    side = math.isqrt(pos_embed.shape[1] - 1)
    values = pos_embed[0, 1:].reshape(side, side, -1).double()
    step = side / (grid + 0.1)
    out = torch.zeros(grid, grid, values.shape[-1], dtype=torch.float64)
    for y in range(grid):
        for x in range(grid):
            centre_y, centre_x = (y + 0.5) * step - 0.5, (x + 0.5) * step - 0.5
            y0, x0 = math.floor(centre_y), math.floor(centre_x)
            for j, weight_y in enumerate(cubic_weights(centre_y - y0)):
                for i, weight_x in enumerate(cubic_weights(centre_x - x0)):
                    row, column = min(max(y0 - 1 + j, 0), side - 1), min(max(x0 - 1 + i, 0), side - 1)
                    out[y, x] += weight_y * weight_x * values[row, column]
    return torch.cat([pos_embed[:, :1].double(), out.reshape(1, grid * grid, -1)], dim=1)


def test_positions_of_dinov2_follow_the_authors_rule():
    pos_embed = torch.randn(1, 1 + 37 * 37, 3, generator=torch.Generator().manual_seed(0))
    ours = vit.resample_positions(pos_embed, 16)
    assert torch.allclose(ours.double(), slow_positions(pos_embed, 16), atol=1e-5)
    patches = pos_embed[:, 1:].unflatten(1, (37, 37)).permute(0, 3, 1, 2)
    for options in (dict(antialias=True), dict()):  # timm's rule, and the exact size without the offset
        wrong = torch.nn.functional.interpolate(patches, size=(16, 16), mode='bicubic', **options)
        assert float((ours[:, 1:] - wrong.flatten(2).transpose(1, 2)).abs().max()) > 0.05
    assert vit.resample_positions(pos_embed, 37) is pos_embed


@pytest.mark.parametrize(
    'detector, size, patch, dim', [('clip-vit-b-32', 224, 32, 512), ('clip-vit-l-14-336', 336, 14, 768)]
)
def test_clip_network_agrees_with_openais(detector, size, patch, dim):
    module = pytest.importorskip('torch_fidelity.feature_extractor_clip', reason='pip install torch-fidelity')
    judge = randomised(module.VisionTransformer(size, patch, WIDTH, DEPTH, HEADS, dim)).eval()
    state = {f'visual.{name}': tensor for name, tensor in judge.state_dict().items()}
    model = small_clip(detector)
    vit.fill_clip(model, clip_state(state, model, 'file'))
    images = random_images(2, 3, size, size)  # no resize: torch-fidelity's is another one
    with torch.no_grad():
        expected = judge(vit.preprocess_clip(images, size))
        ours = vit.clip_features(model, images)
        model.blocks[0].mlp.act = torch.nn.GELU()
        wrong = vit.clip_features(model, images)
    scale = float(expected.abs().max())
    assert ours.shape == (2, dim) and float((ours - expected).abs().max()) < 1e-4 * scale
    assert float((wrong - expected).abs().max()) > 1e-4 * scale  # CLIP has its own, quicker, GELU


def slow_dinov2(state, x):
    """Run DINOv2 out of its weights alone: patches, class token, positions, scaled blocks, last norm."""

    def norm(x, name):
        return torch.nn.functional.layer_norm(
            x, [WIDTH], state[name + '.weight'], state[name + '.bias'], eps=1e-6
        )

    def linear(x, name):
        return x @ state[name + '.weight'].T + state[name + '.bias']

    patches = (
        x.unfold(2, 14, 14).unfold(3, 14, 14).permute(0, 2, 3, 1, 4, 5).flatten(1, 2).flatten(2)
    )  # [N, 256, 588]
    x = patches @ state['patch_embed.proj.weight'].flatten(1).T + state['patch_embed.proj.bias']
    x = (
        torch.cat([state['cls_token'].expand(len(x), -1, -1), x], dim=1)
        + slow_positions(state['pos_embed'], 16).float()
    )
    for index in range(DEPTH):
        block = f'blocks.{index}.'
        q, k, v = (
            linear(norm(x, block + 'norm1'), block + 'attn.qkv')
            .unflatten(2, (3, HEADS, WIDTH // HEADS))
            .permute(2, 0, 3, 1, 4)
        )
        weights = torch.softmax(q @ k.transpose(2, 3) / math.sqrt(WIDTH // HEADS), dim=-1)
        x = x + state[block + 'ls1.gamma'] * linear(
            (weights @ v).transpose(1, 2).flatten(2), block + 'attn.proj'
        )
        hidden = torch.nn.functional.gelu(linear(norm(x, block + 'norm2'), block + 'mlp.fc1'))
        x = x + state[block + 'ls2.gamma'] * linear(hidden, block + 'mlp.fc2')
    return norm(x, 'norm')[:, 0]


def test_dinov2_network_agrees_with_a_slow_one():
    model = small_dinov2()
    state = {name: tensor.clone() for name, tensor in randomised(model).state_dict().items()}
    state['pos_embed'] = state['pos_embed'] * 5  # so that their rule matters
    published = {**state, 'mask_token': torch.zeros(1, WIDTH)}
    vit.fill_dinov2(model, dinov2_state(published, model, 'file'))
    images = random_images(2, 3, 32, 32)
    with torch.no_grad():
        ours = vit.dinov2_features(model, images)
        expected = slow_dinov2(state, vit.preprocess_dinov2(images))
    assert ours.shape == (2, WIDTH) and float((ours - expected).abs().max()) < 1e-4 * float(
        expected.abs().max()
    )
