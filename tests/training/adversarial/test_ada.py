# Copyright 2026 The GDD-1S authors.
# SPDX-License-Identifier: Apache-2.0
"""Test training/adversarial/ada.py: official numbers, plain arithmetic, gates, control, wrong versions."""

import math

import numpy as np
import pytest
import scipy.ndimage
import scipy.signal
import scipy.special
import torch

from torch_utils.randomness import BatchRandom
from training.adversarial import ada
from training.adversarial.ada import AdaPipe, AdaptiveStrength, transform

NAMES = (
    'mirror',
    'quarter_turns',
    'shift_int',
    'zoom',
    'turn_before',
    'stretch',
    'turn_after',
    'shift_frac',
    'brightness',
    'contrast',
    'luma_flip',
    'hue',
    'saturation',
)


def parameters(count=1, **given):
    """All parameters for `count` images, 0 where not given."""
    values = {
        name: torch.zeros([count, 2] if 'shift' in name else [count], dtype=torch.float64) for name in NAMES
    }
    for name, value in given.items():
        values[name][:] = torch.as_tensor(value, dtype=torch.float64)
    return values


def hand_image():
    """Images `real` of section 11 of the specification."""
    b, c, h, w = torch.meshgrid(
        *(torch.arange(n, dtype=torch.float32) for n in (2, 3, 16, 16)), indexing='ij'
    )
    return torch.sin(0.5 * b + 0.9 * c + 0.3 * h + 0.2 * w)


def noise(shape=(1, 3, 12, 16), dtype=torch.float64):
    return torch.rand(shape, generator=torch.Generator().manual_seed(3), dtype=dtype) * 2 - 1


# ------------------------------------------------------------------------------------------------
# Numbers of the official code (section 11 of the specification).


def at_percentile(q):
    """The official debug mode: every parameter at its q-th percentile (with its own normal distribution)."""
    e, turn = float(scipy.special.erfinv(2 * q - 1)), (2 * q - 1) * math.pi
    return parameters(
        2,
        mirror=math.floor(2 * q),
        quarter_turns=math.floor(4 * q),
        shift_int=(2 * q - 1) * 0.125,
        zoom=0.2 * e,
        turn_before=turn,
        stretch=0.2 * e,
        turn_after=0,
        shift_frac=0.125 * e,
        brightness=0.2 * e,
        contrast=0.5 * e,
        luma_flip=math.floor(2 * q),
        hue=turn,
        saturation=e,
    )


NUMBERS = {
    0.3: (-0.1541244, 0.5733585, 0.512679, -0.889938, 0.234876),
    0.6: (0.0959505, 0.7855201, 0.223403, 0.579854, -0.341613),
    0.8: (-0.0118212, 1.0834136, 0.071327, 0.037634, 0.042059),
}


def numbers(q):
    x = transform(hand_image(), at_percentile(q))
    assert x.dtype == torch.float32
    return [
        v.item() for v in (x.mean(), x.square().mean().sqrt(), x[0, 0, 0, 0], x[0, 1, 8, 5], x[1, 2, 15, 15])
    ]


@pytest.mark.parametrize('q', NUMBERS)
def test_official_numbers(q):
    assert numbers(q) == pytest.approx(NUMBERS[q], abs=2e-6)


def float32(values):
    return {name: value.to(torch.float32) for name, value in values.items()}


WRONG = {
    'turns the other way': ('rotation', lambda angle, right=ada.rotation: right(-angle)),
    'shifts the other way': ('translation', lambda x, y, right=ada.translation: right(-x, -y)),
    'hue the other way': ('hue_rotation', lambda angle, right=ada.hue_rotation: right(-angle)),
    'stretches the other axis': ('scaling', lambda x, y, right=ada.scaling: right(y, x)),
    'forgets the luma flip': (
        'colours',
        lambda p, right=ada.colours: right(dict(p, luma_flip=0 * p['luma_flip'])),
    ),
    'multiplies in the other order': (
        'geometry',
        lambda p, height, width, right=ada.geometry: (
            right(
                float32(parameters(2, turn_before=p['turn_before'], shift_frac=p['shift_frac'])),
                height,
                width,
            )
            @ right(dict(p, turn_before=0 * p['turn_before'], shift_frac=0 * p['shift_frac']), height, width)
        ),
    ),
}


