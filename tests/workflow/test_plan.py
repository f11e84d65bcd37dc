# Copyright 2026 The GDD-1S authors.
# SPDX-License-Identifier: Apache-2.0
"""Tests of workflow/plan.py: how time is divided, and that what it writes is understood by train.py."""

import json

import pytest
from click.testing import CliRunner

import train
from tests.support import tiny_runs
from workflow import plan
from workflow.estimate import Estimate


def fast(images_per_second):
    return Estimate(1e9, images_per_second, 8, 0, 0, 0, 0)


def test_time_is_divided():
    # 30 minutes: 0.55 of 1800 s at 100 images/s, 0.33 at 50.
    assert plan.divide(30, fast(100), fast(50)) == (99, 30)
    assert plan.divide(30, None, fast(50)) == (0, 79)  # 0.88 of 1800 s
    assert plan.divide(30, fast(100), fast(50), processes=4) == (396, 119)
    assert plan.divide(0.001, fast(1), fast(1)) == (plan.LEAST_TEACHER, plan.LEAST_STUDENT)


def test_a_plan_is_told_in_images_and_time():
    made = dict(images_per_second=[50, 10], thousands_of_images=[60, 12], teacher=['x'], student=['y'])
    lines = [
        'teacher: 60,000 images at 50 images/s, 20m 00s',
        'student: 12,000 images at 10 images/s, 20m 00s',
    ]
    assert plan.describe(made, minutes=45, processes=1) == lines
    note = 'Note: this is the least that makes sense, and takes longer than 30 minutes'
    assert plan.describe(made, minutes=30, processes=1) == [*lines, note]
    assert plan.describe(dict(made, teacher=None), minutes=30, processes=2) == [
        'student: 12,000 images at 20 images/s, 10m 00s'
    ]
    speeds = dict(images_per_second=[None, 10], teacher=None)
    assert len(plan.describe(dict(made, **speeds), minutes=30, processes=1)) == 1


@pytest.mark.parametrize('kimg, expected', [(200, (5, 10)), (1, (1, 1)), (30, (1, 8))])
def test_options_of_a_length_are_understood(kimg, expected):
    options = plan.run_options(kimg)
    config = tiny_runs.make_config('--data=some.zip', *tiny_runs.TEACHER_ARGS, *options)
    assert config['total_nimg'] == kimg * 1000
    assert (int(options[1].split('=')[1]), config['snapshot_ticks']) == expected


@pytest.mark.parametrize('classes', [3, 0])
def test_plan_of_images(classes, tmp_path, monkeypatch):
    """The measurement is replaced; the options of both runs are resolved by train.py."""
    data = tiny_runs.write_zip(tmp_path / 'data.zip', classes=classes)
    asked = []

    def measured(config, shape, label_dim, seconds):
        asked.append((config['loss'], shape, label_dim))
        return fast(100)

    monkeypatch.setattr(plan, 'estimate', measured)
    dest = str(tmp_path / 'plan.json')
    result = CliRunner().invoke(plan.main, [f'--data={data}', '--minutes=1', f'--dest={dest}'])
    assert result.exit_code == 0, result.output
    made = json.loads((tmp_path / 'plan.json').read_text())
    assert asked == [('edm', (3, 8, 8), classes), ('gdd', (3, 8, 8), classes)]
    assert (made['images'], made['classes']) == (20, classes)
    for role, more in (('teacher', ()), ('student', ('--transfer=t.pkl',))):
        arguments = ['--outdir=none', f'--data={data}', *made[role], *more]
        config = train.resolve(train.main.make_context('train.py', arguments))
        assert config['dataset_kwargs']['use_labels'] == bool(classes)
    assert config['loss_kwargs']['r1_gamma'] == 2.5e-5 and config['compat'] == 'clean'  # the demo's strength


def test_a_teacher_that_is_there_is_not_trained(tmp_path, monkeypatch):
    data = tiny_runs.write_zip(tmp_path / 'data.zip')
    monkeypatch.setattr(plan, 'estimate', lambda *args: fast(100))
    made = plan.make_plan(data, 'teacher.pkl', 1, 1)
    assert made['teacher'] is None and made['student']
