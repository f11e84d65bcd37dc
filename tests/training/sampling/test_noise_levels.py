# Copyright 2026 The GDD-1S authors.
# SPDX-License-Identifier: Apache-2.0
"""Noise schedules against tabulated values and against their own inverse and derivative."""

import numpy as np
import pytest
import torch

from training.sampling.noise_levels import (
    build_scaling,
    build_schedule,
    check_steps,
    edm_levels,
    iddpm_table,
    noise_levels,
    noise_range,
    vp_betas,
)

EDM_18 = [
    80,
    57.585985,
    40.785574,
    28.374585,
    19.352453,
    12.910082,
    8.400935,
    5.315195,
    3.256822,
    1.923340,
    1.088171,
    0.585348,
    0.296442,
    0.139516,
    0.059947,
    0.022935,
    0.007528,
    0.002,
]
IDDPM = (0.001, 0.008, 1000)


def test_edm_levels_of_18_steps():
    assert edm_levels(18).tolist() == pytest.approx(EDM_18, rel=1e-3, abs=1e-6)
    assert edm_levels(18, rho=1).tolist() == pytest.approx(np.linspace(80, 0.002, 18).tolist())


def test_vp_constants_are_recovered():
    low, high = noise_range('vp', 1e-3)
    assert (low, high) == pytest.approx((0.010486, 152.166970), rel=1e-4)
    assert vp_betas(low, high, 1e-3) == pytest.approx((19.9, 0.1), rel=1e-9)


@pytest.mark.parametrize('name', ['vp', 've', 'linear'])
def test_schedules_are_consistent(name):
    schedule = build_schedule(name, (19.9, 0.1))
    t = torch.linspace(0.05, 0.95, 7, dtype=torch.float64, requires_grad=True)
    sigma = schedule.sigma(t)
    (slope,) = torch.autograd.grad(sigma.sum(), [t])
    assert torch.allclose(schedule.time(sigma), t) and torch.allclose(schedule.sigma_deriv(t), slope)
    scale, scale_deriv = build_scaling('vp', schedule)
    (slope,) = torch.autograd.grad(scale(t).sum(), [t])
    assert torch.allclose(scale_deriv(t), slope)
    assert torch.allclose(scale(t) ** 2 * (1 + schedule.sigma(t) ** 2), torch.ones_like(t))
    none, none_deriv = build_scaling('none', schedule)
    assert torch.equal(none(t), torch.ones_like(t)) and not none_deriv(t).any()


@pytest.mark.parametrize('discretization', ['vp', 've', 'iddpm', 'edm'])
def test_levels_fall_from_end_to_end(discretization):
    low, high = noise_range(discretization, 1e-3)
    levels = noise_levels(discretization, 9, low, high, 7, 1e-3, IDDPM)
    assert len(levels) == 9 and (levels.diff() < 0).all()
    if discretization != 'iddpm':
        assert levels[[0, -1]].tolist() == pytest.approx([high, low], rel=1e-9)


def test_ve_levels_are_geometric_and_vp_levels_are_linear_in_time():
    ve = noise_levels('ve', 5, 0.02, 100, 7, 1e-3, IDDPM)
    assert torch.allclose(ve[1:] / ve[:-1], (ve[1] / ve[0]).expand(4))
    low, high = noise_range('vp', 1e-3)
    time = build_schedule('vp', (19.9, 0.1)).time(noise_levels('vp', 5, low, high, 7, 1e-3, IDDPM))
    assert time.tolist() == pytest.approx(np.linspace(1, 1e-3, 5).tolist(), rel=1e-7)


def test_iddpm_levels_are_entries_of_the_table():
    table = iddpm_table(*IDDPM)
    # The network's own table is float32 throughout, so small entries differ from this one in the fifth digit.
    assert table[[0, 8, 999, 1000]].tolist() == pytest.approx([20291.17, 80.2037, 0.00642233714, 0], rel=3e-5)
    inside = [u for u in table.tolist() if 0.002 <= u <= 81]
    levels = noise_levels('iddpm', 5, 0.002, 81, 7, 1e-3, IDDPM)
    assert levels.tolist() == [inside[round((len(inside) - 1) / 4 * i)] for i in range(5)]
    with pytest.raises(ValueError, match='num_steps=50.*only 2 levels'):
        noise_levels('iddpm', 50, 70, 81, 7, 1e-3, IDDPM)


@pytest.mark.parametrize(
    'steps, low, high, text',
    [(1, 0.002, 80, 'num_steps=1'), (5, 80, 80, 'sigma_min=80'), (5, 0, 80, 'sigma_min=0')],
)
def test_impossible_grids_are_refused(steps, low, high, text):
    with pytest.raises(ValueError, match=text):
        check_steps(steps, low, high)
