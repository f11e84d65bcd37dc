# Copyright 2026 The GDD-1S authors.
# SPDX-License-Identifier: Apache-2.0
"""Augmentation of the images a teacher is trained on, reported to the network as conditioning labels.

Karras et al. 2022 (EDM), appendix F.2; the geometry follows Karras et al. 2020, "Training
Generative Adversarial Networks with Limited Data". Since the network is told what was done to an
image, and is told "nothing" when it samples, augmentations do not leak into samples.

The text of this file travels inside the snapshots of teachers, whose entry `augment_pipe` EDM's
own loader rebuilds from it. It therefore imports nothing but torch and the persistence decorator,
and keeps to Python 3.8 (newer annotations are never evaluated) and the API of torch 1.12.

Shapes: N batch, C channels, H W pixels, D labels. Matrices map points as column vectors.
"""

from __future__ import annotations

import functools
import math

import torch
from torch.nn import functional

from torch_utils import persistence

# Low-pass filter of the orthogonal wavelet symlet-6: upsampling by it and downsampling again changes nothing.
SYM6 = [
    0.015404109327027373,
    0.0034907120842174702,
    -0.11799011114819057,
    -0.048311742585633,
    0.4910559419267466,
    0.787641141030194,
    0.3379294217276218,
    -0.07263752278646252,
    -0.021060292512300564,
    0.04472490177066578,
    0.0017677118642428036,
    -0.007800708325034148,
]
MARGIN = len(SYM6) // 4  # pixels beyond the image that the filters reach


