# Copyright 2026 The GDD-1S authors.
# SPDX-License-Identifier: Apache-2.0
"""How much faster and how exact the Frechet distance is without the matrix square root of SciPy.

    python -m benchmarks.frechet

Covariances of skewed features with a falling spectrum, like those of Inception. The ratio is that of
medians over repetitions; the two alternate. CPU seconds, unlike seconds, hardly depend on what else the
machine does.
"""

import statistics
import time
from collections.abc import Callable

import click
import numpy as np
import scipy
import scipy.linalg
import torch

from evaluations.metrics.frechet import frechet_distance


def official_distance(mu1: np.ndarray, sigma1: np.ndarray, mu2: np.ndarray, sigma2: np.ndarray) -> float:
    """The formula of the official programs, with the square root of the product."""
    root = scipy.linalg.sqrtm(sigma1 @ sigma2)
    return float(np.square(mu1 - mu2).sum() + np.trace(sigma1 + sigma2 - 2 * np.real(root)))


def make_moments(seed: int, images: int, dim: int) -> tuple[np.ndarray, np.ndarray]:
    """Return mean and covariance of random features."""
    rng = np.random.RandomState(seed)
    features = np.maximum(
        rng.randn(images, dim) * (1 + 20 * np.exp(-np.arange(dim) / (dim / 16))) + 0.1 * seed, 0
    )
    return features.mean(axis=0), np.cov(features, rowvar=False)


def timed(function: Callable, *args: object) -> tuple[float, float, object]:
    """Return (seconds, CPU seconds, result) of one call."""
    start, start_cpu = time.perf_counter(), time.process_time()
    result = function(*args)
    return time.perf_counter() - start, time.process_time() - start_cpu, result


# fmt: off
@click.command()
@click.option('--dim',     help='Number of features',              metavar='INT', type=click.IntRange(min=2),
              default=2048, show_default=True)
@click.option('--images',  help='Images behind each covariance',   metavar='INT', type=click.IntRange(min=2),
              default=10000, show_default=True)
@click.option('--repeats', help='Measurements of each',            metavar='INT', type=click.IntRange(min=1),
              default=3, show_default=True)
@click.option('--threads', help='PyTorch threads; SciPy follows OMP_NUM_THREADS', metavar='INT',
              type=click.IntRange(min=1), default=1, show_default=True)
def main(dim: int, images: int, repeats: int, threads: int) -> None:
    """Compare evaluations.metrics.frechet.frechet_distance with scipy.linalg.sqrtm."""
    torch.set_num_threads(threads)
    moments = *make_moments(1, images, dim), *make_moments(2, images, dim)
    seconds = {official_distance: [], frechet_distance: []}
    for _ in range(repeats):
        values = []
        for function, times in seconds.items():
            *elapsed, value = timed(function, *moments)
            times.append(elapsed)
            values.append(value)
    medians = [[statistics.median(column) for column in zip(*times)] for times in seconds.values()]
    (official, official_cpu), (ours, our_cpu) = medians
    print(f'{dim} features, {images} images, {threads} threads, SciPy {scipy.__version__}, '
          f'torch {torch.__version__}, median of {repeats}')
    print('| | seconds | CPU seconds | distance |\n|---|---:|---:|---:|')
    print(f'| scipy.linalg.sqrtm | {official:.2f} | {official_cpu:.2f} | {values[0]!r} |')
    print(f'| symmetric eigenvalues | {ours:.2f} | {our_cpu:.2f} | {values[1]!r} |')
    print(f'ratio {official / ours:.2f}, of CPU seconds {official_cpu / our_cpu:.2f}, '
          f'relative difference {abs(values[1] / values[0] - 1):.1e}')
# fmt: on


if __name__ == '__main__':
    main()
