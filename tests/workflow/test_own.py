# Copyright 2026 The GDD-1S authors.
# SPDX-License-Identifier: Apache-2.0
"""Tests of workflow/own.py: the steps, what is skipped, and that every command is understood."""

import json
import os
import pathlib

import click
import pytest
from click.testing import CliRunner

import dataset_tool
import fid
import train
from evaluations import teacher_and_student
from tests.support import tiny_runs
from tests.support.image_files import encode, random_pixels, write_files
from workflow import own, plan, steps

COMMANDS = {
    'convert': dataset_tool.main.commands['convert'],
    'look': dataset_tool.main.commands['inspect'],
    'plan': plan.main,
    'teacher': train.main,
    'distil': train.main,
    'reference': fid.main.commands['ref'],
    'measure': teacher_and_student.main,
}
# By what a command of a step is recognised.
SCRIPTS = {
    'convert': lambda command: 'convert' in command,
    'look': lambda command: 'inspect' in command,
    'plan': lambda command: 'workflow.plan' in command,
    'teacher': lambda command: 'train.py' in command and not has_option(command, 'transfer'),
    'distil': lambda command: has_option(command, 'transfer'),
    'reference': lambda command: 'ref' in command,
    'measure': lambda command: 'evaluations.teacher_and_student' in command,
    'report': lambda command: 'report.py' in command,
}
PLAN = dict(
    teacher=['--recipe=own-teacher', '--cond=1', '--duration=0.001'],
    student=['--recipe=own-student', '--cond=1', '--duration=0.001'],
)


def has_option(command, name):
    return any(word.startswith(f'--{name}=') for word in command)


@pytest.fixture
def photos(tmp_path):
    folder = tmp_path / 'photos'
    write_files(
        folder, {f'{kind}/{k}.png': encode(random_pixels(k, (20, 24, 3))) for kind in 'ab' for k in (1, 2)}
    )
    return folder


@pytest.fixture
def ran(monkeypatch):
    """Replace the commands by their results; returns the names and options of those that ran."""
    found = []

    def option(command, name):
        return next(word.split('=', 1)[1] for word in command if word.startswith(f'--{name}='))

    def pretend(command):
        name = next(name for name, belongs in SCRIPTS.items() if belongs(command))
        found.append((name, command))
        write(name, command)
        return 0

    def write(name, command):
        if name in ('teacher', 'distil'):
            run_dir = pathlib.Path(option(command, 'outdir')) / '00000-run'
            run_dir.mkdir(parents=True)
            for file in (
                'log.txt',
                'stats.jsonl',
                'network-snapshot-000000.pkl',
                'network-snapshot-000001.pkl',
            ):
                (run_dir / file).write_text(name)
        elif name == 'measure':
            pathlib.Path(option(command, 'outdir'), 'comparison.md').write_text('the table\n')
        elif name == 'report':
            pathlib.Path(command[-1], 'report.html').write_text('page')
        else:
            path = option(command, 'grid' if name == 'look' else 'dest')
            pathlib.Path(path).write_text(json.dumps(PLAN))

    monkeypatch.setattr(steps, 'run_command', pretend)
    return found


def run(*args):
    return CliRunner().invoke(own.main, list(args))


def names(ran):
    return [name for name, _ in ran if name != 'report']


def test_all_steps_and_the_table_and_then_nothing(photos, ran, tmp_path):
    arguments = (f'--data={photos}', f'--outdir={tmp_path}/runs', '--teacher-options=--xflip=1 --lr=1e-3')
    result = run(*arguments)
    assert result.exit_code == 0, result.output
    assert names(ran) == ['convert', 'look', 'plan', 'teacher', 'distil', 'reference', 'measure']
    assert (
        'the table' in result.output
        and 'network-snapshot-000001.pkl --outdir=out --seeds=0-63' in result.output
    )
    for name, command in ran:
        if name in COMMANDS:
            check_understood(COMMANDS[name], [word for word in command if word.startswith('--')])
    assert {'--xflip=1', '--lr=1e-3'} <= set(dict(ran)['teacher'])
    before = len(ran)
    again = run(*arguments)
    assert len(ran) == before and again.output.count('done before') >= 7 and 'the table' in again.output


def check_understood(command, words):
    """Options of the launcher apart, all of them are options of the command."""
    launcher = ('--standalone', '--nproc_per_node')
    known = {name for param in command.params for name in (*param.opts, *param.secondary_opts)}
    unknown = [word for word in words if word.split('=')[0] not in known and not word.startswith(launcher)]
    assert unknown == [], command.name


