# Copyright 2026 The GDD-1S authors.
# SPDX-License-Identifier: Apache-2.0
"""Tests of evaluations/live_metrics.py: metrics while training, with the demo's classifier."""

import json
import os
import re

import numpy as np
import pytest
import torch
from click.testing import CliRunner

import fid
from dnnlib.errors import ArgumentError, as_option
from evaluations.inputs.reference import load_reference, save_reference
from evaluations.live_metrics import LiveMetrics, read_best, record
from evaluations.metrics.names import parse_live_metrics, split_live_metric
from tests.support import ROOT, processes, tiny_runs
from torch_utils import distributed, training_stats
from training.training_loop import run_training
from training.update.gradients import NonFiniteError

REF = os.path.join(ROOT, 'datasets', 'mnist-32x32-train-ref-mnist-classifier.npz')
SHAPE = (1, 32, 32)


@pytest.fixture(autouse=True)
def isolated(monkeypatch):
    monkeypatch.setattr(distributed, '_device', torch.device('cpu'))
    monkeypatch.setattr(training_stats, '_counters', {})
    tiny_runs.use_random_backbones(monkeypatch.setattr)


def live(*names, shape=SHAPE, ref=REF, detector=None, path=None):
    return LiveMetrics(
        list(names), ref, detector, path, batch=4, image_shape=shape, device=torch.device('cpu')
    )


def with_features(path, count):
    """The shipped reference with features of some images, which kid, pr and dc need."""
    ref = load_reference(REF)
    ref.features = np.random.RandomState(0).randn(count, len(ref.mu)).astype(np.float32)
    save_reference(path, ref)
    return str(path)


def lines_of(run_dir, name):
    with open(os.path.join(run_dir, f'metric-{name}.jsonl'), encoding='utf-8') as file:
        return [json.loads(line) for line in file]


# ------------------------------------------------------------------------------------------------
# Names.


@pytest.mark.parametrize(
    'text, expected',
    [
        ('fid50k', [('fid', 50000)]),
        ('fd2000', [('fd', 2000)]),
        (' FD10k, kid500,pr50K', [('fd', 10000), ('kid', 500), ('pr', 50000)]),
    ],
)
def test_names(text, expected):
    assert [split_live_metric(name) for name in parse_live_metrics(text)] == expected


@pytest.mark.parametrize(
    'text', ['', 'fd', '10k', 'fd1', 'fd0k', 'foo10k', 'fd2k,fd2000', 'fd2k,', 'fd1.5k', 'fd-2k']
)
def test_bad_names_are_refused(text):
    with pytest.raises(ValueError, match='^metrics='):
        parse_live_metrics(text)


def test_advice_about_a_repeated_metric_is_accepted():
    with pytest.raises(ValueError, match='write fd2k,is5$'):
        parse_live_metrics('fd2k,is5,fd2000')
    assert parse_live_metrics('fd2k,is5') == ['fd2k', 'is5']


# ------------------------------------------------------------------------------------------------
# Unusable settings end a run before it starts.


@pytest.mark.parametrize(
    'names, options, words',
    [
        (
            ['fid2k'],
            {},
            '--metrics=fid2k: FID is the distance of Inception features, .* those of mnist-classifier; '
            'use --metrics=fd2k',
        ),
        (['fd2k'], dict(ref='none.npz'), '--metrics-ref=none.npz cannot be read'),
        (['fd2k'], dict(shape=(3, 32, 32)), r'images of --data of shape \(3, 32, 32\)'),
        (['fd2k', 'pr2k'], {}, 'no pr against .*: it has no features of single images'),
        (['is2k', 'sfid2k'], {}, 'detector mnist-classifier has no spatial features'),
        (['fd2k'], dict(detector='unknown'), 'detector unknown|--metrics-detector=unknown'),
        (['fd2k', 'dc3'], dict(features=3), 'it has the features of 3 images, and at least 6 are needed'),
        (['fd2', 'pr3'], dict(features=20), '--metrics=pr needs at least 4 images, but there are 3'),
        (['fd2k'], dict(path='nowhere'), 'detector mnist-classifier: there is no file nowhere'),
    ],
)
def test_unusable_settings(tmp_path, names, options, words):
    if 'features' in options:
        options = dict(ref=with_features(tmp_path / 'ref.npz', options['features']))
    with pytest.raises(ArgumentError) as caught:
        live(*names, **options)
    text = caught.value.spell(as_option)
    assert re.search(words, text) and '\n' not in text and '--ref' not in text


def test_detectors_leave_the_random_state_alone():
    torch.manual_seed(7)
    before = torch.random.get_rng_state()
    assert live('fd20').notes and torch.equal(before, torch.random.get_rng_state())


