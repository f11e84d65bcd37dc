# Copyright 2026 The GDD-1S authors.
# SPDX-License-Identifier: Apache-2.0
"""What a run tells besides stats.jsonl: event files for TensorBoard, and words for the files it has left."""

import os
import re
import sys
import types
from typing import Any

from dnnlib.errors import ArgumentError, arg
from dnnlib.files import naming

FILE_PATTERN = re.compile(r'(network-snapshot|training-state)-(\d+)\.(?:pkl|pt)')


class TensorBoard:
    """Write the means of all statistics as TensorBoard events, at kimg as the step.

    Raises:
        ArgumentError: The package tensorboard is missing.
    """

    def __init__(self) -> None:
        # Where TensorFlow is installed tensorboard would load it: seconds, GPU memory, and a crash beside
        # triton.
        sys.modules.setdefault('tensorboard.compat.notf', types.ModuleType('tensorboard.compat.notf'))
        try:
            from torch.utils.tensorboard import SummaryWriter  # late: the package is optional
        except ImportError as error:
            raise ArgumentError(
                arg('tensorboard', True),
                f' needs the package tensorboard ({error}); pip install -r requirements/tensorboard.txt, or '
                'leave it out',
            ) from error
        self._make_writer, self._writer = SummaryWriter, None

    def write(self, run_dir: str, stats: dict[str, dict[str, Any]]) -> None:
        """Add the statistics of a tick.

        Args:
            run_dir: Folder of the run; the event file lies there.
            stats:   Name -> dict with `mean`, as in stats.jsonl; None for a missing value.
        """
        with naming(os.path.join(run_dir, 'events.out.tfevents')):
            self._write(run_dir, stats)

    def _write(self, run_dir, stats):
        if self._writer is None:
            self._writer = self._make_writer(run_dir)
        step = round(stats['Progress/kimg']['mean']) if 'Progress/kimg' in stats else 0
        for name, entry in stats.items():
            if entry['mean'] is not None:
                self._writer.add_scalar(name, entry['mean'], step)
        self._writer.flush()


def describe_files(run_dir: str) -> str:
    """Say which snapshot and which training state of a run folder are the newest."""
    newest = {}
    for name in os.listdir(run_dir) if os.path.isdir(run_dir) else []:
        match = FILE_PATTERN.fullmatch(name)
        if match:
            newest[match[1]] = max(newest.get(match[1], (-1, '')), (int(match[2]), name))
    if not newest:
        return f'nothing has been saved in {run_dir}'
    return f'the newest files in {run_dir} are {" and ".join(name for _, name in newest.values())}'
