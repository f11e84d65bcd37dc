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


def write_down(path, text):
    with open(path, 'x') as file:
        file.write(f'{text} {os.getpid()}')


def refuse(path, text):
    raise OSError(errno.ENOSPC, 'No space left on device', path)


def die(*_arguments):
    os._exit(9)


def test_background_calls_are_all_carried_out_in_other_processes(tmp_path):
    with parallel.Background(2) as background:
        for k in range(20):
            background.submit(write_down, str(tmp_path / str(k)), k)
            assert len(background._pending) <= 2 * parallel._CALLS_AHEAD + 1
        background.finish()
        assert len(list(tmp_path.iterdir())) == 20
    texts = [(tmp_path / str(k)).read_text().split() for k in range(20)]
    assert [int(text) for text, _pid in texts] == list(range(20))
    pids = {int(pid) for _text, pid in texts}
    assert os.getpid() not in pids and len(pids) <= 2
    for pid in pids:
        with pytest.raises(ProcessLookupError):
            os.kill(pid, 0)


def test_without_processes_a_call_happens_at_once(tmp_path):
    with parallel.Background(0) as background:
        background.submit(write_down, str(tmp_path / 'file'), 'here')
        assert (tmp_path / 'file').read_text() == f'here {os.getpid()}'
        with pytest.raises(OSError, match='No space'):
            background.submit(refuse, 'file', '')


def test_what_was_submitted_is_carried_out_before_an_interrupt_ends_the_block(tmp_path):
    with pytest.raises(KeyboardInterrupt), parallel.Background(2) as background:
        for k in range(4):
            background.submit(write_down, str(tmp_path / str(k)), k)
        raise KeyboardInterrupt
    assert len(list(tmp_path.iterdir())) == 4 and not multiprocessing.active_children()


@pytest.mark.parametrize('function, error, words', [
    (refuse, OSError, 'No space left on device'), (die, parallel.WorkerError, 'try workers=0')])  # fmt: skip
def test_errors_of_background_calls_come_with_a_later_call_or_the_end(function, error, words):
    for later in (0, 40):
        with pytest.raises(error, match=words), parallel.Background(1) as background:
            background.submit(function, 'file', '')
            for _ in range(later):
                background.submit(os.getpid)
        assert not multiprocessing.active_children()


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
