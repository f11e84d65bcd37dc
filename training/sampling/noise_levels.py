# Copyright 2026 The GDD-1S authors.
# SPDX-License-Identifier: Apache-2.0
"""Noise schedules and time-step discretisations of EDM, VP, VE and iDDPM (EDM, Table 1).

Plain functions of float64 tensors; the samplers in samplers.py combine them.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass

import torch

SIGMA_MIN = 0.002
SIGMA_MAX = 80.0
EPSILON_S = 1e-3  # smallest time of `vp`
IDDPM_CONSTANTS = (0.001, 0.008, 1000)  # C_1, C_2, M of the `iddpm` table
DISCRETIZATIONS = ('vp', 've', 'iddpm', 'edm')
SCHEDULES = ('vp', 've', 'linear')
SCALINGS = ('vp', 'none')


@dataclass(frozen=True)
class Schedule:
    """Noise level as a function of time: `sigma(t)`, its derivative and its inverse `time(sigma)`."""

    sigma: Callable
    sigma_deriv: Callable
    time: Callable


def vp_betas(sigma_min: float, sigma_max: float, epsilon_s: float) -> tuple[float, float]:
    """Return (beta_d, beta_min) so that sigma(epsilon_s) = sigma_min and sigma(1) = sigma_max."""
    low, high = math.log(sigma_min**2 + 1), math.log(sigma_max**2 + 1)
    beta_d = 2 * (low / epsilon_s - high) / (epsilon_s - 1)
    return beta_d, high - 0.5 * beta_d


def vp_schedule(beta_d: float, beta_min: float) -> Schedule:
    """Build the variance-preserving schedule (EDM, Table 1, column VP)."""

    def sigma(t: torch.Tensor) -> torch.Tensor:
        return (torch.exp(0.5 * beta_d * t**2 + beta_min * t) - 1).sqrt()

    def sigma_deriv(t: torch.Tensor) -> torch.Tensor:
        return 0.5 * (beta_min + beta_d * t) * (sigma(t) + 1 / sigma(t))

    def time(level: torch.Tensor) -> torch.Tensor:
        return ((beta_min**2 + 2 * beta_d * (level**2 + 1).log()).sqrt() - beta_min) / beta_d

    return Schedule(sigma, sigma_deriv, time)


def build_schedule(name: str, betas: tuple[float, float] | None) -> Schedule:
    """Return the Schedule called `name` (one of SCHEDULES); `betas` = (beta_d, beta_min) is for `vp`."""
    if name == 'vp':
        return vp_schedule(*betas)
    if name == 've':
        return Schedule(
            sigma=lambda t: t.sqrt(), sigma_deriv=lambda t: 0.5 / t.sqrt(), time=lambda level: level**2
        )
    return Schedule(sigma=lambda t: t, sigma_deriv=torch.ones_like, time=lambda level: level)


def build_scaling(name: str, schedule: Schedule) -> tuple[Callable, Callable]:
    """Return the signal scaling s(t) and s'(t): 1/sqrt(1 + sigma^2) for `vp`, 1 for `none`."""
    if name == 'none':
        return torch.ones_like, torch.zeros_like

    def scale(t: torch.Tensor) -> torch.Tensor:
        return 1 / (1 + schedule.sigma(t) ** 2).sqrt()

    def scale_deriv(t: torch.Tensor) -> torch.Tensor:
        return -schedule.sigma(t) * schedule.sigma_deriv(t) * scale(t) ** 3

    return scale, scale_deriv


def edm_levels(
    num_steps: int, sigma_min: float = SIGMA_MIN, sigma_max: float = SIGMA_MAX, rho: float = 7
) -> torch.Tensor:
    """Return `num_steps` noise levels from sigma_max down to sigma_min, float64 [num_steps] (EDM Eq. 5)."""
    fraction = torch.arange(num_steps, dtype=torch.float64) / (num_steps - 1)
    low, high = sigma_min ** (1 / rho), sigma_max ** (1 / rho)
    return (high + fraction * (low - high)) ** rho


