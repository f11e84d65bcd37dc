# Copyright 2026 The GDD-1S authors.
# SPDX-License-Identifier: Apache-2.0
"""Tests of training/teacher.py: an iteration against EDM's recipe written out, accumulation, ramp, bad architectures."""

import copy

import pytest
import tiny_runs
import torch

from training.config import ConfigError
from training.loss import EDMLoss
from training.randomness import BatchRandom
from training.teacher import TeacherTask, check_network

N, K = 8, 3


def make_task(*args, **changes):
    config = tiny_runs.make_config('--data=none.zip', *tiny_runs.TEACHER_ARGS, '--dropout=0', *args)
    config['network_kwargs'].update(img_resolution=8, img_channels=3, label_dim=K)
    torch.manual_seed(0)
    return TeacherTask(dict(config, micro_batch=N, **changes), torch.device('cpu'))


def batch():
    generator = torch.Generator().manual_seed(1)
    images = torch.rand([N, 3, 8, 8], generator=generator) * 2 - 1
    return images, torch.eye(K)[torch.arange(N) % K]


def step(task, nimg=0, seed=0):
    task.step(*batch(), BatchRandom(seed, nimg), iteration=0)
    return [p.detach().clone() for p in task.net.parameters()]


def test_iteration_against_the_recipe():
    """Loss: mean over images of the sum over pixels. Adam (0.9, 0.999), eps 1e-8; the gradients decide the first step."""
    task = make_task()
    net = copy.deepcopy(task.net)
    rng = BatchRandom(0, 0)
    level, noise = rng.randn([N, 1, 1, 1], 'D'), rng.randn([N, 3, 8, 8], 'noise')
    images, labels = batch()
    loss = EDMLoss()(net, images, labels, level, noise).sum(dim=[1, 2, 3]).mean()
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
    whole, parts = make_task(), make_task()
    parts.micro_batch = micro_batch
    step(whole)
    step(parts)
    for a, b in zip(whole.net.parameters(), parts.net.parameters()):
        assert torch.allclose(a.grad, b.grad, rtol=1e-3, atol=1e-4 * float(a.grad.abs().max()))
    # A mean over each micro-batch would be larger by N / micro_batch.
    norms = [sum(p.grad.square().sum() for p in task.net.parameters()).sqrt().item() for task in (whole, parts)]
    assert norms[0] == pytest.approx(norms[1], rel=1e-3)


@pytest.mark.parametrize('nimg, share', [(0, 0.0), (2500, 0.25), (10000, 1.0), (50000, 1.0)])
def test_learning_rate_rises_linearly(nimg, share):
    task = make_task('--lr-rampup=10')
    before = [p.detach().clone() for p in task.net.parameters()]
    after = step(task, nimg)
    assert task.optimizer.param_groups[0]['lr'] == pytest.approx(0.01 * share)
    assert all(torch.equal(a, b) for a, b in zip(before, after)) == (nimg == 0)


def test_noise_is_that_of_the_position():
    results = [step(make_task(), nimg, seed) for nimg, seed in [(0, 0), (0, 0), (8, 0), (0, 1)]]
    equal = [all(torch.equal(a, b) for a, b in zip(results[0], other)) for other in results[1:]]
    assert equal == [True, False, False]


@pytest.mark.parametrize('options, text', [
    (dict(model_channels=9, channel_mult=[1, 1]), '--cbase=9 --cres=1,1 give no working network for 8x8 images .*groups'),
    (dict(model_channels=2), '--cbase=2 .* must be multiples of 32'),
    (dict(channel_mult=[1] * 6), '--cres=1,1,1,1,1,1 .* each entry of --cres after the first halves the image: try'),
])
def test_impossible_networks_are_refused_before_anything_is_written(options, text):
    kwargs = dict(tiny_runs.UNET, img_resolution=8, img_channels=3, label_dim=K)
    state = torch.get_rng_state()
    check_network(kwargs)
    with pytest.raises(ConfigError, match=text) as caught:
        check_network(dict(kwargs, **options))
    assert '\n' not in str(caught.value) and torch.equal(state, torch.get_rng_state())


def test_learning_rate_factor():
    """Hand-computed: up over 10 kimg, flat, down over the last 20 of 100 kimg."""
    task = make_task('--lr-rampup=10', '--lr-rampdown=20', '--duration=0.1')
    found = [task.lr_factor(nimg) for nimg in (0, 5000, 10000, 80000, 90000, 100000, 110000)]
    assert found == [0, 0.5, 1, 1, 0.5, 0, 0]
    constant = make_task('--duration=0.1')
    assert [constant.lr_factor(nimg) for nimg in (0, 99999)] == [1, 1]
