# Copyright 2026 The GDD-1S authors.
# SPDX-License-Identifier: Apache-2.0
"""Tests of training/config.py and of the options of train.py that feed it; nothing here reads data or
trains."""

import json
import os
import pathlib
import re
import types

import click
import pytest
from click.testing import CliRunner

import train
from dnnlib.errors import ArgumentError, as_option
from dnnlib.param_types import IntList, Number
from training import options
from training.choices import ARCHITECTURES, OFFICIAL_CLASS_TABLE
from training.config import plan_batch
from training.run import folder

GDD = ('--outdir=runs', '--data=some/cifar10-32x32.zip', '--transfer=teacher.pkl')
EDM = ('--outdir=runs', '--data=some/cifar10-32x32.zip', '--loss=edm')
FD = (*GDD, '--loss=fd')
TEACHERS = ('edm', 'vp', 've')


def build(*args):
    return train.resolve(train.main.make_context('train.py', list(args)))


# ------------------------------------------------------------------------------------------------
# plan_batch.


@pytest.mark.parametrize(
    'batch, batch_gpu, world_size, expected',
    [
        (256, None, 4, (64, 64)),
        (512, 32, 4, (128, 32)),
        (32, 64, 1, (32, 32)),
        (32, 8, 2, (16, 8)),
        (1, None, 1, (1, 1)),
    ],
)
def test_batch_is_split(batch, batch_gpu, world_size, expected):
    assert plan_batch(batch, batch_gpu, world_size) == expected


def test_batch_error_shows_the_arithmetic():
    with pytest.raises(ArgumentError) as caught:
        plan_batch(500, 32, 4)
    assert caught.value.spell(as_option) == (
        '--batch=500 must be a multiple of 4 processes x 32 images per forward pass '
        '(--batch-gpu) = 128; try --batch=512'
    )


def test_every_batch_is_split_evenly_or_refused_with_a_batch_that_works():
    refused = 0
    for world_size in range(1, 9):
        for batch_gpu in (None, 1, 3, 4, 7, 32):
            for batch in range(1, 70):
                try:
                    local, micro = plan_batch(batch, batch_gpu, world_size)
                except ArgumentError as error:
                    refused += 1
                    local, micro = plan_batch(int(str(error).rsplit('=', 1)[1]), batch_gpu, world_size)
                else:
                    assert local * world_size == batch
                assert local % micro == 0 and micro <= (batch_gpu or local)
    assert refused > 100


# ------------------------------------------------------------------------------------------------
# build_config.


def test_defaults_of_distillation():
    config = build(*GDD)
    assert config['batch_size'] == 512 and config['total_nimg'] == 200_000_000
    assert (config['tick_nimg'], config['snapshot_ticks'], config['state_ticks'], config['keep_states']) == (
        25000,
        10,
        20,
        2,
    )
    assert config['optimizer_kwargs'] == dict(lr=4e-4, betas=[0.0, 0.99], eps=1e-8, weight_decay=0)
    assert config['optimizer_type'] == 'adam' and config['feature_kwargs']['weights'] == 'pretrained'
    assert config['loss_kwargs'] == dict(loss_type='ns', r1_gamma=4e-4) and config['r1_interval'] == 16
    assert config['ema_kwargs'] == dict(halflife_nimg=500_000, rampup=0.05, beta=0)
    assert config['network_kwargs'] is None and config['freeze'] == 0
    assert config['network_options'] == dict(dropout=0.0, use_fp16=False) and config['precision'] == 'fp32'
    assert config['feature_kwargs']['names'] == ['deit_base_distilled_patch16_224', 'tf_efficientnet_lite0']
    assert config['feature_kwargs']['input_size'] == 224
    assert not {'augment_kwargs', 'loss_scaling', 'lr_rampup_nimg'} & set(config)


@pytest.mark.parametrize('batch, gamma', [(32, 2.5e-5), (16, 1.25e-5), (256, 2e-4)])
def test_r1_has_the_strength_of_the_demo_at_any_batch(batch, gamma):
    assert build(*GDD, f'--batch={batch}')['loss_kwargs']['r1_gamma'] == gamma  # 3.125e-6 x batch / 4
    official = build(*GDD, f'--batch={batch}', '--compat=official')
    assert official['loss_kwargs']['r1_gamma'] == 0.01
    assert build(*GDD, f'--batch={batch}', '--r1-gamma=3')['loss_kwargs']['r1_gamma'] == 3


