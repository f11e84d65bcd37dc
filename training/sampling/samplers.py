# Copyright 2026 The GDD-1S authors.
# SPDX-License-Identifier: Apache-2.0
"""Samplers: from noise to images.

`edm_sampler` is EDM's Algorithm 2, `one_step_sampler` a single network call (GDD), and `multi_step_sampler` a
few deterministic jumps for networks distilled to more than one step. State and arithmetic are float64 outside
the network; the network itself computes in float32 (or its reduced precision).
Legend: N batch, C channels, H W pixels, K classes, M steps.
"""

import math
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import torch

from dnnlib.errors import ArgumentError, arg
from torch_utils.randomness import to_device
from training.sampling.noise_levels import (
    DISCRETIZATIONS,
    SCALINGS,
    SCHEDULES,
    SIGMA_MAX,
    SIGMA_MIN,
    Schedule,
    build_scaling,
    build_schedule,
    check_steps,
    edm_levels,
    noise_levels,
    noise_range,
    vp_betas,
)
from training.sampling.seeds import StackedRandomGenerator

SOLVERS = ('euler', 'heun')
MIDDLE_SIGMA = 0.8


def check_choice(name: str, value: Any, choices: Sequence) -> None:
    """Raise ValueError if `value` is not one of `choices`."""
    if value not in choices:
        raise ValueError(f'{name}={value}: unknown; choose one of {", ".join(choices)}')


def limit_range(net: torch.nn.Module, sigma_min: float, sigma_max: float) -> tuple[float, float]:
    """Return the part of a noise range that the network supports."""
    return max(sigma_min, float(net.sigma_min)), min(sigma_max, float(net.sigma_max))


def churn(level: torch.Tensor, num_steps: int, S_churn: float, S_min: float, S_max: float) -> float:
    """Return gamma, the relative noise increase of one stochastic step (EDM, Algorithm 2)."""
    return min(S_churn / num_steps, math.sqrt(2) - 1) if S_min <= level <= S_max else 0.0


@torch.no_grad()
def edm_sampler(
    net: torch.nn.Module,
    latents: torch.Tensor,
    class_labels: torch.Tensor | None = None,
    randn_like: Callable[[torch.Tensor], torch.Tensor] = torch.randn_like,
    num_steps: int = 18,
    sigma_min: float | None = None,
    sigma_max: float | None = None,
    rho: float = 7,
    S_churn: float = 0,
    S_min: float = 0,
    S_max: float = float('inf'),
    S_noise: float = 1,
) -> torch.Tensor:
    """Sample images with Heun's method, deterministic or stochastic (EDM, Algorithms 1 and 2).

    The network is called 2 * num_steps - 1 times.

    Args:
        net:          Preconditioned network `net(x, sigma, class_labels)`.
        latents:      Standard normal noise, [N, C, H, W].
        class_labels: One-hot labels [N, K] or None.
        randn_like:   Source of the noise of stochastic steps; called once per step with the float64 state.
        num_steps:    Number of steps, >= 2.
        sigma_min, sigma_max: Noise range, None for 0.002 and 80; limited to the range of the network.
        rho:          Exponent of the spacing of noise levels.
        S_churn, S_min, S_max, S_noise: Strength, noise range and noise inflation of stochastic steps.
    Returns:
        Images, float64 [N, C, H, W], nominally -1..1.
    Raises:
        ValueError: Fewer than 2 steps (upstream returns NaN for 1) or an empty noise range.
    """
    sigma_min, sigma_max = limit_range(
        net, SIGMA_MIN if sigma_min is None else sigma_min, SIGMA_MAX if sigma_max is None else sigma_max
    )
    check_steps(num_steps, sigma_min, sigma_max)
    levels = net.round_sigma(edm_levels(num_steps, sigma_min, sigma_max, rho).to(latents.device))
    levels = torch.cat([levels, torch.zeros_like(levels[:1])])

    x = latents.to(torch.float64) * levels[0]  # [N, C, H, W]
    for i, (t, t_next) in enumerate(zip(levels[:-1], levels[1:])):
        t_hat, x_hat = t, x
        if S_churn > 0:  # Drawn even where gamma is 0: the random stream must not depend on S_min and S_max.
            t_hat = net.round_sigma(t + churn(t.item(), num_steps, S_churn, S_min, S_max) * t)
            x_hat = x + (t_hat**2 - t**2).sqrt() * S_noise * randn_like(x)
        d = (x_hat - net(x_hat, t_hat, class_labels).to(torch.float64)) / t_hat
        x = x_hat + (t_next - t_hat) * d
        if i < num_steps - 1:
            d_next = (x - net(x, t_next, class_labels).to(torch.float64)) / t_next
            x = x_hat + (t_next - t_hat) * (0.5 * d + 0.5 * d_next)
    return x


