# Copyright 2026 The GDD-1S authors.
# SPDX-License-Identifier: Apache-2.0
"""Tests of reports/run_folder.py."""

import pytest

from dnnlib.errors import ArgumentError
from reports.run_folder import read_json, read_run, spread
from tests.support.written_runs import LINES, write_run


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


def test_damaged_json_is_none(tmp_path):
    for text, expected in (('{"a": 1}', {'a': 1}), ('{"a"', None), ('[1]', None)):
        (tmp_path / 'a.json').write_text(text)
        assert read_json(str(tmp_path / 'a.json')) == expected
    assert read_json(str(tmp_path / 'none.json')) is None


def test_spread_keeps_both_ends():
    items = list(range(10))
    assert spread(items, 10) == items and spread(items, 99) == items
    assert spread(items, 4) == [0, 3, 6, 9] and spread(items, 2) == [0, 9] and spread(items, 1) == [9]
    assert spread([], 3) == []