@pytest.mark.parametrize('loss', TEACHERS)
def test_defaults_of_teachers(loss):
    config = build(*EDM[:2], f'--loss={loss}')
    assert config['batch_size'] == 512 and config['total_nimg'] == 200_000_000
    assert (config['tick_nimg'], config['snapshot_ticks'], config['lr_rampup_nimg']) == (
        50000,
        50,
        10_000_000,
    )
    assert config['optimizer_kwargs'] == dict(lr=1e-3, betas=[0.9, 0.999], eps=1e-8)
    assert config['network_kwargs'] == dict(
        ARCHITECTURES['ddpmpp'], augment_dim=9, dropout=0.13, use_fp16=False
    )
    assert config['ema_kwargs'] == dict(halflife_nimg=500_000, rampup=0.05, beta=0)
    assert config['augment_kwargs'] == dict(
        p=0.12, xflip=1e8, yflip=1, scale=1, rotate_frac=1, aniso=1, translate_frac=1
    )
    assert (
        config['loss_kwargs'] == (dict(P_mean=-1.2, P_std=1.2) if loss == 'edm' else {})
        and config['loss_scaling'] == 1
    )
    assert not {'d_optimizer_kwargs', 'feature_kwargs', 'freeze'} & set(config)


@pytest.mark.parametrize(
    'args, expected',
    [
        (('--transfer=t.pkl',), 'gdd'),
        (('--loss=vp',), 'vp'),
        (('--precond=vp',), 'vp'),
        (('--precond=ve', '--loss=ve'), 've'),
        (('--precond=edm',), 'edm'),
        (('--loss=edm', '--precond=edm'), 'edm'),
        (('--precond=gdd', '--transfer=t.pkl'), 'gdd'),
    ],
)
def test_loss_and_preconditioning_imply_each_other(args, expected):
    """EDM's command lines know --precond alone, GDD's know both."""
    config = build(*GDD[:2], *args)
    assert config['loss'] == config['precond'] == expected


def test_teacher_without_augmentation():
    """As EDM: no pipe, and no augment_dim among the recorded arguments."""
    config = build(*EDM, '--augment=0')
    assert config['augment_kwargs'] is None and 'augment_dim' not in config['network_kwargs']


def test_teacher_from_another_one():
    """The architecture is the other's, and the average starts at once, as in EDM; both can be overruled."""
    config = build(*EDM, '--transfer=t.pkl')
    assert config['network_kwargs'] is None and config['ema_kwargs']['rampup'] == 0
    assert config['network_options'] == dict(augment_dim=9, dropout=0.13, use_fp16=False)
    config = build(*EDM, '--transfer=t.pkl', '--arch=adm', '--ema-warmup=0.1')
    assert config['network_kwargs']['model_type'] == 'DhariwalUNet' and config['ema_kwargs']['rampup'] == 0.1
    assert build(*GDD)['ema_kwargs']['rampup'] == 0.05


@pytest.mark.parametrize(
    'base, args, precision, use_fp16',
    [
        (EDM, ('--fp16=1',), 'fp16', True),
        (EDM, ('--precision=fp16',), 'fp16', True),
        (EDM, ('--precision=bf16',), 'bf16', False),
        (EDM, ('--fp16=0',), 'fp32', False),
        (GDD, ('--fp16=1',), 'bf16', True),
        (GDD, ('--precision=bf16',), 'bf16', True),
        (GDD, ('--precision=bf16', '--fp16=1'), 'bf16', True),
        (GDD, ('--fp16=0', '--precision=fp32'), 'fp32', False),
    ],
)
def test_precision(base, args, precision, use_fp16):
    """use_fp16 is what the network itself can express: float16 in EDM's preconditioners, bfloat16 in
    GDD's."""
    config = build(*base, *args)
    assert config['precision'] == precision and config['network_options']['use_fp16'] == use_fp16
    assert folder.run_description(config, 1).endswith(f'-{precision}')


def test_discriminator_pays_for_lazy_r1():
    """One step in 17 is R1's: lr and beta2 are those of 16/17 of a step (official values)."""
    found = build(*GDD, '--dlr=1e-4')['d_optimizer_kwargs']
    assert found['lr'] == pytest.approx(9.411764706e-5, rel=1e-9) and found['betas'][0] == 0.0
    assert found['betas'][1] == pytest.approx(0.9905854573, abs=5e-11)
    assert found['betas'][1] != pytest.approx(0.99, abs=1e-4)  # the correction left out
    without = build(*GDD, '--dlr=1e-4', '--r1-type=none')
    assert without['d_optimizer_kwargs'] == dict(lr=1e-4, betas=[0.0, 0.99], eps=1e-8, weight_decay=0)
    assert without['r1_interval'] == 0
    # --use-gp=0 leaves the official R1 step in place, but empty.
    empty = build(*GDD, '--dlr=1e-4', '--use-gp=0')
    assert empty['d_optimizer_kwargs'] == found and empty['r1_interval'] == 0


