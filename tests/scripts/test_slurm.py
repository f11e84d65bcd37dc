# Copyright 2026 The GDD-1S authors.
# SPDX-License-Identifier: Apache-2.0
"""Tests of scripts/slurm.sbatch with stand-ins for SLURM's commands: what it starts, and when it requeues."""

import os
import signal
import subprocess
import time

import pytest

from tests.support import ROOT

STAND_INS = {
    'scontrol': 'case $1 in show) echo node0; echo node1;; *) echo "scontrol $*" >> calls;; esac',
    # A step that ends at once with the code of the test, or waits for the signal and ends with 75.
    'srun': 'echo "srun $*" >> calls; echo "$TORCHRUN|$NPROC|$VENV" >> calls\n'
    'if [ "$CODE" = wait ]; then trap "exit 75" USR1; touch waiting; while :; do sleep 0.1; done; fi\n'
    'exit "$CODE"',
    'scancel': 'exit 1',
}


@pytest.fixture
def start(tmp_path):
    """Start the script as sbatch does on the first node."""
    (tmp_path / 'bin').mkdir()
    for name, text in STAND_INS.items():
        path = tmp_path / 'bin' / name
        path.write_text(f'#!/bin/sh\n{text}\n')
        path.chmod(0o755)

    def run(code, *args):
        slurm = dict(JOB_NODELIST='node[0-1]', JOB_ID='42', JOB_NUM_NODES='2', GPUS_ON_NODE='8')
        slurm['SUBMIT_DIR'] = str(tmp_path)
        own = {f'SLURM_{name}': value for name, value in slurm.items()}
        path = f'{tmp_path}/bin:{os.environ["PATH"]}'
        variables = dict(os.environ, PATH=path, CODE=code, **own)
        variables.pop('VENV', None)
        return subprocess.Popen(['bash', str(ROOT / 'scripts/slurm.sbatch'), *args], env=variables)

    return run


def calls(tmp_path):
    return (tmp_path / 'calls').read_text().splitlines()


def test_all_nodes_meet_on_the_first(start, tmp_path):
    assert start('0', 'demo', '--lr=1e-3').wait(timeout=30) == 0
    step, variables = calls(tmp_path)
    assert step == 'srun --kill-on-bad-exit=1 sh train.sh demo --lr=1e-3 --resume=auto'
    torchrun, processes, venv = variables.split('|')
    assert torchrun == '--nnodes=2 --rdzv-backend=c10d --rdzv-id=42 --rdzv-endpoint=node0:20042'
    assert (processes, venv) == ('8', 'none')


@pytest.mark.parametrize('code, requeued', [('75', True), ('1', False)])
def test_only_a_preempted_run_is_requeued(code, requeued, start, tmp_path):
    assert start(code, 'demo').wait(timeout=30) == int(code)
    assert ('scontrol requeue 42' in calls(tmp_path)) == requeued


def test_signal_reaches_the_step_and_the_job_comes_again(start, tmp_path):
    job = start('wait', 'demo')
    deadline = time.monotonic() + 30
    while not (tmp_path / 'waiting').exists() and time.monotonic() < deadline:
        time.sleep(0.05)
    job.send_signal(signal.SIGUSR1)
    assert job.wait(timeout=30) == 75 and 'scontrol requeue 42' in calls(tmp_path)
