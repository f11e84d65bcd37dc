# Copyright 2026 The GDD-1S authors.
# SPDX-License-Identifier: Apache-2.0
"""The options of train.py, each declared once with all that is known about it.

Read by the command line and its help, by the refusal of options that a run would not read, by the comparison
of a resumed run (training/run/resume.py), and by the test that holds the table in docs/training.md.
"""

import os
import re
from collections.abc import Iterable
from typing import Any, NoReturn

import click

from dnnlib.cli import fail
from dnnlib.errors import ArgumentError, arg
from dnnlib.param_types import IntList, Number, whole
from training.choices import (
    ARCHITECTURES,
    DISTANCES,
    DISTILLATION_LOSSES,
    LOSSES,
    PERF_MODES,
    TEACHER_BACKBONE,
    TEACHER_LOSSES,
    TEACHER_TYPES,
)
from training.recipes import RECIPES, wrong_choice

# Names of the method in the newer official repository -> ours.
LOSS_ALIASES = {'d2o': 'gdd'}

GDD, EDM, FD = ('gdd',), ('edm',), ('fd',)
NO_TEACHER, NO_D = 'a teacher is not distilled', 'a teacher has no discriminator'
NO_RIVAL = 'the Fréchet distance is the only loss there'
# What else stands in a declaration, and what holds where it does not.
FACTS = {
    'losses': LOSSES,  # who reads the option; with the others it is refused, not ignored
    'reason': None,  # why the others do not
    'part': None,  # of distillation: 'adversarial' or 'comparison', each of which a run can leave out
    # How a resumed run may differ: 'fixed' not at all, 'free' at will, 'file' in path but not in content;
    # 'spelling' and None are no part of a run.
    'resume': 'fixed',
}

POSITIVE, NONNEGATIVE = Number(0, 1e6, above=True), Number(0, 1e6)
RATE = Number(0, 1e3, above=True)  # learning rates; Adam's steps have this length
SHARE, DECAY = Number(0, 1), Number(0, 1, below=True)
LOG_SIGMA, LOG_WIDTH = Number(-20, 20), Number(0, 20, above=True)
COUNT, COUNT0 = whole(1), whole(0)
WIDTH = whole(1, 65536)
FLAG, LOSS = object(), click.Choice([*LOSSES, *LOSS_ALIASES])


class Option(click.Option):
    """An option of train.py; the names in FACTS and `group`, the heading in the help, are attributes."""

    def __init__(
        self, names: str, kind: Any, default: Any, text: str, callback: Any, more: dict[str, Any]
    ) -> None:
        self.facts = {name: more.pop(name) for name in FACTS if name in more}
        if kind is FLAG:
            more['is_flag'] = True
        else:
            metavar = {bool: 'BOOL', str: 'STR'}.get(kind) or (
                kind.name.upper() if isinstance(kind, (Number, IntList)) else None
            )
            more = dict(type=kind, default=default, metavar=metavar) | more
        super().__init__(names.split(), help=text, show_default=True, callback=callback, **more)


def option(names: str, kind: Any, default: Any, text: str, callback: Any = None, **more: Any) -> Option:
    """Declare an option.

    Args:
        names:    Spellings, separated by spaces.
        kind:     Type, a Click choice, or FLAG.
        default:  Value where neither the user nor a recipe gives one; None where it depends on other options.
        text:     One line for the help.
        callback: Function (context, option, value) -> value.
        more:     FACTS, and arguments of click.Option.
    """
    return Option(names, kind, default, text, callback, more)


def section(group: str, *options: Option, **facts: Any) -> list[Option]:
    """Put options under one heading of the help and give them facts that they do not name themselves."""
    for item in options:
        item.group = group
        for name, value in (FACTS | facts | item.facts).items():
            setattr(item, name, value)
    return list(options)


def parse_loss(_ctx: click.Context, _param: click.Parameter, name: str | None) -> str | None:
    """Take the names of the newer official repository for ours."""
    return LOSS_ALIASES.get(name, name)


def parse_grid(_ctx: click.Context, _param: click.Parameter, text: str | None) -> list[int] | None:
    """Parse 'ROWSxCOLUMNS' into a list of two ints; '0' means none."""
    match = re.fullmatch(r'(\d{1,4})x(\d{1,4})', text or '0')
    if text in (None, '0'):
        return None
    if not match or not 0 < int(match.group(1)) * int(match.group(2)) <= 4096:
        raise click.BadParameter(
            f'{text!r} must be ROWSxCOLUMNS with at most 4096 images, such as 8x10, or 0 for none'
        )
    return [int(match.group(1)), int(match.group(2))]


