# Copyright 2026 The GDD-1S authors.
# SPDX-License-Identifier: Apache-2.0
"""Processes for tests that need several: forked from one that has imported torch, timm and our scripts once.

A new interpreter takes 3 to 4 CPU seconds for these imports before anything is done. Tests of the launcher
and of the command lines themselves start real commands instead.
"""

import multiprocessing
import os
import socket
import sys
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import NamedTuple

from tests.support import ROOT

LAUNCHER_VARIABLES = ('RANK', 'LOCAL_RANK', 'WORLD_SIZE', 'MASTER_ADDR', 'MASTER_PORT')
IMPORTED_ONCE = ('fid', 'generate', 'tests.support.tiny_runs', 'timm', 'training.training_loop')


class Ended(NamedTuple):
    """A process that has ended, as subprocess.CompletedProcess says it."""

    returncode: int  # negative: the signal that ended it
    stdout: str
    stderr: str


def environment(**changes: str) -> dict[str, str]:
    """Return our environment for a process: one thread, our modules, of a launcher only these changes."""
    kept = {key: value for key, value in os.environ.items() if key not in LAUNCHER_VARIABLES}
    return dict(kept, OMP_NUM_THREADS='1', PYTHONPATH=str(ROOT), **changes)


def free_port() -> int:
    with socket.socket() as free:
        free.bind(('localhost', 0))
        return free.getsockname()[1]


def run_group(
    function: Callable, arguments: Iterable, folder: Path, processes: int, timeout: float = 300
) -> list[Ended]:
    """Call a function in several processes, which find in their environment what a launcher would set.

    Args:
        function:  Of a module; what it raises and prints is the end of its process.
        arguments: The same for all processes.
        folder:    Where they run; holds what they print.
        processes: How many; 1 has the variables of a launcher, too.
        timeout:   Seconds after which the test fails.
    Returns:
        How each has ended, by rank.
    """
    address = dict(WORLD_SIZE=str(processes), MASTER_ADDR='localhost', MASTER_PORT=str(free_port()))
    variables = [dict(address, RANK=str(rank), LOCAL_RANK=str(rank)) for rank in range(processes)]
    return _run(function, arguments, folder, variables, timeout)


def run_alone(function: Callable, arguments: Iterable, folder: Path, timeout: float = 300) -> Ended:
    """Call a function in a process of its own without variables of a launcher; see `run_group`."""
    return _run(function, arguments, folder, [{}], timeout)[0]


def _run(
    function: Callable, arguments: Iterable, folder: Path, variables: list[Mapping[str, str]], timeout: float
) -> list[Ended]:
    context = multiprocessing.get_context('forkserver')
    context.set_forkserver_preload(list(IMPORTED_ONCE))
    files = [
        (Path(folder) / f'stdout-{rank}.txt', Path(folder) / f'stderr-{rank}.txt')
        for rank in range(len(variables))
    ]
    started = [
        context.Process(target=_child, args=(function, tuple(arguments), folder, environment(**own), *paths))
        for own, paths in zip(variables, files)
    ]
    for process in started:
        process.start()
    try:
        for process in started:
            process.join(timeout)
            assert process.exitcode is not None, f'{function.__name__} has not ended after {timeout} seconds'
    finally:
        for process in started:
            process.kill()
    return [
        Ended(process.exitcode, out.read_text(), err.read_text())
        for process, (out, err) in zip(started, files)
    ]


def _child(
    function: Callable, arguments: tuple, folder: Path, variables: dict[str, str], out: Path, err: Path
) -> None:
    """What a forked process does."""
    for stream, path in ((sys.stdout, out), (sys.stderr, err)):
        with open(path, 'w', encoding='utf-8') as file:
            os.dup2(file.fileno(), stream.fileno())
    os.environ.clear()
    os.environ.update(variables)
    os.chdir(folder)
    function(*arguments)