@persistence.persistent_class
class AugmentPipe:
    """Random transformations of images, each with a strength and the probability `multiplier * p`.

    Args:
        p: Overall probability; every multiplier of 0 switches its transformation off.
        xflip, yflip, rotate_int, translate_int: Multipliers of exact pixel operations: mirrored columns,
            mirrored rows, quarter turns, whole-pixel shifts by up to `translate_int_max` of the image side.
        scale, rotate_frac, aniso, translate_frac: Multipliers of resampling operations: zoom by
            2^(scale_std n), rotation by up to 180 degrees times `rotate_frac_max`, stretching by
            2^(aniso_std n) along an axis that is random with probability `aniso_rotate_prob`, shift by
            `translate_frac_std` n of the side; n is normal.
        brightness, contrast, lumaflip, hue, saturation: Multipliers of colour operations, with the standard
            deviations of brightness and of the base-2 logarithms of contrast and saturation, and the largest
            hue rotation as a part of 180 degrees.
    """

    def __init__(
        self,
        p: float = 1,
        xflip: float = 0,
        yflip: float = 0,
        rotate_int: float = 0,
        translate_int: float = 0,
        translate_int_max: float = 0.125,
        scale: float = 0,
        rotate_frac: float = 0,
        aniso: float = 0,
        translate_frac: float = 0,
        scale_std: float = 0.2,
        rotate_frac_max: float = 1,
        aniso_std: float = 0.2,
        aniso_rotate_prob: float = 0.5,
        translate_frac_std: float = 0.125,
        brightness: float = 0,
        contrast: float = 0,
        lumaflip: float = 0,
        hue: float = 0,
        saturation: float = 0,
        brightness_std: float = 0.2,
        contrast_std: float = 0.5,
        hue_max: float = 1,
        saturation_std: float = 1,
    ) -> None:
        self.p = float(p)
        self.xflip = float(xflip)
        self.yflip = float(yflip)
        self.rotate_int = float(rotate_int)
        self.translate_int = float(translate_int)
        self.translate_int_max = float(translate_int_max)
        self.scale = float(scale)
        self.rotate_frac = float(rotate_frac)
        self.aniso = float(aniso)
        self.translate_frac = float(translate_frac)
        self.scale_std = float(scale_std)
        self.rotate_frac_max = float(rotate_frac_max)
        self.aniso_std = float(aniso_std)
        self.aniso_rotate_prob = float(aniso_rotate_prob)
        self.translate_frac_std = float(translate_frac_std)
        self.brightness = float(brightness)
        self.contrast = float(contrast)
        self.lumaflip = float(lumaflip)
        self.hue = float(hue)
        self.saturation = float(saturation)
        self.brightness_std = float(brightness_std)
        self.contrast_std = float(contrast_std)
        self.hue_max = float(hue_max)
        self.saturation_std = float(saturation_std)

    def __call__(self, images: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """Augment images with fresh draws from the default generator of their device.

        Args:
            images: float32 [N, C, H, W], -1..1.
        Returns:
            Images of the same shape, not clipped to -1..1, and labels float32 [N, D].
        """
        return self.apply(images, self.draw(images.shape[0], device=images.device))

    def draw(
        self, count: int, generator: torch.Generator | None = None, device: torch.device | str | None = None
    ) -> dict[str, torch.Tensor]:
        """Draw what shall happen to `count` images, in EDM's order; 0 means that nothing happens.

        Args:
            count:     Number of images.
            generator: Generator to draw from, on whose device the numbers then are; None for the default one.
            device:    Device of the numbers without a generator.
        Returns:
            Tensors [N] or, for translations, [N, 2], by name; only transformations that are switched on.
        """
        source = RandomNumbers(count, generator, device)
        # Functions, because each transformation draws its values first, then whether they count.
        values = dict(
            xflip=lambda: source.integer(2),
            yflip=lambda: source.integer(2),
            rotate_int=lambda: source.integer(4),
            translate_int=lambda: source.uniform(2) * 2 - 1,
            scale=source.normal,
            rotate_frac=lambda: source.angle(self.rotate_frac_max),
            aniso=source.normal,
            translate_frac=lambda: source.normal(2),
            brightness=source.normal,
            contrast=source.normal,
            lumaflip=lambda: source.integer(2),
            hue=lambda: source.angle(self.hue_max),
            saturation=source.normal,
        )
        draws = {}
        for name, value in values.items():
            multiplier = getattr(self, name)
            if multiplier > 0:
                value = value()
                axis = source.angle() if name == 'aniso' else None
                draws[name] = source.sometimes(value, multiplier * self.p)
                if axis is not None:
                    draws['aniso_axis'] = source.sometimes(axis, self.aniso_rotate_prob)
        return {name: value.t() if value.ndim == 2 else value for name, value in draws.items()}

    def apply(
        self, images: torch.Tensor, draws: dict[str, torch.Tensor]
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """Augment images as drawn.

        Args:
            images: float32 [N, C, H, W], -1..1.
            draws:  Numbers as `draw` returns them.
        Returns:
            Images of the same shape, and labels float32 [N, D]: one column per flip, rotate_int 2,
            translate_int 2, scale 1, rotate_frac 2, aniso 2, translate_frac 2, then brightness 1,
            contrast 1, lumaflip 1, hue 2, saturation 1, of what is switched on. All 0: nothing was done.
        Raises:
            ValueError: Colour operations on images with neither 1 nor 3 channels.
        """
        labels = []
        images = self._move_pixels(images, draws, labels)
        if any(name in draws for name in ('scale', 'rotate_frac', 'aniso', 'translate_frac')):
            images = resample(images, self._geometry(images, draws, labels))
        if any(name in draws for name in ('brightness', 'contrast', 'lumaflip', 'hue', 'saturation')):
            images = recolour(images, self._colours(images, draws, labels))
        return images, torch.stack([label.to(torch.float32) for label in labels], dim=1)  # [N, D]

    def _move_pixels(
        self, images: torch.Tensor, draws: dict[str, torch.Tensor], labels: list[torch.Tensor]
    ) -> torch.Tensor:
        def pick(condition: torch.Tensor, changed: torch.Tensor, images: torch.Tensor) -> torch.Tensor:
            return torch.where(condition[:, None, None, None], changed, images)

        for name, axis in (('xflip', 3), ('yflip', 2)):
            if name in draws:
                images = pick(draws[name] == 1, images.flip(axis), images)
                labels.append(draws[name])
        if 'rotate_int' in draws:
            turns = draws['rotate_int']
            columns, rows = (turns == 1) | (turns == 2), (turns == 2) | (turns == 3)
            images = pick(columns, images.flip(3), images)
            images = pick(rows, images.flip(2), images)
            images = pick(columns != rows, images.transpose(2, 3), images)
            labels += [columns, rows]
        if 'translate_int' in draws:
            height, width = images.shape[2:]
            # [2], width and height, made on the device
            sides = torch.arange(2, device=images.device) * (height - width) + width
            reach = sides * self.translate_int_max
            shift = (draws['translate_int'] * reach).round()  # [N, 2]
            columns = reflect(torch.arange(width, device=images.device) - shift[:, :1], width)  # [N, W]
            rows = reflect(torch.arange(height, device=images.device) + shift[:, 1:], height)  # [N, H]
            image = torch.arange(len(images), device=images.device)[:, None, None]
            images = images[image, :, rows[:, :, None], columns[:, None, :]]  # [N, H, W, C]
            images = images.permute(0, 3, 1, 2)  # [N, C, H, W]
            labels += (shift / reach).unbind(1)
        return images

    def _geometry(
        self, images: torch.Tensor, draws: dict[str, torch.Tensor], labels: list[torch.Tensor]
    ) -> torch.Tensor:
        # The matrices [N, 3, 3] from points of the result to points of the source, in pixels from the centre.
        height, width = images.shape[2:]
        matrix = torch.eye(3, device=images.device).expand(len(images), 3, 3)
        if 'scale' in draws:
            shrink = 2 ** (-self.scale_std * draws['scale'])
            matrix = matrix @ scaling(shrink, shrink)
            labels.append(draws['scale'])
        if 'rotate_frac' in draws:
            turn = draws['rotate_frac']
            matrix = matrix @ rotation(turn)
            labels += [turn.cos() - 1, turn.sin()]
        if 'aniso' in draws:
            stretch, axis = 2 ** (self.aniso_std * draws['aniso']), draws['aniso_axis']
            matrix = matrix @ rotation(-axis) @ scaling(1 / stretch, stretch) @ rotation(axis)
            labels += [draws['aniso'] * axis.cos(), draws['aniso'] * axis.sin()]
        if 'translate_frac' in draws:
            x, y = draws['translate_frac'].unbind(1)
            std = self.translate_frac_std
            matrix = matrix @ translation(-x * (width * std), -y * (height * std))
            labels += [x, y]
        return matrix

    def _colours(
        self, images: torch.Tensor, draws: dict[str, torch.Tensor], labels: list[torch.Tensor]
    ) -> torch.Tensor:
        # The matrices [N, 4, 4] from red, green, blue, 1 to the new red, green, blue, 1.
        identity = torch.eye(4, device=images.device)
        grey = grey_projection(identity)
        matrix = identity.expand(len(images), 4, 4)
        if 'brightness' in draws:
            offset = draws['brightness'] * self.brightness_std
            matrix = (
                stack([[1, 0, 0, offset], [0, 1, 0, offset], [0, 0, 1, offset], [0, 0, 0, 1]], offset)
                @ matrix
            )
            labels.append(draws['brightness'])
        if 'contrast' in draws:
            gain = 2 ** (self.contrast_std * draws['contrast'])
            matrix = stack([[gain, 0, 0, 0], [0, gain, 0, 0], [0, 0, gain, 0], [0, 0, 0, 1]], gain) @ matrix
            labels.append(draws['contrast'])
        if 'lumaflip' in draws:
            matrix = (identity - 2 * grey * draws['lumaflip'][:, None, None]) @ matrix
            labels.append(draws['lumaflip'])
        if 'hue' in draws:
            matrix = hue_rotation(draws['hue']) @ matrix
            labels += [draws['hue'].cos() - 1, draws['hue'].sin()]
        if 'saturation' in draws:
            gain = 2 ** (self.saturation_std * draws['saturation'])
            matrix = (grey + (identity - grey) * gain[:, None, None]) @ matrix
            labels.append(draws['saturation'])
        return matrix


class RandomNumbers:
    """Random numbers for a batch: [N], or [k, N] where k is given.

    Args:
        count:     N.
        generator: Generator to draw from, or None for the default one of `device`.
        device:    Where to draw without a generator.
    """

    def __init__(
        self, count: int, generator: torch.Generator | None = None, device: torch.device | str | None = None
    ) -> None:
        self.count = count
        self.options = dict(generator=generator, device=device if generator is None else generator.device)

    def uniform(self, *k: int) -> torch.Tensor:
        """Return numbers in 0..1."""
        return torch.rand([*k, self.count], **self.options)

    def normal(self, *k: int) -> torch.Tensor:
        """Return standard normal numbers."""
        return torch.randn([*k, self.count], **self.options)

    def integer(self, size: int) -> torch.Tensor:
        """Return whole numbers in 0..size-1."""
        return torch.randint(size, [self.count], **self.options)

    def angle(self, limit: float = 1.0) -> torch.Tensor:
        """Return angles up to 180 degrees times `limit` to either side, in radians."""
        return (self.uniform() * 2 - 1) * (math.pi * limit)

    def sometimes(self, value: torch.Tensor, probability: float) -> torch.Tensor:
        """Keep the values of an image with some probability, else set them to 0."""
        kept = self.uniform(*[1] * (value.ndim - 1)) < probability
        return torch.where(kept, value, torch.zeros_like(value))


def stack(rows: list[list[float | torch.Tensor]], like: torch.Tensor) -> torch.Tensor:
    """Build matrices [N, k, k] from rows of numbers and tensors [N], with type and device of `like`.

    Numbers are written on the device, each once: a copy from the host would have to be waited for.
    """
    entries = [entry for row in rows for entry in row]
    numbers = {entry for entry in entries if not isinstance(entry, torch.Tensor)}
    filled = {number: torch.full_like(like, number) for number in numbers}
    columns = [entry if isinstance(entry, torch.Tensor) else filled[entry] for entry in entries]
    return torch.stack(columns, dim=1).reshape(len(like), len(rows), len(rows))


@functools.lru_cache(maxsize=8)
def constant(values: tuple[float, ...], dtype: torch.dtype, device: torch.device) -> torch.Tensor:
    """Return numbers as a tensor that is copied to a device once, and not in every iteration."""
    return torch.tensor(values, dtype=dtype, device=device)


def grey_projection(like: torch.Tensor) -> torch.Tensor:
    """Return the projection of red, green, blue, 1 onto the grey axis, [4, 4], like a tensor."""
    axis = (torch.arange(4, device=like.device) < 3).to(like.dtype) / math.sqrt(3)
    return axis.outer(axis)


def translation(x: torch.Tensor, y: torch.Tensor) -> torch.Tensor:
    """Return the matrices [N, 3, 3] of shifts by x and y, [N]."""
    return stack([[1, 0, x], [0, 1, y], [0, 0, 1]], x)


def scaling(x: torch.Tensor, y: torch.Tensor) -> torch.Tensor:
    """Return the matrices [N, 3, 3] of stretching by the factors x and y, [N]."""
    return stack([[x, 0, 0], [0, y, 0], [0, 0, 1]], x)


def rotation(angle: torch.Tensor) -> torch.Tensor:
    """Return the matrices [N, 3, 3] of rotations by the angles [N], in radians."""
    cos, sin = angle.cos(), angle.sin()
    return stack([[cos, -sin, 0], [sin, cos, 0], [0, 0, 1]], angle)


def hue_rotation(angle: torch.Tensor) -> torch.Tensor:
    """Return the matrices [N, 4, 4] that rotate colours around the grey axis by the angles [N], radians."""
    cos, part = angle.cos(), (1 - angle.cos()) / 3
    side = angle.sin() / math.sqrt(3)
    a, b, c = cos + part, part - side, part + side
    return stack([[a, b, c, 0], [c, a, b, 0], [b, c, a, 0], [0, 0, 0, 1]], angle)


def reflect(index: torch.Tensor, size: int) -> torch.Tensor:
    """Fold whole numbers into 0..size-1 as mirrors at the first and the last pixel do; returns int64."""
    return (size - 1 - (size - 1 - index % (2 * size - 2)).abs()).to(torch.int64)


def resample(images: torch.Tensor, matrix: torch.Tensor) -> torch.Tensor:
    """Transform images by matrices, between pixels through twofold supersampling with a wavelet filter.

    Args:
        images: [N, C, H, W]; outside they continue as mirror images, by one image side at most.
        matrix: Maps points of the result to points of `images`, in pixels from the centre, [N, 3, 3].
    Returns:
        [N, C, H, W].
    """
    count, channels, height, width = images.shape
    left, top, right, bottom = padding(matrix, height, width)
    images = functional.pad(images, [left, right, top, bottom], mode='reflect')
    taps = constant(tuple(SYM6), images.dtype, images.device)
    across, down = (taps.reshape(shape).repeat(channels, 1, 1, 1) for shape in ([1, 1, 1, -1], [1, 1, -1, 1]))

    # The transposed convolution puts zeros between the pixels and convolves; length 2 per pixel.
    reach = len(SYM6) // 2 - 1
    images = functional.conv_transpose2d(images, across, stride=[1, 2], padding=[0, reach], groups=channels)
    images = functional.conv_transpose2d(images, down, stride=[2, 1], padding=[reach, 0], groups=channels)

    one = torch.ones_like(matrix[:, 0, 0])
    matrix = translation(one * ((left - right) / 2), one * ((top - bottom) / 2)) @ matrix
    matrix = scaling(2 * one, 2 * one) @ matrix @ scaling(one / 2, one / 2)
    matrix = translation(-one / 2, -one / 2) @ matrix @ translation(one / 2, one / 2)
    # grid_sample counts from -1 to 1.
    size = [2 * (height + 2 * MARGIN), 2 * (width + 2 * MARGIN)]
    matrix = matrix @ scaling(one * (size[1] / 2), one * (size[0] / 2))
    matrix = scaling(one * (2 / images.shape[3]), one * (2 / images.shape[2])) @ matrix
    grid = functional.affine_grid(matrix[:, :2], [count, channels, *size], align_corners=False)
    images = functional.grid_sample(images, grid, mode='bilinear', padding_mode='zeros', align_corners=False)

    images = functional.conv2d(images, across, stride=[1, 2], padding=[0, reach], groups=channels)
    images = functional.conv2d(images, down, stride=[2, 1], padding=[reach, 0], groups=channels)
    return images[:, :, MARGIN:-MARGIN, MARGIN:-MARGIN]  # [N, C, H, W]


def padding(matrix: torch.Tensor, height: int, width: int) -> list[int]:
    """Return how many pixels the images of a batch must be continued to the left, top, right and bottom.

    On a GPU as many as there can be, whatever the matrices: the host would have to wait for them, and cuDNN
    chooses its kernels anew for every size. The images are the same up to rounding (1e-5).
    """
    if matrix.device.type == 'cuda':
        return [width - 1, height - 1, width - 1, height - 1]
    x, y = (width - 1) / 2, (height - 1) / 2
    corners = torch.tensor(
        [[-x, -y, 1], [x, -y, 1], [x, y, 1], [-x, y, 1]], dtype=matrix.dtype, device=matrix.device
    )
    points = (matrix @ corners.t())[:, :2].transpose(0, 1).flatten(1)  # [2, 4 N]
    needed = torch.cat([-points, points]).amax(dim=1).tolist()
    sides = [(x, width), (y, height)] * 2
    return [
        math.ceil(min(max(need + 2 * MARGIN - half, 0), side - 1))
        for need, (half, side) in zip(needed, sides)
    ]


def recolour(images: torch.Tensor, matrix: torch.Tensor) -> torch.Tensor:
    """Transform the colours of images.

    Args:
        images: [N, C, H, W], C 1 or 3.
        matrix: Affine maps of red, green, blue, [N, 4, 4]; grey images use the mean of the three rows.
    Returns:
        [N, C, H, W].
    Raises:
        ValueError: Other numbers of channels.
    """
    channels = images.shape[1]
    if channels not in (1, 3):
        raise ValueError(f'colour augmentation of {channels} channels is not defined; use images with 1 or 3')
    if channels == 3:
        return torch.einsum('nij,njhw->nihw', matrix[:, :3, :3], images) + matrix[:, :3, 3, None, None]
    row = matrix[:, :3].mean(dim=1)[:, :, None, None, None]  # [N, 4, 1, 1, 1]
    return images * row[:, :3].sum(dim=1) + row[:, 3]