def parse_halflives(_ctx: click.Context, _param: click.Parameter, text: str) -> list[float]:
    """Parse '0.5,0.05' into a list of half-lives in millions of images; the first is the main one."""
    try:
        values = [float(part) for part in text.split(',')]
    except ValueError:
        values = [-1.0]
    if not all(0 <= value < 1e6 for value in values) or not len(set(values)) == len(values) <= 16:
        raise click.BadParameter(
            f'{text!r} must be one or several different numbers, at least 0, such as 0.5 or 0.5,0.05'
        )
    return values


def parse_noise(_ctx: click.Context, _param: click.Parameter, text: str | None) -> str | list[float] | None:
    """Parse the noise levels of the teacher's encoder: a law by name, or '0.1,1' into a list."""
    if text in (None, 'grid', 'lognormal'):
        return text
    try:
        levels = [float(part) for part in text.split(',')]
    except ValueError:
        levels = [0.0]
    if not all(0.002 <= level <= 80 for level in levels):
        raise click.BadParameter(
            f'{text!r} must be grid, lognormal, or noise levels from 0.002 to 80, such as 0.1,1'
        )
    return levels


def parse_input_size(_ctx: click.Context, _param: click.Parameter, size: int | None) -> int | None:
    """Refuse sizes that no backbone can take."""
    if size is not None and 0 < size < 32:
        raise click.BadParameter(f'{size} must be at least 32, or 0 for images as they are')
    return size


def refuse_recipe(text: str) -> NoReturn:
    """End with one line and exit code 2, of several processes only once."""
    try:
        fail(ArgumentError(text))
    except click.ClickException as error:
        error.exit_code = 2
        raise


def complete_recipe(_ctx: click.Context, _param: click.Parameter, incomplete: str) -> list[str]:
    """List the recipes that begin so, for the completion of a shell."""
    return [name for name in RECIPES if name.startswith(incomplete)]


def use_recipe(ctx: click.Context, _param: click.Parameter, name: str | None) -> str | None:
    """Let a recipe fill what the user has left out; the variables of train.sh go before its own files."""
    if name is None:
        return None
    wrong = wrong_choice(name, os.environ)
    if wrong:
        refuse_recipe(wrong)
    ctx.default_map = RECIPES[name].defaults(os.environ)
    return name


