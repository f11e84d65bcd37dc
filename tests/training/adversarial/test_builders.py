# Copyright 2026 The GDD-1S authors.
# SPDX-License-Identifier: Apache-2.0
"""Tests of training/adversarial/builders.py: what the options build, and what is said where that is
impossible."""

import pytest
import torch

from dnnlib.cli import one_line
from dnnlib.errors import ArgumentError, arg
from tests.support import tiny_runs
from torch_utils import distributed
from training.adversarial import builders


@pytest.fixture(autouse=True)
def random_backbones(monkeypatch):
    tiny_runs.use_random_backbones(monkeypatch.setattr)


@pytest.mark.parametrize(
    'args, text',
    [
        (
            ('--d-resolution=33',),
            '^backbone=tf_efficientnet_lite0 with d_resolution=33 on images of 8 pixels: .*try 32',
        ),
        (
            ('--d-resolution=0',),
            '^backbone=tf_efficientnet_lite0 with d_resolution=0 or interp224=0 on images of 8 pixels: ',
        ),
        (('--class-embed=nothing.npy',), '^class_embed=nothing.npy: .*cannot be read'),
    ],
)
def test_discriminator_options_are_explained(args, text, material):
    with pytest.raises(ArgumentError, match=text):
        tiny_runs.make_task(material, *args)


def test_projection_is_one_in_clean_and_per_process_in_official(material, monkeypatch):
    states = {}
    for compat in ('clean', 'official'):
        for rank in (0, 1):
            monkeypatch.setattr(distributed, 'get_rank', lambda rank=rank: rank)
            states[compat, rank] = tiny_runs.make_task(material, f'--compat={compat}').F.projection_state()
    assert not tiny_runs.differences(states['clean', 0], states['clean', 1])
    assert len(tiny_runs.differences(states['official', 0], states['official', 1])) == len(
        states['official', 0]
    )
    assert not tiny_runs.differences(states['clean', 0], states['official', 0])


@pytest.mark.parametrize('source', ['random', 'random:5', 'computed'])
def test_class_tables(source, material):
    tables = [
        head.embed.weight
        for head in tiny_runs.make_task(material, f'--class-embed={source}').D.tf_efficientnet_lite0
    ]
    assert tables[0].shape == (3, 320) and all(torch.equal(table, tables[0]) for table in tables)
    assert tables[0].std().item() == pytest.approx(1.078, rel=0.1)
    other = tiny_runs.make_task(material, '--class-embed=random:5').D.tf_efficientnet_lite0[0].embed.weight
    assert torch.equal(tables[0], other) == (source == 'random:5')


def test_size_of_the_images_that_backbones_see(material):
    assert (
        tiny_runs.make_task(material, '--interp224=1').F.input_size == 32
        and tiny_runs.make_task(material).F.interpolate
    )
    kwargs = dict(tiny_runs.make_task(material).config['feature_kwargs'], input_size=None)
    features = builders.build_features(kwargs, 64, torch.device('cpu'), seed=0, compat='clean')
    assert (features.input_size, features.interpolate, features.resolutions) == (64, False, [32, 16, 8, 4])


def test_arguments_inside_of_other_errors_are_spelled_as_well(material, monkeypatch):
    def refuse(*_args, **_options):
        raise ArgumentError('no such rows; try ', arg('class_embed', 'random'))

    monkeypatch.setattr(builders, 'make_class_table', refuse)
    with pytest.raises(ArgumentError) as caught:
        tiny_runs.make_task(material, '--class-embed=rows.npy')
    assert one_line(caught.value) == '--class-embed=rows.npy: no such rows; try --class-embed=random'
