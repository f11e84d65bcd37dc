# Copyright 2026 The GDD-1S authors.
# SPDX-License-Identifier: Apache-2.0

"""Vision transformers that measure images: CLIP ViT-B/32, CLIP ViT-L/14 at 336 pixels, DINOv2 ViT-L/14.

CLIP-FID follows clean-fid's `clip_vit_b_32` (arXiv 2203.06026): Pillow's bicubic resize of the shorter side
to 224, centre crop, 8 bits kept, then the image tower with its projection, not normalised. CMMD (arXiv
2401.09603) has the larger tower at 336 pixels; for square images, which is what a generator makes, its resize
is the same. FD-DINOv2 follows EDM2: antialiased bicubic resize to 224x224 in float32 without clipping, then
the class token after the last norm. The networks are timm's, in float32.

Legend: N batch, C channels, H W pixels, D features, T tokens, G patches per side.
"""

import math
from collections.abc import Sequence
from typing import Any

import numpy as np
import PIL.Image
import torch
from torch.nn import functional

from dnnlib.errors import ArgumentError
from torch_utils.randomness import to_device
from training.backbones.stages import IMAGENET_MEAN, IMAGENET_STD

INPUT_SIZE = 224
# Detector -> (timm's name, width of the embedding, pixels per side).
CLIPS = {
    'clip-vit-b-32': ('vit_base_patch32_clip_quickgelu_224', 512, 224),
    'clip-vit-l-14-336': ('vit_large_patch14_clip_quickgelu_336', 768, 336),
}
DINOV2_DIM = 1024
CLIP_MEAN, CLIP_STD = (0.48145466, 0.4578275, 0.40821073), (0.26862954, 0.26130258, 0.27577711)
_DINOV2_FILE_SIZE = 518  # resolution that DINOv2's position embedding was trained at
_POSITION_OFFSET = 0.1  # see resample_positions


def preprocess_clip(images: torch.Tensor, size: int = INPUT_SIZE) -> torch.Tensor:
    """Resize, crop and normalise images as clean-fid does for CLIP.

    Args:
        images: uint8 [N, 3, H, W], 0..255.
        size: S, pixels per side of the result.
    Returns:
        float32 [N, 3, S, S] on the device of the images.
    """
    pixels = images.permute(0, 2, 3, 1).cpu().numpy()  # [N, H, W, 3]
    resized = (
        np.stack([_resize_and_crop(image, size) for image in pixels])
        if len(pixels)
        else np.zeros([0, size, size, 3], np.uint8)
    )
    x = to_device(torch.from_numpy(resized), images.device).permute(0, 3, 1, 2)  # [N, 3, S, S]
    return _normalise(x, CLIP_MEAN, CLIP_STD)


