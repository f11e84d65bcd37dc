# Copyright 2026 The GDD-1S authors.
# SPDX-License-Identifier: Apache-2.0
"""Tests of training/tasks/distillation.py: order and scale of the stages, what is frozen, what fits
together."""

import copy
import weakref

import pytest
import torch

from dnnlib.errors import ArgumentError
from tests.support import tiny_runs
from torch_utils import distributed
from torch_utils.randomness import BatchRandom
from training import networks
from training.adversarial.losses import generator_loss
from training.snapshots.snapshot import load_network
from training.tasks import distillation
from training.tasks.distillation import DistillationTask

N = 8


@pytest.fixture(autouse=True)
def random_backbones(monkeypatch):
    tiny_runs.use_random_backbones(monkeypatch.setattr)


def batch():
    images = torch.rand([N, 3, 8, 8], generator=torch.Generator().manual_seed(1)) * 2 - 1
    return images, torch.eye(3)[torch.arange(N) % 3]


def copies(module):
    return {name: tensor.detach().clone() for name, tensor in module.state_dict().items()}


# ------------------------------------------------------------------------------------------------
# Construction.


def test_student_starts_as_the_teacher(material):
    task = tiny_runs.make_task(material)
    teacher, info = load_network(material[1])
    assert type(task.G) is networks.GDDPrecond and task.G.training and task.D.training and not task.F.training
    assert not tiny_runs.differences(task.G.state_dict(), teacher.state_dict())
    assert task.facts['teacher'] == dict(sha256=info.sha256, class_name='EDMPrecond')
    assert task.facts['network_kwargs'] == dict(info.init_kwargs, dropout=0.0, use_fp16=False)


def test_augmentation_of_the_teacher_is_left_out(material, tmp_path):
    """As in the published teachers; so are noise limits, and label dropout, which a student does not use."""
    path = tiny_runs.write_teacher(tmp_path / 't.pkl', augment_dim=9, label_dropout=0.1, sigma_min=0.1)
    task = tiny_runs.make_task((material[0], path), '--dropout=0.25')
    kwargs = task.facts['network_kwargs']
    assert not {'augment_dim', 'label_dropout', 'sigma_min'} & set(kwargs) and kwargs['dropout'] == 0.25
    assert not any('map_augment' in name for name in task.G.state_dict())


def test_architecture_options_must_fit_the_teacher(material):
    task = tiny_runs.make_task(material, *tiny_runs.NETWORK_ARGS)
    assert not tiny_runs.differences(task.G.state_dict(), load_network(material[1])[0].state_dict())
    with pytest.raises(
        ArgumentError, match='^transfer=.*do not fit .*leave out arch to take the teacher'
    ) as caught:
        tiny_runs.make_task(material, *tiny_runs.NETWORK_ARGS, '--cbase=16')
    assert '\n' not in str(caught.value)


# ------------------------------------------------------------------------------------------------
# Iterations.


@pytest.mark.parametrize(
    'compat, batch_size, local, gain',
    [
        ('official', 256, 64, 1.0),
        ('official', 256, 256, 1.0),
        ('clean', 256, 64, 1.0),  # 4 processes: the official scale
        ('clean', 256, 256, 0.25),
        ('clean', 256, 32, 2.0),
        ('clean', 32, 32, 0.25),
    ],
)
def test_scale_of_the_main_losses(compat, batch_size, local, gain):
    task = DistillationTask.__new__(DistillationTask)
    task.config = dict(compat=compat, batch_size=batch_size)
    assert task.gain(local) == gain


