# Copyright 2026 The GDD-1S authors.
# SPDX-License-Identifier: Apache-2.0
"""Distil an EDM teacher into a one-step generator, or train a teacher.

\b
Examples:
  # Distil the MNIST teacher of this repository (train.sh demo has the full set of options)
  python train.py --outdir=training-runs --data=datasets/mnist-32x32.zip --cond=1 \\
      --transfer=pretrained/edm-mnist-32x32-cond-ve.pkl --freeze=1 --backbone=3 --batch=32
\b
  # Train a teacher on 8 GPUs (sh train.sh --list names EDM's nine published configurations)
  torchrun --standalone --nproc_per_node=8 train.py --precond=edm --arch=ncsnpp \\
      --outdir=training-runs --data=datasets/cifar10-32x32.zip --cond=1
"""

import json
import os
import re
import sys
import time

import click

from dnnlib.cli import run_script
from dnnlib.errors import FailedElsewhere
from evaluations.metrics.names import parse_live_metrics
from training import config as config_lib
from training.official_options import LOSS_ALIASES, OFFICIAL_OPTIONS, check_official_options


def parse_int_list(_ctx, _param, text):
    """Parse '1,2,2' or '1-3' into a list of ints."""
    if text is None:
        return None
    values = []
    for part in text.split(','):
        match = re.fullmatch(r'\s*(\d+)(?:-(\d+))?\s*', part)
        if not match or (match.group(2) and int(match.group(2)) < int(match.group(1))):
            raise click.BadParameter(f'{text!r} must be a list of integers or ranges, such as 1,2,2 or 1-3')
        values += range(int(match.group(1)), int(match.group(2) or match.group(1)) + 1)
    return values


def parse_grid(_ctx, _param, text):
    """Parse 'ROWSxCOLUMNS' into a list of two ints; '0' means none."""
    match = re.fullmatch(r'(\d+)x(\d+)', text)
    if text == '0':
        return None
    if not match or not 0 < int(match.group(1)) * int(match.group(2)) <= 4096:
        raise click.BadParameter(
            f'{text!r} must be ROWSxCOLUMNS with at most 4096 images, such as 8x10, or 0 for none'
        )
    return [int(match.group(1)), int(match.group(2))]


def parse_loss(_ctx, _param, name):
    """Take the names of the newer official repository for ours."""
    return LOSS_ALIASES.get(name, name)


def parse_halflives(_ctx, _param, text):
    """Parse '0.5,0.05' into a list of half-lives in millions of images; the first is the main one."""
    try:
        values = [float(part) for part in text.split(',')]
    except ValueError:
        values = [-1.0]
    if not all(0 <= value < 1e6 for value in values) or len(set(values)) < len(values):
        raise click.BadParameter(
            f'{text!r} must be one or several different numbers, at least 0, such as 0.5 or 0.5,0.05'
        )
    return values


def parse_metrics(_ctx, _param, text):
    """Parse 'fd10k,is50k' into a list of names."""
    try:
        return None if text is None else parse_live_metrics(text)
    except ValueError as error:
        raise click.BadParameter(str(error)) from error


# Options that only some losses read: with the others they are refused, not ignored.
DISTILLATION_OPTIONS = (
    'dlr',
    'loss_type',
    'r1_type',
    'r1_gamma',
    'backbone',
    'd_resolution',
    'd_channel_max',
    'class_embed',
    'sync_bn',
    'diffaug',
    'augment_p',
    'ada_target',
)
TEACHER_OPTIONS = ('label_dropout', 'lr_rampup', 'lr_rampdown')
EDM_OPTIONS = ('p_mean', 'p_std')
Positive = click.FloatRange(min=0, min_open=True)
NonNegative = click.FloatRange(min=0)
Share = click.FloatRange(min=0, max=1)
# Options of methods that need not be used.
STUDENT_OPTIONS = (
    'teacher_type',
    'teacher_only',
    'target',
    'max_steps',
    'distance',
    'lpips',
    'multi_step_g',
    'middle_sigma',
)
INSTANCE_OPTIONS = ('target', 'max_steps', 'distance', 'lpips')


