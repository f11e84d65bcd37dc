# Copyright 2026 The GDD-1S authors.
# SPDX-License-Identifier: Apache-2.0
"""Tests of benchmarks/throughput.py: it measures the recipe, without any file. No timing is asserted."""

import json

import pytest
import torch
from click.testing import CliRunner

from benchmarks import throughput
from tests.support import tiny_runs
from training import networks
from training.config import plan_batch
from training.recipes import RECIPES

CPU = torch.device('cpu')


# ------------------------------------------------------------------------------------------------
# Recipes.


@pytest.fixture(scope='module')
def recipes():
    return throughput.list_recipes()


def resolve(name):
    return json.loads(throughput.run_script(name, '--dry-run'))


def test_recipes_are_those_of_the_script(recipes):
    assert (
        recipes.keys() == {name for name, recipe in RECIPES.items() if recipe.data != 'own'}
        and recipes['gdd-imagenet'] == 4
        and recipes['demo'] == 1
        and recipes['edm-imagenet-64x64-cond-adm'] == 32
    )
    assert {name.split('-')[0] for name in recipes} == {'demo', 'gdd', 'edm', 'photos', 'cifar10'}


@pytest.mark.parametrize(
    'name, shape, share',
    [
        ('gdd-i-imagenet', (64, 3, 1000, 1_281_167), 128),
        ('edm-cifar10-32x32-uncond-vp', (32, 3, 10, 50_000), 64),
        ('demo', (32, 1, 10, 10_000), 32),
    ],
)
def test_recipe_keeps_everything_but_files_and_batch(name, shape, share, recipes):
    recipe = resolve(name)
    config = throughput.synthetic_config(recipe, recipes[name], world_size=2)
    assert config['batch_size'] == 2 * share and plan_batch(config['batch_size'], None, 2)[0] == share
    dataset = config['dataset_kwargs']
    assert (dataset['resolution'], dataset['channels'], dataset['classes'], dataset['max_size']) == shape
    assert dataset['use_labels'] == recipe['dataset_kwargs']['use_labels']
    changed = {key for key in recipe if config[key] != recipe[key]}
    assert changed <= {
        'batch_size',
        'dataset_kwargs',
        'feature_kwargs',
        'discriminator_kwargs',
        'transfer',
        'loader_kwargs',
    }
    if name.startswith('gdd'):
        assert config['transfer'] == 'random' and config['discriminator_kwargs'] == dict(
            channel_max=None, class_embed='random'
        )
        assert config['feature_kwargs'] == dict(recipe['feature_kwargs'], weights='random')
    assert throughput.synthetic_config(recipe, 4, batch=3, batch_gpu=1, device='cpu')['batch_size'] == 3


# ------------------------------------------------------------------------------------------------
# Measurement of tiny networks.


def tiny_config(*args):
    config = throughput.synthetic_config(
        tiny_runs.make_config('--data=cifar10-32x32.zip', '--cond=1', *args), 1, device='cpu'
    )
    config['dataset_kwargs'].update(resolution=8, classes=3, max_size=40)
    return config


@pytest.mark.parametrize(
    'args', [('--transfer=random', *tiny_runs.NETWORK_ARGS, *tiny_runs.GAN_ARGS), tiny_runs.TEACHER_ARGS]
)
def test_measurement(args):
    config = tiny_config(*args)
    result = throughput.measure(config, seconds=0)
    distillation = config['loss'] == 'gdd'
    assert (
        result['batch_size'] == 8
        and result['iterations'] == ([1, 1] if distillation else [1])
        and result['processes'] == 1
    )
    stages = result['stage_ms']
    assert set(stages) == set(throughput.STAGES) and all(
        stages[name] > 0 for name in ('data', 'G', 'optimizer', 'EMA', 'other')
    )
    assert (stages['D'] > 0) == (stages['R1'] > 0) == distillation
    plain, with_r1 = result['plain_ms'], result['with_r1_ms']
    expected = plain + (with_r1 - plain) / 16 if distillation else plain
    assert result['iteration_ms'] == pytest.approx(expected) and result['images_per_second'] == pytest.approx(
        8000 / expected
    )
    share = (
        result['tflop_per_iteration']['fp32']
        / result['peak_tflops']['fp32']
        / (result['iteration_ms'] / 1000)
    )
    assert result['share_of_peak'] == pytest.approx(share)
    lines = throughput.describe('tiny', result)
    assert lines[0].startswith('tiny: faithful, batch 8 on 1 process(es), fp32, CPU') and len(lines) == 8
    assert json.loads(json.dumps(result)) == result
    assert result['launches_per_iteration'] > 100 and result['gb_per_iteration'] > 0
    parts = result['roofline']
    assert set(parts) <= set(throughput.STAGES) and parts['G']['gflop_per_image'] > 0
    assert all(part['products_ms'] >= 0 <= part['memory_ms'] for part in parts.values())


