# Copyright 2026 The GDD-1S authors.
# SPDX-License-Identifier: Apache-2.0
"""Denoising losses with which teachers are trained: EDM's, and those of VP and VE diffusion.

The text of this file travels inside the snapshots of teachers, whose entry `loss_fn` EDM's own
loader rebuilds from it. It therefore imports nothing but torch and the persistence decorator, and
keeps to Python 3.8 (newer annotations are never evaluated) and the API of torch 1.12.

Shapes: N batch, C channels, H W pixels, K classes, D augmentation labels.
"""

from __future__ import annotations

from collections.abc import Callable

import torch

from torch_utils import persistence


class DenoisingLoss:
    """What the losses share: w(sigma) (D(y + n; sigma) - y)^2 with n = sigma times normal noise, EDM Eq. (8).

    Subclasses say how sigma follows from one random number per image and how it is weighted.
    """

    level_draw = 'randn'  # distribution of that random number: 'randn' or 'rand'

    def sigma(self, level: torch.Tensor) -> torch.Tensor:
        """Turn random numbers of the distribution `level_draw` into noise levels of the same shape."""
        raise NotImplementedError

    def weight(self, sigma: torch.Tensor) -> torch.Tensor:
        """Return the weight of each noise level."""
        raise NotImplementedError

    def __call__(
        self,
        net: torch.nn.Module,
        images: torch.Tensor,
        labels: torch.Tensor | None = None,
        augment_pipe: Callable[[torch.Tensor], tuple[torch.Tensor, torch.Tensor]] | None = None,
        level: torch.Tensor | None = None,
        noise: torch.Tensor | None = None,
        augment_labels: torch.Tensor | None = None,
    ) -> torch.Tensor:
        """Return the unreduced loss.

        What is not given is drawn here, in EDM's order: level, augmentation, noise.

        Args:
            net:            Preconditioned network.
            images:         float32 [N, C, H, W], -1..1.
            labels:         One-hot float32 [N, K], or None.
            augment_pipe:   Makes augmented images and labels [N, D] of images; None leaves them as they are.
            level:          Random numbers [N, 1, 1, 1] that pick sigma, distributed as `level_draw` says.
            noise:          Standard normal, shape of images.
            augment_labels: Labels [N, D] of images that are augmented already.
        Returns:
            float32 [N, C, H, W].
        """
        if level is None:
            level = getattr(torch, self.level_draw)([images.shape[0], 1, 1, 1], device=images.device)
        sigma = self.sigma(level)  # [N, 1, 1, 1]
        if augment_pipe is not None:
            images, augment_labels = augment_pipe(images)
        if noise is None:
            noise = torch.randn_like(images)
        denoised = net(images + noise * sigma, sigma, labels, augment_labels=augment_labels)  # [N, C, H, W]
        return self.weight(sigma) * (denoised - images) ** 2  # [N, C, H, W]


@persistence.persistent_class
class EDMLoss(DenoisingLoss):
    """Loss of EDM, table 1: ln sigma ~ N(P_mean, P_std^2); at the start all levels weigh alike.

    Args:
        P_mean, P_std: Mean and standard deviation of ln sigma.
        sigma_data:    Standard deviation of the data.
    """

    def __init__(self, P_mean: float = -1.2, P_std: float = 1.2, sigma_data: float = 0.5) -> None:
        self.P_mean = P_mean
        self.P_std = P_std
        self.sigma_data = sigma_data

    def sigma(self, level: torch.Tensor) -> torch.Tensor:
        return (level * self.P_std + self.P_mean).exp()

    def weight(self, sigma: torch.Tensor) -> torch.Tensor:
        return (sigma**2 + self.sigma_data**2) / (sigma * self.sigma_data) ** 2


@persistence.persistent_class
class VPLoss(DenoisingLoss):
    """Loss of variance-preserving diffusion, EDM table 1: sigma(t) at uniform times t in epsilon_t..1.

    Args:
        beta_d, beta_min: Noise schedule, sigma(t)^2 = exp(beta_d t^2 / 2 + beta_min t) - 1.
        epsilon_t:        Smallest time.
    """

    level_draw = 'rand'

    def __init__(self, beta_d: float = 19.9, beta_min: float = 0.1, epsilon_t: float = 1e-5) -> None:
        self.beta_d = beta_d
        self.beta_min = beta_min
        self.epsilon_t = epsilon_t

    def sigma(self, level: torch.Tensor) -> torch.Tensor:
        t = 1 + level * (self.epsilon_t - 1)
        return ((0.5 * self.beta_d * (t**2) + self.beta_min * t).exp() - 1).sqrt()

    def weight(self, sigma: torch.Tensor) -> torch.Tensor:
        return 1 / sigma**2


@persistence.persistent_class
class VELoss(DenoisingLoss):
    """Loss of variance-exploding diffusion, EDM table 1: ln sigma uniform between the limits.

    Args:
        sigma_min, sigma_max: Limits of the noise level.
    """

    level_draw = 'rand'

    def __init__(self, sigma_min: float = 0.02, sigma_max: float = 100) -> None:
        self.sigma_min = sigma_min
        self.sigma_max = sigma_max

    def sigma(self, level: torch.Tensor) -> torch.Tensor:
        return self.sigma_min * ((self.sigma_max / self.sigma_min) ** level)

    def weight(self, sigma: torch.Tensor) -> torch.Tensor:
        return 1 / sigma**2
