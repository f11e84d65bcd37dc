# Copyright 2026 The GDD-1S authors.
# SPDX-License-Identifier: Apache-2.0

"""Nearest neighbours between sets of features, in blocks: memory grows with the sets, not with their product.

Legend: N M images, D features, k neighbours, R C rows and columns of a block.
"""

import typing
from collections.abc import Callable, Iterable

import torch

from evaluations.metrics.frechet import Array, as_feature_pair, as_features

ROWS, COLUMNS = 1024, 8192  # of a block
_SPARE = 4  # candidates beyond k that are compared again in float64

# Of items, what is done, their number and name; yields the items, as dnnlib.progress.with_progress does.
Progress = Callable[[list, str, int, str], Iterable]


class Neighbours(typing.NamedTuple):
    """The nearest points of each query, nearest first."""

    distances: torch.Tensor  # Euclidean, float64 [N, k]
    indices: torch.Tensor  # int64 [N, k]


def nearest_neighbours(
    queries: Array,
    points: Array,
    k: int = 1,
    rows: int = ROWS,
    columns: int = COLUMNS,
    progress: Progress | None = None,
) -> Neighbours:
    """Return the k nearest points of each query.

    Blocks of |q|^2 - 2 q p + |p|^2 find a few candidates; their distances are computed again by
    subtraction in float64. Without that, copies would come out at 3e-4 of the length of a vector, not 0.

    Args:
        queries, points: Features, float tensors or arrays [N, D] and [M, D].
        k: Neighbours, at least 1 and at most M.
        rows, columns: Size of a block.
        progress: Yields blocks and shows how many are done; or None.
    Returns:
        `Neighbours`, on the device of the queries.
    Raises:
        ValueError: Sets that cannot be compared, or fewer than k points.
    """
    queries, points = as_feature_pair(queries, points)
    return _search(queries, points, k, False, rows, columns, progress)


def nearest_others(
    features: Array, k: int = 1, rows: int = ROWS, columns: int = COLUMNS, progress: Progress | None = None
) -> Neighbours:
    """Return the k nearest other points of each point of one set: copies count, the point itself does not.

    Arguments, result and errors as of `nearest_neighbours`.
    """
    features = as_features('features', features)
    return _search(features, features, k, True, rows, columns, progress)


def _search(
    queries: torch.Tensor,
    points: torch.Tensor,
    k: int,
    skip_self: bool,
    rows: int,
    columns: int,
    progress: Progress | None,
) -> Neighbours:
    available = len(points) - skip_self
    if not 1 <= k <= available:
        raise ValueError(f'k={k} neighbours of {available} other images; k must be from 1 to their number')
    dtype = torch.promote_types(torch.promote_types(queries.dtype, points.dtype), torch.float32)
    centre = points.to(dtype).mean(dim=0)  # [D]: features far from the origin would lose their distances
    kept, found = min(k + _SPARE, available), []
    starts = list(range(0, len(queries), rows))
    for start in progress(starts, 'Neighbours', len(starts), 'blocks') if progress else starts:
        block = queries[start : start + rows]
        candidates = _candidates(
            block.to(dtype) - centre, points, centre, kept, start if skip_self else None, columns
        )
        found.append(_refine(block, points, candidates, k))
    return Neighbours(*(torch.cat(column) for column in zip(*found)))


def _candidates(
    block: torch.Tensor,
    points: torch.Tensor,
    centre: torch.Tensor,
    count: int,
    first_row: int | None,
    columns: int,
) -> torch.Tensor:
    """Return the indices [R, count] of about the nearest points; `first_row` numbers rows not to be found."""
    values, indices = None, None
    for start in range(0, len(points), columns):
        part = points[start : start + columns].to(block.dtype) - centre  # [C, D]
        tile = torch.addmm(part.square().sum(dim=1), block, part.T, alpha=-2)  # [R, C], less |q|^2
        if first_row is not None:
            own = torch.arange(len(block), device=tile.device) + first_row - start  # [R]
            inside = (own >= 0) & (own < len(part))
            tile[inside.nonzero()[:, 0], own[inside]] = torch.inf
        near = tile.topk(min(count, len(part)), dim=1, largest=False)
        new_values, new_indices = near.values, near.indices + start
        if values is not None:
            new_values, new_indices = torch.cat([values, new_values], 1), torch.cat([indices, new_indices], 1)
        best = new_values.topk(min(count, new_values.shape[1]), dim=1, largest=False).indices
        values, indices = new_values.gather(1, best), new_indices.gather(1, best)
    return indices


def _refine(
    block: torch.Tensor, points: torch.Tensor, candidates: torch.Tensor, k: int
) -> tuple[torch.Tensor, torch.Tensor]:
    """Return exact distances and indices [R, k] of the nearest candidates; equal ones by index."""
    candidates = candidates.sort(dim=1).values
    exact = torch.stack(
        [(block.double() - points[column].double()).norm(dim=1) for column in candidates.T], dim=1
    )  # [R, count]
    order = exact.sort(dim=1, stable=True).indices[:, :k]
    return exact.gather(1, order), candidates.gather(1, order)