# fmt: off
OPTIONS = [
    *section(
        'Main options',
        option('--recipe',        str,    None,  'Fill in a recipe; sh train.sh --list names them',
               use_recipe, metavar='NAME', is_eager=True, shell_complete=complete_recipe, resume=None),
        option('--outdir',        str,    None,  'Folder for the run folders',
               metavar='DIR', required=True, resume=None),
        option('--data',          str,    None,  'Training images: EDM-format zip or folder',
               metavar='ZIP|DIR', required=True, resume='file'),
        option('--cond',          bool,   False, 'Class-conditional networks; needs labels'),
        option('--loss',          LOSS,   None,  'gdd, fd distil; edm, vp, ve: teachers  [default: gdd]',
               parse_loss),
        option('--arch',          click.Choice(list(ARCHITECTURES)), None,
               'Architecture  [default: as --transfer, or ddpmpp]'),
        option('--transfer',      str,    None,  'Teacher to distil or train on; EDM pickle, or random',
               metavar='PKL|URL', resume='file'),
        option('--trust-pickle',  FLAG,   False, 'Run the code inside --transfer; for files you trust',
               resume='free'),
        option('--duration',      POSITIVE, None, 'Training length  [default: 200]', metavar='MIMG',
               resume='free'),
        option('--resume',        str,    None,  'training-state-*.pt to go on from; auto: the newest',
               metavar='PT|auto', resume='free'),
        option('--seed',          COUNT0, 0,     'Random seed'),
        option('-n --dry-run',    FLAG,   False, 'Print the resolved options and stop', resume=None),
        option('--check',         FLAG,   False, 'Look at machine, files, disk, time; stop', resume=None),
        option('--json',          FLAG,   False, 'Print the result of --check as JSON', resume=None),
    ),
    *section(
        'Network and optimizer',
        option('--batch',         COUNT,  None,  'Total batch size  [default: 512]'),
        option('--batch-gpu',     COUNT,  None,  'Limit of one forward pass; accumulates gradients',
               resume='free'),
        option('--cbase',         WIDTH,  None,  'model_channels  [default: of --arch]'),
        option('--cres',          IntList(1024), None, 'channel_mult  [default: of --arch]'),
        option('--num-blocks',    whole(1, 1024), None, 'Blocks per resolution  [default: of --arch]'),
        option('--attn-res',      IntList(4096),  None, 'Resolutions with attention  [default: of --arch]'),
        option('--lr',            RATE,   None,  'Learning rate  [default: 4e-4 gdd, 1e-3 teachers]'),
        option('--ema',           str,    '0.5', 'Half-life of the average; several: 0.5,0.05',
               parse_halflives, metavar='MIMG,...'),
        option('--ema-warmup',    NONNEGATIVE, None,
               'Half-life / images seen, at most  [default: 0.05]; 0 = off'),
        option('--ema-beta',      DECAY,  0,     'Fixed decay instead of a half-life; 0 = off'),
        option('--dropout',       SHARE,  None,  'Dropout  [default: 0 gdd, 0.13 teachers]'),
        option('--augment',       SHARE,  None,  'Probability (teachers: 0.12); gdd: a switch, 0 = off',
               losses=(*GDD, *TEACHER_LOSSES), reason=NO_RIVAL),
        option('--xflip',         bool,   False, 'Add mirrored images'),
        option('--max-size',      COUNT,  None,  'Use a random subset of the images', resume='file'),
        option('--nan',           click.Choice(['skip', 'zero']), None,
               'Non-finite gradients  [default: skip; zero if official]'),
        option('--nan-limit',     COUNT0, 100,   'Stop after so many non-finite steps; 0 = never',
               resume='free'),
        option('--compat',        click.Choice(['clean', 'official']), 'clean',
               'Accidents of the official code: keep or repair'),
    ),
    *section(
        'Teachers (--loss=edm, vp or ve)',
        option('--label-dropout', SHARE,  0,     'Probability of training without the label'),
        option('--lr-rampup',     COUNT0, 10000, 'Linear warm-up', metavar='KIMG'),
        option('--lr-rampdown',   COUNT0, 0,     'Linear decay to 0 at the end', metavar='KIMG'),
        option('--ls',            POSITIVE, 1,   'Loss scaling, for --precision=fp16', losses=LOSSES),
        losses=TEACHER_LOSSES, reason='distillation has no such thing',
    ),
    *section(
        'Teachers (--loss=edm)',
        option('--p-mean',        LOG_SIGMA, -1.2, 'Mean of ln sigma in training'),
        option('--p-std',         LOG_WIDTH, 1.2, 'Standard deviation of ln sigma'),
        losses=EDM, reason='the other losses draw sigma differently',
    ),
    *section(
        'Distillation (--loss=gdd)',
        option('--freeze',        whole(0, 3), 0, 'Freeze level of the generator (GDD-I: 1)', losses=LOSSES),
        option('--multi-step-g',  whole(1, 64), 1, 'Steps of the generator, also in training',
               losses=DISTILLATION_LOSSES),
        option('--middle-sigma',  POSITIVE, None, 'Second noise level of 2 steps  [default: 0.8]',
               losses=DISTILLATION_LOSSES),
        option('--teacher-type',  click.Choice(TEACHER_TYPES), 'none',
               'Adds a distance to a teacher: docs/methods.md'),
        option('--teacher-only',  bool,   False, 'No adversarial loss, no discriminator'),
        option('--optimizer-type', click.Choice(['adam', 'radam']), 'adam', 'Optimizer of G and D',
               reason=NO_D),
        option('--weight-decay',  NONNEGATIVE, 0, 'L2 term of both optimizers', reason=NO_D),
        losses=GDD, reason=NO_TEACHER,
    ),
    *section(
        'Distillation: adversarial loss and discriminator',
        option('--loss-type',     click.Choice(['ns', 'hinge']), 'ns', 'Adversarial loss'),
        option('--dlr',           RATE,   4e-4,  'Learning rate of D, before x 16/17'),
        option('--r1-type',       click.Choice(['r1', 'none', 'empty']), None,
               'R1; empty: off, D keeps x 16/17  [default: r1]'),
        option('--r1-gamma',      NONNEGATIVE, None,
               'Weight of R1  [default: 7.8e-7 x --batch; 0.01 if official]'),
        option('--backbone --backbones', str, '0', 'Official set 0..3, teacher, or timm names: a,b',
               metavar='SET|LIST'),
        option('--teacher-sigma', str,    None,  'Noise for teacher features: grid, lognormal, levels',
               parse_noise, metavar='NAME|LIST', losses=DISTILLATION_LOSSES),
        option('--d-resolution',  whole(0, 4096), None,
               'Input size of the backbones; 0 = as is  [default: 224]',
               parse_input_size, metavar='PIXELS', losses=DISTILLATION_LOSSES),
        option('--d-channel-max', whole(8, 65536), None, 'Cap on the width of D  [default: none]'),
        option('--d-pretrained',  bool,   True,  '0 = random weights in the backbones',
               losses=DISTILLATION_LOSSES),
        option('--class-embed',   str,    None,  'Class table of D: file, URL, random, computed',
               metavar='FILE|URL|NAME'),
        option('--sync-bn',       bool,   False, 'Batch norm of D over all processes'),
        option('--diffaug',       bool,   False, 'DiffAugment in front of the backbones'),
        option('--augment-p',     SHARE,  0,     'ADA: probability, or its start value'),
        option('--ada-target',    SHARE,  0,     'ADA: wanted mean sign of real logits; 0 = fixed p'),
        losses=GDD, reason=NO_D, part='adversarial',
    ),
    *section(
        'Distillation by the Fréchet distance (--loss=fd)',
        option('--fd-features',   str,    'tf_efficientnet_lite0', 'Feature networks, as --backbone',
               metavar='LIST'),
        option('--fd-queue',      whole(2, 10_000_000), 50_000, 'Generated images in the statistics'),
        option('--fd-beta',       DECAY,  0,     'Moving average of moments instead of a queue; 0 = queue'),
        losses=FD, reason='the other losses measure no Fréchet distance',
    ),
    *section(
        'Distillation: distance to a score network (--teacher-type)',
        option('--target',        str,    None,  'Frozen score network  [default: that of --transfer]',
               metavar='PKL|URL', resume='file'),
        option('--max-steps',     whole(2, 65536), 1024, 'Intervals of the noise range'),
        option('--distance',      click.Choice(DISTANCES), None, 'Of student and target  [default: lpips]'),
        losses=GDD, reason=NO_TEACHER, part='comparison',
    ),
    *section(
        'Performance',
        option('--device',        click.Choice(['auto', 'cpu', 'cuda']), 'auto', 'Where to train',
               resume='free'),
        option('--precision',     click.Choice(['fp32', 'fp16', 'bf16']), None,
               'Number type inside the U-Net  [default: fp32]'),
        option('--perf',          click.Choice(PERF_MODES), 'faithful',
               'fast: 16 bits on a GPU; its default awaits quality figures',
               losses=GDD, reason='a teacher has --precision only', part='adversarial', resume='free'),
        option('--reduce',        click.Choice(['fp32', 'bf16']), 'fp32',
               'Number type of gradients on their way between processes', resume='free'),
        option('--bench',         bool,   True,  'cuDNN benchmark', resume='free'),
        option('--channels-last', bool,   True,  'NHWC memory order', resume='free'),
        option('--cache',         bool,   True,  'Keep decoded images in memory', resume='free'),
        option('--workers',       whole(0, 1024), 1, 'Loader processes; 0 = load in the main one',
               resume='free'),
    ),
    *section(
        'Output',
        option('--desc',          str,    None,  'Suffix of the run folder', resume=None),
        option('--nosubdir',      FLAG,   False, 'Write into --outdir itself', resume=None),
        option('--tick',          COUNT,  None,  'Status line every  [default: 25 gdd, 50 others]',
               metavar='KIMG'),
        option('--snap',          COUNT,  None,  'Snapshot and grid every  [default: 10 gdd, 50 others]',
               metavar='TICKS'),
        option('--dump',          COUNT,  20,    'Training state every', metavar='TICKS'),
        option('--dump-min',      NONNEGATIVE, 30, 'Training state at least every; 0 = by ticks only',
               metavar='MINUTES'),
        option('--keep',          COUNT0, 2,     'States to keep; 0 = all'),
        option('--grid',          str,    '8x10', 'Sample grid at snapshots, 0 = none', parse_grid,
               metavar='ROWSxCOLS'),
        option('--tensorboard',   bool,   False, 'Also write events for TensorBoard'),
        option('--wandb',         str,    None,  'Also report to Weights & Biases', metavar='PROJECT'),
        resume='free',
    ),
    *section(
        'Metrics at snapshots, of the average (docs/training.md)',
        option('--metrics',       str,    None,  'Measure at snapshots: fid50k,fd10k,...', metavar='LIST'),
        option('--metrics-ref',   str,    None,  'Reference statistics of --metrics', metavar='NPZ|URL'),
        option('--metrics-detector', str, None,  'Feature network  [default: that of --metrics-ref]',
               metavar='NAME'),
        option('--metrics-detector-path', str, None, 'Weights of the detector, or their folder',
               metavar='FILE|DIR'),
        option('--metrics-batch', WIDTH,  64,    'Images per batch and process'),
        resume='free',
    ),
    *section(
        "Second spellings, from EDM's and GDD's command lines",
        option('--precond',       LOSS,   None,  'The same choice as --loss', parse_loss),
        option('--fp16',          bool,   None,  '1: --precision=fp16 for teachers, bf16 for gdd'),
        option('--lpips',         bool,   None,  '1: --distance=lpips, 0: l2',
               losses=GDD, reason=NO_TEACHER, part='comparison'),
        option('--use-gp',        bool,   True,  '0: --r1-type=empty',
               losses=GDD, reason=NO_D, part='adversarial'),
        option('--interp224',     bool,   True,  '0: --d-resolution=0, for convolutional backbones',
               losses=GDD, reason=NO_D, part='adversarial'),
        option('--d-type',        str,    'xl',  'Official name of this discriminator', metavar='xl',
               losses=GDD, reason=NO_D, part='adversarial'),
        option('--persistent-workers', bool, True, '1: they always live as long as the run', metavar='1'),
        resume='spelling',
    ),
]
# fmt: on


