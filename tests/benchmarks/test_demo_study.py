# Copyright 2026 The GDD-1S authors.
# SPDX-License-Identifier: Apache-2.0
"""Tests of the studies on the demo (benchmarks/demo_study.py): cells, table and figure, without training."""

import json
import pathlib
import subprocess
import sys

import pytest
from click.testing import CliRunner
from PIL import Image

from benchmarks import demo_study
from benchmarks.demo_study import Cell, format_summary, read_cells, save_figure, summarise

CELLS = [
    Cell('freeze 0', 0, 8.0, 2.0, 0.90, 80.0),
    Cell('freeze 0', 1, 8.0, 4.0, 0.94, 96.0),
    Cell('freeze 1', 0, 8.0, 0.5, 0.97, 64.0),
]


def test_mean_and_sample_standard_deviation():
    first, second = summarise(CELLS)
    assert (first.row, first.seeds, first.kimg) == ('freeze 0', 2, 8.0)
    # Two values that differ by d have the sample standard deviation d / sqrt 2; with n in place of n - 1
    # it would be d / 2.
    assert first.frechet == pytest.approx((3.0, 2 / 2**0.5))
    assert first.cpu_sec_per_kimg == pytest.approx((11.0, 2 / 2**0.5))
    assert second.frechet == (0.5, None)


def test_table():
    lines = format_summary(summarise(CELLS)).splitlines()
    assert lines[2] == '| freeze 0 | 2 | 8 | 3.000 ± 1.414 | 92.00 % ± 2.83 | 11.0 ± 1.4 |'
    assert lines[3] == '| freeze 1 | 1 | 8 | 0.500 | 97.00 % | 8.0 |'


def test_cells_of_other_lengths_are_refused():
    with pytest.raises(ValueError, match='8, 12 kimg are not comparable'):
        summarise([*CELLS, Cell('freeze 1', 1, 12.0, 0.5, 0.97, 64.0)])


def test_figure(tmp_path):
    pytest.importorskip('matplotlib')
    save_figure(tmp_path / 'study.png', CELLS, 'title')
    with Image.open(tmp_path / 'study.png') as image:
        assert image.width > 800 and len(image.convert('RGB').getcolors(1 << 20)) > 10


def test_report_reads_finished_cells_in_the_planned_order(tmp_path):
    pytest.importorskip('matplotlib')
    for number, cell in enumerate(reversed(CELLS)):
        (tmp_path / f'cell{number}').mkdir()
        (tmp_path / f'cell{number}' / 'cell.json').write_text(json.dumps(vars(cell)))
    (tmp_path / 'unfinished').mkdir()
    assert read_cells(tmp_path) == CELLS
    result = CliRunner().invoke(demo_study.main, ['report', 'freeze', f'--outdir={tmp_path}'])
    assert result.exit_code == 0, result.output
    assert (
        '3.000 ± 1.414' in result.output
        and (tmp_path / 'study.md').is_file()
        and (tmp_path / 'study.png').is_file()
    )


def test_table_needs_no_matplotlib(tmp_path, monkeypatch):
    (tmp_path / 'cell').mkdir()
    (tmp_path / 'cell' / 'cell.json').write_text(json.dumps(vars(CELLS[2])))
    monkeypatch.setitem(sys.modules, 'matplotlib', None)
    result = CliRunner().invoke(demo_study.main, ['report', 'freeze', f'--outdir={tmp_path}'])
    assert (
        result.exit_code == 0
        and 'pip install matplotlib' in result.output
        and '| freeze 1 |' in result.output
    )


def test_empty_folder_is_one_line(tmp_path):
    result = CliRunner().invoke(demo_study.main, ['report', 'freeze', f'--outdir={tmp_path}'])
    assert result.exit_code == 1 and 'has no finished cell; start with' in result.output


def test_run_trains_what_is_missing_and_measures_the_last_snapshot(tmp_path, monkeypatch):
    calls = []

    def fake_run(command, **_):
        calls.append(command)
        if command[0] == 'sh':
            folder = pathlib.Path(next(part[9:] for part in command if part.startswith('--outdir=')))
            folder.mkdir(parents=True)
            for kimg in ('000000', '000008'):
                (folder / f'network-snapshot-{kimg}.pkl').touch()
        else:
            assert any(part.endswith('network-snapshot-000008.pkl') for part in command)
            path = next(part[7:] for part in command if part.startswith('--json='))
            values = {'frechet-mnist-classifier-2000': 1.5, 'class-accuracy-mnist-classifier-2000': 0.9}
            pathlib.Path(path).write_text(
                json.dumps(dict(results=[dict(metric=k, value=v) for k, v in values.items()]))
            )
        return subprocess.CompletedProcess(command, 0, '', '')

    monkeypatch.setattr(demo_study.subprocess, 'run', fake_run)
    monkeypatch.setattr(demo_study, 'save_figure', lambda *_: None)
    args = ['run', 'freeze', '--kimg=8', '--seeds=0-1', '--rows=freeze 2', f'--outdir={tmp_path}']
    result = CliRunner().invoke(demo_study.main, args)
    assert result.exit_code == 0, result.output
    trained = [command for command in calls if command[0] == 'sh']
    assert [command[2] for command in trained] == ['demo', 'demo']
    assert all('--freeze=2' in command and '--duration=0.008' in command for command in trained)
    assert '--seed=0' in trained[0] and '--seed=1' in trained[1]
    assert '| freeze 2 | 2 | 8 | 1.500 ± 0.000 | 90.00 % ± 0.00 |' in result.output
    calls.clear()
    assert CliRunner().invoke(demo_study.main, args).exit_code == 0 and calls == []


def test_a_failed_training_is_one_line(tmp_path, monkeypatch):
    monkeypatch.setattr(
        demo_study.subprocess,
        'run',
        lambda command, **_: subprocess.CompletedProcess(command, 1, '', 'Error: no teacher'),
    )
    result = CliRunner().invoke(demo_study.main, ['run', 'freeze', '--kimg=8', f'--outdir={tmp_path}'])
    assert result.exit_code == 1 and result.output.strip().endswith('failed: Error: no teacher')
