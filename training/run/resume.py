# Copyright 2026 The GDD-1S authors.
# SPDX-License-Identifier: Apache-2.0
"""Which run goes on, whether its options allow it, what its folder must look like then (docs/training.md)."""

import json
import os
import re
from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

from dnnlib.errors import Arg, ArgumentError, arg
from dnnlib.files import atomic_write, naming
from training.images.files import read_regular_file
from training.options import OPTIONS
from training.run.folder import OPTIONS_FILE, TEMPORARY_PATTERN, dataset_name
from training.run.state import StateError, list_states, newest_complete_state, set_aside_states
from training.second_spellings import translate

# Options that are no part of what makes two runs the same: they may change, or stand for files whose content
# is compared instead, see `identity`.
UNCOMPARED = {option.name for option in OPTIONS if option.resume != 'fixed'}
# Option -> losses that read it; for the others its value means nothing.
_READERS = {option.name: option.losses for option in OPTIONS}

Parts = tuple[str | Arg, ...]  # a text with arguments in it, as in ArgumentError


def identity(config: dict[str, Any], processes: int) -> dict[str, Any]:
    """Return what makes two runs the same one: plain values by option name, and the files behind them.

    Args:
        config:    Resolved options, completed by the run.
        processes: Number of processes.
    """
    data = config['dataset_kwargs']
    files = dict(
        data=dataset_name(data['path']),
        images=data['max_size'],
        teacher=(config.get('teacher') or {}).get('sha256'),
        target=config.get('target_sha256'),
    )
    return json.loads(
        json.dumps(dict(options=_compared(config['options']), files=files, processes=processes))
    )


def _compared(options: dict[str, Any]) -> dict[str, Any]:
    # Earlier versions of this code kept second spellings, and had fewer options: those had their defaults.
    options = translate({option.name: option.default for option in OPTIONS} | options, weak=options)
    return {name: value for name, value in options.items() if name not in UNCOMPARED}


def compare(stored: dict[str, Any], own: dict[str, Any]) -> list[tuple[Parts, Parts]]:
    """Compare two identities.

    Args:
        stored: That of the run to go on with.
        own:    That of this command.
    Returns:
        List of (parts of a text about the stored run, parts about this one), one for each difference that
        changes results.
    """
    differences = []
    old_options, new_options = _compared(stored['options']), own['options']
    for name in {**old_options, **new_options}:
        old, new = (options.get(name, 'unknown') for options in (old_options, new_options))
        loss = new_options.get('loss')
        if old != new and loss in _READERS.get(name, (loss,)):
            differences.append((_option(name, old), _option(name, new)))
    for key, text, name in (
        ('data', '', 'data'),
        ('images', 'images of ', 'data'),
        ('teacher', 'SHA-256 of ', 'transfer'),
        ('target', 'SHA-256 of ', 'target'),
    ):
        old, new = stored['files'].get(key), own['files'].get(key)
        if old != new:
            differences.append(((text, arg(name, str(old)[:32])), (str(new)[:32],)))
    old, new = stored['processes'], own['processes']
    if new_options.get('compat') == 'official' and old != new:
        differences.append(((f'{old} processes under ', arg('compat', 'official')), (str(new),)))
    return differences


def _option(name: str, value: Any) -> Parts:
    return (arg(name, value),) if value is not None else (arg(name), ' not given')


def require_same_run(where: str | Arg, stored: dict[str, Any], own: dict[str, Any]) -> None:
    """Refuse to go on with a run that was another one.

    Args:
        where:  What the stored identity was read from, for the message.
        stored, own: Identities.
    Raises:
        StateError: One line for the user, with the first difference.
    """
    try:
        differences = compare(stored, own)
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise StateError(
            where,
            f' does not say which run it belongs to ({type(error).__name__}); give another state, or start a '
            'new run without ',
            arg('resume'),
        ) from error
    if differences:
        old, new = differences[0]
        more = f' (and {len(differences) - 1} more)' if len(differences) > 1 else ''
        raise StateError(
            where,
            ' was written with ',
            *old,
            ', this run has ',
            *new,
            f'{more}; give the options of the interrupted run, or start a new one without ',
            arg('resume'),
        )


# ------------------------------------------------------------------------------------------------
# Resuming by 'auto'.


class Found(NamedTuple):
    """What `find_run` has found.

    Attributes:
        run_dir: Folder of the run to go on with, or None for a new one.
        state:   Path of its newest complete state, or None to start it again.
        notes:   Texts to print, each as parts.
    """

    run_dir: str | None
    state: str | None
    notes: list[Parts]


def find_run(config: dict[str, Any], processes: int, outdir: str, description: str, nosubdir: bool) -> Found:
    """Find the run that the same command has begun earlier; call on rank 0.

    Args:
        config:      Resolved options, completed by the run.
        processes:   Number of processes.
        outdir:      Folder for the run folders, or with `nosubdir` the one of the run.
        description: Part of a run folder's name that follows the number.
    Raises:
        ArgumentError: A folder's training_options.json is damaged; with `nosubdir`, the folder holds another
                       run; or none of the run's states can be read.
    """
    own, notes = identity(config, processes), []
    for run_dir in [outdir] if nosubdir else _run_folders(outdir, description, config['compat']):
        stored = read_identity(run_dir)
        if stored is None:
            continue
        differences = compare(stored, own)
        if not differences:
            return _usable_state(run_dir)
        old, new = differences[0]
        if nosubdir:
            raise ArgumentError(
                arg('outdir', run_dir),
                ' with ',
                arg('nosubdir'),
                ' holds a run with ',
                *old,
                ', this one has ',
                *new,
                '; give the options of that run, or another folder',
            )
        notes.append((f'Not going on with {run_dir}: it has ', *old, ', this run ', *new))
    return Found(None, None, notes[:1])