@pytest.mark.parametrize(
    'args, expected',
    [
        ((), None),
        (('--augment=0',), None),
        (('--augment=0.12',), None),
        (('--augment=0', '--ada-target=0.6'), None),
        (('--ada-target=0.6',), dict(p=0, target=0.6, batch_size=512, limit=1.0)),
        (('--augment=0.5', '--augment-p=0.2'), dict(p=0.2, target=0, batch_size=512, limit=1.0)),
        (
            ('--ada-target=0.6', '--augment-p=0.2', '--compat=official'),
            dict(p=0.2, target=0.6, batch_size=512, limit=None),
        ),
    ],
)
def test_augmentation_of_distillation(args, expected):
    """The official rule: --augment is a switch, and without a probability or a target there is no pipe at
    all."""
    config = build(*GDD, *args)
    assert config['ada_kwargs'] == expected and 'augment_kwargs' not in config
    expects = any(arg.startswith('--augment=0.') for arg in args) or len(args) > 1
    assert (config['augment_notice'] is not None) == (expects and expected is None)


def test_inactive_augmentation_is_explained():
    assert build(*GDD, '--augment=0.12')['augment_notice'] == (
        'Warning: no augmentation: --augment=0.12 only permits it, as in the official code; add '
        '--ada-target=0.6 (adaptive) '
        'or --augment-p=0.2 (fixed), or leave --augment out'
    )
    assert build(*GDD, '--augment=0', '--augment-p=0.3')['augment_notice'] == (
        'Warning: no augmentation: --augment=0 switches off what --augment-p=0.3 asks for; leave --augment '
        'out'
    )


def test_both_spellings_of_the_backbones():
    """The official option and the plural; the last one counts, as with any option given twice."""
    assert (
        build(*GDD, '--backbones=3')
        == build(*GDD, '--backbone=3')
        == build(*GDD, '--backbone=0', '--backbones=3')
    )


def test_official_accidents_are_one_switch():
    assert build(*GDD, '--compat=official')['feature_kwargs']['moved_statistics']
    assert not build(*GDD)['feature_kwargs']['moved_statistics']


@pytest.mark.parametrize(
    'args, text',
    [
        (
            GDD[:2],
            '--transfer is missing: --loss=gdd distils a teacher.*--transfer=pretrained/.*use --loss=edm',
        ),
        ((*EDM, '--freeze=1'), '--freeze=1 needs --loss=gdd; .* use --freeze=0'),
        ((*EDM, '--precond=gdd'), '--precond=gdd does not go with --loss=edm; use --precond=edm'),
        ((*GDD, '--cbase=64'), '--cbase needs --arch; .* leave both out, or add --arch=ncsnpp'),
        ((*GDD, '--attn-res=8'), '--attn-res needs --arch'),
        ((*EDM, '--transfer=t.pkl', '--cres=1,2'), '--cres needs --arch; .* that of the teacher'),
        ((*EDM, '--precond=vp'), '--precond=vp does not go with --loss=edm; use --precond=edm'),
        ((*EDM, '--label-dropout=0.1'), '--label-dropout=0.1 needs labels to drop; use --cond=True'),
        ((*EDM, '--trust-pickle'), '--trust-pickle is about the file of --transfer'),
        (
            (*EDM, '--fp16=1', '--precision=bf16'),
            '--fp16=True means --precision=fp16 with --loss=edm, not --precision=bf16; leave',
        ),
        (
            (*EDM, '--fp16=0', '--precision=fp16'),
            '--fp16=False means --precision=fp32 with --loss=edm, not --precision=fp16',
        ),
        (
            (*GDD[:2], '--transfer=random'),
            '--transfer=random is .* needs --loss=gdd and --arch; add --arch=ncsnpp',
        ),
        (
            (*EDM, '--transfer=random', '--arch=adm'),
            '--transfer=random is .* leave --transfer out to train a teacher from random',
        ),
        (
            (*GDD, '--ema=0.5,0.05', '--ema-beta=0.99'),
            '--ema-beta=0.99 replaces the half-life, of which --ema gives 2; leave one',
        ),
        (
            (*GDD, '--metrics=fd2k'),
            '--metrics=fd2k needs --metrics-ref, .* for example --metrics-ref=datasets/mnist',
        ),
        (
            (*GDD, '--metrics-ref=a.npz'),
            '--metrics-ref=a.npz needs --metrics, .* for example --metrics=fd10k, or leave it out',
        ),
        ((*GDD, '--metrics-detector-path=a'), '--metrics-detector-path=a needs --metrics'),
        ((*FD, '--dlr=1e-4'), '--dlr=0.0001 needs --loss=gdd; the Fréchet distance is the only loss there'),
        ((*FD, '--teacher-type=cd'), '--teacher-type=cd needs --loss=gdd; the Fréchet distance is the only'),
        ((*FD, '--augment=0.1'), '--augment=0.1 needs --loss=gdd or edm or vp or ve; the Fréchet distance'),
        (
            (*GDD, '--fd-queue=9'),
            '--fd-queue=9 needs --loss=fd; the other losses measure no Fréchet distance',
        ),
        ((*EDM, '--teacher-sigma=1'), '--teacher-sigma=.* needs --loss=gdd or fd; a teacher has no'),
        ((*GDD, '--teacher-sigma=1'), '--teacher-sigma=.* add --backbone=teacher, or leave it out'),
        ((*FD, '--teacher-sigma=grid'), '--teacher-sigma=grid is about .* add --fd-features=teacher'),
        (
            (*GDD[:2], '--transfer=random', '--arch=ncsnpp', '--backbone=teacher'),
            '--backbone=teacher means the encoder of the teacher, and --transfer=random has none; use',
        ),
        (
            (*GDD, '--backbone=teacher', '--d-resolution=64'),
            '--d-resolution=64 is about .* and --backbone=teacher sees them as they are; leave it out',
        ),
        ((*FD, '--fd-features=teacher', '--d-pretrained=0'), '--d-pretrained=False is about .* leave it out'),
        ((*FD, '--fd-features=a b'), "--fd-features=a b: 'a b' is neither .* use --fd-features=3"),
        ((*GDD, '--precision=fp16'), '--precision=fp16 does not go with --loss=gdd, .* use --precision=bf16'),
    ],
)
def test_options_that_exclude_or_need_each_other(args, text):
    with pytest.raises(ArgumentError) as caught:
        build(*args)
    message = caught.value.spell(as_option)
    assert re.search(text, message) and '\n' not in message


