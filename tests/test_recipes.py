# Copyright 2026 The GDD-1S authors.
# SPDX-License-Identifier: Apache-2.0
"""Tests of train.sh: every recipe by its resolved options, against the published tables; nothing here trains or needs data."""

import json
import os
import pathlib
import re
import stat
import subprocess
import sys

import pytest
import torch

from training import networks
from training.checkpoint import load_network

ROOT = pathlib.Path(__file__).resolve().parent.parent
DEMO = ['demo', 'demo-long', 'demo-teacher']
METHODS = ['demo-gdd', 'demo-cd', 'demo-ctm', 'demo-pd', 'demo-rcd', 'demo-two-step']


def run_script(*args, **variables):
    """Run train.sh with the Python of the tests."""
    variables = dict(dict(VENV='none', PYTHON=sys.executable), **variables)
    kept = {key: value for key, value in os.environ.items() if key not in ('NPROC', 'DATA', 'OUTDIR', 'TORCHRUN')}
    return subprocess.run(['sh', str(ROOT / 'train.sh'), *args], capture_output=True, text=True, env=dict(kept, **variables))


@pytest.fixture(scope='module')
def listed():
    """Recommended number of processes by name, in the order of --list."""
    lines = run_script('--list').stdout.splitlines()
    return {line.split()[0]: int(line.split()[1]) for line in lines if line.startswith('  ')}


@pytest.fixture(scope='module')
def resolved(listed):
    """Resolved options of every recipe."""
    return {name: json.loads(run_script(name, '--dry-run').stdout) for name in listed}


def test_list_is_grouped(listed):
    headings = [line for line in run_script('--list').stdout.splitlines() if line and not line.startswith(' ')]
    assert [heading.split(',')[0] for heading in headings] == ['Demo on MNIST', 'Other distillation methods on the demo',
                                                               'EDM teachers'] and headings[0].endswith(':')
    assert list(listed)[:9] == DEMO + METHODS and len(listed) == 9 + len(PUBLISHED)


# ------------------------------------------------------------------------------------------------
# EDM's published configurations: batch, Mimg, lr, EMA half-life in Mimg, dropout, augment, fp16, ls, tick, processes, data.

CIFAR = (512, 200, 1e-3, 0.5, 0.13, 0.12, False, 1, 50, 8, 'cifar10-32x32')
FFHQ = (256, 200, 2e-4, 0.5, 0.05, 0.15, False, 1, 50, 8, 'ffhq-64x64')
AFHQ = (256, 200, 2e-4, 0.5, 0.25, 0.15, False, 1, 50, 8, 'afhqv2-64x64')
IMAGENET = (4096, 2500, 1e-4, 50, 0.10, 0, True, 100, 200, 32, 'imagenet-64x64')
# Then: architecture, classes, resolution, parameters, state-dict entries (of the networks that EDM's code builds).
PUBLISHED = {
    'edm-cifar10-32x32-cond-vp': (*CIFAR, 'ddpmpp', 10, 32, 55_735_299, 427),
    'edm-cifar10-32x32-cond-ve': (*CIFAR, 'ncsnpp', 10, 32, 56_400_643, 434),
    'edm-cifar10-32x32-uncond-vp': (*CIFAR, 'ddpmpp', 0, 32, 55_733_891, 425),
    'edm-cifar10-32x32-uncond-ve': (*CIFAR, 'ncsnpp', 0, 32, 56_397_827, 432),
    'edm-ffhq-64x64-uncond-vp': (*FFHQ, 'ddpmpp', 0, 64, 61_805_571, 553),
    'edm-ffhq-64x64-uncond-ve': (*FFHQ, 'ncsnpp', 0, 64, 62_761_091, 563),
    'edm-afhqv2-64x64-uncond-vp': (*AFHQ, 'ddpmpp', 0, 64, 61_805_571, 553),
    'edm-afhqv2-64x64-uncond-ve': (*AFHQ, 'ncsnpp', 0, 64, 62_761_091, 563),
    'edm-imagenet-64x64-cond-adm': (*IMAGENET, 'adm', 1000, 64, 295_899_267, 553),
}


