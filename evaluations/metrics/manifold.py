# Copyright 2026 The GDD-1S authors.
# SPDX-License-Identifier: Apache-2.0

"""Precision and recall (Kynkaanniemi et al. 2019), density and coverage (Naeem et al. 2020) of feature sets.

All compare distances between features with the distance of each point to its k-th neighbour
in its own set. Distances are computed tile by tile, so memory does not grow with the product
of the numbers of images, and nearly all time goes into matrix products.

Legend: N M images, D features, R C rows and columns of a tile.
"""

import typing
from collections.abc import Callable, Iterable, Iterator

import torch

from evaluations.metrics.frechet import Array, as_feature_pair, as_features

# Of items, what is done, their number and name; yields the items, as dnnlib.progress.with_progress does.
Progress = Callable[[list, str, int, str], Iterable]

MODES = ('exact', 'openai-fp16')
BLOCK = 4096  # rows and columns of a tile
PR_NEIGHBOURS = 3  # k of published precision and recall
DC_NEIGHBOURS = 5  # k of density and coverage, the authors' choice
_OPENAI_BLOCK = 10000  # rows and columns for which OpenAI's program chooses one precision
_SAFE_HALF = 60000  # below the largest float16, 65504, with room for rounding
_GROUP = 64  # columns that are reduced to their minimum before the search


class PrecisionRecall(typing.NamedTuple):
    """Fraction of samples on the manifold of the reference, and the reverse; 0..1."""

    precision: float
    recall: float


class DensityCoverage(typing.NamedTuple):
    """Mean number of reference balls around a sample, over k; fraction of reference balls with a sample."""

    density: float
    coverage: float


class _Exact:
    """Squared distances between the rows of two sets, in float32, or float64 if they have it.

    |x - y|^2 is computed as |x|^2 - 2 x y + |y|^2. The mean of the set is subtracted first: features
    far from the origin would lose their distances to rounding. It is rounded to whole numbers, so
    that nothing changes for small features.

    Args:
        x, y: Features, float tensors [N, D] and [M, D].
    """

    period = None

    def __init__(self, x: torch.Tensor, y: torch.Tensor) -> None:
        self._x, self._y = x, y
        self._dtype = torch.promote_types(torch.promote_types(x.dtype, y.dtype), torch.float32)
        self._centre = y.to(self._dtype).mean(dim=0).round()  # [D]
        self._x_norm, self._y_norm = self._norms(x), self._norms(y)  # [N], [M]
        self._last = None, None

    def _load(self, features: torch.Tensor, rows: slice) -> torch.Tensor:
        return features[rows].to(self._dtype) - self._centre  # [R, D]

    def _norm(self, values: torch.Tensor) -> torch.Tensor:
        return values.square().sum(dim=1)  # [R]

    def _norms(self, features: torch.Tensor) -> torch.Tensor:
        return torch.cat(
            [self._norm(self._load(features, part)) for part in _slices(slice(0, len(features)), BLOCK)]
        )

    def _load_rows(self, rows: slice) -> torch.Tensor:
        """Return rows of the first set; tiles come row by row, so the last ones are kept."""
        if self._last[0] != rows:
            self._last = rows, self._load(self._x, rows)
        return self._last[1]

    def tile(self, rows: slice, cols: slice) -> torch.Tensor:
        """Return the squared distances [R, C] between two slices of the sets."""
        product = torch.addmm(
            self._y_norm[cols], self._load_rows(rows), self._load(self._y, cols).T, alpha=-2
        )
        return product.add_(self._x_norm[rows, None]).clamp_(min=0)


