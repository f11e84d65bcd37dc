# Copyright 2026 The GDD-1S authors.
# SPDX-License-Identifier: Apache-2.0

"""One pass over images: batches and meters, against doing it all at once."""

import numpy as np
import PIL.Image
import pytest
import torch

from evaluations.inputs.image_sources import FolderImages, PackedImages, open_images
from evaluations.inputs.npz_images import NpzImages
from evaluations.measure import Meter, _gather_rows, measure_dataset, measure_images, split_batches
from tests.support.toy_images import FEATURES, IMAGES, LABELS, toy, write_sources
from torch_utils import distributed
from training.dataset import ImageFolderDataset


@pytest.fixture(scope='module')
def paths(tmp_path_factory):
    return write_sources(tmp_path_factory.mktemp('images'))


def test_batches_do_not_depend_on_the_number_of_processes():
    one = split_batches(103, 16)
    assert [len(part) for part in one] == [16] * 6 + [7] and np.concatenate(one).tolist() == list(range(103))
    for world_size in (2, 3, 8, 20):
        shared = [split_batches(103, 16, rank, world_size) for rank in range(world_size)]
        for i, part in enumerate(one):
            assert np.array_equal(shared[i % world_size][i // world_size], part)
        assert sum(map(len, shared)) == 7
    assert [len(split_batches(3, 64, rank, 8)) for rank in range(8)] == [1] + [0] * 7  # upstream crashes here


def test_meter_collects_what_it_was_asked_for(paths):
    kept = np.zeros(50, dtype=bool)
    kept[[3, 20, 49]] = True
    meters = [
        Meter(toy(), spatial=True, keep_logits=True, keep_features=True),
        Meter(toy(), keep_features=kept),
        Meter(toy(labels_comparable=False)),
    ]
    for path in paths[1:]:
        source = open_images(path, num_classes=3)[0]
        everything, part, plain = [
            Meter(
                m.detector,
                m.spatial_stats is not None,
                m.logits is not None,
                False if m.features is None else True if m._kept is None else kept,
            )
            for m in meters
        ]
        measure_images(
            source, [everything, part, plain], batch=20
        )  # 50 images: parts of 16 and 4 per call of the detector
        assert torch.allclose(everything.features, FEATURES, atol=1e-5) and torch.allclose(
            everything.logits, FEATURES[:, :3], atol=1e-5
        )
        assert (
            torch.allclose(part.features, FEATURES[[3, 20, 49]], atol=1e-5)
            and part.logits is None
            and plain.features is None
        )
        assert np.allclose(
            everything.spatial_stats.mean(), 2 * FEATURES[:, :2].double().mean(dim=0), atol=1e-6
        )
        for meter in (everything, part, plain):
            assert (
                np.allclose(meter.stats.cov(), np.cov(FEATURES.double().T), atol=1e-6)
                and meter.stats.num_images == 50
            )
        assert everything.accuracy == pytest.approx((FEATURES[:, :3].argmax(dim=1).numpy() == LABELS).mean())
        assert plain.accuracy is None


def test_batch_size_and_source_do_not_matter(paths):
    dataset = FolderImages(ImageFolderDataset(paths[0]))
    one, two = (
        measure_dataset(dataset, toy(), batch=7),
        measure_dataset(PackedImages(NpzImages(paths[2])), toy(), batch=50),
    )
    assert np.allclose(one.stats.cov(), two.stats.cov(), rtol=1e-5) and one.accuracy is None


def test_rows_of_several_processes_keep_their_order(monkeypatch):
    rows = torch.arange(7.0)[:, None]
    parts = rows.split(1)
    monkeypatch.setattr(
        distributed, 'gather_objects', lambda mine: [list(parts[rank::3]) for rank in range(3)]
    )
    assert torch.equal(_gather_rows([]), rows)
    assert not torch.equal(
        torch.cat([row for rank in range(3) for row in parts[rank::3]]), rows
    )  # the wrong order
    monkeypatch.setattr(distributed, 'gather_objects', lambda mine: None)
    assert _gather_rows([]) is None and _gather_rows(None) is None


def test_failing_images_are_named(tmp_path):
    for i in range(40):
        PIL.Image.fromarray(IMAGES[i] if i != 30 else IMAGES[i][:2]).save(tmp_path / f'{i:02d}.png')
    for workers in (0, 1):
        source = open_images(str(tmp_path))[0]
        with pytest.raises(ValueError, match=f'file 30.png in path={tmp_path}'):
            measure_images(source, [Meter(toy())], batch=2, workers=workers)
