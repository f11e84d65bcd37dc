# Copyright 2026 The GDD-1S authors.
# SPDX-License-Identifier: Apache-2.0

"""Any timm model as a feature backbone: convolutional ones by a generic cut, transformers as officially.

A convolutional (or hierarchical) model gives its last maps at strides 4, 8, 16 and 32, as timm's
`feature_info` lists them. A model whose blocks all have one stride, such as a ViT, gives the tokens
of 4 evenly spaced blocks as maps, without class and register tokens and without the final norm.

Everything that can be known is found on the meta device, where a forward pass costs nearly nothing.
timm is imported inside the functions: the import takes seconds, and command-line help must not wait.

Letters in shape comments: N batch, C channels, H W pixels.
"""

import dataclasses
import difflib
import functools
import math
import os
import re
from collections.abc import Iterable
from typing import TYPE_CHECKING, Any

import torch
from torch import nn
from torch.nn import functional

from training.backbones.spec import (
    IMAGENET_MEAN,
    IMAGENET_STD,
    TRANSFORMER_SIZE,
    BackboneError,
    BackboneSpec,
    file_names,
)

if TYPE_CHECKING:
    import timm

STRIDES = (4, 8, 16, 32)
# In some files, but tables that can be computed, or parts that only pretraining needs.
NEEDLESS = ('relative_position_index', 'attn_mask', 'mask_token', 'num_batches_tracked')


@functools.cache
def timm_spec(name: str, input_size: int = 224) -> BackboneSpec:
    """Describe a timm model as a backbone.

    Args:
        name:       timm model name, with or without a tag.
        input_size: Side of the images that convolutional backbones get.
    Returns:
        `BackboneSpec`; `input_size` is set for transformers and networks with windows of a fixed grid.
    Raises:
        BackboneError: Unknown model, or one that does not give four fitting maps.
    """
    config = pretrained_config(name)
    if config.input_size[0] != 3:
        raise BackboneError(
            f'backbone {name!r} is for images of {config.input_size[0]} channels; use one for 3'
        )
    # The result is cached, so making it must not leave traces in the random state.
    with torch.random.fork_rng(devices=[]), torch.device('meta'):
        model = _create(name)
        infos = [(info['num_chs'], info['reduction']) for info in getattr(model, 'feature_info', [])]
    if len(infos) >= 4 and len({stride for _, stride in infos}) == 1:
        family, size = 'timm_transformer', transformer_size(config.input_size[1], infos[0][1])
    else:
        family, size = 'timm', config.input_size[1] if config.fixed_input_size else None
    published = (
        [f'{name}.{config.tag}.safetensors', f'{name}.{config.tag}.pth']
        if config.tag and '.' not in name
        else []
    )
    published += [os.path.basename(config.url)] if config.url else []
    spec = BackboneSpec(
        name,
        family,
        tuple(config.mean or IMAGENET_MEAN),
        tuple(config.std or IMAGENET_STD),
        (),
        file_names(name, *published),
        input_size=size,
    )
    with torch.random.fork_rng(devices=[]), torch.device('meta'):
        stages = create_timm_stages(spec)[0].eval()
        channels = _probe(stages, spec, size or input_size)
    return dataclasses.replace(spec, channels=channels)


def _close_names(key: str, known: list[str]) -> list[str]:
    inside = [name for name in known if len(key) > 2 and key in name]
    return difflib.get_close_matches(key, known, n=4, cutoff=0.6) or inside[:4]


def pretrained_config(name: str) -> 'timm.models.PretrainedCfg':
    """Return timm's `PretrainedCfg` of a model.

    Raises:
        BackboneError: No such model or tag; the message has close matches.
    """
    import timm

    key, _, tag = name.partition('.')
    if not timm.is_model(key):
        close = _close_names(key, timm.list_models())
        hint = f'did you mean {", ".join(close)}?' if close else 'such as resnet50 or vit_small_patch16_224'
        raise BackboneError(
            f'backbone {name!r} is neither an official set (0, 1, 2, 3) nor the name of a timm model; {hint}'
        )
    try:
        config = timm.get_pretrained_cfg(name)
    except RuntimeError:
        tags = [full for full in timm.list_pretrained(f'{key}*') if full.partition('.')[0] == key]
        raise BackboneError(
            f'backbone {name!r}: timm knows no weights {tag!r} of {key}; use {", ".join(tags[:6])}'
        ) from None
    return config or timm.models.PretrainedCfg()


