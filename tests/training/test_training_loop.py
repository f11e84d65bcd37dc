# Copyright 2026 The GDD-1S authors.
# SPDX-License-Identifier: Apache-2.0
"""Tests of training/training_loop.py on tiny teachers and students: files, logs, exact resume, retention."""

import json
import os
import re
import shutil

import numpy as np
import PIL.Image
import pytest
import torch

from dnnlib.errors import as_option
from tests.support import tiny_runs
from torch_utils import distributed, training_stats
from training.run import state as training_state
from training.snapshots.snapshot import load_network
from training.training_loop import run_training, write_stats

BATCH = 8
PROGRESS = [
    'Progress/tick',
    'Progress/kimg',
    'Timing/total_sec',
    'Timing/sec_per_tick',
    'Timing/sec_per_kimg',
    'Timing/img_per_sec',
    'Timing/maintenance_sec',
    'Resources/cpu_mem_gb',
    'Resources/peak_gpu_mem_gb',
    'Resources/peak_gpu_mem_reserved_gb',
]
TEACHER_END, GAN_END = ['LearningRate'], ['LearningRate/G', 'LearningRate/D']
TEACHER_STATS = ['Loss/loss', 'Grad/nonfinite', 'Grad/norm']
GAN_STATS = [
    'Loss/logits/fake/tf_efficientnet_lite0',
    'Loss/logits/fake',
    'Loss/probs/fake',
    'Loss/G/loss',
    'Grad/G/nonfinite',
    'Grad/G/norm',
    'Loss/logits/real',
    'Loss/signs/real',
    'Loss/probs/real',
    'Loss/D/loss',
    'Grad/D/nonfinite',
    'Grad/D/norm',
]
R1_STATS = ['Loss/r1_penalty', 'Loss/D/r1_loss', 'Grad/R1/nonfinite', 'Grad/R1/norm']


def isolate(patch):
    """Forget other tests' statistics, name states by images (tiny runs stay below 1000), need no GPU and no
    weights."""
    patch.setattr(distributed, '_device', torch.device('cpu'))
    patch.setattr(training_stats, '_counters', {})
    patch.setattr(
        training_state, 'state_path', lambda run_dir, nimg: f'{run_dir}/training-state-{nimg:06d}.pt'
    )
    tiny_runs.use_random_backbones(patch.setattr)


@pytest.fixture(autouse=True)
def isolated(monkeypatch):
    isolate(monkeypatch)


def config_of(kind, material, nimg, *args):
    """Resolve a run with all that is random switched on: dropout, mirrored images, augmentation, R1 every 3
    iterations."""
    data, teacher = material
    args = (
        f'--data={data}',
        '--cond=1',
        '--dump=1',
        '--keep=0',
        '--dropout=0.1',
        '--xflip=1',
        '--grid=0',
        tiny_runs.duration(nimg),
        *args,
    )
    if kind == 'teacher':
        return tiny_runs.make_config(*tiny_runs.TEACHER_ARGS, '--augment=0.5', '--label-dropout=0.1', *args)
    config = tiny_runs.make_config(
        *tiny_runs.GAN_ARGS, f'--transfer={teacher}', '--freeze=1', '--diffaug=1', *args
    )
    return dict(config, r1_interval=3)


def train_to_the_end(config, run_dir):
    run = tiny_runs.make_run(config)
    return run, run_training(run, str(run_dir))


@pytest.fixture(scope='module', params=['teacher', 'distillation'])
def unbroken(request, material, tmp_path_factory):
    """One run of 8 iterations with all its states: ticks after iterations 1, 3, 5, 7 and 8."""
    run_dir = tmp_path_factory.mktemp('unbroken')
    with pytest.MonkeyPatch.context() as patch:
        isolate(patch)
        run, path = train_to_the_end(config_of(request.param, material, 8 * BATCH, '--grid=2x3'), run_dir)
        return request.param, run, str(run_dir), path


# ------------------------------------------------------------------------------------------------
# What a run leaves behind.