def test_order_of_the_stages(material, monkeypatch):
    """G, then D, then R1 every third iteration but never in the first; fresh noise for each, real images for
    all."""
    task = tiny_runs.make_task(material, r1_interval=3)
    calls = []

    def record(name):
        def loss(x, y, *rest):
            calls.append((name, x, y, *rest))
            return sum(p.sum() for p in (task.g_params if name == 'G' else task.d_params))

        return loss

    for name, method in (('G', 'generator_loss'), ('D', 'discriminator_loss'), ('R1', 'r1_loss')):
        monkeypatch.setattr(task.loss, method, record(name))
    gradients = []
    monkeypatch.setattr(
        task.guard,
        'step',
        lambda name, _optimizer, params: gradients.append((name, {p.grad.unique().item() for p in params})),
    )
    images, labels = batch()
    for iteration in range(7):
        task.step(images, labels, BatchRandom(0, iteration * N), iteration)
    assert [call[0] for call in calls] == ['G', 'D'] * 4 + ['R1'] + ['G', 'D'] * 3 + ['R1']
    noises = [call[3] for call in calls if call[0] != 'R1']
    assert all(not torch.equal(a, b) for i, a in enumerate(noises) for b in noises[:i])
    assert all(torch.equal(call[1], images) and torch.equal(call[2], labels) for call in calls)
    # The factors that the losses have: R1 makes up for the iterations without it, the others count as on 4
    # processes.
    factors = dict(G=0.25, D=0.25, R1=3.0)
    assert gradients == [(call[0], {factors[call[0]]}) for call in calls]


def test_generator_step_against_the_equations(material):
    """sum over images of mean softplus(-D(F(G(80 z, 80)))), times the gain; then Adam with betas (0,
    0.99)."""
    task = tiny_runs.make_task(material, '--lr=0.001')
    images, labels = batch()
    net, heads = copy.deepcopy(task.G), copy.deepcopy(task.D)
    z = BatchRandom(0, 0).randn(images.shape, 'G')
    fakes = net(80 * z, torch.full([N], 80.0), labels)
    rows = heads(task.F(fakes), labels)
    loss = sum(torch.nn.functional.softplus(-row).mean() for logits in rows for row in logits)
    assert loss.item() == pytest.approx(generator_loss(rows, 'ns').item())
    (loss * (N / 4 / N)).backward()
    before = copies(task.G)
    task.step(images, labels, BatchRandom(0, 0), 0)
    for (name, p), own in zip(net.named_parameters(), task.G.parameters()):
        scale = float(p.grad.abs().max())
        assert torch.allclose(own.grad, p.grad, rtol=1e-3, atol=1e-3 * scale + 1e-7), name
        expected = before[name] - 0.001 * own.grad / (own.grad.abs() + 1e-8)
        assert torch.allclose(own, expected, atol=2e-6), name


def test_frozen_layers_and_features_do_not_move(material):
    task = tiny_runs.make_task(material, '--freeze=1', '--lr=0.01', '--dlr=0.01', r1_interval=1)
    before = [copies(module) for module in (task.G, task.D, task.F)]
    for iteration in range(3):
        task.step(*batch(), BatchRandom(0, iteration * N), iteration)
    moved = [
        set(tiny_runs.differences(old, copies(module)))
        for old, module in zip(before, (task.G, task.D, task.F))
    ]
    frozen = {f'/{name}' for name, p in task.G.named_parameters() if not p.requires_grad}
    assert frozen and not frozen & moved[0] and all('conv' in name or 'proj' in name for name in frozen)
    assert {
        f'/{name}' for name, p in task.G.named_parameters() if p.requires_grad and p.grad.abs().max() > 0
    } <= moved[0]
    assert {f'/{name}' for name, _p in task.D.named_parameters()} <= moved[1] and not moved[2]


