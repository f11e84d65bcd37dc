# Copyright 2026 The GDD-1S authors.
# SPDX-License-Identifier: Apache-2.0

"""What --perf means on each device; the fast arithmetic computes the same functions up to rounding."""

import dataclasses

import pytest
import torch

from dnnlib.errors import ArgumentError
from tests.support import tiny_runs
from torch_utils.randomness import BatchRandom
from training.adversarial import precision
from training.adversarial.discriminator import ProjectedDiscriminator
from training.adversarial.features import ProjectedFeatures
from training.adversarial.precision import Arithmetic, choose_arithmetic, features_in_type, settle_features
from training.adversarial.stages import GDDLoss

CPU, CUDA = torch.device('cpu'), torch.device('cuda')
SIXTEEN = choose_arithmetic('fast-16bit', CPU)


@pytest.fixture(scope='module')
def material(tmp_path_factory):
    folder = tmp_path_factory.mktemp('precision')
    return tiny_runs.write_zip(folder / 'data.zip'), tiny_runs.write_teacher(folder / 'teacher.pkl')


@pytest.fixture
def features():
    torch.manual_seed(1)
    return ProjectedFeatures(['tf_efficientnet_lite0'], 32, True, weights='random', fused=True)


def images(count=4, seed=0):
    return torch.rand([count, 3, 8, 8], generator=torch.Generator().manual_seed(seed)) * 2 - 1


def cosine(a, b):
    return torch.nn.functional.cosine_similarity(a.flatten().double(), b.flatten().double(), dim=0).item()


# ---- the table -------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    'perf, device, expected',
    [
        ('faithful', CPU, Arithmetic()),
        ('faithful', CUDA, Arithmetic()),
        ('fast', CPU, Arithmetic(bias_inside=True)),
        ('fast', CUDA, Arithmetic(torch.float16, torch.bfloat16, True, True, True)),
        ('fast-16bit', CUDA, Arithmetic(torch.float16, torch.bfloat16, True, True, True)),
        ('fast-16bit', CPU, Arithmetic(torch.float16, torch.bfloat16, True, False, False)),
    ],
)
def test_modes(perf, device, expected, monkeypatch):
    monkeypatch.setattr(precision, 'multiplies_bfloat16', lambda: False)
    assert choose_arithmetic(perf, device) == expected
    assert not choose_arithmetic(perf, device, synchronised=True).compiled
    with pytest.raises(ArgumentError, match='perf=slow is unknown; use perf=faithful or fast'):
        choose_arithmetic('slow', device)


def test_a_cpu_with_bfloat16_uses_it_where_gradients_allow(monkeypatch):
    assert precision.multiplies_bfloat16() in (False, True)
    monkeypatch.setattr(precision, 'multiplies_bfloat16', lambda: True)
    assert choose_arithmetic('fast', CPU) == Arithmetic(heads=torch.bfloat16, bias_inside=True)
    assert choose_arithmetic('faithful', CPU) == Arithmetic()


def test_products_may_be_rounded_inside_only():
    flags = torch.backends.cudnn, torch.backends.cuda.matmul
    before = [flag.allow_tf32 for flag in flags]
    with pytest.raises(KeyError), Arithmetic(tf32=True).tf32_setting():
        assert all(flag.allow_tf32 for flag in flags)
        raise KeyError
    assert [flag.allow_tf32 for flag in flags] == before
    with Arithmetic().tf32_setting():
        assert not any(flag.allow_tf32 for flag in flags)


# ---- frozen networks -------------------------------------------------------------------------------------


def test_float32_is_the_network_itself_and_needs_no_images(features):
    def fail():
        raise AssertionError('no image is needed')

    assert settle_features(features, Arithmetic(), fail)[:2] == (features, Arithmetic())


def test_sixteen_bits_are_a_twin_with_nearly_the_same_maps(features):
    twin, arithmetic, line = settle_features(features, SIXTEEN, images)
    assert arithmetic == SIXTEEN and 'features float16' in line and 'largest value' in line
    expected = features(images())['tf_efficientnet_lite0']
    for x, y in zip(twin(images())['tf_efficientnet_lite0'], expected):
        assert x.dtype == torch.float16 and y.dtype == torch.float32
        assert cosine(x, y) > 0.9999 and not torch.equal(x.float(), y)
    assert {p.dtype for p in features.parameters()} == {torch.float32}  # what a state holds


@pytest.mark.parametrize('place', ['inside', 'at the end'])
def test_large_values_fall_back_to_bfloat16(features, place):
    """A clamp hides an overflow inside from the results, so maps inside are looked at as well."""
    with torch.no_grad():
        if place == 'inside':
            features.backbones['tf_efficientnet_lite0'].conv_stem.weight.mul_(1e6)
        else:
            features.projections['tf_efficientnet_lite0'].csm0.bias.fill_(5000)
    twin, arithmetic, line = settle_features(features, SIXTEEN, images)
    assert arithmetic == dataclasses.replace(SIXTEEN, features=torch.bfloat16)
    assert arithmetic.gradient_scale == 1 and 'too near the 65504' in line and 'features bfloat16' in line
    maps = twin(images())['tf_efficientnet_lite0']
    assert all(x.dtype == torch.bfloat16 and x.isfinite().all() for x in maps)


