# Copyright 2026 The GDD-1S authors.
# SPDX-License-Identifier: Apache-2.0
"""Tests of train.sh: every recipe by its resolved options, against the published tables; nothing here trains
or needs data."""

import json
import os
import re
import stat
import subprocess
import sys

import click
import pytest
import torch
from click.testing import CliRunner

import train
from tests.support import ROOT
from training import networks, recipes
from training.adversarial.discriminator import ProjectedDiscriminator
from training.adversarial.features import FEATURE_CHANNELS, nominal_resolutions
from training.config import plan_batch
from training.snapshots.snapshot import load_network
from training.student.freeze import is_frozen
from training.tasks.distillation import describe_r1

DEMO = ['demo', 'demo-long', 'demo-teacher']
OWN = ['own-teacher', 'own-student', 'own-teacher-gpu', 'own-student-gpu']
METHODS = ['demo-gdd', 'demo-cd', 'demo-ctm', 'demo-pd', 'demo-rcd', 'demo-two-step', 'demo-fd']
PARAMETERS = (1_970_563, 7_083_331)  # of the teachers of photographs


VARIABLES = ('NPROC', 'DATA', 'TEACHER', 'OUTDIR', 'TORCHRUN', 'COMPARE')


def run_script(*args, **variables):
    """Run train.sh with the Python of the tests."""
    variables = dict(dict(VENV='none', PYTHON=sys.executable), **variables)
    kept = {key: value for key, value in os.environ.items() if key not in VARIABLES}
    return subprocess.run(
        ['sh', str(ROOT / 'train.sh'), *args], capture_output=True, text=True, env=dict(kept, **variables)
    )


@pytest.fixture(scope='module')
def listed():
    """Recommended number of processes by name, in the order of --list."""
    lines = run_script('--list').stdout.splitlines()
    return {line.split()[0]: int(line.split()[1]) for line in lines if line.startswith('  ')}


@pytest.fixture(scope='module')
def stand_in(tmp_path_factory):
    """A program in place of Python that prints its arguments."""
    python = tmp_path_factory.mktemp('stand_in') / 'python'
    python.write_text('#!/bin/sh\necho "$@"\n')
    python.chmod(python.stat().st_mode | stat.S_IXUSR)
    return str(python)


@pytest.fixture(scope='module')
def resolved(listed):
    """Resolved options of every recipe."""
    configs = {}
    for name in listed:
        configs[name] = json.loads(invoke(name, '--dry-run').output)
    return configs


def invoke(name, *args, **variables):
    """Run a recipe in this process, with variables of the environment."""
    env = dict.fromkeys(VARIABLES) | variables
    return CliRunner().invoke(train.main, [f'--recipe={name}', *args], env=env)


@pytest.mark.parametrize('name', ['gdd-i-cifar10-cond', 'edm-imagenet-64x64-cond-adm'])
def test_dry_run_needs_no_data_and_no_teacher(name, resolved):
    result = run_script(name, '--dry-run')
    assert result.returncode == 0 and result.stderr == '' and json.loads(result.stdout) == resolved[name]


def test_list_is_grouped(listed):
    headings = [
        line for line in run_script('--list').stdout.splitlines() if line and not line.startswith(' ')
    ]
    names = [heading.split(',')[0] for heading in headings]
    assert names == [
        'Demo on MNIST',
        'Other distillation methods on the demo',
        'Photographs in small',
        'GDD and GDD-I (most convolutions frozen)',
        'EDM teachers',
        'Your own images',
    ] and headings[0].endswith(':')
    small = DEMO + METHODS + list(recipes.PHOTOGRAPHS)
    assert list(listed)[: len(small)] == small and len(listed) == len([*small, *GDD, *PUBLISHED, *OWN])
    assert [name for name in listed if name.startswith('gdd')] == list(GDD)


# ------------------------------------------------------------------------------------------------
# EDM's published configurations: batch, Mimg, lr, EMA half-life in Mimg, dropout, augment, fp16, ls, tick,
# processes, data.

