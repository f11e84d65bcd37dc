# Copyright 2026 The GDD-1S authors.
# SPDX-License-Identifier: Apache-2.0
"""The image generator from the command line, one process: reproducibility, files, options, memory and errors.

Several processes are the business of test_generate_processes.py.
"""

import json
import os
import signal
import tracemalloc

import numpy as np
import pytest
import torch
from click.testing import CliRunner

import generate
from dnnlib.files import claim
from tests.golden import fill
from tests.support.generated_images import TINY, read
from training import networks
from training.images import output
from training.snapshots.snapshot import save_snapshot


@pytest.fixture(scope='session')
def snapshots(tmp_path_factory):
    """Paths of snapshots: name -> file."""
    folder = tmp_path_factory.mktemp('snapshots')
    nets = {
        'gdd': fill(networks.GDDPrecond(label_dim=4, **TINY)),
        'edm': fill(networks.EDMPrecond(**TINY)),
        'grey': fill(networks.GDDPrecond(**dict(TINY, img_channels=1))),
        'other': fill(networks.GDDPrecond(label_dim=4, **TINY), 'other/'),
        'nan': fill(networks.GDDPrecond(**TINY)),
    }
    nets['nan'].model.dec['8x8_aux_conv'].bias.data.fill_(float('nan'))
    for name, net in nets.items():
        save_snapshot(
            str(folder / f'{name}.pkl'),
            ema=net,
            net=nets['other'] if name == 'gdd' else None,
            extra={'ema-0.05': nets['other']} if name == 'gdd' else None,
            metadata={'num_steps': 2, 'middle_sigma': 0.5} if name == 'grey' else None,
        )
    return {name: str(folder / f'{name}.pkl') for name in nets}


def invoke(snapshot, outdir, *options):
    return CliRunner().invoke(
        generate.cmdline, ['--network', snapshot, '--outdir', str(outdir), '--device', 'cpu', *options]
    )


def run(snapshot, outdir, *options):
    result = invoke(snapshot, outdir, *options)
    assert result.exit_code == 0, result.output
    return result.output


def assert_same_images(a, b):
    # The random numbers are the same; kernels may round differently at another batch size, which can move a
    # value over the boundary between two levels.
    difference = np.abs(a.astype(int) - b.astype(int))
    assert difference.max() <= 1 and (difference > 0).mean() < 2e-3


def test_files_of_a_conditional_network(snapshots, tmp_path):
    output = run(
        snapshots['gdd'], tmp_path / 'out', '--seeds', '3,0-1,3', '--grid', str(tmp_path / 'grid.png')
    )
    assert '4/4 images' in output
    names = {path.name for path in (tmp_path / 'out').iterdir()}
    assert names == {
        '000000.png',
        '000001.png',
        '000003.png',
        'image_pack.npz',
        'dataset.json',
        'generation.json',
    }
    pack = np.load(tmp_path / 'out' / 'image_pack.npz')
    assert (
        pack.files == ['arr_0', 'arr_1']
        and pack['arr_0'].shape == (4, 8, 8, 3)
        and pack['arr_1'].dtype == np.int64
    )
    for i, seed in enumerate([3, 0, 1, 3]):  # The order is that of the seed list, not of the numbers.
        assert np.array_equal(pack['arr_0'][i], read(tmp_path / 'out', f'{seed:06d}.png'))
    labels = dict(json.loads((tmp_path / 'out' / 'dataset.json').read_text())['labels'])
    assert [labels[f'{seed:06d}.png'] for seed in (3, 0, 1)] == pack['arr_1'][:3].tolist()
    assert len(set(pack['arr_1'].tolist())) > 1
    assert np.array_equal(
        read(tmp_path, 'grid.png')[:8, :16], np.concatenate(list(pack['arr_0'][:2]), axis=1)
    )
    record = json.loads((tmp_path / 'out' / 'generation.json').read_text())
    assert (record['network'], record['sampler'], record['seeds'], record['rng_device']) == (
        'gdd.pkl',
        'one_step',
        '3,0-1,3',
        'cpu',
    )


