# Copyright 2026 The GDD-1S authors.
# SPDX-License-Identifier: Apache-2.0
"""From sampler options to a sampler and its arguments: defaults, what a snapshot says, options without effect, refusals."""

import json

import click
import pytest
import torch
from click.testing import CliRunner

from training import networks
from training.sampling import options as sampler_options
from training.sampling.options import SAMPLER_PARAMETERS, add_sampler_options, build_sampler
from training.sampling.samplers import sample_batch

TINY = dict(
    img_resolution=8,
    img_channels=1,
    model_type='SongUNet',
    model_channels=8,
    channel_mult=[1],
    num_blocks=1,
    attn_resolutions=[],
    dropout=0,
)


@pytest.fixture(scope='module')
def gdd():
    return networks.GDDPrecond(**TINY).eval()


@pytest.fixture(scope='module')
def edm():
    return networks.EDMPrecond(**TINY).eval()


def resolve(net, metadata=None, **opts):
    """Return (name, arguments, warnings)."""
    warnings = []
    return *build_sampler(net, opts, metadata, warnings.append), warnings


def test_decorator_adds_every_option_under_its_parameter_name():
    @click.command()
    @add_sampler_options
    @click.option('--other', default=1)
    def command(**options):
        click.echo(json.dumps(options))

    assert [param.name for param in command.params] == [*SAMPLER_PARAMETERS, 'other']
    result = CliRunner().invoke(command, ['--S_churn=3', '--disc=vp', '--middle=2'])
    expected = dict.fromkeys(SAMPLER_PARAMETERS) | dict(S_churn=3.0, disc='vp', middle_sigma=2.0, other=1)
    assert json.loads(result.output) == expected
    assert (
        CliRunner().invoke(command, ['--s_churn=3']).exit_code == 2
    )  # Capitals matter, as in the official scripts.
    for param in command.params[:-1]:
        assert param.help and (param.metavar or hasattr(param.type, 'choices')), param.name


def test_defaults_follow_the_network(gdd, edm):
    assert resolve(gdd) == ('one_step', {}, []) and resolve(edm) == ('edm', {}, [])
    assert resolve(gdd, solver='euler')[0] == resolve(edm, scaling='none')[0] == 'ablation'
    assert resolve(gdd, sampler='edm') == ('edm', {}, []) and resolve(edm, sampler='one_step') == (
        'one_step',
        {},
        [],
    )
    assert resolve(edm, sampler='edm', disc='vp')[:2] == ('ablation', {'discretization': 'vp'})


def test_few_steps_are_those_of_training(gdd):
    assert resolve(gdd, sampler='multi_step')[1] == {'num_steps': 2, 'middle_sigma': 0.8}
    assert resolve(gdd, {'middle_sigma': 0.5}, sampler='multi_step')[1] == {
        'num_steps': 2,
        'middle_sigma': 0.5,
    }
    assert resolve(gdd, {'middle_sigma': 0.5}, sampler='two_step', middle_sigma=3.0)[1] == {
        'num_steps': 2,
        'middle_sigma': 3.0,
    }
    assert resolve(gdd, {'num_steps': 3})[:2] == ('multi_step', {'num_steps': 3})
    assert resolve(gdd, {'num_steps': 3}, sampler='two_step')[1] == {'num_steps': 2, 'middle_sigma': 0.8}
    assert resolve(gdd, {'num_steps': 3}, sampler='multi_step', steps=5)[1] == {'num_steps': 5}
    assert resolve(gdd, {'num_steps': 3}, sampler='one_step')[:2] == ('one_step', {})
    assert resolve(gdd, {'num_steps': 1, 'middle_sigma': None})[0] == 'one_step'


