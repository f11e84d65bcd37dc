# Copyright 2026 The GDD-1S authors.
# SPDX-License-Identifier: Apache-2.0
"""Small CLIP and DINOv2 networks, and their weights under the names of every published file."""

import torch

from evaluations.detectors import vit

WIDTH, DEPTH, HEADS = 64, 2, 2


def randomised(model, seed=0):
    """Give every parameter values far from zero and one."""
    generator = torch.Generator().manual_seed(seed)
    for parameter in model.parameters():
        parameter.data = torch.randn(parameter.shape, generator=generator) * 0.1 + (parameter.ndim == 1) * 0.5
    return model


def small_clip(detector='clip-vit-b-32'):
    return vit.create_clip(detector, embed_dim=WIDTH, depth=DEPTH, num_heads=HEADS)


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