def test_files_of_a_run(unbroken):
    _kind, run, run_dir, path = unbroken
    assert path == f'{run_dir}/network-snapshot-000000.pkl' and run.nimg == 64 and run.iteration == 8
    assert sorted(os.listdir(run_dir)) == [
        'fakes-000000.png',
        'launches.jsonl',
        'log.txt',
        'network-snapshot-000000.pkl',
        'stats.jsonl',
        'training-state-000024.pt',
        'training-state-000040.pt',
        'training-state-000056.pt',
        'training-state-000064.pt',
        'training_options.json',
    ]


def test_options_are_saved_as_json(unbroken):
    _kind, run, run_dir, _path = unbroken
    with open(f'{run_dir}/training_options.json', encoding='utf-8') as file:
        assert json.load(file) == run.config
    assert run.config['network_kwargs']['label_dim'] == 3 and run.config['micro_batch'] == BATCH


def test_log_has_a_line_per_tick(unbroken):
    kind, _run, run_dir, _path = unbroken
    with open(f'{run_dir}/log.txt', encoding='utf-8') as file:
        text = file.read()
    assert re.findall(r'^tick (\d+) +kimg', text, re.MULTILINE) == ['0', '1', '2', '3', '4']
    assert 'Finished after 0.064 kimg: ' in text and '\x1b' not in text and '\r' not in text
    assert 'all trained' in text if kind == 'teacher' else 'Generator at --freeze=1' in text


def test_statistics_are_strict_json_with_the_expected_names(unbroken):
    kind, _run, run_dir, _path = unbroken
    lines = tiny_runs.read_stats(run_dir)
    first = TEACHER_STATS if kind == 'teacher' else GAN_STATS
    last = first + (R1_STATS if kind == 'distillation' else [])
    end = [*(TEACHER_END if kind == 'teacher' else GAN_END), 'Progress/nonfinite_steps', 'timestamp']
    assert list(lines[0]) == [*first, *PROGRESS, *end]
    assert set(lines[-1]) == {*last, *PROGRESS, *end}
    assert [line['Progress/kimg']['mean'] for line in lines] == pytest.approx(
        [0.008, 0.024, 0.040, 0.056, 0.064]
    )
    assert [line['Progress/tick']['mean'] for line in lines] == [0, 1, 2, 3, 4]
    for line in lines:
        assert all(
            set(line[name]) == {'num', 'mean', 'std'} and line[name]['mean'] is not None for name in first
        )
    pixels = BATCH * 3 * 8 * 8
    if kind == 'teacher':
        assert [line['Loss/loss']['num'] for line in lines] == [
            pixels,
            2 * pixels,
            2 * pixels,
            2 * pixels,
            pixels,
        ]
    else:
        # R1 in iterations 3 and 6 (from 0), that is in the ticks that end with 5 and 7.
        assert [line['Loss/r1_penalty']['num'] if 'Loss/r1_penalty' in line else 0 for line in lines] == [
            0,
            0,
            8,
            8,
            8,
        ]


def test_missing_and_infinite_statistics_become_null(tmp_path):
    training_stats.report('nothing', [])
    training_stats.report('infinite', torch.tensor([float('inf'), 1.0]))
    training_stats.report('nan', float('nan'))
    collector = training_stats.Collector()
    training_stats.report('infinite', torch.tensor([float('inf'), 1.0]))
    training_stats.report('nan', float('nan'))
    collector.update()
    write_stats(str(tmp_path), collector, rank=1)
    assert not os.listdir(tmp_path)
    write_stats(str(tmp_path), collector, rank=0)
    (line,) = tiny_runs.read_stats(tmp_path)
    assert line['nothing'] == dict(num=0, mean=None, std=None)
    assert line['infinite']['mean'] is None and line['nan']['mean'] is None