def transformer_size(pretrained_size: int, patch: int) -> int:
    """Return the side of a transformer's input: that of its pretraining, at most 224, rounded to the grid.

    The grid of patches is even, because the pyramid made of the tokens halves it once.

    Args:
        pretrained_size: Side in timm's configuration, pixels.
        patch:           Side of a patch, pixels.
    """
    return 2 * max(1, round(min(pretrained_size, TRANSFORMER_SIZE) / patch / 2)) * patch


class TimmStages(nn.Module):
    """Return the maps at strides 4, 8, 16 and 32 of a timm feature extractor.

    Args:
        net:     timm model built with features_only=True and four out_indices.
        is_nhwc: Whether it returns [N, H, W, C].
    """

    def __init__(self, net: nn.Module, is_nhwc: bool = False) -> None:
        super().__init__()
        self.net, self.is_nhwc = net, is_nhwc
        allow_second_derivatives(net)

    def forward(self, x: torch.Tensor) -> list[torch.Tensor]:
        maps = self.net(x)
        maps = [m.permute(0, 3, 1, 2) for m in maps] if self.is_nhwc else list(maps)
        return maps  # [N, C, H/4, W/4] .. [N, C', H/32, W/32]


class TimmTransformerStages(nn.Module):
    """Return the patch tokens after 4 evenly spaced blocks of a timm transformer, as maps.

    Args:
        net:   timm model with `forward_intermediates`.
        depth: Number of its blocks; with 12, the taps are blocks 2, 5, 8 and 11 (official).
    """

    def __init__(self, net: nn.Module, depth: int) -> None:
        super().__init__()
        self.net = net
        self.taps = [depth * (k + 1) // 4 - 1 for k in range(4)]
        allow_second_derivatives(net)

    def forward(self, x: torch.Tensor) -> list[torch.Tensor]:
        maps = self.net.forward_intermediates(
            x, indices=self.taps, norm=False, output_fmt='NCHW', intermediates_only=True
        )
        return maps  # 4 x [N, C, H/patch, W/patch]


class PlainHardsigmoid(nn.Module):
    """Hard sigmoid from operations that PyTorch can differentiate twice, unlike its own."""

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return functional.relu6(x + 3) / 6


def allow_second_derivatives(net: nn.Module) -> None:
    """Replace what PyTorch cannot differentiate twice, as R1 needs: fused attention and hard sigmoids."""
    for module in list(net.modules()):
        if hasattr(module, 'fused_attn'):
            module.fused_attn = False
        for name, child in module.named_children():
            if type(child).__name__ in ('Hardsigmoid', 'HardSigmoid'):  # torch's and timm's
                setattr(module, name, PlainHardsigmoid())


def create_timm_stages(spec: BackboneSpec) -> tuple[nn.Module, dict[str, tuple[int, ...]]]:
    """Build the trunk of a timm model with random weights, on the default device.

    Args:
        spec: From `timm_spec`.
    Returns:
        The stage network, and the shapes of the whole classifier's tensors by state-dict name.
    Raises:
        BackboneError: The model cannot be cut.
    """
    with torch.device('meta'):
        model = _create(spec.name)
    shapes = {name: tuple(tensor.shape) for name, tensor in model.state_dict().items()}
    infos = [(info['num_chs'], info['reduction']) for info in getattr(model, 'feature_info', [])]
    if spec.family == 'timm_transformer':
        if not hasattr(model, 'forward_intermediates'):
            raise BackboneError(
                f'backbone {spec.name!r}: this version of timm gives no tokens of {type(model).__name__}; '
                'use a ViT, such as vit_small_patch16_224'
            )
        options = {} if spec.input_size == _image_size(model, spec.name) else dict(img_size=spec.input_size)
        net = _create(spec.name, **options)
        if hasattr(net, 'prune_intermediate_layers'):
            net.prune_intermediate_layers(len(infos), prune_norm=True, prune_head=True)
        return TimmTransformerStages(net, len(infos)), shapes
    # The last map of each stride: where a network has several, earlier ones are less processed.
    found = {stride: index for index, (_, stride) in enumerate(infos)}
    if any(stride not in found for stride in STRIDES):
        raise BackboneError(
            f'backbone {spec.name!r} has maps at strides {", ".join(str(s) for _, s in infos) or "unknown"}; '
            'four at 4, 8, 16 and 32 are needed, as of resnet50, or equal ones, as of a ViT'
        )
    net = _create(spec.name, features_only=True, out_indices=[found[stride] for stride in STRIDES])
    return TimmStages(net, str(getattr(net, 'output_fmt', '')).endswith('NHWC')), shapes


def _create(name: str, **options: Any) -> nn.Module:
    import timm

    try:
        return timm.create_model(name, pretrained=False, **options)
    # Constructors of a thousand models; whatever they raise, the model cannot be used.
    except Exception as error:
        reason = ' '.join(str(error).split())[:160]
        raise BackboneError(
            f'backbone {name!r} cannot be built with {options or "its defaults"} '
            f'({type(error).__name__}: {reason}); use another, such as resnet50'
        ) from error


def _image_size(model: nn.Module, name: str) -> int:
    size = getattr(getattr(model, 'patch_embed', None), 'img_size', None)
    return size[0] if size else pretrained_config(name).input_size[1]


def _probe(stages: nn.Module, spec: BackboneSpec, size: int) -> tuple[int, ...]:
    """Return the channels of the four maps, after checking their sizes on an image of zeros."""
    try:
        maps = stages(torch.zeros([1, 3, size, size]))
    except Exception as error:  # As above.
        reason = ' '.join(str(error).split())[:160]
        raise BackboneError(
            f'backbone {spec.name!r} cannot process images of {size} pixels ({type(error).__name__}: '
            f'{reason}); use another, such as resnet50'
        ) from error
    found = [tuple(m.shape[2:]) for m in maps]
    side = found[3][0]
    expected = [(side, side)] * 4 if spec.is_transformer else [(side << 3 - k,) * 2 for k in range(4)]
    if (
        found != expected
        or (spec.is_transformer and side % 2)
        or (not spec.is_transformer and side != size // STRIDES[3])
    ):
        text = ', '.join('x'.join(map(str, shape)) for shape in found)
        raise BackboneError(
            f'backbone {spec.name!r} turns {size} pixels into maps of {text}; they must halve exactly from '
            f'{size // 4} to {size // 32}, as those of resnet50 do'
        )
    return tuple(m.shape[1] for m in maps)


def match_names(trunk: Iterable[str], whole: Iterable[str]) -> dict[str, str]:
    """Match the names of a trunk, which timm rewrites in several ways, with those of the whole classifier.

    Args:
        trunk: Names in the state dict of `TimmStages` or `TimmTransformerStages`.
        whole: Names in the state dict of the classifier.
    Returns:
        Name in the classifier -> name in the trunk.
    Raises:
        BackboneError: A tensor of the trunk has no counterpart, or two.
    """

    def plain(name: str) -> str:
        return name.replace('.', '_')

    originals = {}
    for name in whole:
        originals.setdefault(plain(name), []).append(name)
    matched = {}
    for name in trunk:
        inner = re.sub(r'^net\.(model\.)?', '', name)
        candidates = originals.get(plain(inner), [])
        if len(candidates) != 1 or candidates[0] in matched:
            raise BackboneError(
                f'tensor {inner} of the trunk matches {len(candidates)} tensors of the classifier; '
                'this model cannot be used as a backbone'
            )
        matched[candidates[0]] = name
    return matched


def resize_positions(table: torch.Tensor, length: int) -> torch.Tensor:
    """Resize the patch part of positional embeddings, bilinearly without aligned corners (official).

    Args:
        table:  [1, T, C]: prefix tokens, then a square grid row by row.
        length: Number of tokens wanted, with as many prefix tokens.
    Returns:
        [1, length, C], or `table` itself if no number of prefix tokens makes both grids square.
    """
    for prefix in range(8):
        old, new = (math.isqrt(count - prefix) if count > prefix else 0 for count in (table.shape[1], length))
        if old and new and (old * old, new * new) == (table.shape[1] - prefix, length - prefix):
            grid = table[:, prefix:].transpose(1, 2).unflatten(2, (old, old))  # [1, C, old, old]
            grid = functional.interpolate(grid, size=(new, new), mode='bilinear', align_corners=False)
            return torch.cat([table[:, :prefix], grid.flatten(2).transpose(1, 2)], dim=1)
    return table
