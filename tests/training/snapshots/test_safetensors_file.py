# Copyright 2026 The GDD-1S authors.
# SPDX-License-Identifier: Apache-2.0
"""Tests of safetensors_file.py: damaged files. tests/scripts/test_export.py has round trips."""

import json
import os

import pytest
import torch

from tests.support.tiny_exports import SMALLEST, need, run, write_snapshot
from training.snapshots.pickle_records import SnapshotError
from training.snapshots.snapshot import load_network

need('safetensors')


@pytest.fixture(scope='module')
def smallest(tmp_path_factory):
    """Snapshot of the smallest network, for tests that only look at options and errors."""
    return write_snapshot(tmp_path_factory.mktemp('smallest') / 'smallest.pkl', **SMALLEST)


def damaged(path, dest, metadata=None, edit=None, **changes):
    """Write a copy of a safetensors file with changes in its configuration (None deletes) or its tensors."""
    import safetensors.torch

    with safetensors.safe_open(path, framework='pt') as file:
        config = dict(json.loads(file.metadata()['config']), **changes)
        tensors = {name: file.get_tensor(name) for name in file.keys()}
    config = {name: value for name, value in config.items() if value is not None}
    if edit is not None:
        edit(tensors)
    safetensors.torch.save_file(
        tensors, dest, metadata={'config': json.dumps(config)} if metadata is None else metadata
    )
    return str(dest)


@pytest.mark.parametrize(
    'message, changes',
    [
        ('no configuration', dict(metadata={})),
        ('no JSON text', dict(metadata={'config': '{'})),
        ('no JSON text', dict(metadata={'config': '[' * 100_000})),
        ('version 1', dict(metadata={'config': '[]'})),
        ('version 1', dict(format_version=2)),
        ('lacks flavour, key', dict(flavour=None, key=None)),
        ('flavour is other', dict(flavour='other')),
        ('known are EDMPrecond', dict(class_name='Module')),
        ('where a network is expected', dict(class_name=['GDDPrecond'])),
        ('argument surprise of GDDPrecond is unknown', dict(init_kwargs=dict(SMALLEST, surprise=1))),
        ('argument model_channels=1000000', dict(init_kwargs=dict(SMALLEST, model_channels=1_000_000))),
        ('must be objects', dict(init_kwargs=[])),
        ('label_dim is 3 in the configuration, but 0', dict(label_dim=3)),
        (
            'shape: model.map_layer0.weight',
            dict(init_kwargs=dict(SMALLEST, model_channels=8), img_channels=1),
        ),
        ('cannot be set', dict(attributes={'': {'forward': 1}})),
        ('is no part of it', dict(attributes={'model.absent': {'eps': 1}})),
        ('sigma_min is -1, but must be', dict(attributes={'': {'sigma_min': -1}})),
        ('one object per module', dict(attributes={'': 1})),
        ('missing: model.map_layer0.bias', dict(edit=lambda tensors: tensors.pop('model.map_layer0.bias'))),
        ('unexpected: surprise', dict(edit=lambda tensors: tensors.update(surprise=torch.zeros(1)))),
        (
            'weights are float32',
            dict(
                edit=lambda tensors: tensors.update(
                    {'model.map_layer0.bias': torch.zeros(16, dtype=torch.int32)}
                )
            ),
        ),
    ],
)
def test_damaged_safetensors(smallest, tmp_path, message, changes):
    run(smallest, 'safetensors', '--dest', tmp_path / 'a.safetensors')
    path = damaged(tmp_path / 'a.safetensors', tmp_path / 'b.safetensors', **changes)
    with pytest.raises(SnapshotError) as caught:
        load_network(path)
    text = str(caught.value)
    assert text.startswith(f'network={path}: ') and message in text and '\n' not in text


def test_truncated_safetensors(smallest, tmp_path):
    run(smallest, 'safetensors', '--dest', tmp_path / 'a.safetensors')
    data = (tmp_path / 'a.safetensors').read_bytes()
    for length in (0, 4, 100, len(data) // 2, len(data) - 1):
        (tmp_path / 'b.safetensors').write_bytes(data[:length])
        with pytest.raises(SnapshotError, match='is damaged'):
            load_network(str(tmp_path / 'b.safetensors'))
    os.link(smallest, tmp_path / 'c.safetensors')  # A pickle under a wrong name is not run, nor read.
    with pytest.raises(SnapshotError, match='is damaged'):
        load_network(str(tmp_path / 'c.safetensors'), trust=True)
