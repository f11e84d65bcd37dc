# Copyright 2026 The GDD-1S authors.
# SPDX-License-Identifier: Apache-2.0

"""Test the adversarial losses, R1 and the three stages against hand values, loops and golden numbers."""

import copy
import math

import numpy as np
import pytest
import torch
from torch import nn

from tests.golden import load, relative_error
from tests.golden_gdd import CEILING, Case, filled_features, root_mean_square
from torch_utils import training_stats
from training.adversarial.losses import GDDLoss, discriminator_loss, generator_loss, r1_penalty

CASE = 'loss/tf_efficientnet_lite0/cond1/ns'


# ---- pure functions -------------------------------------------------------------------------------------


def test_sum_convention_by_hand():
    logits = torch.tensor([[0.0, 1.0], [2.0, -1.0]], dtype=torch.float64)
    assert float(generator_loss([logits], 'ns')) == pytest.approx(1.2232992833, abs=1e-10)
    assert float(generator_loss([logits], 'hinge')) == pytest.approx(-1.0)
    assert float(generator_loss([logits, logits], 'ns')) == pytest.approx(2 * 1.2232992833, abs=1e-9)


def slow_discriminator_loss(fake, real, kind):
    total = 0
    for logits, sign in ((fake, 1), (real, -1)):
        for backbone in logits:
            for row in backbone.tolist():
                values = [
                    math.log1p(math.exp(sign * x)) if kind == 'ns' else max(0, 1 + sign * x) for x in row
                ]
                total += sum(values) / len(values)
    return total


@pytest.mark.parametrize('kind', ['ns', 'hinge'])
def test_discriminator_loss_against_a_loop(kind):
    torch.manual_seed(0)
    fake, real = ([2 * torch.randn(3, n, dtype=torch.float64) for n in (4, 7)] for _ in range(2))
    loss = float(discriminator_loss(fake, real, kind))
    assert loss == pytest.approx(slow_discriminator_loss(fake, real, kind))
    assert loss != pytest.approx(slow_discriminator_loss(real, fake, kind))
    # A mean over all logits of both backbones would be wrong: each backbone counts once per image.
    assert generator_loss(fake, kind) != pytest.approx(3 * generator_loss([torch.cat(fake, dim=1)], kind))


def test_unknown_loss_type():
    for call in (lambda: generator_loss([], 'wgan'), lambda: GDDLoss(None, None, None, 'wgan')):
        with pytest.raises(ValueError, match="'wgan' is unknown; use one of ns, hinge"):
            call()
    with pytest.raises(ValueError, match='r1_gamma=-1 must not be negative'):
        GDDLoss(None, None, None, r1_gamma=-1)


def test_r1_of_a_quadratic_by_hand():
    images = torch.tensor([1.0, 2.0, 3.0]).reshape(3, 1, 1, 1).requires_grad_(True)
    rows = images.flatten(1)
    penalty = r1_penalty([rows**2, 5 * rows], images)  # gradient 2x + 5
    assert penalty.tolist() == [49.0, 81.0, 121.0]
    assert torch.autograd.grad(penalty.sum(), images)[0].flatten().tolist() == [28.0, 36.0, 44.0]
    with pytest.raises(ValueError, match='must require grad'):
        r1_penalty([rows], torch.zeros(3, 1, 1, 1))


def test_r1_against_finite_differences():
    torch.manual_seed(0)
    net = nn.Sequential(nn.Conv2d(2, 4, 3), nn.BatchNorm2d(4), nn.Tanh(), nn.Flatten()).double()
    images = torch.randn(3, 2, 5, 5, dtype=torch.float64)
    penalty = r1_penalty([net(images.requires_grad_(True))], images)
    slow = torch.zeros(3, dtype=torch.float64)
    with torch.no_grad():
        for index in np.ndindex(*images.shape):
            step = torch.zeros_like(images)
            step[index] = 1e-5
            slow[index[0]] += float((net(images + step).sum() - net(images - step).sum()) / 2e-5) ** 2
    np.testing.assert_allclose(penalty.detach(), slow, rtol=1e-6)


# ---- stages on small stand-ins --------------------------------------------------------------------------


class TinyG(nn.Module):
    def __init__(self):
        super().__init__()
        self.conv, self.frozen = (
            nn.Conv2d(1, 1, 3, padding=1),
            nn.Parameter(torch.ones(1), requires_grad=False),
        )
        self.calls = []

    def forward(self, x, sigma, class_labels=None):
        self.calls.append((x.detach(), sigma, class_labels, torch.is_grad_enabled()))
        return torch.tanh(self.conv(x / sigma.reshape(-1, 1, 1, 1))) * self.frozen


class TinyD(nn.Module):
    names = ['a', 'b']

    def __init__(self):
        super().__init__()
        self.a, self.norm, self.b = nn.Conv2d(1, 2, 3), nn.BatchNorm2d(2), nn.Conv2d(1, 1, 2)
        self.seen = []

    def forward(self, features, labels=None):
        self.seen.append((features['x'].detach(), labels, [p.requires_grad for p in self.parameters()]))
        first = nn.functional.leaky_relu(self.norm(self.a(features['x'])))
        return [first.flatten(1), self.b(features['x']).square().flatten(1)]


class TinyF(nn.Module):
    def forward(self, x):
        return {'x': torch.sin(2 * x)}


@pytest.fixture
def tiny():
    torch.manual_seed(0)
    loss = GDDLoss(TinyG(), TinyD(), TinyF(), r1_gamma=0.5)
    return loss, torch.randn(3, 1, 6, 6), torch.zeros(3, 0), torch.randn(3, 1, 6, 6)


def grads(module):
    return {name: p.grad.clone() for name, p in module.named_parameters() if p.grad is not None}


