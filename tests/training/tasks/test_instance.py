# Copyright 2026 The GDD-1S authors.
# SPDX-License-Identifier: Apache-2.0
"""Tests of training/tasks/instance.py and of generators with several steps: gradients, what is built, what is
recorded."""

import copy
import re
import sys

import pytest
import torch
from click.testing import CliRunner

import train
from dnnlib.errors import ArgumentError, as_option
from tests.support import tiny_runs
from torch_utils import training_stats
from torch_utils.randomness import BatchRandom
from training.adversarial.losses import generator_loss
from training.choices import MIDDLE_SIGMA, SIGMA_MAX
from training.dataset import ImageFolderDataset
from training.instance.distances import huber_distance, l2_distance
from training.instance.targets import INSTANCE_TYPES, distillation_target, draw_indices, index_levels
from training.run.artifacts import sample_grid, trained_sampler
from training.sampling import samplers
from training.sampling.options import build_sampler
from training.snapshots.snapshot import load_network
from training.tasks.distillation import DistillationTask
from training.tasks.instance import InstanceTask
from training.training_loop import run_training

N = 8
ONLY = ('--teacher-only=1', '--max-steps=8', '--distance=l2')


@pytest.fixture(autouse=True)
def random_backbones(monkeypatch):
    tiny_runs.use_random_backbones(monkeypatch.setattr)
    monkeypatch.setattr(training_stats, '_counters', {})


def arguments(material, *args):
    data, teacher = material
    gan = () if '--teacher-only=1' in args else tiny_runs.GAN_ARGS[:3]
    return (f'--data={data}', '--cond=1', f'--transfer={teacher}', *gan, *tiny_runs.COMMON_ARGS, *args)


def make_task(material, *args, micro_batch=N):
    config = tiny_runs.make_config(*arguments(material, *args))
    task = InstanceTask if config['teacher_only'] else DistillationTask
    return task(config, ImageFolderDataset(material[0], use_labels=True), torch.device('cpu'), micro_batch)


def batch(count=N):
    images = torch.rand([count, 3, 8, 8], generator=torch.Generator().manual_seed(1)) * 2 - 1
    return images, torch.eye(3)[torch.arange(count) % 3]


def gradients(net):
    return {name: p.grad.clone() for name, p in net.named_parameters() if p.grad is not None}


# ------------------------------------------------------------------------------------------------
# One iteration.


@pytest.mark.parametrize('kind', INSTANCE_TYPES)
def test_step_against_the_equations(kind, material):
    """Mean over the images of |G(x + t z, t) - target|^2, no gradient through the target; then Adam."""
    task = make_task(material, f'--teacher-type={kind}', *ONLY, '--lr=0.001')
    images, labels = batch()
    rng = BatchRandom(3, 640)
    z = rng.randn(images.shape, 'G')
    drawn = rng.share(lambda n, generator: draw_indices(kind, 8, n, generator), N, 'instance', device='cpu')
    net, teacher = copy.deepcopy(task.G), load_network(material[1])[0]
    t = index_levels(8)[drawn['t']].float().reshape(-1, 1, 1, 1)
    noisy = images + t * z
    target = distillation_target(kind, net, teacher, noisy, drawn, labels, 8).detach()
    loss = (net(noisy, t, labels) - target).square().mean()
    loss.backward()
    before = {name: p.detach().clone() for name, p in task.G.named_parameters()}
    task.step(images, labels, BatchRandom(3, 640), 0)
    for name, p in net.named_parameters():
        own = task.G.get_parameter(name)
        scale = float(p.grad.abs().max())
        assert torch.allclose(own.grad, p.grad, rtol=1e-3, atol=1e-3 * scale + 1e-7), name
        assert torch.allclose(own, before[name] - 0.001 * own.grad / (own.grad.abs() + 1e-8), atol=2e-6), name


