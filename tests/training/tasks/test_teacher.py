# Copyright 2026 The GDD-1S authors.
# SPDX-License-Identifier: Apache-2.0
"""Tests of training/tasks/teacher.py: an iteration against EDM's recipe written out, accumulation,
augmentation, precision, transfer."""

import copy

import pytest
import torch

from dnnlib.errors import ArgumentError
from dnnlib.util import EasyDict
from tests.support import tiny_runs
from torch_utils.randomness import BatchRandom
from training import networks
from training.augment import AugmentPipe
from training.choices import AUGMENT_DIM, AUGMENTATIONS
from training.loss import EDMLoss, VELoss, VPLoss
from training.tasks import teacher as teacher_task
from training.tasks.teacher import TeacherTask, call_in_dtype, check_network, check_precision
from training.update.ema import EMA

N, K = 8, 3
DATA = EasyDict(resolution=8, num_channels=3, label_dim=K)
TRIED = set()  # architectures that have passed `check_network`, which takes most of the time to make a task


@pytest.fixture(autouse=True)
def architectures_are_tried_once(monkeypatch):
    def check(precond, kwargs):
        if (precond, repr(kwargs)) not in TRIED:
            check_network(precond, kwargs)
        TRIED.add((precond, repr(kwargs)))

    monkeypatch.setattr(teacher_task, 'check_network', check)


def make_task(*args, micro_batch=N):
    config = tiny_runs.make_config(
        '--data=none.zip', *tiny_runs.TEACHER_ARGS, '--dropout=0', '--cond=1', *args
    )
    torch.manual_seed(0)
    return TeacherTask(config, DATA, torch.device('cpu'), micro_batch)


def batch():
    generator = torch.Generator().manual_seed(1)
    images = torch.rand([N, 3, 8, 8], generator=generator) * 2 - 1
    return images, torch.eye(K)[torch.arange(N) % K]


def step(task, nimg=0, seed=0):
    task.step(*batch(), BatchRandom(seed, nimg), iteration=0)
    return [p.detach().clone() for p in task.net.parameters()]


