# Copyright 2026 The GDD-1S authors.
# SPDX-License-Identifier: Apache-2.0
"""The encoder of the teacher as a feature backbone: no download, no ImageNet.

The idea is that of LADD (arXiv 2403.12015) and of the GAN part of DMD2 (arXiv 2405.14867): a diffusion model
has learnt features of its own images at every noise level, so noisy images are shown to its frozen encoder.

Letters in shape comments: N batch, C channels, S side of the image, K classes.
"""

import copy

import torch
from torch import nn
from torch.nn import functional

from training.backbones.spec import HALF, BackboneError, BackboneSpec

TEACHER = 'teacher'
LEVELS = 4  # maps that the projections expect
MIN_SIDE = 8  # below it the coarsest of four maps would be empty


class TeacherStages(nn.Module):
    """Return the last map of every resolution of the teacher's encoder, fine to coarse.

    Four maps as of any backbone: a teacher with fewer resolutions gets averages of 2x2 pixels of its
    coarsest map below it, one with more keeps its coarsest four. Each map is normalised in groups of
    channels, without weights, as the next block of the encoder would do first: that takes away the
    differences of scale between noise levels.

    Args:
        net: Preconditioned network (EDMPrecond or GDDPrecond of training/networks.py) with the teacher's
             weights; it is copied, without its decoder, and frozen.
    Attributes:
        channels: Channels of the four maps.
        sizes:    Sides of the four maps, in pixels.
    Raises:
        BackboneError: Its images are too small.
    """

    def __init__(self, net: nn.Module) -> None:
        super().__init__()
        self.net = copy.deepcopy(net).requires_grad_(False).eval()
        self.net.model.dec = nn.ModuleDict()
        self.side, self.img_channels = net.img_resolution, net.img_channels
        if self.side < MIN_SIDE:
            raise BackboneError(
                f'the teacher makes images of {self.side} pixels; four maps, each half of the one before, '
                f'need at least {MIN_SIDE}: use another backbone, such as tf_efficientnet_lite0'
            )
        maps = self._trial()
        self.channels, self.sizes = [x.shape[1] for x in maps], [x.shape[2] for x in maps]

    @property
    def spec(self) -> BackboneSpec:
        """Return what is known about it, as about any backbone."""
        return BackboneSpec(TEACHER, TEACHER, HALF, HALF, tuple(self.channels), (), input_size=self.side)

    def train(self, mode: bool = True) -> 'TeacherStages':
        """Stay in eval mode: without dropout."""
        return super().train(False)

    def forward(
        self, x: torch.Tensor, sigma: torch.Tensor, noise: torch.Tensor, labels: torch.Tensor | None = None
    ) -> list[torch.Tensor]:
        """Compute the maps of noisy images.

        Args:
            x:      Images, float32 [N, C, S, S], -1..1.
            sigma:  Noise levels, [N, 1, 1, 1], > 0.
            noise:  Standard normal noise, shape of `x`.
            labels: One-hot labels [N, K]; needed by a teacher with classes, not looked at by one without.
        Returns:
            Four maps, [N, C_l, S, S] and half of that each time for an EDM teacher.
        Raises:
            ValueError: Images of another size, or a teacher with classes and no labels.
        """
        maps = four_levels(self.levels(x, sigma, noise, labels))
        return [_normalised(x) for x in maps]  # [N, C_l, S_l, S_l]

    def levels(
        self, x: torch.Tensor, sigma: torch.Tensor, noise: torch.Tensor, labels: torch.Tensor | None = None
    ) -> list[torch.Tensor]:
        """Return the last map of each resolution as the encoder makes it; arguments as for `forward`."""
        if x.shape[1:] != (self.img_channels, self.side, self.side):
            raise ValueError(
                f'images of shape {list(x.shape)}: the teacher has {self.img_channels} channels, '
                f'{self.side} pixels'
            )
        if self.net.label_dim and (labels is None or labels.shape[1] != self.net.label_dim):
            given = 'none' if labels is None else list(labels.shape)
            raise ValueError(
                f'labels {given}: the teacher needs one-hot rows of {self.net.label_dim} classes'
            )
        _c_skip, _c_out, c_in, c_noise = self.net.coefficients(sigma)  # [N, 1, 1, 1] each
        emb = self.net.model.embed(c_noise.flatten(), labels if self.net.label_dim else None)  # [N, E]
        skips = self.net.model.encode(c_in * (x + sigma * noise), emb)
        return list({x.shape[2]: x for x in skips}.values())  # of one size the last; [N, C_l, S_l, S_l]

    @torch.no_grad()
    def _trial(self) -> list[torch.Tensor]:
        parameter = next(self.net.parameters())
        x = parameter.new_zeros([1, self.img_channels, self.side, self.side])
        return self(x, parameter.new_ones([1, 1, 1, 1]), x, parameter.new_zeros([1, self.net.label_dim]))


def four_levels(maps: list[torch.Tensor]) -> list[torch.Tensor]:
    """Bring the number of maps to four: the coarsest ones, or means of 2x2 pixels below the coarsest.

    Args:
        maps: [N, C_l, S_l, S_l], fine to coarse.
    """
    maps = maps[-LEVELS:]
    while len(maps) < LEVELS:
        maps.append(functional.avg_pool2d(maps[-1], 2))
    return maps


def _normalised(x: torch.Tensor) -> torch.Tensor:
    return functional.group_norm(x, max(1, min(32, x.shape[1] // 4)))
