# Copyright 2026 The GDD-1S authors.
# SPDX-License-Identifier: Apache-2.0

"""Bring weights of CLIP's image tower and of DINOv2 under timm's names.

Read are the authors' own files, Hugging Face's (transformers) and timm's. Text towers and
training-only tensors are left out; everything else has to fit exactly.
"""

import re

import torch

from evaluations.detectors.torchscript_reader import TorchScriptError, is_torchscript, read_torchscript
from training.backbones.weights import WeightsError, read_weights

_OPENAI_OUTER = {
    'visual.class_embedding': 'cls_token',
    'visual.positional_embedding': 'pos_embed',
    'visual.conv1.weight': 'patch_embed.proj.weight',
    'visual.proj': 'head.weight',
    'visual.ln_pre.weight': 'norm_pre.weight',
    'visual.ln_pre.bias': 'norm_pre.bias',
    'visual.ln_post.weight': 'norm.weight',
    'visual.ln_post.bias': 'norm.bias',
}
_OPENAI_BLOCK = (
    re.compile(r'visual\.transformer\.resblocks\.(\d+)\.(.+)'),
    {
        'ln_1.': 'norm1.',
        'ln_2.': 'norm2.',
        'attn.in_proj_': 'attn.qkv.',
        'attn.out_proj.': 'attn.proj.',
        'mlp.c_fc.': 'mlp.fc1.',
        'mlp.c_proj.': 'mlp.fc2.',
    },
)

_HF_CLIP_OUTER = {
    'vision_model.embeddings.class_embedding': 'cls_token',
    'vision_model.embeddings.position_embedding.weight': 'pos_embed',
    'vision_model.embeddings.patch_embedding.weight': 'patch_embed.proj.weight',
    'visual_projection.weight': 'head.weight',
    'vision_model.pre_layrnorm.weight': 'norm_pre.weight',
    'vision_model.pre_layrnorm.bias': 'norm_pre.bias',  # their spelling
    'vision_model.post_layernorm.weight': 'norm.weight',
    'vision_model.post_layernorm.bias': 'norm.bias',
}
_HF_CLIP_BLOCK = (
    re.compile(r'vision_model\.encoder\.layers\.(\d+)\.(.+)'),
    {
        'layer_norm1.': 'norm1.',
        'layer_norm2.': 'norm2.',
        'self_attn.q_proj.': 'attn.q.',
        'self_attn.k_proj.': 'attn.k.',
        'self_attn.v_proj.': 'attn.v.',
        'self_attn.out_proj.': 'attn.proj.',
        'mlp.': 'mlp.',
    },
)

_HF_DINO_OUTER = {
    'embeddings.cls_token': 'cls_token',
    'embeddings.position_embeddings': 'pos_embed',
    'embeddings.patch_embeddings.projection.weight': 'patch_embed.proj.weight',
    'embeddings.patch_embeddings.projection.bias': 'patch_embed.proj.bias',
    'layernorm.weight': 'norm.weight',
    'layernorm.bias': 'norm.bias',
}
_HF_DINO_BLOCK = (
    re.compile(r'encoder\.layer\.(\d+)\.(.+)'),
    {
        'attention.attention.query.': 'attn.q.',
        'attention.attention.key.': 'attn.k.',
        'attention.attention.value.': 'attn.v.',
        'attention.output.dense.': 'attn.proj.',
        'layer_scale1.lambda1': 'ls1.gamma',
        'layer_scale2.lambda1': 'ls2.gamma',
        'norm1.': 'norm1.',
        'norm2.': 'norm2.',
        'mlp.': 'mlp.',
    },
)


def read_vit_weights(path: str) -> dict[str, torch.Tensor]:
    """Read the tensors of a weights file (state dict, safetensors, TorchScript); nothing in it is run.

    Raises:
        WeightsError: The file cannot be read.
    """
    try:
        if is_torchscript(path):
            return read_torchscript(path)
    except TorchScriptError as err:
        raise WeightsError(f'weight file {path!r} cannot be read: {err}') from err
    return read_weights(path)