def test_unconditional_grey_images(snapshots, tmp_path):
    run(snapshots['grey'], tmp_path, '--seeds', '1000', '--subdirs')
    assert read(tmp_path, '001000/001000.png').shape == (8, 8)
    assert (
        np.load(tmp_path / 'image_pack.npz').files == ['arr_0'] and not (tmp_path / 'dataset.json').exists()
    )
    run(
        snapshots['grey'],
        tmp_path / 'b',
        '--seeds',
        '0-4',
        '--batch=2',
        '--no-pack',
        '--grid',
        str(tmp_path / 'grid.png'),
    )
    assert not (tmp_path / 'b' / 'image_pack.npz').exists()
    grid = read(tmp_path, 'grid.png')
    assert grid.shape == (16, 24) and np.array_equal(grid[8:, 8:16], read(tmp_path / 'b', '000004.png'))


@pytest.mark.parametrize('options', [[], ['--sampler=edm', '--steps=3', '--S_churn=10']])
def test_batch_size_does_not_matter(snapshots, tmp_path, options):
    for batch in (1, 3, 64):
        run(snapshots['gdd'], tmp_path / str(batch), '--seeds=0-6', f'--batch={batch}', *options)
    packs = [np.load(tmp_path / str(batch) / 'image_pack.npz') for batch in (1, 3, 64)]
    for pack in packs[1:]:
        assert np.array_equal(pack['arr_1'], packs[0]['arr_1'])
        assert_same_images(pack['arr_0'], packs[0]['arr_0'])


def test_averaged_and_raw_weights_differ(snapshots, tmp_path):
    run(snapshots['gdd'], tmp_path / 'ema', '--seeds=0')
    run(snapshots['gdd'], tmp_path / 'net', '--seeds=0', '--ema=False')
    assert not np.array_equal(read(tmp_path / 'ema'), read(tmp_path / 'net'))


def test_one_class(snapshots, tmp_path):
    run(snapshots['gdd'], tmp_path, '--seeds=0-3', '--class=2')
    assert np.load(tmp_path / 'image_pack.npz')['arr_1'].tolist() == [2, 2, 2, 2]


# ------------------------------------------------------------------------------------------------
# Every option has an effect.

# Option -> (snapshot, setting in which it has a meaning, option with a value that changes image 0).
# A new option needs a line here, or one in test_list_of_options_is_deliberate.
FEW = ['--steps=4']
CHURN = [*FEW, '--S_churn=30']
EFFECTS = {
    'network': ('gdd', [], '--network=OTHER'),
    'ema': ('gdd', [], '--ema=False'),
    'key': ('gdd', [], '--key=ema-0.05'),
    'class_idx': ('gdd', [], '--class=3'),
    'sampler': [
        ('gdd', [], '--sampler=multi_step'),
        ('gdd', [], '--sampler=edm'),
        ('edm', FEW, '--sampler=multi_step'),
    ],
    'steps': [('edm', [], '--steps=3'), ('gdd', ['--sampler=multi_step'], '--steps=4')],
    'sigma_min': [
        ('edm', FEW, '--sigma_min=5'),
        ('gdd', ['--sampler=multi_step', '--steps=3'], '--sigma_min=10'),
    ],
    'sigma_max': [('edm', FEW, '--sigma_max=3'), ('gdd', ['--sampler=one_step'], '--sigma_max=3')],
    'rho': ('edm', FEW, '--rho=1'),
    'S_churn': ('edm', FEW, '--S_churn=30'),
    'S_min': ('edm', CHURN, '--S_min=1'),
    'S_max': ('edm', CHURN, '--S_max=1'),
    'S_noise': ('edm', CHURN, '--S_noise=1.5'),
    'middle_sigma': [
        ('gdd', ['--sampler=multi_step'], '--middle-sigma=20'),
        ('gdd', ['--sampler=two_step'], '--middle=20'),
    ],
    'solver': ('edm', FEW, '--solver=euler'),
    'disc': ('edm', [*FEW, '--solver=heun'], '--disc=ve'),
    'schedule': ('edm', [*FEW, '--solver=heun'], '--schedule=vp'),
    'scaling': ('edm', [*FEW, '--schedule=vp'], '--scaling=vp'),
}


