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
from torch_utils.randomness import BatchRandom
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


@pytest.mark.parametrize('source, width', [('random', 320), ('computed', 16)])
def test_teacher_as_the_only_backbone(source, width, material):
    """A copy of the teacher, made before training moves the generator; its classes reach the table, too."""
    args = [arg for arg in tiny_runs.GAN_ARGS if 'backbone' not in arg and 'resolution' not in arg]
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(tiny_runs, 'GAN_ARGS', args)
        task = tiny_runs.make_task(material, '--backbone=teacher', f'--class-embed={source}')
    assert task.D.teacher[0].embed.weight.shape == (3, width)
    encoder = task.F.backbones['teacher'].net.state_dict()
    assert all(
        torch.equal(encoder[name], tensor) for name, tensor in task.G.state_dict().items() if name in encoder
    )
    before = {name: tensor.clone() for name, tensor in encoder.items()}
    images, labels = torch.randn(8, 3, 8, 8).clamp(-1, 1), torch.eye(3)[torch.arange(8) % 3]
    for iteration in (0, 16):  # with R1
        task.step(images, labels, BatchRandom(0, nimg=8 * iteration), iteration)
    assert not tiny_runs.differences(before, task.F.backbones['teacher'].net.state_dict())
    assert not torch.equal(before['model.map_layer0.weight'], task.G.model.map_layer0.weight)
    assert all(
        p.grad is not None and p.grad.abs().sum() > 0 for p in task.D.teacher[0].parameters() if p.ndim == 4
    )


def test_gradient_and_r1_of_the_teacher_against_differences(material):
    """Through noise, encoder, projections and heads, the same draws each time; D in eval mode, float32."""
    task = tiny_runs.make_task(material, '--backbone=teacher,tf_efficientnet_lite0', '--teacher-sigma=0.5')
    tiny_runs.remove_normalisation(task.D)
    task.D.eval()
    images, labels = torch.randn(8, 3, 8, 8).clamp(-1, 1), torch.eye(3)[torch.arange(8) % 3]
    draws = task.inputs('R1', images, labels, BatchRandom(0, nimg=0)).draws

    def teacher_logits(x):
        features = task.loss._features(x, labels, 'real', draws)
        return task.D(features, labels)[0].sum()

    x = images.clone().requires_grad_(True)
    (gradient,) = torch.autograd.grad(teacher_logits(x), x)
    direction = gradient / gradient.norm()
    with torch.no_grad():
        difference = (
            teacher_logits(images + 0.01 * direction) - teacher_logits(images - 0.01 * direction)
        ) / 0.02
    assert float(difference) == pytest.approx(float(gradient.norm()), rel=0.02)
    task.loss.r1_loss(images, labels, draws).backward()
    assert all(
        p.grad is not None and p.grad.isfinite().all() for p in task.D.teacher.parameters() if p.ndim == 4
    )


def test_arguments_inside_of_other_errors_are_spelled_as_well(material, monkeypatch):
    def refuse(*_args, **_options):
        raise ArgumentError('no such rows; try ', arg('class_embed', 'random'))

    monkeypatch.setattr(builders, 'make_class_table', refuse)
    with pytest.raises(ArgumentError) as caught:
        tiny_runs.make_task(material, '--class-embed=rows.npy')
    assert one_line(caught.value) == '--class-embed=rows.npy: no such rows; try --class-embed=random'