def test_snapshot_loads_as_the_network_of_the_run(unbroken):
    kind, run, _run_dir, path = unbroken
    net, info = load_network(path)
    assert type(net) is type(run.ema.net) and info.class_name == (
        'EDMPrecond' if kind == 'teacher' else 'GDDPrecond'
    )
    assert not tiny_runs.differences(net.state_dict(), run.ema.net.state_dict())
    x, sigma, labels = torch.randn(2, 3, 8, 8), torch.tensor([0.5, 3.0]), torch.eye(3)[:2]
    assert torch.allclose(net(x, sigma, labels), run.ema.net(x, sigma, labels), atol=1e-6)
    assert info.dataset_kwargs['path'] == 'data.zip' and info.metadata['nimg'] == 64
    assert ('net' in info.entries) == (kind == 'distillation')
    if kind == 'distillation':
        raw, _info = load_network(path, key='net')
        assert not tiny_runs.differences(raw.state_dict(), run.task.G.state_dict())
        assert tiny_runs.differences(raw.state_dict(), net.state_dict())


def test_grid_is_a_picture_of_the_average(unbroken):
    kind, run, run_dir, _path = unbroken
    pixels = np.asarray(PIL.Image.open(f'{run_dir}/fakes-000000.png'))
    assert pixels.shape == (2 * 8, 3 * 8, 3)
    # Image 4 of the grid: row 1, column 1, seed 4, class 1.
    latents = torch.randn([1, 3, 8, 8], generator=torch.Generator().manual_seed(4))
    if kind == 'distillation':
        image = run.ema.net(latents.double() * 80, torch.tensor([80.0]), torch.eye(3)[1:2])
        expected = (image * 127.5 + 128).clip(0, 255).to(torch.uint8)[0].permute(1, 2, 0).numpy()
        assert np.abs(pixels[8:16, 8:16].astype(int) - expected).max() <= 1


# ------------------------------------------------------------------------------------------------
# Resume.


def training_part(run):
    """State of a run without its ticks."""
    return {
        key: value for key, value in run.state_dict().items() if key in ('nimg', 'iteration', 'task', 'ema')
    }


def test_interrupted_run_goes_on_bit_for_bit(unbroken, material, tmp_path):
    """From the state of iteration 3 to the end: states, ticks and statistics equal those of the unbroken
    run."""
    kind, _run, run_dir, _path = unbroken
    shutil.copy(f'{run_dir}/training-state-000024.pt', tmp_path)
    config = config_of(kind, material, 8 * BATCH, f'--resume={tmp_path}/training-state-000024.pt')
    torch.manual_seed(99)  # a new process has another random state
    train_to_the_end(config, tmp_path)
    for name in ('training-state-000040.pt', 'training-state-000064.pt'):
        states = [training_state.load_state(f'{folder}/{name}') for folder in (run_dir, str(tmp_path))]
        assert states[0]['nimg'] == int(name[15:21]) and not tiny_runs.differences(
            *map(tiny_runs.lasting, states)
        )
    expected, found = tiny_runs.read_stats(run_dir)[2:], tiny_runs.read_stats(tmp_path)
    for a, b in zip(expected, found, strict=True):
        assert a.keys() == b.keys()
        names = [name for name in a if name.startswith(('Loss/', 'Grad/', 'Progress/'))]
        assert {name: a[name] for name in names} == {name: b[name] for name in names}


def test_states_by_the_clock_lie_anywhere_in_a_tick(unbroken, material, tmp_path):
    """With a state after every iteration, go on from the middle of a tick: the line of that tick covers both
    parts."""
    kind, _run, run_dir, _path = unbroken
    train_to_the_end(config_of(kind, material, 8 * BATCH, '--dump=1000', '--dump-min=1e-9'), tmp_path)
    states = training_state.list_states(str(tmp_path))
    assert [int(path[-9:-3]) for path in states] == [8, 16, 24, 32, 40, 48, 56, 64]
    training_stats._counters.clear()
    train_to_the_end(config_of(kind, material, 8 * BATCH, f'--resume={states[3]}'), tmp_path)
    ends = [
        training_state.load_state(f'{folder}/training-state-000064.pt') for folder in (run_dir, str(tmp_path))
    ]
    assert not tiny_runs.differences(*map(tiny_runs.lasting, ends))
    for a, b in zip(tiny_runs.read_stats(run_dir), tiny_runs.read_stats(tmp_path), strict=True):
        names = [name for name in a if name.startswith(('Loss/', 'Grad/', 'Progress/'))]
        assert a.keys() == b.keys() and {name: a[name] for name in names} == {name: b[name] for name in names}


