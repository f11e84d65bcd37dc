# Copyright 2026 The GDD-1S authors.
# SPDX-License-Identifier: Apache-2.0
"""Tests of training/adversarial/input_augment.py and of ADA, DiffAugment, hinge and missing R1 in whole
iterations and runs."""

import copy

import numpy as np
import pytest
import torch
from torch.nn import functional

from tests.support import tiny_runs
from torch_utils import training_stats
from torch_utils.randomness import BatchRandom
from training import training_loop
from training.adversarial import diffaugment
from training.adversarial.ada import AdaPipe
from training.adversarial.input_augment import InputAugment
from training.adversarial.stages import GDDLoss
from training.snapshots.snapshot import load_network
from training.tasks.inputs import StageInputs

N = 8


@pytest.fixture(autouse=True)
def random_backbones(monkeypatch):
    tiny_runs.use_random_backbones(monkeypatch.setattr)
    monkeypatch.setattr(training_stats, '_counters', {})


def batch():
    images = torch.rand([N, 3, 8, 8], generator=torch.Generator().manual_seed(1)) * 2 - 1
    return images, torch.eye(3)[torch.arange(N) % 3]


def make_augment(p=0.6, diffaug=True, names=('one', 'two')):
    return InputAugment(dict(p=p, target=0, batch_size=N) if p else None, diffaug, names, torch.device('cpu'))


# ------------------------------------------------------------------------------------------------
# Draws.


def test_nothing_to_do():
    augment = make_augment(p=0, diffaug=False)
    assert all(augment.draw(stage, batch()[0], None) == {} for stage in ('G', 'D', 'R1'))
    assert augment.state_dict() == {} and augment.description() is None and str(augment) == 'none'
    augment.observe([torch.ones(2, 3)])
    augment.finish_iteration(3)
    assert make_augment(diffaug=False).draw('R1', batch()[0], None) == {}


def test_stages_kinds_and_backbones_have_draws_of_their_own():
    images, rng = batch()[0], BatchRandom(0, 0)
    augment = make_augment()
    results = {}
    for stage, kinds in dict(G=['fake'], D=['fake', 'real'], R1=['real']).items():
        drawn = augment.draw(stage, images, rng)
        assert list(drawn) == kinds
        for kind in kinds:
            augmented, draws = augment.apply(images, drawn[kind])
            assert torch.equal(augmented, augment.apply(images, drawn[kind])[0])  # the same draws each time
            assert list(draws) == ['one', 'two'] and list(draws['one']) == list(diffaugment.draw(images))
            results[stage, kind] = augmented
            results[stage, kind, 'one'], results[stage, kind, 'two'] = (
                draws[name]['brightness'] for name in draws
            )
    assert torch.equal(results.pop(('R1', 'real')), images)  # R1 goes without the pipe ...
    values = [tuple(value.flatten().tolist()) for value in results.values()]
    assert len(set(values)) == len(values) == 3 + 2 * 4  # ... but with DiffAugment
    other = augment.apply(images, augment.draw('G', images, BatchRandom(0, N))['fake'])[0]
    assert not torch.equal(other, results['G', 'fake'])


def test_micro_batches_and_processes_share_the_draws():
    images = batch()[0]
    augment = make_augment(p=1.0)
    drawn = augment.draw('D', images, BatchRandom(0, 0))
    whole, draws = augment.apply(images, drawn['real'])
    inputs = StageInputs(images, images[:, 0, 0], None, drawn, {}, N).micro_batches(4)
    parts = [augment.apply(part.images, part.draws['real']) for part in inputs]
    np.testing.assert_allclose(torch.cat([part[0] for part in parts]), whole, atol=1e-5)
    assert torch.equal(torch.cat([part[1]['two']['cut_x'] for part in parts]), draws['two']['cut_x'])
    for rank in range(2):
        own = images[rank::2]
        share = augment.draw('D', own, BatchRandom(0, 0, rank, 2))
        part, own_draws = augment.apply(own, share['real'])
        np.testing.assert_allclose(part, whole[rank::2], atol=1e-5)
        assert torch.equal(own_draws['one']['saturation'], draws['one']['saturation'][rank::2])


# ------------------------------------------------------------------------------------------------
# Stages and iterations.


class Recorder(torch.nn.Module):
    """Stand in for F: note what arrives, and pass it on as features."""

    def __init__(self):
        super().__init__()
        self.seen = []

    def forward(self, x, draws=None, _noise=None, _labels=None):
        self.seen.append((x.detach().clone(), draws))
        return x


class Linear(torch.nn.Module):
    names = ['one']

    def __init__(self):
        super().__init__()
        self.weight = torch.nn.Parameter(torch.full([3 * 8 * 8, 2], 0.01))

    def forward(self, x, _labels=None):
        return [x.flatten(1) @ self.weight]