def iddpm_table(C_1: float, C_2: float, M: int) -> torch.Tensor:
    """Return the M + 1 noise levels of iDDPM in decreasing order, float64 (EDM, Table 1, column iDDPM)."""
    # The cosine is float32 in the official sampler, although the table is float64; the images depend on it.
    alpha_bar = (0.5 * math.pi * torch.arange(M + 1) / M / (C_2 + 1)).sin().square()  # float32 [M + 1]
    ratio = (alpha_bar[:-1] / alpha_bar[1:]).clip(min=C_1).tolist()
    u = [0.0] * (M + 1)
    for j in range(M, 0, -1):
        u[j - 1] = math.sqrt((u[j] ** 2 + 1) / ratio[j - 1] - 1)
    return torch.tensor(u, dtype=torch.float64)


def noise_range(discretization: str, epsilon_s: float = EPSILON_S) -> tuple[float, float]:
    """Return the default (sigma_min, sigma_max) of a discretisation (one of DISCRETIZATIONS)."""
    if discretization == 'vp':
        low, high = vp_schedule(19.9, 0.1).sigma(torch.tensor([epsilon_s, 1.0], dtype=torch.float64)).tolist()
        return low, high
    return {'ve': (0.02, 100.0), 'iddpm': (SIGMA_MIN, 81.0), 'edm': (SIGMA_MIN, SIGMA_MAX)}[discretization]


def noise_levels(
    discretization: str,
    num_steps: int,
    sigma_min: float,
    sigma_max: float,
    rho: float = 7,
    epsilon_s: float = EPSILON_S,
    iddpm_constants: tuple[float, float, int] = IDDPM_CONSTANTS,
) -> torch.Tensor:
    """Return `num_steps` decreasing noise levels, float64 [num_steps] (EDM, Table 1, row "Time steps").

    Args:
        discretization:  One of DISCRETIZATIONS.
        num_steps:       Number of levels, >= 2.
        sigma_min:       Last level, > 0.
        sigma_max:       First level, > sigma_min.
        rho:             Exponent of the `edm` spacing.
        epsilon_s:       Smallest time of the `vp` spacing.
        iddpm_constants: (C_1, C_2, M) of the `iddpm` table.
    Raises:
        ValueError: No entry of the `iddpm` table lies in the range.
    """
    fraction = torch.arange(num_steps, dtype=torch.float64) / (num_steps - 1)
    if discretization == 'vp':
        return vp_schedule(*vp_betas(sigma_min, sigma_max, epsilon_s)).sigma(1 + fraction * (epsilon_s - 1))
    if discretization == 've':
        return (sigma_max**2 * (sigma_min**2 / sigma_max**2) ** fraction).sqrt()
    if discretization == 'edm':
        return edm_levels(num_steps, sigma_min, sigma_max, rho)
    table = iddpm_table(*iddpm_constants)
    table = table[(table >= sigma_min) & (table <= sigma_max)]
    if len(table) < num_steps:
        raise ValueError(
            f'discretization=iddpm: num_steps={num_steps}, but its table has only {len(table)} levels '
            f'between sigma_min={sigma_min:g} and sigma_max={sigma_max:g}; take fewer steps or the range '
            '0.002 to 81'
        )
    # Half to even, as in upstream: the choice decides which entry is taken at exact halves.
    return table[
        ((len(table) - 1) / (num_steps - 1) * torch.arange(num_steps, dtype=torch.float64)).round().long()
    ]


def check_steps(num_steps: int, sigma_min: float, sigma_max: float) -> None:
    """Raise ValueError if the grid of noise levels would be empty or divide by zero."""
    if num_steps < 2:
        raise ValueError(
            f'num_steps={num_steps}: this sampler needs at least 2 steps, because with 1 the spacing '
            'divides by zero; use 18, or the one_step sampler'
        )
    if not 0 < sigma_min < sigma_max:
        raise ValueError(
            f'sigma_min={sigma_min:g}, sigma_max={sigma_max:g} (limited to the range of the network): '
            '0 < sigma_min < sigma_max must hold; 0.002 and 80 work'
        )
