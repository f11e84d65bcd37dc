# Copyright 2026 The GDD-1S authors.
# SPDX-License-Identifier: Apache-2.0
"""Instance-based distillation: time indices, jumps and targets of PD, CD, CTM and RCD as pure functions.

A noisy image is moved from a start t over a middle u to a destination s along the trajectory of the
probability-flow ODE, and the student learns to name the end of the jump in one call. PD is progressive
distillation (Salimans & Ho 2022), CD consistency distillation (Song et al. 2023, Eq. 7), CTM the trajectory
model of Kim et al. 2024, RCD a relative of CTM that starts at the highest level only. All follow the official
GDD code, without its destination argument, which no released network accepts; docs/methods.md has the tables.

Letters in shape comments: N batch, C channels, H W pixels, K classes, n images of one branch,
M = `max_steps`.
"""

import functools
from collections.abc import Callable, Mapping

import torch

from torch_utils.randomness import to_device
from training.choices import TEACHER_TYPES, check_max_steps
from training.sampling.noise_levels import edm_levels

INSTANCE_TYPES = TEACHER_TYPES[1:]
Denoiser = Callable[[torch.Tensor, torch.Tensor, torch.Tensor | None], torch.Tensor]


@functools.lru_cache(maxsize=8)
def index_levels(max_steps: int) -> torch.Tensor:
    """Return the noise level of every time index, float64 [M + 1]: EDM's spacing from 0.002 (0) to 80 (M)."""
    return edm_levels(max_steps + 1).flip(0)


def uniform_between(low: torch.Tensor, high: torch.Tensor, generator: torch.Generator) -> torch.Tensor:
    """Draw integers uniform in low..high, both included (official: the end bins are 1e-4 narrower).

    Args:
        low, high: int64 [N], low <= high.
        generator: Source of one uniform number per image.
    Returns:
        int64 [N].
    """
    u = torch.rand(low.shape, generator=generator, device=generator.device)  # [N]
    return (u * (high - low + 0.9998) + low - 0.4999).round().long()