# fmt: off
@click.command(help=__doc__, context_settings=dict(show_default=True, max_content_width=110))
# Main options.
@click.option('--outdir',        help='Folder for the run folders', metavar='DIR', type=str, required=True)
@click.option('--data',          help='Training images: EDM-format zip or folder', metavar='ZIP|DIR', type=str, required=True)
@click.option('--cond',          help='Class-conditional networks; needs labels', metavar='BOOL', type=bool, default=False)
@click.option('--loss',          help='gdd distils; edm, vp, ve train a teacher  [default: gdd]',
              type=click.Choice([*config_lib.LOSSES, *LOSS_ALIASES]), callback=parse_loss)
@click.option('--precond',       help='The same choice under its EDM name; implies --loss',
              type=click.Choice([*config_lib.LOSSES, *LOSS_ALIASES]), callback=parse_loss)
@click.option('--arch',          help='Architecture  [default: as --transfer, or ddpmpp]',
              type=click.Choice(list(config_lib.ARCHITECTURES)))
@click.option('--transfer',      help='Teacher to distil or train on; EDM pickle, or random', metavar='PKL|URL', type=str)
@click.option('--trust-pickle',  help='Run the code inside --transfer; for files you trust', is_flag=True)
@click.option('--duration',      help='Training length  [default: 200]', metavar='MIMG', type=Positive)
@click.option('--resume',        help='training-state-*.pt to go on from; auto: the newest', metavar='PT|auto', type=str)
# Hyperparameters of the network and the optimizer.
@click.option('--batch',         help='Total batch size  [default: 512]', metavar='INT', type=click.IntRange(min=1))
@click.option('--batch-gpu',     help='Limit of one forward pass; accumulates gradients', metavar='INT', type=click.IntRange(min=1))
@click.option('--cbase',         help='model_channels  [default: of --arch]', metavar='INT', type=click.IntRange(min=1))
@click.option('--cres',          help='channel_mult  [default: of --arch]', metavar='LIST', callback=parse_int_list)
@click.option('--num-blocks',    help='Blocks per resolution  [default: of --arch]', metavar='INT', type=click.IntRange(min=1))
@click.option('--attn-res',      help='Resolutions with attention  [default: of --arch]', metavar='LIST', callback=parse_int_list)
@click.option('--lr',            help='Learning rate  [default: 4e-4 gdd, 1e-3 teachers]', metavar='FLOAT', type=Positive)
@click.option('--ema',           help='Half-life of the average; several: 0.5,0.05', metavar='MIMG,...', callback=parse_halflives, default='0.5')
@click.option('--ema-warmup',    help='Half-life / images seen, at most  [default: 0.05]; 0 = off', metavar='FLOAT', type=NonNegative)
@click.option('--ema-beta',      help='Fixed decay instead of a half-life; 0 = off', metavar='FLOAT',
              type=click.FloatRange(min=0, max=1, max_open=True), default=0)
@click.option('--dropout',       help='Dropout  [default: 0 gdd, 0.13 teachers]', metavar='FLOAT', type=Share)
@click.option('--xflip',         help='Add mirrored images', metavar='BOOL', type=bool, default=False)
@click.option('--nan',           help='Non-finite gradients  [default: skip; zero if official]', type=click.Choice(['skip', 'zero']))
@click.option('--nan-limit',     help='Stop after so many non-finite steps; 0 = never', metavar='INT',
              type=click.IntRange(min=0), default=100)
