# Copyright 2026 The GDD-1S authors.
# SPDX-License-Identifier: Apache-2.0
"""Tests of benchmarks/gpu_campaign.sh: for a GPU with a stand-in for Python, in its tiny form for real."""

import os
import shlex
import subprocess
import sys

import pytest

import train
from benchmarks import gpu_probe, gradient_precision, profile_step, sampling, throughput
from evaluations import teacher_and_student
from tests.support import ROOT

PIECES = ('tests', 'cifar', 'large', 'demo', 'teacher', 'student')
COMMANDS = {
    'benchmarks.gpu_probe': gpu_probe.main,
    'benchmarks.gradient_precision': gradient_precision.main,
    'benchmarks.profile_step': profile_step.main,
    'benchmarks.sampling': sampling.main,
    'benchmarks.throughput': throughput.main,
    'evaluations.teacher_and_student': teacher_and_student.main,
}
# Writes down what it is asked for; a word in $FAILS makes it fail. A run leaves what the next steps need.
STAND_IN = f"""#!/bin/sh
case "$*" in
    '-m training.recipes' | '-c '*) exec {shlex.quote(sys.executable)} "$@" ;;
esac
for word in "$@"; do printf '%s\\t' "$word"; done >>"$RECORD"
echo >>"$RECORD"
for word in "$@"; do
    case $word in
        --outdir=*) mkdir -p "${{word#--outdir=}}"
            touch "${{word#--outdir=}}/network-snapshot-000000.pkl" "${{word#--outdir=}}/comparison.png" ;;
        --out=*) printf 'first\\nsecond\\n' >"${{word#--out=}}.md" ;;
    esac
done
echo "answer to $1 $2"
case "$*" in *"${{FAILS:-no such words}}"*) exit 1 ;; esac
"""


def run(piece, folder, *options, **variables):
    environment = dict(os.environ, OUT=f'{folder}/out', KEEP=f'{folder}/keep', **variables)
    return subprocess.run(
        ['sh', str(ROOT / 'benchmarks' / 'gpu_campaign.sh'), piece, *options],
        capture_output=True,
        text=True,
        env=environment,
        cwd=folder,
    )


@pytest.fixture
def stand_in(tmp_path):
    path = tmp_path / 'python'
    path.write_text(STAND_IN)
    path.chmod(0o755)
    return dict(PYTHON=str(path), RECORD=f'{tmp_path}/record')


def recorded(tmp_path):
    """List the commands that were asked for, and forget them."""
    path = tmp_path / 'record'
    lines = path.read_text().splitlines() if path.exists() else []
    path.unlink(missing_ok=True)
    return [line.rstrip('\t').split('\t') for line in lines]


def parse(words):
    """Let the command itself parse its options: a wrong one raises."""
    if words[0] == 'train.py':
        return train.main.make_context('train.py', words[1:])
    if words[1] == 'pytest':
        return None
    return COMMANDS[words[1]].make_context(words[1], words[2:])


@pytest.mark.parametrize('piece, count', [('tests', 5), ('cifar', 9), ('large', 12), ('demo', 7)])
def test_commands_for_a_gpu_exist_with_their_options(piece, count, stand_in, tmp_path):
    result = run(piece, tmp_path, **stand_in)
    commands = recorded(tmp_path)
    assert len(commands) >= count, result.stdout
    for words in commands:
        parse(words)
    assert result.stdout.startswith(f'### Campaign, piece {piece}, on cuda\n\n| step | end |')
    files = os.listdir(tmp_path / 'out')
    assert {f'{piece}.md', f'{piece}-logs.tar.gz'} <= set(files) and len(files) <= 8
    again = run(piece, tmp_path, **stand_in)
    assert all(words[0] == 'train.py' and '--resume=auto' not in words for words in recorded(tmp_path))
    assert again.stdout.count('done before') >= count - 1


def test_a_failure_stops_nothing_and_is_done_again(stand_in, tmp_path):
    result = run('cifar', tmp_path, **stand_in, FAILS='gdd-cifar10 ')
    # What does not compile is not compared either.
    assert result.returncode == 1 and len(recorded(tmp_path)) == 8
    ends = dict(line[2:].split(' | ')[:2] for line in result.stdout.splitlines() if line.startswith('| gdd'))
    assert ends.pop('gdd-cifar10-compile') == 'status 1'
    assert len(ends) == 6 and set(ends.values()) == {'status 0'}
    assert run('cifar', tmp_path, **stand_in).returncode == 0
    again = recorded(tmp_path)
    assert len(again) == 2 and all('--recipe=gdd-cifar10' in words for words in again)


def test_recipes_of_imagenet_fit_a_card(stand_in, tmp_path):
    run('large', tmp_path, **stand_in)
    for words in recorded(tmp_path):
        assert ('--batch=32' in words) == any(word.endswith('imagenet') for word in words)


def test_data_may_lie_elsewhere(stand_in, tmp_path):
    (tmp_path / 'photos.zip').touch()
    result = run('teacher', tmp_path, **stand_in, DATA=f'{tmp_path}/photos.zip')
    assert '| cifar10-small-teacher | status 0 |' in result.stdout and recorded(tmp_path)


def test_a_piece_keeps_its_time(stand_in, tmp_path):
    result = run('large', tmp_path, **stand_in, LIMIT='3')
    assert not recorded(tmp_path) and result.stdout.count('no time left') == 6


def test_photographs_wait_for_their_recipes(stand_in, tmp_path):
    for piece, name in (('teacher', 'cifar10-small-teacher'), ('student', 'cifar10-small-gdd-i')):
        result = run(piece, tmp_path, **stand_in)
        if f'{name} | skipped' in result.stdout:
            assert 'no recipe of this name' in result.stdout or ' is missing' in result.stdout
        else:
            parse(recorded(tmp_path)[-1])


@pytest.mark.parametrize('arguments', [('nothing',), ('cifar', '--batch=3')])
def test_wrong_words_are_told(arguments, tmp_path):
    result = run(*arguments[:1], tmp_path, *arguments[1:])
    assert result.returncode == 2 and 'PIECE' in result.stderr and not os.listdir(tmp_path)


def test_the_whole_campaign_in_its_tiny_form(tmp_path):
    """What would cost GPU minutes if it failed there: every kind of step, for real, on the CPU."""
    blocks = {}
    for piece in PIECES:
        result = run(
            piece, tmp_path, '--device=cpu', PYTHON=sys.executable, OMP_NUM_THREADS='1', SECONDS_EACH='0'
        )
        blocks[piece] = result.stdout
        assert result.returncode == 0, result.stdout + result.stderr
    rows = [line for block in blocks.values() for line in block.splitlines() if ' | status ' in line]
    assert len(rows) >= 6 and all(' | status 0 | ' in row for row in rows)
    assert 'TFLOP/s: fp32' in blocks['tests'] and '| demo | status 0 |' in blocks['cifar']
    assert 'ended with 75 after SIGTERM' in blocks['demo'] and 'student, one step' in blocks['demo']
    assert '% gaps' in blocks['cifar'] and len(os.listdir(tmp_path / 'out')) == 2 * len(PIECES) + 1
