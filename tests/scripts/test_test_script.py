# Copyright 2026 The GDD-1S authors.
# SPDX-License-Identifier: Apache-2.0
"""Test test.sh and torch_utils/venv.sh with a stand-in for Python: what is called, in which order."""

import os
import shutil
import subprocess

import pytest

from tests.support import ROOT

# Writes down its arguments, makes the environment it is asked for, fails where FAIL stands in its arguments.
PYTHON = """#!/bin/sh
echo "$*" >> "$CALLS"
case "$*" in
    "-m venv "*) mkdir -p "$3/bin" && cp "$0" "$3/bin/python" ;;
    *"${FAIL:-nothing}"*) exit 1 ;;
esac
"""


@pytest.fixture
def checkout(tmp_path):
    """A folder with only what the two scripts need."""
    for name in ('test.sh', 'torch_utils/venv.sh', 'requirements.txt'):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        shutil.copy(ROOT / name, tmp_path / name)
    shutil.copytree(ROOT / 'requirements', tmp_path / 'requirements')
    (tmp_path / 'stand-in').write_text(PYTHON)
    (tmp_path / 'stand-in').chmod(0o755)
    return tmp_path


def run(checkout, *args, **variables):
    """Run test.sh; return (exit code, list of calls of Python, what it wrote to stderr)."""
    calls = checkout / 'calls'
    calls.unlink(missing_ok=True)
    known = {'PYTHON': str(checkout / 'stand-in'), 'CALLS': str(calls), 'PATH': os.environ['PATH']}
    done = subprocess.run(
        ['sh', str(checkout / 'test.sh'), *args], env={**known, **variables}, text=True, capture_output=True
    )
    return done.returncode, calls.read_text().splitlines(), done.stderr


def test_style_comes_before_the_tests_and_options_reach_pytest(checkout):
    status, calls, _ = run(checkout, '--fast', '-k', 'a b', VENV='none')
    assert status == 0 and calls[:2] == ['-m ruff check .', '-m ruff format --quiet --check .']
    assert len(calls) == 3 and calls[2].startswith('-m pytest tests -q -n 2 --dist=loadfile ')
    assert calls[2].endswith(' --fast -k a b')


@pytest.mark.parametrize('fails, hint', [('check .', 'check --fix'), ('--check', 'ruff format .')])
def test_bad_style_ends_it_with_what_mends_it(checkout, fails, hint):
    status, calls, error = run(checkout, VENV='none', FAIL=fails)
    assert status == 1 and hint in error.splitlines()[-1]
    assert not any('pytest' in call for call in calls)


def test_failing_tests_fail_the_command(checkout):
    assert run(checkout, VENV='none', FAIL='pytest')[0] == 1


def test_tensorflow_is_tested_in_a_process_of_its_own(checkout):
    _, calls, _ = run(checkout, VENV='none', TEST_TENSORFLOW='1')
    assert [call for call in calls if 'test_tensorflow_backend.py' in call] == calls[3:] and len(calls) == 4


def test_packages_are_installed_once_and_again_when_a_file_changes(checkout):
    _, calls, _ = run(checkout)
    assert calls[0] == '-m venv .venv'
    assert calls[1].endswith(
        'install --quiet --disable-pip-version-check -r requirements.txt -r requirements/test.txt'
    )
    assert not any('pip' in call or 'venv' in call for call in run(checkout)[1])
    with open(checkout / 'requirements' / 'lpips.txt', 'a') as file:
        file.write('# changed\n')
    assert 'pip install' in run(checkout)[1][0]
    assert 'requirements/tensorflow.txt' in run(checkout, TEST_TENSORFLOW='1')[1][0]


def test_failed_installation_is_tried_again(checkout):
    assert run(checkout, FAIL='pip')[0] == 1
    assert 'pip install' in run(checkout)[1][0]
