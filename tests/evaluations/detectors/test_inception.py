# Copyright 2026 The GDD-1S authors.
# SPDX-License-Identifier: Apache-2.0
"""Inception of 2015: names and shapes, small pieces, every weights format, torch-fidelity as judge."""

import re

import numpy as np
import pytest
import torch

from evaluations.detectors import inception
from evaluations.detectors.graphdef import read_constants
from evaluations.detectors.inception_weights import (
    UNITS,
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


@pytest.fixture(scope='module')
def network(state):
    return inception.build_inception(state)


@pytest.fixture(scope='module')
def images():
    return torch.randint(
        0, 256, [2, 3, 32, 32], dtype=torch.uint8, generator=torch.Generator().manual_seed(1)
    )


def relative(a, b):
    return float((a - b).abs().max() / b.abs().max())


def test_layers_are_those_of_the_specification(shared_dir):
    text = (shared_dir / 'spec' / 'evaluation.md').read_text(encoding='utf-8')
    name, number = r' `([^`]+)` \|', r' (\d+) \|'
    rows = re.findall(
        r'^\|' + number + 3 * name + 2 * number + r' (\d)x(\d) \|' + number + r' (\d),(\d) \| ', text, re.M
    )
    assert [int(row[0]) for row in rows] == list(range(1, 95))
    modules = dict(inception.empty_inception().named_modules())
    for unit, row in zip(UNITS, rows, strict=True):
        assert (unit.graph, unit.torch, unit.nvidia) == row[1:4]
        conv = modules[unit.torch].conv
        found = (conv.in_channels, conv.out_channels, *conv.kernel_size, conv.stride[0], *conv.padding)
        assert found == tuple(int(text) for text in row[4:]), unit


def test_numbers_of_weights():
    state = inception.empty_inception().state_dict()
    assert len(state) == 94 * 6 + 2 == 566
    assert sum(t.numel() for name, t in state.items() if name.endswith('conv.weight')) == 21_751_136
    assert sum(t.numel() for name, t in state.items() if 'num_batches' not in name) == 23_885_392


def test_convolution_unit_by_hand():
    unit = inception.ConvUnit(1, 1, 1)
    unit.conv.weight.data.fill_(1)
    unit.bn.running_mean.fill_(0.5)
    unit.bn.running_var.fill_(0.25)
    unit.bn.bias.data.fill_(0.1)
    unit.eval()
    assert float(unit(torch.full([1, 1, 1, 1], 2.0)).detach()) == pytest.approx(
        3.0940179402, abs=1e-6
    )  # epsilon 0.001
    assert float(unit(torch.full([1, 1, 1, 1], -2.0)).detach()) == 0


def test_padding_does_not_count_in_average_pools():
    x = torch.arange(9.0).reshape(1, 1, 3, 3)
    assert inception._avg_pool(x).flatten().tolist() == [2, 2.5, 3, 3.5, 4, 4.5, 5, 5.5, 6]


def test_spatial_features_are_in_tensorflow_order():
    x = torch.arange(12.0).reshape(1, 3, 2, 2)
    assert inception.flatten_spatial(x, channels=2).tolist() == [[0, 4, 1, 5, 2, 6, 3, 7]]
    assert x[:, :2].flatten(1).tolist() != [[0, 4, 1, 5, 2, 6, 3, 7]]


def test_spatial_features_are_those_of_the_first_branch(network, images):
    kept = {}
    hook = network.Mixed_6d.branch1x1.register_forward_hook(lambda _module, _args, out: kept.update(map=out))
    with torch.no_grad():
        _, _, spatial = network(images, spatial=True)
    hook.remove()
    assert spatial.shape == (2, 2023)
    row, column, channel = 5, 11, 3
    assert float(spatial[1, (row * 17 + column) * 7 + channel]) == float(kept['map'][1, channel, row, column])


def test_agrees_with_torch_fidelity(state, network, images, tmp_path):
    extractor = pytest.importorskip(
        'torch_fidelity.feature_extractor_inceptionv3', reason='pip install torch-fidelity'
    )
    path = tmp_path / 'pt_inception.pth'
    torch.save(torch_state(state), path)
    judge = extractor.FeatureExtractorInceptionV3(
        'any-name', ['2048', 'logits_unbiased', 'logits'], feature_extractor_weights_path=str(path)
    )
    with torch.no_grad():
        expected, expected_logits, biased = judge(images)
        features, logits, spatial = network(images)
        assert (
            relative(features, expected) < 1e-4
            and relative(logits, expected_logits) < 1e-4
            and spatial is None
        )
        assert relative(logits, biased) > 1e-3  # the Inception Score leaves the bias out
        network.Mixed_7c.max_pool = False  # torchvision's form of the last block
        try:
            wrong = network(images)[0]
        finally:
            network.Mixed_7c.max_pool = True
    assert relative(wrong, expected) > 1e-3


def test_folding_keeps_the_features(state, network, images):
    plain = inception.build_inception(state, fold=False)
    assert not any(isinstance(m, torch.nn.BatchNorm2d) for m in network.modules())
    with torch.no_grad():
        for folded, unfolded in zip(network(images, spatial=True), plain(images, spatial=True)):
            assert relative(folded, unfolded) < 1e-5
    assert bool((state['Conv2d_1a_3x3.bn.weight'] == 1).all())  # the given weights were left alone


def test_every_size_and_the_batch_composition(network):
    generator = torch.Generator().manual_seed(2)
    with torch.no_grad():
        for size in (64, 256, 299, 512):
            images = torch.randint(0, 256, [1, 3, size, size], dtype=torch.uint8, generator=generator)
            assert [tuple(t.shape) for t in network(images, spatial=True)] == [
                (1, 2048),
                (1, 1008),
                (1, 2023),
            ]
        other = torch.randint(0, 256, [1, 3, 512, 512], dtype=torch.uint8, generator=generator)
        alone, together = network(images)[0], network(torch.cat([other, images]))[0]
    assert relative(together[1], alone[0]) < 1e-5


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
