# Copyright 2026 The GDD-1S authors.
# SPDX-License-Identifier: Apache-2.0
"""Read the folder of a run: statistics, metrics, sample grids, options; nothing of it needs torch.

Only what lies there is used, so a run can be looked at on another machine, while it trains, or after a kill:
a last line that is cut off is passed over.
"""

import dataclasses
import json
import os
import re
from collections.abc import Iterator
from typing import Any

from dnnlib.errors import ArgumentError
from reports.measurements import Measurement, read_measurements

_GRID_PATTERN = re.compile(r'fakes-(\d+)\.png')


@dataclasses.dataclass(frozen=True)
class RunFolder:
    """What a run has left.

    Attributes:
        path:         The folder.
        options:      Content of training_options.json; {} where it is missing.
        stats:        Lines of stats.jsonl: name -> dict with num, mean and std; `timestamp` is a number.
        measurements: What was measured, in the order of training.
        launches:     Lines of launches.jsonl: when, by which command and with which software it was started.
        grids:        (kimg, path) of the sample grids, ascending.
    """

    path: str
    options: dict[str, Any]
    stats: list[dict[str, Any]]
    measurements: list[Measurement]
    launches: list[dict[str, Any]]
    grids: list[tuple[int, str]]

    @property
    def name(self) -> str:
        """Name of the folder."""
        return os.path.basename(os.path.abspath(self.path))

    @property
    def kimg(self) -> float:
        """Thousands of images seen."""
        return self.curve('Progress/kimg')[1][-1]

    def curve(self, name: str) -> tuple[list[float], list[float]]:
        """Return a statistic over training: (kimg, mean of the tick); ticks without a value are left out."""
        points = [(_mean(line, 'Progress/kimg'), _mean(line, name)) for line in self.stats]
        known = [(x, y) for x, y in points if x is not None and y is not None]
        return [x for x, _ in known], [y for _, y in known]


def read_run(path: str) -> RunFolder:
    """Read the folder of a run.

    Raises:
        ArgumentError: There is no such folder, or no line of statistics in it.
    """
    stats = list(_json_lines(os.path.join(path, 'stats.jsonl'))) if os.path.isdir(path) else []
    stats = [line for line in stats if _mean(line, 'Progress/kimg') is not None]
    if not stats:
        raise ArgumentError(
            f'{path} is not the folder of a run, or has no statistics yet (stats.jsonl); give one such as '
            'training-runs/00000-mnist-32x32-...'
        )
    return RunFolder(
        path,
        options=read_json(os.path.join(path, 'training_options.json')) or {},
        stats=stats,
        measurements=read_measurements(path),
        launches=list(_json_lines(os.path.join(path, 'launches.jsonl'))),
        grids=sorted(
            (int(match[1]), os.path.join(path, name))
            for name in os.listdir(path)
            if (match := _GRID_PATTERN.fullmatch(name))
        ),
    )


def read_json(path: str) -> dict[str, Any] | None:
    """Return the object of a JSON file, or None if there is none that can be read."""
    try:
        with open(path, encoding='utf-8') as file:
            content = json.load(file)
    except (OSError, ValueError, RecursionError):
        return None
    return content if isinstance(content, dict) else None


def spread(items: list, count: int) -> list:
    """Choose at most `count` items, evenly from the first to the last."""
    if len(items) <= count:
        return items
    last = len(items) - 1
    return [items[round(i * last / (count - 1))] for i in range(count)] if count > 1 else items[-1:]


def _json_lines(path: str) -> Iterator[dict[str, Any]]:
    if not os.path.isfile(path):
        return
    with open(path, encoding='utf-8', errors='replace') as file:
        for line in file:
            try:
                entry = json.loads(line)
            except ValueError:  # cut off by a killed process, or still being written
                continue
            if isinstance(entry, dict):
                yield entry


def _mean(line: dict[str, Any], name: str) -> float | None:
    entry = line.get(name)
    value = entry.get('mean') if isinstance(entry, dict) else None
    return value if isinstance(value, (int, float)) else None
