# Copyright 2026 The GDD-1S authors.
# SPDX-License-Identifier: Apache-2.0
"""Tests of report.py, and of the page that training writes at its end; its content is in test_page.py."""

import pytest
from click.testing import CliRunner

import report
import reports.page
import train
from tests.support.written_runs import write_run


def test_pages_of_runs(tmp_path):
    folders = [write_run(tmp_path / name) for name in 'ab']
    result = CliRunner().invoke(report.cmdline, folders)
    assert result.exit_code == 0, result.output
    assert result.output.splitlines() == [f'wrote {folder}/report.html' for folder in folders]
    before = (tmp_path / 'a' / 'report.html').read_text('utf-8')
    assert before.startswith('<!DOCTYPE html>') and '<title>a</title>' in before
    CliRunner().invoke(report.cmdline, folders)  # again: the same page in its place
    assert (tmp_path / 'a' / 'report.html').read_text('utf-8') == before


def test_bad_input_is_one_line(tmp_path):
    result = CliRunner().invoke(report.cmdline, [str(tmp_path)])
    assert result.exit_code == 1 and result.output.count('\n') == 1
    assert result.output.startswith(f'Error: {tmp_path} is not the folder of a run')
    assert CliRunner().invoke(report.cmdline, []).exit_code == 2 and not list(tmp_path.iterdir())


def test_the_folder_above_a_run_names_the_run(tmp_path):
    run_dir = write_run(tmp_path / 'student' / '00000-a')
    result = CliRunner().invoke(report.cmdline, [str(tmp_path)])
    assert result.output.endswith(f'give one such as {run_dir}\n') and result.exit_code == 1


def test_training_ends_with_a_page(tmp_path, capsys):
    train.write_report(write_run(tmp_path / 'a'))
    assert capsys.readouterr().out == f'Report: {tmp_path}/a/report.html\n'


@pytest.mark.parametrize('error', [OSError(28, 'No space left on device'), KeyError('x')])
def test_a_complete_run_does_not_fail_for_its_page(error, tmp_path, capsys, monkeypatch):
    def fail(_run_dir):
        raise error

    monkeypatch.setattr(reports.page, 'write_page', fail)
    train.write_report('runs/00000')
    assert 'Note: no report (' in (text := capsys.readouterr().err)
    assert 'python report.py runs/00000 tries again' in text and text.count('\n') == 1
