# Copyright 2026 The GDD-1S authors.
# SPDX-License-Identifier: Apache-2.0
"""Read the folder of a run: statistics, metrics, sample grids, options; nothing of it needs torch.

Only what lies there is used, so a run can be looked at on another machine, while it trains, or after a kill:
a last line that is cut off is passed over.
"""

import dataclasses
import glob
import os
import re
from typing import Any

import PIL.Image

from dnnlib.errors import ArgumentError
from reports.json_files import number, read_lines, read_object
from reports.measurements import Measurement, read_measurements
from training.images.decoding import decode_image
from training.images.files import read_regular_file

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


def _newest_below(path: str) -> str | None:
    """Return the folder of the run that was trained last, one or two folders below; None if there is none."""
    places = [os.path.join(glob.escape(path), *['*'] * depth, 'stats.jsonl') for depth in (1, 2)]
    found = [file for place in places for file in glob.glob(place)]
    return os.path.dirname(max(found, key=os.path.getmtime)) if found else None


def read_run(path: str) -> RunFolder:
    """Read the folder of a run.

    Raises:
        ArgumentError: There is no such folder, or no line of statistics in it.
    """
    stats = list(read_lines(os.path.join(path, 'stats.jsonl')))
    stats = [line for line in stats if _mean(line, 'Progress/kimg') is not None]
    if not stats:
        raise ArgumentError(
            f'{path} is not the folder of a run, or has no statistics yet (stats.jsonl); give one such as '
            f'{_newest_below(path) or "training-runs/00000-mnist-32x32-..."}'
        )
    return RunFolder(
        path,
        options=read_object(os.path.join(path, 'training_options.json')) or {},
        stats=stats,
        measurements=read_measurements(path),
        launches=list(read_lines(os.path.join(path, 'launches.jsonl'))),
        grids=sorted(
            (int(match[1]), os.path.join(path, name))
            for name in os.listdir(path)
            if (match := _GRID_PATTERN.fullmatch(name)) and os.path.isfile(os.path.join(path, name))
        ),
    )


def open_picture(path: str) -> tuple[bytes, PIL.Image.Image]:
    """Return the content of a picture's file, and the picture.

    Raises:
        ArgumentError: It is damaged, or unreasonably large; the message names the file.
    """
    data = read_regular_file(path)
    return data, decode_image(data, (path,))


def spread(items: list, count: int) -> list:
    """Choose at most `count` items, evenly from the first to the last."""
    if len(items) <= count:
        return items
    last = len(items) - 1
    return [items[round(i * last / (count - 1))] for i in range(count)] if count > 1 else items[-1:]


def _mean(line: dict[str, Any], name: str) -> float | None:
    entry = line.get(name)
    return number(entry.get('mean')) if isinstance(entry, dict) else None
