# Copyright 2026 The GDD-1S authors.
# SPDX-License-Identifier: Apache-2.0

"""Trainable discriminator heads on projected features, one per backbone and level.

The heads are those of the official GDD code (Projected GAN, conditional part of StyleGAN-XL).
They are meant to stay in train mode: batch norm uses the statistics of the current forward
pass only, and every train-mode forward advances the spectral-norm vectors by one step.

Letters in shape comments: N batch, C channels, s side of a map, K classes, L logits per image.
"""

import math
from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import nn
from torch.nn import functional

from dnnlib.errors import ArgumentError, arg
from training.backbones.spec import backbone_key

SIZE_TO_CHANNELS = {
    1: 2048,
    2: 1024,
    4: 512,
    8: 512,
    16: 256,
    32: 128,
    64: 64,
    128: 64,
    256: 32,
    512: 16,
    1024: 8,
}
CMAP_CHANNELS = 64  # width in which features and class meet


class SpectralNormConv2d(nn.Conv2d):
    """Convolve with weights divided by an estimate of their largest singular value.

    Miyato et al. 2018, algorithm 1, as PyTorch's old hook does it: vectors start random, one
    power iteration per train-mode forward, no gradient through the vectors.
    Buffers: `u` [C_out] and `v` [C_in*k*k], unit vectors. Arguments are those of nn.Conv2d.
    """

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        rows, columns = self.weight.flatten(1).shape
        self.register_buffer('u', functional.normalize(torch.randn(rows), dim=0, eps=1e-12))
        self.register_buffer('v', functional.normalize(torch.randn(columns), dim=0, eps=1e-12))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        matrix = self.weight.flatten(1)  # [C_out, C_in*k*k]
        if self.training:
            with torch.no_grad():
                self.v.copy_(functional.normalize(matrix.t().mv(self.u), dim=0, eps=1e-12))
                self.u.copy_(functional.normalize(matrix.mv(self.v), dim=0, eps=1e-12))
        # Copies, because the next forward moves u and v before this one's backward has run.
        sigma = torch.dot(self.u.clone(), matrix.mv(self.v.clone()))
        weight = (self.weight / sigma).to(x.dtype)  # master weights and norm are float32 whatever x is
        bias = None if self.bias is None else self.bias.to(x.dtype)
        return self._conv_forward(x, weight, bias)  # [N, C_out, s', s']


class DownBlock(nn.Module):
    """Halve a map: spectral-norm convolution 4x4, batch norm, leaky ReLU.

    Args:
        in_channels:  Channels of the input.
        out_channels: Channels of the output.
    """

    def __init__(self, in_channels: int, out_channels: int) -> None:
        super().__init__()
        self.conv = SpectralNormConv2d(in_channels, out_channels, 4, stride=2, padding=1)
        self.norm = nn.BatchNorm2d(out_channels)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = self.norm(self.conv(x))  # [N, C_out, s/2, s/2]
        return functional.leaky_relu(x, 0.2, inplace=True)


class EqualizedLinear(nn.Module):
    """Map class embeddings with an equalised learning rate and a leaky ReLU of gain sqrt(2).

    Args:
        in_features:  Width of the embedding.
        out_features: Width of the result.
    """

    def __init__(self, in_features: int, out_features: int) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.randn(out_features, in_features))
        self.bias = nn.Parameter(torch.zeros(out_features))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = functional.linear(x, self.weight * (1 / math.sqrt(self.weight.shape[1]))) + self.bias  # [N, out]
        return functional.leaky_relu(x, 0.2) * math.sqrt(2)


class LevelHead(nn.Module):
    """Score one feature map: a chain of DownBlocks and a last convolution.

    Args:
        channels:    Channels before, between and after the DownBlocks.
        out_kernel:  Kernel side of the last convolution.
        class_table: Start values of the class embedding, [K, D], or None for an unconditional
                     head. Every head trains a copy of its own.
    """

    def __init__(
        self, channels: Sequence[int], out_kernel: int, class_table: torch.Tensor | None = None
    ) -> None:
        super().__init__()
        self.num_blocks = len(channels) - 1
        for index in range(self.num_blocks):
            self.add_module(f'down{index}', DownBlock(channels[index], channels[index + 1]))
        self.conditional = class_table is not None
        self.out = SpectralNormConv2d(
            channels[-1], CMAP_CHANNELS if self.conditional else 1, out_kernel, bias=False
        )
        if self.conditional:
            self.embed = nn.Embedding.from_pretrained(class_table.clone(), freeze=False)
            self.proj = EqualizedLinear(class_table.shape[1], CMAP_CHANNELS)

    def forward(self, x: torch.Tensor, classes: torch.Tensor | None = None) -> torch.Tensor:
        for index in range(self.num_blocks):
            x = self.get_submodule(f'down{index}')(x)  # [N, C, s, s]
        x = self.out(x).to(self.out.weight.dtype)  # [N, 1 or 64, s', s']
        if self.conditional:
            cmap = self.proj(self.embed(classes))  # [N, 64]
            x = (x * cmap[:, :, None, None]).sum(dim=1) / math.sqrt(CMAP_CHANNELS)
        return x.flatten(1)  # [N, s' * s']


