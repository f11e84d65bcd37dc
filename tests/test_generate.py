# Copyright 2026 The GDD-1S authors.
# SPDX-License-Identifier: Apache-2.0
"""The image generator from the command line: reproducibility, files, options and errors."""

import json
import os
import socket
import subprocess
import sys

import numpy as np
import PIL.Image
import pytest
import torch
from click.testing import CliRunner
from golden import fill

import generate
from training import networks
from training.checkpoint import save_snapshot

TINY = dict(img_resolution=8, img_channels=3, model_type='SongUNet', model_channels=8, channel_mult=[1], num_blocks=1,
            attn_resolutions=[], dropout=0)


@pytest.fixture(scope='session')
def snapshots(tmp_path_factory):
    """Paths of snapshots: name -> file."""
    folder = tmp_path_factory.mktemp('snapshots')
    nets = {'gdd': fill(networks.GDDPrecond(label_dim=4, **TINY)), 'edm': fill(networks.EDMPrecond(**TINY)),
            'grey': fill(networks.GDDPrecond(**dict(TINY, img_channels=1))), 'nan': fill(networks.GDDPrecond(**TINY))}
    nets['nan'].model.dec['8x8_aux_conv'].bias.data.fill_(float('nan'))
    other = fill(networks.GDDPrecond(label_dim=4, **TINY), 'other/')
    for name, net in nets.items():
        save_snapshot(str(folder / f'{name}.pkl'), ema=net, net=other if name == 'gdd' else None,
                      metadata={'middle_sigma': 0.5} if name == 'grey' else None)
    return {name: str(folder / f'{name}.pkl') for name in nets}


def invoke(snapshot, outdir, *options):
    return CliRunner().invoke(generate.cmdline, ['--network', snapshot, '--outdir', str(outdir), '--device', 'cpu', *options])


def run(snapshot, outdir, *options):
    result = invoke(snapshot, outdir, *options)
    assert result.exit_code == 0, result.output
    return result.output


def run_processes(snapshot, outdir, *options):
    """Run two processes as torchrun would start them; return (exit code, output) of each."""
    with socket.socket() as free:
        free.bind(('localhost', 0))
        port = free.getsockname()[1]
    command = [sys.executable, generate.__file__, '--network', snapshot, '--outdir', str(outdir), '--device=cpu', *options]
    processes = []
    for rank in ('0', '1'):
        env = dict(os.environ, RANK=rank, LOCAL_RANK=rank, WORLD_SIZE='2', MASTER_ADDR='localhost', MASTER_PORT=str(port))
        processes.append(subprocess.Popen(command, env=env, text=True, stdout=subprocess.PIPE, stderr=subprocess.STDOUT))
    outputs = [process.communicate(timeout=300)[0] for process in processes]
    return [(process.returncode, output) for process, output in zip(processes, outputs)]


def read(outdir, name='000000.png'):
    with PIL.Image.open(outdir / name) as image:
        return np.asarray(image)


def assert_same_images(a, b):
    # The random numbers are the same; kernels may round differently at another batch size, which can move a value
    # over the boundary between two levels.
    difference = np.abs(a.astype(int) - b.astype(int))
    assert difference.max() <= 1 and (difference > 0).mean() < 2e-3


def test_files_of_a_conditional_network(snapshots, tmp_path):
    output = run(snapshots['gdd'], tmp_path / 'out', '--seeds', '3,0-1,3', '--grid', str(tmp_path / 'grid.png'))
    assert '4/4 images' in output
    names = {path.name for path in (tmp_path / 'out').iterdir()}
    assert names == {'000000.png', '000001.png', '000003.png', 'image_pack.npz', 'dataset.json', 'generation.json'}
    pack = np.load(tmp_path / 'out' / 'image_pack.npz')
    assert pack.files == ['arr_0', 'arr_1'] and pack['arr_0'].shape == (4, 8, 8, 3) and pack['arr_1'].dtype == np.int64
    for i, seed in enumerate([3, 0, 1, 3]):         # The order is that of the seed list, not of the numbers.
        assert np.array_equal(pack['arr_0'][i], read(tmp_path / 'out', f'{seed:06d}.png'))
    labels = dict(json.loads((tmp_path / 'out' / 'dataset.json').read_text())['labels'])
    assert [labels[f'{seed:06d}.png'] for seed in (3, 0, 1)] == pack['arr_1'][:3].tolist()
    assert len(set(pack['arr_1'].tolist())) > 1
    assert np.array_equal(read(tmp_path, 'grid.png')[:8, :16], np.concatenate(list(pack['arr_0'][:2]), axis=1))
    record = json.loads((tmp_path / 'out' / 'generation.json').read_text())
    assert (record['network'], record['sampler'], record['seeds'], record['rng_device']) == ('gdd.pkl', 'one_step', '3,0-1,3', 'cpu')