def flat_effects():
    return [
        (name, *effect)
        for name, effects in EFFECTS.items()
        for effect in (effects if isinstance(effects, list) else [effects])
    ]


@pytest.mark.parametrize('name, snapshot, setting, option', flat_effects())
def test_option_changes_the_image(snapshots, tmp_path, name, snapshot, setting, option):
    option = option.replace('OTHER', snapshots['other'])
    run(snapshots[snapshot], tmp_path / 'a', '--seeds=0', '--no-pack', *setting)
    output = run(snapshots[snapshot], tmp_path / 'b', '--seeds=0', '--no-pack', *setting, option)
    assert not np.array_equal(read(tmp_path / 'a'), read(tmp_path / 'b')) and 'Warning' not in output


def test_batch_and_device_and_trust_reach_their_users(snapshots, tmp_path, monkeypatch):
    """What cannot change an image on the CPU: sizes of the batches, device, and the way the file is read."""
    batches, trusted = [], []
    original, load = generate.samplers.sample_batch, generate.load_network

    def record(net, seeds, sampler, class_idx, device, *args, **kwargs):
        batches.append((seeds, device.type))
        return original(net, seeds, sampler, class_idx, device, *args, **kwargs)

    monkeypatch.setattr(generate.samplers, 'sample_batch', record)
    monkeypatch.setattr(
        generate,
        'load_network',
        lambda *args, trust, **kwargs: trusted.append(trust) or load(*args, **kwargs),
    )
    run(snapshots['gdd'], tmp_path / 'a', '--seeds=0-4', '--batch=2', '--device=cpu')
    assert batches == [([0, 1], 'cpu'), ([2, 3], 'cpu'), ([4], 'cpu')]
    run(snapshots['gdd'], tmp_path / 'b', '--seeds=0', '--trust-pickle')
    assert trusted == [False, True]


def test_noise_has_a_device_of_its_own(snapshots, tmp_path, monkeypatch):
    devices = []
    original = generate.samplers.StackedRandomGenerator
    monkeypatch.setattr(
        generate.samplers,
        'StackedRandomGenerator',
        lambda device, seeds: devices.append(str(device)) or original(device, seeds),
    )
    run(snapshots['gdd'], tmp_path, '--seeds=0', '--rng-device=cpu')
    assert (
        devices == ['cpu'] and json.loads((tmp_path / 'generation.json').read_text())['rng_device'] == 'cpu'
    )


def test_list_of_options_is_deliberate():
    """Each option of the command is in EFFECTS, or a test named here shows what it does."""
    shown_by = {
        'outdir': test_files_of_a_conditional_network,
        'seeds': test_files_of_a_conditional_network,
        'grid': test_files_of_a_conditional_network,
        'subdirs': test_unconditional_grey_images,
        'pack': test_unconditional_grey_images,
        'batch': test_batch_and_device_and_trust_reach_their_users,
        'device': test_batch_and_device_and_trust_reach_their_users,
        'trust_pickle': test_batch_and_device_and_trust_reach_their_users,
        'rng_device': test_noise_has_a_device_of_its_own,
        'overwrite': test_another_set_is_refused_or_replaced,
        'skip_existing': test_an_interrupted_call_is_continued,
        'workers': test_processes_write_the_same_files,
    }
    assert {param.name for param in generate.cmdline.params} == set(EFFECTS) | set(shown_by)
    names = {name for param in generate.cmdline.params for name in param.opts}
    edm = {
        '--network',
        '--outdir',
        '--seeds',
        '--subdirs',
        '--class',
        '--batch',
        '--steps',
        '--sigma_min',
        '--sigma_max',
        '--rho',
        '--S_churn',
        '--S_min',
        '--S_max',
        '--S_noise',
        '--solver',
        '--disc',
        '--schedule',
        '--scaling',
    }
    assert names >= edm | {'--ema', '--sampler', '--middle'}  # EDM's script, and what GDD's adds to it
    for param in generate.cmdline.params:
        assert param.help and len(param.help) <= 60, param.name
        assert param.metavar or param.is_flag or hasattr(param.type, 'choices'), param.name


