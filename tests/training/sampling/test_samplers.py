# Copyright 2026 The GDD-1S authors.
# SPDX-License-Identifier: Apache-2.0
"""Samplers against numbers of the original code, closed forms and slow references."""

import numpy as np
import pytest
import torch

from tests.support.networks_reference import fill_by_index, make_network
from training.sampling import samplers
from training.sampling.noise_levels import edm_levels
from training.sampling.samplers import sample_batch, to_uint8

SEEDS = [0, 1, 2**32 + 5]


class GaussianDenoiser:
    """The exact denoiser of images of normal pixels with deviation 0.5, and a record of its calls."""

    img_resolution, img_channels, label_dim = 2, 1, 0

    def __init__(self, sigma_min=0.0, sigma_max=float('inf'), label_dim=0):
        self.sigma_min, self.sigma_max, self.label_dim = sigma_min, sigma_max, label_dim
        self.calls = []

    def round_sigma(self, sigma):
        return torch.as_tensor(sigma)

    def __call__(self, x, sigma, class_labels=None, **kwargs):
        self.calls.append((x, sigma, class_labels, kwargs))
        return 0.25 / (0.25 + sigma**2) * x


@pytest.mark.parametrize(
    'name, precond, config, options, mean, std, first',
    [
        ('edm', 'EDMPrecond', 'S1', {}, 1.663694e-01, 1.601180e00, [-1.15741e00, -8.65665e-01, -2.24560e-01]),
        (
            'edm',
            'EDMPrecond',
            'S1',
            dict(S_churn=10, S_min=0.05, S_max=50, S_noise=1.003),
            1.669467e-01,
            2.001898e00,
            [-9.72341e-01, -8.06912e-01, -1.39229e00],
        ),
        (
            'ablation',
            'VPPrecond',
            'S2',
            dict(solver='euler', discretization='vp', schedule='vp', scaling='vp'),
            8.889070e00,
            4.491485e01,
            [-4.51896e01, -2.62163e01, 4.06080e00],
        ),
        (
            'ablation',
            'VPPrecond',
            'S2',
            dict(schedule='vp', scaling='vp'),
            7.141858e00,
            4.344050e01,
            [-4.17056e01, -2.52798e01, 1.13453e00],
        ),
        (
            'ablation',
            'VEPrecond',
            'S2',
            dict(discretization='ve', schedule='ve'),
            2.671138e00,
            1.915675e02,
            [-7.66684e01, -1.39381e02, -8.78091e01],
        ),
        (
            'ablation',
            'iDDPMPrecond',
            'A1',
            dict(discretization='iddpm'),
            2.494659e01,
            9.184303e01,
            [-9.06350e01, -9.98257e01, -2.21800e01],
        ),
        (
            'ablation',
            'EDMPrecond',
            'S1',
            dict(S_churn=10),
            1.269733e-01,
            2.038161e00,
            [-1.46860e00, -7.92633e-02, -1.49568e00],
        ),
        (
            'ablation',
            'EDMPrecond',
            'S1',
            dict(alpha=0.7),
            1.280986e-01,
            7.194883e-01,
            [-4.86270e-01, -3.05400e-01, -2.07630e-03],
        ),
        (
            'one_step',
            'GDDPrecond',
            'S1',
            None,
            2.783542e-02,
            3.307583e-01,
            [8.48084e-02, 3.01267e-01, 2.86169e-02],
        ),
    ],
)
def test_images_of_the_original(name, precond, config, options, mean, std, first):
    kwargs = {} if options is None else dict(options, num_steps=5)
    images, labels = sample_batch(fill_by_index(make_network(precond, config)), [0, 1], name, **kwargs)
    assert labels.tolist() == [1, 2] and images.dtype == torch.float64
    found = [float(v) for v in (images.mean(), images.std(), *images[0, 0, 0, :3])]
    assert found == pytest.approx([mean, std, *first], rel=1e-4, abs=1e-4)
    if name == 'one_step':
        assert to_uint8(images)[0, 0, :3].tolist() == [[138, 139, 118], [166, 135, 111], [131, 142, 106]]


def test_edm_sampler_follows_the_exact_path():
    # For normal data dx/dsigma has a closed solution: x shrinks by sqrt((0.25 + s1^2) / (0.25 + s0^2)).
    latents = torch.randn([1, 1, 2, 2], generator=torch.Generator().manual_seed(0))
    exact = latents.double() * 80 * (0.25 / (0.25 + 80**2)) ** 0.5
    errors = {
        n: float(
            (samplers.edm_sampler(GaussianDenoiser(), latents, num_steps=n) - exact).norm() / exact.norm()
        )
        for n in (16, 32, 64)
    }
    assert errors[64] < 5e-3
    assert errors[32] < errors[16] / 3 and errors[64] < errors[32] / 3  # second order
    euler = samplers.ablation_sampler(GaussianDenoiser(), latents, num_steps=64, solver='euler')
    assert float((euler - exact).norm() / exact.norm()) > 10 * errors[64]  # first order: told apart