# ------------------------------------------------------------------------------------------------
# The best snapshot.


def test_best_snapshot_stays_and_ties_do_not_replace_it(tmp_path):
    texts = []
    for kimg, value in enumerate([5.0, 3.0, 3.0, 4.0]):
        snapshot = tmp_path / f'network-snapshot-{kimg:06d}.pkl'
        snapshot.write_text(f'network {kimg}')
        texts.append(
            record(
                str(tmp_path),
                'fd2k',
                dict(metric='fd2k', value=value, kimg=kimg, nimg=kimg, snapshot=snapshot.name),
                str(snapshot),
            )
        )
        snapshot.unlink()  # any retention
    best = json.loads((tmp_path / 'best-fd2k.json').read_text())
    assert (best['value'], best['kimg'], best['snapshot'], best['file']) == (
        3.0,
        1,
        'network-snapshot-000001.pkl',
        'best-fd2k.pkl',
    )
    assert (tmp_path / 'best-fd2k.pkl').read_text() == 'network 1'
    assert texts[1] == 'fd2k 3 (best so far: best-fd2k.pkl)' and texts[3] == 'fd2k 4 (best 3 at 1 kimg)'
    assert [line['value'] for line in lines_of(tmp_path, 'fd2k')] == [5, 3, 3, 4]
    assert sorted(os.listdir(tmp_path)) == ['best-fd2k.json', 'best-fd2k.pkl', 'metric-fd2k.jsonl']


@pytest.mark.parametrize(
    'name, higher',
    [
        ('fd2k', False),
        ('fid50k', False),
        ('sfid50k', False),
        ('kid50k', False),
        ('is50k', True),
        ('precision50k', True),
        ('recall50k', True),
        ('class-accuracy2k', True),
    ],
)
def test_direction_of_better(tmp_path, name, higher):
    (tmp_path / 'a.pkl').write_text('a')
    for value in (0.5, 0.75, 0.25):
        record(str(tmp_path), name, dict(value=value, kimg=1, nimg=1000), str(tmp_path / 'a.pkl'))
    assert read_best(tmp_path / f'best-{name}.json')['value'] == (0.75 if higher else 0.25)


def test_best_without_hard_links_and_after_damage(tmp_path, monkeypatch):
    monkeypatch.setattr(os, 'link', lambda *_args: (_ for _ in ()).throw(OSError('no links here')))
    (tmp_path / 'a.pkl').write_text('a')
    (tmp_path / 'best-fd2k.json').write_text('{')
    record(str(tmp_path), 'fd2k', dict(value=1.0, kimg=1, nimg=1000), str(tmp_path / 'a.pkl'))
    assert (tmp_path / 'best-fd2k.pkl').read_text() == 'a' and read_best(tmp_path / 'best-fd2k.json')[
        'value'
    ] == 1.0


def test_resumed_run_replaces_the_lines_beyond_its_position(tmp_path):
    (tmp_path / 'a.pkl').write_text('a')
    for nimg, value in ((1000, 5.0), (2000, 4.0), (3000, 3.0)):
        record(str(tmp_path), 'fd2k', dict(value=value, kimg=nimg / 1e3, nimg=nimg), str(tmp_path / 'a.pkl'))
    with open(tmp_path / 'metric-fd2k.jsonl', 'a', encoding='utf-8') as file:
        file.write('{"value": 1')  # killed while writing
    record(str(tmp_path), 'fd2k', dict(value=4.5, kimg=2, nimg=2000), str(tmp_path / 'a.pkl'))
    assert [(line['nimg'], line['value']) for line in lines_of(tmp_path, 'fd2k')] == [
        (1000, 5.0),
        (2000, 4.5),
    ]
    assert read_best(tmp_path / 'best-fd2k.json')['value'] == 3.0


# ------------------------------------------------------------------------------------------------
# In a run.


@pytest.fixture(scope='module')
def material(tmp_path_factory):
    folder = tmp_path_factory.mktemp('material')
    return (
        tiny_runs.write_zip(folder / 'data.zip', resolution=32, channels=1),
        tiny_runs.write_teacher(folder / 'teacher.pkl', resolution=32, channels=1, attn_resolutions=[]),
    )


def config_of(material, *args):
    data, teacher = material
    return tiny_runs.make_config(
        *tiny_runs.GAN_ARGS,
        f'--transfer={teacher}',
        f'--data={data}',
        '--cond=1',
        '--grid=0',
        '--freeze=1',
        '--dropout=0.1',
        '--snap=1',
        '--batch=4',
        tiny_runs.duration(24),
        *args,
    )