# ------------------------------------------------------------------------------------------------
# A folder holds one set of images.


def contents(folder):
    return {
        path.relative_to(folder).as_posix(): path.read_bytes() for path in folder.rglob('*') if path.is_file()
    }


def test_the_same_settings_may_add_to_a_folder(snapshots, tmp_path):
    run(snapshots['gdd'], tmp_path / 'a', '--seeds=0-3', '--batch=2')
    before = contents(tmp_path / 'a')
    run(snapshots['gdd'], tmp_path / 'a', '--seeds=0-3', '--batch=2')
    assert contents(tmp_path / 'a') == before
    output = run(snapshots['gdd'], tmp_path / 'a', '--seeds=4-5', '--batch=2')
    record = json.loads((tmp_path / 'a' / 'generation.json').read_text())
    assert 'image_pack.npz of an earlier call' in output and record['seeds'] == '0-3,4-5'
    run(snapshots['gdd'], tmp_path / 'b', '--seeds=0-3,4-5', '--batch=2')
    after, whole = contents(tmp_path / 'a'), contents(tmp_path / 'b')
    assert {name for name in after if after[name] != whole[name]} == {
        'image_pack.npz'
    } and after.keys() == whole.keys()


@pytest.mark.parametrize(
    'snapshot, options, text',
    [
        ('other', [], 'another network: gdd.pkl instead of other.pkl'),
        ('gdd', ['--sampler=edm'], 'another sampler: one_step instead of edm'),
        ('gdd', ['--sigma_max=3'], "another arguments: {} instead of {'sigma_max': '3.0'}"),
        ('gdd', ['--ema=False'], 'another key: ema instead of net'),
        ('gdd', ['--class=1'], 'another class_idx'),
        ('gdd', ['--subdirs'], 'another subdirs'),
    ],
)
def test_another_set_is_refused_or_replaced(snapshots, tmp_path, snapshot, options, text):
    run(snapshots['gdd'], tmp_path / 'a', '--seeds=0-2')
    (tmp_path / 'a' / 'notes.txt').write_text('mine')
    before = contents(tmp_path / 'a')
    result = invoke(snapshots[snapshot], tmp_path / 'a', '--seeds=1', *options)
    assert (
        result.exit_code == 1
        and 'holds 4 files such as 000000.png' in result.output
        and text in result.output
    )
    assert '--overwrite' in result.output and contents(tmp_path / 'a') == before
    run(snapshots[snapshot], tmp_path / 'a', '--seeds=1', '--overwrite', *options)
    run(snapshots[snapshot], tmp_path / 'b', '--seeds=1', *options)
    assert contents(tmp_path / 'a') == contents(tmp_path / 'b') | {'notes.txt': b'mine'}


def test_images_of_unknown_origin_are_not_touched(snapshots, tmp_path):
    (tmp_path / '012000').mkdir()
    (tmp_path / '012000' / '012345.png').write_text('from elsewhere')
    result = invoke(snapshots['gdd'], tmp_path, '--seeds=0')
    assert (
        result.exit_code == 1 and 'holds 1 files such as 012000/012345.png of unknown origin' in result.output
    )
    assert contents(tmp_path) == {'012000/012345.png': b'from elsewhere'}


