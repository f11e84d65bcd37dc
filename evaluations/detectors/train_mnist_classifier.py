# Copyright 2026 The GDD-1S authors.
# SPDX-License-Identifier: Apache-2.0

"""Train the digit classifier of `evaluations/detectors/mnist_classifier.py`.

    python -m evaluations.detectors.train_mnist_classifier --data=mnist-train-32x32.zip \\
        --test-data=mnist-test-32x32.zip --outfile=pretrained/mnist-classifier.pt

The weights in pretrained/ were made by this script with its defaults. New weights
are a new detector: every reference file must be made again (`fid.py ref`).

Legend: N batch or number of images, C channels, H W pixels, K classes.
"""

import math
import os
from collections.abc import Callable

import click
import numpy as np
import torch
import tqdm

from dnnlib.cli import one_line_errors, run_script
from dnnlib.errors import ArgumentError, arg
from dnnlib.util import atomic_write
from evaluations.detectors.mnist_classifier import (
    NUM_CLASSES,
    RESOLUTION,
    MnistClassifier,
    class_accuracy,
    to_bytes,
)
from training.dataset import ImageFolderDataset


def load_digits(path: str) -> tuple[torch.Tensor, torch.Tensor]:
    """Read all images and labels of a digit data set into memory.

    Args:
        path: Folder or zip in EDM format with labels 0..9.
    Returns:
        (images uint8 [N, 1, 32, 32]; labels int64 [N]).
    Raises:
        ArgumentError: The data set is not one of 32x32 grey images of ten classes.
    """
    dataset = ImageFolderDataset(path, use_labels=True)
    if tuple(dataset.image_shape) != (1, RESOLUTION, RESOLUTION) or dataset.label_dim != NUM_CLASSES:
        raise ArgumentError(
            arg('path', path),
            f' holds images of shape {tuple(dataset.image_shape)} with {dataset.label_dim} classes; '
            f'the classifier needs (1, {RESOLUTION}, {RESOLUTION}) and {NUM_CLASSES} classes, '
            'as dataset_tool.py makes from MNIST',
        )
    pairs = [dataset[i] for i in tqdm.trange(len(dataset), desc=f'Reading {path}', disable=None)]
    images = torch.from_numpy(np.stack([image for image, _ in pairs]))
    labels = torch.from_numpy(np.stack([onehot for _, onehot in pairs])).argmax(dim=1)
    return images, labels


def augment(
    x: torch.Tensor,
    generator: torch.Generator,
    max_shift: float = 2.5,
    max_angle: float = 12,
    max_zoom: float = 0.1,
) -> torch.Tensor:
    """Shift, rotate and zoom each image at random, with black outside.

    Args:
        x: Images, float32 [N, 1, H, W], 0..255.
        generator: Source of randomness on the CPU.
        max_shift: Largest shift, pixels.
        max_angle: Largest rotation, degrees.
        max_zoom: Largest relative change of size.
    Returns:
        Images of the same shape and range.
    """
    n, size = x.shape[0], x.shape[-1]
    u = torch.rand([4, n], generator=generator) * 2 - 1
    angle, zoom = u[0] * math.radians(max_angle), 1 + u[1] * max_zoom
    cos, sin, shift = angle.cos() * zoom, angle.sin() * zoom, u[2:] * (2 * max_shift / size)
    theta = torch.stack([torch.stack([cos, -sin, shift[0]]), torch.stack([sin, cos, shift[1]])])  # [2, 3, N]
    grid = torch.nn.functional.affine_grid(theta.permute(2, 0, 1), list(x.shape), align_corners=False)
    return torch.nn.functional.grid_sample(x, grid, align_corners=False)  # [N, 1, H, W]


def accuracy(model: MnistClassifier, images: torch.Tensor, labels: torch.Tensor, batch: int = 500) -> float:
    """Return the fraction of images that a classifier names correctly, 0..1."""
    model.eval()
    with torch.no_grad():
        logits = torch.cat([model(x) for x in images.split(batch)])  # [N, K]
    return class_accuracy(logits, labels)