class GroupedCommand(click.Command):
    """A command whose help has the headings of its options."""

    def format_options(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """Write the options, heading by heading in the order of their declaration."""
        groups: dict[str, list[tuple[str, str]]] = {}
        for param in self.get_params(ctx):
            record = param.get_help_record(ctx)
            if record is not None:
                groups.setdefault(getattr(param, 'group', 'Help'), []).append(record)
        for group, records in groups.items():
            with formatter.section(group):
                formatter.write_dl(records)


# ------------------------------------------------------------------------------------------------
# Options that a run would not read.


def refuse_unused(opts: dict[str, Any], given: Iterable[str], weak: Iterable[str] = ()) -> None:
    """Refuse options that the run would ignore, also with their default values.

    Args:
        opts:  Value by name, of all options, with the loss settled.
        given: Names of the options that somebody has given.
        weak:  Those that a recipe has given.
    Raises:
        ArgumentError: The first one that is not read.
    """
    loss, named = opts['loss'], set(given)
    _refuse_resizing(opts, named - set(weak))
    options = [item for item in OPTIONS if item.name in named]
    for item in options:
        if loss not in item.losses:
            needed = arg('loss', ' or '.join(item.losses))
            reason = NO_RIVAL if loss == 'fd' and 'gdd' in item.losses else item.reason
            raise ArgumentError(
                arg(item.name, opts[item.name]), ' needs ', needed, f'; {reason}, leave it out'
            )
    _refuse_of_left_out_parts(opts, options)


def _refuse_of_left_out_parts(opts: dict[str, Any], options: Iterable[Option]) -> None:
    # Of a distillation that leaves out the adversarial loss, or the comparison with a score network.
    for item in options:
        if item.part == 'comparison' and opts['teacher_type'] == 'none':
            raise ArgumentError(
                arg(item.name, opts[item.name]),
                ' needs a method that compares with a score network; add for example ',
                arg('teacher_type', 'cd'),
                ', or leave it out',
            )
        if item.part == 'adversarial' and opts['teacher_only']:
            raise ArgumentError(
                arg(item.name, opts[item.name]),
                ' is about the adversarial loss, which ',
                arg('teacher_only', True),
                ' leaves out; leave one out',
            )


def _refuse_resizing(opts: dict[str, Any], given: set[str]) -> None:
    # The teacher's encoder has the size and the weights that it has.
    option = dict(gdd='backbone', fd='fd_features').get(opts['loss'])
    if option is None or opts['teacher_only'] or opts[option].strip() != TEACHER_BACKBONE:
        return
    for name in ('d_resolution', 'd_pretrained', 'interp224'):
        if name in given:
            raise ArgumentError(
                arg(name, opts[name]),
                ' is about networks that images are resized for, and ',
                arg(option, TEACHER_BACKBONE),
                ' sees them as they are; leave it out',
            )