def test_distillation_by_the_frechet_distance():
    """The published optimizer and rate of a network of many steps (arXiv 2604.28190); no discriminator."""
    config = build(*FD)
    assert config['optimizer_kwargs'] == dict(lr=1e-5, betas=[0.9, 0.95], eps=1e-8)
    assert config['feature_kwargs']['names'] == ['tf_efficientnet_lite0']
    assert (config['fd_queue'], config['fd_beta'], config['teacher_sigma']) == (50_000, 0, None)
    assert not {'d_optimizer_kwargs', 'discriminator_kwargs', 'instance_kwargs', 'loss_kwargs'} & set(config)
    config = build(*FD, '--fd-features=teacher,vgg16_bn', '--d-resolution=64', '--freeze=1')
    assert config['feature_kwargs']['names'] == ['teacher', 'vgg16_bn'] and config['freeze'] == 1
    assert config['feature_kwargs']['input_size'] == 64 and config['teacher_sigma'] == 'grid'


@pytest.mark.parametrize(
    'text, expected',
    [('grid', 'grid'), ('lognormal', 'lognormal'), ('0.1,1', [0.1, 1.0]), ('0.002', [0.002])],
)
def test_noise_of_the_teachers_encoder(text, expected):
    assert build(*GDD, '--backbone=teacher', f'--teacher-sigma={text}')['teacher_sigma'] == expected
    mixed = build(*GDD, '--backbone=teacher,tf_efficientnet_lite0', '--d-resolution=64')
    assert mixed['teacher_sigma'] == 'grid' and build(*GDD)['teacher_sigma'] is None


def test_r1_off_is_paid_for_in_the_official_code():
    """There the rate of D is x 16/17 whatever the R1 option says, which --compat=official keeps."""
    clean = build(*GDD, '--dlr=1e-4', '--r1-type=none')
    official = build(*GDD, '--dlr=1e-4', '--r1-type=none', '--compat=official')
    assert clean['r1_interval'] == official['r1_interval'] == 0
    assert clean['d_optimizer_kwargs']['lr'] == 1e-4 and clean['d_optimizer_kwargs']['betas'] == [0, 0.99]
    assert official['d_optimizer_kwargs'] == build(*GDD, '--dlr=1e-4')['d_optimizer_kwargs']
    assert build(*GDD, '--dlr=1e-4', '--r1-type=empty') | dict(options=0) == build(
        *GDD, '--dlr=1e-4', '--use-gp=0'
    ) | dict(options=0)


