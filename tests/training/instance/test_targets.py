# Copyright 2026 The GDD-1S authors.
# SPDX-License-Identifier: Apache-2.0
"""Tests of training/instance/targets.py: schedule and targets by hand, by a slow reference and on an exactly
known trajectory."""

import math
import re

import pytest
import torch

from dnnlib.errors import ArgumentError, as_option
from training.choices import check_max_steps
from training.instance.targets import (
    INSTANCE_TYPES,
    distillation_target,
    draw_indices,
    euler_jump,
    heun_step,
    hop,
    image_levels,
    index_levels,
    uniform_between,
)

N = 6
MEAN, SPREAD = 0.3, 0.5  # of the Gaussian data of the exact trajectory


def generator(seed=0):
    return torch.Generator().manual_seed(seed)


def ints(*values):
    return torch.tensor(values, dtype=torch.int64)


# ------------------------------------------------------------------------------------------------
# Schedule and indices.


@pytest.mark.parametrize(
    'index, steps, level',
    [
        (1, 4, 0.169752756),
        (2, 4, 2.515218976),
        (3, 4, 17.527831965),
        (1, 1024, 0.002048959),
        (0, 7, 0.002),
        (7, 7, 80.0),
        (2, 3, 9.7232),
        (1, 3, 0.46998),
    ],
)
def test_schedule_by_hand(index, steps, level):
    """Values of the specification; index 0 is 0.002, not 0."""
    assert float(index_levels(steps)[index]) == pytest.approx(level, rel=1e-5 if steps == 3 else 3e-7)
    wrong = (80 ** (1 / 7) + index / steps * (0.002 ** (1 / 7) - 80 ** (1 / 7))) ** 7  # runs the other way
    assert index * 2 == steps or wrong != pytest.approx(level, rel=1e-3)


def test_levels_increase_with_the_index():
    levels = index_levels(1024)
    assert len(levels) == 1025 and levels.dtype == torch.float64 and bool((levels.diff() > 0).all())


def test_integers_are_uniform_and_reach_both_ends():
    low, high = torch.full([20000], 3), torch.full([20000], 6)
    values = uniform_between(low, high, generator())
    assert values.unique().tolist() == [3, 4, 5, 6]
    assert values.bincount().tolist()[3:] == [pytest.approx(5000, abs=250)] * 4  # 4 standard deviations
    assert uniform_between(low, low, generator()).unique().tolist() == [3]
    rounded = (
        (torch.rand([20000], generator=generator()) * 3 + 3).round().long().bincount()[3:]
    )  # wrong: half-wide end bins
    assert rounded.tolist() != [pytest.approx(5000, abs=250)] * 4


def test_official_rule_of_one_draw_by_hand():
    """round(u (b - a + 0.9998) + a - 0.4999), a number per image in order."""
    u = torch.rand([N], generator=generator(4)).tolist()
    expected = [round(x * 5.9998 + 2 - 0.4999) for x in u]
    assert uniform_between(torch.full([N], 2), torch.full([N], 7), generator(4)).tolist() == expected


@pytest.mark.parametrize('steps', [2, 3, 8, 1024])
@pytest.mark.parametrize('kind', INSTANCE_TYPES)
def test_indices_keep_their_order(kind, steps):
    if kind == 'pd' and steps == 3:
        return
    drawn = draw_indices(kind, steps, 2000, generator())
    t, u, s = (drawn[name] for name in 'tus')
    assert all(values.shape == (2000,) and values.dtype == torch.int64 for values in (t, u, s))
    assert bool((s >= 0).all() and (s < u).all() and (u < t).all() and (t <= steps).all())
    assert t.max() == steps and s.min() == 0


