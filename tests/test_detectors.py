# Copyright 2026 The GDD-1S authors.
# SPDX-License-Identifier: Apache-2.0

"""Detectors: one interface, clear refusals, and the EfficientNet features against timm itself."""

import pytest
import torch

from evaluations.detectors import detector_names, get_detector


def test_mnist_classifier_interface():
    detector = get_detector('mnist-classifier', 'cpu')
    x = torch.randint(0, 256, [5, 1, 32, 32], dtype=torch.uint8)
    features, logits = detector.measure(x)
    assert (detector.name, detector.feature_dim, detector.num_classes) == ('mnist-classifier', 64, 10)
    assert features.shape == (5, 64) and logits.shape == (5, 10) and features.dtype == torch.float32
    assert not features.requires_grad
    assert torch.equal(detector.features(x), features) and torch.equal(detector.logits(x), logits)


@pytest.mark.parametrize('images, words', [
    (torch.zeros(2, 1, 32, 32), 'torch.float32'),                           # -1..1 images must not pass unnoticed
    (torch.zeros(2, 32, 32, dtype=torch.uint8), 'uint8 .N, C, H, W.'),
    (torch.zeros(2, 3, 32, 32, dtype=torch.uint8), r'takes \(1, 32, 32\)'),
    (torch.zeros(2, 32, 32, 1, dtype=torch.uint8), r'shape \(32, 32, 1\)'),   # NHWC
])
def test_unsuitable_images_are_refused(images, words):
    with pytest.raises(ValueError, match=words):
        get_detector('mnist-classifier').features(images)


def test_unknown_name_and_missing_weights(tmp_path):
    with pytest.raises(ValueError, match='--detector=inception-v9 is not known; choose one of mnist-classifier'):
        get_detector('inception-v9')
    with pytest.raises(ValueError, match='No such file'):
        get_detector('mnist-classifier', pretrained_dir=str(tmp_path))


def test_efficientnet_features_equal_those_of_timm(tmp_path):
    timm = pytest.importorskip('timm', reason='the detector tf_efficientnet_lite0 needs timm')
    assert 'tf_efficientnet_lite0' in detector_names()
    model = timm.create_model('tf_efficientnet_lite0', pretrained=False).eval()
    torch.save(model.state_dict(), tmp_path / 'tf_efficientnet_lite0.pth')
    before = torch.get_rng_state()
    detector = get_detector('tf_efficientnet_lite0', pretrained_dir=str(tmp_path))
    assert torch.equal(before, torch.get_rng_state())
    grey = torch.randint(0, 256, [2, 1, 32, 32], dtype=torch.uint8)
    features, logits = detector.measure(grey)
    assert features.shape == (2, detector.feature_dim) == (2, 320) and logits is None
    with torch.no_grad():
        x = torch.nn.functional.interpolate(grey.expand(-1, 3, -1, -1) / 127.5 - 1, size=(224, 224), mode='bilinear')
        expected = model.blocks(model.bn1(model.conv_stem(x))).mean(dim=(2, 3))
    assert torch.allclose(features, expected, rtol=1e-3, atol=1e-4 * float(expected.abs().max()))
    with pytest.raises(ValueError, match='tf_efficientnet_lite0 does not classify'):
        detector.logits(grey)
