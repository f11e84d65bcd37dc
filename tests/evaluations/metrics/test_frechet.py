# Copyright 2026 The GDD-1S authors.
# SPDX-License-Identifier: Apache-2.0

"""Frechet distance and class accuracy: published vectors, slow references, wrong versions."""

import numpy as np
import pytest
import scipy.linalg
import torch

from evaluations.metrics.frechet import frechet_distance, frechet_parts

RS = np.random.RandomState


def moments(x, ddof=1):
    return x.mean(axis=0), np.cov(x, rowvar=False, ddof=ddof)


def vector_v1():
    return RS(0).randn(500, 16), RS(1).randn(400, 16) * 1.5 + 0.5


def vector_v2():
    return RS(2).rand(10, 16), RS(3).rand(12, 16)


def vector_v5():
    r = RS(10)
    w = r.randn(64, 64) * np.exp(-np.arange(64) / 8)[:, np.newaxis]
    return np.maximum(r.randn(3000, 64) @ w, 0), np.maximum(r.randn(3000, 64) @ w + 0.02, 0)


def slow_frechet(mu1, sigma1, mu2, sigma2):
    """The definition, with the general (not symmetric) eigenvalues of the product."""
    root_trace = np.sqrt(np.linalg.eigvals(sigma1 @ sigma2).astype(complex)).sum().real
    return np.square(mu1 - mu2).sum() + np.trace(sigma1) + np.trace(sigma2) - 2 * root_trace


def distance(x, y, function=frechet_distance, ddof=1):
    return function(*moments(x, ddof), *moments(y, ddof))


# Values of the specification, made with a matrix square root; tolerances are its own.
@pytest.mark.parametrize(
    'vector, expected, tolerance',
    [
        (vector_v1, 9.301107299963, 1e-11),
        (vector_v2, 1.160536563943, 1e-11),  # rank 9 and 11 of 16; the specification allows 5e-8
        (vector_v5, 0.477512373712, 1e-9),
    ],
)
def test_published_vectors(vector, expected, tolerance):
    assert distance(*vector()) == pytest.approx(expected, abs=tolerance)


def test_parts_of_v1():
    x, y = vector_v1()
    (mu1, sigma1), (mu2, sigma2) = moments(x), moments(y)
    mean_term, cov_term = frechet_parts(mu1, sigma1, mu2, sigma2)
    assert mean_term == pytest.approx(4.680582108438514, rel=1e-12)
    assert mean_term + cov_term == frechet_distance(mu1, sigma1, mu2, sigma2)
    assert np.trace(sigma1) == pytest.approx(15.583391030920, rel=1e-12)


def test_hand_computed_values():
    args = np.zeros(3), np.diag([1.0, 4, 9]), np.array([1.0, 2, 0]), np.diag([4.0, 4, 1])
    assert frechet_distance(*args) == pytest.approx(10, abs=1e-12)  # 5 + (1-2)^2 + (2-2)^2 + (3-1)^2
    assert frechet_distance([0], [[1]], [1], [[4]]) == pytest.approx(2, abs=1e-14)


@pytest.mark.parametrize('vector', [vector_v1, vector_v5])
def test_agrees_with_the_definition(vector):
    assert distance(*vector()) == pytest.approx(distance(*vector(), function=slow_frechet), rel=1e-6)


@pytest.mark.parametrize('vector', [vector_v1, vector_v5])
def test_agrees_with_the_matrix_square_root(vector):
    x, y = vector()
    (mu1, sigma1), (mu2, sigma2) = moments(x), moments(y)
    official = np.square(mu1 - mu2).sum() + np.trace(
        sigma1 + sigma2 - 2 * np.real(scipy.linalg.sqrtm(sigma1 @ sigma2))
    )
    assert frechet_distance(mu1, sigma1, mu2, sigma2) == pytest.approx(official, rel=1e-9)


def few_samples(num, dim=128):
    """Features like a network's: not negative, with a falling spectrum, and fewer than dimensions."""
    r = RS(num)
    return np.maximum(
        r.randn(num, dim) @ (RS(1).randn(dim, dim) * np.exp(-np.arange(dim) / 20)[:, np.newaxis]), 0
    )


