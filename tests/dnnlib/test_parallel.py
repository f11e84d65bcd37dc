# Copyright 2026 The GDD-1S authors.
# SPDX-License-Identifier: Apache-2.0
"""Tests of dnnlib/parallel.py: order, reading ahead, errors and deaths of worker processes; cores, memory."""

import contextlib
import errno
import multiprocessing
import os
import subprocess
import sys
import threading

import pytest

from dnnlib import parallel


def square(number):
    return number * number, os.getpid()


def fail_at_20(number):
    if number == 20:
        raise ValueError('20 is refused')
    return number


def die_at_20(number):
    if number == 20:
        os._exit(9)
    return number


class Counted:
    """The numbers below `count`, and how many of them have been asked for."""

    def __init__(self, count):
        self.count = count
        self.taken = 0

    def __iter__(self):
        for number in range(self.count):
            self.taken += 1
            yield number


def test_results_come_in_order_from_other_processes_and_reading_ahead_is_bounded():
    items = Counted(400)
    bound = parallel._CHUNK * (2 * parallel._CHUNKS_AHEAD + 1)  # for two processes
    results, workers = [], set()
    with contextlib.closing(parallel.map_ordered(square, items, workers=2, count=400)) as stream:
        for value, pid in stream:
            results.append(value)
            workers.add(pid)
            assert items.taken - len(results) <= bound
    assert results == [number * number for number in range(400)]
    assert os.getpid() not in workers and 1 <= len(workers) <= 2


@pytest.mark.parametrize('workers, count', [(1, 40), (4, parallel._CHUNK), (4, 0)])
def test_one_worker_or_few_items_need_no_process(workers, count):
    assert list(parallel.map_ordered(square, range(count), workers, count)) == [
        (k * k, os.getpid()) for k in range(count)
    ]


def test_errors_and_deaths_of_workers_reach_the_caller():
    for function, error, words in [
        (fail_at_20, ValueError, '20 is refused'),
        (die_at_20, parallel.WorkerError, 'try workers=1'),
    ]:
        with pytest.raises(error, match=words):
            list(parallel.map_ordered(function, range(40), workers=2, count=40))


def test_processes_that_cannot_be_started(monkeypatch):
    """The error is about processes, not about whatever file is open at that time."""
    start, started = multiprocessing.context.SpawnProcess.start, []

    def run_out_of_descriptors(self):
        if started:
            raise OSError(errno.EMFILE, 'Too many open files')
        started.append(self)
        start(self)

    monkeypatch.setattr(multiprocessing.context.SpawnProcess, 'start', run_out_of_descriptors)
    with pytest.raises(
        parallel.WorkerError, match=r'workers=2 processes cannot be started \(Too many'
    ) as caught:
        list(parallel.map_ordered(square, range(40), workers=2, count=40))
    assert 'use workers=1' in str(caught.value) and started and not multiprocessing.active_children()


def test_closing_early_ends_the_processes():
    before = threading.active_count()
    stream = parallel.map_ordered(square, range(400), workers=2, count=400)
    _value, pid = next(stream)
    os.kill(pid, 0)  # it is alive
    stream.close()
    with pytest.raises(ProcessLookupError):
        os.kill(pid, 0)
    assert threading.active_count() == before


def test_outside_the_main_thread():
    """Only the main thread may handle signals; other threads still get their results."""
    results = []
    thread = threading.Thread(
        target=lambda: results.extend(parallel.map_ordered(fail_at_20, range(16), 2, 16))
    )
    thread.start()
    thread.join(timeout=120)
    assert results == list(range(16))


def test_cores_are_those_of_this_process(monkeypatch):
    class Process:
        def cpu_affinity(self):
            return [1, 4]

    monkeypatch.setattr(parallel.psutil, 'Process', Process)
    assert parallel.available_cores() == 2
    monkeypatch.delattr(Process, 'cpu_affinity')  # macOS
    monkeypatch.setattr(parallel.psutil, 'cpu_count', lambda: 64)
    assert parallel.available_cores() == 64
    monkeypatch.setattr('sys.platform', 'win32')
    assert parallel.available_cores() == 61
    monkeypatch.setattr(parallel.psutil, 'cpu_count', lambda: None)
    assert parallel.available_cores() == 1


def test_memory_includes_the_processes_below_this_one():
    text = 'block = bytearray(60 << 20)\nprint(flush=True)\ninput()'
    before = parallel.memory_bytes()
    with subprocess.Popen(
        [sys.executable, '-c', text], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    ) as child:
        child.stdout.readline()
        assert 55 << 20 < parallel.memory_bytes() - before < 120 << 20
        child.communicate(b'\n')


@pytest.mark.parametrize(
    'busy, chosen, policy', [(95.0, None, 'passive'), (5.0, None, None), (95.0, '2', None)]
)
def test_threads_sleep_beside_other_work_unless_somebody_has_chosen(busy, chosen, policy, monkeypatch):
    for name in parallel._CHOSEN_THREADS:
        monkeypatch.delenv(name, raising=False)
    if chosen:
        monkeypatch.setenv('OMP_NUM_THREADS', chosen)
    monkeypatch.setattr(parallel.psutil, 'cpu_percent', lambda interval: busy)
    note = parallel.spare_other_work()
    assert os.environ.get('OMP_WAIT_POLICY') == policy
    assert note == (
        'Note: other programs take 95 % of the processors; set OMP_WAIT_POLICY=passive' if policy else None
    )
    assert (
        parallel.spare_other_work() is None
    )  # the second call finds the choice of the first, or none to make
    monkeypatch.delenv('OMP_WAIT_POLICY', raising=False)
