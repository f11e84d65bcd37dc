# Copyright 2026 The GDD-1S authors.
# SPDX-License-Identifier: Apache-2.0
"""Tests of benchmarks/claim_study.py: what is run, kept, skipped and reported; training is a stand-in."""

import json
import pathlib

import pytest
from click.testing import CliRunner

from benchmarks import claim_study
from benchmarks.claim_study import Result, format_results, slug, thinned, train_command
from benchmarks.claims import Row

METRIC = 'frechet-mnist-classifier-2000'


@pytest.fixture
def stand_in(monkeypatch):
    """Note the commands, and leave the files that they would."""
    commands = []

    def run_command(command):
        commands.append(command)
        options = dict(arg[2:].split('=', 1) for arg in command if arg.startswith('--') and '=' in arg)
        if 'json' in options:
            entry = dict(metric=METRIC, value=1.0 + len(commands) / 10)
            pathlib.Path(options['json']).write_text(json.dumps(dict(results=[entry])))
            return 0.0
        folder = pathlib.Path(options['outdir'])
        folder.mkdir(parents=True)
        (folder / 'network-snapshot-000012.pkl').touch()
        kimg = {'Progress/kimg': dict(num=1, mean=6), 'Loss/other': dict(num=1, mean=0), 'timestamp': 1.0}
        (folder / 'stats.jsonl').write_text(json.dumps(kimg) + '\n')
        lines = [dict(kimg=k, value=10 / k, count=1000) for k in (2, 6)]
        (folder / 'metric-fd1k.jsonl').write_text(''.join(json.dumps(line) + '\n' for line in lines))
        return 20.0

    monkeypatch.setattr(claim_study, 'run_command', run_command)
    return commands


def invoke(tmp_path, *args):
    return CliRunner().invoke(claim_study.main, [*args, f'--curves={tmp_path / "curves"}'])


def test_a_study_is_run_kept_and_not_run_again(tmp_path, stand_in):
    args = ('run', 'freezing', '--kimg=12', '--seeds=0-1', f'--work={tmp_path / "work"}')
    result = invoke(tmp_path, *args)
    assert result.exit_code == 0, result.output
    assert len(stand_in) == 8 and '--recipe=demo' in stand_in[0] and '--recipe=demo-gdd' in stand_in[2]
    folder = tmp_path / 'curves' / 'demo' / 'gdd-seed1'
    assert {path.name for path in folder.iterdir()} == {'result.json', 'stats.jsonl', 'metric-fd1k.jsonl'}
    kept = Result(**json.loads((folder / 'result.json').read_text()))
    assert (kept.row, kept.seed, kept.kimg, kept.cpu_sec) == ('GDD', 1, 12.0, 20.0) and METRIC in kept.values
    assert str(tmp_path) not in kept.command and kept.command.startswith('python train.py --recipe=demo-gdd')
    assert sum(path.stat().st_size for path in folder.iterdir()) < 3000
    assert '- GDD-I: 2: 5 ± 0; 6: 1.667 ± 0' in result.output
    (tmp_path / 'curves' / 'demo' / 'gdd-seed1' / 'result.json').unlink()
    assert invoke(tmp_path, *args).exit_code == 0 and len(stand_in) == 10
    # Another claim shares a row; a network that is only measured has no seeds.
    invoke(tmp_path, 'run', 'teacher', *args[2:])
    assert len(stand_in) == 12 and sum('edm-mnist' in ' '.join(command) for command in stand_in) == 2
    other = invoke(tmp_path, 'run', 'freezing', '--kimg=8', *args[3:])
    assert other.exit_code == 1 and 'was made with --kimg=12, not --kimg=8' in other.output
    report = invoke(tmp_path, 'report', 'all')
    assert (
        '| GDD | 2 | 12 | 20 ± 0 | 1.' in report.output and 'freezing, demo: freezing most' in report.output
    )
    figure = tmp_path / 'claims.png'
    drawn = invoke(tmp_path, 'report', 'all', f'--figure={figure}')
    assert drawn.exit_code == 0 and drawn.output.endswith(f'Figure: {figure}\n') and figure.stat().st_size
    (folder / 'metric-fd1k.jsonl').unlink()
    (folder.parent / 'gdd-seed0' / 'metric-fd1k.jsonl').unlink()
    alone = invoke(tmp_path, 'report', 'freezing', f'--figure={figure}')
    assert alone.exit_code == 1 and 'has curves of fewer than two rows of freezing' in alone.output


def test_commands():
    folder = pathlib.Path('work')
    command = train_command(Row('demo-cd', length=1.5), folder, 3, 12, 'ref.npz')
    assert command[1:3] == ['train.py', '--recipe=demo-cd'] and '--seed=3' in command
    assert '--duration=0.018' in command and '--tick=3' in command and '--metrics-ref=ref.npz' in command
    four = train_command(Row('demo', ('--compat=official',), processes=4), folder, 0, 12, 'ref.npz')
    assert four[1:5] == ['-m', 'torch_utils.launch', '--standalone', '--nproc_per_node=4']
    assert four[5] == 'train.py' and four[-1] == '--compat=official'
    both = train_command(
        Row('demo', processes=4, module='benchmarks.one_projection'), folder, 0, 12, 'ref.npz'
    )
    assert both[4:7] == ['--nproc_per_node=4', '-m', 'benchmarks.one_projection']
    emulated = train_command(Row('demo', module='benchmarks.emulated_bf16'), folder, 0, 12, 'ref.npz')
    assert emulated[1:3] == ['-m', 'benchmarks.emulated_bf16']


def test_names_of_folders():
    assert slug('GDD-I, 4 processes, one projection') == 'gdd-i-4-processes-one-projection'


def test_statistics_are_thinned():
    lines = [json.dumps({'Progress/kimg': dict(num=1, mean=k), 'x': 1, 'timestamp': k}) for k in range(100)]
    kept = [json.loads(line) for line in thinned('\n'.join(lines)).splitlines()]
    assert len(kept) == 12 and kept[-1]['timestamp'] == 99 and set(kept[0]) == {'Progress/kimg', 'timestamp'}
    assert len(thinned('\n'.join(lines[:3])).splitlines()) == 3


def test_table_has_mean_and_sample_standard_deviation():
    results = [Result('a', seed, 12.0, 10.0, {'m': value}, '') for seed, value in enumerate((1.0, 3.0))]
    lines = format_results([*results, Result('b', 0, 0, 0, {'n': 5.0}, '')]).splitlines()
    assert lines[2] == '| a | 2 | 12 | 10 ± 0 | 2 ± 1.4 | - |' and lines[3] == '| b | 1 | 0 | 0 | - | 5 |'


def test_what_is_missing_is_one_line(tmp_path, monkeypatch):
    result = invoke(tmp_path, 'report', 'fd')
    assert result.exit_code == 1 and 'has no finished result; start with' in result.output
    result = invoke(tmp_path, 'run', 'fd', '--kimg=1', '--ref=none.npz')
    assert result.exit_code == 1 and 'none.npz is missing' in result.output
    assert 'freezing: freezing most convolutions' in CliRunner().invoke(claim_study.main, ['list']).output