def test_finished_run_can_be_prolonged(unbroken, material, tmp_path):
    """k iterations, then a second command up to 2k: equal to 2k at once. Ticks end elsewhere, so their number
    differs."""
    kind, run, _run_dir, _path = unbroken
    train_to_the_end(config_of(kind, material, 4 * BATCH), tmp_path)
    state = f'{tmp_path}/training-state-000032.pt'
    resumed, path = train_to_the_end(config_of(kind, material, 8 * BATCH, f'--resume={state}'), tmp_path)
    assert resumed.nimg == 64 and resumed.iteration == 8 and path == f'{tmp_path}/network-snapshot-000000.pkl'
    assert not tiny_runs.differences(training_part(run), training_part(resumed))
    assert len(tiny_runs.read_stats(tmp_path)) == 3 + 2  # the log goes on in the same folder


def test_a_run_without_its_state_is_rejected(unbroken, material, tmp_path):
    """The comparison above must notice lost optimizer moments: resume with them zeroed, two iterations on."""
    kind, run, run_dir, _path = unbroken
    state = training_state.load_state(f'{run_dir}/training-state-000056.pt')
    for name in ('optimizer', 'd_optimizer'):
        for slots in state['task'].get(name, {}).get('state', {}).values():
            slots['exp_avg_sq'].zero_()
    path = f'{tmp_path}/training-state-000056.pt'
    training_state.save_state(path, state)
    resumed, _path = train_to_the_end(config_of(kind, material, 8 * BATCH, f'--resume={path}'), tmp_path)
    assert tiny_runs.differences(run.state_dict()['task'], resumed.state_dict()['task'])


def test_run_that_is_complete_already_changes_nothing(unbroken, material, tmp_path, capsys):
    kind, run, run_dir, _path = unbroken
    state = f'{tmp_path}/training-state-000064.pt'
    shutil.copy(f'{run_dir}/training-state-000064.pt', state)
    again, path = train_to_the_end(config_of(kind, material, 8 * BATCH, f'--resume={state}'), tmp_path)
    assert path is None and not tiny_runs.differences(training_part(run), training_part(again))
    assert sorted(os.listdir(tmp_path)) == ['log.txt', 'training-state-000064.pt', 'training_options.json']
    assert 'Nothing to do: 0.064 kimg are done; raise --duration to go on' in capsys.readouterr().out


# Options, and what the message says of them.
MISFITS = {
    'teacher': [
        (('--batch=4',), '--batch=8, this run has --batch=4; give the options of the interrupted run'),
        (('--cond=0', '--label-dropout=0'), '--cond=True, this run has --cond=False .and 1 more.; give'),
        (('--cbase=16',), '--cbase=8, this run has --cbase=16'),
        (('--max-size=10',), 'images of --data=20, this run has 10'),
        (('--lr=0.003',), '--lr=0.01, this run has --lr=0.003'),
        (('--attn-res=8',), '--attn-res=4, this run has --attn-res=8'),
        (('--seed=4',), '--seed=3, this run has --seed=4'),
    ],
    'distillation': [
        (('--freeze=0',), '--freeze=1, this run has --freeze=0'),
        (('--dlr=0.0017',), '--dlr=0.0004, this run has'),
        (('--d-channel-max=8',), '--d-channel-max=16, this run has --d-channel-max=8'),
        (('--compat=official',), '--compat=clean, this run has --compat=official'),
        (('--sync-bn=1',), '--sync-bn=False, this run has --sync-bn=True'),
    ],
}


