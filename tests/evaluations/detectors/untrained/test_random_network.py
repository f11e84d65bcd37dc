# Copyright 2026 The GDD-1S authors.
# SPDX-License-Identifier: Apache-2.0
"""The random network: its weights by hash, features against a slow version, what it sees."""

import numpy as np
import pytest
import torch

from evaluations.detectors.registry import detector_names, find_missing, get_detector
from evaluations.detectors.untrained.random_network import random_features, random_weights
from evaluations.detectors.weights import state_sha256

SHA256 = 'af2b732fb5e63c292136176ba6665b29065fce3148593c3870d4aee58fb99f57'


def images(seed=0, count=3, channels=3):
    values = np.random.RandomState(seed).randint(0, 256, [count, channels, 32, 32])
    return torch.from_numpy(values.astype(np.uint8))


def test_weights_are_fixed_and_independent_of_torch():
    before = torch.get_rng_state()
    torch.manual_seed(5)
    weights = random_weights()
    assert state_sha256(weights) == SHA256  # numbers stored today must compare with those of tomorrow
    torch.set_rng_state(before)
    first = np.random.RandomState(0).randn(32, 3, 3, 3) * (2 / 27) ** 0.5
    assert np.array_equal(weights['conv1.weight'], first.astype(np.float32))
    assert float(weights['conv4.weight'].square().mean()) == pytest.approx(2 / (9 * 128), rel=0.02)


def test_features_against_a_slow_convolution():
    weights = {name: tensor.double() for name, tensor in random_weights().items()}
    x = torch.nn.functional.interpolate(images(count=1).float() / 127.5 - 1, size=(64, 64), mode='bilinear')
    x = x[0].double()
    for i in range(1, 5):
        patches = torch.nn.functional.unfold(x[None], 3, stride=2, padding=1)[0]  # [9 C, positions]
        side = x.shape[1] // 2
        x = (weights[f'conv{i}.weight'].flatten(1) @ patches).clamp(min=0).reshape(-1, side, side)
    expected = weights['project.weight'] @ x.flatten()
    found = random_features(random_weights(), images(count=1))[0].double()
    assert torch.allclose(found, expected, atol=1e-4)


def test_detector():
    assert 'random-conv' in detector_names() and find_missing(['random-conv']) == []
    detector = get_detector('random-conv')
    assert (detector.name, detector.feature_dim, detector.sha256) == ('random-conv', 128, SHA256)
    grey = images(channels=1)
    found = detector.features(grey)
    assert found.shape == (3, 128) and torch.equal(found, detector.features(grey.expand(-1, 3, -1, -1)))
    with pytest.raises(ValueError, match='random-conv reads no file; leave detector_path out'):
        get_detector('random-conv', path='weights.pth')


def test_it_sees_shape_and_not_only_the_mean():
    detector = get_detector('random-conv')
    left = torch.zeros([1, 1, 32, 32], dtype=torch.uint8)
    left[:, :, :, :16] = 255
    distance = (detector.features(left) - detector.features(left.flip(3))).norm()
    assert distance > 10 * (detector.features(left) - detector.features(left)).norm() and distance > 1