def slow_edm_sampler(z, noises, levels, S_churn, S_min, S_max, S_noise):
    """EDM's Algorithm 2 for one pixel, with plain floats."""
    n, levels = len(levels), list(levels) + [0.0]
    x = z * levels[0]
    for i in range(n):
        t, t_next = levels[i], levels[i + 1]
        gamma = min(S_churn / n, 2**0.5 - 1) if S_min <= t <= S_max else 0
        t_hat = t + gamma * t
        x_hat = x + (t_hat**2 - t**2) ** 0.5 * S_noise * noises[i]
        d = (x_hat - 0.25 / (0.25 + t_hat**2) * x_hat) / t_hat
        x = x_hat + (t_next - t_hat) * d
        if t_next > 0:
            d_next = (x - 0.25 / (0.25 + t_next**2) * x) / t_next
            x = x_hat + (t_next - t_hat) * (d + d_next) / 2
    return x


@pytest.mark.parametrize(
    'churn',
    [dict(S_churn=0, S_min=0, S_max=1e9, S_noise=1), dict(S_churn=5, S_min=0.1, S_max=20, S_noise=1.01)],
)
def test_edm_sampler_against_a_slow_reference(churn):
    drawn = []

    def randn_like(x):
        drawn.append(torch.randn(x.shape, dtype=x.dtype, generator=generator))
        return drawn[-1]

    generator = torch.Generator().manual_seed(3)
    net, latents = GaussianDenoiser(), torch.tensor([[[[0.3]]], [[[-1.2]]]])
    images = samplers.edm_sampler(net, latents, randn_like=randn_like, num_steps=6, **churn)
    assert len(net.calls) == 11 and all(sigma.ndim == 0 for _, sigma, _, _ in net.calls)
    assert all(noise.dtype == torch.float64 for noise in drawn)
    assert len(drawn) == (6 if churn['S_churn'] else 0)
    for i, z in enumerate(latents.flatten().tolist()):
        noises = [float(noise[i]) for noise in drawn] or [0.0] * 6
        assert float(images[i]) == pytest.approx(
            slow_edm_sampler(z, noises, edm_levels(6).tolist(), **churn), rel=1e-12
        )
    # Drawing nothing where gamma is 0 would give other images: such a sampler must not pass.
    if drawn:
        shifted = [float(noise[0]) for noise in drawn[1:]] + [0.0]
        assert float(images[0]) != pytest.approx(
            slow_edm_sampler(0.3, shifted, edm_levels(6).tolist(), **churn), rel=1e-6
        )


def test_ablation_defaults_are_the_edm_sampler():
    net, latents = (
        fill_by_index(make_network('EDMPrecond', 'S2')),
        torch.randn([1, 3, 16, 16], generator=torch.Generator().manual_seed(0)),
    )
    ours = samplers.edm_sampler(net, latents, num_steps=4)
    assert torch.allclose(samplers.ablation_sampler(net, latents, num_steps=4), ours, rtol=1e-5, atol=1e-5)


def test_levels_stay_in_the_range_of_the_network():
    for sampler in (samplers.edm_sampler, samplers.ablation_sampler):
        net = GaussianDenoiser(sigma_min=0.02, sigma_max=50)
        sampler(net, torch.ones([1, 1, 2, 2]), num_steps=4)
        levels = [float(sigma) for _, sigma, _, _ in net.calls]
        assert max(levels) == pytest.approx(50) and min(levels) == pytest.approx(0.02)


def test_one_step_sampler_is_one_call_at_the_highest_level():
    net, latents = (
        GaussianDenoiser(sigma_max=10),
        torch.randn([3, 1, 2, 2], generator=torch.Generator().manual_seed(0)),
    )
    images = samplers.one_step_sampler(net, latents)
    ((x, sigma, labels, kwargs),) = net.calls
    assert sigma.shape == (3, 1, 1, 1) and sigma.dtype == x.dtype == images.dtype == torch.float64
    assert sigma.unique().tolist() == [80] and labels is None and kwargs == {'force_fp32': True}
    assert torch.allclose(images, latents.double() * 80 * 0.25 / (0.25 + 6400))
    assert not torch.allclose(samplers.one_step_sampler(net, latents, sigma_max=10), images)


def test_jump_levels():
    assert samplers.jump_levels(1) == [80] and samplers.jump_levels(2) == [80, 0.8]
    assert samplers.jump_levels(2, middle_sigma=2.0) == [80, 2]
    assert samplers.jump_levels(3) == pytest.approx([80, 9.7232, 0.46998], rel=1e-4)
    assert samplers.jump_levels(4) == pytest.approx([80, 17.527831965, 2.515218976, 0.169752756], rel=1e-8)
    for wrong in (dict(num_steps=0), dict(num_steps=2, middle_sigma=80), dict(num_steps=3, sigma_min=80)):
        with pytest.raises(ValueError):
            samplers.jump_levels(**wrong)


