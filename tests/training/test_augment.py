# Copyright 2026 The GDD-1S authors.
# SPDX-License-Identifier: Apache-2.0
"""Tests of training/augment.py: EDM's numbers, every operation by plain arithmetic, draws, wrong versions."""

import math

import numpy as np
import pytest
import torch

from tests.support.pretended_cuda import PretendedCuda
from torch_utils import persistence
from torch_utils.randomness import BatchRandom
from training import augment
from training.augment import AugmentPipe, padding, resample
from training.choices import AUGMENT_DIM, AUGMENTATIONS

PIXEL_OPERATIONS = ('xflip', 'yflip', 'rotate_int', 'translate_int')
GEOMETRY = ('scale', 'rotate_frac', 'aniso', 'translate_frac')
COLOURS = ('brightness', 'contrast', 'lumaflip', 'hue', 'saturation')
ATTRIBUTES = (
    'p',
    *PIXEL_OPERATIONS,
    'translate_int_max',
    *GEOMETRY,
    'scale_std',
    'rotate_frac_max',
    'aniso_std',
    'aniso_rotate_prob',
    'translate_frac_std',
    *COLOURS,
    'brightness_std',
    'contrast_std',
    'hue_max',
    'saturation_std',
)


def make_images(shape=(4, 3, 16, 16)):
    values = np.random.RandomState(12345).standard_normal(shape)
    return torch.from_numpy(values.astype(np.float32)).clamp(-1, 1)


def everything(**options):
    return AugmentPipe(**dict(dict.fromkeys((*PIXEL_OPERATIONS, *GEOMETRY, *COLOURS), 1), **options))


def column(*values):
    return torch.tensor(values, dtype=torch.float32)


# ------------------------------------------------------------------------------------------------
# EDM's numbers: torch seeded with 0, the options of its training.

LABELS = [
    [0, 1, -0.719258, -1.395815, -0.918330, -0.891995, 0, 0, 0],
    [1, 1, 0, -0.299959, -0.714103, -1.509108, 0, 0, 0],
    [1, 1, 0, -0.660671, -0.940668, 0, 0, 0, 0],
    [0, 0, 0.182036, -1.910107, 0.414373, 0, 0, 0, 0],
]
MEANS = [0.439327, 0.454706, 0.464585, 0.492310]


def test_numbers_of_edm():
    torch.manual_seed(0)
    images, labels = AugmentPipe(p=0.5, **AUGMENTATIONS)(make_images())
    assert labels.dtype == torch.float32 and labels.shape == (4, AUGMENT_DIM)
    assert torch.allclose(labels, torch.tensor(LABELS), atol=2e-6)
    assert images.shape == (4, 3, 16, 16) and images.dtype == torch.float32
    assert images.abs().mean(dim=[1, 2, 3]).tolist() == pytest.approx(MEANS, abs=2e-6)
    assert (images.mean().item(), images.std().item()) == pytest.approx((0.007314, 0.555009), abs=1e-6)


def test_numbers_of_edm_with_a_small_probability():
    """Same draws, other gates: the flips of samples 0 (y), 1 and 2 (x), zoom and rotation of sample 3."""
    torch.manual_seed(0)
    images, labels = AugmentPipe(p=0.12, **AUGMENTATIONS)(make_images())
    expected = torch.zeros([4, 9])
    expected[0, 1] = expected[1, 0] = expected[2, 0] = 1
    expected[3] = torch.tensor(LABELS[3])
    assert torch.allclose(labels, expected, atol=2e-6)
    assert (images.mean().item(), images.std().item()) == pytest.approx((0.007467, 0.684885), abs=1e-6)


@pytest.mark.parametrize('wrong', ['SYM6', 'rotation', 'half pixel'])
def test_wrong_geometry_is_rejected_by_these_numbers(wrong, monkeypatch):
    if wrong == 'SYM6':
        monkeypatch.setattr(augment, 'SYM6', augment.SYM6[::-1])
    elif wrong == 'rotation':
        monkeypatch.setattr(augment, 'rotation', lambda angle, right=augment.rotation: right(-angle))
    else:
        right = augment.scaling
        monkeypatch.setattr(
            augment, 'scaling', lambda x, y: right(x, y) @ augment.translation(0 * x + 0.05, 0 * y)
        )
    torch.manual_seed(0)
    images, _labels = AugmentPipe(p=0.5, **AUGMENTATIONS)(make_images())
    assert images.abs().mean(dim=[1, 2, 3]).tolist() != pytest.approx(MEANS, abs=2e-4)