def test_unconditional_grey_images(snapshots, tmp_path):
    run(snapshots['grey'], tmp_path, '--seeds', '1000', '--subdirs')
    assert read(tmp_path, '001000/001000.png').shape == (8, 8)
    assert np.load(tmp_path / 'image_pack.npz').files == ['arr_0'] and not (tmp_path / 'dataset.json').exists()
    run(snapshots['grey'], tmp_path / 'b', '--seeds', '0-4', '--batch=2', '--no-pack', '--grid', str(tmp_path / 'grid.png'))
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


def test_two_processes_make_the_same_images(snapshots, tmp_path):
    # 7 images in batches of 2 on 2 processes: 4 parts of 2, 2, 2 and 1 images.
    done = run_processes(snapshots['gdd'], tmp_path / 'two', '--seeds=5,0-5', '--batch=2', '--grid', str(tmp_path / 'two.png'))
    assert [code for code, _ in done] == [0, 0], done
    assert '7/7 images' in done[0][1] and not done[1][1]        # Rank 0 alone speaks.
    run(snapshots['gdd'], tmp_path / 'one', '--seeds=5,0-5', '--grid', str(tmp_path / 'one.png'))
    one, two = (np.load(tmp_path / name / 'image_pack.npz') for name in ('one', 'two'))
    assert_same_images(one['arr_0'], two['arr_0'])
    assert np.array_equal(one['arr_1'], two['arr_1'])
    assert {p.name for p in (tmp_path / 'one').iterdir()} == {p.name for p in (tmp_path / 'two').iterdir()}
    assert (tmp_path / 'one' / 'dataset.json').read_text() == (tmp_path / 'two' / 'dataset.json').read_text()
    assert_same_images(read(tmp_path, 'one.png'), read(tmp_path, 'two.png'))
    assert np.array_equal(two['arr_0'][1], read(tmp_path / 'two'))


def test_a_failing_process_ends_the_others(snapshots, tmp_path):
    # Rank 1 has no image to make in this round and must not wait for ever.
    done = run_processes(snapshots['nan'], tmp_path / 'out', '--seeds=7', '--batch=1')
    assert [code for code, _ in done] == [1, 1]
    assert 'Error: the image of seed 7 is not finite' in done[0][1] and 'Traceback' not in done[0][1] + done[1][1]
    assert not list((tmp_path / 'out').glob('*.p*')) and not list((tmp_path / 'out').glob('.tmp*'))


