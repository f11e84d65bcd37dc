# Copyright 2026 The GDD-1S authors.
# SPDX-License-Identifier: Apache-2.0

"""Does a generator repeat its training images? AuthPct (Alaa et al. 2022, arXiv 2102.08921, as dgm-eval
computes it), C_T (Meehan et al. 2020, arXiv 2004.05675), and plain distances to training and held-out images.

Legend: T training images, P held-out images, Q samples, D features, L reduced features, K cells.
"""

import typing

import numpy as np
import torch

from evaluations.metrics.frechet import Array, as_feature_pair, as_features
from evaluations.metrics.nearest import Neighbours, Progress, nearest_neighbours

CELLS = 3  # of dgm-eval, and of the authors on ImageNet
MIN_SAMPLES = 20  # a cell counts with more samples than that
MAX_FEATURES = 64  # more are reduced by principal components
_STARTS, _STEPS = 10, 100  # of k-means


class Cell(typing.NamedTuple):
    """One cell of C_T: numbers of held-out images and samples, and the z-score of the samples' distances."""

    heldout: int
    samples: int
    score: float | None  # None where it is left out


class DataCopying(typing.NamedTuple):
    """C_T, far below 0 for copies, and far above 0 for samples that are farther away than held-out images."""

    value: float
    cells: list[Cell]
    seed: int


class Distances(typing.NamedTuple):
    """Where samples lie between as many training images as held-out ones."""

    train: float  # median distance to the nearest training image
    heldout: float  # median distance to the nearest held-out image
    nearer_to_train: float  # share of samples for which the training image is the nearer one, 0..1
    num_images: int  # of either set


def authenticity(nearest: Neighbours, among: Neighbours) -> float:
    """Return the share of authentic samples, 0..1; AuthPct is 100 times that.

    A sample is authentic if its nearest training image is nearer to another one than to the sample. Equal
    distances are not. Fresh data give a third to a half, depending on the dimension; garbage gives 1.

    Args:
        nearest: Of the samples among the training images, as `nearest_neighbours` returns them.
        among: Of the training images among themselves, as `nearest_others` returns them.
    """
    own = among.distances[:, 0][nearest.indices[:, 0]]  # [Q]
    return float((own < nearest.distances[:, 0]).double().mean())


def nearer_share(nearest: Neighbours, among: Neighbours) -> float:
    """Return the share of samples nearer to a training image than half of the training images are to another.

    Args:
        nearest, among: As for `authenticity`.
    Returns:
        Share of samples whose distance is below the median of the training images' own, 0..1: about 0.5 for
        fresh data, 1 for copies.
    """
    return float((nearest.distances[:, 0] < among.distances[:, 0].quantile(0.5)).double().mean())


def compare_distances(
    samples: Array, training: Array, heldout: Array, seed: int = 0, progress: Progress | None = None
) -> Distances:
    """Compare the distances of samples to training images and to held-out ones, equally many of both.

    Args:
        samples, training, heldout: Features, float [Q, D], [T, D], [P, D].
        seed: Of the random choice from the larger set.
        progress: As for `nearest_neighbours`.
    Raises:
        ValueError: Sets that cannot be compared.
    """
    size, rng = min(len(training), len(heldout)), np.random.RandomState(seed)
    near = []
    for points in (training, heldout):
        if len(points) > size:
            points = points[np.sort(rng.permutation(len(points))[:size])]
        near.append(nearest_neighbours(samples, points, progress=progress).distances[:, 0])  # [Q]
    train, held = near
    nearer = (train < held).double() + 0.5 * (train == held).double()
    return Distances(float(train.quantile(0.5)), float(held.quantile(0.5)), float(nearer.mean()), size)


def data_copying(
    samples: Array,
    training: Array,
    heldout: Array,
    cells: int = CELLS,
    min_samples: int = MIN_SAMPLES,
    seed: int = 0,
) -> DataCopying:
    """Return C_T: are samples nearer to the training images than held-out images are?

    Cells are those of k-means on the training images, after principal components of these where there are
    more than 64 features. Values are z-scores: they grow with the square root of the numbers of images.

    Args:
        samples, training, heldout: Features, float [Q, D], [T, D], [P, D].
        cells: K.
        min_samples: Cells with no more samples are left out.
        seed: Of k-means.
    Raises:
        ValueError: Sets that cannot be compared, or no cell with enough images.
    """
    training, heldout = (
        part.double() for part in as_feature_pair(as_features('training', training), heldout)
    )
    samples = as_feature_pair(training, samples)[1].double()
    reduce = principal_components(training) if samples.shape[1] > MAX_FEATURES else lambda x: x
    training, heldout, samples = reduce(training), reduce(heldout), reduce(samples)  # [.., L]
    centres = kmeans(training, cells, seed)  # [K, L]
    labels = [nearest_neighbours(part, centres).indices[:, 0] for part in (samples, training, heldout)]
    value, parts = copying_score(samples, training, heldout, *labels, min_samples / len(samples))
    return DataCopying(value, parts, seed)


