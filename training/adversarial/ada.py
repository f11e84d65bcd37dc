# Copyright 2026 The GDD-1S authors.
# SPDX-License-Identifier: Apache-2.0
"""Augmentation of the discriminator's input with an adaptive probability (ADA).

Karras et al. 2020, "Training Generative Adversarial Networks with Limited Data": the transformations
of its appendix B that the official GDD code enables (pixel operations, geometry and colour, all
multipliers 1), and the control of their probability p by the sign of the discriminator's logits.
Filters, additive noise and cutout are not part of it. This is another pipe than EDM's for teachers
(training/augment.py), whose resampling and colour arithmetic it shares.

Shapes: N batch, C channels, H W pixels. Matrices map points as column vectors, x right, y down, in
pixels from the image centre.
"""

import math
from collections.abc import Sequence

import torch

from torch_utils import distributed
from training.augment import (
    grey_projection,
    hue_rotation,
    recolour,
    resample,
    rotation,
    scaling,
    stack,
    translation,
)

ADJUST_INTERVAL = 4  # iterations between two changes of p (official constant)
ADJUST_NIMG = 500_000  # images in which p may rise from 0 to 1 (official constant)

SHIFT_INT_MAX = 0.125  # largest whole-pixel shift, as a part of the image side
LOG2_STD = dict(zoom=0.2, stretch=0.2, contrast=0.5, saturation=1.0)  # of base-2 logarithms
SHIFT_FRAC_STD = 0.125  # of the shift between pixels, as a part of the image side
BRIGHTNESS_STD = 0.2
TURNS = ('turn_before', 'turn_after')  # two gates, of which at least one opens with probability p


class AdaPipe:
    """Apply every transformation to an image with probability p.

    Args:
        p: Probability, >= 0: a number, or a tensor without dimensions that may change later. 1 and
           more apply everything.
    """

    def __init__(self, p: float | torch.Tensor) -> None:
        self.p = p

    def __call__(self, images: torch.Tensor) -> torch.Tensor:
        """Augment images with fresh draws from the default generator of their device.

        Args:
            images: Float [N, C, H, W], -1..1, C 1 or 3.
        Returns:
            Images of the same shape, not clipped to -1..1. Differentiable.
        """
        return self.apply(images, draw(len(images), device=images.device))

    def apply(self, images: torch.Tensor, draws: dict[str, torch.Tensor]) -> torch.Tensor:
        """Augment images as drawn.

        Args:
            images: Float [N, C, H, W], -1..1, C 1 or 3.
            draws:  Numbers as `draw` returns them.
        Returns:
            Images of the same shape.
        """
        return transform(images, gate(draws, self.p))


def draw(
    count: int, generator: torch.Generator | None = None, device: torch.device | str | None = None
) -> dict[str, torch.Tensor]:
    """Draw the parameters of all transformations and their gates, in the official order; p plays no part.

    Args:
        count:     Number of images N.
        generator: Generator to draw from, on whose device the numbers then are; None for the default one.
        device:    Device of the numbers without a generator.
    Returns:
        float32 tensors [N], of shifts [N, 2], in the order of application: name -> parameter,
        'gate/name' -> number uniform in 0..1. A parameter of 0 means that nothing happens. mirror and
        luma_flip are 0 or 1, quarter_turns 0..3, shifts parts of the image side, turns and hue
        radians, zoom, stretch, contrast and saturation base-2 logarithms of factors, brightness an offset.
    """
    options = dict(generator=generator, device=device if generator is None else generator.device)

    def uniform(*columns: int) -> torch.Tensor:
        return torch.rand([count, *columns], **options)

    def normal(*columns: int) -> torch.Tensor:
        return torch.randn([count, *columns], **options)

    def angle() -> torch.Tensor:
        return (uniform() * 2 - 1) * math.pi

    values = dict(
        mirror=lambda: (uniform() * 2).floor(),
        quarter_turns=lambda: (uniform() * 4).floor(),
        shift_int=lambda: (uniform(2) * 2 - 1) * SHIFT_INT_MAX,
        zoom=lambda: normal() * LOG2_STD['zoom'],
        turn_before=angle,
        stretch=lambda: normal() * LOG2_STD['stretch'],
        turn_after=angle,
        shift_frac=lambda: normal(2) * SHIFT_FRAC_STD,
        brightness=lambda: normal() * BRIGHTNESS_STD,
        contrast=lambda: normal() * LOG2_STD['contrast'],
        luma_flip=lambda: (uniform() * 2).floor(),
        hue=angle,
        saturation=lambda: normal() * LOG2_STD['saturation'],
    )
    draws = {}
    for name, value in values.items():
        draws[name] = value()  # [N] or [N, 2]; the parameter comes before its gate
        draws[f'gate/{name}'] = uniform()  # [N]
    return draws


def gate(draws: dict[str, torch.Tensor], p: float | torch.Tensor) -> dict[str, torch.Tensor]:
    """Set the parameters of an image to 0 where its gates are closed.

    Args:
        draws: Numbers as `draw` returns them.
        p:     Probability; a tensor has no dimensions.
    Returns:
        The parameters, without the gates.
    """
    p = torch.as_tensor(p, dtype=torch.float32)
    turn = 1 - (1 - p).clamp(0, 1).sqrt()
    parameters = {}
    for name, value in draws.items():
        if not name.startswith('gate/'):
            is_open = draws[f'gate/{name}'] < (turn if name in TURNS else p)  # [N]
            parameters[name] = value * (is_open[:, None] if value.ndim == 2 else is_open)
    return parameters


