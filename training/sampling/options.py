# Copyright 2026 The GDD-1S authors.
# SPDX-License-Identifier: Apache-2.0
"""Sampler options of the command line, the same for every command that generates images.

    @click.command()
    @add_sampler_options
    def command(**options):
        name, kwargs = build_sampler(net, options, metadata=info.metadata)
        images, labels = sample_batch(net, seeds, name, **kwargs)

The parameters are called sampler, steps, sigma_min, sigma_max, rho, S_churn, S_min, S_max, S_noise,
middle_sigma, solver, disc, schedule and scaling (SAMPLER_PARAMETERS). Their names on the command line are
those of the official EDM and GDD scripts, underscores included; so the messages of this file, which declares
them, spell them.
"""

import math

import click
import torch

from torch_utils import distributed as dist
from training.sampling import samplers
from training.sampling.noise_levels import (
    DISCRETIZATIONS,
    EPSILON_S,
    SCALINGS,
    SCHEDULES,
    SIGMA_MAX,
    SIGMA_MIN,
    build_schedule,
    check_steps,
    noise_levels,
    noise_range,
    vp_betas,
)

SAMPLER_CHOICES = ('one_step', 'edm', 'multi_step', 'two_step')
# Parameter of the command line -> argument of the samplers, in the order of --help.
SAMPLER_ARGUMENTS = {
    'steps': 'num_steps',
    'sigma_min': 'sigma_min',
    'sigma_max': 'sigma_max',
    'rho': 'rho',
    'S_churn': 'S_churn',
    'S_min': 'S_min',
    'S_max': 'S_max',
    'S_noise': 'S_noise',
    'middle_sigma': 'middle_sigma',
    'solver': 'solver',
    'disc': 'discretization',
    'schedule': 'schedule',
    'scaling': 'scaling',
}
SAMPLER_PARAMETERS = ('sampler', *SAMPLER_ARGUMENTS)
ABLATION_OPTIONS = {'solver', 'disc', 'schedule', 'scaling'}
CHURN_OPTIONS = {'S_min', 'S_max', 'S_noise'}
LARGEST_VALUE, LARGEST_STEPS = 1e30, 100_000
POSITIVE = click.FloatRange(min=0, min_open=True)
NOT_NEGATIVE = click.FloatRange(min=0)

_OPTIONS = (
    click.option(
        '--sampler',
        help='How to sample  [default: one_step for GDD, else edm]',
        type=click.Choice(SAMPLER_CHOICES),
    ),
    click.option(
        '--steps',
        help='Sampling steps  [default: 18; multi_step: as trained, or 2]',
        metavar='INT',
        type=click.IntRange(min=1, max=LARGEST_STEPS),
    ),
    click.option(
        '--sigma_min',
        help=f'Lowest noise level  [default: {SIGMA_MIN}; --disc has others]',
        metavar='FLOAT',
        type=POSITIVE,
    ),
    click.option(
        '--sigma_max',
        help=f'Highest noise level  [default: {SIGMA_MAX:g}; --disc has others]',
        metavar='FLOAT',
        type=POSITIVE,
    ),
    click.option('--rho', help='Exponent of the level spacing  [default: 7]', metavar='FLOAT', type=POSITIVE),
    click.option(
        '--S_churn',
        'S_churn',
        help='Stochasticity strength  [default: 0]',
        metavar='FLOAT',
        type=NOT_NEGATIVE,
    ),
    click.option(
        '--S_min',
        'S_min',
        help='Lowest level with noise added  [default: 0]',
        metavar='FLOAT',
        type=NOT_NEGATIVE,
    ),
    click.option(
        '--S_max',
        'S_max',
        help='Highest level with noise added  [default: inf]',
        metavar='FLOAT',
        type=NOT_NEGATIVE,
    ),
    click.option(
        '--S_noise',
        'S_noise',
        help='Inflation of added noise  [default: 1]',
        metavar='FLOAT',
        type=NOT_NEGATIVE,
    ),
    click.option(
        '--middle-sigma',
        '--middle',
        'middle_sigma',
        metavar='FLOAT',
        type=POSITIVE,
        help='Second level of 2 steps  [default: as trained, or 0.8]',
    ),
    click.option('--solver', help='Ablation: solver  [default: heun]', type=click.Choice(samplers.SOLVERS)),
    click.option('--disc', help='Ablation: time steps  [default: edm]', type=click.Choice(DISCRETIZATIONS)),
    click.option('--schedule', help='Ablation: sigma(t)  [default: linear]', type=click.Choice(SCHEDULES)),
    click.option('--scaling', help='Ablation: s(t)  [default: none]', type=click.Choice(SCALINGS)),
)