def test_an_interrupted_call_is_continued(snapshots, tmp_path, monkeypatch):
    run(snapshots['gdd'], tmp_path / 'whole', '--seeds=0-6,2', '--batch=2')
    calls, original = [], generate.samplers.sample_batch

    def interrupted(net, seeds, *args, **kwargs):
        if len(calls) == 2:
            raise KeyboardInterrupt
        calls.append(seeds)
        return original(net, seeds, *args, **kwargs)

    monkeypatch.setattr(generate.samplers, 'sample_batch', interrupted)
    assert invoke(snapshots['gdd'], tmp_path / 'a', '--seeds=0-6,2', '--batch=2').exit_code == 1
    assert sorted(contents(tmp_path / 'a')) == [
        '000000.png',
        '000001.png',
        '000002.png',
        '000003.png',
        'generation.json',
    ]
    (tmp_path / 'a' / '000003.png').write_bytes(b'damaged')
    calls.clear()
    monkeypatch.setattr(
        generate.samplers,
        'sample_batch',
        lambda net, seeds, *args, **kwargs: calls.append(seeds) or original(net, seeds, *args, **kwargs),
    )
    run(snapshots['gdd'], tmp_path / 'a', '--seeds=0-6,2', '--batch=2', '--skip-existing')
    assert calls == [[2, 3], [4, 5], [6, 2]] and contents(tmp_path / 'a') == contents(tmp_path / 'whole')
    result = invoke(snapshots['gdd'], tmp_path / 'a', '--seeds=0', '--skip-existing', '--sampler=edm')
    assert (
        result.exit_code == 1 and 'another sampler' in result.output
    )  # Images of another sampler are no replacement.


@pytest.mark.parametrize('workers', [0, 1])
def test_memory_does_not_grow_with_the_number_of_images(workers, tmp_path, monkeypatch):
    """The peak of 16 and of 128 batches is the same, up to class and name; keeping images would show."""
    monkeypatch.setattr(generate, 'IMAGES_PER_WRITER', 1)
    size = 64 * 64 * 3
    monkeypatch.setattr(
        generate.samplers,
        'sample_batch',
        lambda net, seeds, *args, **kwargs: (
            torch.zeros([len(seeds), 3, 64, 64]),
            torch.zeros(len(seeds), dtype=torch.int64),
        ),
    )
    net = networks.GDDPrecond(**dict(TINY, img_resolution=64), label_dim=4)
    info = generate.EasyDict(sha256='', class_name='', metadata={})
    monkeypatch.setattr(generate, 'load_everywhere', lambda opts, device: (net, info))
    monkeypatch.setattr(output, 'save_png', lambda path, pixels: None)

    def peak(count):
        tracemalloc.start()
        run(
            'none',
            tmp_path / str(count),
            f'--seeds=1-{count}',
            '--batch=4',
            f'--workers={workers}',
            '--grid',
            str(tmp_path / 'grid.png'),
        )
        found = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
        return found

    monkeypatch.setattr(generate, 'MAX_GRID_IMAGES', 4)
    peak(4)  # Imports and caches.
    few, many = peak(64), peak(512)
    assert (tmp_path / '512' / 'image_pack.npz').stat().st_size > 512 * size
    assert many - few < 448 * size / 20
    monkeypatch.setattr(
        generate, 'MAX_GRID_IMAGES', 512
    )  # A grid of all images does keep them: the test sees it.
    assert peak(512) - few > 448 * size / 2


# ------------------------------------------------------------------------------------------------
# Errors.


