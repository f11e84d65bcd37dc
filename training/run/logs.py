# Copyright 2026 The GDD-1S authors.
# SPDX-License-Identifier: Apache-2.0
"""What a run tells besides stats.jsonl: TensorBoard, Weights & Biases; words for its files."""

import hashlib
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

    def _write(self, run_dir: str, stats: dict[str, dict[str, Any]]) -> None:
        if self._writer is None:
            self._writer = self._make_writer(run_dir)
        step = round(stats['Progress/kimg']['mean']) if 'Progress/kimg' in stats else 0
        for name, entry in stats.items():
            if entry['mean'] is not None:
                self._writer.add_scalar(name, entry['mean'], step)
        self._writer.flush()

    def close(self) -> None:
        """Close the event file."""
        if self._writer is not None:
            self._writer.close()


def make_reporters(config: dict[str, Any]) -> list[Any]:
    """Return what the resolved options ask for besides stats.jsonl; each has `write` and `close`."""
    found = [TensorBoard()] if config['tensorboard'] else []
    return [*found, *([WeightsAndBiases(config['wandb'], config)] if config['wandb'] else [])]


class WeightsAndBiases:
    """Report the means of all statistics to Weights & Biases, at kimg as the step.

    The account, the address and the mode (WANDB_MODE=offline writes below the run folder, for `wandb sync`)
    come from the environment, as for every program that uses the package.

    Args:
        project: Name of the project.
        config:  Resolved options of the run.
    Raises:
        ArgumentError: The package wandb is missing.
    """

    def __init__(self, project: str, config: dict[str, Any]) -> None:
        try:
            import wandb  # late: the package is optional
        except ImportError as error:
            raise ArgumentError(
                arg('wandb', project),
                f' needs the package wandb ({error}); pip install -r requirements/wandb.txt, or leave it out',
            ) from error
        self._wandb, self._project, self._config, self._run = wandb, project, config, None

    def write(self, run_dir: str, stats: dict[str, dict[str, Any]]) -> None:
        """Report the statistics of a tick; arguments as for `TensorBoard.write`."""
        if self._run is None:
            # One run of theirs per run folder, also when it is resumed.
            path = os.path.abspath(run_dir)
            digest = hashlib.sha256(os.fsencode(path)).hexdigest()[:12]
            names = dict(project=self._project, name=os.path.basename(path), id=digest)
            self._run = self._wandb.init(dir=run_dir, config=self._config, resume='allow', **names)
            self._run.define_metric('*', step_metric='Progress/kimg')
        self._run.log({name: entry['mean'] for name, entry in stats.items() if entry['mean'] is not None})

    def close(self) -> None:
        """Hand over what has been reported."""
        if self._run is not None:
            self._run.finish()


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
