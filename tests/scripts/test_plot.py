# Copyright 2026 The GDD-1S authors.
# SPDX-License-Identifier: Apache-2.0
"""Tests of plot.py."""

import PIL.Image
import pytest
from click.testing import CliRunner

import plot
from tests.support.written_runs import write_run

pytest.importorskip('matplotlib')


def run(*arguments):
    return CliRunner().invoke(plot.cmdline, list(map(str, arguments)))


def size(path):
    with PIL.Image.open(path) as image:
        return image.size


def test_one_run_is_drawn_into_its_folder(tmp_path):
    folder = write_run(tmp_path / 'a')
    result = run(folder, '--dpi=40')
    assert result.exit_code == 0, result.output
    assert result.output.splitlines() == [f'wrote {folder}/curves.png', f'wrote {folder}/samples.png']
    assert size(f'{folder}/samples.png') == (76 + 3 * 64, 3 * 64)
    assert size(f'{folder}/curves.png') == (3 * 5 * 40, 3 * 136)


def test_several_runs_are_drawn_where_one_is(tmp_path, monkeypatch):
    folders = [write_run(tmp_path / name, grids=False) for name in 'ab']
    monkeypatch.chdir(tmp_path)
    assert run(*folders, '--dpi=40').exit_code == 0
    assert sorted(path.name for path in tmp_path.iterdir()) == ['a', 'b', 'curves.png']  # no grids, no strips
    assert run(*folders, '--dpi=40', '--outdir=new/plots').exit_code == 0
    assert (tmp_path / 'new' / 'plots' / 'curves.png').exists()


def test_options_of_the_strip_and_of_the_curves(tmp_path):
    folder = write_run(tmp_path / 'a')
    assert run(folder, '--rows=2', '--columns=1', '--dpi=20').exit_code == 0
    assert size(f'{folder}/samples.png') == (76 + 64, 2 * 64) and size(f'{folder}/curves.png')[0] == 300
    assert {name for param in plot.cmdline.params for name in param.opts if name.startswith('--')} == {
        '--outdir', '--rows', '--columns', '--dpi'}  # fmt: skip


def test_runs_of_the_same_name_are_told_apart(tmp_path):
    runs = [plot.read_run(write_run(tmp_path / parent / 'run')) for parent in 'ab']
    assert plot.names_of(runs) == [f'{tmp_path}/a/run', f'{tmp_path}/b/run']
    assert plot.names_of(runs[:1]) == ['run']


def test_bad_input_is_one_line(tmp_path):
    result = run(tmp_path)
    assert result.exit_code == 1 and result.output.count('\n') == 1
    assert result.output.startswith(f'Error: {tmp_path} is not the folder of a run')
    for arguments in ([], [tmp_path, '--rows=0'], [tmp_path, '--dpi=x']):
        assert run(*arguments).exit_code == 2
