# Copyright 2026 The GDD-1S authors.
# SPDX-License-Identifier: Apache-2.0
"""Tests of training/tasks/frechet.py: a step against the equations, and what a run keeps."""

import pytest
import torch

from dnnlib.cli import one_line
from dnnlib.errors import ArgumentError
from tests.support import tiny_runs
from torch_utils import training_stats
from torch_utils.randomness import BatchRandom
from training.dataset import ImageFolderDataset
from training.tasks.frechet import SOFTENING, FrechetTask
from training.training_loop import run_training

N, QUEUE = 8, 40
FD = ('--loss=fd', f'--fd-queue={QUEUE}', '--d-resolution=32', *tiny_runs.COMMON_ARGS)


@pytest.fixture(autouse=True)
def random_backbones(monkeypatch):
    monkeypatch.setattr(training_stats, '_counters', {})
    tiny_runs.use_random_backbones(monkeypatch.setattr)


def arguments(material, *args):
    data, teacher = material
    return (f'--data={data}', '--cond=1', f'--transfer={teacher}', *FD, *args)


def make_task(material, *args, micro_batch=N, features='teacher'):
    # Only other feature networks than the teacher read the size.
    own = [arg for arg in arguments(material, *args) if features != 'teacher' or 'd-resolution' not in arg]
    config = tiny_runs.make_config(*own, f'--fd-features={features}')
    data = ImageFolderDataset(material[0], use_labels=True)
    return FrechetTask(tiny_runs.frozen(config), data, torch.device('cpu'), micro_batch)


def batch():
    return torch.randn(N, 3, 8, 8).clamp(-1, 1), torch.eye(3)[torch.arange(N) % 3]


def step(task, rng=None, iteration=0):
    task.step(*batch(), rng or BatchRandom(0, nimg=0), iteration)
    return {name: p.grad.clone() for name, p in task.G.named_parameters() if p.grad is not None}


def distances(gradients, others):
    assert gradients.keys() == others.keys()
    difference = sum((gradients[n] - others[n]).square().sum() for n in gradients).sqrt()
    return float(difference / sum(g.square().sum() for g in gradients.values()).sqrt())


@pytest.mark.parametrize('features', ['teacher', 'teacher,tf_efficientnet_lite0'])
def test_step_against_the_equations(features, material):
    """Autograd through the eigenvalues of the whole queue, a gradient for the new batch alone."""
    task = make_task(material, features=features)
    task.begin()
    rng = BatchRandom(0, nimg=0)
    images, labels = batch()
    z, noise = rng.randn(images.shape, 'G'), task.augment.draw('G', images, rng)['fake']['noise']
    old = {name: population.rows.clone() for name, population in task.populations.items()}
    fakes = task.G(80 * z, torch.full([N], 80.0), labels)
    loss, alone = 0, 0
    for name in task.F.names:
        reference, rows = task.references[name], task.F.pooled(name, fakes, noise, labels).double()
        for kind in ('queue', 'batch alone'):
            population = torch.cat([rows, old[name][N:].double()]) if kind == 'queue' else rows
            inner = reference.root @ torch.cov(population.T) @ reference.root
            roots = torch.linalg.eigvalsh((inner + inner.T) / 2).clamp(min=1e-12).sqrt().sum()
            value = (population.mean(dim=0) - reference.mean).square().sum() - 2 * roots
            value = value + torch.cov(population.T).trace() + reference.covariance.trace()
            scaled = value / (value.detach() + SOFTENING)
            loss, alone = (loss + scaled, alone) if kind == 'queue' else (loss, alone + scaled)
    gradients = [torch.autograd.grad(x, list(task.G.parameters()), retain_graph=True) for x in (loss, alone)]
    right, wrong = (
        {name: g for (name, _p), g in zip(task.G.named_parameters(), values)} for values in gradients
    )
    ours = step(task)
    assert distances(right, ours) < 1e-3 and distances(wrong, ours) > 0.05


def test_dropout_needs_the_whole_batch_at_once(material):
    make_task(material, '--dropout=0.5')
    with pytest.raises(ArgumentError) as caught:
        make_task(material, '--dropout=0.5', micro_batch=3)
    message = one_line(caught.value)
    assert message.startswith(
        '--dropout=0.5 with --loss=fd needs all images of a process in one forward pass'
    )
    make_task(material, micro_batch=3)


def test_messages_name_the_option_of_this_loss(material):
    with pytest.raises(
        ArgumentError, match='^fd_features=tf_efficientnet_lite0 with d_resolution=33 on images'
    ):
        make_task(material, '--d-resolution=33', features='tf_efficientnet_lite0')


def test_micro_batches_give_the_gradient_of_the_whole(material):
    whole, parts = (step(make_task(material, micro_batch=size)) for size in (N, 3))
    assert distances(whole, parts) < 1e-4


def test_what_is_frozen_stays(material):
    """The generator's convolutions at level 1, and the feature networks with the teacher's encoder."""
    task = make_task(material, '--freeze=1', '--lr=0.1')
    before = {name: p.clone() for name, p in task.G.named_parameters()}
    features = [tensor.clone() for tensor in task.F.state_dict().values()]
    for iteration in range(2):
        step(task, BatchRandom(0, nimg=N * iteration), iteration)
    for name, parameter in task.G.named_parameters():
        assert torch.equal(parameter, before[name]) != parameter.requires_grad, name
    assert all(torch.equal(a, b) for a, b in zip(features, task.F.state_dict().values()))


@pytest.mark.parametrize('beta', ['0', '0.9'])
def test_broken_images_stay_out_of_the_population(beta, material):
    task = make_task(material, f'--fd-beta={beta}')
    step(task)
    kept = [tensor.clone() for tensor in task.populations['teacher'].moments()]
    parameters = [p.clone() for p in task.G.parameters()]
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(task, 'levels', [float('nan')])
        step(task, BatchRandom(0, nimg=N), 1)
    assert all(torch.equal(a, b) for a, b in zip(kept, task.populations['teacher'].moments()))
    assert all(torch.equal(a, b) for a, b in zip(parameters, task.G.parameters()))


def test_queue_smaller_than_a_batch(material):
    with pytest.raises(ArgumentError, match='fd_queue=7 is smaller than a batch of 8'):
        step(make_task(material, '--fd-queue=7'))


@pytest.mark.parametrize('args', [(), ('--fd-beta=0.9', '--multi-step-g=2', '--freeze=1')])
def test_run_resumes_exactly(args, material, tmp_path):
    def run(name, nimg, *more):
        features = ('--fd-features=teacher,tf_efficientnet_lite0', '--dump=1', tiny_runs.duration(nimg))
        made = tiny_runs.make_run(tiny_runs.make_config(*arguments(material, *args, *features, *more)))
        run_training(made, str(tmp_path / name))
        return made

    whole = run('whole', 32)
    run('half', 16)
    (state,) = (tmp_path / 'half').glob('training-state-*.pt')
    resumed = run('half', 32, f'--resume={state}')
    assert not tiny_runs.differences(whole.task.state_dict(), resumed.task.state_dict())
    assert not tiny_runs.differences(whole.ema.net.state_dict(), resumed.ema.net.state_dict())
    line = tiny_runs.read_stats(tmp_path / 'whole')[-1]
    assert line['Loss/fd/teacher']['mean'] > 0 and 0 <= line['Loss/G/outside']['mean'] <= 1
    assert 0 < line['Loss/G/loss']['mean'] <= 2 and 'Loss/D/loss' not in line
    population = 'averages over the batches' if args else f'the last {QUEUE} images'
    assert any(population in text for text in whole.task.summary())
