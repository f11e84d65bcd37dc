# Copyright 2026 The GDD-1S authors.
# SPDX-License-Identifier: Apache-2.0
"""Tests of export_formats.py: what is traced computes what the network does. test_export.py has the files."""

import pytest
import torch

from training import networks
from training.sampling import samplers
from training.snapshots import export_formats

TINY = dict(model_type='SongUNet', model_channels=4, channel_mult=[1], num_blocks=0, attn_resolutions=[])


def test_buffered_embedding_is_the_same():
    x = torch.tensor([-1.5, 0.0, 0.7, 1.1])
    for endpoint in (False, True):
        original = networks.PositionalEmbedding(num_channels=12, max_positions=500, endpoint=endpoint)
        other = networks.PositionalEmbedding(num_channels=12, max_positions=500, endpoint=not endpoint)
        assert torch.equal(export_formats.BufferedEmbedding(original)(x), original(x))
        assert not torch.equal(export_formats.BufferedEmbedding(other)(x), original(x))


@pytest.mark.parametrize('levels', [[80.0], [80.0, 0.8], [80.0, 5.0, 0.3]])
def test_generator_equals_the_sampler(levels):
    net = networks.GDDPrecond(img_resolution=8, img_channels=1, **TINY).eval()
    noise = torch.randn([2, 1, 8, 8], generator=torch.Generator().manual_seed(0))
    found = export_formats.build_function(net, 'generator', levels)(noise)
    expected = samplers.jump_chain(net, noise * levels[0], torch.tensor(levels, dtype=torch.float64))
    assert found.shape == noise.shape and (found - expected).abs().max() < 1e-4
    assert (found - export_formats.build_function(net, 'generator', [40.0])(noise)).abs().max() > 1e-4


def test_names_and_shapes_of_inputs():
    net = networks.EDMPrecond(img_resolution=8, img_channels=1, label_dim=3, **TINY)
    assert export_formats.input_names(net, 'generator')[0] == 'noise'
    drawn = export_formats.draw_inputs(net, 'denoiser', 2, seed=1)
    assert len(drawn) == len(export_formats.input_names(net, 'denoiser'))
    assert all(len(tensor) == 2 for tensor in drawn)