@pytest.mark.parametrize(
    'args, expected',
    [
        ((), 'random'),
        (('--cond=1',), 'random'),
        (('--compat=official',), 'random'),  # no classes, no table
        (('--compat=official', '--cond=1'), OFFICIAL_CLASS_TABLE),
        (('--compat=official', '--cond=1', '--class-embed=random'), 'random'),
        (('--compat=official', '--cond=1', '--class-embed=computed'), 'computed'),
    ],
)
def test_class_table(args, expected):
    """The official code always loads its ImageNet rows."""
    assert build(*GDD, *args)['discriminator_kwargs']['class_embed'] == expected


# The commands of EDM's README: the one in its text, and the rows of its table.
EDM_COMMANDS = [
    '--cond=1 --arch=ddpmpp',
    '--cond=1 --arch=ncsnpp',
    '--cond=0 --arch=ddpmpp',
    '--cond=0 --arch=ncsnpp',
    '--cond=0 --arch=ddpmpp --batch=256 --cres=1,2,2,2 --lr=2e-4 --dropout=0.05 --augment=0.15',
    '--cond=0 --arch=ncsnpp --batch=256 --cres=1,2,2,2 --lr=2e-4 --dropout=0.05 --augment=0.15',
    '--cond=0 --arch=ddpmpp --batch=256 --cres=1,2,2,2 --lr=2e-4 --dropout=0.25 --augment=0.15',
    '--cond=0 --arch=ncsnpp --batch=256 --cres=1,2,2,2 --lr=2e-4 --dropout=0.25 --augment=0.15',
    '--cond=1 --arch=adm --duration=2500 --batch=4096 --lr=1e-4 --ema=50 --dropout=0.10 --augment=0 '
    '--fp16=1 --ls=100 '
    '--tick=200',
]


@pytest.mark.parametrize('command', EDM_COMMANDS)
def test_commands_of_edm_say_what_they_need(command):
    """They train a teacher without saying so; what the error asks for is all that is missing."""
    args = [*GDD[:2], *command.split(), '-n']
    result = CliRunner().invoke(train.main, args)
    assert result.exit_code == 1 and result.output.startswith(
        'Error: --transfer is missing: --loss=gdd distils'
    )
    [added] = re.findall('needs (--[^ ]*) added, and nothing else', result.output)
    config = json.loads(CliRunner().invoke(train.main, [*args, added]).output)
    assert (
        config['loss'] == 'edm'
        and config['arch'] in command
        and config['augment_kwargs']
        or '--augment=0 ' in command
    )


def numbers():
    """Yield every numeric option of train.py."""
    for option in options.OPTIONS:
        if isinstance(option.type, (Number, IntList)) or option.name in ('ema', 'grid'):
            yield option.opts[-1]


@pytest.mark.parametrize(
    'value', ['inf', '-inf', 'nan', '1e300', '9' * 5000, '1' + '0' * 12, '-1e12', '', '1-' + '9' * 12]
)
def test_numbers_beyond_reason_are_refused(value):
    """By each option that takes a number, whatever it is about."""
    for option in numbers():
        result = CliRunner().invoke(train.main, [*GDD, f'{option}={value}', '-n'])
        assert result.exit_code == 2 and isinstance(result.exception, SystemExit), (
            option,
            result.output[:300],
        )
        assert f"Invalid value for '{option}'" in result.output or option in ('--dry-run',), result.output[
            :300
        ]


def test_options_that_take_numbers_have_a_range():
    """Click's own types let `nan` pass."""
    assert len(list(numbers())) > 40
    for option in options.OPTIONS:
        assert not isinstance(option.type, (click.types.FloatParamType, click.types.IntParamType)), (
            option.name
        )


def test_half_lives():
    """The first is the official one; each further one has its own average."""
    assert build(*GDD, '--ema=0.05')['ema_kwargs'] == dict(halflife_nimg=50_000, rampup=0.05, beta=0)
    assert build(*GDD, '--ema=0.5,0.05,0')['ema_kwargs'] == dict(
        halflife_nimg=500_000, rampup=0.05, beta=0, extra_nimg=[50_000, 0]
    )


def test_non_finite_gradients_are_treated_as_officially_on_request():
    assert build(*GDD)['nan'] == 'skip' and build(*GDD, '--nan=zero')['nan'] == 'zero'
    assert (
        build(*GDD, '--compat=official')['nan'] == 'zero'
        and build(*GDD, '--compat=official', '--nan=skip')['nan'] == 'skip'
    )


def test_metrics_are_resolved():
    assert build(*GDD)['metrics_kwargs'] is None
    assert build(*MEASURED, '--metrics= FD2k,is50K')['metrics_kwargs'] == dict(
        metrics=['fd2k', 'is50k'], ref='ref.npz', detector=None, detector_path=None, batch=64
    )


