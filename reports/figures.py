# Copyright 2026 The GDD-1S authors.
# SPDX-License-Identifier: Apache-2.0
"""Panels as one PNG file, drawn by matplotlib."""

import io
import math
from collections.abc import Sequence
from typing import Any

from dnnlib.errors import ArgumentError
from dnnlib.files import atomic_write
from reports.panels import Panel

INSTALL_HINT = 'pip install -r requirements/plots.txt'
COLUMNS = 3
PANEL_INCHES = (5.0, 3.4)
LEGEND_INCHES = 0.3  # per run
STYLES = ('-', '--', ':', '-.')  # of statistics, where the colour tells the run
MOST_MARKERS = 30  # single points are marked on curves with no more of them


def save_figure(path: str, panels: Sequence[Panel], runs: Sequence[str] = (), dpi: int = 110) -> None:
    """Draw panels in rows of three and write them as PNG, atomically.

    Args:
        path:   File to write; its folder must exist.
        panels: What `make_panels` returned.
        runs:   Names of the runs; of several, the colour tells the run and the style of a line the statistic.
        dpi:    Pixels per inch; a panel is 5 inches wide.
    Raises:
        ArgumentError: matplotlib is missing, or there is nothing to draw.
    """
    if not panels:
        raise ArgumentError('there is no statistic to draw; let the run train for a tick')
    try:
        from matplotlib.figure import Figure  # late: the package is optional
    except ImportError as error:
        raise ArgumentError(f'curves are drawn by matplotlib ({error}); {INSTALL_HINT}') from error
    several, columns = len(runs) > 1, min(COLUMNS, len(panels))
    rows = math.ceil(len(panels) / columns)
    height = rows * PANEL_INCHES[1] + (LEGEND_INCHES * len(runs) if several else 0)
    figure = Figure((columns * PANEL_INCHES[0], height), layout='constrained')
    drawn = {}  # number of the run -> one of its lines
    for number, panel in enumerate(panels):
        drawn.update(_draw(figure.add_subplot(rows, columns, number + 1), panel, several))
    if several:
        shown = sorted(drawn)
        names = [_plain(runs[run]) for run in shown]
        figure.legend([drawn[run] for run in shown], names, loc='outside lower center')
    data = io.BytesIO()
    figure.savefig(data, format='png', dpi=dpi)
    with atomic_write(path) as file:
        file.write(data.getvalue())


def _draw(axes: Any, panel: Panel, several_runs: bool) -> dict[int, Any]:
    # Draw the curves; number of the run -> its solid line.
    lines = {}
    for number, curve in enumerate(panel.curves):
        color, style = (curve.run, curve.kind) if several_runs else (number, 0)
        look = dict(color=f'C{color % 10}', linestyle=STYLES[style % len(STYLES)], linewidth=1.4)
        marker = 'o' if len(curve.x) <= MOST_MARKERS else None
        (line,) = axes.plot(curve.x, curve.y, label=curve.label, marker=marker, markersize=3, **look)
        if style == 0:
            lines[curve.run] = line
    axes.set_title(_plain(panel.title), fontsize=11)
    axes.set_xlabel('kimg', fontsize=9)
    axes.set_xlim(left=0)
    axes.set_yscale('log' if panel.log else 'linear')
    axes.grid(alpha=0.3)
    axes.tick_params(labelsize=8)
    if len({curve.kind for curve in panel.curves}) > 1:
        first = {curve.kind: line for curve, line in reversed(list(zip(panel.curves, axes.get_lines())))}
        axes.legend(handles=[first[kind] for kind in sorted(first)], fontsize=7)
    return lines


def _plain(text: str) -> str:
    # matplotlib takes what stands between two $ for a formula.
    return text.replace('$', r'\$')
