# Copyright 2026 The GDD-1S authors.
# SPDX-License-Identifier: Apache-2.0
"""Tests of torch_utils/loader.py: batches are PyTorch's, errors come as they are, lost processes at once."""

import errno
import multiprocessing
import os
import signal
import threading

import numpy as np
import pytest
import torch

from torch_utils import loader
from torch_utils.loader import LoaderError, load_batches


class Pixels(torch.utils.data.Dataset):
    """Item i is an image of value i, so large that no batch fits into a pipe at once, and a label."""

    def __init__(self, count=24, at=None, action=None):
        self.count, self.at, self.action = count, at, action

    def __len__(self):
        return self.count

    def __getitem__(self, idx):
        if idx == self.at:
            self.action()
        return np.full([3, 200, 200], idx, np.uint8), np.array([idx, 0.5], np.float32)


class Whole(Pixels):
    """Whole batches as items, without labels."""

    def __getitem__(self, idx):
        return super().__getitem__(idx)[0][np.newaxis], None


def refuse():
    raise ValueError('item 9 is no image')


def run_out_of_descriptors():
    raise OSError(errno.EMFILE, 'Too many open files', 'a.png')


def kill_itself():
    os.kill(os.getpid(), signal.SIGKILL)


def leave():
    os._exit(3)


def program_a_bug():
    raise TypeError('a bug')


@pytest.mark.parametrize('workers', [0, 2])
def test_batches_are_those_of_pytorch(workers):
    ours = list(load_batches(Pixels(), batch_size=5, num_workers=workers))
    theirs = list(torch.utils.data.DataLoader(Pixels(), batch_size=5))
    assert len(ours) == len(theirs) == 5
    for batch, expected in zip(ours, theirs):
        assert all(torch.equal(a, b) and a.dtype == b.dtype for a, b in zip(batch, expected, strict=True))
        batch[0].zero_()  # memory of its own
    assert multiprocessing.active_children() == []


@pytest.mark.parametrize('workers', [0, 1])
def test_whole_batches(workers):
    batches = list(load_batches(Whole(4), batch_size=None, num_workers=workers))
    assert [batch[0].shape for batch in batches] == [(1, 3, 200, 200)] * 4 and batches[3][1] is None
    assert batches[3][0].unique().tolist() == [3]


@pytest.mark.parametrize('workers', [0, 2])
@pytest.mark.parametrize('action, kind', [(refuse, ValueError), (run_out_of_descriptors, OSError)])
def test_errors_of_items_cross_over_as_they_are(workers, action, kind):
    with pytest.raises(kind) as raised:
        list(load_batches(Pixels(24, 9, action), batch_size=4, num_workers=workers))
    assert 'Traceback' not in str(raised.value) and 'worker process' not in str(raised.value)
    assert raised.value.args and multiprocessing.active_children() == []


def test_items_of_different_sizes_are_an_error_of_ours():
    class Growing(Pixels):
        def __getitem__(self, idx):
            return (np.zeros([idx + 1]),)

    with pytest.raises(ValueError, match='same shape'):
        list(load_batches(Growing(), batch_size=4, num_workers=1))


@pytest.mark.parametrize('action, words', [(kill_itself, r'was ended by SIGKILL'), (leave, 'exit code 3')])
def test_a_process_that_ends_is_named_with_the_cure(action, words):
    with pytest.raises(LoaderError, match=words) as raised:
        list(load_batches(Pixels(40, 17, action), batch_size=4, num_workers=2))
    assert 'workers=0' in str(raised.value) and '--shm-size' in str(raised.value)
    assert multiprocessing.active_children() == []  # the other one would wait for its locks


def test_a_bug_keeps_the_traceback_of_its_process():
    with pytest.raises(TypeError, match='program_a_bug'):
        list(load_batches(Pixels(24, 9, program_a_bug), batch_size=4, num_workers=1))


def test_a_process_killed_between_two_batches_or_within_one():
    """Also when the program is busy elsewhere, and when what it has sent will never be complete."""
    batches = load_batches(Pixels(400), batch_size=8, num_workers=1)
    next(batches)
    (child,) = multiprocessing.active_children()
    with pytest.raises(LoaderError, match=f'{child.pid} was ended by SIGKILL'):
        child.kill()
        threading.Event().wait(timeout=30)
    batches.close()
    assert signal.getsignal(signal.SIGCHLD) == signal.SIG_DFL


def test_stopping_early_ends_the_processes_even_if_they_ignore_signals():
    batches = load_batches(Pixels(400), batch_size=8, num_workers=2, worker_init_fn=ignore_sigterm)
    next(batches)
    assert len(multiprocessing.active_children()) == 2
    batches.close()
    assert multiprocessing.active_children() == []


def ignore_sigterm(_worker):
    signal.signal(signal.SIGTERM, signal.SIG_IGN)


def test_processes_that_cannot_be_started(monkeypatch):
    def refuse_start(_self):
        raise OSError(errno.EAGAIN, 'Resource temporarily unavailable')

    monkeypatch.setattr(loader.torch.utils.data, 'DataLoader', lambda **_kwargs: Unstartable(refuse_start))
    with pytest.raises(LoaderError, match=r'cannot be started \(.*temporarily.*workers=0'):
        list(load_batches(Pixels(), batch_size=4, num_workers=2))


def start_one_and_run_out_of_descriptors(_self):
    multiprocessing.Process(target=wait_whatever_comes, daemon=True).start()
    run_out_of_descriptors()


def wait_whatever_comes():
    ignore_sigterm(0)
    threading.Event().wait(timeout=60)


def test_some_of_the_processes_cannot_be_started(monkeypatch):
    """At its end the program would wait for those that did start."""
    made = Unstartable(start_one_and_run_out_of_descriptors)
    monkeypatch.setattr(loader.torch.utils.data, 'DataLoader', lambda **_kwargs: made)
    with pytest.raises(LoaderError, match=r'Too many open files; raise the limit \(ulimit -n'):
        list(load_batches(Pixels(), batch_size=4, num_workers=2))
    assert multiprocessing.active_children() == []


class Unstartable:
    def __init__(self, action):
        self.action = action

    def __iter__(self):
        return self.action(self)


def test_outside_the_main_thread():
    found = []
    thread = threading.Thread(
        target=lambda: found.extend(load_batches(Pixels(8), batch_size=4, num_workers=1))
    )
    thread.start()
    thread.join(timeout=60)
    assert len(found) == 2