def test_indices_of_each_method():
    cd, ctm, rcd = (draw_indices(kind, 9, 4000, generator()) for kind in ('cd', 'ctm', 'rcd'))
    assert (
        cd['t'].unique().tolist() == list(range(2, 10))
        and bool((cd['u'] == cd['t'] - 1).all())
        and not cd['s'].any()
    )
    assert ctm['t'].unique().tolist() == list(range(2, 10)) and ctm['u'].unique().tolist() == list(
        range(1, 9)
    )
    assert ctm['s'].unique().tolist() == list(range(8)) and torch.equal(ctm['t'], cd['t'])  # t is drawn first
    assert bool((rcd['t'] == 9).all() and (rcd['u'] == rcd['s'] + 1).all()) and rcd[
        's'
    ].unique().tolist() == list(range(8))


def test_indices_of_progressive_distillation():
    """Levels of 1, 2, 4 steps at M = 8, equally often; middle halfway; a gap of 1 at the finest level
    only."""
    drawn = draw_indices('pd', 8, 6000, generator())
    t, u, s = (drawn[name] for name in 'tus')
    width = t - s
    assert width.unique().tolist() == [2, 4, 8] and bool(
        (2 * (t - u) == width).all() and (t % width == 0).all()
    )
    assert [int((width == w).sum()) for w in (2, 4, 8)] == [pytest.approx(2000, abs=150)] * 3
    assert t[width == 2].unique().tolist() == [2, 4, 6, 8] and t[width == 8].unique().tolist() == [8]


def test_with_two_intervals_pd_and_rcd_are_one_method():
    pd, rcd = (draw_indices(kind, 2, 5, generator()) for kind in ('pd', 'rcd'))
    assert (
        pd.keys() == rcd.keys()
        and all(torch.equal(pd[name], rcd[name]) for name in pd)
        and pd['u'].tolist() == [1] * 5
    )


@pytest.mark.parametrize(
    'kind, steps, text',
    [
        ('pd', 12, '--max-steps=12: --teacher-type=pd .* power of two; use --max-steps=8'),
        ('cd', 1, '--max-steps=1: .* use --max-steps=1024'),
        ('xd', 8, '--teacher-type=xd is unknown; use one of pd, cd, ctm, rcd'),
    ],
)
def test_impossible_numbers_of_steps(kind, steps, text):
    for call in (lambda: check_max_steps(kind, steps), lambda: draw_indices(kind, steps, 2, generator())):
        with pytest.raises(ArgumentError) as caught:
            call()
        assert re.search(text, caught.value.spell(as_option))
    check_max_steps('cd', 12)


# ------------------------------------------------------------------------------------------------
# Jumps.


def scaled(factor):
    """A denoiser that is easy by hand: factor * x, whatever the level and class."""
    return lambda x, sigma, labels: factor * x


def test_jumps_by_hand():
    v, start, end = (
        torch.full([1, 1, 1, 1], 8.0),
        torch.full([1, 1, 1, 1], 4.0),
        torch.full([1, 1, 1, 1], 1.0),
    )
    assert euler_jump(scaled(0.5), v, start, end, None).item() == 8 - 4 / 4 * 3
    # slope -1, at 5; there the slope is -2.5: mean -1.75
    assert heun_step(scaled(0.5), v, start, end, None).item() == pytest.approx(8 - 1.75 * 3)


class Recorder:
    """A network that notes what it is asked, and returns a mix of everything it gets."""

    def __init__(self, factor):
        self.factor, self.calls = factor, []

    def __call__(self, x, sigma, labels):
        assert sigma.shape == (len(x), 1, 1, 1) and sigma.dtype == x.dtype
        self.calls.append(len(x))
        shift = 0 if labels is None else labels.argmax(dim=1).reshape(-1, 1, 1, 1) * 0.1
        return torch.sin(self.factor * x) + shift + 0.2 * torch.cos(sigma)


def material():
    v = torch.randn([N, 2, 3, 3], generator=generator(1), dtype=torch.float64)
    return v, torch.eye(3, dtype=torch.float64)[torch.arange(N) % 3]


