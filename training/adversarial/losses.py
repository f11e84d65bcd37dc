# Copyright 2026 The GDD-1S authors.
# SPDX-License-Identifier: Apache-2.0

"""Adversarial losses and R1 as pure functions of logits; training/adversarial/stages.py makes the logits.

Convention of the official code: a loss is the SUM over backbones and images of the
mean over an image's logits, while R1 is a MEAN over images. The optimizer is indifferent to the
scale of the first, but the balance between the two decides how strong R1 is.

Letters in shape comments: N batch, C channels, H W pixels, L logits per image.
"""

from collections.abc import Callable, Sequence

import torch
from torch.nn import functional

from dnnlib.errors import ArgumentError, arg

LOSS_TYPES = ('ns', 'hinge')


def generator_loss(logits: Sequence[torch.Tensor], loss_type: str) -> torch.Tensor:
    """Compute the generator's loss.

    Args:
        logits:    Logits of generated images, one tensor [N, L] per backbone.
        loss_type: 'ns' (non-saturating, softplus(-x)) or 'hinge' (-x).
    Returns:
        Scalar: sum over backbones and images of the mean over L.
    Raises:
        ArgumentError: Unknown type.
    """
    require_known(loss_type)
    return _sum_of_means(logits, _softplus_of_negative if loss_type == 'ns' else torch.neg)


def discriminator_loss(
    fake: Sequence[torch.Tensor], real: Sequence[torch.Tensor], loss_type: str
) -> torch.Tensor:
    """Compute the discriminator's main loss.

    Args:
        fake:      Logits of generated images, one tensor [N, L] per backbone.
        real:      Logits of real images, likewise.
        loss_type: 'ns' (softplus) or 'hinge' (relu(1 + fake), relu(1 - real)).
    Returns:
        Scalar: sum over backbones and images of the mean over L.
    Raises:
        ArgumentError: Unknown type.
    """
    require_known(loss_type)
    if loss_type == 'ns':
        return _sum_of_means(fake, functional.softplus) + _sum_of_means(real, _softplus_of_negative)
    return _sum_of_means(fake, lambda x: functional.relu(1 + x)) + _sum_of_means(
        real, lambda x: functional.relu(1 - x)
    )


def r1_penalty(logits: Sequence[torch.Tensor], images: torch.Tensor) -> torch.Tensor:
    """Compute the squared gradient of the sum of all logits with respect to each image.

    R1 of Mescheder et al. 2018. Batch norm couples the images of a batch, and this coupling is part of the
    gradient.

    Args:
        logits: One tensor [N, L] per backbone, computed from `images`.
        images: [N, C, H, W], requires grad.
    Returns:
        Penalty per image, [N], differentiable.
    Raises:
        ValueError: `images` does not require grad.
    """
    if not images.requires_grad:
        raise ValueError(
            'images must require grad before the logits are computed; call images.requires_grad_(True)'
        )
    total = sum(x.sum() for x in logits)
    (gradient,) = torch.autograd.grad(total, [images], create_graph=True)  # [N, C, H, W]
    return gradient.square().sum(dim=[1, 2, 3])  # [N]


def require_known(loss_type: str) -> None:
    """Raise ArgumentError if `loss_type` is none of LOSS_TYPES."""
    if loss_type not in LOSS_TYPES:
        raise ArgumentError(
            arg('loss_type', loss_type),
            ' is unknown; use ',
            arg('loss_type', LOSS_TYPES[0]),
            f' or {LOSS_TYPES[1]}',
        )


def _softplus_of_negative(x: torch.Tensor) -> torch.Tensor:
    return functional.softplus(-x)


def _sum_of_means(
    logits: Sequence[torch.Tensor], function: Callable[[torch.Tensor], torch.Tensor]
) -> torch.Tensor:
    return sum(function(x).mean(dim=1).sum() for x in logits)