CIFAR = (512, 200, 1e-3, 0.5, 0.13, 0.12, False, 1, 50, 8, 'cifar10-32x32')
FFHQ = (256, 200, 2e-4, 0.5, 0.05, 0.15, False, 1, 50, 8, 'ffhq-64x64')
AFHQ = (256, 200, 2e-4, 0.5, 0.25, 0.15, False, 1, 50, 8, 'afhqv2-64x64')
IMAGENET = (4096, 2500, 1e-4, 50, 0.10, 0, True, 100, 200, 32, 'imagenet-64x64')
# Then: architecture, classes, resolution, parameters, state-dict entries (of the networks that EDM's code
# builds).
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
    (
        batch,
        duration,
        lr,
        ema,
        dropout,
        augment,
        fp16,
        scaling,
        tick,
        processes,
        data,
        arch,
        classes,
        _resolution,
        _parameters,
        _entries,
    ) = PUBLISHED[name]
    assert (config['loss'], config['precond'], config['arch']) == ('edm', 'edm', arch)
    assert (config['batch_size'], config['total_nimg'], config['batch_gpu']) == (
        batch,
        duration * 1_000_000,
        None,
    )
    assert config['optimizer_kwargs'] == dict(lr=lr, betas=[0.9, 0.999], eps=1e-8)
    assert config['ema_kwargs'] == dict(halflife_nimg=ema * 1_000_000, rampup=0.05, beta=0)
    assert (config['lr_rampup_nimg'], config['lr_rampdown_nimg'], config['loss_scaling']) == (
        10_000_000,
        0,
        scaling,
    )
    assert config['precision'] == ('fp16' if fp16 else 'fp32') and config['loss_kwargs'] == dict(
        P_mean=-1.2, P_std=1.2
    )
    assert config['network_kwargs']['dropout'] == dropout and config['network_kwargs']['use_fp16'] == fp16
    assert (
        config['network_kwargs']['channel_mult']
        == {512: [2, 2, 2], 256: [1, 2, 2, 2], 4096: [1, 2, 3, 4]}[batch]
    )
    assert config['network_kwargs'].get('augment_dim', 0) == (9 if augment else 0)
    assert (config['augment_kwargs'] or dict(p=0))['p'] == augment
    dataset = config['dataset_kwargs']
    assert (
        dataset['path'] == f'datasets/{data}.zip'
        and dataset['use_labels'] == bool(classes)
        and not dataset['xflip']
    )
    assert (config['tick_nimg'], config['snapshot_ticks'], listed[name]) == (tick * 1000, 50, processes)


@pytest.mark.parametrize('name', PUBLISHED)
def test_published_networks_have_the_published_size(name, resolved):
    classes, resolution, parameters, entries = PUBLISHED[name][-4:]
    with torch.device('meta'):
        net = networks.EDMPrecond(
            **resolved[name]['network_kwargs'], img_resolution=resolution, img_channels=3, label_dim=classes
        )
    assert (sum(p.numel() for p in net.parameters()), len(net.state_dict())) == (parameters, entries)


# ------------------------------------------------------------------------------------------------
# GDD's published configurations (specification 8.2): data, teacher, architecture, channel_mult, classes,
# freeze, backbones,
# EMA half-life in Mimg, batch, lr, D's lr after x 16/17, Mimg, iterations, R1 steps, parameters of G and of
# them frozen,
# parameters of D, --augment of the official script.

VGG, DEIT = (
    ['vgg16_bn', 'tf_efficientnet_lite0'],
    ['deit_base_distilled_patch16_224', 'tf_efficientnet_lite0'],
)
G_CIFAR = ('cifar10-32x32', 'edm-cifar10-32x32-uncond-ve', 'ncsnpp', [2, 2, 2], 0)
G_CIFAR_COND = ('cifar10-32x32', 'edm-cifar10-32x32-cond-ve', 'ncsnpp', [2, 2, 2], 10)
G_AFHQ = ('afhqv2-64x64', 'edm-afhqv2-64x64-uncond-ve', 'ncsnpp', [1, 2, 2, 2], 0)
G_FFHQ = ('ffhq-64x64', 'edm-ffhq-64x64-uncond-ve', 'ncsnpp', [1, 2, 2, 2], 0)
G_IMAGENET = ('imagenet-64x64', 'edm-imagenet-64x64-cond-adm', 'adm', [1, 2, 3, 4], 1000)
R_CIFAR = (VGG, 0.5, 256, 1e-4, 9.4117647059e-5, 5, 19_532, 1220)
R_64 = (DEIT, 0.5, 256, 2e-5, 3.7647058824e-5, 10, 39_063, 2441)
R_IMAGENET = (DEIT, 50, 512, 8e-6, 3.7647058824e-5, 10, 19_532, 1220)
D_UNCOND, D_COND = 20_662_656, 27_515_776
GDD = {
    'gdd-cifar10': (*G_CIFAR, 0, *R_CIFAR, 56_395_523, 0, D_UNCOND, '0'),
    'gdd-cifar10-cond': (*G_CIFAR_COND, 0, *R_CIFAR, 56_398_339, 0, D_COND, '0'),
    'gdd-afhqv2': (*G_AFHQ, 0, *R_64, 62_758_787, 0, D_UNCOND, '0'),
    'gdd-ffhq': (*G_FFHQ, 0, *R_64, 62_758_787, 0, D_UNCOND, '0'),
    'gdd-imagenet': (*G_IMAGENET, 0, *R_IMAGENET, 295_899_267, 0, D_COND, '0'),
    'gdd-i-cifar10': (*G_CIFAR, 1, *R_CIFAR, 56_395_523, 47_597_568, D_UNCOND, None),
    'gdd-i-cifar10-cond': (*G_CIFAR_COND, 1, *R_CIFAR, 56_398_339, 47_597_568, D_COND, None),
    'gdd-i-afhqv2': (*G_AFHQ, 1, *R_64, 62_758_787, 52_614_144, D_UNCOND, None),
    'gdd-i-ffhq': (*G_FFHQ, 1, *R_64, 62_758_787, 52_614_144, D_UNCOND, None),
    'gdd-i-imagenet': (*G_IMAGENET, 1, *R_IMAGENET, 295_899_267, 233_065_920, D_COND, None),
}
TABLE = 'pretrained/imagenet-class-embeddings-tf_efficientnet_lite0.npy'