def train(config, run_dir):
    run = tiny_runs.make_run(config)
    return run, run_training(run, str(run_dir))


MEASURE = ('--metrics=fd6,is10,fd10', f'--metrics-ref={REF}', '--metrics-batch=4')


@pytest.fixture(scope='module')
def measured(material, tmp_path_factory):
    run_dir = tmp_path_factory.mktemp('measured')
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(distributed, '_device', torch.device('cpu'))
        patch.setattr(training_stats, '_counters', {})
        tiny_runs.use_random_backbones(patch.setattr)
        run, path = train(config_of(material, *MEASURE, '--ema=0.5,0.05', '--ema-warmup=10'), run_dir)
    return run, str(run_dir), path


def test_training_is_the_same_bit_for_bit_with_and_without_metrics(measured, material, tmp_path):
    run, _run_dir, _path = measured
    plain, _path = train(config_of(material, '--ema=0.5,0.05', '--ema-warmup=10'), tmp_path)
    # What remains of a state are the clock, statistics (with metrics in them) and options.
    states = [
        {name: state[name] for name in ('nimg', 'iteration', 'tick', 'task', 'ema', 'nonfinite')}
        for state in (run.state_dict(), plain.state_dict())
    ]
    assert not tiny_runs.differences(*states) and set(states[0]['ema']) == {'ema', 'ema-0.05'}
    assert not [name for name in os.listdir(tmp_path) if name.startswith(('metric', 'best'))]


def test_files_and_statistics(measured):
    _run, run_dir, _path = measured
    names = ['class-accuracy6', 'fd6', 'class-accuracy10', 'fd10', 'is10']
    assert {name for name in os.listdir(run_dir) if name.startswith(('metric-', 'best-'))} == {
        f'{kind}-{name}.{end}'
        for name in names
        for kind, end in (('metric', 'jsonl'), ('best', 'json'), ('best', 'pkl'))
    }
    stats, lines = tiny_runs.read_stats(run_dir), lines_of(run_dir, 'fd10')
    assert (
        [line['kimg'] for line in lines]
        == [0.004, 0.02, 0.024]
        == [line['Progress/kimg']['mean'] for line in stats]
    )
    assert [line['value'] for line in lines] == [line['Metrics/fd10']['mean'] for line in stats]
    line = lines[-1]
    assert (
        line['metric'],
        line['name'],
        line['count'],
        line['seed'],
        line['seeds'],
        line['detector'],
        line['reference'],
    ) == ('fd10', 'frechet-mnist-classifier-10', 10, 0, '0-9', 'mnist-classifier', REF)
    assert (
        len(line['detector_sha256']) == len(line['reference_sha256']) == 64
        and line['snapshot'] == 'network-snapshot-000000.pkl'
    )
    best = read_best(os.path.join(run_dir, 'best-fd10.json'))
    assert best['value'] == min(line['value'] for line in lines)
    with open(f'{run_dir}/log.txt', encoding='utf-8') as file:
        assert 'metrics at 0.024 kimg: ' in file.read()


def test_numbers_are_those_of_fid_gen_on_the_snapshot(measured, tmp_path, monkeypatch):
    _run, run_dir, path = measured
    out = str(tmp_path / 'out.json')
    result = CliRunner().invoke(
        fid.main,
        [
            'gen',
            f'--network={path}',
            f'--ref={REF}',
            '--seeds=0-9',
            '--batch=4',
            '--metrics=is,fid',
            f'--json={out}',
        ],
    )
    assert result.exit_code == 0, result.output
    with open(out, encoding='utf-8') as file:
        values = {entry['metric']: entry['value'] for entry in json.load(file)['results']}
    for name in ('fd10', 'is10', 'class-accuracy10'):
        line = lines_of(run_dir, name)[-1]
        assert line['value'] == pytest.approx(values[line['name']], rel=1e-5)


def test_further_averages_are_in_the_snapshot(measured):
    from training.snapshots.snapshot import load_network

    run, _run_dir, path = measured
    for key in ('ema', 'ema-0.05'):
        assert not tiny_runs.differences(
            load_network(path, key=key)[0].state_dict(), run.ema.nets[key].state_dict()
        )
    assert 'ema-0.05' not in load_network(path)[1].extras