@click.option('--compat',        help='Accidents of the official code: keep or repair', type=click.Choice(['clean', 'official']), default='clean')
@click.option('--max-size',      help='Use a random subset of the images', metavar='INT', type=click.IntRange(min=1))
@click.option('--augment',       help='Probability (teachers: 0.12); gdd: a switch, 0 = off', metavar='FLOAT', type=Share)
# Teachers (--loss=edm, vp or ve).
@click.option('--label-dropout', help='Probability of training without the label', metavar='FLOAT', type=Share, default=0)
@click.option('--ls',            help='Loss scaling, for --precision=fp16', metavar='FLOAT', type=Positive, default=1)
@click.option('--lr-rampup',     help='Linear warm-up', metavar='KIMG', type=click.IntRange(min=0), default=10000)
@click.option('--lr-rampdown',   help='Linear decay to 0 at the end', metavar='KIMG', type=click.IntRange(min=0), default=0)
@click.option('--p-mean',        help='Mean of ln sigma in training (edm)', metavar='FLOAT', type=float, default=-1.2)
@click.option('--p-std',         help='Standard deviation of ln sigma (edm)', metavar='FLOAT', type=Positive, default=1.2)
# Distillation: options of the official code that few runs need.
@click.option('--use-gp',        help='0 = R1 off, D keeps the rate x 16/17', metavar='BOOL', type=bool, default=True)
@click.option('--d-pretrained',  help='0 = random weights in the backbones', metavar='BOOL', type=bool, default=True)
@click.option('--interp224',     help='0 = convolutional backbones get images as they are', metavar='BOOL', type=bool, default=True)
@click.option('--d-type',        help='Official name of this discriminator', metavar='xl', type=str, default='xl')
@click.option('--optimizer-type', help='Optimizer of G and D', type=click.Choice(['adam', 'radam']), default='adam')
@click.option('--weight-decay',  help='L2 term of both optimizers', metavar='FLOAT', type=NonNegative, default=0)
# Distillation (--loss=gdd).
@click.option('--freeze',        help='Freeze level of the generator (GDD-I: 1)', metavar='0..3', type=click.IntRange(0, 3), default=0)
@click.option('--multi-step-g',  help='Steps of the generator, also in training', metavar='INT', type=click.IntRange(1, 64), default=1)
@click.option('--middle-sigma',  help='Second noise level of 2 steps  [default: 0.8]', metavar='FLOAT', type=Positive)
@click.option('--dlr',           help='Learning rate of D, before x 16/17', metavar='FLOAT', type=Positive, default=4e-4)
@click.option('--loss-type',     help='Adversarial loss', type=click.Choice(['ns', 'hinge']), default='ns')
@click.option('--r1-type',       help='Gradient penalty on real images', type=click.Choice(['r1', 'none']), default='r1')
@click.option('--r1-gamma',      help='Weight of R1, for the sum over 1/4 of the batch', metavar='FLOAT', type=NonNegative, default=0.01)
@click.option('--backbone', '--backbones', help='Official set 0..3, or timm names: a,b', metavar='SET|LIST', type=str, default='0')
@click.option('--d-resolution',  help='Input size of the backbones', metavar='PIXELS', type=click.IntRange(min=32), default=224)
@click.option('--d-channel-max', help='Cap on the width of D  [default: none]', metavar='INT', type=click.IntRange(min=8))
@click.option('--class-embed',   help='Class table of D: file or URL, random, computed', metavar='FILE|URL|NAME', type=str, default='random')
@click.option('--sync-bn',       help='Batch norm of D over all processes', metavar='BOOL', type=bool, default=False)
@click.option('--diffaug',       help='DiffAugment in front of the backbones', metavar='BOOL', type=bool, default=False)
@click.option('--augment-p',     help='ADA: probability, or its start value', metavar='FLOAT', type=Share, default=0)
@click.option('--ada-target',    help='ADA: wanted mean sign of real logits; 0 = fixed p', metavar='FLOAT', type=Share, default=0)
# Instance-based distillation (--loss=gdd); adds a distance to the adversarial loss, see docs/methods.md.
@click.option('--teacher-type',  help='Method', type=click.Choice(config_lib.TEACHER_TYPES), default='none')
@click.option('--teacher-only',  help='No adversarial loss, no discriminator', metavar='BOOL', type=bool, default=False)
@click.option('--target',        help='Frozen score network  [default: that of --transfer]', metavar='PKL|URL', type=str)
@click.option('--max-steps',     help='Intervals of the noise range', metavar='INT', type=click.IntRange(2, 65536), default=1024)
@click.option('--distance',      help='Of student and target  [default: lpips]', type=click.Choice(config_lib.DISTANCES))
@click.option('--lpips',         help='Official spelling: 1 = lpips, 0 = l2', metavar='BOOL', type=bool)
# Performance.
@click.option('--device',        help='Where to train', type=click.Choice(['auto', 'cpu', 'cuda']), default='auto')
@click.option('--precision',     help='Number type inside the U-Net  [default: fp32]', type=click.Choice(['fp32', 'fp16', 'bf16']))
@click.option('--fp16',          help='1 = --precision=fp16 for teachers, bf16 for gdd', metavar='BOOL', type=bool)
@click.option('--bench',         help='cuDNN benchmark', metavar='BOOL', type=bool, default=True)
@click.option('--channels-last', help='NHWC memory order', metavar='BOOL', type=bool, default=True)
@click.option('--cache',         help='Keep decoded images in memory', metavar='BOOL', type=bool, default=True)
@click.option('--workers',       help='Loader processes; 0 = load in the main one', metavar='INT', type=click.IntRange(min=0), default=1)
@click.option('--persistent-workers', help='1: they always live as long as the run', metavar='1', type=bool, default=True)
# Output.
@click.option('--desc',          help='Suffix of the run folder', metavar='STR', type=str)
@click.option('--nosubdir',      help='Write into --outdir itself', is_flag=True)
@click.option('--tick',          help='Status line every  [default: 25 gdd, 50 others]', metavar='KIMG', type=click.IntRange(min=1))
@click.option('--snap',          help='Snapshot and grid every  [default: 10 gdd, 50 others]', metavar='TICKS', type=click.IntRange(min=1))
@click.option('--dump',          help='Training state every', metavar='TICKS', type=click.IntRange(min=1), default=20)
@click.option('--dump-min',      help='Training state at least every; 0 = by ticks only', metavar='MINUTES', type=NonNegative, default=30)
@click.option('--keep',          help='States to keep; 0 = all', metavar='INT', type=click.IntRange(min=0), default=2)
@click.option('--grid',          help='Sample grid at snapshots, 0 = none', metavar='ROWSxCOLS', callback=parse_grid, default='8x10')
@click.option('--tensorboard',   help='Also write events for TensorBoard', metavar='BOOL', type=bool, default=False)
# Numbers at snapshots, of the average (docs/training.md).
@click.option('--metrics',       help='Measure at snapshots: fid50k,fd10k,...', metavar='LIST', callback=parse_metrics)
@click.option('--metrics-ref',   help='Reference statistics of --metrics', metavar='NPZ|URL', type=str)
@click.option('--metrics-detector', help='Feature network  [default: that of --metrics-ref]', metavar='NAME', type=str)
@click.option('--metrics-detector-path', help='Weights of the detector, or their folder', metavar='FILE|DIR', type=str)
@click.option('--metrics-batch', help='Images per batch and process', metavar='INT', type=click.IntRange(min=1), default=64)
@click.option('--seed',          help='Random seed', metavar='INT', type=click.IntRange(0, 2 ** 31 - 1), default=0)
@click.option('-n', '--dry-run', help='Print the resolved options and stop', is_flag=True)
@click.pass_context
def main(ctx, **opts):
    outdir, desc, nosubdir, dry_run = (opts.pop(name) for name in ('outdir', 'desc', 'nosubdir', 'dry_run'))
    try:
        refuse_unused(ctx)
        config = config_lib.build_config(opts)
        if dry_run:
            click.echo(json.dumps(config, indent=2))
            return
        run, run_dir = prepare(config, outdir, desc, nosubdir)
    except (ValueError, OSError) as error:
        fail(error)
    except FailedElsewhere:
        sys.exit(1)
    launch(run, run_dir)