@pytest.mark.parametrize(
    'opts, expected',
    [
        (
            dict(sampler='one_step', steps=18, sigma_min=1.0),
            ['--steps=18 has no effect with --sampler=one_step', '--sigma_min=1.0 has no effect'],
        ),
        (dict(sampler='one_step', solver='euler'), ['--solver=euler has no effect with --sampler=one_step']),
        (
            dict(sampler='multi_step', steps=3, middle_sigma=1.0),
            ['--middle-sigma=1.0 has no effect with --sampler=multi_step and 3 s'],
        ),
        (
            dict(sampler='multi_step', rho=5.0),
            ['--rho=5.0 has no effect with --sampler=multi_step and 2 steps'],
        ),
        (
            dict(sampler='edm', S_noise=2.0),
            ['--S_noise=2.0 has no effect with --sampler=edm without --S_churn; add'],
        ),
        (dict(sampler='edm', S_noise=2.0, S_churn=0.0), ['--S_noise=2.0']),
        (dict(sampler='edm', S_noise=2.0, S_churn=1.0, rho=5.0), []),
        (
            dict(disc='ve', rho=5.0),
            ['--rho=5.0 has no effect with --sampler=ablation; it belongs to --disc=edm'],
        ),
        (dict(sampler='edm', middle_sigma=1.0), ['--middle-sigma=1.0 has no effect with --sampler=edm']),
    ],
)
def test_options_without_effect_are_named(edm, opts, expected):
    name, kwargs, warnings = resolve(edm, **opts)
    assert len(warnings) == len(expected) and all(w.startswith(e) for w, e in zip(warnings, expected)), (
        warnings
    )
    sample_batch(
        edm, [0], name, **dict(kwargs, num_steps=kwargs.get('num_steps', 2)) if name != 'one_step' else kwargs
    )


def test_warnings_are_printed_unless_collected(edm, capsys):
    build_sampler(edm, dict(sampler='one_step', steps=3))
    assert capsys.readouterr().err.startswith('Warning: --steps=3 has no effect')


@pytest.mark.parametrize(
    'opts, text',
    [
        (dict(steps=1), '--steps=1: the edm sampler needs at least 2 steps'),
        (dict(solver='heun', steps=1), '--steps=1: the ablation sampler'),
        (
            dict(sampler='two_step', steps=3),
            '--steps=3: --sampler=two_step has 2 steps; use --sampler=multi_step',
        ),
        (dict(sigma_min=90.0), 'sigma_min=90'),
        (dict(sigma_min=5.0, sigma_max=4.0), 'sigma_min=5'),
        (dict(sampler='multi_step', steps=4, sigma_min=90.0), 'sigma_min=90'),
        (dict(sampler='multi_step', middle_sigma=80.0), '^middle_sigma=80'),
        (dict(rho=float('nan')), '--rho=nan'),
        (dict(sigma_max=float('inf')), '--sigma_max=inf'),
        (dict(sampler='one_step', sigma_max=1e300), '--sigma_max=1e\\+300: a finite number below 1e\\+30'),
        (dict(rho=1e-5), 'rho=1e-05: these settings give no decreasing sequence'),
        (dict(rho=1e25), 'rho=1e\\+25: these'),
        (dict(sampler='multi_step', steps=5, rho=1e-6), 'rho=1e-06: these'),
        (dict(disc='vp', sigma_min=50.0, sigma_max=60.0), 'sigma_min=50.0, sigma_max=60.0: these'),
        (dict(disc='iddpm', steps=50, sigma_min=70.0), 'num_steps=50, but its table has only'),
    ],
)
def test_impossible_values_are_refused_before_sampling(edm, opts, text):
    with pytest.raises(ValueError, match=text) as caught:
        resolve(edm, **opts)
    assert '\n' not in str(caught.value)


def test_infinite_S_max_is_the_default_and_allowed(edm):
    name, kwargs, warnings = resolve(edm, S_churn=10.0, S_max=float('inf'), steps=3)
    given, free = (
        sample_batch(edm, [0], name, **options)[0] for options in (kwargs, dict(S_churn=10.0, num_steps=3))
    )
    assert torch.equal(given, free) and not warnings


def test_every_argument_exists_in_the_samplers(gdd, edm):
    """A name in the table that no sampler has would be an option without effect."""
    seen = set()
    for net, opts in [
        (
            edm,
            dict(
                sampler='edm',
                steps=2,
                sigma_min=0.1,
                sigma_max=9.0,
                rho=3.0,
                S_churn=1.0,
                S_min=0.2,
                S_max=5.0,
                S_noise=1.1,
                solver='euler',
                disc='edm',
                schedule='ve',
                scaling='vp',
            ),
        ),
        (gdd, dict(sampler='two_step', middle_sigma=2.0, sigma_max=9.0)),
    ]:
        name, kwargs, warnings = resolve(net, **opts)
        assert sample_batch(net, [0], name, **kwargs)[0].isfinite().all() and not warnings
        seen |= set(kwargs)
    assert seen == set(sampler_options.SAMPLER_ARGUMENTS.values())
