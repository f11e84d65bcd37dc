# Copyright 2026 The GDD-1S authors.
# SPDX-License-Identifier: Apache-2.0
"""Draw the curves of benchmarks/claim_study.py: a panel per claim, a line per row, a band for the seeds."""

import math
import pathlib
from typing import Any

from benchmarks.demo_study import mean_and_spread
from benchmarks.figures import new_figure, save_and_close

COLUMNS = 3
Curve = list[tuple[float, float]]  # (thousand images, distance)


def bands(curves: list[Curve]) -> list[tuple[float, float, float]]:
    """Return (thousand images, mean, sample standard deviation) at the points that all curves have.

    The deviation is 0 for a single curve.
    """
    points = zip(*curves, strict=False)
    found = []
    for point in points:
        mean, spread = mean_and_spread([value for _kimg, value in point])
        found.append((point[0][0], mean, spread or 0.0))
    return found


def save_figure(path: pathlib.Path, panels: dict[str, dict[str, list[Curve]]], label: str) -> None:
    """Write the figure.

    Args:
        path:   PNG file.
        panels: Title of a panel -> name of a row -> curves, one per seed.
        label:  Of the vertical axes, which are logarithmic.
    Raises:
        ImportError: matplotlib is not installed.
    """
    columns, rows = min(COLUMNS, len(panels)), math.ceil(len(panels) / COLUMNS)
    figure, axes = new_figure(rows, columns, figsize=(4 * columns, 3 * rows), squeeze=False)
    for axis, (title, lines) in zip(axes.flat, panels.items()):
        for name, curves in lines.items():
            _draw_band(axis, bands(curves), f'{name} ({len(curves)})')
        axis.set_yscale('log')
        axis.set_title(title, fontsize=9)
        axis.set_xlabel('thousand images', fontsize=8)
        axis.set_ylabel(label, fontsize=8)
        axis.tick_params(labelsize=7)
        axis.grid(alpha=0.3)
        axis.legend(fontsize=7)
    for axis in axes.flat[len(panels) :]:
        axis.remove()
    save_and_close(figure, path, dpi=100)


def _draw_band(axis: Any, points: list[tuple[float, float, float]], name: str) -> None:
    """Draw the mean as a line, and one standard deviation to both sides, never below a tenth of the mean."""
    kimg = [point[0] for point in points]
    lower = [max(mean - spread, mean / 10) for _kimg, mean, spread in points]
    (line,) = axis.plot(kimg, [mean for _kimg, mean, _spread in points], linewidth=1.2, label=name)
    axis.fill_between(
        kimg, lower, [mean + spread for _, mean, spread in points], color=line.get_color(), alpha=0.15
    )