def fit(
    images: torch.Tensor,
    labels: torch.Tensor,
    epochs: int,
    batch: int,
    lr: float,
    seed: int,
    report: Callable[[str], object] = print,
) -> MnistClassifier:
    """Train a fresh classifier with AdamW and a one-cycle learning rate.

    Args:
        images: uint8 [N, 1, 32, 32].
        labels: int64 [N].
        epochs: Passes over the images, at least 1.
        batch: Images per step.
        lr: Highest learning rate of the cycle.
        seed: Fixes initial weights, order and augmentation.
        report: Called with one line of text after each epoch.
    Returns:
        The trained classifier, in training mode.
    """
    with torch.random.fork_rng(devices=[]):  # layers draw from the global generator
        torch.manual_seed(seed)
        model = MnistClassifier()
    generator = torch.Generator().manual_seed(seed)
    optimizer = torch.optim.AdamW(model.parameters(), lr=lr, weight_decay=0.02)
    steps = max(len(images) // batch, 1)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, max_lr=lr, total_steps=steps * epochs + 1)
    loss_fn = torch.nn.CrossEntropyLoss(label_smoothing=0.05)
    for epoch in range(epochs):
        model.train()
        order, total = torch.randperm(len(images), generator=generator), 0.0
        for step in tqdm.trange(steps, desc=f'Epoch {epoch + 1}/{epochs}', disable=None):
            idx = order[step * batch : (step + 1) * batch]
            loss = loss_fn(model(augment(images[idx].float(), generator)), labels[idx])
            optimizer.zero_grad(set_to_none=True)
            loss.backward()
            optimizer.step()
            schedule.step()
            total += float(loss.detach())
        report(f'epoch {epoch + 1}/{epochs}: loss {total / steps:.4f}')
    return model


def check_outfile(path: str) -> None:
    """Raise ArgumentError, before any training, when the weights could not be written to `path`."""
    folder = os.path.dirname(path) or '.'
    if os.path.isdir(path) or not os.access(folder, os.W_OK):
        raise ArgumentError(
            arg('outfile', path),
            ' cannot be written: it must be a file in an existing, writable folder; try ',
            arg('outfile', 'mnist-classifier.pt'),
        )


# fmt: off
@click.command()
@click.option('--data', help='Training images, folder or zip with labels', metavar='ZIP|DIR', type=str,
              required=True)
@click.option('--test-data', help='Test images, never trained on', metavar='ZIP|DIR', type=str, required=True)
@click.option('--outfile', help='Where to write the weights', metavar='PT', type=str,
              default='pretrained/mnist-classifier.pt', show_default=True)
@click.option('--epochs', help='Passes over the training images', metavar='INT',
              type=click.IntRange(min=1), default=8, show_default=True)
@click.option('--batch', help='Images per step', metavar='INT', type=click.IntRange(min=2), default=128,
              show_default=True)
@click.option('--lr', help='Highest learning rate', metavar='FLOAT', type=click.FloatRange(min=0,
              min_open=True), default=3e-3, show_default=True)
@click.option('--seed', help='Seed of weights, order and augmentation', metavar='INT',
              type=click.IntRange(min=0), default=0, show_default=True)
def main(data: str, test_data: str, outfile: str, epochs: int, batch: int, lr: float, seed: int) -> None:
    """Train the MNIST classifier that `--detector=mnist-classifier` uses."""
    with one_line_errors(path='data'):
        images, labels = load_digits(data)
        check_outfile(outfile)
    with one_line_errors(path='test_data'):
        test_images, test_labels = load_digits(test_data)
    if batch > len(images):
        raise click.ClickException(f'--batch={batch} is more than the {len(images)} images of --data={data}; '
                                   f'try --batch={len(images)}')
    click.echo(f'Training on {len(images)} images, {epochs} epochs of {len(images) // batch} steps')
    model = fit(images, labels, epochs=epochs, batch=batch, lr=lr, seed=seed, report=click.echo)
    score = accuracy(model, test_images, test_labels)
    content = to_bytes(model, test_accuracy=score, num_train=len(images), epochs=epochs, batch=batch, lr=lr,
                       seed=seed)
    with atomic_write(outfile) as f:
        f.write(content)
    click.echo(f'Test accuracy {100 * score:.2f} % on {len(test_images)} images; weights in {outfile}')
# fmt: on


if __name__ == '__main__':
    run_script(main)
