# Copyright 2026 The GDD-1S authors.
# SPDX-License-Identifier: Apache-2.0
"""Cores and memory of this process, and work in others: on a stream of items, or in the background."""

import collections
import concurrent.futures
import contextlib
import itertools
import multiprocessing
import os
import signal
import sys
import threading
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from typing import Any

import psutil

from dnnlib.errors import ArgumentError, arg

_CHUNK = 8  # items per message between processes: enough to make messages cheap for tiny images
_CHUNKS_AHEAD = 2  # chunks per process that are read ahead and not yet handed on
_CALLS_AHEAD = 2  # background calls per process that wait for their turn
_FAST_START = 'fork' if sys.platform == 'linux' else 'spawn'  # macOS offers fork, but its libraries break
_MOST_ON_WINDOWS = 61  # processes of a pool; more are refused there
# OpenMP reads these when torch is loaded; whoever has set one has chosen.
_CHOSEN_THREADS = ('OMP_NUM_THREADS', 'OMP_WAIT_POLICY', 'GOMP_SPINCOUNT', 'KMP_BLOCKTIME')
_BUSY_PERCENT, _LOOK_SEC = 20, 0.5


class WorkerError(ArgumentError):
    """Report that a worker process ended before its work was done."""


def available_cores() -> int:
    """Return the number of cores that this process may use, at least 1."""
    process = psutil.Process()
    if hasattr(process, 'cpu_affinity'):
        cores = len(process.cpu_affinity())
    else:  # macOS
        cores = psutil.cpu_count() or 1
    return min(cores, _MOST_ON_WINDOWS) if sys.platform == 'win32' else cores


def spare_other_work() -> str | None:
    """Let OpenMP's threads sleep, not spin, while they wait for one another, if other programs are busy here.

    Results are the same. Must run before torch is imported. Waiting by spinning suits an idle machine; beside
    other work each thread waits for a core that another one spins on (docs/performance.md has figures).

    Returns:
        A line that says so; None if nothing was changed.
    """
    if any(name in os.environ for name in _CHOSEN_THREADS):
        return None
    busy = psutil.cpu_percent(interval=_LOOK_SEC)
    if busy < _BUSY_PERCENT:
        return None
    os.environ['OMP_WAIT_POLICY'] = 'passive'
    return f'Note: other programs take {busy:.0f} % of the processors; set OMP_WAIT_POLICY=passive'


def memory_bytes() -> int:
    """Return the memory that this process and all below it hold, such as loader processes.

    What they share counts once where the system tells (Linux), else what each holds for itself counts.
    """
    total = 0
    for process in [psutil.Process(), *psutil.Process().children(recursive=True)]:
        with contextlib.suppress(psutil.Error):  # it has just ended
            memory = process.memory_full_info()
            total += getattr(memory, 'pss', memory.uss)
    return total


