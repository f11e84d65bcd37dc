# Copyright 2026 The GDD-1S authors.
# SPDX-License-Identifier: Apache-2.0
"""The leak experiment (benchmarks/leak_study.py): cells, table, figure and what is skipped; no training."""

import dataclasses
import json
import pathlib

import pytest
from click.testing import CliRunner
from PIL import Image

from benchmarks import leak_study
from benchmarks.claim_study import Result
from benchmarks.claims import DATA, rows
from benchmarks.leak_study import ENCODERS, ROWS, STUDIES, Cell, encoders, format_cells, save_figure
from evaluations.detectors.registry import detector_names
from training.recipes import RECIPES

RELATIONS = {'tf_efficientnet_lite0': 'seen', 'random-conv': 'independent'}


def cell(row, seed, seen, random, kimg=8.0):
    distances = {'tf_efficientnet_lite0': seen, 'random-conv': random}
    return Cell(row, seed, kimg, 2000, distances, dict.fromkeys(distances, 2.0), RELATIONS)


CELLS = [cell('Lite0', 0, 4, 8), cell('Lite0', 1, 8, 8), cell('teacher', 0, 6, 5)]


def test_encoders_exist_and_columns_are_rows_of_the_claim():
    assert set(encoders('demo')) <= set(detector_names()) and encoders('photos') == list(ENCODERS)
    options = [rows(DATA['demo'])[row].options for row in ROWS.values()]
    assert options[:3] == [(), ('--backbone=teacher',), ('--backbone=teacher,tf_efficientnet_lite0',)]
    assert {DATA[study].gdd_i for study in STUDIES} <= RECIPES.keys()


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


@pytest.fixture
def study(tmp_path, monkeypatch):
    """A trained network and a stand-in for fid.py; returns (commands, invoke)."""
    commands = []
    results = [
        dict(metric='ratio', detector='random-conv', value=2.0, distance=4.0, heldout_distance=2.0),
        dict(metric='fdr1-2k', detector='random-conv', value=2.0),
    ]
    report = dict(results=results, comparisons=[dict(detector='random-conv', overlap='independent')])

    def run_command(command):
        commands.append(command[2:])
        options = dict(str(part)[2:].split('=', 1) for part in command if '=' in str(part))
        path = pathlib.Path(options.get('json') or options['dest'])
        path.parent.mkdir(exist_ok=True)
        path.write_text(json.dumps(report))

    def invoke(*args):
        places = (f'--curves={tmp_path / "curves"}', f'--figure={tmp_path / "leak.png"}')
        return CliRunner().invoke(leak_study.main, [*args, *places])

    monkeypatch.setattr(leak_study, 'run_command', run_command)
    trained = tmp_path / 'work' / 'demo' / 'gdd-i-seed1'
    trained.mkdir(parents=True)
    (trained / 'network-snapshot-000001.pkl').touch()
    return commands, invoke


def finish(tmp_path):
    """Write the result of the claim."""
    kept = tmp_path / 'curves' / 'demo' / 'gdd-i-seed1'
    kept.mkdir(parents=True)
    (kept / 'result.json').write_text(json.dumps(dataclasses.asdict(Result('GDD-I', 1, 8.0, 1.0, {}, ''))))
    return kept / 'leak.json'


def test_trained_networks_are_measured_once(tmp_path, study):
    commands, invoke = study
    path = finish(tmp_path)
    args = ('run', 'demo', '--num=50', '--real=300', f'--work={tmp_path / "work"}')
    result = invoke(*args)
    assert result.exit_code == 0, result.output
    assert [command[0] for command in commands] == ['ref'] * 5 + ['gen']
    assert {'--split', '--num=300', '--features=50'} <= set(commands[0])
    assert '--seeds=0-49' in commands[5] and sum('--ref=' in part for part in map(str, commands[5])) == 5
    assert '| random-conv | 2.00 (independent) |' in result.output and (tmp_path / 'leak.png').is_file()
    assert json.loads(path.read_text())['row'] == 'Lite0'
    assert invoke(*args).exit_code == 0 and len(commands) == 6
    assert '| random-conv | 2.00 (independent) |' in invoke('report', 'demo').output


def test_nothing_to_measure_or_report(tmp_path, study):
    _commands, invoke = study
    result = invoke('run', 'demo', f'--work={tmp_path / "work"}')  # the claim has not finished it
    assert result.exit_code == 1 and 'claim_study run features --on=demo' in result.output
    result = invoke('report', 'demo')
    assert result.exit_code == 1 and 'start with: python -m benchmarks.leak_study run demo' in result.output