def test_multi_step_by_hand():
    net, z = GaussianDenoiser(), torch.tensor([[[[0.5]]]])
    x = 0.5 * 80
    d1 = 0.25 / (0.25 + 6400) * x
    v = x + (d1 - x) / 80 * (80 - 0.8)
    expected = 0.25 / (0.25 + 0.64) * v
    assert float(samplers.multi_step_sampler(net, z)) == pytest.approx(expected, rel=1e-7)
    assert float(samplers.multi_step_sampler(net, z, num_steps=1)) == float(samplers.one_step_sampler(net, z))
    assert [round(float(sigma.flatten()[0]), 4) for _, sigma, _, _ in net.calls[:2]] == [80, 0.8]
    # Jumping with the direction of the wrong level must be noticed.
    assert expected != pytest.approx(0.25 / (0.25 + 0.64) * (x + (d1 - x) / 0.8 * (80 - 0.8)), rel=1e-3)


def test_gradients_flow_through_every_jump():
    weight = torch.tensor(0.5, requires_grad=True)
    images = samplers.jump_chain(lambda x, sigma, labels: weight * x, torch.ones([1, 1, 1, 1]), [80.0, 0.8])
    images.sum().backward()
    # image = w (1 + (w - 1) 0.99), so its derivative is 0.01 + 1.98 w.
    assert float(weight.grad) == pytest.approx(0.01 + 1.98 * 0.5)
    with pytest.raises(ValueError, match='levels is empty'):
        samplers.jump_chain(None, torch.ones([1, 1, 1, 1]), [])


def test_an_image_depends_on_its_seed_alone():
    net = fill_by_index(make_network('EDMPrecond', 'S1'))
    options = dict(sampler='edm', num_steps=3, S_churn=10)
    together, labels = sample_batch(net, [3, 8, 5, 8], **options)
    for i, seed in enumerate([3, 8, 5, 8]):
        alone, label = sample_batch(net, [seed], **options)
        assert label[0] == labels[i] and torch.allclose(alone[0], together[i], rtol=1e-3, atol=1e-4)
    assert not torch.allclose(together[0], together[2], atol=0.1)


def test_a_given_class_changes_the_label_and_nothing_else():
    net = GaussianDenoiser(label_dim=4)
    images, labels = sample_batch(net, [0, 1], 'edm', class_idx=3, num_steps=3, S_churn=10)
    free, drawn = sample_batch(net, [0, 1], 'edm', num_steps=3, S_churn=10)
    assert labels.tolist() == [3, 3] and drawn.tolist() != [3, 3]
    assert torch.equal(
        images, free
    )  # The label is drawn all the same, so the noise that follows is unchanged.
    assert net.calls[0][2].tolist() == [[0, 0, 0, 1]] * 2


@pytest.mark.parametrize(
    'label_dim, options, text',
    [
        (0, dict(class_idx=0), 'unconditional'),
        (4, dict(class_idx=4), '0 to 3'),
        (0, dict(sampler='ddim'), 'sampler=ddim'),
        (0, dict(sampler='edm', num_steps=1), 'num_steps=1'),
        (0, dict(sampler='edm', sigma_min=90), 'sigma_min=90'),
        (0, dict(sampler='ablation', solver='rk4'), 'solver=rk4'),
        (0, dict(sampler='ablation', schedule='edm'), 'schedule=edm'),
    ],
)
def test_wrong_requests_are_refused(label_dim, options, text):
    with pytest.raises(ValueError, match=text):
        sample_batch(GaussianDenoiser(label_dim=label_dim), [0], **options)


def test_bytes_are_floored_after_adding_128():
    values = torch.tensor([-2, -1, -0.999, -1 / 127.5, 0, 0.0039, 0.004, 1, 2], dtype=torch.float64)
    expected = [0, 0, 0, 127, 128, 128, 128, 255, 255]
    pixels = to_uint8(values.reshape(1, 1, 1, 9))
    assert pixels.shape == (1, 1, 9, 1) and pixels.dtype == np.uint8 and pixels.flatten().tolist() == expected
    # The rule most others use, rounding (x + 1) / 2 * 255, differs and would change the FID.
    others = ((values + 1) / 2 * 255).round().clip(0, 255).tolist()
    assert others != expected
    order = to_uint8(torch.arange(12.0).reshape(1, 3, 2, 2) / 12)
    assert order[0, 1, 0].tolist() == [int(127.5 * k / 12 + 128) for k in (2, 6, 10)]


def test_non_finite_images_are_reported_by_seed():
    images = torch.zeros([4, 1, 2, 2])
    samplers.check_finite(images, [5, 6, 7, 8])
    images[1, 0, 0, 0], images[3, 0, 1, 1] = float('nan'), float('inf')
    with pytest.raises(ValueError, match='seed 6, 8 is not finite'):
        samplers.check_finite(images, [5, 6, 7, 8])
