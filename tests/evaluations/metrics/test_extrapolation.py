# Copyright 2026 The GDD-1S authors.
# SPDX-License-Identifier: Apache-2.0

"""FID-infinity: values by hand, the authors' sizes, a slow reference, refusals."""

import numpy as np
import pytest

from evaluations.metrics.extrapolation import extrapolate_frechet, fit_inverse, subset_sizes
from evaluations.metrics.frechet import frechet_distance

PUBLISHED = [5000, 8214, 11428, 14642, 17857, 21071, 24285, 27500, 30714, 33928, 37142, 40357, 43571, 46785]


def test_line_by_hand():
    assert fit_inverse([2, 4, 8], [5, 4, 3]) == (pytest.approx(2.5), pytest.approx(5.1428571429))
    sizes = [*PUBLISHED, 50000]
    assert fit_inverse(sizes, [3 + 2000 / n for n in sizes]) == (pytest.approx(3), pytest.approx(2000))


def test_sizes_are_those_of_the_authors():
    assert subset_sizes(50000, 2048) == [*PUBLISHED, 50000]
    assert subset_sizes(2000, 64)[0] == 200 and subset_sizes(2000, 320)[0] == 321
    with pytest.raises(ValueError, match='needs at least 4098 images'):
        subset_sizes(4000, 2048)


def test_against_separate_subsets():
    x = np.random.RandomState(0).randn(600, 4)
    mu, sigma = np.zeros(4), np.eye(4)
    found = extrapolate_frechet(x, mu, sigma, num_orders=1)
    order = np.random.RandomState(0).permutation(600)
    values = []
    for size in found.sizes:
        part = x[order[:size]]
        values.append(frechet_distance(part.mean(0), np.cov(part, rowvar=False), mu, sigma))
    assert (found.value, found.slope) == pytest.approx(fit_inverse(found.sizes, values))
    assert found.std == 0


def test_convention():
    # Samples of the reference's own distribution: the bias of few images goes, also its sign is open.
    x = np.random.RandomState(1).randn(4000, 16)
    mu, sigma = np.zeros(16), np.eye(16)
    found = extrapolate_frechet(x, mu, sigma)
    plain = frechet_distance(x.mean(0), np.cov(x, rowvar=False), mu, sigma)
    assert abs(found.value) < 0.5 * plain and found.slope > 0 and found.std > 0
    shifted = extrapolate_frechet(x + 1, mu, sigma)
    assert shifted.value == pytest.approx(16, rel=0.02)
    # A rejected way: a line in N instead of 1 / N ends elsewhere.
    slope, _ = np.polyfit([400, 4000], [plain * 10, plain], 1)
    assert slope < 0
