# Copyright 2026 The GDD-1S authors.
# SPDX-License-Identifier: Apache-2.0
"""Tests of torch_utils/launch.py: options reach the script untouched, exit codes come back, no report of torchrun's."""
import subprocess
import sys

from torch_utils.launch import protect_script

LAUNCH = [sys.executable, '-m', 'torch_utils.launch', '--standalone', '--nproc_per_node=2']


def run(tmp_path, text, *args):
    script = tmp_path / 'script.py'
    script.write_text(text)
    return subprocess.run([*LAUNCH, str(script), *args], capture_output=True, text=True, timeout=120)


def test_marker_goes_before_the_script():
    assert protect_script(['--nnodes', '2', 'a.py', '--num=3', 'b.py']) == ['--nnodes', '2', '--', 'a.py', '--num=3', 'b.py']
    assert protect_script(['--x=1', '--', 'a.py']) == ['--x=1', '--', 'a.py']
    assert protect_script(['--help']) == ['--help']


def test_options_reach_the_script(tmp_path):
    # --num is an option of fid.py, and the beginning of several of torchrun's.
    result = run(tmp_path, 'import os, sys\nprint(os.environ["RANK"], sys.argv[1:])\n', 'calc', '--num=300', '--n', '--', 'x')
    assert result.returncode == 0, result.stderr
    assert sorted(result.stdout.split('\n'))[1:] == [f"{rank} ['calc', '--num=300', '--n', '--', 'x']" for rank in (0, 1)]


def test_failure_is_quiet_and_keeps_its_code(tmp_path):
    result = run(tmp_path, 'import sys\nprint("Error: the reason", file=sys.stderr)\nsys.exit(3)\n')
    assert result.returncode == 3
    assert set(result.stderr.splitlines()) == {'Error: the reason'} and 'Traceback' not in result.stdout
