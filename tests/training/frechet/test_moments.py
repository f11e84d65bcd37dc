# Copyright 2026 The GDD-1S authors.
# SPDX-License-Identifier: Apache-2.0
"""Tests of training/frechet/moments.py: gradients by hand, by autograd and by differences; the queue's
sums."""

import pytest
import torch

from dnnlib.errors import ArgumentError
from training.frechet import moments
from training.frechet.distance import Reference
from training.frechet.moments import FeatureQueue, MovingMoments


def double(values):
    return torch.tensor(values, dtype=torch.float64)


REFERENCE = Reference(double([0.0, 1.5]), double([[1.0, -0.3], [-0.3, 0.5]]))


def random_rows(count, dim, seed=0, dtype=torch.float32):
    return torch.randn(count, dim, generator=torch.Generator().manual_seed(seed), dtype=dtype)


def distance_and_gradient(population, batch, reference):
    population.push(batch)
    comparison = reference.compare(*population.moments())
    return float(comparison.distance), population.gradient(batch, comparison)


def autograd_of_the_eigenvalues(mean, covariance, reference, batch):
    """The distance from differentiable moments, and its gradient for the batch."""
    inner = reference.root @ covariance @ reference.root
    roots = torch.linalg.eigvalsh((inner + inner.T) / 2).sqrt().sum()
    value = (mean - reference.mean).square().sum()
    value = value + covariance.trace() + reference.covariance.trace() - 2 * roots
    return float(value.detach()), torch.autograd.grad(value, batch)[0]


def test_moving_moments_by_hand():
    """Specification 2.4: beta 0.9, a batch of three."""
    population = MovingMoments(torch.zeros(2, 2), beta=0.9)
    population.mean, population.second = (double(value) for value in ([0.5, 1.0], [[2.0, 0.7], [0.7, 2.2]]))
    batch = torch.tensor([[1.0, 0.0], [0.0, 2.0], [2.0, 1.0]])
    value, gradient = distance_and_gradient(population, batch, REFERENCE)
    assert value == pytest.approx(0.9093247580, abs=1e-9)
    expected = [[0.0309591105, -0.0513898346], [0.0408821603, -0.0165190158], [0.0583015736, -0.0153216687]]
    torch.testing.assert_close(gradient, double(expected), rtol=0, atol=1e-9)
    assert population.moments()[0].tolist() == pytest.approx([0.55, 1.0])


def test_queue_by_hand():
    """Specification 2.4: all four rows are new."""
    rows = torch.tensor([[1.0, 0.0], [0.0, 2.0], [2.0, 1.0], [0.5, 1.5]])
    value, gradient = distance_and_gradient(FeatureQueue(torch.zeros(4, 2)), rows, REFERENCE)
    assert value == pytest.approx(0.9556527002, abs=1e-9)
    expected = [
        [0.4785845007, -0.2930463477],
        [0.5153370995, -0.0648052179],
        [0.2852196428, -0.2572319124],
        [0.4708587569, -0.1349165220],
    ]
    torch.testing.assert_close(gradient, double(expected), rtol=0, atol=1e-9)