def test_a_teacher_is_used(photos, ran, tmp_path):
    teacher = tmp_path / 'teacher.pkl'
    teacher.write_text('a network')
    assert run(f'--data={photos}', f'--outdir={tmp_path}/runs', f'--teacher={teacher}').exit_code == 0
    assert 'teacher' not in names(ran)
    assert f'--transfer={teacher}' in dict(ran)['distil'] and f'--teacher={teacher}' in dict(ran)['measure']


def test_an_archive_of_ours_is_not_converted(ran, tmp_path):
    data = tiny_runs.write_zip(tmp_path / 'data.zip')
    assert run(f'--data={data}', f'--outdir={tmp_path}/runs', '--until=look').exit_code == 0
    assert names(ran) == ['look'] and f'--source={data}' in dict(ran)['look']
    assert own.ready_resolution(data) == 8


def test_what_needs_conversion(photos, tmp_path):
    assert own.ready_resolution(str(photos)) is None  # neither square nor labelled
    write_files(tmp_path / 'flat', {'a.png': encode(random_pixels(1, (16, 16, 3)))})
    assert own.ready_resolution(str(tmp_path / 'flat')) == 16
    write_files(tmp_path / 'classes', {'c/a.png': encode(random_pixels(1, (16, 16, 3)))})
    assert own.ready_resolution(str(tmp_path / 'classes')) is None


def test_a_failed_step_ends_it_with_its_code(photos, tmp_path, monkeypatch):
    monkeypatch.setattr(steps, 'run_command', lambda command: 75)
    result = run(f'--data={photos}', f'--outdir={tmp_path}/runs')
    assert (
        result.exit_code == 75
        and 'step convert has ended with exit code 75; the same command' in result.output
    )


def test_dry_run_shows_the_next_command(photos, tmp_path):
    result = run(f'--data={photos}', f'--outdir={tmp_path}/runs', '--dry-run', '--resolution=16')
    assert f'convert: python dataset_tool.py convert --source={photos}' in result.output
    assert '--resolution=16x16' in result.output


def test_missing_images_are_one_line(monkeypatch):
    monkeypatch.delenv('DATA', raising=False)
    assert 'your images are missing: sh train.sh own DATA=photos.zip' in run().output
    assert '--data=nowhere does not exist' in run('--data=nowhere').output
    assert 'what is my photos? Images are given as DATA=' in run('my photos').output


def test_a_teacher_that_is_not_there_is_said_at_once(photos, ran, tmp_path):
    result = run(f'--data={photos}', f'--outdir={tmp_path}/runs', '--teacher=nowhere.pkl')
    assert result.exit_code == 1 and '--teacher=nowhere.pkl does not exist' in result.output and not ran
    assert run(f'--data={photos}', f'--outdir={tmp_path}/runs', '--teacher=https://a.b/c.pkl').exit_code == 0


def test_newest_snapshot_is_of_the_run_trained_last(tmp_path):
    assert own.newest_snapshot(str(tmp_path)) is None
    for number, time in ((0, 200), (1, 100)):
        folder = tmp_path / f'0000{number}-run'
        folder.mkdir()
        (folder / 'network-snapshot-000002.pkl').write_text('')
        (folder / 'log.txt').write_text('')
        os.utime(folder / 'log.txt', (time, time))
    assert own.newest_snapshot(str(tmp_path)) == str(tmp_path / '00000-run' / 'network-snapshot-000002.pkl')


def test_the_environment_is_named_where_python_is_another(tmp_path, monkeypatch):
    folder = tmp_path / 'my env' / 'bin'
    folder.mkdir(parents=True)
    for name in ('python', 'activate'):
        (folder / name).touch(mode=0o755)
    monkeypatch.chdir(tmp_path)
    assert own.activation(str(folder / 'python')) == ". 'my env/bin/activate'"
    monkeypatch.setenv('PATH', str(folder), prepend=os.pathsep)
    assert own.activation(str(folder / 'python')) is None
    assert own.activation(str(tmp_path / 'python')) is None  # no environment of venv


def test_every_step_has_a_command():
    assert set(COMMANDS) | {'report'} == set(own.STEPS)
    assert isinstance(next(p for p in own.main.params if p.name == 'until').type, click.Choice)


def test_other_work_is_noted_before_the_first_step(photos, ran, tmp_path, monkeypatch):
    monkeypatch.setattr(own, 'spare_other_work', lambda: 'Note: others are busy')
    result = run(f'--data={photos}', f'--outdir={tmp_path}/runs', '--until=convert')
    assert result.output.startswith('Note: others are busy\nconvert: ') and names(ran) == ['convert']
