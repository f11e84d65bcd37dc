# Copyright 2026 The GDD-1S authors.
# SPDX-License-Identifier: Apache-2.0

"""Measure samplers side by side: distance, class accuracy and speed of each, as rows of a table.

Legend: N images, C channels, H W pixels.
"""

import dataclasses
import json
import os
import time
from collections.abc import Callable, Iterable, Sequence
from typing import Any

import torch

from dnnlib.progress import ProgressBar
from dnnlib.util import atomic_write
from evaluations.detectors.registry import Detector
from evaluations.inputs.reference import Reference
from evaluations.measure import Meter
from evaluations.metrics.frechet import frechet_distance

_COLUMNS = ('sampler', 'network calls', 'images', 'Frechet distance', 'class accuracy', 'images/sec')


@dataclasses.dataclass(frozen=True)
class Row:
    """One line of the table; None stands for what does not apply."""

    name: str
    frechet: float
    accuracy: float | None  # 0..1
    images_per_sec: float | None
    nfe: int | None  # network calls per image
    num_images: int


def make_row(
    name: str, meter: Meter, ref_stats: Reference, images_per_sec: float | None = None, nfe: int | None = None
) -> Row:
    """Turn a finished `Meter` into a row, with the distance from a reference."""
    frechet = frechet_distance(meter.stats.mean(), meter.stats.cov(), ref_stats.mu, ref_stats.sigma)
    return Row(name, frechet, meter.accuracy, images_per_sec, nfe, meter.stats.num_images)


def measure_sampler(
    sample_fn: Callable[[Sequence[int]], tuple[torch.Tensor, torch.Tensor | None]],
    seeds: Sequence[int],
    detector: Detector,
    ref_stats: Reference,
    batch: int = 64,
    name: str = 'sampler',
    nfe: int | None = None,
) -> Row:
    """Sample, measure and time without keeping the images.

    Only sampling is timed, and the first batch, which warms up the device, is not
    if there are others.

    Args:
        sample_fn: Function of a list of seeds giving (images uint8 [N, C, H, W]; classes int64 [N] or None).
        seeds: Seeds, at least 2.
        detector: What measures.
        ref_stats: What to compare with.
        batch: Seeds per call.
        name, nfe: How the row is called, and its network calls per image.
    """
    meter, times = Meter(detector), []
    batches = [seeds[i : i + batch] for i in range(0, len(seeds), batch)]
    with ProgressBar(f'Sampling, {name}', len(seeds)) as bar:
        for part in batches:
            begin = _now(detector.device)
            images, classes = sample_fn(part)
            times.append((len(part), _now(detector.device) - begin))
            meter.append(images, classes)
            bar.advance(len(part))
    counted, seconds = (sum(column) for column in zip(*(times[1:] or times)))
    return make_row(name, meter, ref_stats, counted / seconds, nfe)


def _now(device: torch.device) -> float:
    """Seconds, after the device has finished what it was given."""
    if device.type == 'cuda':
        torch.cuda.synchronize(device)
    return time.perf_counter()


def _cells(row: Row) -> tuple[str, ...]:
    """The texts of one row, in the order of `_COLUMNS`."""
    return (
        row.name,
        '-' if row.nfe is None else str(row.nfe),
        str(row.num_images),
        f'{row.frechet:.3f}',
        '-' if row.accuracy is None else f'{100 * row.accuracy:.2f} %',
        '-' if row.images_per_sec is None else f'{row.images_per_sec:.1f}',
    )


def format_table(rows: Iterable[Row], markdown: bool = False) -> str:
    """Return rows as a text table, names to the left and numbers to the right.

    Args:
        rows: Lines of the table.
        markdown: Draw the column lines of Markdown.
    Returns:
        Lines joined by newlines, without a last one.
    """
    lines = [_COLUMNS, *map(_cells, rows)]
    widths = [max(len(line[i]) for line in lines) for i in range(len(_COLUMNS))]
    texts = [
        [line[0].ljust(widths[0]), *(c.rjust(w) for c, w in zip(line[1:], widths[1:]))] for line in lines
    ]
    rule = (
        ['-' * widths[0], *('-' * (w - 1) + ':' for w in widths[1:])]
        if markdown
        else ['-' * w for w in widths]
    )
    texts.insert(1, rule)
    if markdown:
        return '\n'.join(f'| {" | ".join(cells)} |' for cells in texts)
    return '\n'.join('  '.join(cells) for cells in texts)


def save_table(path: str | os.PathLike, rows: Iterable[Row], **facts: Any) -> None:
    """Write rows and the facts they depend on as JSON, atomically.

    Args:
        path: The file to write; its folder must exist.
        rows: Lines of the table.
        facts: Plain values stored beside the rows (reference, detector, seeds, ...).
    """
    content = {**facts, 'rows': [dataclasses.asdict(row) for row in rows]}
    with atomic_write(path) as f:
        f.write((json.dumps(content, indent=2) + '\n').encode())
