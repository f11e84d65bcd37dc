# Copyright 2026 The GDD-1S authors.
# SPDX-License-Identifier: Apache-2.0
"""Tests of benchmarks/claims.py: every row can be trained, and lengths of equal cost are right."""

import json

import pytest
from click.testing import CliRunner

import train
from benchmarks import claims
from benchmarks.claims import ABOUT, CLAIMS, DATA, equal_cost, operations, rows
from benchmarks.expected_results import with_results
from training.recipes import RECIPES


@pytest.mark.parametrize('data', DATA.values(), ids=DATA)
def test_rows_are_options_that_work(data):
    configs = {}
    for name, row in rows(data).items():
        if row.recipe:
            result = CliRunner().invoke(train.main, [f'--recipe={row.recipe}', *row.options, '-n'])
            assert result.exit_code == 0, (name, result.output)
            configs[name] = json.loads(result.output)
    base = configs['GDD-I']
    for name, expected in (
        ('GDD', ['freeze']),
        ('GDD-I, mean of the losses', ['loss_kwargs']),
        ('GDD-I, teacher features', ['feature_kwargs', 'teacher_sigma']),
        ('GDD-I, both features', ['feature_kwargs', 'teacher_sigma']),
        ('GDD-I, bfloat16 emulated', ['network_options', 'precision']),
        ('GDD-I, fast in 16 bits', ['perf']),
    ):
        ignored = ('options', 'total_nimg', 'tick_nimg')
        differing = [key for key in base if configs[name][key] != base[key] and key not in ignored]
        assert sorted(differing) == expected, name
    # A mean over the batch of 32 in place of a sum over a quarter of it is an R1 8 times as strong.
    strength = (
        configs['GDD-I, mean of the losses']['loss_kwargs']['r1_gamma'] / base['loss_kwargs']['r1_gamma']
    )
    assert strength == pytest.approx(base['batch_size'] / 4)


def test_claims_name_rows():
    assert CLAIMS.keys() == ABOUT.keys()
    for data in DATA.values():
        assert {name for names in CLAIMS.values() for name in names} == set(rows(data))
        assert data.teacher == RECIPES[data.gdd_i].teacher


def test_equal_cost(tmp_path, monkeypatch):
    assert set(operations()) == set(with_results())
    path = tmp_path / 'operations.json'
    path.write_text(json.dumps(dict(gflop_per_image=dict(a=3.0, b=2.0))))
    monkeypatch.setattr(claims, 'OPERATIONS', path)
    assert equal_cost('a', 'b') == 1.5 and equal_cost('b', 'a') == 0.67
