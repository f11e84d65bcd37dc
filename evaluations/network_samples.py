# Copyright 2026 The GDD-1S authors.
# SPDX-License-Identifier: Apache-2.0
"""Samples of a network, measured without being written: which seeds, drawn where, by which sampler."""

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch

from dnnlib.errors import ArgumentError, arg
from evaluations.comparison import Comparison, check_fit
from evaluations.remarks import describe_choice
from training.sampling import samplers
from training.sampling.options import build_sampler
from training.sampling.seeds import parse_seeds
from training.snapshots.snapshot import load_network


def seed_blocks(text: str, repeats: int) -> list[tuple[str, np.ndarray]]:
    """Return [(text, seeds int array)]: the seeds given, then the same pattern further along."""
    first = parse_seeds(text)
    if len(first) < 2:
        raise ArgumentError(
            arg('seeds', text), ' is one image; statistics need at least 2, such as ', arg('seeds', '0-1999')
        )
    span = int(first.max() - first.min()) + 1
    blocks = [first + i * span for i in range(repeats)]
    if repeats == 1 or len(first) != span:
        return [(text if i == 0 else f'{text} + {i * span}', block) for i, block in enumerate(blocks)]
    return [(f'{block.min()}-{block.max()}', block) for block in blocks]


def choose_rng_device(rng_device: str, device: torch.device) -> str | None:
    """Return where noise is drawn: 'cpu', or None for the device of the network."""
    if rng_device == 'cuda' and device.type != 'cuda':
        raise ArgumentError(arg('rng_device', 'cuda'), ': there is no GPU; use ', arg('rng_device', 'cpu'))
    return 'cpu' if rng_device == 'cpu' else None


def load_sampled(
    network: str,
    comparisons: Sequence[Comparison],
    class_idx: int | None,
    count: int,
    device: torch.device,
    opts: dict[str, Any],
) -> tuple[torch.nn.Module, Any, tuple[str, dict[str, Any]], list[str]]:
    """Load the network of `gen`; return (net, info, (sampler, arguments), remarks)."""
    net, info = load_network(network, key=opts['key'], trust=opts['trust_pickle'])
    samplers.check_class(net.label_dim, class_idx)
    plan = build_sampler(net, opts, info.metadata)
    shape = (net.img_channels, net.img_resolution, net.img_resolution)
    notes = check_fit(comparisons, count, shape, ('images of ', arg('network', network)))
    notes += describe_choice(comparisons, count, shape)
    return net.to(device, memory_format=torch.channels_last), info, plan, notes


def plan_text(plan: tuple[str, dict[str, Any]]) -> str:
    return ', '.join([f'sampler {plan[0]}', *(f'{name}={value}' for name, value in plan[1].items())])
