# Copyright 2026 The GDD-1S authors.
# SPDX-License-Identifier: Apache-2.0
"""Tests of training/second_spellings.py: what each stands for, contradictions, and what gives way."""

import pytest

from dnnlib.errors import ArgumentError, as_option
from training.second_spellings import translate

SPELLINGS = ['precond', 'fp16', 'lpips', 'use_gp', 'interp224', 'd_type', 'persistent_workers']
# Values of the options that spellings stand for, as the command line has them where nobody gives anything.
NOTHING = dict(loss=None, precision=None, distance=None, r1_type=None, d_resolution=None) | dict(
    precond=None, fp16=None, lpips=None, use_gp=True, interp224=True, d_type='xl', persistent_workers=True
)
PLAIN = dict(loss='gdd', precision=None, distance=None, r1_type=None, d_resolution=None)


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
    found = translate(NOTHING | given)
    assert found == PLAIN | expected and not set(SPELLINGS) & set(found)
    assert translate(found) == found


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
        translate(NOTHING | given)
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
    assert translate(NOTHING | given, weak=PLAIN) == PLAIN | expected