@torch.no_grad()
def ablation_sampler(
    net: torch.nn.Module,
    latents: torch.Tensor,
    class_labels: torch.Tensor | None = None,
    randn_like: Callable[[torch.Tensor], torch.Tensor] = torch.randn_like,
    num_steps: int = 18,
    sigma_min: float | None = None,
    sigma_max: float | None = None,
    rho: float = 7,
    solver: str = 'heun',
    discretization: str = 'edm',
    schedule: str = 'linear',
    scaling: str = 'none',
    epsilon_s: float = 1e-3,
    C_1: float = 0.001,
    C_2: float = 0.008,
    M: int = 1000,
    alpha: float = 1,
    S_churn: float = 0,
    S_min: float = 0,
    S_max: float = float('inf'),
    S_noise: float = 1,
) -> torch.Tensor:
    """Sample images with a free choice of solver, discretisation, schedule and scaling (EDM, Appendix D).

    Args (others as for `edm_sampler`):
        sigma_min, sigma_max: Noise range; None: that of `discretization`. Limited to the network's range.
        solver, discretization, schedule, scaling: See SOLVERS, DISCRETIZATIONS, SCHEDULES, SCALINGS.
        epsilon_s:   Smallest time of the `vp` choices.
        C_1, C_2, M: Constants of the iDDPM table.
        alpha:       Position of the second evaluation of `heun`: 1 is Heun, 0.5 the midpoint rule.
    Returns:
        Images, float64 [N, C, H, W], nominally -1..1.
    Raises:
        ValueError: An unknown choice, fewer than 2 steps or an empty noise range.
    """
    _check_choices(solver, discretization, schedule, scaling)
    low, high = noise_range(discretization, epsilon_s)
    low, high = (low if sigma_min is None else sigma_min), (high if sigma_max is None else sigma_max)
    low, high = limit_range(net, low, high)
    check_steps(num_steps, low, high)
    levels = noise_levels(discretization, num_steps, low, high, rho, epsilon_s, (C_1, C_2, M))
    path = build_schedule(schedule, vp_betas(low, high, epsilon_s))
    scale, scale_deriv = build_scaling(scaling, path)
    slope = _ablation_slope(net, class_labels, path, scale, scale_deriv)
    times = path.time(net.round_sigma(levels.to(latents.device)))
    times = torch.cat([times, torch.zeros_like(times[:1])])
    x = latents.to(torch.float64) * (path.sigma(times[0]) * scale(times[0]))  # [N, C, H, W]
    for i, (t, t_next) in enumerate(zip(times[:-1], times[1:])):
        level = path.sigma(t)
        raised = level + churn(level.item(), num_steps, S_churn, S_min, S_max) * level
        t_hat = path.time(net.round_sigma(raised))
        noise_std = (path.sigma(t_hat) ** 2 - level**2).clip(min=0).sqrt() * scale(t_hat) * S_noise
        x_hat = scale(t_hat) / scale(t) * x + noise_std * randn_like(x)
        h, d = t_next - t_hat, slope(x_hat, t_hat)
        x = x_hat + h * d
        if solver == 'heun' and i < num_steps - 1:
            d_mid = slope(x_hat + alpha * h * d, t_hat + alpha * h)
            x = x_hat + h * ((1 - 0.5 / alpha) * d + 0.5 / alpha * d_mid)
    return x


