# Copyright 2026 The GDD-1S authors.
# SPDX-License-Identifier: Apache-2.0
"""How far long work is: a bar on a terminal, a plain line every few seconds in a log."""

import sys
import time
from collections.abc import Iterable, Iterator
from typing import Any

from tqdm import tqdm

from dnnlib.util import format_time

LINE_SEC = 10  # between two lines where there is no terminal


class ProgressBar:
    """Count finished items and show how many are left, on stderr.

    Args:
        desc:    Words for what is done, such as 'Measuring photos.zip'.
        total:   Number of items.
        unit:    Name of the items, in the plural.
        visible: Show anything; False on all ranks but one.
        line_sec: Seconds between two lines where there is no terminal.
    """

    def __init__(
        self, desc: str, total: int, unit: str = 'images', visible: bool = True, line_sec: float = LINE_SEC
    ) -> None:
        self.desc, self.total, self.unit, self.done = desc, total, unit, 0
        self._terminal = visible and sys.stderr.isatty()
        self._lines, self._line_sec = visible and not self._terminal, line_sec
        self._bar = tqdm(
            desc=desc,
            total=total,
            unit=unit.removesuffix('s'),
            smoothing=0.05,
            dynamic_ncols=True,
            disable=not self._terminal,
        )
        self._begin = self._shown = time.monotonic()

    def advance(self, count: int = 1) -> None:
        """Count items that are finished."""
        self.done += count
        self._bar.update(count)
        now = time.monotonic()
        if self._lines and self.done and (now - self._shown >= self._line_sec or self.done >= self.total):
            spent = now - self._begin
            left = format_time((self.total - self.done) * spent / self.done)
            counts = f'{self.done}/{self.total} {self.unit}'
            rate = f'{self.done / max(spent, 1e-9):.3g} {self.unit}/s'
            print(
                f'{self.desc}: {counts}, {format_time(spent)}, {rate}, {left} left',
                file=sys.stderr,
                flush=True,
            )
            self._shown = now

    def close(self) -> None:
        """Take the bar away."""
        self._bar.close()

    def __enter__(self) -> 'ProgressBar':
        return self

    def __exit__(self, *_exception: object) -> None:
        self.close()


def with_progress(
    items: Iterable[Any], desc: str, total: int, unit: str = 'images', visible: bool = True
) -> Iterator[Any]:
    """Yield items and show how many are done; arguments as for `ProgressBar`."""
    with ProgressBar(desc, total, unit, visible) as bar:
        for item in items:
            yield item
            bar.advance()