@pytest.mark.parametrize('kind', ['queue', 'moving'])
def test_gradient_against_autograd_and_differences(kind):
    """16 features, a population of 200, a batch of 24; the covariance of the other estimator is rejected."""
    start, batch = random_rows(200, 16), 1.5 * random_rows(24, 16, seed=1) + 0.3
    target = random_rows(400, 16, seed=2).double() * torch.linspace(0.5, 2, 16)
    reference = Reference(target.mean(dim=0), torch.cov(target.T))

    def make():
        return FeatureQueue(start.double()) if kind == 'queue' else MovingMoments(start, beta=0.9)

    value, gradient = distance_and_gradient(make(), batch, reference)
    leaf = batch.double().requires_grad_(True)
    if kind == 'queue':
        rows = torch.cat([leaf, start[24:].double()])
        mean, covariance = rows.mean(dim=0), torch.cov(rows.T)
    else:
        old = MovingMoments(start, beta=0.9)
        mean = 0.9 * old.mean + 0.1 * leaf.mean(dim=0)
        covariance = 0.9 * old.second + 0.1 * leaf.T @ leaf / 24 - torch.outer(mean, mean)
    by_autograd = autograd_of_the_eigenvalues(mean, covariance, reference, leaf)
    assert value == pytest.approx(by_autograd[0], rel=1e-9)
    torch.testing.assert_close(gradient, by_autograd[1], rtol=1e-8, atol=1e-10)
    direction = random_rows(24, 16, seed=3, dtype=torch.float64)
    up, down = (
        distance_and_gradient(make(), batch.double() + sign * 1e-5 * direction, reference)[0]
        for sign in (1, -1)
    )
    slope = float((gradient * direction).sum())
    assert (up - down) / 2e-5 == pytest.approx(slope, rel=1e-4)
    comparison = reference.compare(*make().moments())  # the moments before the batch: a stale gradient
    assert abs(float((make().gradient(batch, comparison) * direction).sum()) / slope - 1) > 1e-3


def test_permuted_batch_permutes_the_gradient():
    batch, order = random_rows(8, 4), torch.tensor([3, 1, 7, 0, 2, 6, 5, 4])
    reference = Reference(torch.ones(4), torch.eye(4))
    for make in (
        lambda: FeatureQueue(random_rows(32, 4, 1)),
        lambda: MovingMoments(random_rows(32, 4, 1), 0.5),
    ):
        plain, permuted = (
            distance_and_gradient(make(), rows, reference)[1] for rows in (batch, batch[order])
        )
        torch.testing.assert_close(plain[order], permuted)


def test_gradient_vanishes_where_the_moments_are_the_reference():
    rows = random_rows(64, 4)
    reference = Reference(rows.double().mean(dim=0), torch.cov(rows.double().T))
    value, gradient = distance_and_gradient(FeatureQueue(torch.zeros(64, 4)), rows, reference)
    assert value == pytest.approx(0, abs=1e-10) and gradient.abs().max() < 1e-9


def test_queue_forgets_the_oldest(monkeypatch):
    """Batches that do not divide the queue; its sums equal those of the rows, also after many batches."""
    stream = random_rows(500, 3)
    queue = FeatureQueue(stream[:10])
    for begin in range(10, 500, 7):
        queue.push(stream[begin : begin + 7])
        last = stream[: begin + 7][-10:].double()
        mean, covariance = queue.moments()
        torch.testing.assert_close(mean, last.mean(dim=0), rtol=1e-9, atol=1e-12)
        torch.testing.assert_close(covariance, torch.cov(last.T), rtol=1e-9, atol=1e-12)
    monkeypatch.setattr(moments, 'REFRESH', queue.batches + 1)
    queue.total += 1
    queue.push(stream[:1])
    torch.testing.assert_close(queue.total, queue.rows.double().sum(dim=0))


@pytest.mark.parametrize('kind', ['queue', 'moving'])
def test_resume_is_exact(kind):
    def make(rows):
        return FeatureQueue(rows) if kind == 'queue' else MovingMoments(rows, beta=0.9)

    first = make(random_rows(10, 3))
    first.push(random_rows(7, 3, seed=1))
    second = make(torch.zeros(10, 3))
    second.load_state_dict(first.state_dict())
    for population in (first, second):
        population.push(random_rows(7, 3, seed=2))
    assert all(torch.equal(a, b) for a, b in zip(first.moments(), second.moments()))


def test_impossible_sizes():
    with pytest.raises(ArgumentError, match='fd_queue=1 has no covariance'):
        FeatureQueue(torch.zeros(1, 3))
    with pytest.raises(ArgumentError, match='fd_queue=4 is smaller than a batch of 5; use fd_queue=50'):
        FeatureQueue(torch.zeros(4, 3)).push(torch.zeros(5, 3))