def test_only_every_sixteenth_iteration_pays_for_r1():
    """Operations are weighted like times; those of a plain iteration do not hold R1's."""
    bench = throughput.Measurement(
        tiny_config('--transfer=random', *tiny_runs.NETWORK_ARGS, *tiny_runs.GAN_ARGS)
    )
    assert type(bench.run.task.G) is networks.GDDPrecond and bench.run.task.F.weights_report == [
        'tf_efficientnet_lite0: random weights'
    ]
    plain, with_r1 = (bench.count(kind).flops[torch.float32] for kind in (False, True))
    assert plain < with_r1 < 3 * plain and bench.count().flops[torch.float32] == plain
    without = throughput.Measurement(
        tiny_config('--transfer=random', '--r1-type=none', *tiny_runs.NETWORK_ARGS, *tiny_runs.GAN_ARGS)
    )
    assert without.count().flops[torch.float32] == plain and without.r1_interval == 0


# ------------------------------------------------------------------------------------------------
# Command and table.

RESULT = dict(
    batch_size=64,
    precision='bf16',
    images_per_second=123.4,
    iteration_ms=518.6,
    stage_ms=dict.fromkeys(throughput.STAGES, 1.5),
    peak_memory_gib=12.3,
    share_of_peak=0.456,
    device='some GPU',
    torch='2.6',
    processes=1,
    iterations=[3, 1],
    plain_ms=1.0,
    with_r1_ms=2.0,
    r1_interval=16,
    tflop_per_iteration=dict(fp32=1.0),
    peak_tflops=dict(fp32=2.0),
    batch_gpu=None,
    mode='faithful',
    launches_per_iteration=700.0,
    gb_per_iteration=1.25,
    copy_gb_per_second=20.0,
    roofline={},
)


def test_table_of_all_recipes(monkeypatch, tmp_path):
    """Every recipe, also one that fails; both files hold what was printed."""
    monkeypatch.setattr(throughput, 'list_recipes', lambda: {'demo': 1, 'gdd-a': 4, 'gdd-b': 4})
    asked = []
    monkeypatch.setattr(
        throughput,
        'measure_in_process',
        lambda name, options: (
            asked.append((name, options)),
            dict(error='CUDA out of memory') if name == 'gdd-b' else RESULT,
        )[1],
    )
    result = CliRunner().invoke(throughput.main, ['--all', '--batch=2', '--seconds=1', f'--out={tmp_path}/t'])
    assert result.exit_code == 1 and 'Error: gdd-b could not be measured' in result.output
    assert asked == [
        (name, ['--seconds=1.0', '--batch=2', '--device=auto']) for name in ('demo', 'gdd-a', 'gdd-b')
    ]
    rows = (tmp_path / 't.md').read_text().splitlines()
    assert rows[0].count('|') == rows[1].count('|') == rows[2].count('|') == rows[4].count('|') and rows[
        0
    ].startswith('| recipe ')
    assert rows[3].startswith('| gdd-a | 64 | bf16 | 123.40 | - | 518.6 | 1.5 ') and rows[3].endswith(
        '| 12.30 | 45.6 % | 700 | 1.25 |'
    )
    assert rows[4].startswith('| gdd-b | not measured: CUDA out of memory |')
    assert list(json.loads((tmp_path / 't.json').read_text())) == ['demo', 'gdd-a', 'gdd-b']
    asked.clear()
    assert CliRunner().invoke(throughput.main, ['--recipe=gdd-?', f'--out={tmp_path}/t']).exit_code == 1
    assert [name for name, _options in asked] == ['gdd-a', 'gdd-b']


def test_modes_are_compared_with_the_first(monkeypatch, tmp_path):
    monkeypatch.setattr(throughput, 'list_recipes', lambda: {'demo': 1})
    speeds = {'--mode=reference': 100.0, '--mode=fast': 250.0}
    monkeypatch.setattr(
        throughput,
        'measure_in_process',
        lambda name, options: dict(RESULT, images_per_second=speeds[options[-1]]),
    )
    result = CliRunner().invoke(
        throughput.main, ['--recipe=demo', '--mode=reference,fast', f'--out={tmp_path}/t']
    )
    assert result.exit_code == 0, result.output
    rows = (tmp_path / 't.md').read_text().splitlines()
    assert '| demo reference | 64 | bf16 | 100.00 | - |' in rows[2]
    assert '| demo fast | 64 | bf16 | 250.00 | 2.50 x |' in rows[3]
    result = CliRunner().invoke(throughput.main, ['--recipe=demo', '--mode=fast,slow'])
    assert result.exit_code == 2 and "'fast,slow' must be one or several of reference" in result.output


def test_unknown_recipe_is_one_line():
    result = CliRunner().invoke(throughput.main, ['--recipe=nope'])
    assert (
        result.exit_code == 1
        and result.output.startswith('Error: --recipe=nope is none of demo, ')
        and result.output.count('\n') == 1
    )


def test_failure_in_a_process_of_its_own_becomes_a_row():
    result = throughput.measure_in_process(
        'edm-imagenet-64x64-cond-adm', ['--device=cpu', '--seconds=0', '--batch=1']
    )
    assert list(result) == ['error'] and 'fp16' in result['error'] and 'Traceback' not in result['error']
