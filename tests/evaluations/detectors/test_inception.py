# Copyright 2026 The GDD-1S authors.
# SPDX-License-Identifier: Apache-2.0
"""Inception of 2015: names and shapes, small pieces, every weights format, torch-fidelity as judge."""

import re

import pytest
import torch

from evaluations.detectors import inception
from evaluations.detectors.inception_weights import UNITS
from tests.support.inception_files import torch_state


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
