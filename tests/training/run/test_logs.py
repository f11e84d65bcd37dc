# Copyright 2026 The GDD-1S authors.
# SPDX-License-Identifier: Apache-2.0
"""Tests of training/run/logs.py: TensorBoard events, with the package and without, and words for the files of
a run."""

import os
import re
import sys
import types

import pytest

from dnnlib.errors import ArgumentError, as_option
from tests.support import ROOT
from torch_utils import training_stats
from training.run import logs
from training.training_loop import write_stats


def test_statistics_become_events_at_kimg(tmp_path, monkeypatch):
    """Read back with the package itself: means at their kimg, nothing for missing values."""
    event_accumulator = pytest.importorskip('tensorboard.backend.event_processing.event_accumulator')
    monkeypatch.setattr(training_stats, '_counters', {})
    collector, writer = training_stats.Collector(), logs.TensorBoard()
    for kimg, loss in ((1.0, 0.5), (3.0, float('nan')), (5.0, 0.25)):
        training_stats.report('Progress/kimg', kimg)
        training_stats.report('Loss/loss', [loss, loss + 1])
        collector.update()
        write_stats(str(tmp_path), collector, rank=0, reporters=[writer])
        write_stats(str(tmp_path), collector, rank=1)
    events = event_accumulator.EventAccumulator(str(tmp_path))
    events.Reload()
    assert [(event.step, event.value) for event in events.Scalars('Loss/loss')] == [(1, 1.0), (5, 0.75)]
    assert [event.step for event in events.Scalars('Progress/kimg')] == [1, 3, 5]
    assert 'tensorflow' not in sys.modules  # also where it is installed


def test_every_tick_is_written_at_once(tmp_path, monkeypatch):
    calls = []
    writer = types.SimpleNamespace(
        add_scalar=lambda *args: calls.append(args), flush=lambda: calls.append('flush')
    )
    folders = []
    monkeypatch.setitem(
        sys.modules,
        'torch.utils.tensorboard',
        types.SimpleNamespace(SummaryWriter=lambda folder: folders.append(folder) or writer),
    )
    tensorboard = logs.TensorBoard()
    assert folders == []  # a run that does not start leaves no files
    for _ in range(2):
        tensorboard.write(
            str(tmp_path), {'a': dict(mean=1.5), 'b': dict(mean=None), 'Progress/kimg': dict(mean=7.2)}
        )
    assert calls == [('a', 1.5, 7), ('Progress/kimg', 7.2, 7), 'flush'] * 2 and folders == [str(tmp_path)]


def test_missing_package_is_said_in_one_line(monkeypatch):
    monkeypatch.setitem(sys.modules, 'torch.utils.tensorboard', None)
    with pytest.raises(ArgumentError) as caught:
        logs.TensorBoard()
    assert re.fullmatch(
        '--tensorboard=True needs the package tensorboard .* requirements/tensorboard.txt, or leave it out',
        caught.value.spell(as_option),
    )
    root = str(ROOT)
    assert os.path.isfile(os.path.join(root, 'requirements/tensorboard.txt'))


def test_newest_files_are_named(tmp_path):
    assert logs.describe_files(str(tmp_path)) == f'nothing has been saved in {tmp_path}'
    assert 'nothing has been saved' in logs.describe_files(str(tmp_path / 'none'))
    for name in (
        'network-snapshot-000900.pkl',
        'network-snapshot-001000.pkl',
        'training-state-000950.pt',
        'best-fd2k.pkl',
        'training-state-1000000.pt',
        'fakes-002000.png',
        'network-snapshot-002000.pkl.tmp',
    ):
        (tmp_path / name).touch()
    text = logs.describe_files(str(tmp_path))
    assert text.startswith(f'the newest files in {tmp_path} are ')
    assert (
        'network-snapshot-001000.pkl' in text and 'training-state-1000000.pt' in text and '000950' not in text
    )


def test_weights_and_biases_offline(tmp_path, monkeypatch):
    """With the package itself: offline it writes below the run folder, and the network is not asked."""
    pytest.importorskip('wandb')
    for name, value in dict(MODE='offline', SILENT='true', CONSOLE='off', DISABLE_CODE='true').items():
        monkeypatch.setenv(f'WANDB_{name}', value)
    monkeypatch.setenv('HOME', str(tmp_path))
    reporter = logs.WeightsAndBiases('gdd-test', dict(batch_size=8))
    for kimg, loss in ((1.0, 0.5), (3.0, None), (5.0, 0.25)):
        reporter.write(str(tmp_path), {'Progress/kimg': dict(mean=kimg), 'Loss/loss': dict(mean=loss)})
    summary = dict(reporter._run.summary)
    reporter.close()
    assert summary['Loss/loss'] == 0.25 and summary['Progress/kimg'] == 5.0 and summary['_step'] == 2
    files = list(tmp_path.glob('wandb/offline-run-*/*.wandb'))
    assert len(files) == 1  # written out when the process ends


def test_missing_wandb_is_said_in_one_line(monkeypatch):
    monkeypatch.setitem(sys.modules, 'wandb', None)
    with pytest.raises(ArgumentError) as caught:
        logs.make_reporters(dict(tensorboard=False, wandb='mine'))
    assert re.fullmatch(
        '--wandb=mine needs the package wandb .* requirements/wandb.txt, or leave it out',
        caught.value.spell(as_option),
    )
    assert (ROOT / 'requirements/wandb.txt').is_file()
