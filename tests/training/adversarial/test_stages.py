# Copyright 2026 The GDD-1S authors.
# SPDX-License-Identifier: Apache-2.0

"""Test the three stages on small stand-ins, and that golden numbers reject wrong versions."""

import copy

import pytest
import torch
from torch import nn

from dnnlib.errors import ArgumentError
from tests.golden import load, relative_error
from tests.golden_gdd import CEILING, Case, filled_features, root_mean_square
from torch_utils import training_stats
from training.adversarial.losses import r1_penalty
from training.adversarial.stages import GDDLoss

CASE = 'loss/tf_efficientnet_lite0/cond1/ns'


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


def test_impossible_arguments():
    with pytest.raises(ArgumentError, match='loss_type=wgan is unknown'):
        GDDLoss(None, None, None, 'wgan')
    with pytest.raises(ArgumentError, match='r1_gamma=-1 must not be negative'):
        GDDLoss(None, None, None, r1_gamma=-1)


def test_generator_loss(tiny):
    loss, images, labels, z = tiny
    collector = training_stats.Collector()
    total = loss.generator_loss(images, labels, z)
    assert not grads(loss.G) and all(p.requires_grad for p in loss.D.parameters())
    total.backward()
    x, sigma, given, _ = loss.G.calls[0]
    assert torch.equal(x, 80 * z) and sigma.flatten().tolist() == [80.0] * 3 and given is None
    assert loss.D.seen[0][2] == [False] * 6
    assert not grads(loss.D) and set(grads(loss.G)) == {'conv.weight', 'conv.bias'}
    collector.update()
    assert collector.mean('Loss/G/loss') == pytest.approx(total.item() / 3)
    names = [n for n in collector.names() if collector.num(n)]
    assert {'Loss/logits/fake', 'Loss/probs/fake', 'Loss/logits/fake/a', 'Loss/logits/fake/b'} <= set(names)
    assert collector.num('Loss/logits/fake') == 3 * (32 + 25)


def test_discriminator_loss(tiny):
    loss, images, labels, z = tiny
    collector = training_stats.Collector()
    total = loss.discriminator_loss(images, labels, z)
    assert not grads(loss.D)
    total.backward()
    assert not grads(loss.G) and len(grads(loss.D)) == 6 and not loss.G.calls[0][3]
    fake, real = (torch.asin(seen[0]) / 2 for seen in loss.D.seen)
    torch.testing.assert_close(torch.sin(2 * real), torch.sin(2 * images))
    assert not torch.allclose(fake, real)  # fakes went first
    collector.update()
    assert collector.mean('Loss/D/loss') == pytest.approx(total.item() / 3)
    assert abs(collector.mean('Loss/signs/real')) <= 1 and 0 < collector.mean('Loss/probs/real') < 1


def test_the_generator_may_fail_and_leaves_the_discriminator_trainable(tiny):
    loss, images, labels, z = tiny
    loss.G = None
    with pytest.raises(TypeError):
        loss.generator_loss(images, labels, z)
    assert all(p.requires_grad for p in loss.D.parameters())


def test_r1_loss(tiny):
    loss, images, labels, _ = tiny
    D = copy.deepcopy(loss.D)
    collector = training_stats.Collector()
    found = loss.r1_loss(images, labels)
    found.backward(inputs=list(loss.D.parameters()))
    x = images.clone().requires_grad_(True)
    expected = (r1_penalty(D(loss.F(x)), x) * 0.5 / 2).mean()
    expected.backward()
    torch.testing.assert_close(found.detach(), expected.detach())
    for name, p in D.named_parameters():
        # That of norm.bias is zero, but not missing: Adam's state has to decay with it.
        torch.testing.assert_close(grads(loss.D)[name], p.grad)
    assert not grads(loss.G) and not images.requires_grad
    collector.update()
    assert collector.mean('Loss/D/r1_loss') == pytest.approx(0.25 * collector.mean('Loss/r1_penalty'))


def test_labels_reach_both_networks(tiny):
    loss, images, _, z = tiny
    labels = torch.eye(4)[:3]
    loss.discriminator_loss(images, labels, z)
    assert torch.equal(loss.G.calls[0][2], labels) and all(
        torch.equal(seen[1], labels) for seen in loss.D.seen
    )


def test_wrong_noise_shape(tiny):
    loss, images, labels, z = tiny
    for stage in (loss.generator_loss, loss.discriminator_loss):
        with pytest.raises(ValueError, match=r'\[2, 1, 6, 6\] does not fit images of shape \[3, 1, 6, 6\]'):
            stage(images, labels, z[:2])


# ---- golden numbers (test_golden.py checks every stored number) -----------------------------------------


@pytest.fixture(scope='module')
def golden(shared_dir):
    """Return a function that runs the first stage and gives (root mean square error, probes of the
    gradients)."""
    entries, arrays = load(shared_dir / 'golden', 'gdd', 'public')
    case = Case(entries, arrays, 'public', CASE)
    next(case.stages())  # leaves the state that repeats begin with

    def run(change=lambda loss: None, labels=case.labels, number=0):
        def make_loss(*args, **options):
            loss = GDDLoss(*args, **options)
            change(loss)
            return loss

        case.make_loss, case.labels = make_loss, labels
        probes, stored = case.probe('G', case.repeat('G', number)[1]), case.entries['G']['grads']
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
    """Justify that golden_gdd.py measures allowances: moving the last bits of the inputs moves gradients by
    more than 1e-4."""
    plain = golden()[1]
    moved = [golden(number=number)[1] for number in (1, 2, 3)]
    changes = [
        root_mean_square([relative_error(probes[name], probe) for name, probe in plain.items()])
        for probes in moved
    ]
    assert 1e-4 < max(changes) < CEILING