def test_generator_stage(tiny):
    loss, images, labels, z = tiny
    collector = training_stats.Collector()
    total = loss.generator_stage(images, labels, z)
    x, sigma, given, _ = loss.G.calls[0]
    assert torch.equal(x, 80 * z) and sigma.flatten().tolist() == [80.0] * 3 and given is None
    assert loss.D.seen[0][2] == [False] * 6 and all(p.requires_grad for p in loss.D.parameters())
    assert not grads(loss.D) and set(grads(loss.G)) == {'conv.weight', 'conv.bias'}
    collector.update()
    assert collector.mean('Loss/G/loss') == pytest.approx(float(total) / 3)
    names = [n for n in collector.names() if collector.num(n)]
    assert {'Loss/logits/fake', 'Loss/probs/fake', 'Loss/logits/fake/a', 'Loss/logits/fake/b'} <= set(names)
    assert collector.num('Loss/logits/fake') == 3 * (32 + 25)


def test_discriminator_stage(tiny):
    loss, images, labels, z = tiny
    collector = training_stats.Collector()
    total = loss.discriminator_stage(images, labels, z)
    assert not grads(loss.G) and len(grads(loss.D)) == 6 and not loss.G.calls[0][3]
    fake, real = (torch.asin(seen[0]) / 2 for seen in loss.D.seen)
    torch.testing.assert_close(torch.sin(2 * real), torch.sin(2 * images))
    assert not torch.allclose(fake, real)  # fakes went first
    collector.update()
    assert collector.mean('Loss/D/loss') == pytest.approx(float(total) / 3)
    assert abs(collector.mean('Loss/signs/real')) <= 1 and 0 < collector.mean('Loss/probs/real') < 1


def test_gain_scales_and_gradients_accumulate(tiny):
    loss, images, labels, z = tiny
    for stage in (loss.generator_stage, loss.discriminator_stage):
        network = loss.G if stage == loss.generator_stage else loss.D
        loss.D.zero_grad()
        loss.G.zero_grad()
        stage(images, labels, z)
        once = grads(network)
        stage(images, labels, z, gain=2.0)
        for name, total in grads(network).items():
            torch.testing.assert_close(total, 3 * once[name])


def test_r1_stage(tiny):
    loss, images, labels, _ = tiny
    D = copy.deepcopy(loss.D)
    collector = training_stats.Collector()
    penalty = loss.r1_stage(images, labels, gain=16.0, fraction=0.25)
    x = images.clone().requires_grad_(True)
    expected = r1_penalty(D(loss.F(x)), x)
    (16 * 0.25 * (expected * 0.5 / 2).mean()).backward()
    torch.testing.assert_close(penalty, expected.detach())
    for name, p in D.named_parameters():
        # That of norm.bias is zero, but not missing: Adam's state has to decay with it.
        torch.testing.assert_close(grads(loss.D)[name], p.grad)
    assert not grads(loss.G) and not images.requires_grad
    collector.update()
    assert collector.mean('Loss/D/r1_loss') == pytest.approx(0.25 * collector.mean('Loss/r1_penalty'))


def test_labels_reach_both_networks(tiny):
    loss, images, _, z = tiny
    labels = torch.eye(4)[:3]
    loss.discriminator_stage(images, labels, z)
    assert torch.equal(loss.G.calls[0][2], labels) and all(
        torch.equal(seen[1], labels) for seen in loss.D.seen
    )


def test_wrong_noise_shape(tiny):
    loss, images, labels, z = tiny
    for stage in (loss.generator_stage, loss.discriminator_stage):
        with pytest.raises(ValueError, match=r'\[2, 1, 6, 6\] does not fit images of shape \[3, 1, 6, 6\]'):
            stage(images, labels, z[:2])


# ---- golden numbers (test_golden.py checks every stored number) -----------------------------------------


@pytest.fixture(scope='module')
def golden(shared_dir):
    """Return a function that runs the first stage and gives (root mean square error, probes of the gradients)."""
    entries, arrays = load(shared_dir / 'golden', 'gdd', 'public')
    case = Case(entries, arrays, 'public', CASE)

    def run(change=lambda loss: None, labels=case.labels, number=0):
        def make_loss(*args, **options):
            loss = GDDLoss(*args, **options)
            change(loss)
            return loss

        case.make_loss, case.labels = make_loss, labels
        stage, _, gradients, _ = next(case.run(number))
        probes, stored = case.probe(stage, gradients), case.entries[stage]['grads']
        return root_mean_square(
            [relative_error(probe, stored[name]) for name, probe in probes.items()]
        ), probes

    return run


def test_golden_rejects_wrong_versions(golden):
    assert golden()[0] < CEILING / 3
    wrong = {
        'sigma_max': lambda loss: setattr(loss, 'levels', (79.0,)),
        'loss type': lambda loss: setattr(loss, 'loss_type', 'hinge'),
        'no power iteration, running statistics': lambda loss: loss.D.eval(),
        'projection': lambda loss: setattr(loss, 'F', filled_features(('tf_efficientnet_lite0',), 'other')),
    }
    for name, change in wrong.items():
        assert golden(change)[0] > CEILING, name
    assert golden(labels=torch.eye(10)[[1, 2, 3, 0]])[0] > CEILING


def test_rounding_alone_moves_golden_gradients(golden):
    """Justify that golden_gdd.py measures allowances: moving the last bits of the inputs moves gradients by more than 1e-4."""
    plain = golden()[1]
    moved = [golden(number=number)[1] for number in (1, 2, 3)]
    changes = [
        root_mean_square([relative_error(probes[name], probe) for name, probe in plain.items()])
        for probes in moved
    ]
    assert 1e-4 < max(changes) < CEILING