@pytest.mark.parametrize(
    'snapshot, options, text',
    [
        ('grey', ['--class=0'], '--class=0: the network is unconditional'),
        ('gdd', ['--class=4'], 'choose 0 to 3'),
        ('gdd', ['--seeds=5-3'], 'write 3-5'),
        ('gdd', ['--seeds='], 'neither a number nor a range'),
        ('edm', ['--steps=1'], '--steps=1: the edm sampler needs at least 2'),
        ('edm', ['--sigma_min=100'], 'sigma_min=100'),
        ('edm', ['--rho=nan'], '--rho=nan'),
        ('edm', ['--ema=False'], "no entry 'net'"),
        ('edm', ['--key=ema-0.05'], "no entry 'ema-0.05'"),
        (
            'gdd',
            ['--key=augment_pipe'],
            '--key=augment_pipe names no network of a snapshot; use ema, net, or',
        ),
        ('gdd', ['--key=net', '--ema=1'], '--ema=True does not go with --key=net; leave --ema out'),
        ('gdd', ['--key=ema-0.05', '--ema=0'], '--ema=False does not go with --key=ema-0.05'),
        ('gdd', ['--sampler=two_step', '--steps=3'], '--sampler=multi_step'),
        ('gdd', ['--sampler=multi_step', '--middle-sigma=80'], '--middle-sigma=80'),
        ('gdd', ['--skip-existing', '--overwrite'], 'leave one out'),
        ('gdd', ['--grid=grid.jpg'], 'must end in .png'),
        ('gdd', ['--grid=no/such/folder/grid.png'], 'existing folder'),
        ('gdd', ['--rng-device=cuda'], '--rng-device=cpu'),
        ('gdd', ['--sigma_max=0'], "'--sigma_max'"),
        ('missing', [], 'there is no such file'),
    ],
)
def test_user_errors_are_one_line_and_write_nothing(snapshots, tmp_path, snapshot, options, text):
    result = invoke(
        snapshots.get(snapshot, str(tmp_path / 'missing.pkl')), tmp_path / 'out', '--seeds=0', *options
    )
    assert result.exit_code != 0 and text in result.output
    assert 'Traceback' not in result.output and isinstance(result.exception, SystemExit)
    assert not (tmp_path / 'out').exists()


def test_output_folder_that_cannot_be_written(snapshots, tmp_path):
    (tmp_path / 'file').write_text('mine')
    result = invoke(snapshots['gdd'], tmp_path / 'file', '--seeds=0')
    assert result.exit_code == 1 and '--outdir=' in result.output and 'cannot be written' in result.output
    assert (tmp_path / 'file').read_text() == 'mine'


def test_full_disk_is_one_line(snapshots, tmp_path, monkeypatch):
    def fail(path, pixels):
        raise OSError(28, 'No space left on device', path)

    monkeypatch.setattr(output, 'save_png', fail)
    result = invoke(snapshots['gdd'], tmp_path, '--seeds=0')
    assert (
        result.exit_code == 1
        and 'No space left' in result.output
        and isinstance(result.exception, SystemExit)
    )
    assert [path.name for path in tmp_path.iterdir()] == ['generation.json']


@pytest.mark.parametrize(
    'problem',
    [
        MemoryError(),
        RuntimeError("DefaultCPUAllocator: can't allocate memory: you tried ..."),
        torch.cuda.OutOfMemoryError('CUDA out of memory'),
    ],
)
def test_too_large_batches_are_one_line(snapshots, tmp_path, monkeypatch, problem):
    def fail(*args, **kwargs):
        raise problem

    monkeypatch.setattr(generate.samplers, 'sample_batch', fail)
    result = invoke(snapshots['gdd'], tmp_path, '--seeds=0')
    assert result.exit_code == 1 and 'Error: --batch: the batch does not fit into memory' in result.output
    problem = RuntimeError('a bug of ours')
    assert invoke(snapshots['gdd'], tmp_path, '--seeds=0').exception is problem  # It keeps its traceback.


def test_non_finite_images_name_the_seed(snapshots, tmp_path):
    result = invoke(snapshots['nan'], tmp_path, '--seeds=7')
    assert result.exit_code == 1 and 'seed 7 is not finite' in result.output
    assert not (tmp_path / '000007.png').exists() and not (tmp_path / 'image_pack.npz').exists()


# ------------------------------------------------------------------------------------------------
# Processes that write the PNG files.


@pytest.mark.parametrize('workers, cores, neighbours, count, expected', [
    (None, 16, 1, 50000, 8), (None, 16, 4, 50000, 4), (None, 2, 1, 50000, 2), (None, 2, 2, 50000, 0),
    (None, 16, 1, 600, 2), (None, 16, 1, 255, 0), (0, 16, 1, 50000, 0), (3, 1, 1, 50000, 3)])  # fmt: skip
def test_number_of_processes_that_write(monkeypatch, workers, cores, neighbours, count, expected):
    monkeypatch.setattr(generate, 'available_cores', lambda: cores)
    monkeypatch.setenv('LOCAL_WORLD_SIZE', str(neighbours))
    assert generate.choose_writers(workers, count) == expected