def test_micro_batches_give_the_gradient_of_the_whole(material):
    images, labels = batch()
    found = []
    for size in (N, 2):
        task = make_task(material, '--teacher-type=ctm', *ONLY, micro_batch=size)
        task.step(images, labels, BatchRandom(0, 0), 0)
        found.append(gradients(task.G))
    assert found[0] and all(
        torch.allclose(found[0][name], other, rtol=1e-3, atol=1e-6) for name, other in found[1].items()
    )


def test_indices_do_not_depend_on_the_number_of_processes():
    """Position b of process r is image b * W + r of the batch, as for noise; official: streams of their
    own."""

    def drawn(world_size, compat='clean'):
        shares = []
        for rank in range(world_size):
            rng = BatchRandom(7, 640, rank, world_size, compat=compat)
            share = rng.share(
                lambda n, generator: dict(t=torch.randint(100, [n], generator=generator)),
                N // world_size,
                'instance',
                device='cpu',
            )
            shares.append(share['t'])
        return torch.stack(shares, dim=1).flatten().tolist()

    assert drawn(1) == drawn(2) == drawn(4) and len(set(drawn(1))) > 1
    assert drawn(2, 'official') != drawn(1, 'official')


def test_distance_is_a_mean_beside_a_sum(material):
    """Weight 1 : B of distance and adversarial loss (the official quirk): each gradient on its own scale,
    added."""
    images, labels = batch()
    both = make_task(material, '--teacher-type=cd', '--max-steps=8', '--distance=huber')
    net, heads = copy.deepcopy(both.G), copy.deepcopy(both.D)
    z = BatchRandom(0, 0).randn(images.shape, 'G')
    adversarial = generator_loss(heads(both.F(net(80 * z, torch.full([N], 80.0), labels)), labels), 'ns')
    drawn = {}
    original = both.instance.mean_distance
    both.instance.mean_distance = lambda x, y, noise, indices: (
        drawn.update(indices, z=noise),
        original(x, y, noise, indices),
    )[1]
    both.step(images, labels, BatchRandom(0, 0), 0)
    assert torch.equal(drawn['z'], z)  # the noise of the adversarial part
    t = index_levels(8)[drawn['t']].float().reshape(-1, 1, 1, 1)
    noisy = images + t * z
    target = distillation_target('cd', net, both.instance.teacher, noisy, drawn, labels, 8).detach()
    mean = huber_distance(net(noisy, t, labels), target).mean()
    # --compat=clean on one process: the sum counts for a quarter of the batch, as on the official four
    # processes
    (adversarial / 4 + mean).backward()
    for name, p in net.named_parameters():
        own = both.G.get_parameter(name).grad
        assert torch.allclose(own, p.grad, rtol=2e-3, atol=2e-3 * float(p.grad.abs().max()) + 1e-7), name
    stats = training_stats.Collector()
    stats.update()
    assert {'Loss/dist/fake', 'Loss/G/loss'} <= set(stats.names())


@pytest.mark.parametrize('steps, levels', [(1, [80.0]), (2, [80.0, 0.5]), (3, [80.0, 9.7232, 0.46998])])
def test_generator_of_several_steps_trains_through_all_of_them(steps, levels, material):
    task = make_task(material, f'--multi-step-g={steps}', *(('--middle-sigma=0.5',) if steps == 2 else ()))
    assert task.loss.levels == pytest.approx(levels, rel=1e-5)
    shown = [line for line in task.summary() if line.startswith('Generator: ')]
    assert (
        shown
        == {1: [], 2: ['Generator: 2 steps, at 80, 0.5'], 3: ['Generator: 3 steps, at 80, 9.723, 0.47']}[
            steps
        ]
    )
    images, labels = batch()
    z = BatchRandom(0, 0).randn(images.shape, 'G')
    net = task.G
    x = z * 80
    for i, sigma in enumerate(levels):  # written out
        denoised = net(x, torch.full([N, 1, 1, 1], sigma), labels)
        if i + 1 < len(levels):
            x = x + (denoised - x) / sigma * (sigma - levels[i + 1])
    made = task.loss.generate(z, labels)
    assert torch.allclose(made, denoised, atol=1e-4)
    sampled = samplers.multi_step_sampler(net.eval(), z, labels, **task.config['sampler_kwargs'])
    assert torch.allclose(
        sampled, made.double(), atol=1e-3
    )  # the same function, in float64 between the steps
    weight = net.model.dec['8x8_aux_conv'].weight
    (every,) = torch.autograd.grad(made.square().sum(), weight)
    (last,) = torch.autograd.grad(
        net(x.detach(), torch.full([N, 1, 1, 1], levels[-1]), labels).square().sum(), weight
    )
    assert bool((every - last).norm() < 1e-3 * last.norm()) == (steps == 1)