def clip_state(
    state: dict[str, torch.Tensor], model: torch.nn.Module, source: str
) -> dict[str, torch.Tensor]:
    """Return the weights of CLIP's image tower under timm's names.

    Args:
        state: dict name -> tensor, from OpenAI's, Hugging Face's or timm's file.
        model: The timm network, for names and shapes.
        source: File name for messages.
    Returns:
        dict of float32 tensors, complete for `model`.
    Raises:
        WeightsError: The weights are not those of such a network.
    """
    if 'visual.class_embedding' in state:
        state = _rename(state, _OPENAI_OUTER, *_OPENAI_BLOCK)
        state['head.weight'] = state['head.weight'].T if 'head.weight' in state else torch.zeros(0)
    elif 'vision_model.embeddings.class_embedding' in state:
        state = _rename(state, _HF_CLIP_OUTER, *_HF_CLIP_BLOCK)
    if 'head.weight' in state:
        state.setdefault('head.bias', torch.zeros(len(state['head.weight'])))  # CLIP's projection has none
    for name in ('cls_token', 'pos_embed'):
        if name in state:
            state[name] = state[name].reshape(1, -1, state[name].shape[-1])
    patch, size = model.patch_embed.patch_size[0], model.patch_embed.img_size[0]
    return _checked(state, model, source, f'CLIP ViT with {patch}-pixel patches at {size} pixels')


def dinov2_state(
    state: dict[str, torch.Tensor], model: torch.nn.Module, source: str
) -> dict[str, torch.Tensor]:
    """Return the weights of DINOv2 under timm's names, position embedding as in the file.

    Args:
        state: dict name -> tensor, from Meta's, Hugging Face's or timm's file.
        model: The timm network at the resolution of the file, for names and shapes.
        source: File name for messages.
    Returns:
        dict of float32 tensors, complete for `model`.
    Raises:
        WeightsError: The weights are not those of such a network.
    """
    if 'embeddings.cls_token' in state:
        state = _rename(
            {n: t for n, t in state.items() if n != 'embeddings.mask_token'}, _HF_DINO_OUTER, *_HF_DINO_BLOCK
        )
    state = {name: tensor for name, tensor in state.items() if name != 'mask_token'}  # for training only
    return _checked(state, model, source, 'DINOv2 ViT-L/14 without registers')


def _rename(
    state: dict[str, torch.Tensor],
    outer: dict[str, str],
    block_pattern: re.Pattern[str],
    parts: dict[str, str],
) -> dict[str, torch.Tensor]:
    """Rename what is known, drop the rest (text tower, counters), and join separate q, k and v."""
    renamed, separate = {}, {}
    for name, tensor in state.items():
        match = block_pattern.fullmatch(name)
        if name in outer:
            renamed[outer[name]] = tensor
        elif match is not None:
            index, part = match.groups()
            new = next((parts[old] + part[len(old) :] for old in parts if part.startswith(old)), part)
            if new.startswith(('attn.q.', 'attn.k.', 'attn.v.')):
                separate.setdefault(f'blocks.{index}.attn.qkv.{new[7:]}', {})[new[5]] = tensor
            else:
                renamed[f'blocks.{index}.{new}'] = tensor
    for name, tensors in separate.items():
        if sorted(tensors) == ['k', 'q', 'v']:
            renamed[name] = torch.cat([tensors['q'], tensors['k'], tensors['v']])
    return renamed


def _checked(
    state: dict[str, torch.Tensor], model: torch.nn.Module, source: str, what: str
) -> dict[str, torch.Tensor]:
    """Return the state as float32, or raise WeightsError unless it fits the network exactly."""
    expected = {name: tensor.shape for name, tensor in model.state_dict().items()}
    problems = {
        'missing': [n for n in expected if n not in state],
        'unknown': [n for n in state if n not in expected],
        'wrong shape': [n for n in expected if n in state and state[n].shape != expected[n]],
        'not finite': [n for n in state if not bool(torch.isfinite(state[n]).all())],
    }
    text = '; '.join(
        f'{kind}: {", ".join(names[:3])} ({len(names)} in all)' for kind, names in problems.items() if names
    )
    if text:
        raise WeightsError(
            f'{source} does not hold the weights of {what}: {text}; '
            'see pretrained/README.md for the file to use'
        )
    return {name: tensor.to(torch.float32) for name, tensor in state.items()}
