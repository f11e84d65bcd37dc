# Copyright 2026 The GDD-1S authors.
# SPDX-License-Identifier: Apache-2.0
"""Tests of reports/run_folder.py."""

import os

import pytest

from dnnlib.errors import ArgumentError
from reports.run_folder import open_picture, read_run, spread
from tests.support.written_runs import LINES, stats_line, write_lines, write_run


def test_everything_is_found(tmp_path):
    run = read_run(write_run(tmp_path / '00000-run'))
    assert (run.name, run.kimg, len(run.stats)) == (
        '00000-run',
        LINES - 1,
        LINES,
    )  # the cut line is passed over
    assert (
        run.options['grid_size'] == [2, 3] and run.launches[0]['command'] == 'python train.py --recipe=demo'
    )
    assert run.grids == [(k, f'{tmp_path}/00000-run/fakes-{k:06d}.png') for k in (0, 2, 4)]
    assert [item.value for item in run.measurements] == [40, 31, 22, 13, 4]


def test_curves_leave_out_missing_values(tmp_path):
    run = read_run(write_run(tmp_path))
    assert run.curve('Loss/r1_penalty') == ([1, 2, 3, 4], [10, 100, 1000, 10000])
    assert run.curve('Loss/G/loss')[1] == pytest.approx([2, 1.9, 1.8, 1.7, 1.6])
    assert run.curve('Loss/none') == ([], [])


def test_a_folder_with_statistics_alone_is_enough(tmp_path):
    for path in tmp_path.iterdir() if write_run(tmp_path) else ():
        if path.name != 'stats.jsonl':
            path.unlink()
    run = read_run(str(tmp_path))
    assert (run.options, run.measurements, run.launches, run.grids) == ({}, [], [], [])


@pytest.mark.parametrize('content', [None, '', '{"Progress/kimg": {"mean": nul', '[1]\n', '{"a": 1}\n'])
def test_what_is_no_run_is_refused(content, tmp_path):
    if content is not None:
        (tmp_path / 'stats.jsonl').write_text(content)
    for path in (str(tmp_path), str(tmp_path / 'none')):
        with pytest.raises(ArgumentError, match='not the folder of a run'):
            read_run(path)


def test_values_that_are_no_numbers_are_left_out(tmp_path):
    odd = [float('nan'), float('inf'), 10**400, 'x', True]
    lines = [stats_line(k, **{'Loss/G/loss': value}) for k, value in enumerate([*odd, 2.5])]
    write_lines(f'{tmp_path}/stats.jsonl', lines)
    assert read_run(str(tmp_path)).curve('Loss/G/loss') == ([5], [2.5])


def test_a_damaged_picture_is_named(tmp_path):
    path = write_run(tmp_path) + '/fakes-000002.png'
    os.mkdir(f'{tmp_path}/fakes-000009.png')  # no picture, and passed over
    assert len(read_run(str(tmp_path)).grids) == 3
    for content in (b'', b'nonsense', open(path, 'rb').read()[:60]):
        with open(path, 'wb') as file:
            file.write(content)
        with pytest.raises(ArgumentError, match=r'fakes-000002\.png is not a readable image'):
            open_picture(path)


def test_spread_keeps_both_ends():
    items = list(range(10))
    assert spread(items, 10) == items and spread(items, 99) == items
    assert spread(items, 4) == [0, 3, 6, 9] and spread(items, 2) == [0, 9] and spread(items, 1) == [9]
    assert spread([], 3) == []