@pytest.mark.parametrize('count, world_size, batch', [(1, 2, 4), (7, 2, 2), (64, 1, 64), (5, 4, 1), (10, 3, 2)])
def test_split_is_the_official_one(count, world_size, batch):
    parts = generate.split_positions(count, world_size, batch)
    sizes = [len(part) for part in parts]
    k = ((count - 1) // (batch * world_size) + 1) * world_size
    assert len(parts) == k and sizes == [count // k + (i < count % k) for i in range(k)] and max(sizes) <= batch
    assert np.concatenate(parts).tolist() == list(range(count))


def test_seed_lists():
    assert generate.parse_seeds('1, 5,3-5 ,5') == [1, 5, 3, 4, 5, 5]
    for text in ('', '1,', '5-3', 'a', '-1', '1-2-3', '0-100000000'):
        with pytest.raises(ValueError, match='--seeds='):
            generate.parse_seeds(text)


def test_averaged_and_raw_weights_differ(snapshots, tmp_path):
    run(snapshots['gdd'], tmp_path / 'ema', '--seeds=0')
    run(snapshots['gdd'], tmp_path / 'net', '--seeds=0', '--ema=False')
    assert not np.array_equal(read(tmp_path / 'ema'), read(tmp_path / 'net'))


def test_one_class(snapshots, tmp_path):
    run(snapshots['gdd'], tmp_path, '--seeds=0-3', '--class=2')
    assert np.load(tmp_path / 'image_pack.npz')['arr_1'].tolist() == [2, 2, 2, 2]


# Each option, with a value that changes the image, in the setting where it has a meaning.
EFFECTS = [
    ('gdd', ['--sampler=one_step'], '--sigma_max=3'), ('edm', [], '--steps=3'), ('edm', [], '--sigma_min=5'),
    ('edm', [], '--sigma_max=3'), ('edm', [], '--rho=1'), ('edm', [], '--S_churn=30'), ('edm', ['--S_churn=30'], '--S_min=1'),
    ('edm', ['--S_churn=30'], '--S_max=1'), ('edm', ['--S_churn=30'], '--S_noise=1.5'), ('edm', [], '--solver=euler'),
    ('edm', ['--solver=heun'], '--disc=ve'), ('edm', ['--solver=heun'], '--schedule=vp'),
    ('edm', ['--schedule=vp'], '--scaling=vp'), ('gdd', [], '--sampler=multi_step'), ('gdd', [], '--sampler=edm'),
    ('gdd', ['--sampler=multi_step'], '--steps=4'), ('gdd', ['--sampler=multi_step'], '--middle-sigma=20'),
    ('gdd', ['--sampler=two_step'], '--middle=20'), ('gdd', ['--sampler=multi_step', '--steps=3'], '--sigma_min=10'),
]


@pytest.mark.parametrize('snapshot, setting, option', EFFECTS)
def test_every_sampler_option_changes_the_image(snapshots, tmp_path, snapshot, setting, option):
    steps = ['--steps=4'] if snapshot == 'edm' and '--steps' not in option else []
    run(snapshots[snapshot], tmp_path / 'a', '--seeds=0', '--no-pack', *steps, *setting)
    output = run(snapshots[snapshot], tmp_path / 'b', '--seeds=0', '--no-pack', *steps, *setting, option)
    assert not np.array_equal(read(tmp_path / 'a'), read(tmp_path / 'b')) and 'Warning' not in output


def test_options_without_effect_are_reported(snapshots, tmp_path):
    output = run(snapshots['gdd'], tmp_path, '--seeds=0', '--steps=4', '--S_churn=3')
    assert '--steps=4 has no effect with --sampler=one_step' in output and '--S_churn=3.0 has no effect' in output
    output = run(snapshots['gdd'], tmp_path, '--seeds=0', '--sampler=multi_step', '--steps=3', '--middle-sigma=1')
    assert '--middle-sigma=1.0 has no effect with --sampler=multi_step and 3 steps' in output


def test_default_samplers(snapshots):
    gdd, edm = networks.GDDPrecond(**TINY), networks.EDMPrecond(**TINY)
    assert generate.choose_sampler(None, {}, gdd, {})[:2] == ('one_step', {})
    assert generate.choose_sampler(None, {}, edm, {})[:2] == ('edm', {})
    assert generate.choose_sampler(None, {'solver': 'euler'}, gdd, {})[0] == 'ablation'
    assert generate.choose_sampler('multi_step', {}, gdd, {'middle_sigma': 0.5})[1] == {'num_steps': 2, 'middle_sigma': 0.5}
    assert generate.choose_sampler('two_step', {}, gdd, {})[1] == {'num_steps': 2, 'middle_sigma': 0.8}


@pytest.mark.parametrize('snapshot, options, text', [
    ('grey', ['--class=0'], '--class=0: the network is unconditional'),
    ('gdd', ['--class=4'], 'choose 0 to 3'),
    ('gdd', ['--seeds=5-3'], 'write 3-5'),
    ('gdd', ['--seeds='], 'neither a number nor a range'),
    ('edm', ['--steps=1'], '--steps=1: the edm sampler needs at least 2'),
    ('edm', ['--sigma_min=100'], 'sigma_min=100'),
    ('edm', ['--rho=nan'], '--rho=nan'),
    ('edm', ['--ema=False'], "no entry 'net'"),
    ('gdd', ['--sampler=two_step', '--steps=3'], '--sampler=multi_step'),
    ('gdd', ['--sampler=multi_step', '--middle-sigma=80'], '--middle-sigma=80'),
    ('gdd', ['--grid=grid.jpg'], 'must end in .png'),
    ('gdd', ['--grid=no/such/folder/grid.png'], 'existing folder'),
    ('gdd', ['--rng-device=cuda'], '--rng-device=cpu'),
    ('gdd', ['--sigma_max=0'], "'--sigma_max'"),
    ('missing', [], 'there is no such file'),
])
def test_user_errors_are_one_line_and_write_nothing(snapshots, tmp_path, snapshot, options, text):
    result = invoke(snapshots.get(snapshot, str(tmp_path / 'missing.pkl')), tmp_path / 'out', '--seeds=0', *options)
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

    monkeypatch.setattr(generate, 'save_png', fail)
    result = invoke(snapshots['gdd'], tmp_path, '--seeds=0')
    assert result.exit_code == 1 and 'No space left' in result.output and isinstance(result.exception, SystemExit)
    assert [path.name for path in tmp_path.iterdir()] == ['generation.json']


def test_non_finite_images_name_the_seed(snapshots, tmp_path):
    result = invoke(snapshots['nan'], tmp_path, '--seeds=7')
    assert result.exit_code == 1 and 'seed 7 is not finite' in result.output
    assert not (tmp_path / '000007.png').exists() and not (tmp_path / 'image_pack.npz').exists()


def test_random_state_of_the_caller_is_left_alone(snapshots, tmp_path):
    torch.manual_seed(5)
    expected = torch.rand(3)
    torch.manual_seed(5)
    run(snapshots['gdd'], tmp_path, '--seeds=0-2')
    assert torch.equal(torch.rand(3), expected)


def test_list_of_options_is_deliberate():
    names = sorted(option.opts[0] for option in generate.cmdline.params)
    assert names == sorted([
        '--network', '--outdir', '--seeds', '--class', '--ema', '--sampler', '--steps', '--sigma_min', '--sigma_max', '--rho',
        '--S_churn', '--S_min', '--S_max', '--S_noise', '--middle-sigma', '--solver', '--disc', '--schedule', '--scaling',
        '--batch', '--device', '--rng-device', '--subdirs', '--pack', '--grid'])