def test_document_lists_every_recipe_with_its_numbers():
    text = (ROOT / 'docs/recipes.md').read_text()
    rows = [line for line in text.splitlines() if line.startswith('| `gdd-')]
    assert [name for row in rows for name in re.findall('`(gdd-[a-z0-9-]+)`', row)] == [
        name for pair in zip(list(GDD)[:5], list(GDD)[5:]) for name in pair
    ]
    for row, entry in zip(rows, GDD.values()):
        assert f'`{entry[1]}`' in row and f'| {entry[8]} ({128 if entry[8] == 512 else 64}) |' in row
        assert f'| {entry[11]} | {entry[12]:,}, {entry[13]} |' in row and f'| {entry[7]} |' in row
    for total, frozen in {entry[-4:-2] for entry in GDD.values() if entry[-3]}:
        assert f'{total:,} | {frozen:,} ' in text


@pytest.mark.parametrize('name', GDD)
def test_published_distillations(name, resolved, listed):
    config = resolved[name]
    (
        data,
        teacher,
        arch,
        mult,
        classes,
        freeze,
        backbones,
        ema,
        batch,
        lr,
        d_lr,
        duration,
        iterations,
        r1_steps,
        *_sizes,
        _augment,
    ) = GDD[name]
    assert (config['loss'], config['precond'], config['arch'], config['compat']) == (
        'gdd',
        'gdd',
        arch,
        'official',
    )
    assert (config['transfer'], config['freeze'], config['seed']) == (f'pretrained/{teacher}.pkl', freeze, 42)
    assert (
        config['precision'] == 'bf16'
        and config['network_kwargs']['use_fp16']
        and config['network_kwargs']['dropout'] == 0
    )
    assert config['network_kwargs']['channel_mult'] == mult and config['loader_kwargs'] == dict(num_workers=4)
    dataset = config['dataset_kwargs']
    assert (
        dataset['path'] == f'datasets/{data}.zip'
        and dataset['use_labels'] == bool(classes)
        and not dataset['xflip']
    )
    assert (config['batch_size'], config['batch_gpu'], listed[name]) == (batch, None, 4)
    assert plan_batch(batch, None, listed[name])[0] == (128 if arch == 'adm' else 64)
    features = config['feature_kwargs']
    assert (features['names'], features['input_size'], features['weights']) == (backbones, 224, 'pretrained')
    assert features['moved_statistics'] and not features['fused'] and not features['diffaugment']
    assert config['discriminator_kwargs'] == dict(
        channel_max=None, class_embed=TABLE if classes else 'random'
    )
    assert config['loss_kwargs'] == dict(loss_type='ns', r1_gamma=1e-4) and config['r1_interval'] == 16
    assert config['optimizer_type'] == 'adam'
    assert config['optimizer_kwargs'] == dict(lr=lr, betas=[0.0, 0.99], eps=1e-8, weight_decay=0)
    assert config['d_optimizer_kwargs'] == dict(
        lr=pytest.approx(d_lr, rel=1e-9), betas=[0.0, pytest.approx(0.9905854573)], eps=1e-8, weight_decay=0
    )
    assert config['ema_kwargs'] == dict(halflife_nimg=ema * 1_000_000, rampup=0.05, beta=0)
    assert config['total_nimg'] == duration * 1_000_000 and -(-config['total_nimg'] // batch) == iterations
    assert (iterations - 1) // config['r1_interval'] == r1_steps  # not in the first iteration
    assert (config['tick_nimg'], config['snapshot_ticks']) == (25_000, 10)


@pytest.mark.parametrize('name', GDD)
def test_published_distillations_have_the_published_sizes(name, resolved):
    config, classes, (total, frozen, d_total) = resolved[name], GDD[name][4], GDD[name][-4:-1]
    with torch.device('meta'):
        net = networks.GDDPrecond(
            **config['network_kwargs'],
            img_resolution=int(GDD[name][0][-2:]),
            img_channels=3,
            label_dim=classes,
        )
        table = torch.zeros([1000, 320]) if classes else None
        D = ProjectedDiscriminator(
            config['feature_kwargs']['names'], FEATURE_CHANNELS, nominal_resolutions(224), classes, table
        )
    assert (
        sum(p.numel() for p in net.parameters()) == total
        and sum(p.numel() for p in D.parameters()) == d_total
    )
    assert sum(p.numel() for key, p in net.named_parameters() if is_frozen(key, config['freeze'])) == frozen


@pytest.mark.parametrize(
    'name, gammas',
    [
        ('gdd-cifar10', ('1.56e-06', '3.13e-06', '3.91e-07')),
        ('gdd-i-imagenet', ('7.81e-07', '1.56e-06', '1.95e-07')),
    ],
)
def test_strength_of_r1_is_the_published_one_with_four_processes(name, gammas, resolved):
    for processes, gamma in zip((4, 8, 1), gammas):
        config = resolved[name]
        line = describe_r1(
            config['compat'],
            config['batch_size'],
            config['r1_interval'],
            config['loss_kwargs']['r1_gamma'],
            processes,
        )
        assert f'effective gamma {gamma}' in line and ('with 4 processes, which' in line) == (processes != 4)


def official_command(name):
    """The arguments of the official script, rebuilt from its list of options and its table of recipes
    (specification 8)."""
    (
        data,
        teacher,
        arch,
        mult,
        classes,
        freeze,
        backbones,
        ema,
        batch,
        lr,
        _d_lr,
        duration,
        *_counts,
        augment,
    ) = GDD[name]
    command = [
        '--outdir=training-runs',
        f'--data=datasets/{data}.zip',
        f'--transfer=pretrained/{teacher}.pkl',
        f'--arch={arch}',
        *(['--cres=1,2,2,2'] if mult == [1, 2, 2, 2] else []),
        f'--cond={bool(classes):d}',
        f'--freeze={freeze}',
        f'--backbone={1 if backbones is VGG else 0}',
        f'--ema={ema}',
        f'--batch={batch}',
        f'--lr={lr}',
        f'--dlr={"1e-4" if backbones is VGG else "4e-5"}',
        f'--duration={duration}',
        '--seed=42',
        '--workers=4',
        '--dropout=0',
        '--fp16=1',
        '--loss-type=ns',
        '--r1-gamma=1e-4',
        '--r1-type=r1',
        '--use-gp=1',
        '--d-type=xl',
        '--diffaug=0',
        '--ada-target=0',
        '--precond=gdd',
        '--loss=gdd',
        *([f'--augment={augment}'] if augment else []),
    ]
    return command


def without_spelling(config):
    """Leave out how the options were given, and keep what they come to."""
    return {key: value for key, value in config.items() if key != 'options'}


@pytest.mark.parametrize('name', GDD)
def test_official_command_lines_run_unchanged(name, resolved):
    def resolve(*args):
        result = CliRunner().invoke(train.main, [*official_command(name), *args, '--dry-run'])
        assert result.exit_code == 0, result.output
        return without_spelling(json.loads(result.output))

    assert resolve('--compat=official') == without_spelling(resolved[name])
    # As they are: the accidents repaired, and class embeddings drawn at random. Nothing else differs.
    plain = resolve()
    ours = dict(without_spelling(resolved[name]), compat='clean', nan='skip')
    ours['feature_kwargs'] = dict(ours['feature_kwargs'], moved_statistics=False, fused=True)
    ours['discriminator_kwargs'] = dict(ours['discriminator_kwargs'], class_embed='random')
    assert plain == ours


@pytest.mark.parametrize('name', ['gdd-ffhq', 'gdd-i-imagenet'])
def test_every_option_of_the_official_command_line_is_known(name):
    """Options that no published recipe uses, with values that the official help shows or that do nothing
    there."""
    args = [
        '--d-pretrained=True',
        '--persistent-workers=True',
        '--interp224=True',
        '--optimizer-type=adam',
        '--weight-decay=0',
        '--ls=1',
        '--xflip=0',
        '--batch-gpu=32',
        '--ema-warmup=0.05',
        '--ema-beta=0',
        '--bench=1',
        '--cache=1',
        '--tick=25',
        '--snap=10',
        '--dump=500',
        '--desc=name',
        '--nosubdir',
        '--cbase=128',
    ]
    result = CliRunner().invoke(train.main, [*official_command(name), *args, '--dry-run'])
    assert result.exit_code == 0 and json.loads(result.output)['state_ticks'] == 500, result.output


def test_demo_teacher_is_the_training_of_the_committed_teacher(resolved):
    """As far as the file tells: network, images seen, batch."""
    config = resolved['demo-teacher']
    _net, info = load_network(str(ROOT / 'pretrained/edm-mnist-32x32-cond-ve.pkl'))
    assert info.init_kwargs == dict(config['network_kwargs'], img_resolution=32, img_channels=1, label_dim=10)
    assert (
        info.metadata['batch_size'] == config['batch_size'] == 64 and info.metadata['loss'] == config['loss']
    )
    assert 0 <= info.metadata['nimg'] - config['total_nimg'] < 64
    assert config['augment_kwargs'] is None and config['loss_scaling'] == 1 and config['precision'] == 'fp32'


@pytest.mark.parametrize('name', METHODS)
def test_methods_are_compared_on_equal_terms(name, resolved):
    """Same teacher, data, number of images, batch and learning rate; they differ in the method."""
    demo, config = resolved['demo'], resolved[name]
    shared = (
        'transfer',
        'dataset_kwargs',
        'batch_size',
        'optimizer_kwargs',
        'ema_kwargs',
        'seed',
        'compat',
        'precision',
        'target',
    )
    if name == 'demo-fd':  # with an optimizer and a rate of its own
        shared = [key for key in shared if key != 'optimizer_kwargs' and key in config]
    assert {key: config.get(key) for key in shared} == {key: demo[key] for key in shared}
    assert config['total_nimg'] == 12000 and config['snapshot_ticks'] == demo['snapshot_ticks']
    kind = name.split('-')[1]
    if kind in ('gdd', 'two'):
        differing = dict(gdd=['freeze'], two=['sampler_kwargs'])[kind]
        assert [
            key for key in config if config[key] != demo[key] and key not in ('total_nimg', 'options')
        ] == differing
        assert config['freeze'] == (kind == 'two') and config['sampler_kwargs']['num_steps'] == 1 + (
            kind == 'two'
        )
    elif kind == 'fd':
        assert config['feature_kwargs'] == demo['feature_kwargs'] and config['freeze'] == demo['freeze'] == 1
    else:
        assert config['instance_kwargs'] == dict(
            kind=kind, max_steps=dict(cd=16, ctm=8, pd=4, rcd=4)[kind], distance='huber'
        )
        assert config['teacher_only'] and config['freeze'] == 0 and config['target'] is None


def test_photographs_differ_from_each_other_in_the_method_alone(resolved):
    """And from the demo in the data, the teacher, mirrored images and the length."""
    demo, base = resolved['demo'], resolved['photos-gdd-i']

    def differing(one, two):
        names = one.keys() | two.keys()
        return sorted(name for name in names - {'options'} if one.get(name) != two.get(name))

    assert differing(demo, base) == ['dataset_kwargs', 'tick_nimg', 'total_nimg', 'transfer']
    assert differing(base, resolved['photos-gdd']) == ['freeze'] and base['freeze'] == 1
    assert differing(base, resolved['photos-gdd-i-teacher']) == ['feature_kwargs', 'teacher_sigma']
    assert resolved['photos-gdd-i-teacher']['feature_kwargs']['names'] == ['teacher']
    assert differing(resolved['cifar10-small-gdd-i'], resolved['cifar10-small-gdd']) == ['freeze']
    fd = resolved['photos-fd']
    assert fd['feature_kwargs'] == base['feature_kwargs'] and fd['dataset_kwargs'] == base['dataset_kwargs']
    for name in ('photos-gdd-i', 'cifar10-small-gdd-i'):
        assert recipes.RECIPES[recipes.RECIPES[name].made_by].data == recipes.RECIPES[name].data


@pytest.mark.parametrize(
    'name, parameters', list(zip(('photos-teacher', 'cifar10-small-teacher'), PARAMETERS, strict=True))
)
def test_small_teachers_have_the_size_that_is_stated(name, parameters, resolved):
    side = 16 if name == 'photos-teacher' else 32
    with torch.device('meta'):
        arguments = dict(
            img_resolution=side, img_channels=3, label_dim=10, **resolved[name]['network_kwargs']
        )
        net = networks.EDMPrecond(**arguments)
    assert sum(p.numel() for p in net.parameters()) == parameters


# ------------------------------------------------------------------------------------------------
# The script itself.


def test_later_options_and_variables_win():
    result = run_script('edm-ffhq-64x64-uncond-ve', '--batch=16', '-n', DATA='my faces.zip')
    config = json.loads(result.stdout)
    assert (
        config['batch_size'] == 16
        and config['dataset_kwargs']['path'] == 'my faces.zip'
        and result.returncode == 0
    )
    config = json.loads(
        run_script('edm-ffhq-64x64-uncond-ve', '--data=other.zip', '-n', DATA='my.zip').stdout
    )
    assert config['dataset_kwargs']['path'] == 'other.zip'


@pytest.mark.parametrize(
    'name, how',
    [
        (
            'edm-cifar10-32x32-cond-vp',
            'python dataset_tool.py --dest=datasets/cifar10-32x32.zip --source=cifar-10-python.tar.gz',
        ),
        (
            'edm-ffhq-64x64-uncond-vp',
            '--dest=datasets/ffhq-64x64.zip --source=ffhq/images1024x1024 --resolution=64x64',
        ),
        (
            'edm-afhqv2-64x64-uncond-ve',
            'python dataset_tool.py --dest=datasets/afhqv2-64x64.zip --source=afhqv2 --resolution=64x64',
        ),
        (
            'edm-imagenet-64x64-cond-adm',
            '--source=ILSVRC/Data/CLS-LOC/train --transform=center-crop --resolution=64x64',
        ),
        ('demo-teacher', 'the commands in datasets/README.md'),
        (
            'photos-gdd-i',
            '--dest=datasets/cifar10-16x16.zip --source=cifar-10-python.tar.gz --resolution=16x16 '
            '--transform=resize',
        ),
    ],
)
def test_missing_data_is_one_line_that_says_how_to_make_it(name, how):
    result = invoke(name, DATA='no/such.zip')
    assert result.exit_code == 2 and result.stdout == '' and result.stderr.count('\n') == 1
    assert result.stderr.startswith('Error: no/such.zip is missing; make it with ') and how in result.stderr
    assert result.stderr.endswith(', or set DATA=FILE.zip\n')


def test_the_script_ends_with_the_same_line_and_code():
    result = run_script('edm-ffhq-64x64-uncond-vp', DATA='no/such.zip')
    assert result.returncode == 2 and result.stdout == ''
    assert (
        result.stderr.startswith('Error: no/such.zip is missing; make it with ')
        and result.stderr.count('\n') == 1
    )


@pytest.mark.parametrize(
    'command, variables, text',
    [
        (['nope'], {}, "unknown recipe 'nope'; a recipe is one of: demo, "),
        (['nope', '--dry-run'], {}, "unknown recipe 'nope'; a recipe is one of: demo, "),
        (['edm-ffhq-64x64-uncond-vp'], dict(DATA='no/such.zip'), 'no/such.zip is missing; make it with'),
        (['demo'], dict(TEACHER='no/such.pkl'), 'no/such.pkl is missing; download '),
        (
            ['demo-teacher'],
            dict(TEACHER='x.pkl'),
            'TEACHER=x.pkl: recipe demo-teacher starts without a teach',
        ),
    ],
)
def test_what_cannot_work_is_refused_before_anything_is_installed(tmp_path, command, variables, text):
    result = run_script(*command, VENV=str(tmp_path / 'none'), **variables)
    assert result.returncode == 2 and result.stdout == '' and result.stderr.count('\n') == 1
    assert result.stderr.startswith(f'Error: {text}') and not (tmp_path / 'none').exists()


def test_files_of_the_user_and_dry_runs_are_not_looked_at():
    check = recipes.check_command
    assert check('gdd-cifar10', ['--data=x.zip', '--transfer=y.pkl'], {}) is None
    assert check('gdd-cifar10', ['-n'], {}) is None and check('demo', [], {}) is None
    assert check('gdd-cifar10', ['--data=x.zip'], {}).startswith('pretrained/edm-cifar10-32x32-uncond-')
    assert check('demo', [], dict(TEACHER='https://example.com/t.pkl')) is None


def test_recipes_need_the_standard_library_only():
    code = 'import sys; sys.path.insert(0, "."); import training.recipes; print("click" in sys.modules)'
    result = subprocess.run([sys.executable, '-S', '-c', code], cwd=ROOT, capture_output=True, text=True)
    assert result.stdout == 'False\n', result.stderr


def test_missing_teacher_and_class_table_are_one_line_each(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for name in ('data.zip', 'teacher.pkl'):
        (tmp_path / name).touch()
    teacher = invoke('gdd-i-afhqv2', DATA='data.zip')
    assert (teacher.exit_code, teacher.stdout) == (2, '') and teacher.stderr == (
        'Error: pretrained/edm-afhqv2-64x64-uncond-ve.pkl is missing; download '
        'https://nvlabs-fi-cdn.nvidia.com/edm/pretrained/'
        'edm-afhqv2-64x64-uncond-ve.pkl, or set TEACHER=FILE.pkl or TEACHER=URL\n'
    )
    for name, maker in (('photos-gdd', 'photos-teacher'), ('cifar10-small-gdd-i', 'cifar10-small-teacher')):
        teacher = invoke(name, DATA='data.zip')
        assert (teacher.exit_code, teacher.stdout) == (2, '') and teacher.stderr == (
            f'Error: {recipes.RECIPES[name].teacher} is missing; train it with sh train.sh {maker} and copy '
            'the last network-snapshot-*.pkl of its run folder there, or set TEACHER=FILE.pkl\n'
        )
    for given in ('teacher.pkl', 'https://example.com/teacher.pkl'):
        table = invoke('gdd-cifar10-cond', TEACHER=given, DATA='data.zip')
        assert (table.exit_code, table.stdout) == (2, '') and table.stderr == (
            f'Error: {TABLE} is missing; pretrained/README.md says how to make it (ImageNet class '
            'embeddings, 1000 x 320), '
            'or give --class-embed=FILE.npy, random or computed\n'
        )


def test_what_the_user_gives_is_no_matter_of_the_recipe(tmp_path, monkeypatch):
    """Such files are looked for where any run looks for them, with its message and code."""
    monkeypatch.chdir(tmp_path)
    result = invoke(
        'gdd-imagenet', '--data=x.zip', '--transfer=y.pkl', '--class-embed=random', '--device=cpu'
    )
    assert result.exit_code == 1 and '--data=x.zip does not exist' in result.stderr and os.listdir() == []
    assert result.stderr.startswith('Note: gdd-imagenet was published with 4 processes, this run has NPROC=1')


def test_teacher_can_be_given():
    config = json.loads(invoke('gdd-imagenet', '-n', TEACHER='my teacher.pkl', DATA='d.zip').output)
    assert config['transfer'] == 'my teacher.pkl' and config['dataset_kwargs']['path'] == 'd.zip'
    config = json.loads(invoke('gdd-imagenet', '-n', '--transfer=x.pkl', TEACHER='my teacher.pkl').output)
    assert config['transfer'] == 'x.pkl'
    for result in (invoke('demo-teacher', TEACHER='x.pkl'), invoke('demo-teacher', '-n', TEACHER='x.pkl')):
        assert result.exit_code == 2 and result.stderr == (
            'Error: TEACHER=x.pkl: recipe demo-teacher starts without a teacher; unset TEACHER\n'
        )


@pytest.mark.parametrize(
    'name, option, key, expected',
    [
        ('gdd-cifar10', '--fp16=0', 'precision', 'fp32'),
        ('gdd-cifar10', '--precision=fp32', 'precision', 'fp32'),
        ('edm-imagenet-64x64-cond-adm', '--fp16=0', 'precision', 'fp32'),
        ('edm-ffhq-64x64-uncond-vp', '--precond=ve', 'loss', 've'),
        ('demo-cd', '--lpips=1', 'instance_kwargs', dict(kind='cd', max_steps=16, distance='lpips')),
        ('gdd-ffhq', '--use-gp=0', 'r1_interval', 0),
        ('demo', '--cres=1,2 --arch=ncsnpp', 'arch', 'ncsnpp'),
    ],
)
def test_a_recipe_fills_only_what_is_left_out(name, option, key, expected):
    """Whichever of two spellings the user takes."""
    result = invoke(name, *option.split(), '-n')
    assert result.exit_code == 0 and json.loads(result.output)[key] == expected, result.output


# EDM's table names one number per data set; of these networks none was found.
WITHOUT_NUMBER = ('edm-cifar10-32x32-cond-ve', 'edm-cifar10-32x32-uncond-ve', 'edm-afhqv2-64x64-uncond-ve')


def test_published_numbers():
    """Frechet distances with their source, or None; the same as in docs/metrics.md."""
    for name, recipe in recipes.RECIPES.items():
        assert (recipe.fid is None) == (recipe.source is None) and (recipe.fid is None) == (
            name.startswith(('demo', 'photos-', 'cifar10-small-', 'own-'))
            or name in ('gdd-i-cifar10-cond', *WITHOUT_NUMBER)
            or name.startswith('gdd-')
            and 'gdd-i-' not in name
            and name != 'gdd-ffhq'
        )
    text = (ROOT / 'docs/metrics.md').read_text()
    [line] = [line for line in text.splitlines() if line.startswith('| GDD-I, 1 evaluation')]
    published = [recipes.RECIPES[f'gdd-i-{name}'].fid for name in ('cifar10', 'ffhq', 'afhqv2', 'imagenet')]
    assert line.split('|')[2:7] == [f' {published[0]} ', ' - ', *(f' {fid} ' for fid in published[1:])]
    [line] = [line for line in text.splitlines() if line.startswith('| EDM teacher, 35')]
    assert all(f'{recipes.RECIPES[name].fid}' in line for name in PUBLISHED if name not in WITHOUT_NUMBER)


def test_a_slip_gets_the_nearest_names():
    assert "unknown recipe 'demo-lng'; did you mean demo-long" in invoke('demo-lng').stderr
    text = "Error: unknown recipe 'own'; did you mean own-teacher or own-student or "
    stderr = invoke('own').stderr
    assert stderr.startswith(text) and 'gdd-cifar10' not in stderr  # not all of them once it is known
    with click.Context(train.main) as ctx:
        [param] = [param for param in train.main.params if param.name == 'recipe']
        found = [item.value for item in param.shell_complete(ctx, 'gdd-i-a')]
    assert found == ['gdd-i-afhqv2']


def test_the_list_for_scripts():
    found = {entry['name']: entry for entry in json.loads(run_script('--list', '--json').stdout)}
    assert list(found) == list(recipes.RECIPES)
    assert found['gdd-i-cifar10']['fid'] == recipes.RECIPES['gdd-i-cifar10'].fid
    assert (
        found['own-student']['options']['freeze'] == 1 and 'your own' in found['own-student']['group'].lower()
    )
    result = run_script('--list', '--jso')
    assert result.returncode == 2 and '--list takes nothing but --json, not: --jso' in result.stderr


def test_words_of_the_command_are_variables():
    result = run_script('gdd-imagenet', 'DATA=d.zip', 'TEACHER=t.pkl', '-n')
    config = json.loads(result.stdout)
    assert (config['dataset_kwargs']['path'], config['transfer']) == ('d.zip', 't.pkl')


def test_own_images_start_from_the_options_of_the_demo():
    demo = recipes.DEMO
    same = (
        'freeze',
        'backbone',
        'd_resolution',
        'd_channel_max',
        'batch',
        'lr',
        'dlr',
        'ema_warmup',
        'compat',
    )
    assert all(recipes.OWN_STUDENT[name] == demo[name] for name in same)
    assert 'r1_gamma' not in recipes.OWN_STUDENT  # left out, it is the demo's strength
    assert 'train it with sh train.sh own-teacher' in invoke('own-student', '--data=d.zip').stderr


def test_unknown_recipe_is_one_line():
    result = invoke('nope')
    assert result.exit_code == 2 and result.stdout == ''
    assert re.fullmatch(
        r"Error: unknown recipe 'nope'; a recipe is one of: demo, .*, edm-imagenet-64x64-cond-adm, .*; "
        r'try: sh train.sh demo\n',
        result.stderr,
    )


@pytest.mark.parametrize(
    'variables, launcher',
    [
        (dict(), '--nproc_per_node=1 --standalone'),
        (dict(NPROC='8'), '--nproc_per_node=8 --standalone'),
        (dict(NPROC='4', TORCHRUN='--nnodes=2 --rdzv-id=x'), '--nproc_per_node=4 --nnodes=2 --rdzv-id=x'),
    ],
)
def test_launch(variables, launcher, stand_in):
    result = run_script('edm-cifar10-32x32-cond-ve', '--batch=64', PYTHON=stand_in, OUTDIR='out', **variables)
    assert result.returncode == 0 and result.stderr == ''
    assert result.stdout == (
        f'-m torch_utils.launch {launcher} train.py --recipe=edm-cifar10-32x32-cond-ve --batch=64\n'
    )


@pytest.mark.parametrize('processes, rank, noted', [('1', '0', True), ('8', '0', False), ('4', '1', False)])
def test_note_about_the_number_of_processes(processes, rank, noted, monkeypatch, capsys):
    monkeypatch.setenv('WORLD_SIZE', processes)
    monkeypatch.setenv('RANK', rank)
    train.note_processes('edm-cifar10-32x32-cond-ve', recipes.RECIPES['edm-cifar10-32x32-cond-ve'])
    text = (
        'Note: edm-cifar10-32x32-cond-ve was published with 8 processes, this run has NPROC=1; '
        '--batch-gpu=N limits its memory'
    )
    assert capsys.readouterr().err == (text + '\n' if noted else '')


@pytest.mark.parametrize('options, run_dir', [((), '00010-new'), (('--nosubdir',), '.')])
def test_demo_ends_with_a_comparison_of_its_last_snapshot(options, run_dir, stand_in, tmp_path):
    for folder in ('00002-old', '00010-new', '.'):
        (tmp_path / 'out' / folder).mkdir(parents=True, exist_ok=True)
        for kimg in ('000000', '000028'):
            (tmp_path / 'out' / folder / f'network-snapshot-{kimg}.pkl').touch()
    result = run_script('demo', f'--outdir={tmp_path}/out', *options, PYTHON=stand_in)
    trained, compared, reported = result.stdout.splitlines()
    assert (
        trained.startswith('-m torch_utils.launch --nproc_per_node=1 --standalone train.py ')
        and '--recipe=demo' in trained
    )
    folder = f'{tmp_path}/out' + ('' if options else f'/{run_dir}')
    assert compared == (
        '-m evaluations.teacher_and_student --teacher=pretrained/edm-mnist-32x32-cond-ve.pkl '
        f'--student={folder}/network-snapshot-000028.pkl '
        '--ref=datasets/mnist-32x32-train-ref-mnist-classifier.npz '
        '--detector=mnist-classifier --data=datasets/mnist-32x32.zip --num=2000 --batch=100 '
        f'--outdir={folder}'
    )
    assert reported == f'report.py {folder}'  # once more, with the comparison
    if not options:
        again = run_script('demo', f'--outdir={tmp_path}/out', PYTHON=stand_in, COMPARE='full')
        assert again.stdout.splitlines()[1] == f'{compared} --remeasure'


def test_help_names_the_variables():
    text = run_script('--help').stdout
    assert all(name in text for name in ('--list', 'NPROC', 'DATA', 'TEACHER', 'OUTDIR', 'VENV', 'TORCHRUN'))
