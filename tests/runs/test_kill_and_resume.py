# Copyright 2026 The GDD-1S authors.
# SPDX-License-Identifier: Apache-2.0
"""Runs that are killed, preempted and resumed by the same command against runs that nobody disturbed, bit for
bit.

This file is the test, and the script that the launcher starts: train.py with tiny networks, ticks of 16
images and an accident to order. One chain of runs on two gloo processes, another on one, without the
launcher.
"""

import contextlib
import os
import signal
import subprocess
import sys
import time

import pytest
import torch

import train
from tests.support import processes, tiny_runs
from torch_utils import distributed, training_stats
from training.run import preemption
from training.run import state as training_state
from training.tasks.distillation import DistillationTask

NAME = '00000-data-cond-teacher-gdd-gdd-gpus{}-batch8-fp32'


# ------------------------------------------------------------------------------------------------
# The script.


def train_args(outdir, nimg=64, data='data.zip', compat='clean'):
    """All that is random is switched on: dropout, mirrored images, DiffAugment; R1 every 3 iterations."""
    return [
        f'--outdir={outdir}',
        f'--data={data}',
        '--cond=1',
        '--transfer=teacher.pkl',
        '--freeze=1',
        '--diffaug=1',
        '--dropout=0.1',
        '--xflip=1',
        *tiny_runs.GAN_ARGS,
        '--grid=0',
        '--dump=1',
        '--keep=2',
        f'--compat={compat}',
        '--resume=auto',
        tiny_runs.duration(nimg),
    ]


def command(*args, **options):
    """Run train.py in this process and return its exit code; the process group stays for the next one."""
    training_stats._counters.clear()
    try:
        train.main(train_args(*args, **options))
    except SystemExit as end:
        return end.code
    return 0