@pytest.mark.parametrize('name', WRONG)
def test_wrong_versions_are_rejected(name, monkeypatch):
    monkeypatch.setattr(ada, *WRONG[name])
    assert any(numbers(q) != pytest.approx(NUMBERS[q], abs=1e-3) for q in NUMBERS)


# ------------------------------------------------------------------------------------------------
# A slow reference from the text of section 9.1, with SciPy, one image at a time.

SYM6 = [
    0.01089235,
    0.00246831,
    -0.08343161,
    -0.03416156,
    0.34722899,
    0.55694639,
    0.23895219,
    -0.05136248,
    -0.01489188,
    0.03162528,
    0.00124996,
    -0.00551593,
]
Q = 3


def shift_matrix(x, y):
    return np.array([[1, 0, x], [0, 1, y], [0, 0, 1.0]])


def scale_matrix(x, y):
    return np.diag([x, y, 1.0])


def turn_matrix(angle):
    return np.array(
        [[math.cos(angle), -math.sin(angle), 0], [math.sin(angle), math.cos(angle), 0], [0, 0, 1]]
    )


def slow_matrix(p, height, width):
    """Table of section 9.1, one factor after the other."""
    matrix = np.eye(3)
    for factor in (
        scale_matrix(1 / (1 - 2 * p['mirror']), 1),
        turn_matrix(math.pi / 2 * p['quarter_turns']),
        shift_matrix(-np.round(p['shift_int'][0] * width), -np.round(p['shift_int'][1] * height)),
        scale_matrix(2 ** -p['zoom'], 2 ** -p['zoom']),
        turn_matrix(p['turn_before']),
        scale_matrix(2 ** -p['stretch'], 2 ** p['stretch']),
        turn_matrix(p['turn_after']),
        shift_matrix(-p['shift_frac'][0] * width, -p['shift_frac'][1] * height),
    ):
        matrix = matrix @ factor
    return matrix


def slow_warp(image, matrix):
    """Execution, steps 2 to 5, of one image [C, H, W]; the margins are those of this image."""
    _, height, width = image.shape
    cx, cy = (width - 1) / 2, (height - 1) / 2
    corners = (matrix @ np.array([[-cx, -cy, 1], [cx, -cy, 1], [cx, cy, 1], [-cx, cy, 1]]).T)[:2]
    margin = np.concatenate([(-corners).max(axis=1), corners.max(axis=1)]) + np.array(
        [2 * Q - cx, 2 * Q - cy] * 2
    )
    left, top, right, bottom = np.ceil(np.clip(margin, 0, [width - 1, height - 1] * 2)).astype(int)
    image = np.pad(image, [(0, 0), (top, bottom), (left, right)], mode='reflect')
    matrix = shift_matrix((left - right) / 2, (top - bottom) / 2) @ matrix

    f = np.array(SYM6) / sum(SYM6)
    fine = np.zeros([image.shape[0], 2 * image.shape[1], 2 * image.shape[2]])
    fine[:, ::2, ::2] = image
    fine = np.pad(fine, [(0, 0), (6, 5), (6, 5)])
    fine = 4 * scipy.signal.convolve(fine, f[None, :, None] * f[None, None, :], mode='valid')
    matrix = scale_matrix(2, 2) @ matrix @ scale_matrix(0.5, 0.5)
    matrix = shift_matrix(-0.5, -0.5) @ matrix @ shift_matrix(0.5, 0.5)

    out_h, out_w = 2 * (height + 2 * Q), 2 * (width + 2 * Q)
    in_h, in_w = fine.shape[1:]
    y, x = np.meshgrid(np.arange(out_h) - (out_h - 1) / 2, np.arange(out_w) - (out_w - 1) / 2, indexing='ij')
    source = np.einsum('ij,jhw->ihw', matrix, np.stack([x, y, np.ones_like(x)]))
    where = [source[1] + (in_h - 1) / 2, source[0] + (in_w - 1) / 2]
    warped = np.stack([scipy.ndimage.map_coordinates(c, where, order=1, mode='grid-constant') for c in fine])
    warped = scipy.signal.correlate(warped[:, 1:-1, 1:-1], f[None, :, None] * f[None, None, :], mode='valid')
    return warped[:, ::2, ::2]


