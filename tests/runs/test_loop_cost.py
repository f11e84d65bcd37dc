# Copyright 2026 The GDD-1S authors.
# SPDX-License-Identifier: Apache-2.0
"""Tests that nothing needless sits in the training loop: no reading back from the device,
no work on what is frozen.
"""

import os
import sys

import pytest
import torch
from torch.utils._python_dispatch import TorchDispatchMode

from benchmarks.synthetic_data import SyntheticDataset
from benchmarks.throughput import synthetic_config
from tests.support import ROOT, tiny_runs
from torch_utils import randomness, training_stats
from training.training_loop import TrainingRun

ATEN = torch.ops.aten
# Operations after which the host knows what a GPU has computed: it would have to wait for it.
READS = (ATEN._local_scalar_dense.default, ATEN.nonzero.default, ATEN.equal.default, ATEN.is_nonzero.default)
# Files that read on the CPU only, where it costs nothing; each asks for the type of the device first.
ONLY_ON_THE_CPU = ('gradients.py', 'ema.py')


class WatchReads(TorchDispatchMode):
    """Note which file of ours reads a value back."""

    def __init__(self):
        super().__init__()
        self.files = []

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        if func in READS:
            frame = sys._getframe(1)
            while not frame.f_code.co_filename.startswith(str(ROOT)) or '.venv' in frame.f_code.co_filename:
                frame = frame.f_back
            self.files.append(os.path.basename(frame.f_code.co_filename))
        return func(*args, **(kwargs or {}))


@pytest.fixture(params=['clean', 'official', 'teacher'])
def run(request, monkeypatch):
    monkeypatch.setattr(training_stats, '_counters', {})
    args = (
        tiny_runs.TEACHER_ARGS
        if request.param == 'teacher'
        else (
            '--transfer=random',
            f'--compat={request.param}',
            '--freeze=1',
            *tiny_runs.NETWORK_ARGS,
            *tiny_runs.GAN_ARGS,
        )
    )
    config = synthetic_config(
        tiny_runs.make_config('--data=cifar10-32x32.zip', '--cond=1', *args), 1, device='cpu'
    )
    config['dataset_kwargs'].update(resolution=8, classes=3, max_size=40)
    return TrainingRun(config, SyntheticDataset(**config['dataset_kwargs']))


def test_no_value_is_read_back_in_an_iteration(run):
    batches = run.batches()
    for iteration in (1, 16):  # with and without R1
        run.iteration = iteration
        images, labels = next(batches)
        with WatchReads() as watch:
            run.train_step(images, labels)
        assert set(watch.files) <= set(ONLY_ON_THE_CPU), watch.files


def test_the_watch_sees_reads():
    with WatchReads() as watch:
        torch.ones([]).item()
        bool(torch.ones([]) > 0)
    assert watch.files == [os.path.basename(__file__)] * 2


def test_a_report_costs_few_operations(monkeypatch):
    """Two sums and one addition per report: each is a kernel launch."""
    monkeypatch.setattr(training_stats, '_counters', {})

    class Count(TorchDispatchMode):
        names = []

        def __torch_dispatch__(self, func, types, args=(), kwargs=None):
            self.names.append(func._overloadpacket.__name__)
            return func(*args, **(kwargs or {}))

    values = torch.arange(6.0).reshape(2, 3)
    collector = training_stats.Collector()
    training_stats.report('x', values)
    with Count() as count:
        training_stats.report('x', values)
    assert len([name for name in count.names if name not in ('detach', 'view')]) <= 5, count.names
    collector.update()
    assert (collector.num('x'), collector.mean('x'), collector.std('x')) == (
        12,
        2.5,
        pytest.approx((35 / 12) ** 0.5),
    )


def test_noise_of_the_cpu_travels_from_pinned_memory(monkeypatch):
    """From ordinary memory the host would wait for the copy. Without a GPU only the calls can be seen."""
    calls = []

    class Drawn:
        device = torch.device('cpu')

        def pin_memory(self):
            calls.append('pinned')
            return self

        def to(self, device, non_blocking=False):
            calls.append((device.type, non_blocking))

    randomness.to_device(Drawn(), torch.device('cuda'))
    assert calls == ['pinned', ('cuda', True)]
    assert randomness.to_device(torch.ones(2), torch.device('cpu')).tolist() == [1, 1]
