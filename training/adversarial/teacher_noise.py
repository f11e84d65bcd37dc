# Copyright 2026 The GDD-1S authors.
# SPDX-License-Identifier: Apache-2.0
"""Noise on the images that the teacher's encoder judges (training/backbones/teacher.py).

Real and generated images get noise of the same law, each image a level and noise of its own.
"""

from collections.abc import Sequence

import torch

from training.sampling.noise_levels import edm_levels

GRID, LOGNORMAL = 'grid', 'lognormal'
GRID_LEVELS, GRID_MARGIN = 1000, 2
P_MEAN, P_STD = -1.2, 1.2


def draw_noise(
    law: str | Sequence[float], images: torch.Tensor, count: int, generator: torch.Generator
) -> dict[str, torch.Tensor]:
    """Draw noise levels and noise for a batch.

    Args:
        law:       'grid': one of EDM's 1000 levels from 0.002 to 80, without the two lowest and the highest,
                   with equal chances (DMD2 and FastGen; half of them lie above 2.5). 'lognormal': ln sigma ~
                   N(-1.2, 1.2^2), what EDM's teachers are trained with. A list of levels: one of them, with
                   equal chances.
        images:    [N, C, H, W]; only the shape is read.
        count:     Number of images to draw for.
        generator: Generator to draw from, on whose device the numbers then are.
    Returns:
        By name: sigma [count, 1, 1, 1], > 0, and noise [count, C, H, W], standard normal; float32.
    """
    options = dict(generator=generator, device=generator.device)
    if law == LOGNORMAL:
        sigma = (torch.randn([count], **options) * P_STD + P_MEAN).exp()  # [count]
    else:
        levels = grid_levels() if law == GRID else torch.tensor(law, dtype=torch.float32)
        index = torch.randint(len(levels), [count], **options)
        sigma = levels.to(generator.device)[index]  # [count]
    noise = torch.randn([count, *images.shape[1:]], **options)
    return dict(sigma=sigma.reshape(-1, 1, 1, 1), noise=noise)


def grid_levels() -> torch.Tensor:
    """Return the levels of the law 'grid', ascending, float32."""
    ascending = edm_levels(GRID_LEVELS).flip(0)
    return ascending[GRID_MARGIN : GRID_LEVELS - GRID_MARGIN + 1].to(torch.float32)