def transform(images: torch.Tensor, parameters: dict[str, torch.Tensor]) -> torch.Tensor:
    """Transform images by parameters; with all of them 0 they stay as they are, up to 1e-5.

    Args:
        images:     Float [N, C, H, W], C 1 or 3.
        parameters: As `gate` returns them.
    Returns:
        Images of the same shape.
    """
    parameters = {name: value.to(images.dtype) for name, value in parameters.items()}
    images = resample(images, geometry(parameters, *images.shape[2:]))
    return recolour(images, colours(parameters))


def geometry(parameters: dict[str, torch.Tensor], height: int, width: int) -> torch.Tensor:
    """Return the matrices [N, 3, 3] from points of the result to points of the source."""
    get = parameters.__getitem__
    mirror, zoom, stretch = 1 - 2 * get('mirror'), 2 ** -get('zoom'), 2 ** get('stretch')
    one = torch.ones_like(mirror)
    (int_x, int_y), (x, y) = (get(name).unbind(1) for name in ('shift_int', 'shift_frac'))
    return (
        scaling(mirror, one)
        @ rotation(get('quarter_turns') * (math.pi / 2))
        @ translation(-(int_x * width).round(), -(int_y * height).round())
        @ scaling(zoom, zoom)
        @ rotation(get('turn_before'))
        @ scaling(1 / stretch, stretch)
        @ rotation(get('turn_after'))
        @ translation(-x * width, -y * height)
    )


def colours(parameters: dict[str, torch.Tensor]) -> torch.Tensor:
    """Return the matrices [N, 4, 4] from red, green, blue, 1 to the new red, green, blue, 1."""
    get = parameters.__getitem__
    offset, gain, saturation = get('brightness'), 2 ** get('contrast'), 2 ** get('saturation')
    identity = torch.eye(4, dtype=offset.dtype, device=offset.device)
    grey = grey_projection(offset)
    brighten = stack([[1, 0, 0, offset], [0, 1, 0, offset], [0, 0, 1, offset], [0, 0, 0, 1]], offset)
    contrast = stack([[gain, 0, 0, 0], [0, gain, 0, 0], [0, 0, gain, 0], [0, 0, 0, 1]], gain)
    flip = identity - 2 * grey * get('luma_flip')[:, None, None]
    saturate = grey + (identity - grey) * saturation[:, None, None]
    return saturate @ hue_rotation(get('hue')) @ flip @ contrast @ brighten


class AdaptiveStrength:
    """The probability p and its control: up while the discriminator is too sure of real images, else down.

    Every fourth iteration, with s the mean sign of the logits of real images since the last change,
    over all processes: p <- max(p + sign(s - target) * (batch size * 4) / 500,000, 0). Everything
    stays on the device; nothing waits for it.

    Args:
        p:          Start value, >= 0.
        target:     Wanted mean sign, 0..1; 0 keeps p as it is.
        batch_size: Images per iteration, all processes together.
        limit:      Upper bound of p, or None (official).
        device:     Device of p and of the sums.
    """

    def __init__(
        self,
        p: float,
        target: float,
        batch_size: int,
        limit: float | None = 1.0,
        device: torch.device | str = 'cpu',
    ) -> None:
        self.p = torch.tensor(float(p), device=device)
        self.target, self.limit = target, limit
        self.adjustment = batch_size * ADJUST_INTERVAL / ADJUST_NIMG
        # Number of logits and sum of their signs: of this process in this iteration, and of all processes
        # since the last change.
        self.new, self.sums = (torch.zeros(2, dtype=torch.float64, device=device) for _ in range(2))

    def observe(self, logits: Sequence[torch.Tensor]) -> None:
        """Take in the logits of real images of this process.

        Args:
            logits: One tensor [N, L] per backbone.
        """
        for values in logits:
            signs = values.detach().sign().sum(dtype=torch.float64)
            self.new += torch.stack([torch.full_like(signs, values.numel()), signs])

    def finish_iteration(self, iteration: int) -> None:
        """Add up the processes and change p when it is time.

        Args:
            iteration: Index of the iteration, from 0; p changes after the 4th, 8th, ...
        """
        if not self.target:
            return
        # In every iteration: so the state of one process is that of all, whenever it is saved.
        self.sums += distributed.all_reduce_sum_(self.new)
        self.new.zero_()
        if (iteration + 1) % ADJUST_INTERVAL == 0:
            sign = (self.sums[1] / self.sums[0] - self.target).sign().nan_to_num()
            self.p += (sign * self.adjustment).to(self.p.dtype)
            self.p.clamp_(0, self.limit)
            self.sums.zero_()

    def state_dict(self) -> dict[str, torch.Tensor]:
        """Return what a resume needs."""
        return dict(p=self.p.clone(), sums=self.sums.clone())

    def load_state_dict(self, state: dict[str, torch.Tensor]) -> None:
        """Continue from `state_dict()`; with a fixed p the option of this run counts."""
        if self.target:
            self.p.copy_(state['p'])
            self.sums.copy_(state['sums'])
