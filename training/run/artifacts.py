# Copyright 2026 The GDD-1S authors.
# SPDX-License-Identifier: Apache-2.0
"""What a run leaves behind at a snapshot: the network pickle and a grid of samples from fixed seeds."""

import os
from typing import Any

import numpy as np
import torch

from training.images.png import save_grid
from training.sampling import samplers
from training.sampling.seeds import StackedRandomGenerator
from training.snapshots.snapshot import save_snapshot

GRID_BATCH = 64


def grid_labels(label_dim: int, rows: int, columns: int, device: torch.device) -> torch.Tensor | None:
    """Give every column of the grid a class, in order: one-hot float32 [rows * columns, K], or None."""
    if not label_dim:
        return None
    classes = torch.arange(columns, device=device).repeat(rows) % label_dim
    return torch.eye(label_dim, device=device)[classes]


def trained_sampler(config: dict[str, Any]) -> tuple[str, dict[str, Any]]:
    """Return how a run's network is meant to be sampled: a name in `samplers.SAMPLERS`, and its arguments."""
    arguments = config.get('sampler_kwargs')
    if arguments is None:  # a teacher
        return 'edm', {}
    return ('one_step', {}) if arguments['num_steps'] == 1 else ('multi_step', dict(arguments))


@torch.no_grad()
def sample_grid(
    net: torch.nn.Module,
    rows: int,
    columns: int,
    sampler: str,
    device: torch.device,
    seed: int = 0,
    **arguments: Any,
) -> np.ndarray:
    """Sample rows x columns images whose noise depends on the seed alone.

    Args:
        net:     Preconditioned network in eval mode.
        sampler: Name of a sampler (training/sampling/samplers.py).
        seed:    First seed; image i uses seed + i.
        arguments: Arguments of the sampler.
    Returns:
        uint8 NHWC images on the CPU.
    """
    count = rows * columns
    labels = grid_labels(net.label_dim, rows, columns, device)
    images = []
    for begin in range(0, count, GRID_BATCH):
        seeds = range(seed + begin, seed + min(begin + GRID_BATCH, count))
        # Generators on the CPU: the grid shows the same noise on every machine.
        rng = StackedRandomGenerator('cpu', seeds)
        shape = [len(seeds), net.img_channels, net.img_resolution, net.img_resolution]
        part = None if labels is None else labels[begin : begin + len(seeds)]
        images.append(samplers.SAMPLERS[sampler](net, rng.randn(shape).to(device), part, **arguments).cpu())
    return samplers.to_uint8(torch.cat(images).nan_to_num())


def save_all(
    run_dir: str, nimg: int, ema: Any, entries: dict[str, Any], config: dict[str, Any], device: torch.device
) -> str:
    """Write network-snapshot-KKKKKK.pkl and fakes-KKKKKK.png; call on rank 0 only.

    Args:
        run_dir:  Folder of the run.
        nimg:     Images seen.
        ema:      The averages, an `EMA`; the grid shows the first.
        entries:  What else to store, by key ('net', or 'loss_fn' and 'augment_pipe').
        config:   Resolved options.
        device:   Device to sample on.
    Returns:
        Path of the snapshot.
    """
    kimg = f'{nimg // 1000:06d}'
    path = os.path.join(run_dir, f'network-snapshot-{kimg}.pkl')
    dataset_kwargs = dict(config['dataset_kwargs'], path=os.path.basename(config['dataset_kwargs']['path']))
    metadata = dict(
        loss=config['loss'],
        compat=config['compat'],
        nimg=nimg,
        batch_size=config['batch_size'],
        **config.get('sampler_kwargs', {}),
    )
    save_snapshot(
        path, ema=ema.net, extra=ema.extra_nets, dataset_kwargs=dataset_kwargs, metadata=metadata, **entries
    )
    if config['grid_size']:
        rows, columns = config['grid_size']
        sampler, arguments = trained_sampler(config)
        images = sample_grid(ema.net, rows, columns, sampler, device, **arguments)
        save_grid(os.path.join(run_dir, f'fakes-{kimg}.png'), images, columns)
    return path