def map_ordered(
    function: Callable[[Any], Any], items: Iterable[Any], workers: int, count: int
) -> Iterator[Any]:
    """Apply a function to every item in several processes, and yield the results in the order of the items.

    Items are taken as results are consumed, so memory does not grow with their number. Close the
    generator (contextlib.closing) to stop the processes early. Ctrl-C reaches the main process only.

    Args:
        function: Function of one item; it, the items and the results can be pickled.
        items:    Consumed in this process.
        workers:  Number of processes; with 1, or few items, everything happens in this one.
        count:    Number of items, so that no more processes are started than can be busy.
    Yields:
        function(item) for every item.
    Raises:
        WorkerError: a process was killed, or cannot be started.
    """
    workers = min(workers, -(-count // _CHUNK))
    if workers <= 1:
        yield from map(function, items)
        return
    items = iter(items)
    with _process_pool(workers) as pool:
        pending = collections.deque()
        while chunk := list(itertools.islice(items, _CHUNK)):
            pending.append(pool.submit(_apply, function, chunk))
            if len(pending) > _CHUNKS_AHEAD * workers:
                yield from pending.popleft().result()
        while pending:
            yield from pending.popleft().result()


class Background:
    """Calls of a function in other processes while this one goes on, as a context manager.

    Processes are forked where that is safe (Linux), so they start at once and hold what this process holds:
    enter the block before a GPU is used, and call nothing of torch. At its end, whatever ends it, the calls
    that were submitted are carried out. Ctrl-C reaches the main process only.

    Args:
        workers: Processes; with 0 every call happens here, when it is submitted.
    """

    def __init__(self, workers: int) -> None:
        self._workers = workers
        self._pool = None
        self._pending = collections.deque()

    def __enter__(self) -> 'Background':
        if self._workers:
            self._pool = _started_pool(self._workers, _FAST_START, fewest=0)
        return self

    def submit(self, function: Callable[..., Any], *arguments: Any) -> None:
        """Have a function called; waits while too many calls are pending, so that memory stays bounded.

        Args:
            function, arguments: They can be pickled.
        Raises:
            Exception: What an earlier call raised, or this one where there is no other process.
            WorkerError: A process was killed.
        """
        if self._pool is None:
            function(*arguments)
            return
        self._await(_CALLS_AHEAD * self._workers)
        with _ended_from_outside(self._workers, fewest=0):
            self._pending.append(self._pool.submit(function, *arguments))

    def finish(self) -> None:
        """Wait for all calls, and raise what the first that failed has raised."""
        self._await(0)

    def _await(self, most: int) -> None:
        # Until no more calls than these are pending.
        with _ended_from_outside(self._workers, fewest=0):
            while self._pending and (len(self._pending) > most or self._pending[0].done()):
                self._pending.popleft().result()

    def __exit__(self, kind: type | None, *exception: Any) -> None:
        if self._pool is None:
            return
        try:
            if kind is None:
                self.finish()
            else:  # the reason is known; of a full disk these calls would say the same
                concurrent.futures.wait(self._pending)
        finally:
            self._pool.shutdown(cancel_futures=True)


@contextlib.contextmanager
def _process_pool(workers: int) -> Iterator[ProcessPoolExecutor]:
    pool = _started_pool(workers, 'spawn', fewest=1)
    try:
        with _ended_from_outside(workers, fewest=1):
            yield pool
    finally:
        pool.shutdown(cancel_futures=True)


@contextlib.contextmanager
def _ended_from_outside(workers: int, fewest: int) -> Iterator[None]:
    try:
        yield
    except BrokenProcessPool as error:
        raise WorkerError(
            'one of ',
            arg('workers', workers),
            ' processes was ended from outside, perhaps for lack of memory; try ',
            arg('workers', fewest),
        ) from error


def _started_pool(workers: int, method: str, fewest: int) -> ProcessPoolExecutor:
    pool, before = None, set(multiprocessing.active_children())
    try:
        pool = ProcessPoolExecutor(workers, multiprocessing.get_context(method), _prepare_worker)
        with _interrupts_ignored():
            for _ in range(workers):
                pool.submit(os.getpid)  # starts the processes now, while they inherit that Ctrl-C is ignored
    except OSError as error:  # descriptors, processes or shared memory; it has nothing to do with any file
        for child in set(multiprocessing.active_children()) - before:
            child.kill()  # the end of the program would wait for those that did start
        if pool is not None:
            pool.shutdown(cancel_futures=True)
        raise WorkerError(
            arg('workers', workers),
            f' processes cannot be started ({error.strerror or error}); use ',
            arg('workers', fewest),
            ', raise the limits (ulimit -n, ulimit -u), or give more shared memory, such as docker run '
            '--shm-size=1g',
        ) from error
    return pool


@contextlib.contextmanager
def _interrupts_ignored() -> Iterator[None]:
    if threading.current_thread() is not threading.main_thread():
        yield  # only the main thread may change this
        return
    previous = signal.signal(signal.SIGINT, signal.SIG_IGN)
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, previous)


def _prepare_worker() -> None:
    """Ignore Ctrl-C, which a terminal sends to all processes, and end when the main process is no more."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    threading.Thread(target=_end_with_parent, daemon=True).start()


def _end_with_parent() -> None:
    multiprocessing.parent_process().join()
    os._exit(1)


def _apply(function: Callable[[Any], Any], chunk: list[Any]) -> list[Any]:
    return [function(item) for item in chunk]