@pytest.mark.parametrize('num_x, num_y', [(50, 70), (70, 50), (50, 1000), (1000, 50), (2, 2)])
def test_stable_for_fewer_samples_than_dimensions(num_x, num_y):
    x, y = few_samples(num_x), few_samples(num_y) * 1.1 + 0.05
    # Independent of covariances: the sum of the singular values of the product of the centred features.
    a, b = (x - x.mean(axis=0)) / np.sqrt(num_x - 1), (y - y.mean(axis=0)) / np.sqrt(num_y - 1)
    root_trace = np.linalg.svd(a @ b.T, compute_uv=False).sum()
    exact = (
        np.square(x.mean(axis=0) - y.mean(axis=0)).sum()
        + np.square(a).sum()
        + np.square(b).sum()
        - 2 * root_trace
    )
    assert distance(x, y) == pytest.approx(exact, rel=1e-11)
    assert abs(distance(x, x)) < 1e-10 * np.square(a).sum()


def test_keeping_rounded_eigenvalues_would_be_less_exact():
    x, y = few_samples(50), few_samples(70)

    def keeps_all(mu1, s1, mu2, s2):  # the same formula without the look at the rank
        w, v = np.linalg.eigh(s1)
        root = (v * np.sqrt(np.clip(w, 0, None))) @ v.T
        eig = np.linalg.eigvalsh(root @ s2 @ root).clip(0)
        return np.square(mu1 - mu2).sum() + np.trace(s1) + np.trace(s2) - 2 * np.sqrt(eig).sum()

    exact = distance(x, y)
    assert abs(distance(x, y, keeps_all) - exact) > 1e-10 * exact


def test_tensors_and_arrays_give_the_same():
    x, y = vector_v1()
    tensors = [torch.from_numpy(part) for part in (*moments(x), *moments(y))]
    assert frechet_distance(*tensors) == distance(x, y)
    assert frechet_distance(*(part.float() for part in tensors)) == pytest.approx(distance(x, y), rel=1e-6)


def test_identical_sets_are_at_zero():
    x = vector_v1()[0]
    assert abs(distance(x, x)) < 1e-12
    small = vector_v2()[0]
    assert abs(distance(small, small)) < 1e-12


def test_symmetric_and_invariant_under_rotation():
    x, y = vector_v1()
    q = np.linalg.qr(RS(4).randn(16, 16))[0]
    assert distance(y, x) == pytest.approx(distance(x, y), rel=1e-12)
    assert distance(x @ q, y @ q) == pytest.approx(distance(x, y), rel=1e-12)


def test_constant_features_give_the_mean_term():
    assert frechet_distance([1, 2], np.zeros([2, 2]), [4, 6], np.zeros([2, 2])) == 25


def test_rejects_wrong_versions():
    def roots_of_each(mu1, s1, mu2, s2):  # forgets that the covariances do not commute
        roots = [np.sqrt(np.linalg.eigvalsh(s)) for s in (s1, s2)]
        return np.square(mu1 - mu2).sum() + np.square(roots[0] - roots[1]).sum()

    x, y = vector_v1()
    assert abs(distance(x, y, roots_of_each) - 9.301107299963) > 1e-2
    # The biased covariance (divided by N) of the StyleGAN family is another number.
    assert distance(x, y, ddof=0) == pytest.approx(9.285616987010, abs=1e-11)


@pytest.mark.parametrize(
    'args, words',
    [
        (([0, 0], np.eye(2), [0], np.eye(1)), 'same length'),
        (([0, 0], np.eye(3), [0, 0], np.eye(2)), r'sigma1 has shape \(3, 3\)'),
        (([0, 0], np.eye(2), [0, np.nan], np.eye(2)), 'mean holds values that are not finite'),
        (([0, 0], np.eye(2), [0, 0], np.full([2, 2], np.inf)), 'sigma2 holds values that are not finite'),
        (([0, 0], np.diag([1.0, -1]), [0, 0], np.eye(2)), 'sigma1 has the eigenvalue -1'),
        (([0, 0], np.eye(2), [0, 0], np.diag([1.0, -1])), 'sigma2 has the eigenvalue -1'),
    ],
)
def test_bad_statistics_are_named(args, words):
    with pytest.raises(ValueError, match=words):
        frechet_distance(*args)
