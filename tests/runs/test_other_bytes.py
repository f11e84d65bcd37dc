# Copyright 2026 The GDD-1S authors.
# SPDX-License-Identifier: Apache-2.0
"""Train with paths that hold a byte which is no UTF-8: everything is written, read and printed."""

import os
import subprocess
import sys

from tests.support import ROOT, tiny_runs

# One process for all commands: most of their time is the import of torch.
COMMANDS = """
import sys
import train
from dnnlib.cli import run_script
for arguments in sys.stdin.buffer.read().decode(errors='surrogateescape').split('\\n\\n'):
    sys.argv = ['train.py', *arguments.split('\\n')]
    try:
        run_script(train.main)
    except SystemExit as error:
        print('exit code', error.code, flush=True)
"""


def test_data_teacher_state_and_outdir(tmp_path):
    folder = os.fsdecode(os.fsencode(tmp_path) + b'/odd\xff')
    os.mkdir(folder)
    tiny_runs.write_zip(f'{folder}/data.zip')
    tiny_runs.write_teacher(f'{folder}/teacher.pkl')
    common = [
        f'--data={folder}/data.zip', f'--outdir={folder}/runs', f'--transfer={folder}/teacher.pkl',
        '--cond=1', '--loss=edm', '--augment=0', '--batch=8', '--workers=0', '--grid=0', '--device=cpu',
        '--tick=1', '--snap=1', '--dump=1', '--nosubdir', '--duration=0.000016',
    ]  # fmt: skip
    state = f'--resume={folder}/runs/training-state-000000.pt'
    commands = [common, [*common, '--resume=auto'], [*common[:-1], state, '--duration=0.000024']]
    missing = [f'--data={folder}/none\udcfe.zip', *common[1:-2], '--duration=0.000016']
    text = '\n\n'.join('\n'.join(arguments) for arguments in [*commands, missing])
    result = subprocess.run(
        [sys.executable, '-c', COMMANDS],
        input=os.fsencode(text),
        env=dict(os.environ, PYTHONPATH=ROOT),
        capture_output=True,
        timeout=300,
    )
    out, err = result.stdout.decode(), result.stderr.decode()  # escapes are UTF-8
    assert out.count('exit code 0') == 3 and out.count('exit code 1') == 1, (out, err)
    assert 'Traceback' not in err and 'UnicodeEncodeError' not in err and 'no report' not in err
    assert 'Error: --data=' in err and 'none\\udcfe.zip does not exist' in err
    assert {'stats.jsonl', 'report.html', 'network-snapshot-000000.pkl'} <= set(os.listdir(f'{folder}/runs'))
