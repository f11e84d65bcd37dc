# Copyright 2026 The GDD-1S authors.
# SPDX-License-Identifier: Apache-2.0

"""Kernel Inception distance: published vectors, a slow reference, wrong versions, conventions."""

import numpy as np
import pytest
import torch

from evaluations.metrics.kid import kernel_distance, polynomial_kernel, squared_mmd

RS = np.random.RandomState


@pytest.fixture(scope='module')
def sets():
    return RS(4).rand(50, 8), RS(5).rand(50, 8) + 0.1


def slow_mmd(x, y, include_self=False):
    """The definition, pair by pair."""

    def kernel(a, b):
        return (sum(float(u) * float(v) for u, v in zip(a, b)) / len(a) + 1) ** 3

    def self_term(z):
        pairs = [(i, j) for i in range(len(z)) for j in range(len(z)) if include_self or i != j]
        return sum(kernel(z[i], z[j]) for i, j in pairs) / len(pairs)

    cross = sum(kernel(a, b) for a in x for b in y) / (len(x) * len(y))
    return self_term(x) + self_term(y) - 2 * cross


def test_kernel_values(sets):
    x, y = map(torch.from_numpy, sets)
    assert polynomial_kernel(x, y)[0, :3].tolist() == pytest.approx(
        [2.805176077046, 2.398587988893, 2.497493243576], rel=1e-9
    )


def test_full_sets(sets):
    x, y = map(torch.from_numpy, sets)
    assert float(squared_mmd(x, y)) == pytest.approx(0.05410576664983, rel=1e-9)
    assert float(squared_mmd(x, y[:30])) == pytest.approx(0.04046121737647, rel=1e-9)


@pytest.mark.parametrize('size', [20, 30])
def test_agrees_with_the_definition(sets, size):
    x, y = sets[0][:20], sets[1][:size]
    value = float(squared_mmd(torch.from_numpy(x), torch.from_numpy(y)))
    assert value == pytest.approx(slow_mmd(x, y), rel=1e-9)
    assert abs(value - slow_mmd(x, y, include_self=True)) > 1e-3  # the biased estimate is another number


def test_subsets_of_torch_fidelity(sets):
    result = kernel_distance(samples=sets[0], reference=sets[1], num_subsets=10, subset_size=20, seed=2020)
    assert result.mean == pytest.approx(0.06595429082859, rel=1e-9)
    assert result.std == pytest.approx(0.04325401501587, rel=1e-9)
    two = kernel_distance(samples=sets[0], reference=sets[1], num_subsets=2, subset_size=20, seed=2020)
    assert two.mean == pytest.approx((0.04382554581743 + 0.05243602516375) / 2, rel=1e-9)


def test_subsets_of_stylegan_and_the_order_of_draws(sets):
    x, y = sets
    options = dict(num_subsets=10, subset_size=20, seed=0)
    assert kernel_distance(samples=y, reference=x, **options).mean == pytest.approx(
        0.07755845693433, rel=1e-9
    )
    # Drawing the reference first is another choice of subsets and must not pass.
    assert kernel_distance(samples=x, reference=y, **options).mean != pytest.approx(
        0.07755845693433, rel=1e-3
    )


def test_subsets_shrink_to_the_smaller_set(sets):
    result = kernel_distance(samples=sets[0], reference=sets[1][:30], subset_size=1000, num_subsets=3)
    same = kernel_distance(samples=sets[0], reference=sets[1][:30], subset_size=30, num_subsets=3)
    assert result == same
    whole = kernel_distance(samples=sets[0], reference=sets[1], num_subsets=3)
    assert whole.mean == pytest.approx(0.05410576664983, rel=1e-9)  # every subset is the whole set
    assert whole.std < 1e-12


def test_input_types(sets):
    x, y = sets
    expected = kernel_distance(samples=x, reference=y, num_subsets=3, subset_size=20)
    assert (
        kernel_distance(
            samples=torch.from_numpy(x), reference=torch.from_numpy(y), num_subsets=3, subset_size=20
        )
        == expected
    )
    single = kernel_distance(
        samples=x.astype(np.float32), reference=y.astype(np.float32), num_subsets=3, subset_size=20
    )
    assert single.mean == pytest.approx(expected.mean, rel=1e-5)


def test_convention():
    # Near 0 for two halves of one set, negative as often as not; grows when a set moves away.
    x = RS(1).rand(400, 8)
    same = kernel_distance(samples=x[:200], reference=x[200:], subset_size=50)
    near, far = (
        kernel_distance(samples=x[:200] + shift, reference=x[200:], subset_size=50).mean
        for shift in (0.1, 0.3)
    )
    assert abs(same.mean) < same.std < near < far


@pytest.mark.parametrize(
    'options, words',
    [
        (dict(samples=np.zeros([1, 8])), 'with num_subsets=100, subset_size=1000 is not defined'),
        (dict(subset_size=1), 'subset_size=1 is not defined'),
        (dict(num_subsets=0), 'num_subsets=0'),
        (dict(samples=np.zeros([5, 7])), '7 features and reference has 8'),
        (dict(samples=np.zeros([5])), r'samples is torch.float64 of shape \(5,\)'),
        (dict(reference=np.zeros([5, 8], dtype=np.int64)), 'reference is torch.int64'),
        (dict(reference=np.full([5, 8], np.nan)), 'reference holds values that are not finite'),
    ],
)
def test_bad_input_is_named(sets, options, words):
    with pytest.raises(ValueError, match=words):
        kernel_distance(**{'samples': sets[0], 'reference': sets[1], **options})