# ------------------------------------------------------------------------------------------------
# Operations on whole pixels, against loops.


@pytest.mark.parametrize(
    'name, source',
    [('xflip', lambda y, x, h, w: (y, w - 1 - x)), ('yflip', lambda y, x, h, w: (h - 1 - y, x))],
)
def test_flips(name, source):
    images = make_images((2, 1, 4, 6))
    found, labels = AugmentPipe(**{name: 1}).apply(images, {name: torch.tensor([1, 0])})
    for y, x in np.ndindex(4, 6):
        assert found[0, 0, y, x] == images[(0, 0, *source(y, x, 4, 6))]
    assert torch.equal(found[1], images[1]) and labels.tolist() == [[1], [0]]


def test_quarter_turns():
    images = make_images((4, 3, 5, 5))
    found, labels = AugmentPipe(rotate_int=1).apply(images, dict(rotate_int=torch.arange(4)))
    for turns in range(4):
        assert torch.equal(found[turns], torch.rot90(images[turns], turns, (1, 2)))
    assert labels.tolist() == [[0, 0], [1, 0], [1, 1], [0, 1]]


def test_whole_pixel_shifts():
    """By the rule of the specification, written out; 0.125 of 8 and 16 pixels are 1 and 2."""
    images = make_images((3, 2, 8, 16))
    draws = torch.tensor([[0.9, -0.8], [-0.6, 0.6], [0.1, 0.2]])
    found, labels = AugmentPipe(translate_int=1).apply(images, dict(translate_int=draws))
    for n, (tx, ty) in enumerate([(2, -1), (-1, 1), (0, 0)]):
        for y, x in np.ndindex(8, 16):
            xs = 15 - abs(15 - (x - tx) % 30)
            ys = 7 - abs(7 - (y + ty) % 14)
            assert torch.equal(found[n, :, y, x], images[n, :, ys, xs])
        assert labels[n].tolist() == [tx / 2, ty / 1]


# ------------------------------------------------------------------------------------------------
# Resampling, against dense arithmetic in float64.


