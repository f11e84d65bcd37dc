# Copyright 2026 The GDD-1S authors.
# SPDX-License-Identifier: Apache-2.0

"""Memorisation: values by hand, slow references, copies flagged, held-out images pass, refusals."""

import numpy as np
import pytest
import torch

from evaluations.metrics.memorization import (
    Cell,
    authenticity,
    compare_distances,
    copying_score,
    data_copying,
    kmeans,
    nearer_share,
    principal_components,
    rank_score,
)
from evaluations.metrics.nearest import nearest_neighbours, nearest_others

RS = np.random.RandomState


def column(*values):
    return torch.tensor(values, dtype=torch.float64)[:, None]


def both(samples, training):
    return nearest_neighbours(samples, training), nearest_others(training)


@pytest.fixture(scope='module')
def gauss():
    """Training, held-out and fresh images of one distribution, float64 [600, 8] each."""
    return [torch.from_numpy(RS(seed).randn(600, 8)) for seed in range(3)]


def test_authenticity_by_hand():
    training, samples = column(0, 1, 3, 7), column(0, 0.4, 2.2, 12, -1.5, -1)
    assert 100 * authenticity(*both(samples, training)) == pytest.approx(33.3333333333)
    assert 100 * authenticity(*both(samples[:5], training)) == pytest.approx(40)
    # Own distances 1, 1, 2, 4 with median 1.5; those of the samples 0, 0.4, 0.8, 5, 1.5 and 1.
    assert nearer_share(*both(samples, training)) == pytest.approx(4 / 6)


def slow_authenticity(samples, training):
    """The definition, image by image."""
    count = 0
    for g in samples:
        distances = [np.linalg.norm(g - t) for t in training]
        star = int(np.argmin(distances))
        others = [np.linalg.norm(training[star] - t) for j, t in enumerate(training) if j != star]
        count += min(others) < distances[star]
    return count / len(samples)


def test_authenticity_against_the_definition(gauss):
    training, samples = gauss[0][:80], gauss[2][:60]
    value = authenticity(*both(samples, training))
    assert value == slow_authenticity(samples.numpy(), training.numpy())
    # A wrong version: the image's own distance of 0 among the neighbours makes every image authentic.
    assert authenticity(nearest_neighbours(samples, training), nearest_neighbours(training, training)) == 1
    assert value < 1


def test_held_out_points_on_a_line_are_authentic_in_a_third_of_the_cases():
    training, heldout = (torch.from_numpy(RS(seed).rand(4000, 1)) for seed in (0, 1))
    assert authenticity(*both(heldout, training)) == pytest.approx(1 / 3, abs=0.03)


def test_copies_are_flagged_and_held_out_images_pass(gauss):
    training, heldout, fresh = gauss
    copies, good = both(training[:300], training), both(fresh, training)
    assert authenticity(*copies) == 0 and nearer_share(*copies) == 1
    assert 0.4 < authenticity(*good) < 0.6 and 0.4 < nearer_share(*good) < 0.6
    assert data_copying(training[:300], training, heldout).value < -12
    assert abs(data_copying(fresh, training, heldout).value) < 3
    assert data_copying(fresh * 3, training, heldout).value > 10  # far away is not copied
    assert compare_distances(training, training, heldout).nearer_to_train == 1
    near = compare_distances(fresh, training, heldout)
    assert near.nearer_to_train == pytest.approx(0.5, abs=0.06) and near.train == pytest.approx(
        near.heldout, rel=0.05
    )


def test_distances_are_to_equally_many_images(gauss):
    training, heldout, fresh = gauss
    found = compare_distances(fresh, training, heldout[:100])
    assert found.num_images == 100 and found.train == pytest.approx(found.heldout, rel=0.1)
    # The rejected way: all training images are nearer just because they are more.
    all_of_them = nearest_neighbours(fresh, training).distances.quantile(0.5)
    assert float(all_of_them) < 0.9 * found.heldout


def test_rank_score_by_hand_and_against_scipy():
    stats = pytest.importorskip('scipy.stats')
    score = rank_score(torch.tensor([0.5, 0.2, 1.0]), torch.tensor([1.0, 2.0, 3.0]))
    assert score == pytest.approx(-1.5275252317, rel=1e-9)
    n = 10000
    near, far = torch.zeros(n, dtype=torch.float64), torch.ones(n, dtype=torch.float64)
    assert rank_score(near, far) == pytest.approx(-122.4714241671, rel=1e-9)
    assert rank_score(near.repeat(5), far) == pytest.approx(-158.1125650930, rel=1e-9)
    q, p = RS(0).rand(30), RS(1).rand(40) + 0.1
    u = stats.mannwhitneyu(q, p).statistic
    expected = (u - (30 * 40 / 2 - 0.5)) / np.sqrt(30 * 40 * 71 / 12)
    assert rank_score(torch.from_numpy(q), torch.from_numpy(p)) == pytest.approx(expected)
    other = rank_score(torch.from_numpy(p), torch.from_numpy(q))  # the other way round
    assert other != pytest.approx(expected, abs=0.01)


def test_cells_by_hand():
    training, heldout, samples = column(0, 10), column(1, 2, 13), column(0.5, 0.2, 11)
    one = [torch.zeros(len(part), dtype=torch.int64) for part in (samples, training, heldout)]
    value, cells = copying_score(samples, training, heldout, *one, 0)
    assert value == pytest.approx(-1.5275252317) and cells == [Cell(3, 3, pytest.approx(value))]
    two = [(part[:, 0] >= 10).long() for part in (samples, training, heldout)]
    value, cells = copying_score(samples, training, heldout, *two, 0)
    assert [cell.score for cell in cells] == [pytest.approx(-1.1618950039), pytest.approx(0)]
    assert value == pytest.approx(-0.7745966692)
    value, cells = copying_score(samples, training, heldout, *two, 0.34)
    assert value == pytest.approx(-1.1618950039) and cells[1] == Cell(1, 1, None)
    with pytest.raises(ValueError, match='no cell has training images'):
        copying_score(samples, training, heldout, *two, 0.9)


def test_kmeans_finds_separate_groups_and_repeats_itself():
    groups = np.array([[0.0, 0], [10, 0], [0, 10]])
    points = torch.from_numpy(np.concatenate([RS(i).randn(50, 2) * 0.1 + c for i, c in enumerate(groups)]))
    centres = kmeans(points, 3, seed=0)
    assert np.abs(np.sort(centres.numpy(), axis=0) - np.sort(groups, axis=0)).max() < 0.1
    assert torch.equal(centres, kmeans(points, 3, seed=0))
    with pytest.raises(ValueError, match='3 cells of 1 different images'):
        kmeans(torch.zeros(5, 2, dtype=torch.float64), 3, seed=0)


def test_principal_components_keep_distances_in_a_plane():
    plane = torch.from_numpy(RS(0).randn(40, 2) @ RS(1).randn(2, 90) + 5)
    reduced = principal_components(plane, 2)(plane)
    assert reduced.shape == (40, 2)
    assert torch.allclose(torch.cdist(reduced, reduced), torch.cdist(plane, plane), atol=1e-5)


def test_more_than_64_features_are_reduced(gauss):
    wide = [torch.nn.functional.pad(part, (0, 80)) for part in gauss]
    narrow, reduced = (data_copying(s, t, h) for t, h, s in (gauss, wide))
    assert reduced.value == pytest.approx(narrow.value, rel=1e-6)
