# Copyright 2026 The GDD-1S authors.
# SPDX-License-Identifier: Apache-2.0
"""Tests of the network that travels in a folder for diffusers, as diffusers itself loads it."""

import json
import math

import torch

from tests.support import tiny_exports
from tests.support.tiny_exports import ARCHITECTURES, load_pipeline, need, write_snapshot
from training.snapshots.snapshot import load_network

need('diffusers')


def test_arguments_and_edited_attributes_arrive(tmp_path):
    def edit(net):
        net.sigma_data = 0.25
        net.model.enc['4x4_down'].norm0.eps = 0.5

    network = write_snapshot(tmp_path / 'a.pkl', edit=edit, sigma_max=math.inf, **ARCHITECTURES['adm'])
    tiny_exports.run(network, 'diffusers', '--sigma_max=40')
    with open(tmp_path / 'a-diffusers' / 'unet' / 'config.json', encoding='utf-8') as file:
        assert json.load(file)['init_kwargs']['sigma_max'] == 'Infinity'
    unet, net = load_pipeline(tmp_path / 'a-diffusers').unet, load_network(network)[0]
    assert (unet.net.sigma_max, unet.net.sigma_data) == (math.inf, 0.25) and unet.config.levels == [40.0]
    x, sigma = torch.randn([2, 3, 8, 8], dtype=torch.float64), torch.full([2, 1, 1, 1], 40.0)
    labels = torch.eye(4)[[0, 3]]
    assert torch.equal(unet(x, sigma, labels), net.to(memory_format=torch.channels_last)(x, sigma, labels))
    assert not unet.training and all(p.dtype == torch.float32 for p in unet.parameters())


def test_it_can_be_saved_and_loaded_by_diffusers(tmp_path):
    """With its own names: what comes back is the same network."""
    network = write_snapshot(tmp_path / 'a.pkl', **ARCHITECTURES['ddpmpp'])
    tiny_exports.run(network, 'diffusers')
    unet = load_pipeline(tmp_path / 'a-diffusers').unet
    unet.save_pretrained(tmp_path / 'again')
    again = type(unet).from_pretrained(tmp_path / 'again', low_cpu_mem_usage=False)
    assert all(torch.equal(a, b) for a, b in zip(unet.state_dict().values(), again.state_dict().values()))