def add_sampler_options(command):
    """Add the sampler options to a function that click.command() turns into a command."""
    for option in reversed(_OPTIONS):
        command = option(command)
    return command


def add_key_options(command):
    """Add --ema and --key to a function that click.command() turns into a command. See `choose_key`."""
    key = click.option('--key', help='Entry: ema, net, ema-0.05, ...  [default: ema]', metavar='NAME')
    return click.option('--ema', help='1 is --key=ema, 0 is --key=net', metavar='BOOL', type=bool)(
        key(command)
    )


def build_sampler(net, opts, metadata=None, warn=None):
    """Decide on the sampler and its arguments.

    Args:
        net:      The network; GDD's (`is_generator`) is made for one step, the others for many.
        opts:     Parameters of the command: name -> value, None where not given. Names other than
                  SAMPLER_PARAMETERS are left alone.
        metadata: Metadata of the snapshot, or None; `num_steps` and `middle_sigma` are those of training.
        warn:     Called with one line for every option without effect; None prints it on rank 0.
    Returns:
        (name, keyword arguments) for `samplers.sample_batch`.
    Raises:
        ValueError: A value that the sampler cannot work with; nothing has been sampled yet.
    """
    given = {name: opts[name] for name in SAMPLER_ARGUMENTS if opts.get(name) is not None}
    check_values(given)
    name, num_steps, middle_sigma = choose_sampler(net, opts.get('sampler'), given, metadata or {})
    used = used_options(name, num_steps, given)
    for option in given:
        if option not in used:
            (warn or print_warning)(describe_unused(option, given[option], name, num_steps))
    kwargs = {SAMPLER_ARGUMENTS[option]: value for option, value in given.items() if option in used}
    if name == 'multi_step':
        kwargs['num_steps'] = num_steps
        if num_steps == 2:
            kwargs.setdefault('middle_sigma', middle_sigma)
    check_levels(name, kwargs, net)
    return name, kwargs


def choose_sampler(net, sampler, given, metadata):
    """Return (name in samplers.SAMPLERS, number of steps, middle sigma), from --sampler and defaults.

    Raises:
        ValueError: two_step with another number of steps.
    """
    trained_steps = int(metadata.get('num_steps') or 1)
    middle_sigma = metadata.get('middle_sigma') or samplers.MIDDLE_SIGMA
    if sampler == 'two_step':
        if given.get('steps', 2) != 2:
            raise ValueError(
                f'--steps={given["steps"]}: --sampler=two_step has 2 steps; use --sampler=multi_step'
            )
        return 'multi_step', 2, middle_sigma
    ablation = bool(ABLATION_OPTIONS & set(given))
    if sampler is None and is_generator(net) and not ablation:
        sampler = 'multi_step' if trained_steps > 1 else 'one_step'
    if sampler == 'multi_step':
        return sampler, given.get('steps', max(trained_steps, 2)), middle_sigma
    if sampler == 'one_step':
        return sampler, 1, middle_sigma
    return 'ablation' if ablation else 'edm', given.get('steps', 18), middle_sigma


def is_generator(net):
    """Tell from its preconditioning whether a network is made for one step (or a few), not for an ODE solver.

    GDD's classes, whatever their name and wherever they come from, have the boundary condition D(x; eps) = x;
    those of EDM have no eps.
    """
    return isinstance(getattr(net, 'eps', None), (int, float))