def _resize_and_crop(image: np.ndarray, size: int) -> np.ndarray:
    """Bring the shorter side to `size` with Pillow and keep the centre, uint8 [size, size, 3]."""
    height, width = image.shape[:2]
    short = min(height, width)
    new_height, new_width = (size * side // short for side in (height, width))
    resized = PIL.Image.fromarray(image).resize((new_width, new_height), PIL.Image.Resampling.BICUBIC)
    # Python's rounding to even, as in torchvision's centre crop.
    top, left = round((new_height - size) / 2), round((new_width - size) / 2)
    return np.asarray(resized)[top : top + size, left : left + size]


def preprocess_dinov2(images: torch.Tensor) -> torch.Tensor:
    """Resize and normalise images as EDM2 does for DINOv2.

    Args:
        images: uint8 [N, 3, H, W], 0..255.
    Returns:
        float32 [N, 3, 224, 224] on the device of the images.
    """
    x = functional.interpolate(
        images.to(torch.float32), size=(INPUT_SIZE, INPUT_SIZE), mode='bicubic', antialias=True
    )
    return _normalise(x, IMAGENET_MEAN, IMAGENET_STD)


def _normalise(x: torch.Tensor, mean: Sequence[float], std: Sequence[float]) -> torch.Tensor:
    """Return (x / 255 - mean) / std in float32, channel by channel."""
    mean, std = (
        to_device(torch.tensor(values, dtype=torch.float32), x.device).reshape(1, 3, 1, 1)
        for values in (mean, std)
    )
    return (x.to(torch.float32) / 255 - mean) / std


def resample_positions(pos_embed: torch.Tensor, grid: int) -> torch.Tensor:
    """Bring DINOv2's position embedding to another number of patches, as the authors' code does.

    Bicubic without antialiasing, at a scale of (G_out + 0.1) / G_in: their guard against a rounding
    error shifts the samples slightly, so resizing to the exact size (as timm does, moreover with
    antialiasing) gives other features.

    Args:
        pos_embed: float32 [1, 1 + G_in * G_in, D], class token first.
        grid: G_out, patches per side.
    Returns:
        float32 [1, 1 + G_out * G_out, D].
    """
    side = math.isqrt(pos_embed.shape[1] - 1)
    if side == grid:
        return pos_embed
    patches = pos_embed[:, 1:].unflatten(1, (side, side)).permute(0, 3, 1, 2)  # [1, D, G_in, G_in]
    scale = (grid + _POSITION_OFFSET) / side
    patches = functional.interpolate(patches, mode='bicubic', scale_factor=(scale, scale))
    return torch.cat(
        [pos_embed[:, :1], patches.flatten(2).transpose(1, 2)], dim=1
    )  # [1, 1 + G_out * G_out, D]


def create_clip(detector: str = 'clip-vit-b-32', **arguments: Any) -> torch.nn.Module:
    """Return timm's network for one of `CLIPS`, not filled; `arguments` replace timm's."""
    name, width, _size = CLIPS[detector]
    return _create(name, num_classes=width, **arguments)


def create_dinov2(**arguments: Any) -> torch.nn.Module:
    """Return timm's DINOv2 at the resolution of its files, not filled; `arguments` replace timm's."""
    return _create('vit_large_patch14_dinov2', img_size=_DINOV2_FILE_SIZE, num_classes=0, **arguments)


def _create(name: str, **arguments: Any) -> torch.nn.Module:
    try:
        import timm  # late: the import takes seconds
    except ImportError as err:
        raise ArgumentError(
            f'the detectors {", ".join(CLIPS)} and dinov2-vit-l-14 need timm; run `pip install timm`'
        ) from err
    with torch.random.fork_rng(devices=[]):  # initial weights are drawn but not used here
        model = timm.create_model(name, pretrained=False, weight_init='skip', **arguments)
    for module in model.modules():
        if hasattr(module, 'fused_attn'):
            module.fused_attn = False  # the plain form is float32 throughout on every device
    return model


def fill_clip(model: torch.nn.Module, state: dict[str, torch.Tensor]) -> torch.nn.Module:
    """Put complete weights under timm's names into the network of `create_clip`, ready to measure."""
    model.load_state_dict(state, assign=True)
    return model.eval().requires_grad_(False)


def fill_dinov2(model: torch.nn.Module, state: dict[str, torch.Tensor]) -> torch.nn.Module:
    """Put complete weights into the network of `create_dinov2`, and set it to 224x224 pixels."""
    model.load_state_dict(state, assign=True)
    patch = model.patch_embed.patch_size[0]
    positions = resample_positions(state['pos_embed'], INPUT_SIZE // patch)
    model.set_input_size(img_size=INPUT_SIZE)
    model.pos_embed = torch.nn.Parameter(positions)
    return model.eval().requires_grad_(False)


def clip_features(model: torch.nn.Module, images: torch.Tensor) -> torch.Tensor:
    """Return CLIP's image embedding, not normalised, float32 [N, D], of uint8 images [N, 3, H, W]."""
    return model(preprocess_clip(images, model.patch_embed.img_size[0]))  # [N, D]


def dinov2_features(model: torch.nn.Module, images: torch.Tensor) -> torch.Tensor:
    """Return DINOv2's class token after the last norm, float32 [N, 1024], of uint8 images [N, 3, H, W]."""
    return model(preprocess_dinov2(images))  # [N, D]