def test_accumulation_shares_r1_and_sums_the_rest(material, monkeypatch):
    task = tiny_runs.make_task(material, micro_batch=4, r1_interval=1)
    sizes, found = [], {}
    for method, params in (
        ('generator_loss', task.g_params),
        ('discriminator_loss', task.d_params),
        ('r1_loss', task.d_params),
    ):
        monkeypatch.setattr(
            task.loss,
            method,
            lambda x, *_rest, method=method, params=params: (
                sizes.append((method, len(x))),
                sum(p.sum() for p in params),
            )[1],
        )
    monkeypatch.setattr(
        task.guard,
        'step',
        lambda name, _optimizer, params: found.update({name: {p.grad.unique().item() for p in params}}),
    )
    task.step(*batch(), BatchRandom(0, 0), 1)
    assert sizes == [
        (name, 4) for name in ('generator_loss', 'discriminator_loss', 'r1_loss') for _ in range(2)
    ]
    # Each part of a sum counts as the whole would (0.25 on one process), each of a mean for its share.
    assert found == dict(G={2 * 0.25}, D={2 * 0.25}, R1={2 * 0.5})


@pytest.mark.parametrize('method', ['discriminator_loss', 'r1_loss'])
def test_one_graph_is_alive_at_a_time(method, material, monkeypatch):
    """Before the loss of a micro-batch is made, nothing of the one before is left: memory is that of one."""
    task = tiny_runs.make_task(material, micro_batch=2, r1_interval=1)
    original, tokens, alive = getattr(task.loss, method), [], []

    class Token:
        """Lives as long as the node of a graph that holds it."""

    def watched(*args):
        alive.append([token() for token in tokens])
        loss, token = original(*args), Token()
        loss.grad_fn.metadata['token'] = token
        tokens.append(weakref.ref(token))
        return loss

    monkeypatch.setattr(task.loss, method, watched)
    task.step(*batch(), BatchRandom(0, 0), 1)
    assert alive == [[None] * i for i in range(4)]


def test_state_of_a_run_with_another_seed_is_taken_over(material):
    """Everything, also the random projection: the seed alone need not give the same one on another
    machine."""
    source, target = (tiny_runs.make_task(material, f'--seed={seed}', r1_interval=1) for seed in (1, 2))
    for iteration in range(2):
        source.step(*batch(), BatchRandom(1, iteration * N), iteration)
    assert tiny_runs.differences(source.state_dict(), target.state_dict())
    target.load_state_dict(source.state_dict())
    assert not tiny_runs.differences(source.state_dict(), target.state_dict())


def test_official_projections_must_come_out_of_the_seed_again(material, monkeypatch):
    """Every process has its own, and a state holds checksums of all of them."""
    tasks = []
    for rank in (0, 1):
        monkeypatch.setattr(distributed, 'get_rank', lambda rank=rank: rank)
        tasks.append(tiny_runs.make_task(material, '--compat=official'))
    state = tasks[0].state_dict()
    state['projection_digests'] += tasks[1].state_dict()['projection_digests']
    assert len(set(state['projection_digests'])) == 2
    tasks[1].load_state_dict(state)  # as process 1
    with pytest.raises(ValueError, match='projection of process 1 from seed, and here the draw differs'):
        tasks[0].load_state_dict(state)


def test_summary_states_the_effective_r1(material):
    lines = tiny_runs.make_task(material, '--r1-gamma=0.02', '--freeze=1').summary()
    assert lines[0].startswith('Generator at --freeze=1: ')
    assert '--r1-gamma=0.02 against the loss of 2 images (--compat=clean): effective gamma 0.01' in lines[-1]
    lines = tiny_runs.make_task(material, '--r1-gamma=0.02', '--compat=official').summary()
    assert 'of 8 images (--compat=official): effective gamma 0.0025' in lines[-1]


@pytest.mark.parametrize(
    'gamma, warned',
    [(2.5e-5, False), (1e-4, False), (1e-3, True), (1e-6, True), (0, False)],  # 8 images: 1e-3 collapses
)
def test_warning_far_from_what_was_seen_working(gamma, warned):
    found = distillation.warn_of_r1('clean', 32, 16, gamma, 1)
    assert len(found) == warned
    assert not warned or found[0].startswith('Warning: effective gamma ')
    assert not warned or found[0].endswith('--r1-gamma=2.5e-05 gives 3.1e-06')
    assert distillation.warn_of_r1('clean', 32, 0, gamma, 1) == []  # without R1


