# Copyright 2026 The GDD-1S authors.
# SPDX-License-Identifier: Apache-2.0
"""A snapshot as a function from seeds to images, for notebooks and other programs.

    G = load_generator('network-snapshot-001000.pkl')
    images = G(64, seed=0)                                # float32 [64, C, H, W], -1..1
    pixels = G([3, 1, 4], labels=7, dtype=torch.uint8)    # the bytes that generate.py writes for these seeds

Legend: N images, C channels, H W pixels, K classes.
"""

import numbers
import operator
import os
from collections.abc import Iterable, Sequence
from typing import Any

import torch

from dnnlib.errors import ArgumentError, arg
from dnnlib.util import EasyDict
from torch_utils import distributed
from torch_utils.misc import full_precision
from training.sampling import samplers
from training.sampling.options import SAMPLER_PARAMETERS, build_sampler
from training.snapshots.snapshot import load_network

DTYPES = (torch.float32, torch.float64, torch.float16, torch.bfloat16, torch.uint8)
Labels = int | Sequence[int] | torch.Tensor


def load_generator(
    network: str | os.PathLike,
    device: torch.device | str | None = None,
    key: str = 'ema',
    trust_pickle: bool = False,
) -> 'ImageGenerator':
    """Load a network as a function that makes images. No code in the file is run.

    Args:
        network:      Snapshot of this project, EDM or GDD (.pkl), or a file of export.py (.safetensors);
                      path or URL.
        device:       Where to compute; None for a GPU if there is one.
        key:          Which weights: 'ema', 'net' (not averaged), or a further average such as 'ema-0.05'.
        trust_pickle: Run the code in the file if it cannot be read otherwise; only for files you trust.
    Raises:
        ArgumentError: The file is missing, damaged, refused, or has no such weights.
    """
    net, info = load_network(network, key=key, trust=trust_pickle)
    return ImageGenerator(net, info, device)