def test_what_reaches_the_backbones(monkeypatch):
    """Fakes and reals pass the pipe in both stages, R1 takes the images as they are; gradients pass through
    the pipe."""
    images, labels = batch()
    pixels = torch.nn.Parameter(torch.randn(N, 3, 8, 8))
    F, observed = Recorder(), []
    augment, rng, z = make_augment(names=['one']), BatchRandom(0, 0), torch.zeros(N, 3, 8, 8)
    monkeypatch.setattr(augment, 'observe', observed.append)
    loss = GDDLoss(lambda z, sigma, labels: pixels * 1, Linear(), F, augment=augment)
    drawn = {stage: augment.draw(stage, images, rng) for stage in ('G', 'D', 'R1')}
    loss.generator_loss(images, labels, z, drawn['G']).backward()
    assert pixels.grad.abs().flatten(1).sum(dim=1).min() > 0 and not observed
    loss.discriminator_loss(images, labels, z, drawn['D'])
    loss.r1_loss(images, labels, drawn['R1'])
    sources = [('G', pixels, 'fake'), ('D', pixels, 'fake'), ('D', images, 'real')]
    for (seen, draws), (stage, source, kind) in zip(F.seen, sources):
        expected, numbers = augment.apply(source.detach(), drawn[stage][kind])
        assert torch.equal(seen, expected) and not torch.equal(seen, source)
        assert torch.equal(draws['one']['contrast'], numbers['one']['contrast'])
    assert torch.equal(F.seen[3][0], images) and len(F.seen) == 4
    assert len(observed) == 1 and torch.equal(observed[0][0], loss.D(F.seen[2][0])[0])


def test_given_draws_of_diffaugment_reach_the_right_backbone(material):
    task = tiny_runs.make_task(material, '--diffaug=1')
    images = batch()[0]
    draws = {name: diffaugment.draw(images) for name in task.F.names}
    (name,) = task.F.names
    plain = tiny_runs.make_task(material).F
    for a, b in zip(task.F(images, draws)[name], plain(diffaugment.apply_draws(images, draws[name]))[name]):
        assert torch.equal(a, b)


def test_probability_follows_the_logits_of_real_images(material):
    task = tiny_runs.make_task(material, '--ada-target=0.5', '--augment-p=0.2')
    found = []
    for iteration in range(4):
        task.step(*batch(), BatchRandom(0, iteration * N), iteration)
        found.append(task.augment.strength.p.item())
        if iteration == 2:
            count, total = task.augment.strength.sums.tolist()
    # All logits of 8 real images in each of 3 iterations.
    (logits,) = task.D(task.F(batch()[0]), batch()[1])
    assert found[:3] == pytest.approx([0.2] * 3) and count == 3 * logits.numel() and abs(total) <= count
    assert abs(found[3] - 0.2) == pytest.approx(N * 4 / 500_000, rel=1e-3)


def test_resume_is_exact_between_two_changes_of_p(material):
    options = ('--ada-target=0.5', '--augment-p=0.5', '--diffaug=1')
    first, second = (
        tiny_runs.make_task(material, *options),
        tiny_runs.make_task(material, *options, '--augment-p=0.9'),
    )
    for iteration in range(2):
        first.step(*batch(), BatchRandom(0, iteration * N), iteration)
    second.load_state_dict(copy.deepcopy(first.state_dict()))
    for task in (first, second):
        for iteration in range(2, 5):
            task.step(*batch(), BatchRandom(0, iteration * N), iteration)
    assert not tiny_runs.differences(first.state_dict(), second.state_dict())
    assert first.augment.strength.p.item() != pytest.approx(0.5, abs=1e-7)


def test_augmentation_changes_the_iteration(material):
    """And the same one with the same draws does not."""
    ends = {}
    for name, options in dict(
        none=(), ada=('--augment-p=1',), again=('--augment-p=1',), diffaug=('--diffaug=1',)
    ).items():
        task = tiny_runs.make_task(material, *options)
        task.step(*batch(), BatchRandom(0, 0), 0)
        ends[name] = task.state_dict()['D']
    assert not tiny_runs.differences(ends['ada'], ends['again'])
    assert all(tiny_runs.differences(ends['none'], ends[name]) for name in ('ada', 'diffaug'))


def test_summary_tells(material):
    lines = tiny_runs.make_task(material, '--ada-target=0.6', '--diffaug=1').summary()
    assert 'Augmentation: DiffAugment, ADA from p = 0 towards a mean sign of 0.6' in lines
    lines = tiny_runs.make_task(material, '--augment=0.12').summary()
    assert 'Augmentation: none' in lines and any(
        line.startswith('Warning: no augmentation: --augment=0.12') for line in lines
    )
    assert tiny_runs.make_task(material, '--r1-type=none').summary()[-1] == 'R1: off'
    assert 'Augmentation: ADA with p = 0.3' in tiny_runs.make_task(material, '--augment-p=0.3').summary()
    assert not any('Warning' in line for line in tiny_runs.make_task(material, '--augment=0').summary())


# ------------------------------------------------------------------------------------------------
# Whole runs.