def test_hop_computes_the_branch_that_an_image_needs():
    v, labels = material()
    start, end = ints(5, 5, 5, 5, 5, 5), ints(4, 2, 5, 4, 0, 4)
    student, teacher = Recorder(1.0), Recorder(2.0)
    result = hop(student, teacher, v, start, end, labels, 8)
    assert student.calls == [2] and teacher.calls == [3, 3] and torch.equal(result[2], v[2])
    levels = index_levels(8)
    heun, euler = (heun_step, teacher), (euler_jump, student)
    for i, (jump, net) in enumerate([heun, euler, (None, None), heun, euler, heun]):
        if jump:
            one = jump(
                net,
                v[i : i + 1],
                image_levels(levels[start[i]], v),
                image_levels(levels[end[i]], v),
                labels[i : i + 1],
            )
            assert torch.allclose(result[i : i + 1], one, rtol=1e-12), i


# ------------------------------------------------------------------------------------------------
# Targets.


def slow_target(kind, student, teacher, v, t, u, s, label, steps):
    """One image, one number at a time as far as it goes: the specification's text, with its own schedule."""

    def cut(index):
        a, b = 80 ** (1 / 7), 0.002 ** (1 / 7)
        return (a + (1 - index / steps) * (b - a)) ** 7

    def net(which, x, sigma):
        return which(
            x[None], torch.full([1, 1, 1, 1], sigma, dtype=x.dtype), None if label is None else label[None]
        )[0]

    def move(x, i, j):
        a, b = cut(i), cut(j)
        if i == j:
            return x
        if i - j > 1:
            return x + (net(student, x, a) - x) / a * (a - b)
        d1 = (net(teacher, x, a) - x) / a
        d2 = (net(teacher, x + d1 * (a - b), b) - (x + d1 * (a - b))) / b
        return x + (d1 + d2) / 2 * (a - b)

    v2 = move(move(v, t, u), u, s)
    if kind == 'cd':
        return v2
    if kind == 'ctm':
        return move(v2, s, 0)
    return v + cut(t) * (v2 - v) / (cut(t) - cut(s))


@pytest.mark.parametrize('with_labels', [True, False])
@pytest.mark.parametrize('kind', INSTANCE_TYPES)
def test_target_against_a_loop_over_the_images(kind, with_labels):
    v, labels = material()
    v, labels = v.repeat(8, 1, 1, 1), labels.repeat(8, 1) if with_labels else None
    drawn = draw_indices(kind, 8, len(v), generator(2))
    student, teacher = Recorder(1.0), Recorder(2.0)
    target = distillation_target(kind, student, teacher, v, drawn, labels, 8)
    slow = torch.stack(
        [
            slow_target(
                kind,
                student,
                teacher,
                v[i],
                *(int(drawn[name][i]) for name in 'tus'),
                None if labels is None else labels[i],
                8,
            )
            for i in range(len(v))
        ]
    )
    assert torch.allclose(target, slow, rtol=1e-9, atol=1e-9)
    wrong = {
        'roles swapped': distillation_target(kind, teacher, student, v, drawn, labels, 8),
        'another kind': distillation_target(
            'pd' if kind in ('cd', 'ctm') else 'cd', student, teacher, v, drawn, labels, 8
        ),
        'another schedule': distillation_target(kind, student, teacher, v, drawn, labels, 16),
    }
    for name, other in wrong.items():
        assert not torch.allclose(other, slow, rtol=1e-3, atol=1e-3), name


def ideal_denoiser(x, sigma, _labels):
    """E[clean | noisy] for independent pixels of mean MEAN and standard deviation SPREAD."""
    return (SPREAD**2 * x + sigma**2 * MEAN) / (SPREAD**2 + sigma**2)


def exact(v, start, end):
    """Follow the probability-flow ODE of that data exactly; levels [N, 1, 1, 1]."""
    return MEAN + (v - MEAN) * ((SPREAD**2 + end**2) / (SPREAD**2 + start**2)).sqrt()