# ------------------------------------------------------------------------------------------------
# What is built.


def test_without_adversarial_loss_nothing_of_it_is_imported(material, monkeypatch):
    """A start without timm, features and discriminator, as if they were not installed."""
    for name in (
        'timm',
        'training.adversarial.features',
        'training.adversarial.discriminator',
        'training.tasks.distillation',
        'lpips',
    ):
        monkeypatch.setitem(sys.modules, name, None)
    rooms = ('tasks.instance', 'tasks.score_network', 'student.generator')
    for name in (*rooms, 'instance.targets', 'instance.distances', 'instance.loss'):
        monkeypatch.delitem(sys.modules, f'training.{name}')
    run = tiny_runs.make_run(tiny_runs.make_config(*arguments(material, '--teacher-type=cd', *ONLY)))
    run.train_step(*next(run.batches()))
    assert type(run.task).__name__ == 'InstanceTask' and not hasattr(run.task, 'D') and run.iteration == 1
    with pytest.raises(ImportError):
        tiny_runs.make_run(
            tiny_runs.make_config(*arguments(material))
        )  # with adversarial loss they are needed


def test_missing_lpips_weights_stop_the_run_before_it_starts(material, tmp_path, monkeypatch):
    pytest.importorskip('lpips')
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(torch.hub, 'get_dir', lambda: str(tmp_path))
    monkeypatch.setattr(
        torch.hub,
        'download_url_to_file',
        lambda *_args, **_options: (_ for _ in ()).throw(OSError('offline')),
    )
    with pytest.raises(ValueError, match='needs the file vgg16-397923af.pth.*use distance=huber'):
        make_task(material, '--teacher-type=cd', '--teacher-only=1')


def test_distance_is_the_one_asked_for(material):
    for name, function in (('l2', l2_distance), ('huber', huber_distance)):
        task = make_task(material, '--teacher-type=cd', '--teacher-only=1', f'--distance={name}')
        assert task.instance.distance is function


# ------------------------------------------------------------------------------------------------
# Options.

GAN = ('--data=d.zip', '--transfer=t.pkl')
TEACHER = ('--data=d.zip', '--loss=edm')


@pytest.mark.parametrize(
    'args, text',
    [
        (
            ('--teacher-only=1',),
            '--teacher-only=True leaves nothing to train on .*add for example --teacher-type=cd',
        ),
        (('--teacher-type=pd', '--max-steps=12'), '--max-steps=12: .* power of two; use --max-steps=8'),
        (
            ('--teacher-type=cd', '--lpips=0', '--distance=huber'),
            '--lpips=False means --distance=l2, not --distance=huber',
        ),
        (
            ('--teacher-type=cd', '--teacher-only=1', '--multi-step-g=2'),
            '--multi-step-g=2 is about .*--teacher-only',
        ),
        (
            ('--middle-sigma=0.8',),
            '--middle-sigma=0.8 is the second noise level of 2 steps; use --multi-step-g=2',
        ),
        (('--multi-step-g=2', '--middle-sigma=80'), '--middle-sigma=80 must lie below 80'),
    ],
)
def test_options_that_exclude_or_need_each_other(args, text):
    with pytest.raises(ArgumentError) as caught:
        tiny_runs.make_config(*GAN, *args)
    message = caught.value.spell(as_option)
    assert re.search(text, message) and '\n' not in message


