# Copyright 2026 The GDD-1S authors.
# SPDX-License-Identifier: Apache-2.0
"""What a run with the Fréchet loss measures before its first step, the same on any number of processes.

The images are divided into chunks, which the processes take in turn. Random numbers belong to a chunk.
"""

from collections.abc import Callable, Iterator, Sequence
from typing import Any

import torch

from dnnlib.progress import ProgressBar
from torch_utils import distributed
from torch_utils.batches import labels_or_none, stack_items
from torch_utils.randomness import derive_seed
from training.adversarial.features import ProjectedFeatures
from training.adversarial.teacher_noise import draw_noise

CHUNK = 64


def gather_rows(own: torch.Tensor) -> torch.Tensor:
    """Return the rows of all processes, [N, D] -> [W N, D]; row b of process r is row b W + r.

    That is the order of the images, which then does not depend on the number of processes.
    """
    rank, world_size = distributed.get_rank(), distributed.get_world_size()
    if world_size == 1:
        return own
    rows = own.new_zeros([world_size * len(own), *own.shape[1:]])
    rows[rank::world_size] = own
    return distributed.all_reduce_sum_(rows)


def real_moments(
    features: ProjectedFeatures,
    dataset: Any,
    *,
    seed: int,
    layout: torch.memory_format,
    law: str | Sequence[float] | None,
) -> dict[str, tuple[torch.Tensor, torch.Tensor]]:
    """Return mean [D] and unbiased covariance [D, D] of all training images, float64, by feature network.

    Args:
        features: Feature networks.
        dataset:  Training images.
        seed:     Seed of the run, for the noise that the teacher's encoder looks at.
        layout:   Memory format of images.
        law:      Of that noise; None without the teacher's encoder.
    """
    device = _device(features)
    sums = {
        name: torch.zeros([1 + width, width], dtype=torch.float64, device=device)
        for name, width in _widths(features, dataset).items()
    }
    for begin, images, labels in _real_chunks(dataset, len(dataset), device, 'Measuring training images'):
        images = images.contiguous(memory_format=layout)
        for name, rows in _features(features, images, labels, seed, f'real/{begin}', law).items():
            rows = rows.double()
            sums[name] += torch.cat([rows.sum(dim=0, keepdim=True), rows.T @ rows])  # [1 + D, D]
    moments = {}
    for name in features.names:
        distributed.all_reduce_sum_(sums[name])
        mean, products = sums[name][0] / len(dataset), sums[name][1:]
        moments[name] = mean, (products - len(dataset) * torch.outer(mean, mean)) / (len(dataset) - 1)
    return moments


@torch.no_grad()
def generated_features(
    features: ProjectedFeatures,
    generate: Callable[[torch.Tensor, torch.Tensor | None], torch.Tensor],
    dataset: Any,
    count: int,
    *,
    seed: int,
    layout: torch.memory_format,
    law: str | Sequence[float] | None,
) -> dict[str, torch.Tensor]:
    """Return the features of images of the generator, float32 [count, D] by feature network.

    Args:
        generate: Function of noise [N, C, H, W] and one-hot labels [N, K] or None -> images.
        dataset:  Training images; their classes are taken, evenly spread.
        count:    Number of images.
        features, seed, layout, law: As for `real_moments`.
    """
    device = _device(features)
    rows = {
        name: torch.zeros([count, width], device=device) for name, width in _widths(features, dataset).items()
    }
    for begin, images, labels in _real_chunks(dataset, count, device, 'Measuring generated images'):
        generator = torch.Generator(images.device).manual_seed(derive_seed(seed, 'fd', begin))
        z = torch.randn(images.shape, generator=generator, device=images.device)
        fakes = generate(z.contiguous(memory_format=layout), labels)
        for name, new in _features(features, fakes, labels, seed, f'fake/{begin}', law).items():
            rows[name][begin : begin + len(new)] = new
    return {name: distributed.all_reduce_sum_(rows[name]) for name in features.names}


def _device(features: ProjectedFeatures) -> torch.device:
    return next(features.parameters()).device


def _widths(features: ProjectedFeatures, dataset: Any) -> dict[str, int]:
    _begin, images, labels = next(_real_chunks(dataset, 1, _device(features)))
    return {name: rows.shape[1] for name, rows in _features(features, images, labels, 0, '', [1.0]).items()}


@torch.no_grad()
def _features(
    features: ProjectedFeatures,
    images: torch.Tensor,
    labels: torch.Tensor | None,
    seed: int,
    purpose: str,
    law: str | Sequence[float] | None,
) -> dict[str, torch.Tensor]:
    noise = None
    if law:
        generator = torch.Generator(images.device).manual_seed(derive_seed(seed, 'fd', purpose))
        noise = draw_noise(law, images, len(images), generator)
    return {name: features.pooled(name, images, noise, labels) for name in features.names}


def _real_chunks(
    dataset: Any, count: int, device: torch.device, desc: str | None = None
) -> Iterator[tuple[int, torch.Tensor, torch.Tensor | None]]:
    """Yield (position, images -1..1, one-hot labels or None) of this process; without `desc` of all."""
    rank, world_size = (distributed.get_rank(), distributed.get_world_size()) if desc else (0, 1)
    with ProgressBar(desc or '', count, visible=bool(desc) and rank == 0) as bar:
        for begin in range(rank * CHUNK, count, world_size * CHUNK):
            indices = [i * len(dataset) // count for i in range(begin, min(begin + CHUNK, count))]
            images, labels = stack_items([dataset[index] for index in indices], device)
            yield begin, images, labels_or_none(labels)
            bar.advance(min(world_size * len(indices), count - bar.done))
