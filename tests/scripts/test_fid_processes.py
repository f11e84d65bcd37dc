# Copyright 2026 The GDD-1S authors.
# SPDX-License-Identifier: Apache-2.0

"""fid.py on 1, 2 and 3 gloo processes: the same numbers."""

import contextlib
import io
import json
import os

import click
import numpy as np
import PIL.Image
import pytest
import torch

import fid
from tests.support import processes
from torch_utils import distributed
from training.networks import GDDPrecond
from training.snapshots.snapshot import save_snapshot


def call(*args):
    """Run one command of fid.py as one of several processes; return what it printed and its error."""
    printed, error = io.StringIO(), None
    with contextlib.redirect_stdout(printed):
        try:
            fid.main(list(args), standalone_mode=False)
        except click.ClickException as problem:
            error = f'Error: {problem.message}'
        except SystemExit:
            error = 'quiet'
    return printed.getvalue(), error


def all_commands(folder, dest):
    """Run every kind of command and write what comes of it to files in `dest`."""
    detector, common = '--detector=mnist-classifier', ['--batch=9', '--workers=0']
    outputs = [
        call('ref', f'--data={folder}/many', f'--dest={dest}/ref.npz', detector, '--features=20', *common)
    ]
    outputs.append(
        call('ref', f'--data={folder}/few', f'--dest={dest}/few.npz', detector, *common)
    )  # 2 images: less than processes
    outputs.append(
        call(
            'calc',
            f'--images={folder}/many',
            f'--ref={dest}/ref.npz',
            '--num=33',
            '--metrics=fid,is,kid,pr',
            f'--json={dest}/calc.json',
            *common,
        )
    )
    outputs.append(
        call(
            'gen',
            f'--network={folder}/net.pkl',
            f'--ref={dest}/ref.npz',
            '--seeds=0-13',
            '--batch=3',
            '--metrics=fid,dc',
            f'--json={dest}/gen.json',
        )
    )
    outputs.append(
        call(
            'calc',
            f'--images={folder}/broken',
            f'--ref={dest}/ref.npz',
            '--num=30',
            '--batch=2',
            '--workers=0',
        )
    )
    return outputs


def script(folder):
    """Run all commands as one of three processes, then as one of two."""
    rank = int(os.environ['RANK'])
    distributed.destroy = lambda: None  # one process group for all commands
    for count in (3, 2):
        dest = os.path.join(folder, f'processes{count}')
        if rank < count:
            torch.distributed.init_process_group(
                'gloo', init_method=f'file://{dest}/store', rank=rank, world_size=count
            )
            outputs = all_commands(folder, dest)
            with open(os.path.join(dest, f'rank{rank}.json'), 'w', encoding='utf-8') as f:
                json.dump(outputs, f)
            torch.distributed.destroy_process_group()


@pytest.fixture(scope='module')
def folder(tmp_path_factory):
    """Images, one of them unusable in a folder of its own, and a network."""
    folder = tmp_path_factory.mktemp('processes')
    images = (
        np.random.RandomState(0)
        .randint(0, 256, [40, 8, 8])
        .astype(np.uint8)
        .repeat(4, axis=1)
        .repeat(4, axis=2)
    )
    for name, chosen in (('many', images), ('few', images[:2]), ('broken', images[:30])):
        (folder / name).mkdir()
        for i, image in enumerate(chosen):
            PIL.Image.fromarray(image[:16] if (name, i) == ('broken', 7) else image).save(
                folder / name / f'{i:02d}.png'
            )
    torch.manual_seed(0)
    net = GDDPrecond(
        img_resolution=32,
        img_channels=1,
        label_dim=10,
        model_type='SongUNet',
        model_channels=8,
        channel_mult=[1],
        num_blocks=1,
        attn_resolutions=[],
    ).eval()
    save_snapshot(folder / 'net.pkl', ema=net)
    return folder


@pytest.fixture(scope='module')
def several(folder):
    """Folders with the results of 2 and 3 processes."""
    for count in (2, 3):
        (folder / f'processes{count}').mkdir()
    ended = processes.run_group(script, [str(folder)], folder, 3)
    assert [process.returncode for process in ended] == [0, 0, 0], ended
    return {count: folder / f'processes{count}' for count in (2, 3)}


def outputs_of(several, count):
    return [json.loads((several[count] / f'rank{rank}.json').read_text()) for rank in range(count)]


@pytest.fixture(scope='module')
def one(folder):
    """The same commands in this process, on one thread like the others."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    dest = folder / 'processes1'
    dest.mkdir()
    outputs = all_commands(folder, dest)
    torch.set_num_threads(threads)
    return dest, outputs


def numbers(path):
    return {result['metric']: result['value'] for result in json.loads(path.read_text())['results']}


@pytest.mark.parametrize('count', [2, 3])
def test_processes_give_the_same_numbers(one, several, count):
    dest_one, outputs_one = one
    dest, outputs = several[count], outputs_of(several, count)
    for name in ('ref.npz', 'few.npz'):
        with np.load(dest_one / name) as a, np.load(dest / name) as b:
            assert a.files == b.files
            for key in a.files:
                if a[key].dtype == np.float64:
                    assert np.abs(a[key] - b[key]).max() <= 1e-10 * max(1, np.abs(a[key]).max()), key
                else:
                    assert np.array_equal(a[key], b[key]), key  # the features themselves do not differ at all
    for name in ('calc.json', 'gen.json'):
        a, b = numbers(dest_one / name), numbers(dest / name)
        assert len(a) > 2 and a == pytest.approx(b, rel=1e-6)
    assert [output for output, _ in outputs[0]][-1] == outputs_one[-1][0]
    for rank in range(1, count):
        assert all(printed == '' for printed, _ in outputs[rank])  # rank 0 alone speaks


def test_bad_image_is_reported_once(folder, one, several):
    """Image 7 belongs to the second process; the first one reports it, and no process hangs."""
    _, [*_fine, (_, error)] = one
    assert error.startswith(f'Error: file 07.png in --images={folder}/broken is 32x16 pixels')
    for count in (2, 3):
        assert [outputs[-1][1] for outputs in outputs_of(several, count)] == [error] + ['quiet'] * (count - 1)