def slow_colours(image, p):
    """Rows 9 to 13 of the table, pixel by pixel, as operations and not as matrices."""
    a = np.ones(3) / math.sqrt(3)
    result = np.empty_like(image)
    for y, x in np.ndindex(*image.shape[1:]):
        v = (image[:, y, x] + p['brightness']) * 2 ** p['contrast']
        if p['luma_flip']:
            v = v - 2 * a * (a @ v)
        cos, sin = math.cos(p['hue']), math.sin(p['hue'])
        v = cos * v + sin * np.cross(a, v) + (1 - cos) * a * (a @ v)  # Rodrigues
        grey = a * (a @ v)
        result[:, y, x] = grey + (v - grey) * 2 ** p['saturation']
    return result


SINGLE = dict(
    mirror=1,
    quarter_turns=1,
    shift_int=[0.1, -0.07],
    zoom=0.3,
    turn_before=0.6,
    stretch=-0.4,
    turn_after=-2.0,
    shift_frac=[0.13, -0.21],
    brightness=0.3,
    contrast=-0.7,
    luma_flip=1,
    hue=1.1,
    saturation=0.8,
)


@pytest.mark.parametrize('name', [*SINGLE, 'everything'])
def test_against_the_slow_reference(name):
    given = SINGLE if name == 'everything' else {name: SINGLE[name]}
    image = noise()
    p = {key: value[0].numpy() for key, value in parameters(**given).items()}
    expected = slow_colours(slow_warp(image[0].numpy(), slow_matrix(p, 12, 16)), p)
    np.testing.assert_allclose(transform(image, parameters(**given))[0], expected, atol=1e-6)


def test_grey_images_are_the_mean_of_three_equal_channels():
    image = noise((1, 1, 8, 8))
    colour = transform(image.expand(-1, 3, -1, -1), parameters(**SINGLE))
    np.testing.assert_allclose(
        transform(image, parameters(**SINGLE)), colour.mean(dim=1, keepdim=True), atol=1e-12
    )


# ------------------------------------------------------------------------------------------------
# Conventions.


def test_nothing_happens_without_parameters():
    image = noise((2, 3, 16, 16), torch.float32)
    assert (transform(image, parameters(2)) - image).abs().max() < 1e-5
    assert (AdaPipe(0.0)(image) - image).abs().max() < 1e-5


def test_directions():
    """Mirror: columns reversed. One quarter turn: counter-clockwise. Shift: to the right and down.

    The wavelet filter is not symmetric, so mirrored noise is not exact, but a smooth image nearly is.
    """
    smooth = hand_image()[:1, :, 2:14, 2:14]
    for given, expected in (
        (dict(mirror=1), smooth.flip(3)),
        (dict(quarter_turns=1), smooth.rot90(1, (2, 3))),
        (dict(quarter_turns=2), smooth.flip(2, 3)),
        (dict(quarter_turns=3), smooth.rot90(3, (2, 3))),
    ):
        error = (transform(smooth, parameters(**given)) - expected)[:, :, 3:-3, 3:-3].abs().max()
        assert error < 0.06 < 0.3 < (smooth - expected)[:, :, 3:-3, 3:-3].abs().max()
    image = noise((1, 3, 16, 16))
    moved = transform(image, parameters(shift_int=[0.125, 0.0625]))  # 2 and 1 of 16 pixels
    np.testing.assert_allclose(moved[:, :, 1:, 2:], image[:, :, :-1, :-2], atol=1e-5)
    assert (moved[:, :, :-1, :-2] - image[:, :, 1:, 2:]).abs().max() > 0.1