def read_identity(run_dir: str) -> dict[str, Any] | None:
    """Read which run a folder holds, from its training_options.json.

    Returns:
        Its identity; None for a folder without a run, or with one of the official code.
    Raises:
        ArgumentError: The file is missing beside the files of a run, or is damaged.
        OSError:       It cannot be read.
    """
    path = os.path.join(run_dir, OPTIONS_FILE)
    if not os.path.lexists(path):
        if os.path.isdir(run_dir) and list_states(run_dir):
            raise _damaged(path, 'it is missing, though training states lie beside it')
        return None
    try:
        options = json.loads(read_regular_file(path))
        if isinstance(options, dict) and options and 'options' not in options and 'dataset_kwargs' in options:
            return None
        found = identity(options, options['processes'])
        if not isinstance(found['processes'], int):
            raise TypeError('the number of processes')
        return found
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
        raise _damaged(path, f'it is damaged ({type(error).__name__})') from error


def _damaged(path: str, problem: str) -> ArgumentError:
    states = list_states(os.path.dirname(path))
    by_name = (', or give a state of it by name: ', arg('resume', states[-1])) if states else ()
    return ArgumentError(
        arg('resume', 'auto'),
        f': {path} cannot tell which run this is: {problem}; restore the file, or move its folder away',
        *by_name,
    )


def _usable_state(run_dir: str) -> Found:
    path, skipped = newest_complete_state(run_dir)
    if path is None and skipped:
        raise ArgumentError(
            arg('resume', 'auto'),
            f': none of the {len(skipped)} states in {run_dir} can be read; delete them to start that run '
            f'from its beginning, or move the folder away ({skipped[0]})',
        )
    notes = [(line,) for line in skipped]
    return Found(run_dir, path, notes if path else [(f'{run_dir} has no state yet: its run starts again',)])


def _run_folders(outdir: str, description: str, compat: str) -> Iterator[str]:
    """Yield the run folders of a description, newest first; in `clean` the number of processes may differ."""
    pattern = re.escape(description)
    if compat == 'clean':
        pattern = re.sub(r'gpus\d+', r'gpus\\d+', pattern)
    for name in sorted(os.listdir(outdir) if os.path.isdir(outdir) else [], reverse=True):
        if re.fullmatch(r'\d{5}-' + pattern, name):
            yield os.path.join(outdir, name)


# ------------------------------------------------------------------------------------------------
# The folder of a run that goes on.


def remove_temporary_files(run_dir: str) -> list[str]:
    """Delete what `atomic_write` of a killed process has left; returns lines that say so."""
    left = [name for name in os.listdir(run_dir) if TEMPORARY_PATTERN.fullmatch(name)]
    for name in left:
        os.remove(os.path.join(run_dir, name))
    return [f'Removed {name}, left half-written by a process that was killed' for name in left]


def tidy_run_dir(run_dir: str, nimg: int) -> list[str]:
    """Make the files of a folder agree with a run that goes on at `nimg` images.

    Nothing is deleted but the half-written temporary files of a killed process: lines and states beyond the
    position move to files named *.discarded.

    Returns:
        Lines that say what was done.
    """
    notes = remove_temporary_files(run_dir)
    notes += [
        f'{name} lies beyond the position of this run and is called {name}.discarded now'
        for name in set_aside_states(run_dir, nimg)
    ]
    count = discard_lines(
        os.path.join(run_dir, 'stats.jsonl'), lambda line: line['Progress/kimg']['mean'] * 1000 > nimg + 0.5
    )
    if count:
        notes.append(
            f'stats.jsonl: {count} line(s) beyond {nimg / 1000:g} kimg moved to stats.jsonl.discarded'
        )
    return notes


def discard_lines(path: str, beyond: Callable[[Any], bool]) -> int:
    """Move lines of a JSON-lines file to PATH.discarded.

    Args:
        path:   File; may be missing.
        beyond: Function of a line's value; tells whether the line goes. Lines that cannot be read go as well.
    Returns:
        Number of lines moved.
    """
    if not os.path.exists(path):
        return 0
    with open(path, 'rb') as file:
        lines = file.read().splitlines()
    kept, discarded = [], []
    for line in lines:
        (discarded if _is_beyond(line, beyond) else kept).append(line + b'\n')
    if discarded:
        with naming(path + '.discarded'), open(path + '.discarded', 'ab') as file:
            file.writelines(discarded)
        with atomic_write(path) as file:
            file.writelines(kept)
    return len(discarded)


def _is_beyond(line: bytes, beyond: Callable[[Any], bool]) -> bool:
    try:
        return beyond(json.loads(line))
    except (ValueError, KeyError, TypeError):
        return True
