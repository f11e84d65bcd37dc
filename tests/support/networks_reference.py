# Copyright 2026 The GDD-1S authors.
# SPDX-License-Identifier: Apache-2.0
"""Small test networks whose outputs under the original code are known, and the rule for their weights."""

from pathlib import Path

import numpy as np
import torch

from training import networks

DATA = Path(__file__).resolve().parents[1] / 'data'

SONG = dict(
    model_type='SongUNet',
    model_channels=8,
    decoder_type='standard',
    encoder_type='standard',
    augment_dim=9,
    embedding_type='positional',
    channel_mult_noise=1,
    resample_filter=[1, 1],
)
CONFIGS = {
    'S1': dict(
        SONG,
        embedding_type='fourier',
        encoder_type='residual',
        channel_mult_noise=2,
        resample_filter=[1, 3, 3, 1],
    ),
    'S2': SONG,
    'S3': dict(SONG, encoder_type='skip', decoder_type='skip', augment_dim=0),
    'A1': dict(model_type='DhariwalUNet', model_channels=32, augment_dim=9),
}


def make_network(precond, config):
    """Construct one of the four test networks (16x16, RGB, 4 classes) in a preconditioner."""
    return getattr(networks, precond)(
        img_resolution=16,
        img_channels=3,
        label_dim=4,
        channel_mult=[1, 2],
        num_blocks=1,
        attn_resolutions=[8],
        dropout=0,
        **CONFIGS[config],
    )


def fill_by_index(net):
    """Fill the k-th tensor of the state dict from numpy's RandomState(k); return the network in eval mode."""
    entries = [
        (name, tensor)
        for name, tensor in net.state_dict().items()
        if name.split('.')[-1] not in ('resample_filter', 'u')
    ]
    for k, (name, tensor) in enumerate(entries):
        v = np.random.RandomState(k).randn(*tensor.shape)
        if tensor.ndim >= 2:
            v = v / np.sqrt(np.prod(tensor.shape[1:]))
        elif name.endswith('weight'):
            v = 1 + 0.1 * v
        elif not name.endswith('freqs'):
            v = 0.1 * v
        tensor.copy_(torch.from_numpy(v))
    return net.eval().requires_grad_(False)


def known_outputs():
    """Return the rows of data/network_outputs.txt: (precond, config, sigma, with labels, mean, std,
    first three).
    """
    rows = []
    for line in (DATA / 'network_outputs.txt').read_text().splitlines()[1:]:
        precond, config, sigma, augment, mean, std, *first = line.split()
        rows.append(
            (
                precond,
                config,
                float(sigma),
                augment == 'yes',
                float(mean),
                float(std),
                [float(v) for v in first],
            )
        )
    return rows


def known_names(config):
    """Return the (name, shape) pairs of a section of data/state_dict_names.txt, in state-dict order."""
    text = (DATA / 'state_dict_names.txt').read_text()
    pairs = []
    for line in text.split(f'[{config}]\n')[1].split('\n[')[0].strip().splitlines():
        module, entries = line.split(': ')
        for entry in entries.split(', '):
            name, shape = entry.split(' ')
            pairs.append((f'{module}.{name}', [int(n) for n in shape.strip('[]').split(',')]))
    return pairs
