# Copyright 2026 The GDD-1S authors.
# SPDX-License-Identifier: Apache-2.0

"""The closing table: its texts, its file, how a sampler is measured and timed."""

import json
import time

import numpy as np
import pytest
import torch

from evaluations.detectors.mnist_classifier import class_accuracy
from evaluations.detectors.registry import get_detector
from evaluations.inputs.reference import Reference
from evaluations.metrics.frechet import frechet_distance
from evaluations.sampler_table import Row, format_table, measure_sampler, save_table

ROWS = [
    Row('teacher, 18 steps', 1.23456, 0.98765, 12.34, 35, 2000),
    Row('real images', 0.05, None, None, None, 100),
]


@pytest.fixture(scope='module')
def detector():
    return get_detector('mnist-classifier')


def make_reference(detector, count=50):
    images = torch.randint(
        0, 256, [count, 1, 32, 32], dtype=torch.uint8, generator=torch.Generator().manual_seed(1)
    )
    features = detector.features(images).double().numpy()
    return Reference(
        features.mean(axis=0),
        np.cov(features.T),
        count,
        (1, 32, 32),
        detector.name,
        detector.sha256,
        'noise',
        'ab',
    )


def test_table_texts():
    lines = format_table(ROWS).splitlines()
    assert lines[0].split('  ')[0] == 'sampler' and len({len(line) for line in lines}) == 1
    assert lines[2].split() == ['teacher,', '18', 'steps', '35', '2000', '1.235', '98.77', '%', '12.3']
    assert lines[3].split() == ['real', 'images', '-', '100', '0.050', '-', '-']
    lines = format_table(ROWS, markdown=True).splitlines()
    assert all(line.startswith('| ') and line.endswith(' |') and line.count('|') == 7 for line in lines)
    assert set(lines[1]) <= set('| -:')


def test_saved_table(tmp_path):
    save_table(tmp_path / 't.json', ROWS, metric='frechet-x-2000')
    content = json.loads((tmp_path / 't.json').read_text())
    assert content['metric'] == 'frechet-x-2000'
    assert [Row(**row) for row in content['rows']] == ROWS


def test_measured_row_equals_measuring_all_at_once(detector):
    generator = torch.Generator().manual_seed(0)
    images = torch.randint(0, 256, [70, 1, 32, 32], dtype=torch.uint8, generator=generator)
    classes = torch.randint(0, 10, [70], generator=generator)
    reference, calls = make_reference(detector), []

    def sample(seeds):
        calls.append(len(seeds))
        return images[seeds], classes[seeds]

    row = measure_sampler(sample, list(range(70)), detector, reference, batch=32, name='all', nfe=3)
    features = detector.features(images).double().numpy()
    expected = frechet_distance(features.mean(axis=0), np.cov(features.T), reference.mu, reference.sigma)
    assert calls == [32, 32, 6]
    assert (row.name, row.nfe, row.num_images) == ('all', 3, 70)
    assert row.frechet == pytest.approx(expected, rel=1e-4)
    assert row.accuracy == pytest.approx(class_accuracy(detector.logits(images), classes))
    unlabelled = measure_sampler(lambda seeds: (images[seeds], None), list(range(70)), detector, reference)
    assert unlabelled.accuracy is None and unlabelled.frechet == pytest.approx(row.frechet, rel=1e-4)


def test_only_sampling_is_timed_and_the_first_batch_is_not(detector, monkeypatch):
    clock = [0.0]
    monkeypatch.setattr(time, 'perf_counter', lambda: clock[0])

    class Slow:  # a detector that takes 100 seconds
        name, feature_dim, device, labels_comparable = (
            detector.name,
            detector.feature_dim,
            detector.device,
            True,
        )

        def measure(self, images):
            clock[0] += 100
            return detector.measure(images)

    def sample(seeds):
        clock[0] += 50 if 0 in seeds else 2
        return torch.zeros(len(seeds), 1, 32, 32, dtype=torch.uint8), None

    reference = make_reference(detector)
    row = measure_sampler(sample, list(range(12)), Slow(), reference, batch=4)
    assert row.images_per_sec == pytest.approx(8 / 4)  # 8 images in two batches of 2 seconds
    assert measure_sampler(
        sample, list(range(4)), Slow(), reference, batch=4
    ).images_per_sec == pytest.approx(4 / 50)
