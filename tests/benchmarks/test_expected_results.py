# Copyright 2026 The GDD-1S authors.
# SPDX-License-Identifier: Apache-2.0
"""Tests of benchmarks/expected_results.py: a row for every recipe in docs/results.md, and its arithmetic."""

import json
import re

import pytest
from click.testing import CliRunner

from benchmarks import expected_results
from benchmarks.expected_results import (
    GPU_TFLOPS,
    count,
    expected_rows,
    format_table,
    gpu_hours,
    with_results,
)
from tests.support import ROOT
from training.recipes import RECIPES

ROWS = re.findall(r'^\| `sh train\.sh (\S+)` \|(.*)\|$', (ROOT / 'docs/results.md').read_text('utf-8'), re.M)


def number(text):
    return float(text.replace(',', ''))


def test_no_recipe_lacks_a_row():
    names = [name for name, _cells in ROWS]
    assert names == list(with_results())
    assert {RECIPES[name].data for name in RECIPES.keys() - set(names)} == {'own'}
    assert format_table(expected_rows()) in (ROOT / 'docs/results.md').read_text('utf-8')


@pytest.mark.parametrize('name, cells', ROWS, ids=[name for name, _cells in ROWS])
def test_rows(name, cells):
    """The published number with its source; hours from the numbers beside them, worked out once more."""
    published, ours, kimg, gflop, hours = (cell.strip() for cell in cells.split('|'))
    recipe = RECIPES[name]
    assert published == ('-' if recipe.fid is None else f'FID {recipe.fid} ({recipe.source})') and ours
    assert number(kimg) == pytest.approx(
        1000 * recipe.options['duration'] if 'duration' in recipe.options else 200e3
    )
    seconds = number(kimg) * 1000 * number(gflop) / (GPU_TFLOPS * 1000)
    assert number(hours) == pytest.approx(seconds / 3600, rel=0.06)  # two digits


def test_hours_by_hand():
    """A million images of 54 GFLOP: 54e15 operations, an hour at 15 TFLOP/s."""
    assert gpu_hours(1000, 54) == pytest.approx(1.0)


def test_rate_is_what_edm_states():
    """200 million images of its CIFAR-10 teacher in about 2 days on 8 GPUs."""
    counted = json.loads(expected_results.OPERATIONS.read_text())['gflop_per_image']
    rate = 200e6 * counted['edm-cifar10-32x32-cond-ve'] * 1e9 / (8 * 2 * 86400) / 1e12
    assert GPU_TFLOPS <= rate < 1.5 * GPU_TFLOPS
    [stated] = re.findall(r'\(([\d.]+) TFLOP/s per GPU\)', (ROOT / 'docs/results.md').read_text('utf-8'))
    assert float(stated) == pytest.approx(rate, abs=0.05)


def test_counted_operations_are_those_in_the_file(tmp_path, monkeypatch):
    """Of a teacher, whose forward pass costs a third of its training."""
    kept = json.loads(expected_results.OPERATIONS.read_text())['gflop_per_image']
    assert float(f'{count("photos-teacher"):.4g}') == kept['photos-teacher'] == 0.5837
    path = tmp_path / 'operations.json'
    path.write_text(json.dumps(dict(gflop_per_image=dict.fromkeys(RECIPES, 1.0))))
    monkeypatch.setattr(expected_results, 'OPERATIONS', path)
    monkeypatch.setattr(expected_results, 'count', lambda name: 2.0)
    result = CliRunner().invoke(expected_results.main, ['count', '--recipe=demo'])
    assert result.output == 'demo: 2 GFLOP per image\n'
    assert json.loads(path.read_text())['gflop_per_image']['demo'] == 2.0