class ImageGenerator:
    """A network with the sampler that it was made for: one step for a student, 18 for a teacher.

    A seed fixes noise and class of an image, whatever its neighbours: image by image those of generate.py
    on the same kind of device (its --batch and ours are both 64; other batches differ by rounding).

    Args:
        net:    Preconditioned network in eval mode.
        info:   What `load_network` told about it.
        device: Where to compute; None for a GPU if there is one.
    Attributes:
        net, info, device: As above.
    """

    def __init__(
        self, net: torch.nn.Module, info: EasyDict, device: torch.device | str | None = None
    ) -> None:
        self.net, self.info = net, info
        self.to(distributed.get_device() if device is None else device)

    def __repr__(self) -> str:
        """Return what it makes, for people at a prompt."""
        shape, classes = 'x'.join(map(str, self.image_shape)), self.num_classes
        labels = f', {classes} classes' if classes else ''
        return f'<generator of {shape} images{labels}, {type(self.net).__name__} on {self.device}>'

    def to(self, device: torch.device | str) -> 'ImageGenerator':
        """Move the network to another device; returns itself."""
        self.device = torch.device(device)
        self.net = self.net.to(self.device, memory_format=torch.channels_last)
        return self

    @property
    def image_shape(self) -> tuple[int, int, int]:
        """(C, H, W) of an image."""
        return self.net.img_channels, self.net.img_resolution, self.net.img_resolution

    @property
    def num_classes(self) -> int:
        """Number of classes, 0 for a network without labels."""
        return self.net.label_dim

    def __call__(
        self,
        seeds: int | Sequence[int],
        *,
        seed: int | None = None,
        labels: Labels | None = None,
        dtype: torch.dtype = torch.float32,
        batch: int = 64,
        rng_device: torch.device | str | None = None,
        **sampler_options: Any,
    ) -> torch.Tensor:
        """Make one image per seed.

        Args:
            seeds:           Number of images, with seeds `seed`, `seed` + 1, ...; or the seeds themselves.
            seed:            First seed if `seeds` is a number, 0 by default.
            labels:          Class of all images, or one class per image; None takes the class that each seed
                             draws (`draw_labels`).
            dtype:           torch.uint8 for pixels, 0..255, as generate.py writes them; or a float type for
                             -1..1, not clipped.
            batch:           Images that are computed at a time.
            rng_device:      Where noise is drawn; None for where images are computed. CPU and GPU draw other
                             noise from the same seed.
            sampler_options: Those of generate.py: sampler, steps, sigma_max, S_churn, ...
        Returns:
            [N, C, H, W] on `device`.
        Raises:
            ArgumentError: A class that the network does not have, or labels of another number than seeds.
            ValueError:    A sampler option that cannot work, or images that are not finite.
        """
        if dtype not in DTYPES:
            names = ', '.join(str(known) for known in DTYPES)
            raise ArgumentError(arg('dtype', dtype), f' must be one of {names}')
        if batch < 1:
            raise ArgumentError(arg('batch', batch), ' must be at least 1; try ', arg('batch', 64))
        chosen = list_seeds(seeds, seed)
        plan = self.plan(**sampler_options)
        classes = self.check_labels(labels, len(chosen))
        parts = []
        for begin in range(0, len(chosen), batch):
            part = slice(begin, begin + batch)
            given = None if classes is None else classes[part]
            images = self._sample(chosen[part], given, rng_device, *plan)
            parts.append(to_dtype(images, dtype))
        return torch.cat(parts).contiguous() if parts else torch.zeros([0, *self.image_shape], dtype=dtype)

    def draw_labels(
        self,
        seeds: int | Sequence[int],
        *,
        seed: int | None = None,
        rng_device: torch.device | str | None = None,
    ) -> torch.Tensor | None:
        """Return the classes that seeds draw, int64 [N] on `device`; None for a network without labels."""
        chosen = list_seeds(seeds, seed)
        return samplers.draw_inputs(self.net, chosen, None, self.device, rng_device)[2] if chosen else None

    def plan(self, **sampler_options: Any) -> tuple[str, dict[str, Any]]:
        """Return the name of the sampler and its arguments, given options of generate.py.

        Raises:
            ArgumentError: An unknown option.
            ValueError:    A value that cannot work.
        """
        unknown = [name for name in sampler_options if name not in SAMPLER_PARAMETERS]
        if unknown:
            raise ArgumentError(
                arg(unknown[0]), f' is unknown; samplers have {", ".join(SAMPLER_PARAMETERS)}'
            )
        return build_sampler(self.net, sampler_options, self.info.metadata)

    def check_labels(self, labels: Labels | None, count: int) -> torch.Tensor | None:
        """Return the class of each of `count` images, int64 [N] on `device`; None if seeds shall draw them.

        Raises:
            ArgumentError: A class that the network does not have, or another number of them.
        """
        if labels is None:
            return None
        classes = torch.as_tensor(labels, device=self.device)
        if classes.ndim > 1 or classes.is_floating_point() or classes.dtype == torch.bool:
            raise ArgumentError(arg('labels'), ' must be a class number, or one per image such as [3, 1, 4]')
        if classes.ndim == 1 and len(classes) != count:
            raise ArgumentError(
                arg('labels'), f': {len(classes)} classes for {count} images; give one per image'
            )
        try:
            for label in classes.reshape(-1).unique().tolist():
                samplers.check_class(self.net.label_dim, label)
        except ArgumentError as error:
            raise error.renamed(**{'class': 'labels'}) from error
        return classes.to(torch.int64).expand(count)

    def _sample(
        self,
        seeds: list[int],
        classes: torch.Tensor | None,
        rng_device: torch.device | str | None,
        sampler: str,
        arguments: dict[str, Any],
    ) -> torch.Tensor:
        # As `samplers.sample_batch`, with a class per image.
        rnd, latents, drawn = samplers.draw_inputs(self.net, seeds, None, self.device, rng_device)
        classes = drawn if classes is None else classes  # [N]
        one_hot = None if classes is None else torch.eye(self.net.label_dim, device=self.device)[classes]
        more = dict(randn_like=rnd.randn_like) if sampler in samplers.STOCHASTIC_SAMPLERS else {}
        with full_precision():
            images = samplers.SAMPLERS[sampler](self.net, latents, one_hot, **arguments, **more)
        samplers.check_finite(images, seeds)
        return images  # float64 [N, C, H, W]


def list_seeds(seeds: int | Sequence[int], seed: int | None = None) -> list[int]:
    """Return the seeds that a caller means: a number of them from `seed` on, or the given ones.

    Raises:
        ArgumentError: A number that is negative or not whole, or both kinds at once.
    """
    if isinstance(seeds, (numbers.Integral, str)) or not isinstance(seeds, Iterable):
        count = _whole('seeds', seeds, 64)
        first = 0 if seed is None else _whole('seed', seed, 0)
        return list(range(first, first + count))
    if seed is not None:
        raise ArgumentError(arg('seed', seed), ': the seeds are given already; leave it out')
    return [_whole('seeds', number, 64) for number in seeds]


def _whole(name: str, value: Any, works: int) -> int:
    try:
        number = operator.index(value)
    except TypeError:  # a text or a fraction is no seed
        number = -1
    if number < 0:
        raise ArgumentError(arg(name, value), ' must be a whole number, at least 0; try ', arg(name, works))
    return number


def to_dtype(images: torch.Tensor, dtype: torch.dtype) -> torch.Tensor:
    """Return images [N, C, H, W], -1..1, in another type: pixels 0..255 for torch.uint8."""
    if dtype != torch.uint8:
        return images.to(dtype)
    return samplers.quantise(images)