def _check_choices(solver: str, discretization: str, schedule: str, scaling: str) -> None:
    for name, value, choices in [
        ('solver', solver, SOLVERS),
        ('discretization', discretization, DISCRETIZATIONS),
        ('schedule', schedule, SCHEDULES),
        ('scaling', scaling, SCALINGS),
    ]:
        check_choice(name, value, choices)


def _ablation_slope(
    net: torch.nn.Module,
    class_labels: torch.Tensor | None,
    path: Schedule,
    scale: Callable[[torch.Tensor], torch.Tensor],
    scale_deriv: Callable[[torch.Tensor], torch.Tensor],
) -> Callable[[torch.Tensor, torch.Tensor], torch.Tensor]:
    def slope(x: torch.Tensor, t: torch.Tensor) -> torch.Tensor:  # dx/dt (EDM Eq. 81)
        sigma, s = path.sigma(t), scale(t)
        ratio = path.sigma_deriv(t) / sigma
        denoised = net(x / s, sigma, class_labels).to(torch.float64)
        return (ratio + scale_deriv(t) / s) * x - ratio * s * denoised

    return slope


@torch.no_grad()
def one_step_sampler(
    net: torch.nn.Module,
    latents: torch.Tensor,
    class_labels: torch.Tensor | None = None,
    sigma_max: float = SIGMA_MAX,
) -> torch.Tensor:
    """Sample images with one call of the network at the highest noise level (GDD, one-step generator).

    Args:
        net:          Distilled network `net(x, sigma, class_labels, force_fp32=)`.
        latents:      Standard normal noise, [N, C, H, W].
        class_labels: One-hot labels [N, K] or None.
        sigma_max:    Noise level, > 0. Not limited to the range of the network, as in the official code.
    Returns:
        Images, float64 [N, C, H, W], nominally -1..1.
    """
    sigma_max = torch.tensor(
        sigma_max, dtype=torch.float32
    ).item()  # The official code holds the level in float32.
    x = latents.to(torch.float64) * sigma_max  # [N, C, H, W]
    return jump_chain(net, x, [sigma_max], class_labels, force_fp32=True).to(torch.float64)


def jump_levels(
    num_steps: int,
    sigma_min: float = SIGMA_MIN,
    sigma_max: float = SIGMA_MAX,
    rho: float = 7,
    middle_sigma: float = MIDDLE_SIGMA,
) -> list[float]:
    """Return the noise levels at which a generator with `num_steps` steps is called, decreasing floats.

    One step: [sigma_max]. Two steps: [sigma_max, middle_sigma], as the generator is trained. More: the first
    `num_steps` of num_steps + 1 levels spaced as in EDM Eq. 5 (official multi_step sampler).

    Raises:
        ValueError: `num_steps` below 1 or `middle_sigma` outside the open range 0..sigma_max.
    """
    if num_steps < 1:
        raise ValueError(f'num_steps={num_steps}: at least 1 step is needed; use 2')
    if num_steps == 2:
        if not 0 < middle_sigma < sigma_max:
            raise ArgumentError(
                arg('middle_sigma', middle_sigma),
                f' must lie between 0 and sigma_max={sigma_max:g}; {MIDDLE_SIGMA} is the value of training',
            )
        return [float(sigma_max), float(middle_sigma)]
    if num_steps > 2 and not 0 < sigma_min < sigma_max:
        raise ValueError(
            f'sigma_min={sigma_min:g}, sigma_max={sigma_max:g}: 0 < sigma_min < sigma_max must hold; '
            '0.002 and 80 work'
        )
    return (
        [float(sigma_max)]
        if num_steps == 1
        else edm_levels(num_steps + 1, sigma_min, sigma_max, rho)[:-1].tolist()
    )