@pytest.mark.parametrize(
    'text, expected', [('1,2,2', [1, 2, 2]), ('1-3', [1, 2, 3]), ('4, 1-2,8', [4, 1, 2, 8])]
)
def test_lists(text, expected):
    assert build(*EDM, f'--cres={text}')['network_kwargs']['channel_mult'] == expected


@pytest.mark.parametrize(
    'option',
    [
        '--cres=1,,2',
        '--cres=3-1',
        '--attn-res=x',
        '--grid=0x4',
        '--grid=8',
        '--grid=65x64',
        '--freeze=4',
        '--ema-beta=1',
        '--duration=0',
        '--batch=0',
        '--dropout=1.5',
        '--seed=-1',
        '--augment=2',
        '--ls=0',
        '--ema=-1',
        '--ema=0.5,0.5',
        '--ema=x',
        '--ema=',
        '--ema=nan',
        '--nan=keep',
        '--nan-limit=-1',
        '--metrics=fid',
        '--metrics=fd1',
        '--metrics=fd2k,fd2000',
        '--metrics=2k',
        '--loss=ddpm',
        '--precision=fp8',
        '--p-std=0',
        '--label-dropout=-1',
        '--teacher-sigma=0.001',
        '--teacher-sigma=1,,2',
        '--teacher-sigma=nan',
        '--fd-queue=1',
        '--fd-beta=1',
    ],
)
def test_malformed_values_are_refused_by_the_command_line(option):
    result = CliRunner().invoke(train.main, [*GDD, option, '--dry-run'])
    assert (
        result.exit_code == 2 and option.split('=')[0] in result.output and 'Traceback' not in result.output
    )


# ------------------------------------------------------------------------------------------------
# Every option has an effect.

# Option -> (arguments without it, with it). A new option of train.py needs a line here.
ARCH = (*GDD, '--arch=ncsnpp')
MEASURED = (*GDD, '--metrics=fd2k', '--metrics-ref=ref.npz')
CD = (*GDD, '--teacher-type=cd')
EFFECTS = {
    'outdir': (GDD, '--outdir=elsewhere'),
    'data': (GDD, '--data=other.zip'),
    'cond': (GDD, '--cond=1'),
    'loss': (EDM[:2], '--loss=edm', '--loss=vp'),
    'precond': (EDM[:2], '--precond=edm', '--precond=ve'),
    'arch': (GDD, '--arch=adm'),
    'transfer': (GDD, '--transfer=other.pkl'),
    'trust_pickle': (GDD, '--trust-pickle'),
    'duration': (GDD, '--duration=0.5'),
    'resume': (GDD, '--resume=folder/training-state-000001.pt'),
    'batch': (GDD, '--batch=64'),
    'batch_gpu': (GDD, '--batch-gpu=16'),
    'cbase': (ARCH, '--cbase=64'),
    'cres': (ARCH, '--cres=1,2'),
    'num_blocks': (ARCH, '--num-blocks=1'),
    'attn_res': (ARCH, '--attn-res=8'),
    'lr': (GDD, '--lr=1e-5'),
    'lr_rampup': (EDM, '--lr-rampup=7'),
    'lr_rampdown': (EDM, '--lr-rampdown=7'),
    'p_mean': (EDM, '--p-mean=-0.4'),
    'p_std': (EDM, '--p-std=1'),
    'augment': (EDM, '--augment=0.15'),
    'augment_p': (GDD, '--augment-p=0.2'),
    'ada_target': (GDD, '--ada-target=0.6'),
    'ls': (EDM, '--ls=100'),
    'label_dropout': ((*EDM, '--cond=1'), '--label-dropout=0.1'),
    'precision': (EDM, '--precision=bf16'),
    'ema': (GDD, '--ema=0.1'),
    'ema_warmup': (GDD, '--ema-warmup=0'),
    'ema_beta': (GDD, '--ema-beta=0.99'),
    'dropout': (GDD, '--dropout=0.1'),
    'xflip': (GDD, '--xflip=1'),
    'max_size': (GDD, '--max-size=10'),
    'compat': (GDD, '--compat=official'),
    'freeze': (GDD, '--freeze=1'),
    'multi_step_g': (GDD, '--multi-step-g=2'),
    'middle_sigma': ((*GDD, '--multi-step-g=2'), '--middle-sigma=1'),
    'teacher_type': (GDD, '--teacher-type=pd', '--teacher-type=cd'),
    'teacher_only': (CD, '--teacher-only=1'),
    'target': (CD, '--target=score.pkl'),
    'max_steps': (CD, '--max-steps=16'),
    'distance': (CD, '--distance=huber'),
    'lpips': (CD, '--lpips=0'),
    'fd_features': (FD, '--fd-features=teacher'),
    'fd_queue': (FD, '--fd-queue=1000'),
    'fd_beta': (FD, '--fd-beta=0.99'),
    'teacher_sigma': ((*GDD, '--backbone=teacher'), '--teacher-sigma=0.1,1'),
    'dlr': (GDD, '--dlr=1e-5'),
    'loss_type': (GDD, '--loss-type=hinge'),
    'r1_type': (GDD, '--r1-type=none'),
    'r1_gamma': (GDD, '--r1-gamma=1'),
    'backbone': (GDD, '--backbone=3'),
    'd_resolution': (GDD, '--d-resolution=64'),
    'd_channel_max': (GDD, '--d-channel-max=64'),
    'class_embed': (GDD, '--class-embed=computed'),
    'sync_bn': (GDD, '--sync-bn=1'),
    'diffaug': (GDD, '--diffaug=1'),
    'device': (GDD, '--device=cpu'),
    'fp16': (GDD, '--fp16=1'),
    'perf': ((*GDD, '--compat=official'), '--perf=fast'),
    'reduce': (GDD, '--reduce=bf16'),
    'bench': (GDD, '--bench=0'),
    'channels_last': (GDD, '--channels-last=0'),
    'cache': (GDD, '--cache=0'),
    'workers': (GDD, '--workers=0'),
    'desc': (GDD, '--desc=name'),
    'nosubdir': (GDD, '--nosubdir'),
    'tick': (GDD, '--tick=1'),
    'snap': (GDD, '--snap=1'),
    'dump': (GDD, '--dump=1'),
    'dump_min': (GDD, '--dump-min=5'),
    'keep': (GDD, '--keep=0'),
    'nan': (GDD, '--nan=zero'),
    'nan_limit': (GDD, '--nan-limit=7'),
    'tensorboard': (GDD, '--tensorboard=1'),
    'wandb': (GDD, '--wandb=project'),
    'metrics': ((*GDD, '--metrics-ref=ref.npz', '--metrics=fd2k'), '--metrics=fd3k'),
    'metrics_ref': ((*GDD, '--metrics=fd2k', '--metrics-ref=ref.npz'), '--metrics-ref=other.npz'),
    'metrics_detector': (MEASURED, '--metrics-detector=inception'),
    'metrics_batch': (MEASURED, '--metrics-batch=8'),
    'metrics_detector_path': (MEASURED, '--metrics-detector-path=weights'),
    'grid': (GDD, '--grid=2x2'),
    'seed': (GDD, '--seed=1'),
    'dry_run': None,
    'check': None,
    'json': None,
    'recipe': (('--recipe=demo',), '--recipe=demo-gdd'),
    'use_gp': (GDD, '--use-gp=0'),
    'd_pretrained': (GDD, '--d-pretrained=0'),
    'interp224': (GDD, '--interp224=0'),
    'optimizer_type': (GDD, '--optimizer-type=radam'),
    'weight_decay': (GDD, '--weight-decay=0.01'),
    'd_type': None,
    'persistent_workers': None,  # one value each, all others are refused: see below
}