def copying_score(
    samples: torch.Tensor,
    training: torch.Tensor,
    heldout: torch.Tensor,
    sample_cells: torch.Tensor,
    training_cells: torch.Tensor,
    heldout_cells: torch.Tensor,
    least_share: float,
) -> tuple[float, list[Cell]]:
    """Return C_T of images in given cells, and what each cell gives.

    Args:
        samples, training, heldout: Features, float [Q, D], [T, D], [P, D].
        sample_cells, training_cells, heldout_cells: Cell of each image, int [Q], [T], [P].
        least_share: Cells whose share of the samples is not above it are left out.
    Raises:
        ValueError: No cell is left.
    """
    parts = []
    for cell in range(int(max(part.max() for part in (sample_cells, training_cells, heldout_cells))) + 1):
        q, p, t = (
            features[cells == cell]
            for features, cells in (
                (samples, sample_cells),
                (heldout, heldout_cells),
                (training, training_cells),
            )
        )
        usable = len(q) > least_share * len(samples) and len(p) > 0 and len(t) > 0
        score = None
        if usable:
            score = rank_score(*(nearest_neighbours(part, t).distances[:, 0] for part in (q, p)))
        parts.append(Cell(len(p), len(q), score))
    kept = [part for part in parts if part.score is not None]
    if not kept:
        raise ValueError(
            f'no cell has training images, held-out images and more than {least_share:.3g} of the samples; '
            'give more images'
        )
    return sum(part.heldout * part.score for part in kept) / sum(part.heldout for part in kept), parts


def rank_score(samples: torch.Tensor, heldout: torch.Tensor) -> float:
    """Return the z-score of Mann and Whitney's U with continuity correction: below 0 if samples are smaller.

    Args:
        samples, heldout: Distances, float [m] and [n].
    """
    m, n = len(samples), len(heldout)
    ordered = heldout.sort().values
    below = torch.searchsorted(ordered, samples, side='left').double()  # held-out distances below each
    up_to = torch.searchsorted(ordered, samples, side='right').double()  # and those equal to it
    larger = float(((below + up_to) / 2).sum())  # pairs with a larger sample, ties half
    return (larger - (n * m / 2 - 0.5)) / (n * m * (n + m + 1) / 12) ** 0.5


def principal_components(
    points: torch.Tensor, count: int = MAX_FEATURES
) -> typing.Callable[[torch.Tensor], torch.Tensor]:
    """Return the function that projects features [N, D] to the leading components [N, L] of a set."""
    mean = points.mean(dim=0)
    basis = torch.linalg.eigh((points - mean).T @ (points - mean)).eigenvectors[:, -count:]  # [D, L]
    return lambda features: (features - mean) @ basis


def kmeans(points: torch.Tensor, count: int, seed: int) -> torch.Tensor:
    """Return the centres [K, D] of Lloyd's algorithm: the best of ten starts by k-means++.

    Args:
        points: Float64 [N, D].
        count: K, at most the number of different points.
        seed: Of the starts.
    Raises:
        ValueError: Fewer different points than centres.
    """
    rng, best = np.random.RandomState(seed), (np.inf, None)
    for _ in range(_STARTS):
        centres = _spread_start(points, count, rng)
        for _ in range(_STEPS):
            labels = torch.cdist(points, centres).argmin(dim=1)  # [N]
            counts = torch.bincount(labels, minlength=count)[:, None]  # [K, 1]
            sums = torch.zeros_like(centres).index_add_(0, labels, points)  # [K, D]
            moved = torch.where(counts > 0, sums / counts.clamp(min=1), centres)
            if torch.equal(moved, centres):
                break
            centres = moved
        cost = float(torch.cdist(points, centres).amin(dim=1).square().sum())
        if cost < best[0]:
            best = cost, centres
    return best[1]


def _spread_start(points: torch.Tensor, count: int, rng: np.random.RandomState) -> torch.Tensor:
    """Choose points as centres, each with a probability that grows with its distance to those before."""
    centres = points[rng.randint(len(points))][None]  # [1, D]
    while len(centres) < count:
        weights = torch.cdist(points, centres).amin(dim=1).square().cpu().numpy()  # [N]
        if not weights.sum() > 0:
            raise ValueError(f'{count} cells of {len(centres)} different images; give more images')
        chosen = rng.choice(len(points), p=weights / weights.sum())
        centres = torch.cat([centres, points[chosen][None]])
    return centres