def test_iteration_against_the_recipe():
    """Loss: mean over images of the sum over pixels. Adam (0.9, 0.999), eps 1e-8; the gradients decide the
    first step."""
    task = make_task()
    net = copy.deepcopy(task.net)
    rng = BatchRandom(0, 0)
    level, noise = rng.randn([N, 1, 1, 1], 'D'), rng.randn([N, 3, 8, 8], 'noise')
    images, labels = batch()
    loss = EDMLoss()(net, images, labels, level=level, noise=noise).sum(dim=[1, 2, 3]).mean()
    loss.backward()
    before = [p.detach().clone() for p in net.parameters()]
    found = step(task)
    for p, old, new, own in zip(net.parameters(), before, found, task.net.parameters()):
        assert torch.allclose(own.grad, p.grad, rtol=1e-4, atol=1e-5)
        # Adam's first step: both moments are the gradient's own.
        expected = old - 0.01 * own.grad / (own.grad.abs() + 1e-8)
        assert torch.allclose(new, expected, rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize('micro_batch', [1, 2, 4])
def test_accumulation_gives_the_gradients_of_the_whole_batch(micro_batch):
    whole, parts = make_task('--augment=0.5'), make_task('--augment=0.5', micro_batch=micro_batch)
    step(whole)
    step(parts)
    for a, b in zip(whole.net.parameters(), parts.net.parameters()):
        assert torch.allclose(a.grad, b.grad, rtol=1e-3, atol=1e-4 * float(a.grad.abs().max()))
    # A mean over each micro-batch would be larger by N / micro_batch.
    norms = [
        sum(p.grad.square().sum() for p in task.net.parameters()).sqrt().item() for task in (whole, parts)
    ]
    assert norms[0] == pytest.approx(norms[1], rel=1e-3)


@pytest.mark.parametrize('nimg, share', [(0, 0.0), (2500, 0.25), (10000, 1.0), (50000, 1.0)])
def test_learning_rate_rises_linearly(nimg, share):
    task = make_task('--lr-rampup=10')
    before = [p.detach().clone() for p in task.net.parameters()]
    after = step(task, nimg)
    assert task.optimizer.param_groups[0]['lr'] == pytest.approx(0.01 * share)
    assert all(torch.equal(a, b) for a, b in zip(before, after)) == (nimg == 0)


@pytest.mark.parametrize(
    'loss, precond, loss_class',
    [
        ('vp', networks.VPPrecond, VPLoss),
        ('ve', networks.VEPrecond, VELoss),
        ('edm', networks.EDMPrecond, EDMLoss),
    ],
)
def test_preconditioning_and_loss_go_together(loss, precond, loss_class):
    """One number per image, normal for edm and uniform for the others, decides the noise level."""
    task = make_task(f'--loss={loss}')
    assert type(task.net) is precond and type(task.loss_fn) is loss_class
    images, labels = batch()
    rng = BatchRandom(0, 0)
    level = (rng.randn if loss == 'edm' else rng.rand)([N, 1, 1, 1], 'D')
    net = copy.deepcopy(task.net)
    loss_class()(net, images, labels, level=level, noise=rng.randn(images.shape, 'noise')).sum().div(
        N
    ).backward()
    step(task)
    for own, p in zip(task.net.parameters(), net.parameters()):
        assert torch.allclose(own.grad, p.grad, rtol=1e-4, atol=1e-5 * float(p.grad.abs().max()) + 1e-7)


def test_options_reach_the_loss():
    task = make_task('--p-mean=-0.4', '--p-std=1.0')
    assert (task.loss_fn.P_mean, task.loss_fn.P_std, task.loss_fn.sigma_data) == (-0.4, 1.0, 0.5)


def test_augmented_images_and_their_labels_reach_the_network():
    task = make_task('--augment=0.5')
    calls, net = [], task.denoise
    task.denoise = lambda x, sigma, labels, augment_labels: (
        calls.append((x, sigma, augment_labels)) or net(x, sigma, labels, augment_labels)
    )
    step(task)
    rng = BatchRandom(0, 0)
    images, labels = AugmentPipe(p=0.5, **AUGMENTATIONS).apply(
        batch()[0], rng.share(task.augment_pipe.draw, N, 'augment')
    )
    x, sigma, augment_labels = calls[0]
    assert torch.equal(augment_labels, labels) and labels.shape == (N, AUGMENT_DIM) and labels.any()
    assert torch.allclose(x, images + sigma * rng.randn(images.shape, 'noise'))
    assert task.net.model.map_augment.weight.grad.any()
    assert make_task().augment_pipe is None and make_task().net.model.map_augment is None


def test_snapshots_hold_loss_and_augmentation():
    task = make_task('--augment=0.15', '--loss=ve')
    assert task.snapshot_entries() == dict(loss_fn=task.loss_fn, augment_pipe=task.augment_pipe)
    assert task.augment_pipe.p == 0.15 and make_task().snapshot_entries()['augment_pipe'] is None


def test_keywords_are_recorded_in_edms_order():
    """As in the files of EDM's training; num_blocks and attn_resolutions, which EDM leaves out, come before
    the shared ones."""
    kwargs = list(make_task('--augment=0.15').net._init_kwargs)
    assert kwargs == [
        'model_type',
        'embedding_type',
        'encoder_type',
        'decoder_type',
        'channel_mult_noise',
        'resample_filter',
        'model_channels',
        'channel_mult',
        'num_blocks',
        'attn_resolutions',
        'augment_dim',
        'dropout',
        'use_fp16',
        'img_resolution',
        'img_channels',
        'label_dim',
    ]


def test_loss_scaling_stays_in_the_gradients(monkeypatch):
    """EDM never divides it out: gradients grow, Adam's step does not, where gradients are large against its
    eps."""
    reported = []
    monkeypatch.setattr(
        'torch_utils.training_stats.report',
        lambda _name, value: reported.append(value.detach().float().mean().item()),
    )
    plain, scaled = make_task(), make_task('--ls=128')
    steps = [step(task) for task in (plain, scaled)]
    for a, b in zip(plain.net.parameters(), scaled.net.parameters()):
        assert torch.allclose(128 * a.grad, b.grad, rtol=1e-5, atol=1e-6 * float(b.grad.abs().max()))
    compared = 0
    for a, b, old, p in zip(*steps, make_task().net.parameters(), plain.net.parameters()):
        large = p.grad.abs() > 1e-4  # against eps = 1e-8
        assert torch.allclose((a - old)[large], (b - old)[large], rtol=1e-3)
        compared += int(large.sum())
    assert compared > 100
    # What is reported is that of the loss itself.
    assert len(reported) == 6 and reported[:3] == pytest.approx(reported[3:])


def test_label_dropout_trains_some_images_without_their_label():
    task = make_task('--label-dropout=1')
    step(task)
    assert not task.net.model.map_label.weight.grad.any()
    other = make_task('--label-dropout=0')
    step(other)
    assert other.net.model.map_label.weight.grad.any() and 'label_dropout' not in other.net._init_kwargs


def test_noise_is_that_of_the_position():
    results = [step(make_task(), nimg, seed) for nimg, seed in [(0, 0), (0, 0), (8, 0), (0, 1)]]
    equal = [all(torch.equal(a, b) for a, b in zip(results[0], other)) for other in results[1:]]
    assert equal == [True, False, False]


@pytest.mark.parametrize(
    'options, text',
    [
        (
            dict(model_channels=9, channel_mult=[1, 1]),
            '^cbase=9 cres=1,1 give no working network for 8x8 images .*groups',
        ),
        (dict(model_channels=2), '^cbase=2 .* must be multiples of 32'),
        (
            dict(channel_mult=[1] * 6),
            'cres=1,1,1,1,1,1 .* each entry of cres after the first halves the image: try',
        ),
    ],
)
def test_impossible_networks_are_refused_before_anything_is_written(options, text):
    kwargs = dict(tiny_runs.UNET, img_resolution=8, img_channels=3, label_dim=K)
    state = torch.get_rng_state()
    check_network(networks.EDMPrecond, kwargs)
    with pytest.raises(ArgumentError, match=text) as caught:
        check_network(networks.EDMPrecond, dict(kwargs, **options))
    assert '\n' not in str(caught.value) and torch.equal(state, torch.get_rng_state())


def test_learning_rate_factor():
    """Hand-computed: up over 10 kimg, flat, down over the last 20 of 100 kimg."""
    task = make_task('--lr-rampup=10', '--lr-rampdown=20', '--duration=0.1')
    found = [task.lr_factor(nimg) for nimg in (0, 5000, 10000, 80000, 90000, 100000, 110000)]
    assert found == [0, 0.5, 1, 1, 0.5, 0, 0]
    constant = make_task('--duration=0.1')
    assert [constant.lr_factor(nimg) for nimg in (0, 99999)] == [1, 1]


# ------------------------------------------------------------------------------------------------
# Precision.


def test_bfloat16_is_bfloat16():
    """The convolutions compute in bfloat16 whatever the device; parameters, gradients and what is saved stay
    float32."""
    task, full = make_task('--precision=bf16'), make_task()
    seen = []
    hook = task.net.model.enc['8x8_conv'].register_forward_hook(
        lambda _module, args, out: seen.append((args[0].dtype, out.dtype))
    )
    states = [step(task), step(full)]
    hook.remove()
    assert seen == [(torch.bfloat16, torch.bfloat16)]
    assert all(p.dtype == p.grad.dtype == torch.float32 for p in task.net.parameters())
    gradients = [torch.cat([p.grad.flatten() for p in net.parameters()]) for net in (task.net, full.net)]
    error = ((gradients[0] - gradients[1]).norm() / gradients[1].norm()).item()
    assert 1e-4 < error < 0.1 and torch.isfinite(torch.cat([p.flatten() for p in states[0]])).all()
    assert not task.net.use_fp16 and not task.net.model._forward_pre_hooks
    assert not EMA(task.net, 1000).net.model._forward_pre_hooks


def test_network_is_clean_again_after_an_error():
    net = make_task().net
    with pytest.raises(RuntimeError):
        call_in_dtype(net, torch.bfloat16, torch.zeros(2, 5, 8, 8), torch.ones(2), torch.eye(K)[:2])
    assert not net.model._forward_pre_hooks


@pytest.mark.parametrize('option', ['--precision=fp16', '--fp16=1'])
def test_float16_needs_a_gpu(option):
    with pytest.raises(ArgumentError, match='^precision=fp16 .* needs a GPU, .* use precision=fp32 or bf16'):
        make_task(option)
    check_precision('fp16', torch.device('cuda'))
    check_precision('bf16', torch.device('cpu'))


# ------------------------------------------------------------------------------------------------
# --transfer.


@pytest.fixture(scope='module')
def teacher(tmp_path_factory):
    return tiny_runs.write_teacher(
        tmp_path_factory.mktemp('teacher') / 'teacher.pkl', augment_dim=AUGMENT_DIM
    )


def make_transfer_task(path, *args):
    """Without --arch and the options that go with it."""
    args = ('--data=none.zip', '--loss=edm', '--cond=1', f'--transfer={path}', *tiny_runs.COMMON_ARGS, *args)
    return TeacherTask(tiny_runs.make_config(*args), DATA, torch.device('cpu'), N)


def test_transfer_takes_architecture_and_weights(teacher):
    task = make_transfer_task(teacher, '--dropout=0.2')
    expected = networks.EDMPrecond(8, 3, K, **dict(tiny_runs.UNET, augment_dim=AUGMENT_DIM))
    assert [name for name, _ in task.net.named_parameters()] == [
        name for name, _ in expected.named_parameters()
    ]
    torch.manual_seed(5)  # as write_teacher
    source = networks.EDMPrecond(
        img_resolution=8, img_channels=3, label_dim=K, **dict(tiny_runs.UNET, augment_dim=AUGMENT_DIM)
    )
    assert not tiny_runs.differences(task.net.state_dict(), source.state_dict())
    assert task.net.model.enc['8x8_block0'].dropout == 0.2
    assert 'sha256' in task.facts['teacher'] and any(
        f'--transfer={teacher}' in line for line in task.summary()
    )
    # Its average starts at once (EDM): no ramp of the half-life.
    assert task.config['ema_kwargs']['rampup'] == 0


def test_transfer_may_leave_out_the_augmentation_but_not_invent_it(teacher, tmp_path):
    assert make_transfer_task(teacher, '--augment=0').net.model.map_augment is None
    plain = tiny_runs.write_teacher(tmp_path / 'plain.pkl')
    assert make_transfer_task(plain, '--augment=0').net.model.map_augment is None
    with pytest.raises(ArgumentError, match='map_augment.* trained without augmentation, use augment=0'):
        make_transfer_task(plain, '--augment=0.1')


def test_transfer_from_another_kind_is_refused(teacher, tmp_path):
    with pytest.raises(
        ArgumentError, match='is a EDMPrecond, .* under precond=vp; give a teacher trained with precond=vp'
    ):
        make_transfer_task(teacher, '--loss=vp')
    large = tiny_runs.write_teacher(tmp_path / 'large.pkl', resolution=16)
    with pytest.raises(ArgumentError, match='has resolution 8, but the teacher .* has 16'):
        make_transfer_task(large)
    with pytest.raises(ArgumentError, match='do not fit .*; leave out arch'):
        make_transfer_task(
            teacher, '--arch=ncsnpp', '--cbase=16', '--cres=1,1', '--num-blocks=1', '--attn-res=4'
        )
