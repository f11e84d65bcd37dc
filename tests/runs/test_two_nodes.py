# Copyright 2026 The GDD-1S authors.
# SPDX-License-Identifier: Apache-2.0
"""Two "nodes" on the loopback address: two launchers that find each other, as docs/cluster.md says."""

import json
import subprocess
import sys

from tests.support import ROOT, processes, tiny_runs


def test_two_launchers_make_one_run(tmp_path):
    data = tiny_runs.write_zip(tmp_path / 'data.zip')
    rendezvous = f'--rdzv-backend=c10d --rdzv-endpoint=localhost:{processes.free_port()} --rdzv-id=1'
    variables = processes.environment(
        TORCHRUN=f'--nnodes=2 {rendezvous}', NPROC='1', VENV='none', PYTHON=sys.executable, DATA=data
    )
    run_dir = tmp_path / 'run'
    command = ['sh', 'train.sh', 'own-teacher', *tiny_runs.TEACHER_ARGS, f'--outdir={run_dir}', '--nosubdir']
    command += [tiny_runs.duration(16), '--resume=auto']
    nodes = [
        subprocess.Popen(
            command, cwd=ROOT, env=variables, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
        )
        for _ in range(2)
    ]
    outputs = [node.communicate(timeout=240)[0] for node in nodes]
    assert [node.returncode for node in nodes] == [0, 0], outputs
    assert sum('Finished after 0.016 kimg' in output for output in outputs) == 1  # one of them has rank 0
    options = json.loads((run_dir / 'training_options.json').read_text())
    assert options['processes'] == 2 and options['micro_batch'] == 4  # 8 images on two processes
    assert len(tiny_runs.read_stats(run_dir)) >= 1
