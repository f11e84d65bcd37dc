# Copyright 2026 The GDD-1S authors.
# SPDX-License-Identifier: Apache-2.0

"""The digit classifier: shipped weights, weights files, and its training script."""

import hashlib
import os
import zipfile

import numpy as np
import pytest
import torch

from evaluations.detectors.mnist_classifier import MnistClassifier, class_accuracy, load_classifier, to_bytes
from evaluations.detectors.registry import PRETRAINED_DIR
from training.dataset import ImageFolderDataset

WEIGHTS = os.path.join(PRETRAINED_DIR, 'mnist-classifier.pt')
DIGITS = os.path.join(os.path.dirname(PRETRAINED_DIR), 'datasets', 'mnist-32x32.zip')


def test_shipped_weights_know_digits():
    model, sha256 = load_classifier(WEIGHTS)
    with open(WEIGHTS, 'rb') as f:
        data = f.read()
    assert sha256 == hashlib.sha256(data).hexdigest() and len(data) <= 1 << 20
    assert not model.training and not any(p.requires_grad for p in model.parameters())
    assert sum(p.numel() for p in model.parameters()) == 119730  # as the docstring says, below 200000
    digits = ImageFolderDataset(DIGITS, max_size=300, use_labels=True)
    images = torch.from_numpy(np.stack([digits[i][0] for i in range(300)]))
    labels = torch.from_numpy(digits.labels_onehot(range(300))).argmax(dim=1)
    assert class_accuracy(model(images), labels) >= 0.98
    # Mirrored digits are others: a wrong axis order or a forgotten scale must not pass.
    assert class_accuracy(model(images.flip(3)), labels) < 0.8


def test_features_are_smooth_and_do_not_depend_on_the_batch():
    model, _ = load_classifier(WEIGHTS)
    x = torch.rand(6, 1, 32, 32) * 255
    features = model.features(x)
    assert features.shape == (6, 64) and features.dtype == torch.float32
    assert torch.allclose(model.features(x[2:3]), features[2:3], atol=1e-5)
    assert torch.equal(model.head(features), model(x))
    x = x.double().round().to(torch.uint8)
    assert torch.equal(model.features(x), model.features(x.float()))


def test_weights_file_round_trip(tmp_path):
    model = MnistClassifier()
    content = to_bytes(model, seed=3)
    (tmp_path / 'w.pt').write_bytes(content)
    assert content == to_bytes(model, seed=3)
    back, _ = load_classifier(tmp_path / 'w.pt')
    for (name, a), b in zip(model.state_dict().items(), back.state_dict().values()):
        assert torch.equal(a, b), name


def test_unusable_weights_files(tmp_path):
    path = tmp_path / 'w.pt'
    with pytest.raises(ValueError, match='No such file.*makes it'):
        load_classifier(path)
    path.write_bytes(b'nonsense')
    with pytest.raises(ValueError, match='not an MNIST classifier weights file'):
        load_classifier(path)
    torch.save({'format': 'another', 'state_dict': {}}, path)
    with pytest.raises(ValueError, match='not an MNIST classifier weights file'):
        load_classifier(path)
    torch.save({'format': 'gdd-1s-mnist-classifier', 'state_dict': {'x': torch.zeros(1)}}, path)
    with pytest.raises(ValueError, match='not an MNIST classifier weights file'):
        load_classifier(path)


def test_class_accuracy():
    logits = torch.tensor([[1.0, 3, 2], [5, 4, 0], [0, 0, 1], [2, 1, 0]])
    assert class_accuracy(logits, torch.tensor([1, 0, 2, 2])) == 0.75
    # A version that compares classes with the smallest score must fail here.
    assert class_accuracy(-logits, torch.tensor([1, 0, 2, 2])) == 0.25


@pytest.mark.parametrize(
    'labels, words', [([0, 1, 2], 'must be'), ([0, 3], '3 classes'), ([-1, 0], 'from -1')]
)
def test_class_accuracy_rejects(labels, words):
    with pytest.raises(ValueError, match=words):
        class_accuracy(torch.zeros(2, 3), torch.tensor(labels))


def test_flipped_bits_are_noticed(tmp_path):
    """torch.load looks at no checksum: a changed weight would change the numbers."""
    good = open(WEIGHTS, 'rb').read()
    path = tmp_path / 'w.pt'
    for position in range(1000, len(good), len(good) // 20):
        path.write_bytes(good[:position] + bytes([good[position] ^ 0x04]) + good[position + 1 :])
        with zipfile.ZipFile(WEIGHTS) as archive:
            inside = any(
                info.header_offset + 200 < position < info.header_offset + info.compress_size
                for info in archive.infolist()
            )
        if inside:
            with pytest.raises(ValueError, match='is not an MNIST classifier weights file'):
                load_classifier(str(path))