# fmt: on


def refuse_unused(ctx):
    """Refuse options that the chosen loss would ignore, also with their default values."""
    params = ctx.params
    loss = config_lib.choose_loss(params['loss'], params['precond'])
    check_official_options(dict(params, loss=loss))
    for names, needed, reason in (
        (DISTILLATION_OPTIONS + OFFICIAL_OPTIONS, ('gdd',), 'a teacher has no discriminator'),
        (STUDENT_OPTIONS, ('gdd',), 'a teacher is not distilled'),
        (TEACHER_OPTIONS, config_lib.TEACHER_LOSSES, 'distillation has no such thing'),
        (EDM_OPTIONS, ('edm',), 'the other losses draw sigma differently'),
    ):
        given = given_option(ctx, names)
        if loss not in needed and given:
            raise config_lib.ConfigError(
                f'{given} needs --loss={" or ".join(needed)}; {reason}, leave it out'
            )
    given = given_option(ctx, INSTANCE_OPTIONS)
    if params['teacher_type'] == 'none' and given:
        raise config_lib.ConfigError(
            f'{given} needs a method that compares with a score network; add for example '
            '--teacher-type=cd, or leave it out'
        )
    given = given_option(
        ctx,
        [
            name
            for name in DISTILLATION_OPTIONS + OFFICIAL_OPTIONS
            if name not in ('optimizer_type', 'weight_decay')
        ],
    )
    if params['teacher_only'] and given:
        raise config_lib.ConfigError(
            f'{given} is about the adversarial loss, which --teacher-only=True leaves out; leave one out'
        )