@pytest.mark.parametrize('name', PUBLISHED)
def test_published_configurations(name, resolved, listed):
    config = resolved[name]
    (batch, duration, lr, ema, dropout, augment, fp16, scaling, tick, processes, data, arch, classes, _resolution,
     _parameters, _entries) = PUBLISHED[name]
    assert (config['loss'], config['precond'], config['arch']) == ('edm', 'edm', arch)
    assert (config['batch_size'], config['total_nimg'], config['batch_gpu']) == (batch, duration * 1_000_000, None)
    assert config['optimizer_kwargs'] == dict(lr=lr, betas=[0.9, 0.999], eps=1e-8)
    assert config['ema_kwargs'] == dict(halflife_nimg=ema * 1_000_000, rampup=0.05, beta=0)
    assert (config['lr_rampup_nimg'], config['lr_rampdown_nimg'], config['loss_scaling']) == (10_000_000, 0, scaling)
    assert config['precision'] == ('fp16' if fp16 else 'fp32') and config['loss_kwargs'] == dict(P_mean=-1.2, P_std=1.2)
    assert config['network_kwargs']['dropout'] == dropout and config['network_kwargs']['use_fp16'] == fp16
    assert config['network_kwargs']['channel_mult'] == {512: [2, 2, 2], 256: [1, 2, 2, 2], 4096: [1, 2, 3, 4]}[batch]
    assert config['network_kwargs'].get('augment_dim', 0) == (9 if augment else 0)
    assert (config['augment_kwargs'] or dict(p=0))['p'] == augment
    dataset = config['dataset_kwargs']
    assert dataset['path'] == f'datasets/{data}.zip' and dataset['use_labels'] == bool(classes) and not dataset['xflip']
    assert (config['tick_nimg'], config['snapshot_ticks'], listed[name]) == (tick * 1000, 50, processes)


@pytest.mark.parametrize('name', PUBLISHED)
def test_published_networks_have_the_published_size(name, resolved):
    classes, resolution, parameters, entries = PUBLISHED[name][-4:]
    with torch.device('meta'):
        net = networks.EDMPrecond(**resolved[name]['network_kwargs'], img_resolution=resolution, img_channels=3, label_dim=classes)
    assert (sum(p.numel() for p in net.parameters()), len(net.state_dict())) == (parameters, entries)


def test_demo_teacher_is_the_training_of_the_committed_teacher(resolved):
    """As far as the file tells: network, images seen, batch."""
    config = resolved['demo-teacher']
    _net, info = load_network(str(ROOT / 'pretrained/edm-mnist-32x32-cond-ve.pkl'))
    assert info.init_kwargs == dict(config['network_kwargs'], img_resolution=32, img_channels=1, label_dim=10)
    assert info.metadata['batch_size'] == config['batch_size'] == 64 and info.metadata['loss'] == config['loss']
    assert 0 <= info.metadata['nimg'] - config['total_nimg'] < 64
    assert config['augment_kwargs'] is None and config['loss_scaling'] == 1 and config['precision'] == 'fp32'


@pytest.mark.parametrize('name', METHODS)
def test_methods_are_compared_on_equal_terms(name, resolved):
    """Same teacher, data, number of images, batch and learning rate; they differ in the method."""
    demo, config = resolved['demo'], resolved[name]
    shared = ('transfer', 'dataset_kwargs', 'batch_size', 'optimizer_kwargs', 'ema_kwargs', 'seed', 'compat', 'precision', 'target')
    assert {key: config[key] for key in shared} == {key: demo[key] for key in shared}
    assert config['total_nimg'] == 12000 and config['snapshot_ticks'] == demo['snapshot_ticks']
    kind = name.split('-')[1]
    if kind in ('gdd', 'two'):
        differing = dict(gdd=['freeze'], two=['sampler_kwargs'])[kind]
        assert [key for key in config if config[key] != demo[key] and key not in ('total_nimg', 'options')] == differing
        assert config['freeze'] == (kind == 'two') and config['sampler_kwargs']['num_steps'] == 1 + (kind == 'two')
    else:
        assert config['instance_kwargs'] == dict(kind=kind, max_steps=dict(cd=16, ctm=8, pd=4, rcd=4)[kind],
                                                 distance='huber')
        assert config['teacher_only'] and config['freeze'] == 0 and config['target'] is None


# ------------------------------------------------------------------------------------------------
# The script itself.

def test_later_options_and_variables_win():
    result = run_script('edm-ffhq-64x64-uncond-ve', '--batch=16', '-n', DATA='my faces.zip')
    config = json.loads(result.stdout)
    assert config['batch_size'] == 16 and config['dataset_kwargs']['path'] == 'my faces.zip' and result.returncode == 0
    config = json.loads(run_script('edm-ffhq-64x64-uncond-ve', '--data=other.zip', '-n', DATA='my.zip').stdout)
    assert config['dataset_kwargs']['path'] == 'other.zip'


