# Copyright 2026 The GDD-1S authors.
# SPDX-License-Identifier: Apache-2.0
"""Tests of training/run/facts.py: the file of options has today's keys in today's order, and the options stay
as they are."""

import copy
import json

import pytest

from tests.support import tiny_runs
from torch_utils import training_stats
from training.run.facts import RunFacts

CONFIG = dict(
    loss='gdd',
    dataset_kwargs=dict(class_name='x', path='d.zip', resolution=None, max_size=None),
    resume='auto',
    network_kwargs=None,
    options=dict(lr=1.0),
)


def facts(**changes):
    required = dict(micro_batch=4, processes=2, resolution=32, max_size=100, network_kwargs=dict(a=1))
    return RunFacts(**dict(required, **changes))


def test_order_of_the_keys():
    full = facts(resume='s.pt', teacher=dict(sha256='1'), target_sha256='2').complete(CONFIG)
    assert json.dumps(full) == json.dumps(
        dict(
            loss='gdd',
            dataset_kwargs=dict(class_name='x', path='d.zip', resolution=32, max_size=100),
            resume='s.pt',
            network_kwargs=dict(a=1),
            options=dict(lr=1.0),
            micro_batch=4,
            teacher=dict(sha256='1'),
            target_sha256='2',
            processes=2,
        )
    )
    # Without a teacher there is no word of one.
    assert list(facts().complete(CONFIG))[-3:] == ['options', 'micro_batch', 'processes']


def test_completing_again_changes_only_what_is_new():
    once = facts(teacher=dict(sha256='1'), resume='auto').complete(CONFIG)
    again = facts(teacher=dict(sha256='1'), resume='s.pt').complete(once)
    assert list(again) == list(once) and again == dict(once, resume='s.pt')


def test_options_stay_as_they_are():
    before = copy.deepcopy(CONFIG)
    facts(teacher=dict(sha256='1')).complete(CONFIG)['dataset_kwargs']['path'] = 'other'
    assert CONFIG == before


@pytest.mark.parametrize('kind', ['teacher', 'distillation', 'instance', 'both'])
def test_no_run_changes_its_options(kind, material, monkeypatch):
    """Frozen dicts raise when they are changed: build every kind of run from such options, and train an
    iteration."""
    monkeypatch.setattr(training_stats, '_counters', {})
    tiny_runs.use_random_backbones(monkeypatch.setattr)
    data, teacher = material
    instance = ('--teacher-type=cd', '--max-steps=8', '--distance=l2', f'--target={teacher}')
    args = dict(
        teacher=tiny_runs.TEACHER_ARGS,
        distillation=(f'--transfer={teacher}', '--ada-target=0.6', *tiny_runs.GAN_ARGS),
        instance=(f'--transfer={teacher}', '--teacher-only=1', *instance, *tiny_runs.COMMON_ARGS),
        both=(f'--transfer={teacher}', *instance, *tiny_runs.GAN_ARGS),
    )
    config = tiny_runs.frozen(tiny_runs.make_config(f'--data={data}', '--cond=1', *args[kind]))
    before = json.dumps(config)
    with pytest.raises(TypeError, match='nobody changes them'):
        config['dataset_kwargs'].update(path='other')
    run = tiny_runs.make_run(config)
    run.train_step(*next(run.batches()))
    assert json.dumps(config) == before and config['network_kwargs'] != run.config['network_kwargs']
    learnt = {'micro_batch', 'processes'} | ({'teacher'} if kind != 'teacher' else set())
    learnt |= {'target_sha256'} if kind in ('instance', 'both') else set()
    assert set(run.config) - set(config) == learnt
