# Copyright 2026 The GDD-1S authors.
# SPDX-License-Identifier: Apache-2.0

"""Fifty small images and a detector of linear features, whose numbers can be computed at once."""

import json
import zipfile

import numpy as np
import PIL.Image
import torch

from evaluations.detectors.registry import Detector, Measured
from evaluations.inputs.reference import Reference

IMAGES = np.random.RandomState(0).randint(0, 256, [50, 4, 4, 3]).astype(np.uint8)
LABELS = np.random.RandomState(1).randint(0, 3, 50)
WEIGHTS = torch.randn(48, 6, generator=torch.Generator().manual_seed(0))
FEATURES = torch.from_numpy(IMAGES.transpose(0, 3, 1, 2)).flatten(1).float() @ WEIGHTS / 255  # [50, 6]


def run_toy(images, spatial):
    features = images.flatten(1).float() @ WEIGHTS / 255
    return Measured(features, features[:, :3], features[:, :2] * 2 if spatial else None)


def toy(**changes):
    facts = dict(
        name='toy',
        run=run_toy,
        feature_dim=6,
        sha256='ab' * 32,
        device='cpu',
        num_classes=3,
        spatial_dim=2,
        labels_comparable=True,
    )
    return Detector(**{**facts, **changes})


def write_sources(folder):
    """Write the same images as folder, zip and pack; return the three paths."""
    pairs = [[f'{i:03d}.png', int(label)] for i, label in enumerate(LABELS)]
    (folder / 'dir').mkdir()
    for (name, _), image in zip(pairs, IMAGES):
        PIL.Image.fromarray(image).save(folder / 'dir' / name)
    (folder / 'dir' / 'dataset.json').write_text(json.dumps({'labels': pairs}))
    with zipfile.ZipFile(folder / 'z.zip', 'w') as archive:
        for path in (folder / 'dir').iterdir():
            archive.write(path, path.name)
    np.savez_compressed(folder / 'p.npz', arr_0=IMAGES, arr_1=LABELS)
    return [str(folder / name) for name in ('dir', 'z.zip', 'p.npz')]


def toy_reference(**changes):
    other = FEATURES.double().numpy()[::-1] * 0.9 + 0.1
    spatial = other[:, :2] * 2
    facts = dict(
        mu=other.mean(axis=0),
        sigma=np.cov(other.T),
        num_images=50,
        image_shape=(3, 4, 4),
        detector='toy',
        detector_sha256='ab' * 32,
        mu_s=spatial.mean(axis=0),
        sigma_s=np.cov(spatial.T),
        features=other[:30].astype(np.float32),
        path='ref.npz',
        sha256='ef' * 32,
    )
    return Reference(**{**facts, **changes})