def draw_indices(
    kind: str, max_steps: int, count: int, generator: torch.Generator
) -> dict[str, torch.Tensor]:
    """Draw the time indices of a batch (docs/methods.md, table of t, u, s).

    Args:
        kind:      One of INSTANCE_TYPES.
        max_steps: Number of intervals M >= 2; a power of two for 'pd'.
        count:     Number of images N.
        generator: torch.Generator, on the CPU.
    Returns:
        Dict of t (start), u (middle) and s (destination), int64 [N], M >= t > u >= s >= 0; u = s never
        occurs.
    Raises:
        ArgumentError: `kind` or `max_steps` is impossible.
    """
    check_max_steps(kind, max_steps)
    ones = torch.ones([count], dtype=torch.int64)
    uniform = functools.partial(torch.randint, size=[count], generator=generator)
    if kind == 'pd':  # a step of the student that takes 1, 2, 4 ... M/2 steps, in place of two half steps
        steps = 2 ** uniform(0, max_steps.bit_length() - 1)  # [N]
        t = uniform_between(ones, steps, generator)
        width = max_steps // steps
        return dict(t=t * width, u=t * width - width // 2, s=(t - 1) * width)
    if kind == 'rcd':
        s = uniform_between(0 * ones, (max_steps - 2) * ones, generator)
        return dict(t=max_steps * ones, u=s + 1, s=s)
    t = uniform(2, max_steps + 1)
    if kind == 'cd':
        return dict(t=t, u=t - 1, s=0 * ones)
    u = uniform_between(ones, t - 1, generator)
    return dict(t=t, u=u, s=uniform_between(0 * ones, u - 1, generator))


def euler_jump(
    denoise: Denoiser, v: torch.Tensor, start: torch.Tensor, end: torch.Tensor, labels: torch.Tensor | None
) -> torch.Tensor:
    """Jump from one noise level to another in a straight line through the denoised image.

    Args:
        denoise:    Network called as denoise(x, sigma, class_labels).
        v:          Noisy images [n, C, H, W].
        start, end: Noise levels, float32 [n, 1, 1, 1], start > end > 0.
        labels:     One-hot labels [n, K] or None.
    Returns:
        Images at the level `end`, [n, C, H, W].
    """
    return v + (denoise(v, start, labels) - v) / start * (start - end)


def heun_step(
    denoise: Denoiser, v: torch.Tensor, start: torch.Tensor, end: torch.Tensor, labels: torch.Tensor | None
) -> torch.Tensor:
    """Take one step of Heun's method (EDM, Algorithm 1 without noise); arguments as `euler_jump`."""
    slope = (denoise(v, start, labels) - v) / start  # [n, C, H, W], minus dx/dsigma
    middle = v + slope * (start - end)
    correction = (denoise(middle, end, labels) - middle) / end
    return v + (slope + correction) / 2 * (start - end)


def hop(
    student: Denoiser,
    teacher: Denoiser,
    v: torch.Tensor,
    start: torch.Tensor,
    end: torch.Tensor,
    labels: torch.Tensor | None,
    max_steps: int,
) -> torch.Tensor:
    """Move every image from a time index to another.

    Heun by the teacher over one interval, Euler by the student over more. Only the branch that an image needs
    is computed; where start equals end nothing is.

    Args:
        student, teacher: Networks called as net(x, sigma, class_labels), without gradients where none are
                          wanted.
        v:                Noisy images [N, C, H, W].
        start, end:       Time indices, int64 [N] on the CPU (so that choosing a branch never waits for a
                          GPU), start >= end.
        labels:           One-hot labels [N, K] or None.
        max_steps:        Number of intervals M.
    Returns:
        Images at the indices `end`, [N, C, H, W].
    """
    gap, levels = start - end, index_levels(max_steps)
    for chosen, jump, net in ((gap == 1, heun_step, teacher), (gap > 1, euler_jump, student)):
        if chosen.all():
            return jump(net, v, image_levels(levels[start], v), image_levels(levels[end], v), labels)
        if chosen.any():
            where = chosen.nonzero()[:, 0]  # [n]
            on_device = to_device(where, v.device)
            part = v.index_select(0, on_device)  # [n, C, H, W]
            part_labels = None if labels is None else labels.index_select(0, on_device)
            moved = jump(
                net,
                part,
                image_levels(levels[start[where]], v),
                image_levels(levels[end[where]], v),
                part_labels,
            )
            v = v.index_copy(0, on_device, moved)
    return v


def image_levels(values: torch.Tensor, images: torch.Tensor) -> torch.Tensor:
    """Bring one noise level per image [N] into the type and place of the images, [N, 1, 1, 1]."""
    return to_device(values.to(images.dtype), images.device).reshape(-1, 1, 1, 1)


def distillation_target(
    kind: str,
    student: Denoiser,
    teacher: Denoiser,
    v: torch.Tensor,
    indices: Mapping[str, torch.Tensor],
    labels: torch.Tensor | None,
    max_steps: int,
) -> torch.Tensor:
    """Compute what the student's output at the start shall become (docs/methods.md, table of targets).

    Args:
        kind:             'cd': the image reached at s = 0; 'ctm': the one reached when a last hop leads from
                          s to 0; 'pd', 'rcd': the clean image whose straight jump from t to s ends where two
                          hops end.
        student, teacher: Networks called as net(x, sigma, class_labels): the generator in training, the
                          frozen denoiser.
        v:                Noisy images at the level of t, [N, C, H, W].
        indices:          Dict of t, u, s as from `draw_indices`.
        labels:           One-hot labels [N, K] or None.
        max_steps:        Number of intervals M.
    Returns:
        Images [N, C, H, W], about -1..1.
    """
    t, u, s = (indices[name] for name in 'tus')
    move = functools.partial(hop, student, teacher, labels=labels, max_steps=max_steps)
    end = move(move(v, t, u), u, s)  # [N, C, H, W], at s
    if kind == 'cd':
        return end
    if kind == 'ctm':
        return move(end, s, torch.zeros_like(s))
    levels = index_levels(max_steps)
    start, stop = image_levels(levels[t], v), image_levels(levels[s], v)  # [N, 1, 1, 1]
    return v + start * (end - v) / (start - stop)