@pytest.mark.parametrize(
    'compat, processes, text',
    [
        ('official', 4, 'of 64 images (--compat=official): effective gamma 1.56e-06'),
        (
            'official',
            8,
            'of 32 images (--compat=official): effective gamma 3.13e-06; 1.56e-06 with 4 processes, which '
            '--r1-gamma=5e-05 gives here',
        ),
        (
            'official',
            1,
            'of 256 images (--compat=official): effective gamma 3.91e-07; 1.56e-06 with 4 processes, which '
            '--r1-gamma=0.0004 gives here',
        ),
        ('clean', 1, 'of 64 images (--compat=clean): effective gamma 1.56e-06'),
        ('clean', 8, 'of 64 images (--compat=clean): effective gamma 1.56e-06'),
    ],
)
def test_effective_r1_for_any_number_of_processes(compat, processes, text):
    """The values of the published recipes."""
    line = distillation.describe_r1(compat, 256, 16, 1e-4, processes)
    assert line == f'R1: --r1-gamma=0.0001 against the loss {text}'
    assert distillation.describe_r1(compat, 256, 0, 1e-4, processes) == 'R1: off'


# ------------------------------------------------------------------------------------------------
# Without a teacher, other optimizers, random backbones.


def test_generator_without_a_teacher(material):
    args = ('--transfer=random', *tiny_runs.NETWORK_ARGS)
    tasks = []
    for seed in (1, 1, 2):
        torch.manual_seed(seed)
        tasks.append(tiny_runs.make_task(material, *args))
    weights = [copies(task.G) for task in tasks]
    assert not tiny_runs.differences(weights[0], weights[1]) and tiny_runs.differences(weights[0], weights[2])
    assert tiny_runs.differences(weights[0], load_network(material[1])[0].state_dict())
    kwargs = tasks[0].facts['network_kwargs']
    assert (kwargs['img_resolution'], kwargs['img_channels'], kwargs['label_dim']) == (8, 3, 3)
    assert 'Teacher: none, random weights (--transfer=random)' in tasks[0].summary()
    tasks[0].step(*batch(), BatchRandom(0, 0), 0)
    assert tiny_runs.differences(weights[0], tasks[0].G.state_dict())


@pytest.mark.parametrize('name, decay', [('adam', 0), ('adam', 0.5), ('radam', 0.5)])
def test_optimizers_against_their_equations(name, decay, material):
    """First step with beta1 = 0: Adam moves by lr g/|g|, RAdam, not yet rectified, by lr g; decay adds to
    g."""
    task = tiny_runs.make_task(
        material,
        f'--optimizer-type={name}',
        f'--weight-decay={decay}',
        '--lr=0.001',
        '--dlr=0.001',
        '--r1-type=none',
    )
    before = [copies(task.G), copies(task.D)]
    task.step(*batch(), BatchRandom(0, 0), 0)
    for module, old in zip((task.G, task.D), before):
        for key, p in module.named_parameters():
            gradient = p.grad + decay * old[key]
            step = gradient if name == 'radam' else gradient / (gradient.abs() + 1e-8)
            assert torch.allclose(p, old[key] - 0.001 * step, atol=2e-6, rtol=1e-5), key


def test_random_backbones_are_one_for_all_processes(material, monkeypatch):
    """Also where every process draws its own projection: what the processes share is broadcast."""
    sent = []
    monkeypatch.setattr(distributed, 'broadcast_', lambda tensor: (sent.append(tensor.data_ptr()), tensor)[1])
    task = tiny_runs.make_task(material, '--compat=official')
    ours = {name: tensor.data_ptr() for name, tensor in task.F.named_parameters()}
    assert all((pointer in sent) == name.startswith('backbones.') for name, pointer in ours.items())
