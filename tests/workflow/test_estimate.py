# Copyright 2026 The GDD-1S authors.
# SPDX-License-Identifier: Apache-2.0
"""Tests of workflow/estimate.py: counts against sizes that are known otherwise."""

import os

import pytest
import torch

from tests.support import tiny_runs
from workflow import estimate as estimates
from workflow.estimate import estimate, tensor_bytes


@pytest.fixture(scope='module')
def config():
    return tiny_runs.make_config(
        '--data=none.zip', '--cond=1', *tiny_runs.TEACHER_ARGS, tiny_runs.duration(16)
    )


@pytest.fixture(scope='module')
def found(config):
    return estimate(config, (3, 8, 8), 3, seconds=0.05)


def test_files_are_as_large_as_counted(config, found, tmp_path_factory):
    """A run of the same options leaves files of these sizes, apart from what their formats add."""
    folder = tmp_path_factory.mktemp('run')
    data = tiny_runs.write_zip(folder / 'data.zip')
    dataset = dict(config['dataset_kwargs'], path=data)
    run = tiny_runs.make_run(dict(config, dataset_kwargs=dataset))
    assert tensor_bytes([run.state_dict()]) <= found.state_bytes  # moments appear with the first step
    path = run.run(str(folder))
    assert 0 < os.path.getsize(path) - found.snapshot_bytes < 150_000  # the text of the networks
    assert 0 < os.path.getsize(folder / 'training-state-000000.pt') - found.state_bytes < 300_000


def test_counts_do_not_depend_on_the_machine(config, found):
    again = estimate(config, (3, 8, 8), 3, seconds=0)
    same = ('operations', 'bytes_per_image', 'snapshot_bytes', 'state_bytes', 'fixed_bytes')
    assert [getattr(again, name) for name in same] == [getattr(found, name) for name in same]
    assert found.operations > 1e6 and found.bytes_per_image > 3 * 8 * 8 * 4 and found.images_per_second > 0


def test_shared_storage_counts_once():
    x = torch.zeros(10)
    assert tensor_bytes([dict(a=x, b=[x[:5], (x,)]), x]) == 40


@pytest.mark.parametrize('seconds, batch', [(8, 8), (0.65, 6), (0.1, 2)])
def test_first_iterations_are_not_measured(config, seconds, batch, monkeypatch):
    """The first of each size takes 100 times as long; a version that counts it in measures 1 image/s."""
    clock, seen = [0.0], []
    monkeypatch.setattr(estimates.time, 'perf_counter', lambda: clock[0])

    def iterate(trial, with_r1=False):
        clock[0] += 0.1 * trial.batch * (1 if trial in seen else 100)
        seen.append(trial)

    monkeypatch.setattr(estimates._Trial, 'iterate', iterate)
    found = estimate(config, (3, 8, 8), 3, seconds)
    assert (found.batch, found.images_per_second) == (batch, pytest.approx(10))