@pytest.fixture
def few_images_per_writer(monkeypatch):
    monkeypatch.setattr(generate, 'IMAGES_PER_WRITER', 1)
    monkeypatch.setattr(generate, 'WRITTEN_TOGETHER', 2)


def test_processes_write_the_same_files(snapshots, tmp_path, few_images_per_writer, monkeypatch):
    options = ['--seeds=3,0-6,2', '--batch=3', '--subdirs']
    run(snapshots['gdd'], tmp_path / 'here', *options, '--workers=0')
    monkeypatch.setattr(output, 'save_png', png_by_pid(output.save_png, tmp_path))
    run(snapshots['gdd'], tmp_path / 'elsewhere', *options, '--workers=2')
    assert contents(tmp_path / 'elsewhere') == contents(tmp_path / 'here')
    pids = {path.name for path in tmp_path.glob('pid-*')}
    assert 1 <= len(pids) <= 2 and f'pid-{os.getpid()}' not in pids


def png_by_pid(save_png, folder):
    """A function that also leaves a trace of the process that calls it."""

    def save(path, pixels):
        (folder / f'pid-{os.getpid()}').touch()
        save_png(path, pixels)

    return save


@pytest.mark.parametrize('reason, text', [
    ('full', 'No space left on device; free some space'),
    ('killed', '--workers=2 processes was ended from')])  # fmt: skip
def test_a_writer_that_fails_is_one_line(
    snapshots, tmp_path, few_images_per_writer, monkeypatch, reason, text
):
    def fail(path, pixels):
        if reason == 'killed':
            os.kill(os.getpid(), signal.SIGKILL)
        raise OSError(28, 'No space left on device', path)

    monkeypatch.setattr(output, 'save_png', fail)
    result = invoke(snapshots['gdd'], tmp_path, '--seeds=0-9', '--batch=2', '--workers=2')
    assert result.exit_code == 1 and isinstance(result.exception, SystemExit)
    errors = [line for line in result.output.splitlines() if 'Error' in line]
    assert len(errors) == 1 and text in errors[0], result.output
    assert [path.name for path in tmp_path.iterdir()] == ['generation.json']


def test_an_interrupted_call_leaves_the_finished_batches(
    snapshots, tmp_path, few_images_per_writer, monkeypatch
):
    calls, original = [], generate.samplers.sample_batch

    def interrupted(net, seeds, *args, **kwargs):
        if len(calls) == 3:
            raise KeyboardInterrupt
        calls.append(seeds)
        return original(net, seeds, *args, **kwargs)

    monkeypatch.setattr(generate.samplers, 'sample_batch', interrupted)
    assert invoke(snapshots['gdd'], tmp_path, '--seeds=0-9', '--batch=2', '--workers=2').exit_code == 1
    names = [f'{seed:06d}.png' for seed in range(6)]
    assert sorted(path.name for path in tmp_path.iterdir()) == [*names, 'generation.json']
    assert all(read(tmp_path, name).shape == (8, 8, 3) for name in names)


def test_random_state_of_the_caller_is_left_alone(snapshots, tmp_path):
    torch.manual_seed(5)
    expected = torch.rand(3)
    torch.manual_seed(5)
    run(snapshots['gdd'], tmp_path, '--seeds=0-2')
    assert torch.equal(torch.rand(3), expected)


def test_two_calls_cannot_write_one_folder(snapshots, tmp_path):
    """The labels, the pack and the record of one would be lost."""
    (tmp_path / 'out').mkdir()
    with claim(tmp_path / 'out'):
        result = invoke(snapshots['gdd'], tmp_path / 'out', '--seeds=0')
    assert result.exit_code == 1 and 'out is being written by another process' in result.output
    assert result.output.startswith('Error: --outdir=') and os.listdir(tmp_path / 'out') == []
    assert invoke(snapshots['gdd'], tmp_path / 'out', '--seeds=0').exit_code == 0
