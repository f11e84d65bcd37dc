# Copyright 2026 The GDD-1S authors.
# SPDX-License-Identifier: Apache-2.0
"""CLIP and DINOv2: preprocessing against torchvision and by hand, networks against others, all formats."""

import math

import numpy as np
import PIL.Image
import pytest
import torch

from evaluations.detectors import vit
from evaluations.detectors.vit_weights import clip_state, dinov2_state, read_vit_weights
from training.backbones.weights import WeightsError

pytest.importorskip('timm', reason='pip install timm')
WIDTH, DEPTH, HEADS = 64, 2, 2


def random_images(*shape, seed=0):
    return torch.randint(0, 256, shape, dtype=torch.uint8, generator=torch.Generator().manual_seed(seed))


def randomised(model, seed=0):
    """Give every parameter values far from zero and one."""
    generator = torch.Generator().manual_seed(seed)
    for parameter in model.parameters():
        parameter.data = torch.randn(parameter.shape, generator=generator) * 0.1 + (parameter.ndim == 1) * 0.5
    return model


def small_clip():
    return vit.create_clip(embed_dim=WIDTH, depth=DEPTH, num_heads=HEADS)


def small_dinov2():
    return vit.create_dinov2(embed_dim=WIDTH, depth=DEPTH, num_heads=HEADS)


def openai_names(state):
    """Spell timm's names as OpenAI's file does, with a text tower beside them."""
    out = {
        'visual.class_embedding': state['cls_token'][0, 0],
        'visual.positional_embedding': state['pos_embed'][0],
        'visual.conv1.weight': state['patch_embed.proj.weight'],
        'visual.proj': state['head.weight'].T.contiguous(),
    }
    renames = {
        'norm_pre.': 'ln_pre.',
        'norm.': 'ln_post.',
        'blocks.': 'transformer.resblocks.',
        '.norm1.': '.ln_1.',
        '.norm2.': '.ln_2.',
        '.qkv.': '.in_proj_',
        '.attn.proj.': '.attn.out_proj.',
        '.fc1.': '.c_fc.',
        '.fc2.': '.c_proj.',
    }
    for name, tensor in state.items():
        if name.startswith(('norm', 'blocks.')):
            for old, new in renames.items():
                name = (
                    new + name[len(old) :]
                    if not old.startswith('.') and name.startswith(old)
                    else name.replace(old, new)
                )
            out['visual.' + name] = tensor
    text = {
        'positional_embedding': torch.zeros(2),
        'text_projection': torch.zeros(2),
        'logit_scale': torch.zeros([]),
        'transformer.resblocks.0.ln_1.weight': torch.zeros(2),
        'input_resolution': torch.tensor(224),
    }
    return {**out, **text}


def separate_qkv(state, parts, block, joiner):
    """Spell the blocks of timm's names as Hugging Face does, with q, k and v apart."""
    out = {}
    for name, tensor in state.items():
        if not name.startswith('blocks.'):
            continue
        _, index, rest = name.split('.', 2)
        if rest.startswith('attn.qkv.'):
            for letter, piece in zip(joiner, tensor.chunk(3)):
                out[f'{block}.{index}.{letter}.{rest[len("attn.qkv.") :]}'] = piece
        else:
            old = next(part for part in parts if rest.startswith(part))
            out[f'{block}.{index}.{parts[old]}{rest[len(old) :]}'] = tensor
    return out


def hugging_face_clip(state):
    parts = {
        'norm1.': 'layer_norm1.',
        'norm2.': 'layer_norm2.',
        'attn.proj.': 'self_attn.out_proj.',
        'mlp.': 'mlp.',
    }
    model = 'vision_model.'
    return {
        **separate_qkv(
            state, parts, model + 'encoder.layers', [f'self_attn.{letter}_proj' for letter in 'qkv']
        ),
        model + 'embeddings.class_embedding': state['cls_token'][0, 0],
        model + 'embeddings.position_embedding.weight': state['pos_embed'][0],
        model + 'embeddings.position_ids': torch.arange(50)[None],
        model + 'embeddings.patch_embedding.weight': state['patch_embed.proj.weight'],
        model + 'pre_layrnorm.weight': state['norm_pre.weight'],
        model + 'pre_layrnorm.bias': state['norm_pre.bias'],
        model + 'post_layernorm.weight': state['norm.weight'],
        model + 'post_layernorm.bias': state['norm.bias'],
        'visual_projection.weight': state['head.weight'],
        'text_model.embeddings.token_embedding.weight': torch.zeros(3),
    }


