# Copyright 2026 The GDD-1S authors.
# SPDX-License-Identifier: Apache-2.0
"""Denoising score-matching loss, with which EDM teachers are trained."""
import torch


class EDMLoss:
    """Weighted denoising error, EDM Eq. (8) and table 1.

    sigma is log-normal, ln sigma ~ N(P_mean, P_std^2), and the weight
    (sigma^2 + sigma_data^2) / (sigma sigma_data)^2 makes all noise levels count alike at the start.

    Args:
        P_mean, P_std: Mean and standard deviation of ln sigma.
        sigma_data:    Standard deviation of the data.
    """

    def __init__(self, P_mean=-1.2, P_std=1.2, sigma_data=0.5):
        self.P_mean, self.P_std, self.sigma_data = P_mean, P_std, sigma_data

    def __call__(self, net, images, labels=None, level=None, noise=None):
        """Return the unreduced loss.

        Args:
            net:    Preconditioned network.
            images: float32 [N, C, H, W], -1..1.
            labels: One-hot float32 [N, K], or None.
            level:  Standard normal [N, 1, 1, 1] that picks sigma; drawn here (first) if None.
            noise:  Standard normal, shape of images; drawn here (second) if None.
        Returns:
            float32 [N, C, H, W].
        """
        if level is None:
            level = torch.randn([images.shape[0], 1, 1, 1], device=images.device)
        sigma = (level * self.P_std + self.P_mean).exp()                     # [N, 1, 1, 1]
        weight = (sigma ** 2 + self.sigma_data ** 2) / (sigma * self.sigma_data) ** 2
        if noise is None:
            noise = torch.randn_like(images)
        denoised = net(images + noise * sigma, sigma, labels)                # [N, C, H, W]
        return weight * (denoised - images) ** 2                             # [N, C, H, W]
