# Copyright 2026 The GDD-1S authors.
# SPDX-License-Identifier: Apache-2.0
"""Tests of training/options.py: declarations, second spellings, and the help that shows them."""

from click.testing import CliRunner

import train
from training import options
from training.choices import LOSSES


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
