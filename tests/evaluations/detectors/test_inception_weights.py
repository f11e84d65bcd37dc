# Copyright 2026 The GDD-1S authors.
# SPDX-License-Identifier: Apache-2.0
"""Tests of inception_weights.py: every published format gives the same weights; others are refused."""

import numpy as np
import pytest
import torch

from evaluations.detectors import inception
from evaluations.detectors.graphdef import read_constants
from evaluations.detectors.inception_weights import (
    InceptionWeightsError,
    from_graph,
    from_nvidia,
    read_inception_weights,
)
from tests.support.inception_files import (
    graph_bytes,
    nvidia_state,
    pickle_bytes,
    save_torchscript,
    torch_state,
)


@pytest.fixture(scope='module')
def state():
    return inception.random_state(seed=0)


def test_all_formats_hold_the_same_weights(state, tmp_path):
    path = tmp_path / 'weights'

    def write_state_dict(tensors, **options):
        torch.save(tensors, path, **options)

    nvidia = nvidia_state(state)
    assert len(torch_state(state)) == 566 and len(nvidia) == 378
    writers = {
        'frozen graph': lambda: path.write_bytes(graph_bytes(state)),
        'torchvision names': lambda: write_state_dict(torch_state(state)),
        'torchvision names, old torch': lambda: write_state_dict(
            torch_state(state), _use_new_zipfile_serialization=False
        ),
        'NVIDIA names': lambda: write_state_dict(nvidia),
        'NVIDIA TorchScript': lambda: save_torchscript({**nvidia, 'mean': torch.zeros(3)}, path),
        'NVIDIA pickle': lambda: path.write_bytes(pickle_bytes({**nvidia, 'mean': torch.zeros(3)})),
    }
    for kind, write in writers.items():
        write()
        found, notes = read_inception_weights(path)
        assert found.keys() == state.keys() and notes == [], kind
        assert all(torch.equal(found[name], state[name]) for name in state), kind


def test_scale_other_than_one_is_reported(state, tmp_path):
    path = tmp_path / 'scaled.pth'
    name = 'Mixed_7c.branch1x1.bn.weight'
    torch.save({**state, name: state[name] * 2}, path)
    found, notes = read_inception_weights(path)
    assert len(notes) == 1 and 'gamma' in notes[0] and 'Mixed_7c.branch1x1' in notes[0]
    assert bool((found[name] == 2).all())


def small_graph(**more):
    return {'conv/conv2d_params': np.zeros([3, 3, 3, 32], np.float32), **more}


@pytest.mark.parametrize(
    'tensors, words',
    [
        (small_graph(), 'missing conv/batchnorm/gamma, .*471 in all'),
        (small_graph(**{'conv_9/conv2d_params': np.zeros(1)}), 'unknown conv_9/conv2d_params .1 in all'),
        (
            small_graph(**{'Sub/y': np.float32(127.5)}),
            r'Sub/y holds 127.5, where the published graph has 128',
        ),
        (small_graph(**{'Mul/y': np.zeros([0], np.float32)}), 'Mul/y holds'),
    ],
)
def test_other_graphs_are_refused(tensors, words):
    with pytest.raises(InceptionWeightsError, match=words):
        from_graph(tensors)


def test_other_networks_are_refused(state, tmp_path):
    path = tmp_path / 'weights'

    def refused(words, content=None):
        if isinstance(content, bytes):
            path.write_bytes(content)
        elif content is not None:
            torch.save(content, path)
        with pytest.raises(InceptionWeightsError, match=words) as error:
            read_inception_weights(path)
        assert '\n' not in str(error.value) and str(path) in str(error.value)

    refused('No such file')
    refused('not a TensorFlow GraphDef', b'<html>no such page</html>' * 100)
    refused('missing Conv2d_1a_3x3.conv.weight', {'weight': torch.zeros(1)})
    refused('no state dict', ['a list'])
    refused('damaged or incomplete', b'PK\x03\x04' + b'0' * 100)
    refused('unknown AuxLogits.conv0.conv.weight', {**state, 'AuxLogits.conv0.conv.weight': torch.zeros(1)})
    refused('fc.bias has shape', {**state, 'fc.bias': torch.zeros(1000)})
    refused('not finite', {**state, 'fc.bias': torch.full([1008], float('nan'))})
    refused('negative variances', {**state, 'Conv2d_1a_3x3.bn.running_var': torch.full([32], -1.0)})
    refused('missing layers.conv.weight', pickle_bytes({'x': torch.zeros(1)}))
    refused('not a network', b'\x80\x04K\x01.')
    refused('os.system', b'\x80\x04cos\nsystem\n(S\x02ok\x85R.')
    with pytest.raises(InceptionWeightsError, match='missing layers.conv.beta'):
        from_nvidia({'layers.conv.weight': torch.zeros(1)})


def test_damaged_graph_files_are_refused(state, tmp_path):
    whole = graph_bytes(state)
    assert len(read_constants(whole)) == 94 * 5 + 2 + 3  # and three of the input
    path = tmp_path / 'classify_image_graph_def.pb'
    for length in (len(whole) - 1, len(whole) // 2, 1):
        path.write_bytes(whole[:length])
        with pytest.raises(InceptionWeightsError):
            read_inception_weights(path)
