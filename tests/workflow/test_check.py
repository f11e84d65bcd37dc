# Copyright 2026 The GDD-1S authors.
# SPDX-License-Identifier: Apache-2.0
"""Tests of workflow/check.py and train.py --check: what is found, what is missing, and the exit code."""

import json

import pytest
from click.testing import CliRunner

import train
from tests.support import tiny_runs
from workflow import check
from workflow.estimate import Estimate

FOUND = Estimate(2e9, 50.0, 8, 100 * 2**20, 10 * 2**20, 5 * 2**20, 20 * 2**20)


@pytest.fixture(autouse=True)
def no_measurement(monkeypatch):
    monkeypatch.setattr(check, 'estimate', lambda *args: FOUND)


def run(*args):
    return CliRunner().invoke(train.main, ['--check', *args])


def test_a_recipe_whose_files_are_there(tmp_path):
    result = run('--recipe=demo', f'--outdir={tmp_path}', '--duration=0.01')
    assert result.exit_code == 0, result.output
    for text in (
        'Machine ',
        'Versions   python 3.',
        'data: datasets/mnist-32x32.zip, sha256 ',
        '10000 images of [1, 32, 32], 10 classes',
        'teacher: pretrained/edm-mnist-32x32-cond-ve.pkl, sha256 ',
        '10,000 images of 2 GFLOP at 50 images/s (measured with batches of 8): 3m 20s',
        'Memory     about 1.0 GiB for each of 1 process(es)',  # 600 + 100 + 32 x 10 MiB
    ):
        assert text in result.output, text
    assert 'Missing' not in result.output and list(tmp_path.iterdir()) == []
    assert result.output.splitlines()[-1].startswith('Run        sh train.sh demo')


def test_the_command_to_run_has_the_variables_as_well(tmp_path, monkeypatch):
    data = tiny_runs.write_zip(tmp_path / 'my photos.zip')
    monkeypatch.setenv('DATA', data)
    result = run('--recipe=own-teacher')
    assert f"Run        sh train.sh own-teacher 'DATA={data}'" in result.output


def test_missing_files_have_their_source(tmp_path):
    result = run('--recipe=gdd-i-cifar10', '--json', f'--outdir={tmp_path}')
    found = json.loads(result.output)
    assert result.exit_code == 2 and len(found['missing']) >= 1
    assert 'make it with python dataset_tool.py' in found['missing'][0]
    assert any('edm-cifar10-32x32-uncond-ve.pkl' in text for text in found['missing'])
    assert found['cost']['seconds'] == 100_000 and found['cost']['gflop_per_image'] == 2
    assert found['disk']['free'] > 0


def test_disk_counts_snapshots_and_states():
    config = tiny_runs.make_config('--data=none.zip', *tiny_runs.TEACHER_ARGS, '--duration=0.001', '--snap=5')
    config = dict(config, tick_nimg=100)
    disk = check.describe_disk(config, FOUND, 'nowhere/deep')
    # 10 ticks and the first: snapshots at 0, 5, 10, one to spare and the last; 2 states and the new one.
    assert (disk['snapshots'], disk['states']) == (4, 3)
    assert disk['needed'] == (4 * 5 + 3 * 20) * 2**20


def test_json_needs_check():
    result = CliRunner().invoke(train.main, ['--json', '--recipe=demo', '--dry-run'])
    assert result.exit_code == 1 and '--json shows what --check finds; add --check' in result.output


def test_other_work_is_noted_but_not_in_json(tmp_path, monkeypatch):
    monkeypatch.setattr(train, 'spare_other_work', lambda: 'Note: others are busy')
    assert run('--recipe=demo', f'--outdir={tmp_path}').output.startswith('Note: others are busy\nMachine ')
    json.loads(run('--recipe=demo', '--json', f'--outdir={tmp_path}').output)
