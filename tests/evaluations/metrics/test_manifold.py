# Copyright 2026 The GDD-1S authors.
# SPDX-License-Identifier: Apache-2.0

"""Precision, recall, density and coverage: published vectors, slow references, conventions."""

import numpy as np
import pytest
import torch

from evaluations.metrics import manifold
from evaluations.metrics.manifold import density_coverage, manifold_radii, precision_recall

RS = np.random.RandomState
HAND_REFERENCE = np.array([[0.0], [1], [3], [6], [10]])
HAND_SAMPLES = np.array([[0.5], [2], [20], [21], [23], [26]])


@pytest.fixture(scope='module')
def sets():
    return {
        'reference': RS(7).randn(60, 4).astype(np.float32),
        'samples': (RS(8).randn(80, 4) * 0.8 + 0.2).astype(np.float32),
    }


def slow_distances(x, y):
    return np.array([[np.square(a.astype(np.float64) - b.astype(np.float64)).sum() for b in y] for a in x])


def slow_radii(x, k):
    return np.sort(slow_distances(x, x), axis=1)[:, k]


def slow_precision_recall(samples, reference, k, swap=False):
    d = slow_distances(reference, samples)
    precision = (d <= slow_radii(reference, k)[:, np.newaxis]).any(axis=0).mean()
    recall = (d <= slow_radii(samples, k)[np.newaxis]).any(axis=1).mean()
    return (recall, precision) if swap else (precision, recall)


def half_distances(x, y):
    """OpenAI's arithmetic on whole matrices: every step rounded to float16, sums in float32."""
    x, y = x.astype(np.float16), y.astype(np.float16)
    x_norm, y_norm = ((z * z).sum(axis=1, dtype=np.float32).astype(np.float16) for z in (x, y))
    product = (x.astype(np.float32) @ y.astype(np.float32).T).astype(np.float16)
    d = np.maximum((x_norm[:, np.newaxis] - np.float16(2) * product) + y_norm[np.newaxis], np.float16(0))
    assert d.dtype == np.float16
    return d.astype(np.float32)


def test_hand_checked_values():
    assert manifold_radii(HAND_REFERENCE).tolist() == [36, 25, 9, 25, 81]
    assert manifold_radii(HAND_SAMPLES).tolist() == [420.25, 361, 36, 25, 9, 36]
    result = precision_recall(samples=HAND_SAMPLES, reference=HAND_REFERENCE)
    assert result.precision == pytest.approx(2 / 6) and result.recall == 1


@pytest.mark.parametrize('mode', manifold.MODES)
@pytest.mark.parametrize('k, precise, recalled', [(1, 51, 31), (2, 73, 50), (3, 78, 55), (5, 78, 57)])
def test_published_vectors(sets, k, precise, recalled, mode):
    assert precision_recall(**sets, k=k, mode=mode) == (precise / 80, recalled / 60)
    doubles = {name: features.astype(np.float64) for name, features in sets.items()}
    assert precision_recall(**doubles, k=k, mode=mode) == (precise / 80, recalled / 60)


def test_published_radii(sets):
    radii = manifold_radii(sets['reference'].astype(np.float64))
    assert radii[:4].tolist() == pytest.approx(
        [1.456861246307, 1.281089007608, 1.129321045689, 1.267117530876], rel=1e-9
    )
    assert float(radii.sum()) == pytest.approx(103.864527632270, rel=1e-9)
    radii = manifold_radii(sets['samples'].astype(np.float64))
    assert radii[:4].tolist() == pytest.approx(
        [2.358619687081, 5.361280421511, 1.894822763209, 0.622903021823], rel=1e-9
    )
    assert float(radii.sum()) == pytest.approx(90.910443826887, rel=1e-9)


@pytest.mark.parametrize('k, density, coverage', [(3, 1.2875, 1), (5, 1.23, 1)])
def test_published_density_and_coverage(sets, k, density, coverage):
    assert density_coverage(**sets, k=k) == (pytest.approx(density, rel=1e-9), coverage)


