# Copyright 2026 The GDD-1S authors.
# SPDX-License-Identifier: Apache-2.0
"""Run folders: their names, whether they can be used, and how a run takes one for itself."""

import contextlib
import itertools
import os
import re
from collections.abc import Iterator
from typing import Any

from dnnlib.errors import ArgumentError, arg
from dnnlib.files import atomic_write, claim

OPTIONS_FILE = 'training_options.json'
TEMPORARY_PATTERN = re.compile(r'\.tmp-\d+-[0-9a-f]{12}')
_NUMBER_PATTERN = re.compile(r'(\d{5})(?:-|$)')
# What a run writes, and another one would write over.
_RUN_FILE_PATTERN = re.compile(
    r'training_options\.json|stats\.jsonl|(?:network-snapshot|training-state)-\d+\.\w+'
)


def dataset_name(path: str) -> str:
    """Name of a dataset, from its path: base name without .zip."""
    return re.sub(r'\.zip$', '', os.path.basename(os.path.normpath(path)), flags=re.IGNORECASE)


def run_description(config: dict[str, Any], world_size: int, desc: str | None = None) -> str:
    """Return the part of a run folder's name that follows the number (GDD's naming).

    Args:
        config:     Resolved options.
        world_size: Number of processes.
        desc:       Suffix.
    Raises:
        ArgumentError: `desc` cannot be part of a name.
    """
    if desc and ('/' in desc or '\0' in desc):
        raise ArgumentError(
            arg('desc', desc),
            ' is part of the name of a folder and cannot hold /; use ',
            arg('desc', 'my-run'),
        )
    parts = [
        dataset_name(config['dataset_kwargs']['path']),
        'cond' if config['dataset_kwargs']['use_labels'] else 'uncond',
        config['arch'] or 'teacher',
        config['precond'],
        config['loss'],
        f'gpus{world_size}',
        f'batch{config["batch_size"]}',
        config['precision'],
    ]
    return '-'.join(parts + ([desc] if desc else []))


def next_run_dir(outdir: str, description: str) -> str:
    """Return outdir/NNNNN-description with the number after the largest one in use."""
    return os.path.join(outdir, f'{max(_numbers(outdir), default=-1) + 1:05d}-{description}')


def holds_run(run_dir: str) -> bool:
    """Tell whether a folder holds files of a run."""
    return os.path.isdir(run_dir) and any(map(_RUN_FILE_PATTERN.fullmatch, os.listdir(run_dir)))


def check_free(run_dir: str) -> None:
    """Refuse to start a run in a folder that holds one already.

    Raises:
        ArgumentError: It does.
    """
    if holds_run(run_dir):
        raise ArgumentError(
            arg('outdir', run_dir),
            ' with ',
            arg('nosubdir'),
            ' already holds a run; choose an empty folder, or go on with it by ',
            arg('resume', 'auto'),
        )


def check_writable(run_dir: str, resume: str | None = None) -> None:
    """Refuse a run folder that cannot be created or written to.

    Args:
        run_dir: The folder.
        resume:  As for `choose_run_dir`.
    Raises:
        ArgumentError: The nearest folder that exists is none, or is not writable.
    """
    existing = os.path.abspath(run_dir)
    while not os.path.exists(existing):
        existing = os.path.dirname(existing)
    if not os.path.isdir(existing) or not os.access(existing, os.W_OK | os.X_OK):
        if resume and resume != 'auto':
            raise ArgumentError(
                arg('resume', resume),
                f': the run goes on in its folder, which cannot be written, since {existing} is not a '
                'writable folder; copy the folder to another place, and give the state there',
            )
        raise ArgumentError(
            arg('outdir'),
            f': {run_dir} cannot be written, since {existing} is not a writable folder; choose another, '
            'such as ',
            arg('outdir', 'training-runs'),
        )


def choose_run_dir(outdir: str, description: str, nosubdir: bool, resume: str | None) -> str:
    """Name the run folder as far as it does not depend on what resuming by 'auto' finds; nothing is created.

    Args:
        outdir:      Folder for the run folders.
        description: `run_description`.
        nosubdir:    Use `outdir` itself.
        resume:      State to go on from, whose folder it is then; 'auto' or None.
    Raises:
        ArgumentError: The folder holds a run already, or cannot be written.
    """
    if resume and resume != 'auto':
        run_dir = os.path.dirname(resume) or '.'
    else:
        run_dir = outdir if nosubdir else next_run_dir(outdir, description)
    if nosubdir and not resume:
        check_free(run_dir)
    check_writable(run_dir, resume)
    return run_dir


def claim_run_dir(outdir: str, description: str, nosubdir: bool, options: bytes) -> str:
    """Create the folder of a new run, which no other start can take any more.

    A folder of the same description that a start has left empty when it was killed is taken over.

    Args:
        outdir, description, nosubdir: As for `choose_run_dir`.
        options:  Content of training_options.json, which makes the folder somebody's.
    Returns:
        Its path.
    Raises:
        ArgumentError: With `nosubdir`, another run is in the folder.
    """
    os.makedirs(outdir, exist_ok=True)
    if nosubdir:
        with claim(outdir):
            check_free(outdir)
            _write_options(outdir, options)
        return outdir
    for run_dir in _candidates(outdir, description):
        if _claimed(outdir, run_dir, options):
            return run_dir
    raise AssertionError('the candidates never end')


def _candidates(outdir: str, description: str) -> Iterator[str]:
    for name in sorted(os.listdir(outdir)):
        path = os.path.join(outdir, name)
        if re.fullmatch(r'\d{5}-' + re.escape(description), name) and _is_abandoned(path):
            yield path
    for number in itertools.count(max(_numbers(outdir), default=-1) + 1):
        yield os.path.join(outdir, f'{number:05d}-{description}')


def _claimed(outdir: str, run_dir: str, options: bytes) -> bool:
    # Under a lock of the number, so that nobody else makes a folder with the same one. Where the file system
    # has no locks, making the folder decides.
    number = os.path.basename(run_dir)[:5]
    with contextlib.suppress(ArgumentError, FileExistsError), claim(os.path.join(outdir, number)):
        if not _is_abandoned(run_dir):
            if int(number) in _numbers(outdir):
                return False
            os.mkdir(run_dir)
        _write_options(run_dir, options)
        return True
    return False


def _is_abandoned(path: str) -> bool:
    # A folder without options and without anything of worth: its start was killed.
    return os.path.isdir(path) and all(map(TEMPORARY_PATTERN.fullmatch, os.listdir(path)))


def _write_options(run_dir: str, options: bytes) -> None:
    with atomic_write(os.path.join(run_dir, OPTIONS_FILE)) as file:
        file.write(options)


def _numbers(outdir: str) -> list[int]:
    names = os.listdir(outdir) if os.path.isdir(outdir) else []
    return [int(match.group(1)) for name in names if (match := _NUMBER_PATTERN.match(name))]