def test_gradients_that_float16_would_lose_survive():
    x = torch.ones(3, requires_grad=True)

    def gradient(scale):
        half = precision.ScaledGradient.apply(x, 1 / scale).half()
        return torch.autograd.grad((precision.ScaledGradient.apply(half.float(), scale) * 1e-9).sum(), x)[0]

    torch.testing.assert_close(gradient(1024.0), torch.full([3], 1e-9), rtol=0.05, atol=0)
    assert not gradient(1.0).any()  # the wrong version


# ---- the three stages ------------------------------------------------------------------------------------


def stages(features, arithmetic):
    """Losses and gradients of the three stages from the same start: {name: tensor}."""
    torch.manual_seed(2)
    D = ProjectedDiscriminator(
        features.names, features.channels, features.resolutions, channel_max=16
    ).train()
    G = torch.nn.Conv2d(3, 3, 3, padding=1)
    F = features if arithmetic.features is None else features_in_type(features, arithmetic.features)
    loss = GDDLoss(
        lambda x, _sigma, _labels=None: G(x / 80).tanh(), D, F, levels=(80.0,), arithmetic=arithmetic
    )
    x, z, labels = images(), torch.randn(4, 3, 8, 8), torch.zeros(4, 0)
    found = {}
    for name, make, params in (
        ('G', lambda: loss.generator_loss(x, labels, z), list(G.parameters())),
        ('D', lambda: loss.discriminator_loss(x, labels, z), list(D.parameters())),
        ('R1', lambda: loss.r1_loss(x, labels), [p for n, p in D.named_parameters() if 'weight' in n]),
    ):
        total = make()
        grads = torch.autograd.grad(total, params)
        assert total.dtype == torch.float32 and {g.dtype for g in grads} == {torch.float32}
        found[name], found[f'grad {name}'] = total.detach(), torch.cat([g.flatten() for g in grads])
    found['statistics'] = torch.cat([b.flatten().double() for b in D.buffers()])
    return found


def test_sixteen_bits_keep_the_gradients(features):
    exact, rounded = stages(features, Arithmetic()), stages(features, SIXTEEN)
    for name in exact:
        assert cosine(exact[name], rounded[name]) > (0.97 if name == 'grad G' else 0.99), name
        assert not torch.equal(exact[name], rounded[name]), name


def test_together_is_apart(features):
    apart, together = stages(features, Arithmetic()), stages(features, Arithmetic(together=True))
    for name in apart:
        torch.testing.assert_close(together[name], apart[name], rtol=1e-3, atol=1e-5, msg=name)


def test_stages_are_graphs_without_a_break(features, monkeypatch):
    """With torch's tracing and no compiler: what would break the graph raises here."""
    compiled = []

    def compile_(function, **options):
        compiled.append((function.__name__, options))
        return real(function, backend='eager', **options)

    real = torch.compile
    monkeypatch.setattr(torch, 'compile', compile_)
    eager, graph = stages(features, Arithmetic()), stages(features, Arithmetic(compiled=True))
    assert compiled == [
        (name, dict(fullgraph=True, dynamic=False)) for name in ('_fakes_to_loss', '_both_to_loss')
    ]
    for name in eager:
        torch.testing.assert_close(graph[name], eager[name], rtol=1e-3, atol=1e-5, msg=name)


# ---- a run -----------------------------------------------------------------------------------------------


def test_a_task_trains_in_sixteen_bits_and_its_state_goes_on(material, monkeypatch):
    tiny_runs.use_random_backbones(monkeypatch.setattr)
    task = tiny_runs.make_task(material, '--perf=fast-16bit')
    assert task.arithmetic == SIXTEEN and any('features float16' in line for line in task.summary())
    batch, labels = images(8).contiguous(memory_format=torch.channels_last), torch.eye(3)[torch.arange(8) % 3]
    rng = BatchRandom(0, 0, 0, 1, CPU, 'clean')
    for iteration in (1, 16):  # 16: with R1
        task.step(batch, labels, rng, iteration)
    assert not any(task.guard.counts().values())
    assert {p.dtype for net in (task.G, task.D, task.F) for p in net.parameters()} == {torch.float32}
    other = tiny_runs.make_task(material, '--perf=fast-16bit', '--seed=7')
    name = 'projections.tf_efficientnet_lite0.csm0.weight'
    own = dict(task.computing_F.named_parameters())[name]
    assert not torch.equal(own, dict(other.computing_F.named_parameters())[name])
    other.load_state_dict(task.state_dict())
    assert torch.equal(own, dict(other.computing_F.named_parameters())[name])


def test_the_faithful_mode_keeps_the_layers_of_official_features():
    config = tiny_runs.make_config('--data=x.zip', '--transfer=t.pkl', '--compat=official')
    assert config['perf'] == 'faithful' and not config['feature_kwargs']['fused']
    fast = tiny_runs.make_config('--data=x.zip', '--transfer=t.pkl', '--compat=official', '--perf=fast')
    assert fast['feature_kwargs']['fused']