@pytest.mark.parametrize('block', [7, 64, 1000])
@pytest.mark.parametrize('k', [1, 3])
def test_agrees_with_slow_reference(block, k):
    reference, samples = RS(1).rand(75, 5), RS(2).rand(101, 5) * 0.7
    assert manifold_radii(samples, k, block=block).numpy() == pytest.approx(slow_radii(samples, k), rel=1e-9)
    result = precision_recall(samples=samples, reference=reference, k=k, block=block)
    assert result == slow_precision_recall(samples, reference, k)
    assert result != slow_precision_recall(samples, reference, k, swap=True)
    inside = slow_distances(reference, samples) < slow_radii(reference, k)[:, np.newaxis]
    expected = inside.sum() / (k * len(samples)), inside.any(axis=1).mean()
    assert density_coverage(samples=samples, reference=reference, k=k, block=block) == pytest.approx(
        expected, rel=1e-12
    )


def test_search_by_groups_finds_the_smallest():
    values = torch.from_numpy(
        RS(3).randint(0, 500, size=(40, 64 * 20 + 5)).astype(np.float32)
    )  # with many ties
    values[0, -4:] = -1  # in the columns that fill no group
    values[1, 128:132] = -1  # all in one group
    found = manifold._smallest(values, 4)
    assert (found.sort(dim=1).values == values.sort(dim=1).values[:, :4]).all()


def test_wide_sets_use_the_search_by_groups():
    x = RS(4).rand(1200, 3)
    assert manifold_radii(x, 3).numpy() == pytest.approx(
        np.sort(((x[:, None] - x[None]) ** 2).sum(axis=2), axis=1)[:, 3], rel=1e-6
    )


def test_self_is_counted_and_copies_shrink_radii():
    x = np.array([[0.0], [1], [3], [6], [10]])
    without_self = np.sort(slow_distances(x, x) + np.diag([np.inf] * 5), axis=1)[:, 3]
    assert (manifold_radii(x, 3).numpy() == np.sort(slow_distances(x, x), axis=1)[:, 3]).all()
    assert (manifold_radii(x, 3).numpy() != without_self).any()  # rank 3 of the others is one too far
    assert manifold_radii(np.array([[0.0], [0], [0], [0], [9]]), 3).tolist() == [0, 0, 0, 0, 81]


def test_a_distance_equal_to_the_radius():
    # 19 is exactly 9 from 10, whose squared radius is 81: inside for precision, outside for density.
    at_the_edge = np.array([[19.0], [100], [200], [300]])
    assert precision_recall(samples=at_the_edge, reference=HAND_REFERENCE).precision == 0.25
    assert density_coverage(samples=at_the_edge, reference=HAND_REFERENCE, k=3) == (0, 0)


def test_convention_mode_collapse():
    # Samples in one corner of the reference: each is realistic, most of the reference is missed.
    reference = RS(0).randn(300, 2)
    collapsed = precision_recall(samples=RS(1).randn(300, 2) * 0.02, reference=reference)
    assert collapsed.precision > 0.95 and collapsed.recall < 0.1
    scattered = precision_recall(samples=RS(1).randn(300, 2) * 20, reference=reference)
    assert scattered.precision < 0.3 and scattered.recall > 0.95
    # A reference that is hit in one place only is barely covered, however densely.
    quality = density_coverage(samples=RS(1).randn(300, 2) * 0.02, reference=reference)
    assert quality.density > 1 and quality.coverage < 0.2
    same = density_coverage(samples=RS(2).randn(300, 2), reference=reference)
    assert same.density == pytest.approx(1, abs=0.15) and same.coverage > 0.9


def test_far_from_the_origin(sets):
    # Without the shift to the mean, float32 loses these distances completely.
    shifted = {name: features + np.float32(2**12) for name, features in sets.items()}
    shifted_back = {name: features - np.float32(2**12) for name, features in shifted.items()}
    assert precision_recall(**shifted) == precision_recall(**shifted_back)
    x = torch.from_numpy(shifted['reference'])
    naive = (
        (x.square().sum(1)[:, None] - 2 * x @ x.T + x.square().sum(1)).clamp(min=0).sort(dim=1).values[:, 3]
    )
    assert not torch.allclose(naive, manifold_radii(x), rtol=0.1)


