# Copyright 2026 The GDD-1S authors.
# SPDX-License-Identifier: Apache-2.0
"""Tests of training/tasks/frechet_start.py: what is measured before the first step, and by whom."""

import pytest
import torch

from torch_utils import distributed
from training.adversarial.features import ProjectedFeatures
from training.backbones.teacher import TeacherStages
from training.dataset import ImageFolderDataset
from training.snapshots.snapshot import load_network
from training.tasks import frechet_start
from training.tasks.frechet_start import gather_rows, generated_features, real_moments

OPTIONS = dict(seed=3, layout=torch.contiguous_format)


@pytest.fixture
def features(material, monkeypatch):
    monkeypatch.setattr(frechet_start, 'CHUNK', 6)
    return ProjectedFeatures(['teacher'], 32, True, teacher=TeacherStages(load_network(material[1])[0]))


@pytest.fixture
def dataset(material):
    return ImageFolderDataset(material[0], use_labels=True)


def of_both(monkeypatch, measure):
    """Call a function as each of two processes; return what all would hold after the sum."""
    found = []
    for rank in (0, 1):
        monkeypatch.setattr(distributed, 'get_rank', lambda rank=rank: rank)
        monkeypatch.setattr(distributed, 'get_world_size', lambda: 2)
        sums = []
        monkeypatch.setattr(distributed, 'all_reduce_sum_', lambda x, sums=sums: sums.append(x.clone()) or x)
        measure()
        found.append(sums)
    return [a + b for a, b in zip(*found, strict=True)]


def test_rows_are_in_the_order_of_the_images(monkeypatch):
    rows = torch.arange(8.0).reshape(8, 1)
    assert gather_rows(rows) is rows
    shares = iter([rows[0::2], rows[1::2]])
    (found,) = of_both(monkeypatch, lambda: gather_rows(next(shares)))
    assert torch.equal(found, rows)


def test_moments_of_the_training_images(features, dataset):
    """Twenty images in chunks of six, the teacher's encoder without noise worth the name."""
    mean, covariance = real_moments(features, dataset, law=[0.002], **OPTIONS)['teacher']
    images = torch.stack([torch.from_numpy(image) for image, _ in dataset]) / 127.5 - 1
    labels = torch.stack([torch.from_numpy(label) for _, label in dataset])
    rows = features.pooled(
        'teacher', images, dict(sigma=torch.full([20, 1, 1, 1], 0.002), noise=0 * images), labels
    )
    assert mean.dtype == torch.float64 and covariance.shape == (16, 16)
    torch.testing.assert_close(mean, rows.double().mean(dim=0), rtol=1e-2, atol=1e-3)
    torch.testing.assert_close(covariance, torch.cov(rows.double().T), rtol=1e-2, atol=1e-3)


def test_same_on_any_number_of_processes(features, dataset, monkeypatch):
    def generate(z, labels):
        return z + labels.argmax(dim=1)[:, None, None, None]

    alone = generated_features(features, generate, dataset, 15, law='grid', **OPTIONS)['teacher']
    assert alone.shape == (15, 16) and len(set(alone[:, 0].tolist())) == 15
    (together,) = of_both(
        monkeypatch, lambda: generated_features(features, generate, dataset, 15, law='grid', **OPTIONS)
    )
    assert torch.equal(alone, together)
    sums = []
    monkeypatch.setattr(distributed, 'get_rank', lambda: 0)
    monkeypatch.setattr(distributed, 'get_world_size', lambda: 1)
    monkeypatch.setattr(distributed, 'all_reduce_sum_', lambda x: sums.append(x.clone()) or x)
    real_moments(features, dataset, law='grid', **OPTIONS)
    (both,) = of_both(monkeypatch, lambda: real_moments(features, dataset, law='grid', **OPTIONS))
    torch.testing.assert_close(sums[0], both, rtol=1e-12, atol=1e-12)


def test_a_process_without_images_takes_part(features, dataset, monkeypatch):
    monkeypatch.setattr(frechet_start, 'CHUNK', 64)
    (both,) = of_both(monkeypatch, lambda: real_moments(features, dataset, law='grid', **OPTIONS))
    assert both.shape == (17, 16) and both.isfinite().all()
