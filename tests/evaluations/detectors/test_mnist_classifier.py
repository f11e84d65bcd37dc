# Copyright 2026 The GDD-1S authors.
# SPDX-License-Identifier: Apache-2.0

"""The digit classifier: shipped weights, weights files, and its training script."""

import hashlib
import json
import os
import zipfile

import numpy as np
import PIL.Image
import pytest
import torch
from click.testing import CliRunner

from evaluations.detectors import train_mnist_classifier as training
from evaluations.detectors.mnist_classifier import MnistClassifier, class_accuracy, load_classifier, to_bytes
from evaluations.detectors.registry import PRETRAINED_DIR
from training.dataset import ImageFolderDataset

WEIGHTS = os.path.join(PRETRAINED_DIR, 'mnist-classifier.pt')
DIGITS = os.path.join(os.path.dirname(PRETRAINED_DIR), 'datasets', 'mnist-32x32.zip')


def bars(count, seed):
    """Make images of ten classes that are easy to tell apart: one bright row block per class."""
    labels = np.arange(count) % 10
    images = np.random.RandomState(seed).randint(0, 60, size=[count, 1, 32, 32]).astype(np.uint8)
    for image, label in zip(images, labels):
        image[0, 1 + 3 * label : 4 + 3 * label] = 250
    return torch.from_numpy(images), torch.from_numpy(labels)


def write_zip(path, count, seed, channels=1):
    images, labels = bars(count, seed)
    with zipfile.ZipFile(path, 'w') as z:
        names = [f'{i:03d}.png' for i in range(count)]
        for name, image in zip(names, images.numpy()):
            with z.open(name, 'w') as f:
                PIL.Image.fromarray(image[0]).convert('L' if channels == 1 else 'RGB').save(f, format='png')
        z.writestr('dataset.json', json.dumps({'labels': [[n, int(y)] for n, y in zip(names, labels)]}))
    return path


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


def test_augmentation_moves_within_its_limits():
    x = torch.zeros(64, 1, 32, 32)
    x[:, :, 15:17, 15:17] = 255
    still = training.augment(x, torch.Generator().manual_seed(0), max_shift=0, max_angle=0, max_zoom=0)
    assert torch.allclose(still, x, atol=1e-3)
    moved = training.augment(x, torch.Generator().manual_seed(0), max_shift=3, max_angle=0, max_zoom=0)
    grid = torch.arange(32.0)
    center = (moved.sum(dim=(1, 2)) * grid).sum(dim=1) / moved.sum(dim=(1, 2, 3))  # [N], columns
    assert (center - 15.5).abs().max() <= 3 + 1e-3 and (center - 15.5).abs().max() > 2
    again = training.augment(x, torch.Generator().manual_seed(0), max_shift=3, max_angle=0, max_zoom=0)
    assert torch.equal(moved, again)


def test_script_trains_and_reports(tmp_path):
    write_zip(tmp_path / 'train.zip', 60, seed=0)
    write_zip(tmp_path / 'test.zip', 20, seed=1)
    options = {'data': tmp_path / 'train.zip', 'test-data': tmp_path / 'test.zip', 'batch': 20}

    def run(name, **changes):
        path = tmp_path / name
        args = [f'--{k}={v}' for k, v in {**options, 'outfile': path, 'epochs': 2, **changes}.items()]
        result = CliRunner().invoke(training.main, args)
        assert result.exit_code == 0, result.output
        return result.output, load_classifier(path)[1]

    output, sha256 = run('a.pt')
    assert 'Training on 60 images, 2 epochs of 3 steps' in output and 'epoch 2/2' in output
    assert output.splitlines()[-1].startswith('Test accuracy ')
    assert run('b.pt')[1] == sha256  # the same seed gives the same file
    for change in (dict(seed=1), dict(lr=0.01), dict(epochs=1), dict(batch=30)):
        assert run('c.pt', **change)[1] != sha256, change
    # Saying 20 images right is not luck: twelve epochs on bars that differ by class must learn them.
    assert float(run('d.pt', epochs=12, batch=10, lr=0.01)[0].split('Test accuracy ')[1].split(' %')[0]) > 60


def test_script_refuses_other_data(tmp_path):
    good, colour = (
        write_zip(tmp_path / 'good.zip', 20, 0),
        write_zip(tmp_path / 'colour.zip', 20, 0, channels=3),
    )

    def refuse(words, **changes):
        args = {'data': good, 'test-data': good, 'outfile': tmp_path / 'w.pt', **changes}
        result = CliRunner().invoke(training.main, [f'--{k}={v}' for k, v in args.items()])
        assert result.exit_code == 1 and words in result.output and 'Traceback' not in result.output, (
            result.output
        )
        assert not (tmp_path / 'w.pt').exists()

    refuse('--data=', data=tmp_path / 'missing.zip')
    refuse('holds images of shape (3, 32, 32)', **{'test-data': colour})
    refuse('--batch=128 is more than the 20 images')
    refuse('cannot be written', batch=10, epochs=1, outfile=tmp_path / 'no' / 'w.pt')


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