def test_images_that_are_not_finite_leave_a_gap_and_the_run_goes_on(tmp_path, capsys):
    from training import networks

    net = networks.GDDPrecond(
        img_resolution=32, img_channels=1, label_dim=0, **dict(tiny_runs.UNET, attn_resolutions=[])
    ).eval()
    net.requires_grad_(False).model.dec['32x32_aux_conv'].bias.fill_(float('nan'))
    metrics, collector = live('fd6'), training_stats.Collector()
    metrics.measure(net, 'one_step', {}, 1000, str(tmp_path), 'none.pkl')
    collector.update()
    assert (
        'metrics at 1 kimg: not measured, the image of seed 0, 1, 2, 3 is not finite'
        in capsys.readouterr().out
    )
    assert collector.num('Metrics/fd6') == 0 and not os.listdir(tmp_path)


# ------------------------------------------------------------------------------------------------
# Non-finite gradients in a run, and two processes.


def poison(run, iterations, rank=0):
    """Make G's loss NaN in some iterations, on one rank only."""
    original = run.task.loss.generator_loss

    def generator_loss(*args):
        return original(*args) * (float('nan') if run.iteration in iterations and run.rank == rank else 1.0)

    run.task.loss.generator_loss = generator_loss


def parts(run):
    """Parameters of G and of the averages, and Adam's state for G."""
    return dict(
        G=[p.detach().clone() for p in run.task.G.parameters()],
        ema=run.ema.net.state_dict(),
        optimizer={
            k: {n: v.clone() for n, v in s.items()}
            for k, s in run.task.g_optimizer.state_dict()['state'].items()
        },
    )


def step(run, batches):
    images, labels = next(batches)
    run.train_step(images, labels)


def test_skipped_step_leaves_generator_average_and_optimizer_alone(material):
    run = tiny_runs.make_run(config_of(material, '--ema-warmup=10'))
    poison(run, [1])
    batches = run.batches()
    step(run, batches)
    before = {
        key: value if key != 'ema' else {n: t.clone() for n, t in value.items()}
        for key, value in parts(run).items()
    }
    step(run, batches)
    assert not tiny_runs.differences(before, parts(run)) and run.task.guard.counts() == {'G': 1, 'D': 0}
    step(run, batches)
    assert tiny_runs.differences(before, parts(run))
    assert all(t.isfinite().all() for t in run.task.G.state_dict().values())


def test_official_replacement_takes_the_step(material):
    run = tiny_runs.make_run(config_of(material, '--nan=zero'))
    poison(run, [1])
    batches = run.batches()
    step(run, batches)
    before = parts(run)
    step(run, batches)
    steps = [state['step'].item() for state in run.task.g_optimizer.state_dict()['state'].values()]
    # All entries were NaN, so the step has a gradient of 0: the second moments decay, the counter advances.
    assert set(steps) == {2.0} and tiny_runs.differences(before['optimizer'], parts(run)['optimizer'])
    assert run.task.guard.counts()['G'] == 1


def test_run_stops_at_the_limit_and_says_what_is_left(material, tmp_path):
    run = tiny_runs.make_run(config_of(material, '--nan-limit=2'))
    poison(run, [2, 3, 4])
    with pytest.raises(
        NonFiniteError,
        match=r'^nan_limit=2 is reached: 2 optimizer steps had non-finite gradients \(G 2\) by 0.016 '
        r'kimg; the newest files in .* are network-snapshot-000000.pkl;',
    ):
        run_training(run, str(tmp_path))
    assert run.iteration == 4


def script(data, teacher, folder):
    """What each of two processes does: train with metrics and one poisoned step on rank 1."""
    distributed.init('cpu')
    tiny_runs.use_random_backbones()
    run = tiny_runs.make_run(config_of((data, teacher), *MEASURE))
    poison(run, [1], rank=1)
    run_training(run, folder)
    states = distributed.gather_objects(dict(parts(run), counts=run.task.guard.counts()))
    if states is not None:
        with open(f'{folder}/differing.json', 'w', encoding='utf-8') as file:
            json.dump([tiny_runs.differences(*states), states[0]['counts']], file)


def test_two_processes_skip_alike_and_share_the_measuring(material, tmp_path):
    ended = processes.run_group(script, [*material, str(tmp_path)], tmp_path, 2)
    assert [process.returncode for process in ended] == [0, 0], ended
    differing, counts = json.loads((tmp_path / 'differing.json').read_text())
    assert differing == [] and counts == {'G': 1, 'D': 0}
    out = str(tmp_path / 'out.json')
    result = CliRunner().invoke(
        fid.main,
        [
            'gen',
            f'--network={tmp_path}/network-snapshot-000000.pkl',
            f'--ref={REF}',
            '--seeds=0-9',
            '--batch=4',
            f'--json={out}',
        ],
    )
    assert result.exit_code == 0, result.output
    with open(out, encoding='utf-8') as file:
        assert lines_of(tmp_path, 'fd10')[-1]['value'] == pytest.approx(json.load(file)['value'], rel=1e-5)