@pytest.fixture
def resolve(monkeypatch):
    """Run the command up to the point where training would be built; give (config, run folder)."""

    def run(*args):
        found = []
        monkeypatch.setattr(train, 'build_run', lambda config: types.SimpleNamespace(config=config))
        monkeypatch.setattr(
            folder,
            'claim_run_dir',
            lambda outdir, text, nosubdir, _options: (
                outdir if nosubdir else folder.next_run_dir(outdir, text)
            ),
        )
        monkeypatch.setattr(train, 'check_files', lambda *_: None)
        monkeypatch.setattr(train, 'launch', lambda run, run_dir: found.append((run.config, run_dir)))
        result = CliRunner().invoke(train.main, list(args), catch_exceptions=False)
        assert result.exit_code == 0, result.output
        return found[0]

    return run


def test_the_table_names_every_option():
    assert set(EFFECTS) == {param.name for param in train.main.params}


@pytest.mark.parametrize('name', [name for name, effect in EFFECTS.items() if effect])
def test_option_changes_the_run(name, resolve):
    base, option, *rest = EFFECTS[name]  # rest: what to compare with, where the option cannot be left out
    assert resolve(*base, option) != resolve(*base, *rest)


def test_every_resolved_value_is_read():
    """What build_config returns must be used by the modules that get it, not only printed."""
    root = pathlib.Path(options.__file__).parent
    text = ''.join(path.read_text() for path in [*root.rglob('*.py'), pathlib.Path(train.__file__)])
    keys = set(build(*GDD)) | set(build(*EDM)) | set(build(*FD))
    assert keys == {key for key in keys if f"config['{key}']" in text or f"c['{key}']" in text}


