# Copyright 2026 The GDD-1S authors.
# SPDX-License-Identifier: Apache-2.0
"""Tests of train_mnist_classifier.py: augmentation, a short training from the command line, refusals."""

import json
import zipfile

import PIL.Image
import torch
from click.testing import CliRunner

from evaluations.detectors import train_mnist_classifier as training
from evaluations.detectors.mnist_classifier import load_classifier
from tests.support.bars import bars


def write_zip(path, count, seed, channels=1):
    images, labels = bars(count, seed)
    with zipfile.ZipFile(path, 'w') as z:
        names = [f'{i:03d}.png' for i in range(count)]
        for name, image in zip(names, images.numpy()):
            with z.open(name, 'w') as f:
                PIL.Image.fromarray(image[0]).convert('L' if channels == 1 else 'RGB').save(f, format='png')
        z.writestr('dataset.json', json.dumps({'labels': [[n, int(y)] for n, y in zip(names, labels)]}))
    return path


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