def given_option(ctx, names):
    """Return the first of some options that the user has typed, as '--option=value', or None."""
    for name in names:
        if ctx.get_parameter_source(name) is not click.core.ParameterSource.DEFAULT:
            return f'--{name.replace("_", "-")}={ctx.params[name]}'
    return None


def prepare(config, outdir, desc, nosubdir):
    """Join the processes and build every part of the run; nothing is written yet."""
    from torch_utils import distributed
    from training.run import resume
    from training.training_loop import TrainingRun

    distributed.init(None if config['device'] == 'auto' else config['device'])
    run_dir = choose_run_dir(config, outdir, desc, nosubdir)
    distributed.barrier()  # no process may create the folder before all have looked at it
    run = TrainingRun(config)
    if config['resume'] == 'auto':  # only now do the options name all that makes a run: teacher, data
        found = distributed.rank0_only(
            lambda: resume.find_run(config, run.world_size, outdir, desc, nosubdir)
        )
        run_dir, config['resume'], notes = distributed.broadcast_object(found)
        distributed.print0(*notes, sep='\n', end='\n' if notes else '')
        run.load_resume()
    return run, run_dir


def choose_run_dir(config, outdir, desc, nosubdir):
    """Name the run folder, as far as it does not depend on what --resume=auto finds."""
    from torch_utils import distributed

    if config['resume'] not in (None, 'auto'):
        run_dir = os.path.dirname(config['resume']) or '.'
    elif nosubdir:
        run_dir = outdir
    else:
        run_dir = config_lib.next_run_dir(
            outdir, config_lib.run_description(config, distributed.get_world_size(), desc)
        )
    if not config['resume'] and os.path.exists(os.path.join(run_dir, 'training_options.json')):
        raise config_lib.ConfigError(
            f'--outdir={run_dir} with --nosubdir already holds a run; choose an empty folder, '
            'or go on with it by --resume=auto'
        )
    check_writable(run_dir)
    return run_dir


def check_writable(run_dir):
    """Refuse a run folder that cannot be created or written to."""
    existing = os.path.abspath(run_dir)
    while not os.path.exists(existing):
        existing = os.path.dirname(existing)
    if not os.path.isdir(existing) or not os.access(existing, os.W_OK | os.X_OK):
        raise config_lib.ConfigError(
            f'--outdir: {run_dir} cannot be written, since {existing} is not a writable folder; '
            'choose another, such as --outdir=training-runs'
        )


def launch(run, run_dir):
    """Print the options and train."""
    from torch_utils import distributed
    from training.images.files import DatasetError
    from training.run.preemption import Preempted
    from training.run.state import StateError
    from training.training_loop import run_training
    from training.update.gradients import NonFiniteError

    distributed.print0(f'Training options:\n{json.dumps(run.config, indent=2)}\n\nRun folder: {run_dir}')
    for remark in run.dataset.remarks:
        distributed.print0(f'Note: {run.config["dataset_kwargs"]["path"]}: {remark}')
    try:
        run_training(run, run_dir)
    except Preempted as error:
        distributed.print0(f'Preempted: {error}', flush=True)
        distributed.destroy()
        sys.exit(error.exit_code)
    # A damaged image comes up when its turn comes; another process may end at any time.
    except (DatasetError, NonFiniteError, StateError, distributed.ProcessLost) as error:
        fail(error)
    except FailedElsewhere:
        sys.exit(1)
    distributed.destroy()


def fail(error):
    """End with one line: rank 0's, or that of another process if rank 0 has nothing to say."""
    from torch_utils.distributed import ProcessLost

    rank = os.environ.get('RANK', '0')
    if rank == '0' and not isinstance(error, ProcessLost):
        raise click.ClickException(str(error))
    # All processes usually find the same mistake, and the launcher ends this one as soon as rank 0
    # has reported it. Ending first could silence rank 0, or whoever else knows why a process was lost.
    time.sleep(5)
    raise click.ClickException(f'process {rank}: {error}')


if __name__ == '__main__':
    run_script(main)
