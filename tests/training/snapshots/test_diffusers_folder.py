# Copyright 2026 The GDD-1S authors.
# SPDX-License-Identifier: Apache-2.0
"""Tests of training/snapshots/diffusers_folder.py, without diffusers."""

import ast
import json
import math
import pathlib

import pytest
import torch

from dnnlib.errors import ArgumentError
from dnnlib.util import EasyDict
from tests.support.tiny_exports import ARCHITECTURES, need
from tests.support.upstream_files import small_network
from training import networks
from training.snapshots import diffusers_folder
from training.snapshots.safetensors_file import describe_network

need('safetensors')


def write(folder, net):
    """Write the folder of a network with one level; returns its path."""
    info = EasyDict(flavour='gdd', dataset_kwargs=dict(path='x.zip'), metadata={})
    config = describe_network(net, info, key='ema', levels=[80.0], source=dict(file='a.pkl', sha256='1'))
    diffusers_folder.write_folder(str(folder), net, config)
    return str(folder)


@pytest.mark.parametrize('arch', sorted(ARCHITECTURES))
def test_the_network_comes_back_from_its_own_code(arch, tmp_path):
    """Infinite arguments and edited attributes included."""
    net = small_network(networks.GDDPrecond, seed=3, sigma_max=math.inf, **ARCHITECTURES[arch])
    net.sigma_data, net.model.enc['4x4_down'].norm0.eps = 0.25, 0.5
    loaded = diffusers_folder.read_folder(write(tmp_path / 'a', net))
    assert type(loaded) is not networks.GDDPrecond and type(loaded).__module__ == 'gdd_networks'
    x = torch.randn([2, net.img_channels, 8, 8], generator=torch.Generator().manual_seed(0))
    labels = torch.eye(4)[[1, 2]] if net.label_dim else None
    sigma = torch.tensor([80.0, 3.0])
    assert torch.equal(loaded(x, sigma, labels), net(x, sigma, labels))
    assert (loaded.sigma_data, loaded.sigma_max) == (0.25, math.inf)


def test_files_of_the_folder(tmp_path):
    folder = write(tmp_path / 'a', small_network(networks.GDDPrecond, **ARCHITECTURES['ddpmpp']))
    found = {path.relative_to(folder).as_posix() for path in (tmp_path / 'a').rglob('*.*')}
    unet = {'config.json', diffusers_folder.WEIGHTS, 'gdd_networks.py', 'gdd_unet.py'}
    assert found == {'gdd_pipeline.py', 'model_index.json', *(f'unet/{name}' for name in unet)}
    index = json.loads((tmp_path / 'a' / 'model_index.json').read_text())
    assert index['_class_name'] == ['gdd_pipeline', 'GDDPipeline']
    assert index['unet'] == ['gdd_unet', 'GDDUNet']
    config = json.loads((tmp_path / 'a' / 'unet' / 'config.json').read_text())
    assert config['levels'] == [80.0] and config['class_name'] == 'GDDPrecond'


def test_the_code_needs_nothing_of_this_project(tmp_path):
    """The formulas are those of training/networks.py, word by word."""
    folder = write(tmp_path / 'a', small_network(networks.GDDPrecond, **ARCHITECTURES['ddpmpp']))
    roots = set()
    for path in pathlib.Path(folder).rglob('*.py'):
        for node in ast.walk(ast.parse(path.read_text('utf-8'))):
            if isinstance(node, ast.ImportFrom) and not node.level:
                roots.add(node.module.split('.')[0])
            elif isinstance(node, ast.Import):
                roots |= {alias.name.split('.')[0] for alias in node.names}
    assert roots == {'collections', 'contextlib', 'diffusers', 'numpy', 'PIL', 'torch'}
    text = (pathlib.Path(folder) / 'unet' / 'gdd_networks.py').read_text('utf-8')
    before, after = pathlib.Path(networks.__file__).read_text('utf-8').split(diffusers_folder.IMPORT)
    assert text.startswith(before) and text.endswith(after)


def test_a_class_out_of_a_trusted_pickle_is_refused(tmp_path):
    with pytest.raises(ArgumentError, match='Linear is a class out of the pickle'):
        diffusers_folder.write_folder(str(tmp_path / 'a'), torch.nn.Linear(1, 1), {})
    assert not (tmp_path / 'a').exists()
