# Copyright 2026 The GDD-1S authors.
# SPDX-License-Identifier: Apache-2.0
"""What is printed of a result; test_throughput.py has the commands."""

from benchmarks.throughput_report import STAGES, describe, roofline, table
from tests.benchmarks.test_throughput import RESULT

PART = dict(gflop_per_image=1.5, mb_per_image=20.0, launches=7, products_ms=3.0, memory_ms=4.0)


def test_rows_are_compared_with_the_first_of_their_recipe():
    results = {
        'a reference': dict(RESULT, images_per_second=10.0),
        'b fast': dict(RESULT, images_per_second=5.0),
        'a fast': dict(RESULT, images_per_second=40.0),
        'c': dict(error='no memory'),
    }
    header, rule, *rows, empty, note, _end = table(results).split('\n')
    assert header.count('|') == rule.count('|') == rows[0].count('|') == rows[3].count('|')
    ratios = [row.split(' | ')[4] for row in rows[:3]]
    assert ratios == ['-', '-', '4.00 x'] and 'not measured: no memory' in rows[3]
    assert empty == '' and note.startswith('some GPU, torch 2.6') and all(stage in header for stage in STAGES)


def test_roofline_of_each_stage():
    text = roofline(dict(roofline=dict(G=PART, D=PART)))
    assert text == 'G 1.50 GFLOP 20 MB 7x 3.0+4.0 ms; D 1.50 GFLOP 20 MB 7x 3.0+4.0 ms'


def test_lines_name_mode_and_other_work():
    lines = describe('demo', dict(RESULT, mode='fast', roofline=dict(G=PART)))
    assert lines[0].startswith('demo: fast, batch 64 on 1 process(es), bf16, some GPU')
    assert '700 launches, 1.25 GB read and written per iteration' in lines[6]