@pytest.mark.parametrize(
    'base, option, text',
    [
        (TEACHER, '--teacher-type=none', 'needs --loss=gdd; a teacher is not distilled, leave it out'),
        (TEACHER, '--multi-step-g=1', 'needs --loss=gdd or fd; a teacher is not distilled, leave it out'),
        *[
            (
                GAN,
                option,
                'needs a method that compares with a score network; add for example --teacher-type=cd, '
                'or leave it out',
            )
            for option in ('--target=t.pkl', '--max-steps=1024', '--distance=huber', '--lpips=True')
        ],
        *[
            (
                (*GAN, '--teacher-type=cd', '--teacher-only=1'),
                option,
                'is about the adversarial loss, which --teacher-only=True leaves out; leave one out',
            )
            for option in ('--dlr=0.0004', '--backbone=0', '--class-embed=random', '--diffaug=False')
        ],
    ],
)
def test_options_without_effect_on_the_method_are_refused(base, option, text):
    """Also with their default value."""
    result = CliRunner().invoke(train.main, ['--outdir=runs', *base, option, '-n'])
    assert result.exit_code == 1 and result.output == f'Error: {option} {text}\n'


@pytest.mark.parametrize(
    'option', ['--max-steps=1', '--multi-step-g=0', '--middle-sigma=0', '--teacher-type=dmd', '--distance=l1']
)
def test_malformed_values_are_refused_by_the_command_line(option):
    result = CliRunner().invoke(train.main, ['--outdir=runs', *GAN, option, '-n'])
    assert result.exit_code == 2 and option.split('=')[0] in result.output


@pytest.mark.parametrize(
    'args, distance',
    [
        ((), 'lpips'),
        (('--lpips=1',), 'lpips'),
        (('--lpips=0',), 'l2'),
        (('--distance=huber',), 'huber'),
        (('--lpips=0', '--distance=l2'), 'l2'),
    ],
)
def test_official_spelling_of_the_distance(args, distance):
    config = tiny_runs.make_config(*GAN, '--teacher-type=ctm', *args)
    assert config['instance_kwargs'] == dict(kind='ctm', max_steps=1024, distance=distance)


def test_number_of_steps_is_part_of_the_options():
    assert tiny_runs.make_config(*GAN)['sampler_kwargs'] == dict(num_steps=1)
    assert tiny_runs.make_config(*GAN, '--multi-step-g=2')['sampler_kwargs'] == dict(
        num_steps=2, middle_sigma=0.8
    )
    assert SIGMA_MAX == samplers.SIGMA_MAX and MIDDLE_SIGMA == samplers.MIDDLE_SIGMA


# ------------------------------------------------------------------------------------------------
# Whole runs.


@pytest.mark.parametrize('args', [('--teacher-type=cd', *ONLY), ('--multi-step-g=2', '--middle-sigma=0.5')])
def test_run_resumes_exactly_and_records_its_steps(args, material, tmp_path):
    def run(name, nimg, *more):
        made = tiny_runs.make_run(
            tiny_runs.make_config(*arguments(material, *args, '--dump=1', tiny_runs.duration(nimg), *more))
        )
        return made, run_training(made, str(tmp_path / name))

    whole, path = run('whole', 32)
    run('half', 16)
    (state,) = (tmp_path / 'half').glob('training-state-*.pt')
    resumed, _path = run('half', 32, f'--resume={state}')
    assert not tiny_runs.differences(whole.task.state_dict(), resumed.task.state_dict())
    assert not tiny_runs.differences(whole.ema.net.state_dict(), resumed.ema.net.state_dict())

    net, info = load_network(path)
    two = args[0] == '--multi-step-g=2'
    sampler, options = build_sampler(net, {}, info.metadata)
    assert (sampler, options) == (
        ('multi_step', dict(num_steps=2, middle_sigma=0.5)) if two else ('one_step', {})
    )
    assert trained_sampler(whole.config) == (sampler, options)
    grid, other = (
        sample_grid(net, 2, 3, name, 'cpu', **kwargs)
        for name, kwargs in ((sampler, options), ('one_step', {}))
    )
    assert grid.shape == (6, 8, 8, 3) and (two == bool((grid != other).any()))