@pytest.mark.parametrize(
    'args',
    [
        ('--ada-target=0.6', '--augment-p=0.4', '--diffaug=1'),
        ('--loss-type=hinge', '--r1-type=none'),
        ('--backbones=mobilenetv3_small_050,resnet10t', '--class-embed=computed'),
    ],
    ids=['augmentation', 'hinge without R1', 'timm backbones'],
)
def test_runs_end_to_end(args, material, tmp_path):
    data, teacher = material
    config = tiny_runs.make_config(
        f'--data={data}',
        '--cond=1',
        f'--transfer={teacher}',
        *tiny_runs.GAN_ARGS,
        tiny_runs.duration(4 * N),
        *args,
    )
    run = tiny_runs.make_run(dict(config, r1_interval=config['r1_interval'] and 2))
    path = training_loop.run_training(run, str(tmp_path))
    line = tiny_runs.read_stats(tmp_path)[-1]
    stored = load_network(path)[1].extras['augment_pipe']
    if '--diffaug=1' in args:
        assert (
            line['Progress/augment']['mean'] == pytest.approx(0.4, abs=1e-4)
            and line['Loss/r1_penalty']['num'] > 0
        )
        assert stored['class_name'] == 'AdaPipe'
        assert stored['p'] == pytest.approx(0.4, abs=1e-4) and stored['p'] != 0.4
        assert AdaPipe(stored['p'])(batch()[0]).shape == (N, 3, 8, 8)
    elif (
        '--r1-type=none' not in args
    ):  # every stage works, with a table as wide as the first backbone's last map
        assert (
            run.task.D.names == ['mobilenetv3_small_050', 'resnet10t'] and line['Loss/r1_penalty']['num'] > 0
        )
        assert all(
            head.embed.weight.shape == (3, 288)
            for name in run.task.D.names
            for head in run.task.D.get_submodule(name)
        )
    else:
        assert (
            stored is None
            and line.get('Loss/r1_penalty', dict(num=0))['num'] == 0
            and 'Grad/R1/norm' not in line
        )
        assert line['Loss/D/loss']['mean'] > 1


def test_hinge_without_r1_against_the_equations(material):
    """G: -D(fake); D: relu(1 + D(fake)) + relu(1 - D(real)); no third step in any iteration; lr and betas
    uncorrected."""
    task = tiny_runs.make_task(material, '--loss-type=hinge', '--r1-type=none', '--dlr=0.001')
    images, labels = batch()
    stages = []
    original = task.guard.step
    task.guard.step = lambda name, *args: (stages.append(name), original(name, *args))[1]
    task.step(images, labels, BatchRandom(0, 0), 16)
    assert stages == ['G', 'D']
    assert task.d_optimizer.param_groups[0]['lr'] == 0.001 and tuple(
        task.d_optimizer.param_groups[0]['betas']
    ) == (0.0, 0.99)

    # The loss that discriminator_loss returns, for the state that D has now.
    state = {name: tensor.clone() for name, tensor in task.D.state_dict().items()}
    z = BatchRandom(0, 0).randn(images.shape, 'D')
    loss = task.loss.discriminator_loss(images, labels, z)
    task.D.load_state_dict(state)
    with torch.no_grad():
        fakes = task.G(80 * z, torch.full([N], 80.0), labels)
        fake, real = (task.D(task.F(x), labels)[0] for x in (fakes, images))
    expected = functional.relu(1 + fake).mean(dim=1).sum() + functional.relu(1 - real).mean(dim=1).sum()
    assert loss.item() == pytest.approx(expected.item(), rel=1e-5)


def test_noise_for_the_teachers_encoder():
    """Every stage has its own, R1 too; an image keeps its own whatever part of the batch a process has."""
    images, rng = torch.zeros(6, 3, 8, 8), BatchRandom(0, 0)
    augment = InputAugment(None, False, ['teacher'], torch.device('cpu'), teacher_sigma=[0.1, 1.0])
    drawn = {stage: augment.draw(stage, images, rng) for stage in ('G', 'D', 'R1')}
    assert {stage: list(kinds) for stage, kinds in drawn.items()} == dict(
        G=['fake'], D=['fake', 'real'], R1=['real']
    )
    noises = [kind['noise']['noise'] for kinds in drawn.values() for kind in kinds.values()]
    assert len({float(noise.sum()) for noise in noises}) == 4
    levels = drawn['D']['real']['noise']['sigma']
    assert levels.shape == (6, 1, 1, 1) and set(levels.flatten().tolist()) <= {
        float(x) for x in torch.tensor([0.1, 1.0])
    }
    share = augment.draw('D', images[:3], BatchRandom(0, 0, rank=1, world_size=2))['real']['noise']
    assert torch.equal(share['noise'], drawn['D']['real']['noise']['noise'][1::2])
    assert augment.apply(images, drawn['G']['fake'])[1] is None  # nothing of DiffAugment
    without = InputAugment(None, False, ['teacher'], torch.device('cpu'))
    assert without.draw('G', images, rng) == {}
