# Copyright 2026 The GDD-1S authors.
# SPDX-License-Identifier: Apache-2.0
"""Work on a stream of items in all cores, in order and in bounded memory."""

import collections
import contextlib
import itertools
import multiprocessing
import os
import signal
import threading
from concurrent.futures import ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool

from dnnlib.errors import ArgumentError, arg

_CHUNK = 8  # items per message between processes: enough to make messages cheap for tiny images
_CHUNKS_AHEAD = 2  # chunks per process that are read ahead and not yet handed on


class WorkerError(ArgumentError):
    """A worker process ended before its work was done."""


def available_cores():
    """Return the number of cores that this process may use, at least 1."""
    try:
        return len(os.sched_getaffinity(0))
    except AttributeError:  # macOS and Windows, where more than 61 processes are refused
        return min(os.cpu_count() or 1, 61)


def map_ordered(function, items, workers, count):
    """Apply a function to every item in several processes, and yield the results in the order of the items.

    Items are taken as results are consumed, so memory does not grow with their number. Close the
    generator (contextlib.closing) to stop the processes early. Ctrl-C reaches the main process only.

    Args:
        function: Function of one item; it, the items and the results can be pickled.
        items:    Iterable, consumed in this process.
        workers:  Number of processes; with 1, or few items, everything happens in this one.
        count:    Number of items, so that no more processes are started than can be busy.
    Yields:
        function(item) for every item.
    Raises:
        WorkerError: a process was killed.
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


@contextlib.contextmanager
def _process_pool(workers):
    pool = ProcessPoolExecutor(workers, multiprocessing.get_context('spawn'), _prepare_worker)
    try:
        with _interrupts_ignored():
            for _ in range(workers):
                pool.submit(os.getpid)  # starts the processes now, while they inherit that Ctrl-C is ignored
        yield pool
    except BrokenProcessPool as error:
        raise WorkerError(
            'one of the processes of ',
            arg('workers', workers),
            ' was ended from outside, perhaps for lack of memory; try ',
            arg('workers', 1),
        ) from error
    finally:
        pool.shutdown(cancel_futures=True)


@contextlib.contextmanager
def _interrupts_ignored():
    if threading.current_thread() is not threading.main_thread():
        yield  # only the main thread may change this
        return
    previous = signal.signal(signal.SIGINT, signal.SIG_IGN)
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, previous)


def _prepare_worker():
    """Ignore Ctrl-C, which a terminal sends to all processes, and end when the main process is no more."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    threading.Thread(target=_end_with_parent, daemon=True).start()


def _end_with_parent():
    multiprocessing.parent_process().join()
    os._exit(1)


def _apply(function, chunk):
    return [function(item) for item in chunk]
