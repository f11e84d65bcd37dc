# Copyright 2026 The GDD-1S authors.
# SPDX-License-Identifier: Apache-2.0
"""Arithmetic of a chart without a library: ranges, ticks, thinned points and short numbers."""

import dataclasses
import math
from collections.abc import Sequence

MARGIN = 0.05  # of the range, above and below the values


@dataclasses.dataclass(frozen=True)
class Axis:
    """A range of numbers that is mapped to 0..1.

    Attributes:
        low, high: Ends, low < high; both > 0 on a logarithmic axis.
        log:       Map logarithms.
        ticks:     Numbers to write beside it, within the range.
    """

    low: float
    high: float
    log: bool
    ticks: list[float]

    def place(self, value: float) -> float:
        """Return where a number lies: 0 at `low`, 1 at `high`."""
        if self.log:
            return math.log(value / self.low) / math.log(self.high / self.low)
        return (value - self.low) / (self.high - self.low)


def make_axis(values: Sequence[float], log: bool = False, margin: float = MARGIN) -> Axis:
    """Choose range and ticks for some numbers, at least one; all > 0 on a logarithmic axis."""
    low, high = min(values), max(values)
    if log:
        factor = (high / low) ** margin if high > low else 2
        low, high = low / factor, high * factor
        return Axis(low, high, True, log_ticks(low, high))
    room = (high - low) * margin if high > low else abs(high) * 0.1 or 1
    bottom = 0.0 if low >= 0 else -math.inf  # no room below 0 for what has no sign
    low, high = max(low - room, bottom), high + room
    return Axis(low, high, False, linear_ticks(low, high))


def linear_ticks(low: float, high: float, count: int = 7) -> list[float]:
    """Return at most about `count` round numbers between two others: multiples of 1, 2 or 5 times 10^k."""
    raw = (high - low) / count
    power = 10.0 ** math.floor(math.log10(raw))
    step = next(factor * power for factor in (1, 2, 5, 10) if factor * power >= raw * 0.999)
    first, last = math.ceil(low / step - 1e-9), math.floor(high / step + 1e-9)
    return [k * step for k in range(first, last + 1)]


def log_ticks(low: float, high: float) -> list[float]:
    """Return the powers of 10 between two positive numbers; with 2 and 5 times them where these are few."""
    powers = range(math.floor(math.log10(low)), math.ceil(math.log10(high)) + 1)
    ticks = [10.0**power for power in powers if low <= 10.0**power <= high]
    if len(ticks) < 3:
        ticks = [f * 10.0**power for power in powers for f in (1, 2, 5) if low <= f * 10.0**power <= high]
    return ticks[:: -(-len(ticks) // 6)] if ticks else [low, high]


def thin(x: Sequence[float], y: Sequence[float], limit: int = 400) -> list[tuple[float, float]]:
    """Return at most about `limit` of the points of a curve: of every stretch the lowest and the highest.

    So no spike is lost, however long the run was.
    """
    points = list(zip(x, y))
    if len(points) <= limit:
        return points
    size = -(-2 * len(points) // limit)
    kept = []
    for begin in range(0, len(points), size):
        part = range(begin, min(begin + size, len(points)))
        ends = {min(part, key=lambda i: y[i]), max(part, key=lambda i: y[i])}
        kept += [points[i] for i in sorted(ends)]
    return kept


def short(value: float) -> str:
    """Write a number in few characters: 12k for 12000, 0.5, 3e-06."""
    for size, suffix in ((1e6, 'M'), (1e3, 'k')):
        if size <= abs(value) < 1e9:
            return f'{value / size:.4g}{suffix}'
    return f'{value:.4g}'