def jump_chain(
    net: torch.nn.Module,
    x: torch.Tensor,
    levels: Sequence[float],
    class_labels: torch.Tensor | None = None,
    **net_kwargs: Any,
) -> torch.Tensor:
    """Run a few-step generator: Euler jumps from each noise level to the next, the last output is the image.

    Gradients flow through every step, so that training and sampling share this function. The official code
    passes the destination level to the network as well, which no released network accepts; it is left out.

    Args:
        net:          Distilled network `net(x, sigma, class_labels)`.
        x:            Noisy images at `levels[0]`, [N, C, H, W]. Its dtype is kept between the steps.
        levels:       Decreasing noise levels, one per network call.
        class_labels: One-hot labels [N, K] or None.
        net_kwargs:   Further arguments of the network.
    Returns:
        Images [N, C, H, W], nominally -1..1.
    """
    for current, following in zip(levels, list(levels[1:]) + [None]):
        sigma = torch.full([len(x), 1, 1, 1], current, device=x.device).to(x.dtype)  # [N, 1, 1, 1]
        denoised = net(x, sigma, class_labels, **net_kwargs)  # [N, C, H, W]
        if following is None:
            return denoised
        x = x + (denoised - x) / current * (current - following)
    raise ValueError('levels is empty: give at least one noise level, for example [80.0]')


@torch.no_grad()
def multi_step_sampler(
    net: torch.nn.Module,
    latents: torch.Tensor,
    class_labels: torch.Tensor | None = None,
    num_steps: int = 2,
    sigma_min: float = SIGMA_MIN,
    sigma_max: float = SIGMA_MAX,
    rho: float = 7,
    middle_sigma: float = MIDDLE_SIGMA,
) -> torch.Tensor:
    """Sample images with `num_steps` deterministic jumps (see `jump_levels` and `jump_chain`).

    Args:
        net:          Distilled network `net(x, sigma, class_labels, force_fp32=)`.
        latents:      Standard normal noise, [N, C, H, W].
        class_labels: One-hot labels [N, K] or None.
        num_steps:    Number of network calls, >= 1.
        sigma_min, sigma_max, rho: Range and spacing of the levels; for 1 or 2 steps only sigma_max counts.
        middle_sigma: Second noise level when num_steps is 2.
    Returns:
        Images, float64 [N, C, H, W], nominally -1..1.
    """
    levels = jump_levels(num_steps, sigma_min, sigma_max, rho, middle_sigma)
    x = latents.to(torch.float64) * levels[0]  # [N, C, H, W]
    return jump_chain(net, x, levels, class_labels, force_fp32=True).to(torch.float64)


SAMPLERS = {
    'one_step': one_step_sampler,
    'edm': edm_sampler,
    'ablation': ablation_sampler,
    'multi_step': multi_step_sampler,
}
STOCHASTIC_SAMPLERS = ('edm', 'ablation')


def draw_inputs(
    net: torch.nn.Module,
    seeds: Sequence[int],
    class_idx: int | None = None,
    device: torch.device | str = 'cpu',
    rng_device: torch.device | str | None = None,
) -> tuple[StackedRandomGenerator, torch.Tensor, torch.Tensor | None]:
    """Draw what an image starts from, in the official order: noise, then a label for conditional networks.

    The label is drawn also when `class_idx` overrides it, so that the numbers that follow stay the same.

    Args:
        net, seeds, class_idx, device, rng_device: As in `sample_batch`.
    Returns:
        rnd:     StackedRandomGenerator in the state that the sampler continues from.
        latents: Standard normal noise, float32 [N, C, H, W], on `device`.
        labels:  Class indices, int64 [N], on `device`; None for an unconditional network.
    Raises:
        ValueError: A class that the network does not have.
    """
    check_class(net.label_dim, class_idx)
    rnd = StackedRandomGenerator(device if rng_device is None else rng_device, seeds)
    latents = rnd.randn([len(seeds), net.img_channels, net.img_resolution, net.img_resolution], device=device)
    if not net.label_dim:
        return rnd, latents, None
    labels = to_device(rnd.randint(net.label_dim, size=[len(seeds)]), torch.device(device))  # [N]
    return rnd, latents, labels if class_idx is None else torch.full_like(labels, class_idx)


