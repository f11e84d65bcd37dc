# Copyright 2026 The GDD-1S authors.
# SPDX-License-Identifier: Apache-2.0
"""Tests of training/options.py: declarations, second spellings, and the help that shows them."""

import pytest
from click.testing import CliRunner

import train
from dnnlib.errors import ArgumentError, as_option
from training import options
from training.config import LOSSES

SPELLINGS = ['precond', 'fp16', 'lpips', 'use_gp', 'interp224', 'd_type', 'persistent_workers']
# Values of the options that spellings stand for, as the command line has them where nobody gives anything.
NOTHING = dict(loss=None, precision=None, distance=None, r1_type=None, d_resolution=None) | dict(
    precond=None, fp16=None, lpips=None, use_gp=True, interp224=True, d_type='xl', persistent_workers=True
)
PLAIN = dict(loss='gdd', precision=None, distance=None, r1_type=None, d_resolution=None)


def test_a_section_gives_facts_that_options_may_overrule():
    first, second = options.section(
        'Heading',
        options.option('--first', int, 1, 'One'),
        options.option('-s --second', int, 2, 'Two', resume='free', metavar='N'),
        losses=options.EDM,
        reason='why',
    )
    assert (first.name, first.group, first.losses, first.reason) == ('first', 'Heading', ('edm',), 'why')
    assert (first.part, first.resume, second.resume) == (None, 'fixed', 'free')
    assert second.opts == ['-s', '--second'] and second.metavar == 'N' and second.default == 2


def test_whoever_does_not_read_an_option_has_a_reason():
    for option in options.OPTIONS:
        assert set(option.losses) <= set(LOSSES) and option.part in (None, 'adversarial', 'comparison')
        assert (option.losses == LOSSES) or option.reason, option.name
        assert option.part is None or 'gdd' in option.losses


@pytest.mark.parametrize(
    'given, expected',
    [
        ({}, {}),
        (dict(loss='edm'), dict(loss='edm')),
        (dict(precond='ve'), dict(loss='ve')),
        (dict(precond='edm', fp16=True), dict(loss='edm', precision='fp16')),
        (dict(fp16=True), dict(precision='bf16')),
        (dict(fp16=False, precision='fp32'), dict(precision='fp32')),
        (dict(lpips=True), dict(distance='lpips')),
        (dict(lpips=False), dict(distance='l2')),
        (dict(use_gp=False), dict(r1_type='empty')),
        (dict(use_gp=False, r1_type='none'), dict(r1_type='none')),
        (dict(interp224=False), dict(d_resolution=0)),
        (dict(interp224=False, d_resolution=224), dict(d_resolution=0)),
    ],
)
def test_second_spellings(given, expected):
    found = options.translate(NOTHING | given)
    assert found == PLAIN | expected and not set(SPELLINGS) & set(found)
    assert options.translate(found) == found


@pytest.mark.parametrize(
    'given, text',
    [
        (dict(loss='edm', precond='vp'), '--precond=vp does not go with --loss=edm; use --precond=edm'),
        (
            dict(fp16=True, precision='fp32'),
            '--fp16=True means --precision=bf16 with --loss=gdd, not --precision',
        ),
        (
            dict(lpips=True, distance='l2'),
            '--lpips=True means --distance=lpips, not --distance=l2; leave --lpips',
        ),
        (dict(use_gp=False, r1_type='r1'), '--use-gp=False means --r1-type=empty, not --r1-type=r1; leave'),
        (
            dict(interp224=False, d_resolution=64),
            '--interp224=False says that images are not resized, --d-res',
        ),
        (dict(d_type='style'), '--d-type=style is not available: '),
        (dict(persistent_workers=False), '--persistent-workers=False is not available: '),
    ],
)
def test_spellings_that_contradict_an_option(given, text):
    with pytest.raises(ArgumentError) as caught:
        options.translate(NOTHING | given)
    assert caught.value.spell(as_option).startswith(text)


@pytest.mark.parametrize(
    'given, expected',
    [
        (dict(loss='gdd', precond='edm'), dict(loss='edm')),
        (dict(precision='bf16', fp16=False), dict(precision='fp32')),
        (dict(distance='huber', lpips=True), dict(distance='lpips')),
        (dict(d_resolution=64, interp224=False), dict(d_resolution=0)),
        (dict(r1_type='r1', use_gp=False), dict(r1_type='empty')),
    ],
)
def test_spellings_go_before_what_a_recipe_says(given, expected):
    assert options.translate(NOTHING | given, weak=PLAIN) == PLAIN | expected


def test_help_has_the_headings_in_the_order_of_the_declarations():
    text = CliRunner().invoke(train.main, ['--help']).output
    groups = list(dict.fromkeys(option.group for option in options.OPTIONS))
    places = [text.index(f'\n{group}:\n') for group in [*groups, 'Help']]
    assert len(groups) == 12 and places == sorted(places)
    spelled = text[text.index('\nSecond spellings') :]
    for option in options.OPTIONS:
        name = '--' + option.name.replace('_', '-')
        assert text.count(f'\n  {name} ') + text.count(f', {name}') + text.count(f'\n  {name},') >= 1, name
        assert (f'\n  {name} ' in spelled) == (option.resume == 'spelling')