def used_options(name, num_steps, given):
    """Return the names of the options that a sampler reads, given the others."""
    if name == 'one_step':
        return {'sigma_max'}
    if name == 'multi_step':
        return {'steps', 'sigma_max'} | {1: set(), 2: {'middle_sigma'}}.get(num_steps, {'sigma_min', 'rho'})
    used = {'steps', 'sigma_min', 'sigma_max', 'S_churn'}
    used |= CHURN_OPTIONS if given.get('S_churn') else set()
    used |= {'rho'} if given.get('disc', 'edm') == 'edm' else set()
    return used | (ABLATION_OPTIONS if name == 'ablation' else set())


def describe_unused(option, value, name, num_steps):
    """Return the warning about an option that the chosen sampler ignores, with the reason if there is one."""
    place, advice = name, 'leave it out, or choose another sampler'
    if name == 'multi_step':
        place = f'{name} and {num_steps} steps'
    elif name != 'one_step' and option in CHURN_OPTIONS:
        place, advice = f'{name} without --S_churn', 'add for example --S_churn=40'
    elif name == 'ablation' and option == 'rho':
        advice = 'it belongs to --disc=edm'
    return f'{spelled(option)}={value} has no effect with --sampler={place}; {advice}'


def spelled(option):
    """Return the command-line spelling of a sampler parameter."""
    return '--middle-sigma' if option == 'middle_sigma' else f'--{option}'


def print_warning(text):
    """Print a warning on rank 0."""
    if dist.get_rank() == 0:
        click.echo(f'Warning: {text}', err=True)


def check_values(given):
    """Raise ValueError for NaN and numbers beyond float32, which Click takes; only S_max may be infinite."""
    for option, value in given.items():
        if (
            isinstance(value, float)
            and not abs(value) < LARGEST_VALUE
            and not (option == 'S_max' and value == math.inf)
        ):
            raise ValueError(f'{spelled(option)}={value}: a finite number below {LARGEST_VALUE:g} is needed')


def check_levels(name, kwargs, net):
    """Raise ValueError if the noise levels of a sampler cannot be made from its arguments."""
    if name == 'one_step':
        return
    if name != 'multi_step' and kwargs.get('num_steps') == 1:
        raise ValueError(
            f'--steps=1: the {name} sampler needs at least 2 steps; use --steps=18, or --sampler=one_step'
        )
    try:
        levels = samplers.jump_levels(**kwargs) if name == 'multi_step' else solver_times(kwargs, net)
        levels = torch.as_tensor(levels, dtype=torch.float64)
    except OverflowError:  # Powers of Python's floats do not end in infinity.
        levels = torch.tensor([math.inf])
    if not levels.isfinite().all() or not (levels.diff() < 0).all():
        shown = ('num_steps', 'sigma_min', 'sigma_max', 'rho')
        options = ', '.join(f'{key}={value}' for key, value in kwargs.items() if key in shown)
        raise ValueError(
            f'{options or name}: these settings give no decreasing sequence of noise levels; '
            'leave out --sigma_min, --sigma_max and --rho'
        )


def solver_times(kwargs, net):
    """Return the times of the steps of edm and ablation, float64 [num_steps], as the samplers compute them.

    Raises:
        ValueError: An empty noise range, or a table with too few levels.
    """
    disc, num_steps = kwargs.get('discretization', 'edm'), kwargs.get('num_steps', 18)
    low, high = noise_range(disc)
    low, high = samplers.limit_range(net, kwargs.get('sigma_min', low), kwargs.get('sigma_max', high))
    check_steps(num_steps, low, high)
    levels = noise_levels(disc, num_steps, low, high, kwargs.get('rho', 7))
    schedule = kwargs.get('schedule', 'linear')
    return build_schedule(schedule, vp_betas(low, high, EPSILON_S) if schedule == 'vp' else None).time(levels)