def sample_batch(
    net: torch.nn.Module,
    seeds: Sequence[int],
    sampler: str = 'one_step',
    class_idx: int | None = None,
    device: torch.device | str = 'cpu',
    rng_device: torch.device | str | None = None,
    **sampler_kwargs: Any,
) -> tuple[torch.Tensor, torch.Tensor | None]:
    """Make one image per seed; the image depends on its seed only, not on its neighbours in the batch.

    Args:
        net:            Preconditioned network on `device`, in eval mode.
        seeds:          One integer per image.
        sampler:        Name in SAMPLERS.
        class_idx:      Class of all images; None draws one per seed. Only for conditional networks.
        device:         Device to compute on.
        rng_device:     Device of the random generators; None for `device`.
        sampler_kwargs: Options of the sampler.
    Returns:
        images: float64 [N, C, H, W], nominally -1..1.
        labels: Class indices that were used, int64 [N], or None for an unconditional network.
    Raises:
        ValueError: An unknown sampler, or a class that the network does not have.
    """
    check_choice('sampler', sampler, tuple(SAMPLERS))
    rnd, latents, labels = draw_inputs(net, seeds, class_idx, device, rng_device)
    one_hot = None if labels is None else torch.eye(net.label_dim, device=device)[labels]  # [N, K]
    if sampler in STOCHASTIC_SAMPLERS:
        sampler_kwargs['randn_like'] = rnd.randn_like
    return SAMPLERS[sampler](net, latents, one_hot, **sampler_kwargs), labels


def check_class(label_dim: int, class_idx: int | None) -> None:
    """Raise ValueError if a network with `label_dim` classes cannot make images of class `class_idx`."""
    if class_idx is None:
        return
    if not label_dim:
        raise ArgumentError(
            arg('class', class_idx), ': the network is unconditional (no class labels); leave the option out'
        )
    if not 0 <= class_idx < label_dim:
        raise ArgumentError(
            arg('class', class_idx), f': the network has {label_dim} classes; choose 0 to {label_dim - 1}'
        )


def not_finite(images: torch.Tensor) -> torch.Tensor:
    """Tell which images [N, C, H, W] hold NaN or infinite values, bool [N] on their device."""
    return (~torch.isfinite(images)).flatten(1).any(dim=1)


def refuse_not_finite(bad: torch.Tensor, seeds: Sequence[int]) -> None:
    """Raise ValueError naming the seeds that are marked in `bad`, bool [N] on the CPU."""
    if bad.any():
        names = [str(seed) for seed, wrong in zip(seeds, bad.tolist()) if wrong]
        shown = ', '.join(names[:8]) + (', ...' if len(names) > 8 else '')
        raise ValueError(
            f'the image of seed {shown} is not finite (NaN or infinite values); the network is damaged or '
            'diverged, or its reduced precision overflows: try an earlier snapshot'
        )


def check_finite(images: torch.Tensor, seeds: Sequence[int]) -> None:
    """Raise ValueError naming the seeds whose images [N, C, H, W] hold NaN or infinite values."""
    refuse_not_finite(not_finite(images).cpu(), seeds)


def quantise(images: torch.Tensor) -> torch.Tensor:
    """Convert images to bytes where they are: floor(127.5 * x + 128), limited to 0..255 (official rule).

    Args:
        images: Finite images [N, C, H, W], nominally -1..1, any float type.
    Returns:
        uint8 [N, C, H, W] on the same device.
    """
    return (images.to(torch.float64) * 127.5 + 128).clip(0, 255).to(torch.uint8)


def to_uint8(images: torch.Tensor) -> np.ndarray:
    """Convert images to bytes on the host, as `quantise`: uint8 ndarray [N, H, W, C]."""
    return quantise(images).permute(0, 2, 3, 1).cpu().numpy()
