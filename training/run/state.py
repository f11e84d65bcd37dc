# Copyright 2026 The GDD-1S authors.
# SPDX-License-Identifier: Apache-2.0
"""Everything a run needs to go on: one file of tensors and plain values per saved state."""

import contextlib
import fcntl
import math
import os
import re
from collections.abc import Iterator
from typing import Any

import torch

from dnnlib.errors import ArgumentError, arg, message_parts
from dnnlib.util import atomic_write
from torch_utils.torch_files import read_torch_file

# What every state has, and of which type; what is inside is up to the parts of the run (`taking_over`).
STATE_TYPES = dict(
    nimg=int, tick=int, iteration=int, task=dict, ema=dict, run=dict, statistics=dict, progress=dict
)
ADVICE = '; give a training-state-*.pt file of a run folder'
# What parts of a run raise when they get values of other types, names or shapes than they have written.
FOREIGN = (RuntimeError, ValueError, LookupError, TypeError, AttributeError, ArithmeticError)
STATE_PATTERN = re.compile(r'training-state-(\d{6,})\.pt')


class StateError(ArgumentError):
    """A training state that cannot be used; the message is one line for the user."""


def state_path(run_dir: str, nimg: int) -> str:
    """Name the state file after `nimg` images."""
    return os.path.join(run_dir, f'training-state-{nimg // 1000:06d}.pt')


def save_state(path: str, state: dict) -> None:
    """Write a training state atomically.

    Args:
        path:  File to write.
        state: Nested dict of tensors, numbers, strings, lists and dicts.
    """
    with atomic_write(path) as file:
        torch.save(state, file)


def load_state(path: str) -> dict:
    """Read a training state, checked against its checksums; never executes code from the file.

    Returns:
        The dict given to `save_state`, tensors on the CPU.
    Raises:
        StateError: Missing, damaged or foreign file.
    """
    if not os.path.isfile(path):
        raise StateError(arg('resume', path), ' does not exist', ADVICE)
    try:
        state = read_torch_file(path, 'a training state')
    except ArgumentError as error:
        raise StateError(arg('resume', path), *_not_a_state(error)) from error
    except OSError as error:
        raise StateError(
            arg('resume', path), f' cannot be read ({error.strerror or error})', ADVICE
        ) from error
    if not isinstance(state, dict):
        raise StateError(arg('resume', path), *_not_a_state(f'it holds a {type(state).__name__}'))
    wrong = _wrong_value(state)
    if wrong:
        raise StateError(arg('resume', path), *_not_a_state(wrong))
    return state


def _not_a_state(reason: object) -> tuple[str, str]:
    return f' is not a training state of this code ({reason})', ADVICE


def _wrong_value(state: dict[str, Any]) -> str | None:
    # What is wrong with the values that the run itself takes over, or None.
    for name, kind in STATE_TYPES.items():
        if name not in state:
            return f'no {name} in it'
        if not isinstance(state[name], kind) or isinstance(state[name], bool):
            return f'{name} is a {type(state[name]).__name__}'
        if kind is int and state[name] < 0:
            return f'{name} is {state[name]}'
    numbers = {
        'last_tick_nimg': state.get('last_tick_nimg', 0),
        **state['progress'],
        **state.get('nonfinite', {}),
    }
    for name, value in numbers.items():
        if not isinstance(value, (int, float)):
            return f'{name} is a {type(value).__name__}'
    for moments in (state['statistics'].get(kind, {}) for kind in ('pending', 'moments')):
        if not isinstance(moments, dict) or not all(map(_is_three_numbers, moments.values())):
            return 'statistics are not three numbers each'
    return None


def _is_three_numbers(value: Any) -> bool:
    return (
        isinstance(value, list) and len(value) == 3 and all(isinstance(item, (int, float)) for item in value)
    )