def test_zoom_enlarges():
    image = torch.zeros(1, 1, 16, 16)
    image[:, :, 6:10, 6:10] = 1
    assert transform(image, parameters(zoom=1)).sum() == pytest.approx(4 * 16, rel=0.02)
    wide = transform(image, parameters(stretch=1))
    assert wide[0, 0, 8].sum() == pytest.approx(8, rel=0.05) and wide[0, 0, 5:11, 8].sum() == pytest.approx(
        2, rel=0.1
    )


def test_gradients_reach_the_images():
    image = noise((2, 3, 8, 8)).requires_grad_(True)
    transform(image, parameters(2, **SINGLE)).square().sum().backward()
    assert image.grad.abs().min(dim=0)[0].max() > 0 and torch.isfinite(image.grad).all()


# ------------------------------------------------------------------------------------------------
# Draws and gates.


def test_draws_are_in_the_official_order():
    draws = ada.draw(5, torch.Generator().manual_seed(0))
    assert list(draws) == [entry for name in NAMES for entry in (name, f'gate/{name}')]
    g = torch.Generator().manual_seed(0)
    assert torch.equal(draws['mirror'], (torch.rand(5, generator=g) * 2).floor())
    assert torch.equal(draws['gate/mirror'], torch.rand(5, generator=g))
    assert torch.equal(draws['quarter_turns'], (torch.rand(5, generator=g) * 4).floor())
    torch.rand(5, generator=g)
    assert torch.equal(draws['shift_int'], (torch.rand(5, 2, generator=g) * 2 - 1) * 0.125)


def test_distributions():
    draws = ada.draw(40000, torch.Generator().manual_seed(0))
    for name, std in dict(
        zoom=0.2, stretch=0.2, shift_frac=0.125, brightness=0.2, contrast=0.5, saturation=1
    ).items():
        assert (
            draws[name].std().item() == pytest.approx(std, rel=0.02)
            and abs(draws[name].mean()) < 0.02 * std + 1e-3 + std / 50
        )
    for name, limit in dict(turn_before=math.pi, turn_after=math.pi, hue=math.pi, shift_int=0.125).items():
        assert limit * 0.999 < draws[name].abs().max() <= limit and abs(draws[name].mean()) < limit / 50
    assert sorted(draws['quarter_turns'].unique().tolist()) == [0, 1, 2, 3]
    assert draws['mirror'].mean().item() == pytest.approx(0.5, abs=0.01)


def test_gates():
    """p for all but the two turns, which share it: one or the other opens with probability p."""
    parameters_ = ada.gate(ada.draw(40000, torch.Generator().manual_seed(0)), 0.36)
    assert list(parameters_) == list(NAMES)
    opened = {
        name: (value.flatten(1)[:, 0] if value.ndim == 2 else value) != 0
        for name, value in parameters_.items()
    }
    for name in ('zoom', 'stretch', 'shift_frac', 'brightness', 'contrast', 'hue', 'saturation'):
        assert opened[name].float().mean().item() == pytest.approx(0.36, abs=0.01), name
    assert opened['turn_before'].float().mean().item() == pytest.approx(0.2, abs=0.01)  # 1 - sqrt(1 - 0.36)
    assert (opened['turn_before'] | opened['turn_after']).float().mean().item() == pytest.approx(
        0.36, abs=0.01
    )
    # One gate for both directions of a shift.
    shifts = parameters_['shift_frac'] != 0
    assert torch.equal(shifts[:, 0], shifts[:, 1])


@pytest.mark.parametrize('p, share', [(0.0, 0.0), (1.0, 1.0), (1.7, 1.0)])
def test_closed_and_open_gates(p, share):
    gated = ada.gate(ada.draw(500, torch.Generator().manual_seed(0)), torch.tensor(p))
    assert all(
        (gated[name] != 0).float().mean() == share for name in ('zoom', 'turn_before', 'turn_after', 'hue')
    )


