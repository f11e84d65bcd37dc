# Copyright 2026 The GDD-1S authors.
# SPDX-License-Identifier: Apache-2.0
"""Everything a run needs to go on: one file of tensors and plain values per saved state."""

import contextlib
import fcntl
import os
import re
import warnings

import torch

from dnnlib.errors import ArgumentError
from dnnlib.util import atomic_write

STATE_KEYS = ('nimg', 'tick', 'iteration', 'task', 'ema', 'run', 'statistics', 'progress')
STATE_PATTERN = re.compile(r'training-state-(\d{6,})\.pt')


class StateError(ArgumentError):
    """A training state that cannot be used; the message is one line for the user."""


def state_path(run_dir, nimg):
    """Name the state file after `nimg` images."""
    return os.path.join(run_dir, f'training-state-{nimg // 1000:06d}.pt')


def save_state(path, state):
    """Write a training state atomically.

    Args:
        path:  File to write.
        state: Nested dict of tensors, numbers, strings, lists and dicts.
    """
    with atomic_write(path) as file:
        torch.save(state, file)


def load_state(path):
    """Read a training state; never executes code from the file.

    Returns:
        The dict given to `save_state`, tensors on the CPU.
    Raises:
        StateError: Missing, damaged or foreign file.
    """
    if not os.path.isfile(path):
        raise StateError(f'--resume={path} does not exist; give a training-state-*.pt file of a run folder')
    foreign = f'--resume={path} is not a training state of this code ({{}}); give a training-state-*.pt file of a run folder'
    try:
        with warnings.catch_warnings():
            warnings.simplefilter('ignore')  # about the format of foreign files; the error below says enough
            state = torch.load(path, map_location='cpu', weights_only=True)
    except Exception as error:  # torch raises nearly anything for a damaged file
        raise StateError(foreign.format(type(error).__name__)) from error
    missing = [key for key in STATE_KEYS if key not in state] if isinstance(state, dict) else ['dict']
    if missing:
        raise StateError(foreign.format(f'no {missing[0]} in it'))
    return state


@contextlib.contextmanager
def lock(run_dir):
    """Hold a run folder for one process; the lock ends with the process, however that ends.

    File systems without locks of folders (some network ones) are trusted instead.

    Raises:
        StateError: Another process holds it.
    """
    folder = os.open(run_dir, os.O_RDONLY)
    try:
        try:
            fcntl.flock(folder, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            raise StateError(
                f'{run_dir} is in use by another process that trains there; wait for it, or give another '
                '--outdir'
            ) from error
        except OSError:
            pass
        yield
    finally:
        os.close(folder)


def list_states(run_dir):
    """Return the paths of all states in a run folder, oldest first."""
    found = [(int(m.group(1)), name) for name in os.listdir(run_dir) if (m := STATE_PATTERN.fullmatch(name))]
    return [os.path.join(run_dir, name) for _, name in sorted(found)]


def newest_complete_state(run_dir):
    """Find the newest state of a run folder that can be read.

    Returns:
        Its path or None, and a line about each newer one that was skipped.
    """
    skipped = []
    for path in reversed(list_states(run_dir)):
        try:
            load_state(path)
        except StateError as error:
            skipped.append(
                f'Skipping {path}: damaged or incomplete ({type(error.__cause__ or error).__name__})'
            )
        else:
            return path, skipped
    return None, skipped


def set_aside_states(run_dir, nimg):
    """Rename what lies beyond the position of a resumed run, so that the run's own states are the newest ones.

    Such states are damaged, or belong to a branch that is given up by resuming from an earlier one.

    Args:
        run_dir: Folder of the run.
        nimg:    Images seen at the position.
    Returns:
        Names of the states that are called NAME.discarded now.
    """
    newest = os.path.basename(state_path(run_dir, nimg))
    names = [os.path.basename(path) for path in list_states(run_dir)]
    later = [name for name in names if STATE_PATTERN.fullmatch(name) and _number(name) > _number(newest)]
    for name in later:
        os.replace(os.path.join(run_dir, name), os.path.join(run_dir, name + '.discarded'))
    return later


def _number(name):
    return int(STATE_PATTERN.fullmatch(name).group(1))


def remove_old_states(run_dir, keep, newest):
    """Delete older states of a run folder.

    States beyond `newest` stay: their user may want either branch.

    Args:
        run_dir: Folder of the run.
        keep:    Number of states to keep up to `newest`; 0 keeps all.
        newest:  Path of the state just written.
    """
    states = list_states(run_dir)
    states = states[: states.index(newest) + 1]
    for path in states[:-keep] if keep else []:
        os.remove(path)