def test_resume_with_other_options_is_one_line(unbroken, material):
    kind, _run, run_dir, _path = unbroken
    state = f'{run_dir}/training-state-000024.pt'
    for args, text in MISFITS[kind]:
        with pytest.raises(training_state.StateError) as caught:
            tiny_runs.make_run(config_of(kind, material, 64, f'--resume={state}', *args))
        message = caught.value.spell(as_option)
        assert '\n' not in message and re.match(f'--resume={state} was written with {text}', message)


def test_documented_options_may_change(unbroken, material):
    kind, _run, run_dir, _path = unbroken
    args = (
        '--tick=7',
        '--snap=3',
        '--dump=4',
        '--dump-min=9',
        '--keep=1',
        '--workers=1',
        '--cache=0',
        '--bench=0',
        '--batch-gpu=4',
        '--grid=3x3',
        '--channels-last=0',
    )
    assert (
        tiny_runs.make_run(
            config_of(kind, material, 640, f'--resume={run_dir}/training-state-000024.pt', *args)
        ).nimg
        == 24
    )


def test_number_of_processes_may_change_with_a_line(unbroken, material, tmp_path, capsys):
    kind, _run, run_dir, _path = unbroken
    state = training_state.load_state(f'{run_dir}/training-state-000024.pt')
    state['run']['processes'] = 2
    path = f'{tmp_path}/training-state-000024.pt'
    training_state.save_state(path, state)
    tiny_runs.make_run(config_of(kind, material, 64, f'--resume={path}'))
    assert 'Processes: 1, before 2; the same data and noise' in capsys.readouterr().out


def test_state_that_does_not_fit_the_networks_is_one_line(unbroken, material, tmp_path):
    """Options alike, contents not: as if the code had changed in between."""
    kind, _run, run_dir, _path = unbroken
    state = training_state.load_state(f'{run_dir}/training-state-000024.pt')
    averages = state['ema']['ema']
    del averages[next(iter(averages))]
    path = f'{tmp_path}/training-state-000024.pt'
    training_state.save_state(path, state)
    with pytest.raises(
        training_state.StateError, match='does not fit the networks of this run .*Missing key'
    ) as caught:
        tiny_runs.make_run(config_of(kind, material, 64, f'--resume={path}'))
    assert '\n' not in str(caught.value)


# ------------------------------------------------------------------------------------------------
# Ticks, snapshots, retention, data.


def test_schedule_of_snapshots_and_states(material, tmp_path, monkeypatch):
    """--snap counts ticks from 0, --dump too but never tick 0; the end gets both. --keep removes older
    states."""
    saved = []
    monkeypatch.setattr(
        'training.run.artifacts.save_all', lambda run_dir, nimg, *_rest: saved.append(nimg) or f'at {nimg}'
    )
    config = config_of('teacher', material, 10 * BATCH, '--snap=2', '--dump=3', '--keep=1')
    written = []
    monkeypatch.setattr(
        training_state,
        'save_state',
        lambda path, state: (written.append((path[-9:-3], state['tick'])), open(path, 'w').close()),
    )
    _run, path = train_to_the_end(config, tmp_path)
    # Ticks 0..5 end after 8, 24, 40, 56, 72 and 80 images.
    assert saved == [8, 40, 72, 80] and path == 'at 80'
    assert written == [('000056', 4), ('000080', 6)]
    assert [name for name in os.listdir(tmp_path) if name.startswith('training-state')] == [
        'training-state-000080.pt'
    ]


def test_position_in_the_data(material):
    """Images arrive in the sampler's order from the position of the run, as float32 in -1..1."""
    run = tiny_runs.make_run(config_of('teacher', material, 64, '--max-size=20'))
    batches = run.batches()
    seen = torch.cat([next(batches)[0] for _ in range(3)])
    assert seen.dtype == torch.float32 and seen.min() >= -1 and seen.max() <= 1
    assert len(run.dataset) == 40  # 20 images and their mirror images
    run.nimg = 2 * BATCH
    assert torch.equal(next(run.batches())[0], seen[2 * BATCH :])
    pixels = {
        tuple(((torch.as_tensor(run.dataset[i][0]).float() / 127.5 - 1).flatten()[:6]).tolist())
        for i in range(40)
    }
    assert {tuple(x.flatten()[:6].tolist()) for x in seen} <= pixels


