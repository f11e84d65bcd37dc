# Copyright 2026 The GDD-1S authors.
# SPDX-License-Identifier: Apache-2.0
"""Tiny networks of every architecture and the call of export.py, for the tests of exported files."""

import importlib
import os
import socket
import sys

import pytest
import torch
from click.testing import CliRunner

import export
from tests.support.upstream_files import small_network
from training import networks
from training.sampling import samplers
from training.snapshots.snapshot import load_network, save_snapshot

TINY = dict(
    img_resolution=8, img_channels=3, channel_mult=[1, 1], num_blocks=0, attn_resolutions=[4], dropout=0.1
)
# The smallest network, for tests that only look at options and errors.
SMALLEST = dict(
    img_resolution=8,
    img_channels=1,
    model_type='SongUNet',
    model_channels=4,
    channel_mult=[1],
    num_blocks=0,
    attn_resolutions=[],
)
ARCHITECTURES = {
    'ddpmpp': dict(TINY, model_type='SongUNet', model_channels=8, img_channels=1),
    'ncsnpp': dict(
        TINY,
        model_type='SongUNet',
        model_channels=8,
        label_dim=4,
        embedding_type='fourier',
        encoder_type='residual',
        channel_mult_noise=2,
        resample_filter=[1, 3, 3, 1],
    ),
    'adm': dict(
        TINY, model_type='DhariwalUNet', model_channels=64, channel_mult_emb=1, label_dim=4, augment_dim=9
    ),
}


def need(package):
    """Import a package that only exports need; tests skip without it, except in CI."""
    return importlib.import_module(package) if os.environ.get('CI') else pytest.importorskip(package)


def write_snapshot(path, cls=networks.GDDPrecond, seed=0, metadata=None, edit=None, **kwargs):
    """Write the snapshot of a tiny network; return its path."""
    net = small_network(cls, seed=seed, **kwargs)
    if edit is not None:
        edit(net)
    save_snapshot(
        path,
        ema=net,
        net=small_network(cls, seed=seed + 1, **kwargs),
        metadata=metadata,
        dataset_kwargs=dict(path='data.zip', use_labels=bool(net.label_dim)),
    )
    return str(path)


def invoke(network, form, *options):
    """Call export.py and return the result, an error included."""
    return CliRunner().invoke(
        export.cmdline, ['--network', str(network), '--format', form, *map(str, options)]
    )


def run(network, form, *options):
    """Call export.py and return what it printed; it must succeed."""
    result = invoke(network, form, *options)
    assert result.exit_code == 0, result.output
    return result.output


def fail(network, form, *options):
    """Call export.py, which must end with one line; return that line."""
    result = invoke(network, form, *options)
    assert result.exit_code == 1 and isinstance(result.exception, SystemExit), result.output
    lines = [line for line in result.output.splitlines() if line.startswith('Error: ')]
    assert len(lines) == 1 and result.output.rstrip().endswith(lines[0]), result.output
    return lines[0]


def draw(net, batch):
    """Return noise [N, C, H, W] and one-hot labels [N, K] or None, other ones than those of the export."""
    generator = torch.Generator().manual_seed(100 + batch)
    noise = torch.randn(
        [batch, net.img_channels, net.img_resolution, net.img_resolution], generator=generator
    )
    classes = (torch.arange(batch) + 1) % max(net.label_dim, 1)
    return noise, torch.eye(net.label_dim)[classes] if net.label_dim else None


def one_step(path, batch, sigma_max=80.0, key='ema'):
    """Return inputs (tuple without None) and the images that generate.py would make of them, float64."""
    net, _info = load_network(path, key=key)
    noise, labels = draw(net, batch)
    images = samplers.one_step_sampler(net, noise, labels, sigma_max=sigma_max)
    return tuple(item for item in (noise, labels) if item is not None), images


def load_pipeline(folder):
    """Let diffusers load a folder, without a network and with a cache of code of its own."""
    from diffusers import DiffusionPipeline
    from diffusers.utils import dynamic_modules_utils

    def refuse(*_args, **_kwargs):
        raise AssertionError('diffusers has asked the network')

    with pytest.MonkeyPatch.context() as patch:
        for name in ('connect', 'connect_ex'):
            patch.setattr(socket.socket, name, refuse)
        patch.setattr(socket, 'getaddrinfo', refuse)
        patch.setattr(dynamic_modules_utils, 'HF_MODULES_CACHE', f'{folder}-code')
        for name in [name for name in sys.modules if name.startswith('diffusers_modules')]:
            patch.delitem(sys.modules, name)
        pipe = DiffusionPipeline.from_pretrained(str(folder), trust_remote_code=True)
        pipe.set_progress_bar_config(disable=True)
        return pipe