@pytest.mark.parametrize(
    'option',
    [
        '--dlr=1e-4',
        '--r1-gamma=0.01',
        '--backbone=0',
        '--class-embed=random',
        '--diffaug=0',
        '--d-type=xl',
        '--use-gp=1',
        '--weight-decay=0',
        '--optimizer-type=adam',
        '--interp224=1',
        '--augment-p=0',
        '--ada-target=0',
    ],
)
def test_options_of_the_discriminator_are_refused_for_teachers(option):
    """Also with their default value: whoever types them expects something of them."""
    result = CliRunner().invoke(train.main, [*EDM, option, '-n'])
    assert result.exit_code == 1 and result.output.startswith(f'Error: {option.split("=")[0]}=')
    assert 'needs --loss=gdd; a teacher has no discriminator, leave it out' in result.output


@pytest.mark.parametrize('option', ['--label-dropout=0', '--lr-rampup=10000', '--lr-rampdown=0'])
def test_options_of_teachers_are_refused_for_distillation(option):
    result = CliRunner().invoke(train.main, [*GDD, option, '-n'])
    assert result.exit_code == 1 and result.output.startswith(f'Error: {option.split("=")[0]}=')
    assert 'needs --loss=edm or vp or ve; distillation has no such thing, leave it out' in result.output


@pytest.mark.parametrize(
    'value, refused, text',
    [
        (
            '--d-type=xl',
            '--d-type=style',
            '--d-type=style is not available: the other .* do not exist; use --d-type=xl, or leave it out',
        ),
        (
            '--persistent-workers=True',
            '--persistent-workers=0',
            '--persistent-workers=False is not available: .* as long as the run',
        ),
        (
            '--ls=1',
            '--ls=100',
            '--ls=100 needs --loss=edm or vp or ve: .*the official code ignores the option.*; use --ls=1',
        ),
        (
            '--interp224=1',
            '--interp224=0 --d-resolution=64',
            '--interp224=False says .* --d-resolution=64 to what; leave one',
        ),
    ],
)
def test_official_options_with_one_meaning(value, refused, text):
    """Accepted where a script would otherwise break, never ignored: any other value is refused."""

    def run(option):
        return CliRunner().invoke(train.main, [*GDD, *option.split(), '-n'])

    assert run(value).exit_code == 0 and json.loads(run(value).output) == build(*GDD)
    result = run(refused)
    assert result.exit_code == 1 and re.fullmatch(f'Error: {text}.*\n', result.output), result.output


def test_the_newer_official_name_of_the_method():
    result = CliRunner().invoke(train.main, [*GDD, '--loss=d2o', '--precond=d2o', '-n'])
    assert json.loads(result.output) == build(*GDD, '--loss=gdd')


@pytest.mark.parametrize('option', ['--p-mean=-1.2', '--p-std=1.2'])
@pytest.mark.parametrize('base', [GDD, (*EDM[:2], '--loss=vp'), (*EDM[:2], '--precond=ve')])
def test_options_of_the_edm_loss_are_refused_for_the_others(option, base):
    result = CliRunner().invoke(train.main, [*base, option, '-n'])
    assert result.exit_code == 1
    assert (
        result.output
        == f'Error: {option} needs --loss=edm; the other losses draw sigma differently, leave it out\n'
    )


def test_options_have_help_and_units():
    for param in train.main.params:
        assert param.help and len(param.help) <= 60, param.name
        assert param.metavar or param.is_flag or hasattr(param.type, 'choices'), param.name


def test_run_folder_follows_the_options(resolve):
    config, run_dir = resolve(*GDD, '--nosubdir')
    assert run_dir == 'runs' and config['dataset_kwargs']['path'] == 'some/cifar10-32x32.zip'
    assert resolve(*GDD)[1] == os.path.join(
        'runs', '00000-cifar10-32x32-uncond-teacher-gdd-gdd-gpus1-batch512-fp32'
    )
    assert resolve(*GDD, '--resume=a/b/training-state-000001.pt')[1] == 'a/b'
    assert resolve(*GDD, '--resume=training-state-000001.pt')[1] == '.'


# ------------------------------------------------------------------------------------------------
# Dry run.


@pytest.mark.parametrize('args', [GDD, EDM])
def test_dry_run_prints_json_without_data(args, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    result = CliRunner().invoke(train.main, [*args, '--dry-run'])
    assert result.exit_code == 0 and json.loads(result.output) == build(*args) and not os.listdir(tmp_path)


def test_dry_run_reports_impossible_options():
    result = CliRunner().invoke(train.main, [*GDD[:2], '-n'])
    assert (
        result.exit_code == 1
        and result.output.startswith('Error: --transfer is missing')
        and result.output.count('\n') == 1
    )
