# Copyright 2026 The GDD-1S authors.
# SPDX-License-Identifier: Apache-2.0
"""Tests of training/run/artifacts.py: grids, how they are sampled, and the files of a snapshot."""

import os

import numpy as np
import PIL.Image
import torch

from dnnlib import EasyDict
from tests.support import tiny_runs
from training import networks
from training.run.artifacts import grid_labels, sample_grid, save_all, trained_sampler
from training.snapshots.snapshot import load_network

CPU = torch.device('cpu')


def network():
    torch.manual_seed(0)
    return networks.GDDPrecond(img_resolution=8, img_channels=3, label_dim=3, **tiny_runs.UNET).eval()


def test_every_column_has_a_class():
    assert grid_labels(3, 2, 4, CPU).argmax(1).tolist() == [0, 1, 2, 0] * 2
    assert grid_labels(0, 2, 4, CPU) is None


def test_a_run_is_sampled_as_it_is_trained():
    assert trained_sampler(dict(loss='edm')) == ('edm', {})
    assert trained_sampler(dict(loss='gdd', sampler_kwargs=dict(num_steps=1))) == ('one_step', {})
    two = dict(num_steps=2, middle_sigma=0.8)
    assert trained_sampler(dict(loss='gdd', sampler_kwargs=two)) == ('multi_step', two)


def test_grid_depends_on_the_seed_alone(monkeypatch):
    images = sample_grid(network(), 2, 3, 'one_step', CPU)
    assert images.shape == (6, 8, 8, 3) and images.dtype == np.uint8
    monkeypatch.setattr('training.run.artifacts.GRID_BATCH', 4)
    assert np.abs(sample_grid(network(), 2, 3, 'one_step', CPU).astype(int) - images).max() <= 1
    assert (sample_grid(network(), 2, 3, 'one_step', CPU, seed=1) != images).any()


def test_files_of_a_snapshot(tmp_path):
    config = dict(
        loss='gdd', compat='clean', batch_size=4, grid_size=[2, 3], sampler_kwargs=dict(num_steps=1)
    )
    config['dataset_kwargs'] = dict(path='/data/digits.zip', resolution=8)
    net = network()
    path = save_all(str(tmp_path), 12_345, EasyDict(net=net, extra_nets={}), {}, config, CPU)
    assert sorted(os.listdir(tmp_path)) == ['fakes-000012.png', 'network-snapshot-000012.pkl']
    loaded, info = load_network(path)
    assert not tiny_runs.differences(loaded.state_dict(), net.state_dict())
    assert info.metadata['nimg'] == 12_345 and info.metadata['num_steps'] == 1
    assert PIL.Image.open(tmp_path / 'fakes-000012.png').size == (24, 16)
    save_all(str(tmp_path), 20_000, EasyDict(net=net, extra_nets={}), {}, config | dict(grid_size=None), CPU)
    assert not (tmp_path / 'fakes-000020.png').exists()