def kill_while_writing(nimg):
    """Let rank 0 die of kill -9 when half of the state after `nimg` images is written."""
    original = torch.save

    def save(state, file):
        original(state, file)
        if isinstance(state, dict) and state.get('nimg') == nimg:
            file.truncate(file.tell() // 2)
            file.flush()
            os.kill(os.getpid(), signal.SIGKILL)

    torch.save = save


def signal_in_iteration(iteration, number, pid):
    """Let the last rank send a signal in an iteration, and go on once it has come back to itself."""
    original = DistillationTask.step

    def step(self, images, labels, rng, current):
        if current == iteration and distributed.get_rank() == distributed.get_world_size() - 1:
            handler, arrived = signal.getsignal(number), []
            signal.signal(number, lambda *args: (handler(*args), arrived.append(1)))
            os.kill(pid, number)
            deadline = time.monotonic() + 60
            while not arrived and time.monotonic() < deadline:
                time.sleep(0.01)
        original(self, images, labels, rng, current)

    DistillationTask.step = step


def script(phase):
    tiny_runs.use_random_backbones()
    tiny_runs.use_small_steps()
    distributed.destroy = lambda: None
    if phase == 'killed':
        assert command('whole') == 0 and command('official', 24, compat='official') == 0
        kill_while_writing(40)
    if phase == 'preempted':
        signal_in_iteration(5, signal.SIGUSR1, os.getppid() if 'RANK' in os.environ else os.getpid())
    code = command('broken')
    if phase == 'finished':
        assert code == 0 and command('official', 40, compat='official') == 0
        code = command('damaged', data='damaged.zip')
    sys.exit(code)


# ------------------------------------------------------------------------------------------------
# The chain of runs.


def start(folder, phase, count):
    """Run a phase in so many processes; give what it printed and its exit code."""
    if count == 1:
        return processes.run_alone(script, [phase], folder)
    return subprocess.run(
        [
            sys.executable,
            '-m',
            'torch_utils.launch',
            '--standalone',
            f'--nproc_per_node={count}',
            __file__,
            phase,
        ],
        env=processes.environment(),
        cwd=folder,
        text=True,
        capture_output=True,
        timeout=600,
    )


@pytest.fixture(scope='module', params=[1, 2])
def chain(request, tmp_path_factory):
    """The undisturbed run; one killed while it writes the state after 40 images, then preempted,
    then finished.
    """
    folder = tmp_path_factory.mktemp('chain')
    tiny_runs.write_zip(folder / 'data.zip')
    tiny_runs.write_zip(folder / 'damaged.zip', damaged=(13,))
    tiny_runs.write_teacher(folder / 'teacher.pkl')
    run_dir = folder / 'broken' / NAME.format(request.param)
    ended, files = {}, {}
    for phase in ('killed', 'preempted', 'finished'):
        ended[phase] = start(folder, phase, request.param)
        files[phase] = sorted(os.listdir(run_dir)) if run_dir.exists() else ended[phase].stderr
    return request.param, folder, run_dir, ended, files


def test_kill_leaves_complete_states_and_half_a_file(chain):
    count, _folder, _run_dir, ended, files = chain
    assert ended['killed'].returncode == (137 if count > 1 else -signal.SIGKILL)
    assert [name for name in files['killed'] if name.startswith('training-state')] == [
        'training-state-000024.pt'
    ]
    assert len([name for name in files['killed'] if name.startswith('.tmp-')]) == 1
    if count > 1:
        assert (
            ended['killed'].stderr.splitlines()[-1]
            == 'Error: process 0 was ended by SIGKILL (out of memory?)'
        )


def test_preemption_ends_with_its_code_and_a_line(chain):
    count, _folder, _run_dir, ended, files = chain
    out, name = ended['preempted'].stdout, NAME.format(count)
    assert ended['preempted'].returncode == preemption.EXIT_PREEMPTED == 75, ended['preempted'].stderr
    assert f'Going on at 0.024 kimg from broken/{name}/training-state-000024.pt' in out
    assert 'left half-written by a process that was killed' in out
    # The line that was written after 40 images, whose state was not.
    assert 'stats.jsonl: 1 line(s) beyond 0.024 kimg moved' in out
    assert 'Traceback' not in ended['preempted'].stderr
    last = out.splitlines()[-1]
    assert last == (
        f'Preempted: SIGUSR1 after 0.048 kimg, state in broken/{name}/training-state-000048.pt; '
        'the same command with --resume=auto goes on'
    )
    assert [name for name in files['preempted'] if name.startswith('training-state')] == [
        'training-state-000040.pt',
        'training-state-000048.pt',
    ]


def test_broken_run_equals_the_whole_one(chain):
    """States after the end, and the statistics: ticks, losses, gradients of every line."""
    count, folder, run_dir, ended, _files = chain
    whole_dir = folder / 'whole' / NAME.format(count)
    whole, broken = (
        training_state.load_state(f'{path}/training-state-000064.pt') for path in (whole_dir, run_dir)
    )
    assert whole['nimg'] == 64 and whole['iteration'] == 8, ended['finished'].stderr
    assert not tiny_runs.differences(tiny_runs.lasting(whole), tiny_runs.lasting(broken))
    lines = [
        [
            {name: value for name, value in line.items() if name.startswith(('Loss/', 'Grad/', 'Progress/'))}
            for line in tiny_runs.read_stats(path)
        ]
        for path in (whole_dir, run_dir)
    ]
    assert lines[0] == lines[1] and len(lines[0]) == 5
    with (
        open(whole_dir / 'network-snapshot-000000.pkl', 'rb') as a,
        open(run_dir / 'network-snapshot-000000.pkl', 'rb') as b,
    ):
        assert a.read() == b.read()
    with open(run_dir / 'log.txt', encoding='utf-8') as file:
        text = file.read()
    assert text.count('Going on at') == 2 and text.count('Finished after') == 1


def test_a_lost_moment_is_noticed(chain):
    """The comparison must see one number of one optimizer."""
    count, folder, _run_dir, _ended, _files = chain
    path = folder / 'whole' / NAME.format(count) / 'training-state-000064.pt'
    one, two = (training_state.load_state(str(path)) for _ in range(2))
    moments = two['task']['d_optimizer']['state'][0]['exp_avg_sq']
    moments[(0,) * moments.ndim] *= 1 + 1e-6
    assert len(tiny_runs.differences(one, two)) == 1


def test_official_projections_are_drawn_again(chain):
    """Every process its own, from the seed: the resumed run has found them unchanged,
    or it would have stopped.
    """
    count, folder, _run_dir, ended, _files = chain
    state = training_state.load_state(
        str(folder / 'official' / NAME.format(count) / 'training-state-000040.pt')
    )
    assert state['nimg'] == 40 and len(set(state['task']['projection_digests'])) == count
    assert 'Going on at 0.024 kimg from official/' in ended['finished'].stdout


def test_damaged_image_of_one_process_ends_all_with_its_message(chain):
    _count, _folder, _run_dir, ended, _files = chain
    assert ended['finished'].returncode == 1
    errors = [line for line in ended['finished'].stderr.splitlines() if line.startswith('Error: ')]
    assert len(errors) == 1 and 'img00000013.png' in errors[0], ended['finished'].stderr
    assert 'Traceback' not in ended['finished'].stderr


if __name__ == '__main__':
    with contextlib.suppress(KeyboardInterrupt):
        script(sys.argv[1])