class ProjectedDiscriminator(nn.Module):
    """Score projected features with one head per backbone and level.

    Args:
        names:       Backbone names, in the order of the results.
        channels:    Channels of the four maps, `ProjectedFeatures.channels`.
        resolutions: Nominal sizes of the four maps, `ProjectedFeatures.resolutions`.
        label_dim:   Number of classes, 0 = unconditional.
        class_table: Start values of the class embedding, float32 [>= label_dim, D], see
                     adversarial/class_table.py; needed if label_dim > 0.
        channel_max: Upper bound on the channels after a DownBlock; None = official widths.
        own_resolutions: Other nominal sizes by backbone, `ProjectedFeatures.own_resolutions`.
    Raises:
        ValueError: The class table is missing or too short, or the nominal sizes do not fit.
    """

    def __init__(
        self,
        names: Sequence[str],
        channels: Sequence[int],
        resolutions: Sequence[int],
        label_dim: int = 0,
        class_table: torch.Tensor | None = None,
        channel_max: int | None = None,
        own_resolutions: Mapping[str, Sequence[int]] | None = None,
    ) -> None:
        super().__init__()
        if label_dim > 0 and (class_table is None or class_table.shape[0] < label_dim):
            rows = 'none' if class_table is None else class_table.shape[0]
            raise ValueError(
                f'label_dim={label_dim} needs a class table with at least {label_dim} rows; it has {rows}'
            )
        self.names = [backbone_key(name) for name in names]
        self.label_dim = label_dim
        table = class_table if label_dim > 0 else None
        for name in self.names:
            sizes = (own_resolutions or {}).get(name, resolutions)
            end_size = head_end_size(sizes)
            out_kernel = 4 if end_size >= 8 else max(1, end_size // 2)
            heads = nn.ModuleList(
                LevelHead(head_channels(size, end_size, width, channel_max), out_kernel, table)
                for size, width in zip(sizes, channels)
            )
            self.add_module(name, heads)

    def forward(
        self, features: dict[str, list[torch.Tensor]], labels: torch.Tensor | None = None
    ) -> list[torch.Tensor]:
        """Score a batch.

        Args:
            features: Dict of backbone key -> list of four maps, from `ProjectedFeatures`. Convolutions run in
                      their type, from weights that stay in float32; all else is float32.
            labels:   One-hot labels, [N, K]; ignored (may be None) without classes.
        Returns:
            List with one tensor [N, L] per backbone; L depends on the size of its maps.
        Raises:
            ValueError: The discriminator has classes, but labels are missing or have another width.
        """
        classes = self._class_indices(labels) if self.label_dim else None
        logits = []
        for name in self.names:
            levels = [head(x, classes) for head, x in zip(self.get_submodule(name), features[name])]
            logits.append(torch.cat(levels, dim=1))  # [N, L]
        return logits

    def _class_indices(self, labels: torch.Tensor | None) -> torch.Tensor:
        if labels is None or labels.shape[1] != self.label_dim:
            given = 'none' if labels is None else list(labels.shape)
            raise ValueError(
                f'labels {given}: a discriminator with label_dim={self.label_dim} '
                f'needs one-hot rows of that width'
            )
        return labels.argmax(dim=1)  # [N]


def head_end_size(resolutions: Sequence[int]) -> int:
    """Return the map side at which all levels stop halving.

    Args:
        resolutions: Nominal sizes of the four maps, fine to coarse.
    Raises:
        ArgumentError: A coarsest map below 8 that is not a power of two.
    """
    coarsest = resolutions[3]
    if coarsest < 8 and coarsest not in (1, 2, 4):
        raise ArgumentError(
            f'maps of {", ".join(map(str, resolutions))} pixels: the coarsest map has side {coarsest}; below '
            '8 it must be 1, 2 or 4 (images of 32 or 64 pixels); let the images be resized, as ',
            arg('d_resolution', 1 << (16 * coarsest - 1).bit_length()),
            ' does',
        )
    return min(coarsest, 8)


def head_channels(
    start_size: int, end_size: int, in_channels: int, channel_max: int | None = None
) -> list[int]:
    """List the channels before, between and after the DownBlocks of one level.

    Args:
        start_size:  Nominal map side; replaced by the nearest key of SIZE_TO_CHANNELS.
        end_size:    Map side after the last DownBlock.
        in_channels: Channels of the feature map.
        channel_max: Upper bound for all but the first entry, or None.
    Returns:
        List with one entry more than there are DownBlocks.
    """
    size = min(SIZE_TO_CHANNELS, key=lambda key: abs(key - start_size))
    channels = [in_channels]
    while size > end_size:
        size //= 2
        channels.append(min(SIZE_TO_CHANNELS[size], channel_max or math.inf))
    return channels