def ideal_student(x, sigma, _labels):
    """The output whose straight jump to 0.002 ends where the trajectory does."""
    end = exact(x, sigma, torch.full_like(sigma, 0.002))
    return x + sigma * (end - x) / (sigma - 0.002)


@pytest.mark.parametrize('kind', ['cd', 'ctm'])
def test_consistency_targets_are_the_end_of_the_exact_trajectory(kind):
    """Where the path stays on the trajectory: by the teacher's steps, then by one jump of the student to 0.

    One Heun step of 64 over the range is exact to 1e-3. (CTM's other jumps, of the student to a level above
    0, leave a curved trajectory, since without a destination the student knows straight lines only.)
    """
    steps, count = 64, 200
    drawn = draw_indices(kind, steps, count, generator(3))
    on_path = dict(drawn)
    if kind == 'ctm':
        on_path['u'] = drawn['t'] - 1
        on_path['s'] = torch.where(drawn['s'] > 0, on_path['u'] - 1, 0)
    start = image_levels(index_levels(steps)[drawn['t']], torch.zeros([], dtype=torch.float64))
    v = MEAN + (SPREAD**2 + start**2).sqrt() * torch.randn(
        [count, 1, 2, 2], generator=generator(5), dtype=torch.float64
    )
    target, other = (
        distillation_target(kind, ideal_student, ideal_denoiser, v, indices, None, steps)
        for indices in (on_path, drawn)
    )
    end = exact(v, start, torch.full_like(start, 0.002))
    assert (target - end).abs().max() < 2e-3
    assert kind == 'cd' or (other - end).abs().max() > 0.1
    # Wrong: one-step denoising is the mean of all possible ends, not the end of this trajectory.
    assert (ideal_denoiser(v, start, None) - end).abs().max() > 0.1
    # Wrong: the noisy image divided by its level.
    assert (v / start - end).abs().max() > 0.1


@pytest.mark.parametrize('kind', ['pd', 'rcd'])
def test_straight_jumps_to_the_target_land_on_the_trajectory(kind):
    """With the finest jumps, which the teacher alone makes: from t by the target to s is the exact point at
    s."""
    steps = 64
    t = ints(*range(2, steps + 1, 2))
    drawn = dict(t=t, u=t - 1, s=t - 2)
    start, stop = (
        image_levels(index_levels(steps)[drawn[name]], torch.zeros([], dtype=torch.float64)) for name in 'ts'
    )
    v = MEAN + (SPREAD**2 + start**2).sqrt() * torch.randn(
        [len(t), 1, 2, 2], generator=generator(6), dtype=torch.float64
    )
    target = distillation_target(kind, None, ideal_denoiser, v, drawn, None, steps)
    landed = euler_jump(lambda *_: target, v, start, stop, None)
    assert (landed - exact(v, start, stop)).abs().max() < 3e-3
    assert (
        target - exact(v, start, torch.full_like(start, 0.002))
    ).abs().max() > 0.1  # it is not the clean end: it depends on s


def test_heun_is_of_second_order():
    """Halving the steps divides the error by about four; Euler's by about two."""
    errors = {}
    for jump in (heun_step, euler_jump):
        for steps in (32, 64):
            levels = index_levels(steps)
            v = x = torch.full([1, 1, 1, 1], 90.0, dtype=torch.float64)
            for i in range(steps, 0, -1):
                x = jump(
                    ideal_denoiser, x, levels[i].reshape(1, 1, 1, 1), levels[i - 1].reshape(1, 1, 1, 1), None
                )
            errors[jump, steps] = abs(float(x - exact(v, levels[-1], levels[0])))
    assert math.log2(errors[heun_step, 32] / errors[heun_step, 64]) == pytest.approx(2, abs=0.3)
    assert math.log2(errors[euler_jump, 32] / errors[euler_jump, 64]) == pytest.approx(1, abs=0.3)
