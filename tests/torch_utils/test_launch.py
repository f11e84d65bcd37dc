# Copyright 2026 The GDD-1S authors.
# SPDX-License-Identifier: Apache-2.0
"""Tests of torch_utils/launch.py: options reach the script untouched, exit codes come back, no report of torchrun's."""

import os
import signal
import subprocess
import sys
import time

import pytest
from torch.distributed import run as torchrun

from tests.support import ROOT
from torch_utils.launch import exit_code_of, list_children, protect_script

LAUNCH = [sys.executable, '-m', 'torch_utils.launch', '--standalone', '--nproc_per_node=2']


def run(tmp_path, text, *args):
    script = tmp_path / 'script.py'
    script.write_text(text)
    return subprocess.run([*LAUNCH, str(script), *args], capture_output=True, text=True, timeout=120)


def test_marker_goes_before_the_script():
    assert protect_script(['--nnodes', '2', 'a.py', '--num=3', 'b.py']) == [
        '--nnodes',
        '2',
        '--',
        'a.py',
        '--num=3',
        'b.py',
    ]
    assert protect_script(['--x=1', '--', 'a.py']) == ['--x=1', '--', 'a.py']
    assert protect_script(['--help']) == ['--help']


def test_options_reach_the_script(tmp_path):
    # --num is an option of fid.py, and the beginning of several of torchrun's.
    text = 'import os, sys\nos.write(1, f"{os.environ[\'RANK\']} {sys.argv[1:]}\\n".encode())\n'
    result = run(tmp_path, text, 'calc', '--num=300', '--n', '--', 'x')
    assert result.returncode == 0, result.stderr
    assert sorted(result.stdout.split('\n'))[1:] == [
        f"{rank} ['calc', '--num=300', '--n', '--', 'x']" for rank in (0, 1)
    ]


def test_failure_is_quiet_and_keeps_its_code(tmp_path):
    result = run(tmp_path, 'import os, sys\nos.write(2, b"Error: the reason\\n")\nsys.exit(3)\n')
    assert result.returncode == 3
    assert set(result.stderr.splitlines()) == {'Error: the reason'} and 'Traceback' not in result.stdout


@pytest.mark.parametrize(
    'failures, received, code, message',
    [
        ({0: 1}, None, 1, ''),
        ({1: 3, 0: -15}, None, 3, ''),
        ({0: 75, 1: 75}, signal.SIGUSR1, 75, ''),
        ({0: 1, 1: 75}, None, 75, ''),
        ({0: -9}, None, 137, 'Error: process 0 was ended by SIGKILL (out of memory?)\n'),
        ({0: 1, 3: -11}, None, 139, 'Error: process 3 was ended by SIGSEGV\n'),
        ({0: -10, 1: -10}, signal.SIGUSR1, 75, ''),
        ({0: -15}, None, 1, ''),
        ({1: -6, 0: -15}, None, 1, ''),
        ({0: 200}, None, 1, ''),
    ],
)
def test_exit_codes(failures, received, code, message, capsys):
    assert exit_code_of(failures, received) == code and capsys.readouterr().err == message


def test_children_are_found():
    before = set(list_children())
    child = subprocess.Popen([sys.executable, '-c', 'input()'], stdin=subprocess.PIPE)
    assert set(list_children()) - before == {child.pid}
    child.communicate(b'\n')


PATIENT = """
import os, pathlib, signal, sys, time
def finish(*_):
    time.sleep(1)
    sys.exit(75)
signal.signal(signal.SIGTERM, finish)
pathlib.Path('ready' + os.environ['RANK']).touch()
time.sleep(60)
"""


def test_preemption_signals_reach_the_processes(tmp_path):
    """SIGTERM to the launcher alone: the processes end in their own time, and their code comes back."""
    (tmp_path / 'script.py').write_text(PATIENT)
    root = str(ROOT)
    process = subprocess.Popen(
        [*LAUNCH, 'script.py'], cwd=tmp_path, env=dict(os.environ, PYTHONPATH=root), stderr=subprocess.PIPE
    )
    deadline = time.monotonic() + 120
    while not all((tmp_path / f'ready{rank}').exists() for rank in (0, 1)) and time.monotonic() < deadline:
        time.sleep(0.05)
    process.terminate()
    _out, err = process.communicate(timeout=60)
    known = '--signals-to-handle' in torchrun.get_args_parser().format_help()
    # Older versions of torch end the processes themselves, and say so.
    assert (process.returncode, err) == (75, b'') if known else process.returncode == 128 + signal.SIGTERM