def test_average_counts_the_images_before_the_iteration(material):
    """First iteration: a copy. Second: half-life 10 * 8 images, of which 8 pass."""
    run = tiny_runs.make_run(config_of('teacher', material, 64, '--ema-warmup=10'))
    weights = []
    for images, labels in run.batches():
        run.train_step(images, labels)
        weights.append(torch.cat([p.detach().flatten() for p in run.task.net.parameters()]))
        average = torch.cat([p.flatten() for p in run.ema.net.parameters()])
        if len(weights) == 2:
            break
        assert torch.equal(average, weights[0])
    assert torch.allclose(average, weights[1].lerp(weights[0], 0.5 ** (8 / 80)), atol=1e-6)
    assert not torch.allclose(average, weights[1].lerp(weights[0], 0.5 ** (8 / 160)), atol=1e-6)


def test_loader_processes_give_the_same_batches(material):
    batches = []
    for workers in (0, 1):
        run = tiny_runs.make_run(config_of('teacher', material, 64, f'--workers={workers}'))
        source = run.batches()
        batches.append([next(source) for _ in range(2)])
        source.close()
    assert not tiny_runs.differences(*batches)


def test_channels_last_is_a_matter_of_memory_only(material):
    losses = []
    for value in (0, 1):
        run = tiny_runs.make_run(
            config_of('teacher', material, 64, f'--channels-last={value}', '--dropout=0')
        )
        images, labels = next(run.batches())
        assert images.is_contiguous(memory_format=torch.channels_last) == bool(value)
        collector = training_stats.Collector('Loss/loss')
        run.train_step(images, labels)
        collector.update()
        losses.append(collector.mean('Loss/loss'))
    assert losses[0] == pytest.approx(losses[1], rel=1e-5)


@pytest.mark.parametrize('kind, named', [('teacher', ''), ('distillation', ' (G 2)')])
def test_skipped_steps_are_said_at_the_next_tick(kind, named, material, tmp_path, capsys):
    """Ticks end after iterations 1, 3 and 5: non-finite steps in iterations 2 and 4, none in the last."""
    run = tiny_runs.make_run(config_of(kind, material, 7 * BATCH))
    original = run.task.guard.step

    def step(name, optimizer, params, *scaling):
        if name in ('', 'G') and run.iteration in (1, 3):
            params[0].grad.fill_(float('nan'))
        return original(name, optimizer, params, *scaling)

    run.task.guard.step = step
    run_training(run, str(tmp_path))
    printed = capsys.readouterr().out.splitlines()
    lines = [line for line in printed if line.startswith(('tick', 'Warning'))]
    assert [line[:10].strip() for line in lines] == [
        'tick 0',
        'tick 1',
        'Warning: 1',
        'tick 2',
        'Warning: 2',
        'tick 3',
    ]
    assert lines[4] == (
        f'Warning: 2 optimizer step(s){named} had non-finite gradients so far and were skipped; '
        'the run stops at 100 (--nan-limit)'
    )
    with open(f'{tmp_path}/log.txt', encoding='utf-8') as file:
        assert lines[4] in file.read().splitlines()


@pytest.mark.skipif(not os.path.exists('/dev/full'), reason='Linux has a device that is always full')
def test_a_full_disk_names_the_file_of_statistics(tmp_path):
    os.symlink('/dev/full', tmp_path / 'stats.jsonl')
    with pytest.raises(OSError) as raised:
        write_stats(str(tmp_path), training_stats.Collector(), rank=0)
    assert raised.value.filename == str(tmp_path / 'stats.jsonl')
