# Copyright 2026 The GDD-1S authors.
# SPDX-License-Identifier: Apache-2.0
"""Tests of torch_utils/launch.py: options reach the script, exit codes come back, no report of torchrun's."""

import os
import signal
import subprocess
import sys
import time
import types

import psutil
import pytest
from torch.distributed import run as torchrun

from tests.support import ROOT
from torch_utils import launch
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
    assert protect_script(['--nnodes=2', '-m', 'a.b', '-m=3']) == ['--nnodes=2', '-m', '--', 'a.b', '-m=3']
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


KILLED = """
import os, time
from torch_utils import distributed
os.write(1, f'{os.getpid()}\\n'.encode())
distributed.init('cpu')
distributed.barrier()
os.write(1, b'together\\n')
time.sleep(100)
"""

RESTARTED = """
import os, signal
from dnnlib.errors import ProcessLost
from torch_utils import distributed
distributed.init('cpu')
again = os.environ['TORCHELASTIC_RESTART_COUNT'] == '1'
if os.environ['RANK'] == '1' and not again:
    os.kill(os.getpid(), signal.SIGKILL)
try:
    distributed.barrier()
except ProcessLost:
    raise SystemExit(1)
os.write(1, f'{again} {distributed.get_world_size()}\\n'.encode())
distributed.destroy()
"""


def test_processes_end_with_a_launcher_that_is_killed(tmp_path):
    (tmp_path / 'script.py').write_text(KILLED)
    environment = dict(os.environ, PYTHONPATH=ROOT)
    with subprocess.Popen(
        [*LAUNCH, 'script.py'],
        cwd=tmp_path,
        env=environment,
        text=True,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    ) as launcher:
        lines = [launcher.stdout.readline().strip() for _ in range(4)]
        launcher.kill()
        processes = [psutil.Process(int(line)) for line in lines if line.isdigit()]
        assert len(processes) == 2 and psutil.wait_procs(processes, timeout=30)[1] == []
        assert launcher.stderr.read().count(f'its launcher (process {launcher.pid}) was ended') == 2


def test_a_process_ends_whose_launcher_is_gone_already():
    child = subprocess.Popen([sys.executable, '-c', ''])
    child.wait()
    text = (
        'import time; from torch_utils.launch import end_with_launcher; end_with_launcher(); time.sleep(100)'
    )
    environment = dict(os.environ, PYTHONPATH=ROOT, GDD_LAUNCHER_PID=str(child.pid), RANK='3')
    result = subprocess.run(
        [sys.executable, '-c', text], env=environment, capture_output=True, text=True, timeout=60
    )
    assert result.returncode == 1 and result.stderr.startswith('Error: process 3 ends')


@pytest.mark.parametrize(
    'pid, command, orphaned',
    [
        (1, ['/sbin/init'], True),
        (1, [], True),
        (1, ['/usr/bin/python3.11', '/usr/bin/torchrun', 'train.py'], False),  # in a container
        (77, ['/sbin/init'], False),
    ],
)
def test_torchrun_that_is_gone_before_anybody_looks(pid, command, orphaned):
    """Whoever imported torch meanwhile has process 1 as its parent."""
    parent = types.SimpleNamespace(pid=pid, name=lambda: 'init', cmdline=lambda: command)
    assert launch._is_orphaned(parent) is orphaned


def test_processes_that_were_killed_start_again(tmp_path):
    """Those of the second start must not look for the first ones' addresses."""
    script = tmp_path / 'script.py'
    script.write_text(RESTARTED)
    result = subprocess.run(
        [*LAUNCH, '--max-restarts=1', str(script)],
        env=dict(os.environ, PYTHONPATH=ROOT),
        capture_output=True,
        text=True,
        timeout=120,
    )
    assert result.returncode == 0 and sorted(result.stdout.split('\n'))[1:] == ['True 2'] * 2