@pytest.mark.parametrize('world_size', [2, 4])
def test_processes_share_one_batch(world_size):
    """In `clean`, any number of processes augments an image alike."""
    images = noise((8, 3, 8, 8), torch.float32)

    def augmented(rank, world_size):
        rng = BatchRandom(0, 64, rank, world_size)
        part = images[rank::world_size]
        return AdaPipe(0.7).apply(part, rng.share(ada.draw, len(part), 'D/real'))

    together = torch.stack([augmented(rank, world_size) for rank in range(world_size)], dim=1).flatten(0, 1)
    # Margins are those of the images at hand, which changes rounding.
    np.testing.assert_allclose(together, augmented(0, 1), atol=1e-5)
    assert (together - images).abs().mean() > 0.1


# ------------------------------------------------------------------------------------------------
# Control of p.


def run_control(strength, signs):
    """Let the control see one pair of logits per iteration; returns p after each."""
    found = []
    for iteration, values in enumerate(signs):
        strength.observe([torch.tensor([values], dtype=torch.float32)])
        strength.finish_iteration(iteration)
        found.append(round(strength.p.item(), 6))
    return found


def test_p_rises_and_falls_by_the_official_step():
    """256 images: 256 * 4 / 500,000 = 0.002048 every fourth iteration."""
    up, down = [3.0, 0.1], [-2.0, 5.0]  # mean signs 1 and 0
    found = run_control(AdaptiveStrength(0, 0.6, 256), [up] * 9 + [down] * 8)
    assert found == [0] * 3 + [0.002048] * 4 + [0.004096] * 4 + [0.002048] * 4 + [0.0] * 2
    # At the 12th iteration one up and three downs have come in: mean sign 0.25, below the target.
    assert found[11] == 0.002048


def test_p_depends_on_the_mean_over_all_logits():
    """Two backbones with 1 and 3 logits: the mean sign is 0.5, not the mean of the backbones' means (0)."""
    for target, expected in ((0.4, 0.008), (0.6, 0.0)):
        strength = AdaptiveStrength(0, target, 1000)
        for iteration in range(4):
            strength.observe([torch.tensor([[-1.0]]), torch.tensor([[1.0, 2.0, 3.0]])])
            strength.finish_iteration(iteration)
        assert strength.p.item() == pytest.approx(expected)


def test_upper_bound_is_clean_only():
    signs = [[1.0, 1.0]] * 8
    assert run_control(AdaptiveStrength(0.999, 0.5, 256), signs)[-1] == 1.0
    assert run_control(AdaptiveStrength(0.999, 0.5, 256, limit=None), signs)[-1] == pytest.approx(
        0.999 + 2 * 0.002048, abs=1e-6
    )


def test_fixed_p_does_not_move():
    assert run_control(AdaptiveStrength(0.3, 0, 256), [[1.0, 1.0]] * 8) == [0.3] * 8


def test_mean_at_the_target_changes_nothing():
    assert run_control(AdaptiveStrength(0.3, 0.5, 256), [[1.0, 1.0, 1.0, -1.0]] * 4)[-1] == 0.3


@pytest.mark.parametrize('cut', range(1, 8))
def test_control_resumes_between_two_changes(cut):
    signs = [[1.0, v] for v in (1, -1, -1, 1, 1, 1, 1, -1, -1, -1, -1, -1)]
    whole = run_control(AdaptiveStrength(0.1, 0.3, 512), signs)
    first = AdaptiveStrength(0.1, 0.3, 512)
    run_control(first, signs[:cut])
    second = AdaptiveStrength(0.7, 0.3, 512)
    second.load_state_dict(first.state_dict())
    for iteration in range(cut, len(signs)):
        second.observe([torch.tensor([signs[iteration]])])
        second.finish_iteration(iteration)
    assert round(second.p.item(), 6) == whole[-1] and whole[-1] != 0.1


def test_state_is_a_copy():
    strength = AdaptiveStrength(0.1, 0.3, 512)
    state = strength.state_dict()
    run_control(strength, [[1.0, 1.0]] * 4)
    assert state['p'].item() == pytest.approx(0.1) and strength.p.item() > 0.1
