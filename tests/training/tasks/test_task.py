# Copyright 2026 The GDD-1S authors.
# SPDX-License-Identifier: Apache-2.0
"""Tests of training/tasks/task.py: all tasks have what the loop asks for, with the same arguments."""

import inspect

import pytest

from tests.support import tiny_runs
from torch_utils import training_stats
from training.tasks.distillation import DistillationTask
from training.tasks.frechet import FrechetTask
from training.tasks.instance import InstanceTask
from training.tasks.task import Task
from training.tasks.teacher import TeacherTask

METHODS = [name for name, value in vars(Task).items() if inspect.isfunction(value) and name[0] != '_']


@pytest.mark.parametrize('task', [DistillationTask, FrechetTask, InstanceTask, TeacherTask])
def test_methods(task):
    assert {'step', 'state_dict', 'load_state_dict', 'snapshot_entries', 'replicas', 'summary'} <= set(
        METHODS
    )
    for name in METHODS:
        wanted, own = (inspect.signature(getattr(owner, name)).parameters for owner in (Task, task))
        assert list(own) == list(wanted), name
    assert Task not in task.__mro__  # an interface, no base class
    assert inspect.signature(task).parameters.keys() == {'config', 'dataset', 'device', 'micro_batch'}


@pytest.mark.parametrize('kind', ['teacher', 'instance', 'distillation'])
def test_attributes(kind, material, monkeypatch):
    monkeypatch.setattr(training_stats, '_counters', {})
    tiny_runs.use_random_backbones(monkeypatch.setattr)
    data, teacher = material
    only = ('--teacher-only=1', '--teacher-type=cd', '--distance=l2', *tiny_runs.COMMON_ARGS)
    args = dict(
        teacher=tiny_runs.TEACHER_ARGS,
        instance=(f'--transfer={teacher}', *only),
        distillation=(f'--transfer={teacher}', *tiny_runs.GAN_ARGS),
    )
    task = tiny_runs.make_run(tiny_runs.make_config(f'--data={data}', '--cond=1', *args[kind])).task
    assert all(hasattr(task, name) for name in Task.__annotations__)
    assert task.trained in task.replicas() and task.facts['network_kwargs']['img_resolution'] == 8
    assert all(isinstance(line, str) and '\n' not in line for line in task.summary())
