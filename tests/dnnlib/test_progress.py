# Copyright 2026 The GDD-1S authors.
# SPDX-License-Identifier: Apache-2.0
"""Tests of dnnlib/progress.py: a bar on a terminal, lines in a log, nothing where it is not visible."""

from dnnlib import progress
from dnnlib.progress import ProgressBar, with_progress


def test_lines_where_there_is_no_terminal(monkeypatch, capsys):
    clock = iter(range(0, 1000, 4))
    monkeypatch.setattr(progress.time, 'monotonic', lambda: next(clock))
    with ProgressBar('Measuring a.zip', 6, line_sec=8) as bar:
        for _ in range(6):
            bar.advance()
    captured = capsys.readouterr()
    assert captured.out == ''
    assert captured.err.splitlines() == [
        'Measuring a.zip: 2/6 images, 8s, 0.25 images/s, 16s left',
        'Measuring a.zip: 4/6 images, 16s, 0.25 images/s, 8s left',
        'Measuring a.zip: 6/6 images, 24s, 0.25 images/s, 0s left',
    ]


def test_a_bar_on_a_terminal(monkeypatch, capsys):
    monkeypatch.setattr('sys.stderr.isatty', lambda: True)
    assert list(with_progress('abcde', 'Reading', 5, unit='files')) == list('abcde')
    captured = capsys.readouterr()
    assert (
        captured.out == ''
        and '5/5' in captured.err
        and 'Reading' in captured.err
        and '\n5' not in captured.err
    )


def test_nothing_where_it_is_not_visible(monkeypatch, capsys):
    for terminal in (False, True):
        monkeypatch.setattr('sys.stderr.isatty', lambda terminal=terminal: terminal)
        assert list(with_progress('abc', 'Reading', 3, visible=False)) == list('abc')
    assert list(with_progress('', 'Reading', 0)) == []
    captured = capsys.readouterr()
    assert captured.out == '' and 'Reading: ' not in captured.err.replace('Reading: 0', '')
