# Copyright 2026 The GDD-1S authors.
# SPDX-License-Identifier: Apache-2.0
"""Random numbers of training, a function of (seed, images seen, purpose) and of nothing hidden.

`clean` draws the numbers of the whole batch on every process and keeps the own share, so one
process and eight give an image the same noise. `official` gives every process a stream of its
own on the CPU, as the official code does. Both restart exactly at any iteration.
"""

import zlib
from collections.abc import Callable, Sequence
from typing import Any

import torch

PURPOSES = (
    'noise',
    'G',
    'D',
    'R1',
    'dropout',
    'augment',
    'G/fake',
    'D/fake',
    'D/real',
    'R1/real',
    'instance',
)


def derive_seed(*parts: Any) -> int:
    """Mix integers and names into one 63-bit seed."""
    text = '/'.join(str(part) for part in parts).encode()
    return (zlib.crc32(text) << 31) ^ zlib.crc32(text[::-1] + b'.')


def to_device(tensor: torch.Tensor, device: torch.device | str) -> torch.Tensor:
    """Copy a tensor to a device without making the host wait: from ordinary memory a copy to a GPU would."""
    if device.type == 'cuda' and tensor.device.type == 'cpu':
        return tensor.pin_memory().to(device, non_blocking=True)
    return tensor.to(device)


def map_nested(function: Callable[[Any], Any], tree: Any) -> Any:
    """Apply a function to every value of nested dicts; returns the same nesting."""
    if isinstance(tree, dict):
        return {name: map_nested(function, value) for name, value in tree.items()}
    return function(tree)


class BatchRandom:
    """Random numbers of one iteration.

    Args:
        seed:       Seed of the run.
        nimg:       Images seen before this iteration, all processes together.
        rank:       Index of this process.
        world_size: Number of processes; position b of process r is image b * world_size + r.
        device:     Device of the numbers.
        compat:     'clean' or 'official' (see the module).
    """

    def __init__(
        self,
        seed: int,
        nimg: int,
        rank: int = 0,
        world_size: int = 1,
        device: torch.device | str = 'cpu',
        compat: str = 'clean',
    ) -> None:
        self.seed, self.nimg, self.rank, self.world_size = seed, nimg, rank, world_size
        self.device, self.compat = torch.device(device), compat

    def randn(self, shape: Sequence[int], purpose: str) -> torch.Tensor:
        """Return the own share of standard normal numbers.

        Args:
            shape:   [N, ...] with N the images of this process.
            purpose: One of PURPOSES; different purposes give independent numbers.
        Returns:
            float32 tensor of that shape on the device.
        """
        return self.share(
            lambda count, generator: torch.randn(
                [count, *shape[1:]], generator=generator, device=generator.device
            ),
            shape[0],
            purpose,
        )

    def rand(self, shape: Sequence[int], purpose: str) -> torch.Tensor:
        """Return the own share of numbers uniform in 0..1; otherwise as `randn`."""
        return self.share(
            lambda count, generator: torch.rand(
                [count, *shape[1:]], generator=generator, device=generator.device
            ),
            shape[0],
            purpose,
        )

    def share(
        self, draw: Callable, count: int, purpose: str, device: torch.device | str | None = None
    ) -> Any:
        """Return the own share of whatever a function draws for a batch.

        Args:
            draw:    Function of a number of images and a generator; draws a tensor [N, ...], or nested dicts.
            count:   Images of this process.
            purpose: One of PURPOSES.
            device:  Where to draw and return it; None for the device of the iteration.
        Returns:
            What `draw` returns, on the device, with N the images of this process.
        """
        device = self.device if device is None else torch.device(device)
        if purpose not in PURPOSES:
            raise ValueError(f'purpose={purpose!r} is unknown; use one of {", ".join(PURPOSES)}')
        if self.compat == 'official':
            generator = torch.Generator('cpu').manual_seed(
                derive_seed(self.seed, self.nimg, purpose, self.rank)
            )
            drawn, part = draw(count, generator), slice(None)
        else:
            generator = torch.Generator(device).manual_seed(derive_seed(self.seed, self.nimg, purpose))
            drawn, part = draw(count * self.world_size, generator), slice(self.rank, None, self.world_size)
        return map_nested(lambda value: to_device(value[part], device), drawn)  # [N, ...] each

    def seed_global(self) -> None:
        """Seed torch's global generators for whatever layers draw themselves (dropout)."""
        torch.manual_seed(derive_seed(self.seed, self.nimg, 'dropout', self.rank))
