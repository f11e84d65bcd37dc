# Copyright 2026 The GDD-1S authors.
# SPDX-License-Identifier: Apache-2.0
"""Tests of training/choices.py: names of backbones, numbers of steps, and losses that have defaults."""

import re

import pytest

from dnnlib.errors import ArgumentError, as_option
from training.choices import (
    LOSS_DEFAULTS,
    LOSSES,
    TEACHER_LOSSES,
    backbone_names,
    check_max_steps,
    default_r1_gamma,
)


@pytest.mark.parametrize(
    'number, names',
    [
        ('1', ['vgg16_bn', 'tf_efficientnet_lite0']),
        ('3', ['tf_efficientnet_lite0']),
        ('vgg16_bn', ['vgg16_bn']),
        ('vgg16_bn, tf_efficientnet_lite0', ['vgg16_bn', 'tf_efficientnet_lite0']),
    ],
)
def test_backbones(number, names):
    assert backbone_names(number) == names


@pytest.mark.parametrize('text', ['4', '17', '-1', '', '0,1', 'vgg16_bn,,resnet50', 'a b', ' '])
def test_backbones_that_cannot_be(text):
    with pytest.raises(ArgumentError) as caught:
        backbone_names(text)
    message = caught.value.spell(as_option)
    assert message.startswith(f'--backbone={text}: ')
    assert 'is neither an official set, 0 to 3, nor the name of a backbone; use --backbone=3' in message


@pytest.mark.parametrize(
    'kind, steps, text',
    [
        ('pd', 12, '--max-steps=12: --teacher-type=pd .* power of two; use --max-steps=8'),
        ('cd', 1, '--max-steps=1: .* use --max-steps=1024'),
        ('xd', 8, '--teacher-type=xd is unknown; use one of pd, cd, ctm, rcd'),
    ],
)
def test_impossible_numbers_of_steps(kind, steps, text):
    with pytest.raises(ArgumentError) as caught:
        check_max_steps(kind, steps)
    assert re.search(text, caught.value.spell(as_option))


def test_possible_numbers_of_steps():
    for kind, steps in (('cd', 2), ('cd', 12), ('pd', 16), ('ctm', 3), ('rcd', 1024)):
        check_max_steps(kind, steps)


def test_every_loss_has_defaults():
    assert set(LOSS_DEFAULTS) == set(LOSSES) == {'gdd', 'fd', *TEACHER_LOSSES}
    assert LOSS_DEFAULTS['vp'] == LOSS_DEFAULTS['edm'] != LOSS_DEFAULTS['gdd']


def test_weight_of_r1_where_none_is_given():
    assert default_r1_gamma(32, official=False) == 2.5e-5  # the demo's
    assert default_r1_gamma(512, official=False) == 4e-4
    assert default_r1_gamma(16, official=True) == 0.01
