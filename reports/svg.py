# Copyright 2026 The GDD-1S authors.
# SPDX-License-Identifier: Apache-2.0
"""A panel as SVG inside a page: no library, colours from the style sheet, sharp on any screen."""

import html
import json
from collections.abc import Iterator

from reports.axes import Axis, make_axis, short, thin
from reports.panels import Curve, Panel

WIDTH, HEIGHT = 480, 240  # of the drawing, in its own units
LEFT, RIGHT, TOP, BOTTOM = 52, 12, 10, 28  # margins
MOST_MARKERS = 30  # single points are marked on curves with no more of them


def draw_panel(panel: Panel) -> str:
    """Return the <svg> element of a panel; curve i has the class c<i>.

    For the script of the page that reads off values, `data-curves` holds the points as JSON, [label,
    [[x, y], ...]] per curve, and `data-frame` the frame and the range of x.
    """
    x_axis = make_axis([0, *(x for curve in panel.curves for x in curve.x)], margin=0)
    y_axis = make_axis([y for curve in panel.curves for y in curve.y], panel.log)
    parts = [*_grid(x_axis, y_axis), *_lines(panel, x_axis, y_axis)]
    points = [[curve.label, _rounded(thin(curve.x, curve.y))] for curve in panel.curves]
    frame = [LEFT, TOP, WIDTH - RIGHT, HEIGHT - BOTTOM, x_axis.low, x_axis.high]
    return (
        f'<svg viewBox="0 0 {WIDTH} {HEIGHT}" role="img" aria-label="{html.escape(panel.title)}" '
        f'data-frame="{html.escape(json.dumps(frame))}" data-curves="{html.escape(json.dumps(points))}">'
        f'{"".join(parts)}<line class="cursor" y1="{TOP}" y2="{HEIGHT - BOTTOM}"/></svg>'
    )


def _grid(x_axis: Axis, y_axis: Axis) -> Iterator[str]:
    for tick in y_axis.ticks:
        y = _y(y_axis, tick)
        yield f'<line class="grid" x1="{LEFT}" x2="{WIDTH - RIGHT}" y1="{y}" y2="{y}"/>'
        yield f'<text x="{LEFT - 6}" y="{y + 4:.1f}" text-anchor="end">{short(tick)}</text>'
    for tick in x_axis.ticks:
        x = _x(x_axis, tick)
        yield f'<line class="grid" x1="{x}" x2="{x}" y1="{TOP}" y2="{HEIGHT - BOTTOM}"/>'
        yield f'<text x="{x}" y="{HEIGHT - 10}" text-anchor="middle">{short(tick)}</text>'


def _lines(panel: Panel, x_axis: Axis, y_axis: Axis) -> Iterator[str]:
    for number, curve in enumerate(panel.curves):
        yield f'<polyline class="c{number}" points="{_places(curve, x_axis, y_axis)}"/>'
        if len(curve.x) <= MOST_MARKERS:
            for x, y in zip(curve.x, curve.y):
                yield f'<circle class="c{number}" cx="{_x(x_axis, x)}" cy="{_y(y_axis, y)}" r="2.5"/>'


def _places(curve: Curve, x_axis: Axis, y_axis: Axis) -> str:
    return ' '.join(f'{_x(x_axis, x)},{_y(y_axis, y)}' for x, y in thin(curve.x, curve.y))


def _x(axis: Axis, value: float) -> float:
    return round(LEFT + axis.place(value) * (WIDTH - LEFT - RIGHT), 1)


def _y(axis: Axis, value: float) -> float:
    return round(HEIGHT - BOTTOM - axis.place(value) * (HEIGHT - TOP - BOTTOM), 1)


def _rounded(points: list[tuple[float, float]]) -> list[list[float]]:
    return [[float(f'{value:.5g}') for value in point] for point in points]
