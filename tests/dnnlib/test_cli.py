# Copyright 2026 The GDD-1S authors.
# SPDX-License-Identifier: Apache-2.0
"""Tests of dnnlib/cli.py: scripts end with one line, whatever stands in their way."""

import errno
import os
import subprocess
import sys

import click
import pytest

from dnnlib import cli
from dnnlib.errors import ArgumentError, FailedElsewhere, ProcessLost, arg
from tests.support import ROOT

SCRIPT = """
import errno, os, sys
import click
from dnnlib.cli import run_script
from dnnlib.errors import ArgumentError, FailedElsewhere, arg

@click.command()
@click.option('--action')
def main(action):
    print('begin caf\\udce9 \\u2192')
    if action == 'disk':
        raise OSError(errno.ENOSPC, 'No space left on device', 'a.pkl')
    if action == 'disk in a library':
        try:
            raise OSError(errno.ENOSPC, 'No space left on device', 'a.pkl')
        finally:
            raise RuntimeError('unexpected position')
    if action == 'argument':
        raise ArgumentError(arg('batch_gpu', 3), ' is odd')
    if action == 'elsewhere':
        raise FailedElsewhere('quietly')
    if action == 'bug':
        raise TypeError('a bug')
    if action == 'exit':
        sys.exit(75)
    if action == 'interrupt':
        raise KeyboardInterrupt
    if action == 'much':
        for _ in range(10000):
            print('line')
    print('end')

if __name__ == '__main__':
    run_script(main)
"""


def run(tmp_path, *args, shell='"$@"', encoding='utf-8'):
    script = tmp_path / 'script.py'
    script.write_text(SCRIPT)
    environment = dict(os.environ, PYTHONPATH=ROOT, PYTHONIOENCODING=encoding)
    command = ['sh', '-c', shell, 'sh', sys.executable, str(script), *args]
    return subprocess.run(command, capture_output=True, text=True, env=environment, timeout=60)


@pytest.mark.parametrize(
    'args, code, message',
    [
        ([], 0, ''),
        (
            ['--action=disk'],
            1,
            'Error: a.pkl: No space left on device; free some space, or choose another place\n',
        ),
        (['--action=disk in a library'], 1, 'Error: a.pkl: No space left on device; free some space'),
        (['--action=argument'], 1, 'Error: --batch-gpu=3 is odd\n'),
        (['--action=elsewhere'], 1, ''),
        (['--action=exit'], 75, ''),
        (['--action=interrupt'], 1, 'Aborted!'),
        (['--actions'], 2, 'No such option'),
        (['--help'], 0, ''),
    ],
)
def test_how_programs_end(args, code, message, tmp_path):
    result = run(tmp_path, *args)
    assert result.returncode == code and message in result.stderr and 'Traceback' not in result.stderr
    assert bool(result.stderr) == bool(message)


def test_bugs_keep_their_traceback(tmp_path):
    result = run(tmp_path, '--action=bug')
    assert result.returncode == 1 and 'Traceback' in result.stderr and 'TypeError: a bug' in result.stderr


@pytest.mark.parametrize(
    'encoding, text', [('utf-8', 'begin caf\\udce9 →'), ('ascii', 'begin caf\\udce9 \\u2192')]
)
def test_everything_can_be_printed(encoding, text, tmp_path):
    assert run(tmp_path, encoding=encoding).stdout == f'{text}\nend\n'


@pytest.mark.parametrize('action', [[], ['--action=much'], ['--help']])
def test_a_full_standard_output(action, tmp_path):
    if not os.path.exists('/dev/full'):
        pytest.skip('needs /dev/full')
    result = run(tmp_path, *action, shell='"$@" > /dev/full')
    assert result.returncode == 1
    assert result.stderr.splitlines() == [
        'Error: standard output: No space left on device; free some space, or choose another place'
    ]


def test_a_standard_output_that_nobody_reads(tmp_path):
    result = run(tmp_path, '--action=much', shell='{ "$@"; echo "code $?" >&2; } | true')
    assert 'Error: standard output: Broken pipe; ' in result.stderr and 'code 1' in result.stderr
    assert len(result.stderr.splitlines()) == 2


@pytest.mark.parametrize('closed', ['>&-', '2>&-', '<&-', '<&- >&- 2>&-'])
def test_closed_streams_lead_nowhere(closed, tmp_path):
    result = run(tmp_path, shell=f'"$@" {closed}')
    assert result.returncode == 0 and result.stderr == ''


def test_errors_inside_a_script(monkeypatch):
    monkeypatch.delenv('RANK', raising=False)
    for error, text in (
        (ValueError('two\nlines'), 'two lines'),
        (ArgumentError(arg('path', 'a')), '--data=a'),
        (
            OSError(errno.EROFS, 'Read-only file system', 'a'),
            'a: Read-only file system; choose another place',
        ),
        (MemoryError(), 'memory is exhausted'),
    ):
        with pytest.raises(click.ClickException) as raised, cli.one_line_errors(path='data'):
            raise error
        assert raised.value.message.startswith(text)
    for error, kind in (
        (FailedElsewhere(), SystemExit),
        (RuntimeError('bug'), RuntimeError),
        (KeyError(), KeyError),
    ):
        with pytest.raises(kind), cli.one_line_errors():
            raise error


@pytest.mark.parametrize(
    'rank, error, waits', [('0', ValueError, 0), ('0', ProcessLost, 1), ('3', ValueError, 1)]
)
def test_whoever_knows_the_reason_goes_first(rank, error, waits, monkeypatch):
    slept = []
    monkeypatch.setattr(cli.time, 'sleep', slept.append)
    monkeypatch.setenv('RANK', rank)
    with pytest.raises(click.ClickException) as raised, cli.one_line_errors():
        raise error('reason')
    assert slept == [cli.LAST_WORDS_SEC] * waits
    assert raised.value.message == (f'process {rank}: reason' if waits else 'reason')


def test_usage_says_what_was_typed(capsys, monkeypatch):
    monkeypatch.setattr(sys, 'argv', ['own.py', '--help'])
    for program, usage in (('sh train.sh own', 'Usage: sh train.sh own '), (None, 'Usage: ')):
        assert cli._run(click.Command('x'), program) == 0
        assert capsys.readouterr().out.startswith(usage)