@pytest.mark.parametrize('name, how', [
    ('edm-cifar10-32x32-cond-vp', 'python dataset_tool.py --dest=datasets/cifar10-32x32.zip --source=cifar-10-python.tar.gz'),
    ('edm-ffhq-64x64-uncond-vp', '--dest=datasets/ffhq-64x64.zip --source=ffhq/images1024x1024 --resolution=64x64'),
    ('edm-afhqv2-64x64-uncond-ve', 'python dataset_tool.py --dest=datasets/afhqv2-64x64.zip --source=afhqv2 --resolution=64x64'),
    ('edm-imagenet-64x64-cond-adm', '--source=ILSVRC/Data/CLS-LOC/train --transform=center-crop --resolution=64x64'),
    ('demo-teacher', 'the commands in datasets/README.md'),
])
def test_missing_data_is_one_line_that_says_how_to_make_it(name, how):
    result = run_script(name, DATA='no/such.zip', PYTHON='false')
    assert result.returncode == 2 and result.stdout == '' and result.stderr.count('\n') == 1
    assert result.stderr.startswith('Error: no/such.zip is missing; make it with ') and how in result.stderr
    assert result.stderr.endswith(', or set DATA=FILE.zip\n')


def test_unknown_recipe_is_one_line():
    result = run_script('nope')
    assert result.returncode == 2 and result.stdout == ''
    assert re.fullmatch(r"Error: unknown recipe 'nope'; a recipe is one of: demo, .*, edm-imagenet-64x64-cond-adm; "
                        r'try: sh train.sh demo\n', result.stderr)


@pytest.fixture
def stand_in(tmp_path):
    """A program in place of Python that prints its arguments."""
    python = tmp_path / 'python'
    python.write_text('#!/bin/sh\necho "$@"\n')
    python.chmod(python.stat().st_mode | stat.S_IXUSR)
    return str(python)


@pytest.mark.parametrize('variables, launcher, note', [
    (dict(), '--nproc_per_node=1 --standalone',
     'Note: edm-cifar10-32x32-cond-ve was published with 8 processes, this run has NPROC=1'),
    (dict(NPROC='8'), '--nproc_per_node=8 --standalone', ''),
    (dict(NPROC='4', TORCHRUN='--nnodes=2 --rdzv-id=x'), '--nproc_per_node=4 --nnodes=2 --rdzv-id=x', '')])
def test_launch(variables, launcher, note, stand_in, tmp_path):
    (tmp_path / 'data.zip').touch()
    result = run_script('edm-cifar10-32x32-cond-ve', '--batch=64', PYTHON=stand_in, DATA=f'{tmp_path}/data.zip', OUTDIR='out',
                        **variables)
    assert result.returncode == 0 and result.stderr.startswith(note) and result.stderr.count('\n') == bool(note)
    assert result.stdout == (f'-m torch_utils.launch {launcher} train.py --outdir=out --data={tmp_path}/data.zip --loss=edm '
                             '--precond=edm --cond=1 --arch=ncsnpp --batch=64\n')


@pytest.mark.parametrize('options, run_dir', [((), '00010-new'), (('--nosubdir',), '.')])
def test_demo_ends_with_a_comparison_of_its_last_snapshot(options, run_dir, stand_in, tmp_path):
    for folder in ('00002-old', '00010-new', '.'):
        (tmp_path / 'out' / folder).mkdir(parents=True, exist_ok=True)
        for kimg in ('000000', '000028'):
            (tmp_path / 'out' / folder / f'network-snapshot-{kimg}.pkl').touch()
    result = run_script('demo', f'--outdir={tmp_path}/out', *options, PYTHON=stand_in)
    trained, compared = result.stdout.splitlines()
    assert trained.startswith('-m torch_utils.launch --nproc_per_node=1 --standalone train.py ') and '--loss=gdd' in trained
    folder = f'{tmp_path}/out' + ('' if options else f'/{run_dir}')
    assert compared == ('-m evaluations.compare --teacher=pretrained/edm-mnist-32x32-cond-ve.pkl '
                        f'--student={folder}/network-snapshot-000028.pkl --ref=datasets/mnist-32x32-train-ref-mnist-classifier.npz '
                        f'--detector=mnist-classifier --data=datasets/mnist-32x32.zip --num=2000 --batch=100 --outdir={folder}')


def test_help_names_the_variables():
    text = run_script('--help').stdout
    assert all(name in text for name in ('--list', 'NPROC', 'DATA', 'OUTDIR', 'VENV', 'TORCHRUN'))