def hugging_face_dinov2(state):
    parts = {
        'norm1.': 'norm1.',
        'norm2.': 'norm2.',
        'attn.proj.': 'attention.output.dense.',
        'mlp.': 'mlp.',
        'ls1.gamma': 'layer_scale1.lambda1',
        'ls2.gamma': 'layer_scale2.lambda1',
    }
    return {
        **separate_qkv(
            state,
            parts,
            'encoder.layer',
            [f'attention.attention.{word}' for word in ('query', 'key', 'value')],
        ),
        'embeddings.cls_token': state['cls_token'],
        'embeddings.mask_token': torch.zeros(1, WIDTH),
        'embeddings.position_embeddings': state['pos_embed'],
        'embeddings.patch_embeddings.projection.weight': state['patch_embed.proj.weight'],
        'embeddings.patch_embeddings.projection.bias': state['patch_embed.proj.bias'],
        'layernorm.weight': state['norm.weight'],
        'layernorm.bias': state['norm.bias'],
    }


@pytest.mark.parametrize('height, width', [(64, 64), (32, 51), (300, 257), (224, 224), (1, 3)])
def test_clip_preprocessing_equals_torchvision(height, width):
    transforms = pytest.importorskip('torchvision.transforms')
    transform = transforms.Compose(
        [
            transforms.Resize(224, interpolation=transforms.InterpolationMode.BICUBIC),
            transforms.CenterCrop(224),
            transforms.ToTensor(),
            transforms.Normalize(vit.CLIP_MEAN, vit.CLIP_STD),
        ]
    )
    images = random_images(2, 3, height, width)
    expected = torch.stack(
        [transform(PIL.Image.fromarray(image.permute(1, 2, 0).numpy())) for image in images]
    )
    assert torch.allclose(vit.preprocess_clip(images), expected, atol=1e-6)


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


def test_clip_network_agrees_with_openais(tmp_path):
    module = pytest.importorskip('torch_fidelity.feature_extractor_clip', reason='pip install torch-fidelity')
    judge = randomised(module.VisionTransformer(224, 32, WIDTH, DEPTH, HEADS, 512)).eval()
    state = {f'visual.{name}': tensor for name, tensor in judge.state_dict().items()}
    model = small_clip()
    vit.fill_clip(model, clip_state(state, model, 'file'))
    images = random_images(2, 3, 224, 224)  # no resize: torch-fidelity's is another one
    with torch.no_grad():
        expected = judge(vit.preprocess_clip(images))
        ours = vit.clip_features(model, images)
        model.blocks[0].mlp.act = torch.nn.GELU()
        wrong = vit.clip_features(model, images)
    scale = float(expected.abs().max())
    assert ours.shape == (2, 512) and float((ours - expected).abs().max()) < 1e-4 * scale
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


def test_every_spelling_of_clip_gives_the_same_state():
    model = small_clip()
    state = {name: tensor.clone() for name, tensor in randomised(model).state_dict().items()}
    state['head.bias'] = torch.zeros(512)  # the projection has none
    no_bias = {name: tensor for name, tensor in state.items() if name != 'head.bias'}
    for spelled in (openai_names(state), hugging_face_clip(state), state, no_bias):
        found = clip_state(spelled, model, 'file')
        assert found.keys() == state.keys() and all(torch.equal(found[name], state[name]) for name in state)
    half = clip_state(
        {name: tensor.half() for name, tensor in openai_names(state).items()}, model, 'file'
    )  # as published
    assert all(tensor.dtype == torch.float32 for tensor in half.values())


def test_every_spelling_of_dinov2_gives_the_same_state():
    model = small_dinov2()
    state = {name: tensor.clone() for name, tensor in randomised(model).state_dict().items()}
    for spelled in ({**state, 'mask_token': torch.zeros(1, WIDTH)}, hugging_face_dinov2(state), state):
        found = dinov2_state(spelled, model, 'file')
        assert found.keys() == state.keys() and all(torch.equal(found[name], state[name]) for name in state)


def test_other_weights_are_refused(tmp_path):
    model = small_clip()
    state = openai_names(randomised(model).state_dict())
    del state['visual.ln_pre.bias']
    with pytest.raises(
        WeightsError, match='mine.pt does not hold the weights of CLIP ViT-B/32: missing: norm_pre.bias'
    ):
        clip_state(state, model, 'mine.pt')
    with pytest.raises(WeightsError, match='missing: cls_token'):
        clip_state({'a': torch.zeros(1)}, model, 'mine.pt')
    model = small_dinov2()
    state = randomised(model).state_dict()
    with pytest.raises(WeightsError, match='without registers: unknown: register_tokens'):
        dinov2_state({**state, 'register_tokens': torch.zeros(1, 4, WIDTH)}, model, 'mine.pth')
    with pytest.raises(WeightsError, match='wrong shape: pos_embed'):
        dinov2_state({**state, 'pos_embed': torch.zeros(1, 257, WIDTH)}, model, 'mine.pth')
    with pytest.raises(WeightsError, match='not finite: norm.bias'):
        dinov2_state({**state, 'norm.bias': torch.full([WIDTH], float('inf'))}, model, 'mine.pth')
    (tmp_path / 'x.pt').write_bytes(b'no weights')
    with pytest.raises(WeightsError, match='cannot be read'):
        read_vit_weights(str(tmp_path / 'x.pt'))