def slow_resample(image, matrix):
    """Transform one channel [H, W]: mirror, upsample by filter matrices, interpolate, downsample."""
    height, width = image.shape
    taps = np.array(augment.SYM6)
    padded = np.pad(image, [(height - 1, height - 1), (width - 1, width - 1)], mode='reflect')

    def up(size):
        return np.array(
            [
                [taps[k + 5 - 2 * i] if 0 <= k + 5 - 2 * i < 12 else 0 for i in range(size)]
                for k in range(2 * size)
            ]
        )

    fine = up(padded.shape[0]) @ padded @ up(padded.shape[1]).T
    warped = np.zeros([2 * (height + 6), 2 * (width + 6)])
    for j, i in np.ndindex(*warped.shape):
        # Fine sample k lies at (k + 1/2 - middle) / 2 + 1/4 pixels from the centre: the filter is even.
        point = [(i - (warped.shape[1] - 1) / 2 + 0.5) / 2, (j - (warped.shape[0] - 1) / 2 + 0.5) / 2, 1]
        x, y = (matrix @ point)[:2] * 2 - 0.5 + (np.array(fine.shape[::-1]) - 1) / 2
        for row in (math.floor(y), math.floor(y) + 1):
            for col in (math.floor(x), math.floor(x) + 1):
                if 0 <= row < fine.shape[0] and 0 <= col < fine.shape[1]:
                    warped[j, i] += fine[row, col] * (1 - abs(y - row)) * (1 - abs(x - col))

    def down(size):
        return np.array(
            [
                [taps[k - 2 * j + 5] if 0 <= k - 2 * j + 5 < 12 else 0 for k in range(size)]
                for j in range(size // 2)
            ]
        )

    return (down(warped.shape[0]) @ warped @ down(warped.shape[1]).T)[3:-3, 3:-3]


def turn(angle):
    return np.array(
        [[math.cos(angle), -math.sin(angle), 0], [math.sin(angle), math.cos(angle), 0], [0, 0, 1]]
    )


def stretch(x, y):
    return np.diag([x, y, 1.0])


def shift(x, y):
    return np.array([[1, 0, x], [0, 1, y], [0, 0, 1.0]])


# Draws of the pipe, and the matrix from the result to the source that the specification gives (8x6 pixels).
TRANSFORMS = {
    'zoom in': (dict(scale=1.5), stretch(2**-0.3, 2**-0.3)),
    'zoom out': (dict(scale=-3.0), stretch(2**0.6, 2**0.6)),
    'rotation': (dict(rotate_frac=0.7), turn(0.7)),
    'stretching': (dict(aniso=2.0, aniso_axis=0.0), stretch(2**-0.4, 2**0.4)),
    'stretching along an axis': (
        dict(aniso=2.0, aniso_axis=0.5),
        turn(-0.5) @ stretch(2**-0.4, 2**0.4) @ turn(0.5),
    ),
    'shift': (dict(translate_frac=[0.4, -0.9]), shift(-0.4 * 6 / 8, 0.9 * 8 / 8)),
    'all': (
        dict(scale=0.5, rotate_frac=-2.0, aniso=-1.0, aniso_axis=1.0, translate_frac=[1.0, 0.5]),
        stretch(2**-0.1, 2**-0.1)
        @ turn(-2.0)
        @ turn(-1.0)
        @ stretch(2**0.2, 2**-0.2)
        @ turn(1.0)
        @ shift(-6 / 8, -0.5),
    ),
}


@pytest.mark.parametrize('name', TRANSFORMS)
def test_resampling_against_dense_arithmetic(name):
    draws, matrix = TRANSFORMS[name]
    images = make_images((2, 2, 8, 6))
    still = {key: [0.0, 0.0] if key == 'translate_frac' else 0.0 for key in draws}
    found, _labels = AugmentPipe().apply(
        images, {key: torch.tensor([draws[key], still[key]]) for key in draws}
    )
    for channel in range(2):
        expected = slow_resample(images[0, channel].double().numpy(), matrix)
        assert np.allclose(found[0, channel], expected, atol=2e-5)
        wrong = slow_resample(images[0, channel].double().numpy(), np.linalg.inv(matrix))
        assert not np.allclose(found[0, channel], wrong, atol=1e-2)
    assert torch.allclose(
        found[1], images[1], atol=2e-5
    )  # nothing to do: nothing is done, whatever the neighbour


def test_shifts_by_whole_pixels_are_exact():
    """They need no interpolation, and the wavelet filter leaves no trace."""
    images = make_images((2, 3, 8, 8))
    found = resample(images, torch.from_numpy(np.stack([shift(2, 0), shift(0, -3)])).float())
    mirrored = torch.nn.functional.pad(images, [7, 7, 7, 7], mode='reflect')
    expected = [mirrored[0, :, 7:15, 9:17], mirrored[1, :, 4:12, 7:15]]
    assert torch.allclose(found, torch.stack(expected), atol=1e-5)


def test_direction_of_rotation():
    """A smooth image turned by 90 degrees, from x (right) to y (down); exact but for an asymmetric filter."""
    image = torch.linspace(-1, 1, 16).expand(1, 1, 16, 16) + 0.3 * torch.linspace(-1, 1, 16)[:, None]
    found, labels = AugmentPipe().apply(image, dict(rotate_frac=column(math.pi / 2)))
    inner = (slice(None), slice(None), slice(4, 12), slice(4, 12))
    assert (found - torch.rot90(image, 1, (2, 3)))[inner].abs().max() < 0.05
    assert (found - torch.rot90(image, -1, (2, 3)))[inner].abs().max() > 0.5
    assert labels[0].tolist() == pytest.approx([-1, 1])


def test_padding_by_hand():
    """8x8 pixels reach 3.5 from the centre; the filters reach 6 further; at most 7 can be mirrored."""
    still, right = torch.eye(3)[None], torch.from_numpy(shift(0.25, 0)).float()[None]
    assert padding(still, 8, 8) == [6, 6, 6, 6]
    assert padding(right, 8, 8) == [6, 6, 7, 6]  # left, top, right, bottom
    assert padding(torch.cat([still, right]), 8, 8) == [6, 6, 7, 6]
    assert padding(torch.from_numpy(shift(0, -50)).float()[None], 8, 8) == [6, 7, 6, 0]


def test_an_image_does_not_depend_on_its_neighbours():
    """Processes and micro-batches share a batch: each image must come out as it would alone."""
    pipe, images = everything(p=0.7), make_images()
    draws = pipe.draw(4, torch.Generator().manual_seed(1))
    whole, labels = pipe.apply(images, draws)
    for n in range(4):
        alone, own = pipe.apply(images[n : n + 1], {name: value[n : n + 1] for name, value in draws.items()})
        assert torch.allclose(alone[0], whole[n], atol=5e-5) and torch.equal(own[0], labels[n])


# ------------------------------------------------------------------------------------------------
# Colours.


def test_colours_by_hand():
    images = make_images((2, 3, 4, 4))
    pipe = everything()
    grey = images.mean(dim=1, keepdim=True)

    def apply(**draws):
        return pipe.apply(images, {name: column(value, 0) for name, value in draws.items()})

    for (found, labels), expected, label in [
        (apply(brightness=1.5), images + 0.3, [1.5]),
        (apply(contrast=2.0), images * 2, [2]),
        (apply(lumaflip=1.0), images - 2 * grey, [1]),
        (apply(saturation=-1.0), grey + (images - grey) / 2, [-1]),
        # A third of a turn around the grey axis: red becomes green, green blue, blue red.
        (apply(hue=2 * math.pi / 3), images[:, [2, 0, 1]], [-1.5, math.sqrt(0.75)]),
    ]:
        assert torch.allclose(found[0], expected[0], atol=1e-5) and torch.allclose(
            found[1], images[1], atol=1e-6
        )
        assert labels[0].tolist() == pytest.approx(label, abs=1e-6) and not labels[1].any()
    both, _labels = apply(brightness=1.0, contrast=1.0)  # first brighter, then more contrast
    assert torch.allclose(both[0], (images[0] + 0.2) * math.sqrt(2), atol=1e-5)


def test_colours_of_grey_images():
    """The mean of what happens to a grey pixel of three channels."""
    pipe, grey = everything(), make_images((2, 1, 4, 4))
    draws = dict(
        brightness=column(1, -1),
        contrast=column(0.5, 2),
        lumaflip=column(0, 1),
        hue=column(1, 2),
        saturation=column(2, 1),
    )
    three, _labels = pipe.apply(grey.repeat(1, 3, 1, 1), draws)
    one, _labels = pipe.apply(grey, draws)
    assert torch.allclose(one, three.mean(dim=1, keepdim=True), atol=1e-5)
    with pytest.raises(
        ValueError, match='colour augmentation of 2 channels is not defined; use images with 1 or 3'
    ):
        pipe.apply(torch.zeros(2, 2, 4, 4), draws)


# ------------------------------------------------------------------------------------------------
# Draws and labels.


def test_labels_of_everything():
    images, labels = everything()(make_images())
    assert labels.shape == (4, 19) and torch.isfinite(images).all()
    for name, width in [
        ('xflip', 1),
        ('rotate_int', 2),
        ('translate_int', 2),
        ('scale', 1),
        ('aniso', 2),
        ('hue', 2),
    ]:
        assert AugmentPipe(**{name: 1})(make_images())[1].shape == (4, width)


def test_probability_zero_changes_nothing():
    images, labels = everything(p=0)(make_images())
    assert torch.allclose(images, make_images(), atol=2e-5) and not labels.any()


def test_frequencies_of_the_draws():
    draws = AugmentPipe(p=0.15, **AUGMENTATIONS).draw(20000, torch.Generator().manual_seed(0))
    share = {name: (value != 0).float().mean().item() for name, value in draws.items()}
    expected = dict(
        xflip=0.5, yflip=0.075, scale=0.15, rotate_frac=0.15, aniso=0.15, aniso_axis=0.5, translate_frac=0.15
    )
    assert share == pytest.approx(expected, abs=0.012)
    assert draws['scale'][draws['scale'] != 0].std() == pytest.approx(1, abs=0.05)
    assert draws['rotate_frac'].abs().max() == pytest.approx(math.pi, abs=0.01)


def test_processes_take_their_shares_of_one_draw():
    """Image b * world_size + r belongs to process r; `official` gives each process a stream of its own."""
    pipe = everything(p=0.5)
    whole = BatchRandom(3, 80).share(pipe.draw, 8, 'augment')
    shares = [BatchRandom(3, 80, rank, 2).share(pipe.draw, 4, 'augment') for rank in range(2)]
    for name, value in whole.items():
        assert torch.equal(torch.stack([share[name] for share in shares], dim=1).reshape(value.shape), value)
    official = [
        BatchRandom(3, 80, rank, 2, compat='official').share(pipe.draw, 4, 'augment') for rank in range(2)
    ]
    assert not torch.equal(official[0]['scale'], official[1]['scale'])


def test_given_draws_equal_the_call():
    pipe = everything(p=0.5)
    torch.manual_seed(5)
    images, labels = pipe(make_images())
    torch.manual_seed(5)
    again = pipe.apply(make_images(), pipe.draw(4))
    assert torch.equal(images, again[0]) and torch.equal(labels, again[1])


def test_snapshots_can_hold_it():
    """24 floats in EDM's order, then the recorded arguments."""
    pipe = AugmentPipe(p=0.12, **AUGMENTATIONS)
    assert persistence.is_persistent(pipe) and tuple(vars(pipe)) == (
        *ATTRIBUTES,
        '_init_args',
        '_init_kwargs',
    )
    assert all(type(getattr(pipe, name)) is float for name in ATTRIBUTES)
    assert (pipe.p, pipe.xflip, pipe.scale, pipe.rotate_int, pipe.aniso_rotate_prob) == (
        0.12,
        1e8,
        1.0,
        0.0,
        0.5,
    )


# ------------------------------------------------------------------------------------------------
# What a GPU does otherwise, or would wait for.


@pytest.mark.parametrize('shape', [(4, 3, 16, 16), (4, 1, 20, 20)])
def test_the_fixed_padding_of_a_gpu_changes_rounding_only(shape, monkeypatch):
    images, pipe = make_images(shape), everything()
    draws = pipe.draw(shape[0], torch.Generator().manual_seed(3))
    expected, _labels = pipe.apply(images, draws)
    sizes = []
    monkeypatch.setattr(augment, 'padding', lambda _m, h, w: sizes.append((h, w)) or [w - 1, h - 1] * 2)
    found, _labels = pipe.apply(images, draws)
    assert sizes == [shape[2:]] and (found - expected).abs().max() < 2e-5


def test_padding_on_a_gpu_does_not_look_at_the_matrices():
    with PretendedCuda() as gpu, gpu.hot_loop():
        matrix = torch.eye(3, device='cuda').expand(2, 3, 3)
        assert padding(matrix, 5, 7) == [6, 4, 6, 4]


def test_constants_are_made_on_the_device():
    with PretendedCuda() as gpu:
        x = torch.rand(4, device='cuda')
        with gpu.hot_loop():
            matrix = augment.stack([[1, 0, x], [0, 1.5, x], [0, 0, 1]], x)
            grey = augment.grey_projection(x)
        assert matrix[2].tolist() == [[1, 0, x[2].item()], [0, 1.5, x[2].item()], [0, 0, 1]]
        assert grey.cpu().sum(dim=1) == pytest.approx([1, 1, 1, 0])
        first = augment.constant((1.0, 2.0), torch.float32, x.device)
        with gpu.hot_loop():
            assert augment.constant((1.0, 2.0), torch.float32, x.device) is first
    augment.constant.cache_clear()
