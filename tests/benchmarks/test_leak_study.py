# Copyright 2026 The GDD-1S authors.
# SPDX-License-Identifier: Apache-2.0
"""The leak experiment (benchmarks/leak_study.py): cells, table, figure and what is skipped; no training."""

import json

import pytest
from click.testing import CliRunner
from PIL import Image

from benchmarks import leak_study
from benchmarks.leak_study import ENCODERS, ROWS, STUDIES, Cell, encoders, format_cells, save_figure
from evaluations.detectors.registry import detector_names
from training.recipes import RECIPES

RELATIONS = {'tf_efficientnet_lite0': 'seen', 'random-conv': 'independent'}


def cell(row, seed, seen, random, kimg=8.0):
    distances = {'tf_efficientnet_lite0': seen, 'random-conv': random}
    return Cell(row, seed, kimg, 2000, distances, dict.fromkeys(distances, 2.0), RELATIONS, 1.0)


CELLS = [cell('Lite0', 0, 4, 8), cell('Lite0', 1, 8, 8), cell('teacher', 0, 6, 5)]


def test_encoders_exist_and_rows_name_backbones():
    assert set(encoders('demo')) <= set(detector_names()) and encoders('photos') == list(ENCODERS)
    assert all(options[0].startswith('--backbone=') for options in ROWS.values()) and len(STUDIES) == 2
    assert {recipe for recipe, _ in STUDIES.values()} <= RECIPES.keys()


def test_table():
    lines = format_cells(CELLS).splitlines()
    assert lines[0] == '| encoder | D of Lite0 | D of teacher |'
    assert lines[2] == '| tf_efficientnet_lite0 | 3.00 ± 1.41 (seen) | 3.00 (seen) |'
    assert lines[3] == '| random-conv | 4.00 ± 0.00 (independent) | 2.50 (independent) |'
    with pytest.raises(ValueError, match='different lengths'):
        format_cells([*CELLS, cell('both', 0, 1, 1, kimg=12)])


def test_figure(tmp_path):
    pytest.importorskip('matplotlib')
    save_figure(tmp_path / 'study.png', CELLS, 'title')
    with Image.open(tmp_path / 'study.png') as image:
        assert image.width > 800 and len(image.convert('RGB').getcolors(1 << 20)) > 10


def test_finished_work_is_not_done_again(tmp_path, monkeypatch):
    done = []
    results = [
        dict(metric='ratio', detector='random-conv', value=2.0, distance=4.0, heldout_distance=2.0),
        dict(metric='fdr1-2k', detector='random-conv', value=2.0),
    ]
    report = dict(results=results, comparisons=[dict(detector='random-conv', overlap='independent')])

    def train(folder, recipe, options, seed, kimg):
        done.append(('train', recipe, options, seed, kimg))
        folder.mkdir(parents=True)
        (folder / 'network-snapshot-000001.pkl').write_bytes(b'')
        return 7.0

    def call(*command):
        done.append(command[1:3])
        if command[2] == 'gen':
            path = next(str(part)[7:] for part in command if str(part).startswith('--json='))
            open(path, 'w').write(json.dumps(report))
        else:
            path = next(str(part)[7:] for part in command if str(part).startswith('--dest='))
            (tmp_path / 'references').mkdir(exist_ok=True)
            open(path, 'w').write('')

    monkeypatch.setattr(leak_study, 'train_cell', train)
    monkeypatch.setattr(leak_study, 'call', call)
    options = ['run', 'demo', '--kimg=8', '--seeds=0', '--rows=Lite0', f'--outdir={tmp_path}']
    result = CliRunner().invoke(leak_study.main, options)
    assert result.exit_code == 0, result.output
    assert done[0] == ('train', 'demo', ['--backbone=tf_efficientnet_lite0'], 0, 8.0)
    assert done[1:] == [('fid.py', 'ref')] * 5 + [('fid.py', 'gen')]
    assert '| random-conv | 2.00 (independent) |' in result.output
    (tmp_path / 'lite0-seed0' / 'cell.json').unlink()  # trained, not measured
    CliRunner().invoke(leak_study.main, options)
    CliRunner().invoke(leak_study.main, options)
    assert done[7:] == [('fid.py', 'gen')]


def test_nothing_to_report(tmp_path):
    result = CliRunner().invoke(leak_study.main, ['report', 'demo', f'--outdir={tmp_path}'])
    assert result.exit_code == 1 and 'start with: python -m benchmarks.leak_study run demo' in result.output