def test_half_precision_follows_openai(sets):
    x, y = sets['reference'], sets['samples']
    expected = half_distances(x, x)
    assert expected.diagonal().max() == 0.00390625
    assert (
        manifold_radii(x, 3, mode='openai-fp16', block=17).numpy() == np.sort(expected, axis=1)[:, 3]
    ).all()
    assert (manifold_radii(x, 3, mode='openai-fp16').numpy() != manifold_radii(x, 3).numpy()).any()
    # Features as large as Inception's round so coarsely that results differ from the exact ones.
    big, other = x.repeat(512, axis=1) / 2, y.repeat(512, axis=1) / 2
    radii = [np.sort(half_distances(z, z), axis=1)[:, 3] for z in (big, other)]
    d = half_distances(big, other)
    precision, recall = (d <= radii[0][:, None]).any(axis=0).mean(), (d <= radii[1][None]).any(axis=1).mean()
    assert precision_recall(samples=other, reference=big, mode='openai-fp16') == (precision, recall)


def test_half_precision_overflow_falls_back_by_block(sets, monkeypatch):
    x = sets['reference'] * 300  # squared norms beyond 65504 in places
    with np.errstate(over='ignore', invalid='ignore'):
        assert not np.isfinite(half_distances(x, x)).all()
    assert torch.equal(manifold_radii(x, 3, mode='openai-fp16'), manifold_radii(x, 3))
    # Norms that fit, but sums that do not: found by looking at the distances.
    far = np.zeros([8, 4], dtype=np.float32)
    far[:4, 0], far[4:, 0] = 200, -200
    far[:, 1] = np.arange(8)
    assert torch.equal(manifold_radii(far, 3, mode='openai-fp16'), manifold_radii(far, 3))
    # In blocks of 4 the two halves stay in float16, and only the mixed blocks fall back.
    monkeypatch.setattr(manifold._OpenAIFp16, 'period', 4)
    arithmetic = manifold._OpenAIFp16(torch.from_numpy(far), torch.from_numpy(far))
    for rows, cols in ((slice(0, 2), slice(1, 4)), (slice(2, 4), slice(4, 8))):
        arithmetic.tile(rows, cols)
    assert arithmetic._overflow == {(0, 0): False, (0, 4): True}


def test_tiles_respect_the_period():
    cut = manifold._slices(slice(0, 25), 4, period=10)
    assert [(s.start, s.stop) for s in cut] == [
        (0, 4),
        (4, 8),
        (8, 10),
        (10, 14),
        (14, 18),
        (18, 20),
        (20, 24),
        (24, 25),
    ]
    assert [(s.start, s.stop) for s in manifold._slices(slice(10, 25), 10)] == [(10, 20), (20, 25)]


def test_progress_sees_all_tiles(sets):
    seen = []

    def progress(items, desc, total, unit):
        seen.append((desc, len(items)))
        return items

    expected = precision_recall(**sets)
    assert precision_recall(**sets, block=20, progress=progress) == expected
    assert seen == [
        ('Radii', 10),
        ('Radii', 6),
        ('Precision and recall', 12),
    ]  # half of 4 x 4 and of 3 x 3; 3 x 4


@pytest.mark.parametrize(
    'options, words',
    [
        (dict(k=60), 'reference has 60 images and k=60'),
        (dict(k=0), 'k=0'),
        (dict(samples=np.zeros([3, 4])), 'samples has 3 images and k=3'),
        (dict(mode='fast'), "mode='fast' is not known; choose one of exact, openai-fp16"),
        (dict(samples=np.zeros([9, 3])), '3 features'),
        (dict(samples=np.full([9, 4], np.inf)), 'samples holds values that are not finite'),
    ],
)
def test_bad_input_is_named(sets, options, words):
    with pytest.raises(ValueError, match=words):
        precision_recall(**{**sets, **options})


def test_order_of_arguments_cannot_be_confused(sets):
    with pytest.raises(TypeError):
        precision_recall(sets['samples'], sets['reference'])
    with pytest.raises(TypeError):
        density_coverage(sets['samples'], sets['reference'])