class _OpenAIFp16(_Exact):
    """Squared distances with the rounding of OpenAI's evaluator, by which published numbers were made.

    Features, their squares, norms, products, difference and sum are rounded to float16; sums run in
    float32. Where anything overflows in a block of 10,000 x 10,000, that block is computed in float32.
    """

    period = _OPENAI_BLOCK

    def __init__(self, x: torch.Tensor, y: torch.Tensor) -> None:
        super().__init__(x, y)
        self._exact = _Exact(x, y)
        self._overflow = {}

    def _load(self, features: torch.Tensor, rows: slice) -> torch.Tensor:
        return features[rows].half().float()  # [R, D]

    def _norm(self, values: torch.Tensor) -> torch.Tensor:
        return values.square().half().float().sum(dim=1).half()  # [R]

    def _half_tile(self, rows: slice, cols: slice) -> torch.Tensor:
        product = (self._load_rows(rows) @ self._load(self._y, cols).T).half()  # [R, C]
        return (self._x_norm[rows, None] - 2 * product + self._y_norm[cols]).clamp_(min=0)

    def _overflows(self, rows: slice, cols: slice) -> bool:
        """Tell whether any distance of a large block is not finite; looks at all of them only if it must."""
        largest = float(self._x_norm[rows].max()), float(self._y_norm[cols].max())
        if sum(norm**0.5 for norm in largest) ** 2 <= _SAFE_HALF:  # triangle inequality
            return False
        return not all(
            self._half_tile(r, c).isfinite().all() for r in _slices(rows, BLOCK) for c in _slices(cols, BLOCK)
        )

    def tile(self, rows: slice, cols: slice) -> torch.Tensor:
        """Return the squared distances [R, C] between two slices of the sets, float32."""
        large = [
            slice(p := part.start // self.period * self.period, min(p + self.period, len(features)))
            for part, features in ((rows, self._x), (cols, self._y))
        ]
        key = tuple(part.start for part in large)
        if key not in self._overflow:
            self._overflow[key] = self._overflows(*large)
        return self._exact.tile(rows, cols) if self._overflow[key] else self._half_tile(rows, cols).float()


_ARITHMETIC = dict(zip(MODES, (_Exact, _OpenAIFp16)))


def _slices(whole: slice, block: int, period: int | None = None) -> list[slice]:
    """Cut a slice into slices of at most `block`, none of which crosses a multiple of `period`."""
    period = period or whole.stop
    return [
        slice(begin, min(begin + block, start + period, whole.stop))
        for start in range(whole.start, whole.stop, period)
        for begin in range(start, min(start + period, whole.stop), block)
    ]


def _tiles(
    distances: _Exact,
    x: torch.Tensor,
    y: torch.Tensor,
    block: int,
    progress: Progress | None,
    desc: str,
    upper: bool = False,
) -> Iterator[tuple[slice, slice, torch.Tensor]]:
    """Yield (rows, columns, squared distances) of all tiles, or of those not below the diagonal."""
    pairs = [
        (rows, cols)
        for rows in _slices(slice(0, len(x)), block, distances.period)
        for cols in _slices(slice(0, len(y)), block, distances.period)
        if not upper or cols.start >= rows.start
    ]
    for rows, cols in progress(pairs, desc, len(pairs), 'batches') if progress else pairs:
        yield rows, cols, distances.tile(rows, cols)


def _smallest(values: torch.Tensor, count: int) -> torch.Tensor:
    """Return the `count` smallest of each row, [R, C] -> [R, count], in any order.

    They lie in the `count` groups of columns with the smallest minima. Finding those takes one fast
    pass; searching whole rows would take longer than some matrix products.
    """
    if values.shape[1] < 4 * count * _GROUP:
        return values.topk(min(count, values.shape[1]), dim=1, largest=False).values
    tail = values.shape[1] % _GROUP
    groups = values[:, : values.shape[1] - tail].unflatten(1, (-1, _GROUP))  # [R, C / _GROUP, _GROUP]
    nearest = groups.amin(dim=2).topk(count, dim=1, largest=False).indices  # [R, count]
    candidates = groups.gather(1, nearest[:, :, None].expand(-1, -1, _GROUP)).flatten(
        1
    )  # [R, count * _GROUP]
    candidates = torch.cat([candidates, values[:, values.shape[1] - tail :]], dim=1)
    return candidates.topk(count, dim=1, largest=False).values


def _require_neighbours(name: str, features: torch.Tensor, k: int) -> None:
    if not 1 <= k < len(features):
        raise ValueError(
            f'{name} has {len(features)} images and k={k}; '
            'k must be at least 1 and less than the number of images'
        )


def _make_arithmetic(mode: str) -> type[_Exact]:
    if mode not in _ARITHMETIC:
        raise ValueError(f'mode={mode!r} is not known; choose one of {", ".join(MODES)}')
    return _ARITHMETIC[mode]


def manifold_radii(
    features: Array,
    k: int = PR_NEIGHBOURS,
    mode: str = 'exact',
    block: int = BLOCK,
    progress: Progress | None = None,
) -> torch.Tensor:
    """Return the squared distance of each point to its k-th nearest other point.

    The point itself is counted at rank 0, as in OpenAI's program, so a point with k copies has radius 0.

    Args:
        features: Float tensor or array [N, D], N > k.
        k: Rank of the neighbour, at least 1.
        mode: 'exact', or 'openai-fp16' for the rounding of published numbers.
        block: Rows and columns of a tile; a tile takes 4 block^2 bytes and a few times that for a moment.
        progress: Yields tiles and shows how many are done, such as `dnnlib.progress.with_progress`; or None.
    Returns:
        Squared radii, float tensor [N] on the device of the features.
    Raises:
        ValueError: Features or options that cannot be used.
    """
    features = as_features('features', features)
    _require_neighbours('features', features, k)
    distances = _make_arithmetic(mode)(features, features)
    symmetric = mode == 'exact'  # rounding in float16 depends on which point comes first
    nearest = [None] * len(features)
    for rows, cols, tile in _tiles(distances, features, features, block, progress, 'Radii', upper=symmetric):
        views = [(rows, tile)]
        if symmetric and cols.start != rows.start:
            views.append((cols, tile.T.contiguous()))
        for part, values in views:
            found = _smallest(values, k + 1)  # [R, k + 1]
            if nearest[part.start] is not None:
                found = _smallest(torch.cat([nearest[part.start], found], dim=1), k + 1)
            nearest[part.start] = found
    return torch.cat([found.amax(dim=1) for found in nearest if found is not None])


def precision_recall(
    *,
    samples: Array,
    reference: Array,
    k: int = PR_NEIGHBOURS,
    mode: str = 'exact',
    block: int = BLOCK,
    progress: Progress | None = None,
) -> PrecisionRecall:
    """Return the improved precision and recall of samples, as OpenAI's evaluator defines them.

    Precision is the fraction of samples within the radius of some reference point; recall is the
    fraction of reference points within the radius of some sample. A distance equal to the radius counts.
    Both depend strongly on the sizes of the sets; published numbers have 50,000 samples and 10,000
    reference images.

    Args:
        samples: Features of generated images, float tensor or array [N, D].
        reference: Features of real images, float [M, D].
        k, mode, block, progress: See `manifold_radii`.
    Returns:
        `PrecisionRecall`.
    Raises:
        ValueError: Features or options that cannot be used.
    """
    samples, reference = as_feature_pair(samples, reference)
    _require_neighbours('samples', samples, k)
    _require_neighbours('reference', reference, k)
    sample_radii, reference_radii = (
        manifold_radii(part, k, mode, block, progress) for part in (samples, reference)
    )
    precise = torch.zeros(len(samples), dtype=torch.bool, device=samples.device)
    recalled = torch.zeros(len(reference), dtype=torch.bool, device=samples.device)
    distances = _make_arithmetic(mode)(reference, samples)
    for rows, cols, tile in _tiles(distances, reference, samples, block, progress, 'Precision and recall'):
        precise[cols] |= (tile <= reference_radii[rows, None]).any(dim=0)
        recalled[rows] |= (tile <= sample_radii[cols]).any(dim=1)
    return PrecisionRecall(float(precise.double().mean()), float(recalled.double().mean()))


def density_coverage(
    *,
    samples: Array,
    reference: Array,
    k: int = DC_NEIGHBOURS,
    block: int = BLOCK,
    progress: Progress | None = None,
) -> DensityCoverage:
    """Return density and coverage of samples.

    Unlike `precision_recall`, and as in the authors' program, a distance equal to the radius does not count.

    Args:
        samples: Features of generated images, float tensor or array [N, D].
        reference: Features of real images, float [M, D].
        k, block, progress: See `manifold_radii`.
    Returns:
        `DensityCoverage`; density may exceed 1.
    Raises:
        ValueError: Features or options that cannot be used.
    """
    samples, reference = as_feature_pair(samples, reference)
    _require_neighbours('reference', reference, k)
    radii = manifold_radii(reference, k, 'exact', block, progress)
    inside_count = 0
    covered = torch.zeros(len(reference), dtype=torch.bool, device=samples.device)
    for rows, _cols, tile in _tiles(
        _Exact(reference, samples), reference, samples, block, progress, 'Density and coverage'
    ):
        inside = tile < radii[rows, None]  # [R, C]
        inside_count += int(inside.sum())
        covered[rows] |= inside.any(dim=1)
    return DensityCoverage(inside_count / (k * len(samples)), float(covered.double().mean()))