@contextlib.contextmanager
def taking_over(path: str) -> Iterator[None]:
    """Let the parts of a run take over their share of a state, whatever is in there.

    Args:
        path: File of the state, for the message.
    Raises:
        StateError: Names, shapes or types are not those of this run; one line with the first difference.
    """
    try:
        yield
    except StateError:
        raise
    except FOREIGN as error:
        reason = message_parts(error)
        if not isinstance(error, ArgumentError):  # torch's own may have many lines
            kind = '' if isinstance(error, (RuntimeError, ValueError)) else f'{type(error).__name__}: '
            reason = [kind + ' '.join(str(error).split())[:200]]  # KeyError is only the name
        raise StateError(
            arg('resume', path),
            ' does not fit the networks of this run (',
            *reason,
            '); give the options of the interrupted run',
        ) from error


def check_optimizers(task: object) -> None:
    """Compare what the optimizers of a task have taken over with their parameters; they do it only in a step.

    Raises:
        ValueError: A value has another type or shape.
    """
    for optimizer in vars(task).values():
        if isinstance(optimizer, torch.optim.Optimizer):
            for group in optimizer.param_groups:
                _check_group(optimizer, group)


def _check_group(optimizer: torch.optim.Optimizer, group: dict[str, Any]) -> None:
    for name, default in optimizer.defaults.items():
        if isinstance(default, (int, float)) and not isinstance(group[name], (int, float)):
            raise ValueError(f'{name} of the optimizer is a {type(group[name]).__name__}')
        if isinstance(default, tuple) and not (
            len(group[name]) == len(default) and all(isinstance(item, (int, float)) for item in group[name])
        ):
            raise ValueError(f'{name} of the optimizer are not {len(default)} numbers')
    for parameter in group['params']:
        for name, value in optimizer.state.get(parameter, {}).items():
            if not isinstance(value, torch.Tensor):
                raise ValueError(f'{name} of the optimizer is a {type(value).__name__}')
            if name == 'step' and not 0 <= float(value) < math.inf:
                raise ValueError(f'step of the optimizer is {float(value):g}')
            if value.shape not in ((), parameter.shape):
                raise ValueError(
                    f'{name} of the optimizer has shape {list(value.shape)}, its parameter '
                    f'{list(parameter.shape)}'
                )


def follow_memory_order(task: object) -> None:
    """Give what the optimizers of a task have taken over the memory order of their parameters.

    A state has that of the interrupted run (`channels_last`), and fused steps go by position in memory.
    """
    for optimizer in vars(task).values():
        if isinstance(optimizer, torch.optim.Optimizer):
            for parameter, own in optimizer.state.items():
                for name, value in list(own.items()):
                    if value.shape == parameter.shape and value.stride() != parameter.stride():
                        own[name] = torch.empty_like(parameter, requires_grad=False).copy_(value)


@contextlib.contextmanager
def lock(run_dir: str) -> Iterator[None]:
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
                f'{run_dir} is in use by another process that trains there; wait for it, or give another ',
                arg('outdir'),
            ) from error
        except OSError:
            pass
        yield
    finally:
        os.close(folder)


def list_states(run_dir: str) -> list[str]:
    """Return the paths of all states in a run folder, oldest first."""
    found = [(int(m.group(1)), name) for name in os.listdir(run_dir) if (m := STATE_PATTERN.fullmatch(name))]
    return [os.path.join(run_dir, name) for _, name in sorted(found)]


def newest_complete_state(run_dir: str) -> tuple[str | None, list[str]]:
    """Find the newest state of a run folder that can be read, every bit of it.

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


def set_aside_states(run_dir: str, nimg: int) -> list[str]:
    """Rename what lies beyond the position of a resumed run, so that its own states are the newest ones.

    Such states are damaged, or belong to a branch that is given up by resuming from an earlier one.

    Args:
        run_dir: Folder of the run.
        nimg:    Images seen at the position.
    Returns:
        Names of the states that are called NAME.discarded now.
    """
    newest = os.path.basename(state_path(run_dir, nimg))
    names = [os.path.basename(path) for path in list_states(run_dir)]
    later = [name for name in names if _number(name) > _number(newest)]
    for name in later:
        os.replace(os.path.join(run_dir, name), os.path.join(run_dir, name + '.discarded'))
    return later


def _number(name: str) -> int:
    return int(STATE_PATTERN.fullmatch(name).group(1))


def remove_old_states(run_dir: str, keep: int, newest: str) -> None:
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
