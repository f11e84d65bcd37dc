# Copyright 2026 The GDD-1S authors.
# SPDX-License-Identifier: Apache-2.0
"""Networks against numbers of the original code: names, counts, initial weights, outputs, precision rules."""

import numpy as np
import pytest
import torch

from tests.golden import TOLERANCE, build, check_networks, load, relative_error, rnd
from tests.support.networks_reference import CONFIGS, fill_by_index, known_names, known_outputs, make_network
from training import networks


def known_inputs(sigma, augment):
    """Return the inputs that belong to data/network_outputs.txt."""
    x = torch.from_numpy(np.random.RandomState(12345).randn(2, 3, 16, 16)).float()
    labels = torch.eye(4)[[1, 3]]
    extra = (
        {'augment_labels': torch.from_numpy(np.random.RandomState(777).randn(2, 9)).float()}
        if augment
        else {}
    )
    return x, torch.full([2], sigma), labels, extra


def output_error(output, mean, std, first, rtol, atol):
    """Return the worst error in units of its tolerance."""
    ours = [output.mean(), output.std(), *output[0, 0, 0, :3]]
    return max(abs(float(a) - b) / (rtol * abs(b) + atol) for a, b in zip(ours, [mean, std, *first]))


@pytest.mark.parametrize('precond', ['EDMPrecond', 'VPPrecond', 'VEPrecond', 'iDDPMPrecond', 'GDDPrecond'])
def test_outputs_of_the_original(precond):
    nets = {config: fill_by_index(make_network(precond, config)) for config in CONFIGS}
    rows = [row for row in known_outputs() if row[0] == precond]
    assert len(rows) >= 8
    for _, config, sigma, augment, mean, std, first in rows:
        loose = precond not in ('EDMPrecond', 'GDDPrecond') and sigma == 80
        x, sigmas, labels, extra = known_inputs(sigma, augment)
        output = nets[config](x, sigmas, labels, **extra)
        assert output_error(output, mean, std, first, *((1e-3, 1e-2) if loose else (1e-4, 1e-4))) < 1, (
            config,
            sigma,
        )


def test_the_two_preconditioners_are_told_apart():
    # Copying weights into the wrong class must not pass for the right one at a low noise level.
    row = next(row for row in known_outputs() if row[:4] == ('GDDPrecond', 'S1', 0.5, False))
    x, sigmas, labels, _ = known_inputs(0.5, False)
    output = fill_by_index(make_network('EDMPrecond', 'S1'))(x, sigmas, labels)
    assert output_error(output, *row[4:], 1e-4, 1e-4) > 10


@pytest.mark.parametrize(
    'config, entries, parameters, total',
    [
        ('S1', 153, 48979, 3374.2387),
        ('S2', 149, 48387, 3273.5261),
        ('S3', 156, 48814, 3276.1606),
        ('A1', 150, 828291, 19453.8489),
    ],
)
def test_initial_weights_equal_edm(config, entries, parameters, total):
    torch.manual_seed(0)
    net = make_network('EDMPrecond', config)
    assert len(net.state_dict()) == entries
    assert sum(p.numel() for p in net.parameters()) == parameters
    assert sum(float(p.detach().double().abs().sum()) for p in net.parameters()) == pytest.approx(
        total, rel=1e-7
    )


@pytest.mark.parametrize(
    'config, total', [('S1', 4762.8613), ('S2', 4666.9405), ('S3', 4670.6193), ('A1', 26196.8182)]
)
def test_gdd_initialisation_would_be_noticed(config, total, monkeypatch):
    # The official GDD code starts conv1 and proj at full scale. With a teacher loaded this has no effect, so
    # ours is EDM's; the patched network proves that the sums above can tell the two apart.
    original = networks.UNetBlock.__init__

    def full_scale(self, *args, init=dict(), init_zero=None, **kwargs):
        original(self, *args, init=init, init_zero=init, **kwargs)

    monkeypatch.setattr(networks.UNetBlock, '__init__', full_scale)
    torch.manual_seed(0)
    net = make_network('EDMPrecond', config)
    assert sum(float(p.detach().double().abs().sum()) for p in net.parameters()) == pytest.approx(
        total, rel=1e-7
    )


def test_state_dict_names_and_shapes():
    def ours(config):
        return [
            (name, list(tensor.shape))
            for name, tensor in make_network('EDMPrecond', config).state_dict().items()
        ]

    names = known_names('S1')
    assert ours('S1') == names and ours('A1') == known_names('A1')
    narrow = {
        'model.map_label.weight': [8, 4],
        'model.map_label.bias': [8],
        'model.map_augment.weight': [8, 9],
        'model.map_layer0.weight': [32, 8],
    }
    s2 = [
        (name, narrow.get(name, [1, 1, 2, 2] if name.endswith('resample_filter') else shape))
        for name, shape in names
        if 'freqs' not in name and '8x8_aux_residual' not in name
    ]
    assert ours('S2') == s2
    s3 = dict(ours('S3'))
    assert set(dict(s2)) - set(s3) == {'model.map_augment.weight'}
    assert {name: s3[name] for name in set(s3) - set(dict(s2))} == {
        'model.enc.8x8_aux_down.resample_filter': [1, 1, 2, 2],
        'model.enc.8x8_aux_skip.weight': [8, 3, 1, 1],
        'model.enc.8x8_aux_skip.bias': [8],
        'model.dec.8x8_aux_norm.weight': [16],
        'model.dec.8x8_aux_norm.bias': [16],
        'model.dec.8x8_aux_conv.weight': [3, 16, 3, 3],
        'model.dec.8x8_aux_conv.bias': [3],
        'model.dec.16x16_aux_up.resample_filter': [1, 1, 2, 2],
    }


NCSNPP = dict(
    model_type='SongUNet',
    embedding_type='fourier',
    encoder_type='residual',
    channel_mult_noise=2,
    resample_filter=[1, 3, 3, 1],
)


@pytest.mark.parametrize(
    'init, parameters, entries',
    [
        (
            dict(
                img_resolution=32, label_dim=10, channel_mult=[2, 2, 2], model_type='SongUNet', augment_dim=9
            ),
            55735299,
            427,
        ),
        (
            dict(img_resolution=32, label_dim=10, channel_mult=[2, 2, 2], augment_dim=9, **NCSNPP),
            56400643,
            434,
        ),
        (dict(img_resolution=32, channel_mult=[2, 2, 2], **NCSNPP), 56395523, 431),
        (dict(img_resolution=64, channel_mult=[1, 2, 2, 2], **NCSNPP), 62758787, 562),
        (dict(img_resolution=64, label_dim=1000), 295899267, 553),
    ],
)
def test_sizes_of_published_networks(init, parameters, entries):
    with torch.device('meta'):
        net = networks.EDMPrecond(img_channels=3, **init)
    assert (sum(p.numel() for p in net.parameters()), len(net.state_dict())) == (parameters, entries)


@pytest.mark.parametrize(
    'sigma, expected',
    [
        (80, (3.90629272e-05, 0.499977735, 0.0124997559, 1.09550666)),
        (0.8, (0.281911223, 0.422939154, 1.05999788, -0.0557858878)),
        (0.5, (0.502004, 0.352139177, 1.41421356, -0.173286795)),
        (0.002, (1, 0, 1.999984, -1.55365202)),
    ],
)
def test_gdd_coefficients(sigma, expected):
    net = make_network('GDDPrecond', 'S2')
    found = [float(c) for c in net.coefficients(torch.full([1, 1, 1, 1], float(sigma)))]
    assert found == pytest.approx(expected, rel=1e-6, abs=1e-9)


def test_boundary_condition_is_the_identity():
    net = fill_by_index(make_network('GDDPrecond', 'S1'))
    x = torch.randn([2, 3, 16, 16], generator=torch.Generator().manual_seed(0))
    assert torch.equal(net(x, torch.tensor(0.002)), x)
    assert not torch.allclose(net(x, torch.tensor(0.02)), x, atol=1e-3)


def test_precision_rules():
    gdd, edm = (fill_by_index(make_network(name, 'S1')) for name in ('GDDPrecond', 'EDMPrecond'))
    x = torch.randn([2, 3, 16, 16], generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    sigma = torch.tensor([2.0, 0.5], dtype=torch.float64)
    seen = []
    gdd.model.register_forward_hook(
        lambda module, args, output: seen.extend([args[0].dtype, args[1].dtype, output.dtype])
    )
    assert gdd(x, sigma).dtype == torch.float64 and edm(x, sigma).dtype == torch.float32
    assert seen == [torch.float32] * 3
    gdd.use_fp16 = True  # Reduced precision is for CUDA alone.
    assert torch.equal(gdd(x, sigma), gdd(x, sigma, force_fp32=True))
    # A 0-d noise level broadcasts over the batch.
    full = edm(x, torch.full([2], 3.0))
    assert relative_error(edm(x, torch.tensor(3.0)), full) < TOLERANCE


def test_missing_labels_are_zeros_and_needless_labels_are_ignored():
    net = fill_by_index(make_network('EDMPrecond', 'S1'))
    x, sigma, labels, _ = known_inputs(0.5, False)
    assert torch.allclose(net(x, sigma), net(x, sigma, torch.zeros(2, 4)), atol=1e-6)
    assert not torch.allclose(net(x, sigma), net(x, sigma, labels), atol=1e-3)
    free = networks.EDMPrecond(
        16, 3, model_type='SongUNet', model_channels=8, channel_mult=[1], num_blocks=1, attn_resolutions=[]
    )
    assert torch.equal(free.eval()(x, sigma, labels), free(x, sigma))


def test_iddpm_table_and_rounding():
    net = make_network('iDDPMPrecond', 'A1')
    expected = {
        0: 20291.17,
        1: 641.662,
        2: 320.83,
        8: 80.2037,
        9: 71.2912,
        500: 1.01239,
        999: 0.00642233714,
        1000: 0,
    }
    assert {j: float(net.u[j]) for j in expected} == pytest.approx(expected, rel=2e-6)
    assert list(net.state_dict())[0] == 'u'
    sigma = torch.tensor([[0.002, 0.5, 80]], dtype=torch.float64)
    assert net.round_sigma(sigma, return_index=True).tolist() == [[1000, 710, 8]]
    rounded = net.round_sigma(sigma)
    assert rounded.dtype == torch.float64 and rounded.flatten().tolist() == pytest.approx(
        [0, 0.50072, 80.2037], rel=1e-5
    )


def test_noise_ranges():
    vp = make_network('VPPrecond', 'S2')
    assert vp.sigma_min == 2**-10 and vp.sigma_max == pytest.approx(152.166977, rel=1e-7)
    ve = make_network('VEPrecond', 'S2')
    assert (ve.sigma_min, ve.sigma_max) == (0.02, 100)


def test_golden_checker_rejects_a_changed_network(shared_dir):
    # A network with one weight off by 1 % must fail the golden tolerance.
    directory = shared_dir / 'golden'
    entries, arrays = load(directory, 'networks_gdd', 'public')
    entry = next(entry for entry in entries if 'ncsnpp/label7' in entry['key'])
    net, stored = build(entry), arrays[entry['key']]
    x, sigma = torch.from_numpy(rnd('x:public', stored.shape)), torch.tensor([80, 1, 0.002])
    right = relative_error(net(x * sigma.reshape(-1, 1, 1, 1), sigma, torch.eye(7)[:3]), stored)
    net.model.map_layer0.weight.mul_(1.01)
    wrong = relative_error(net(x * sigma.reshape(-1, 1, 1, 1), sigma, torch.eye(7)[:3]), stored)
    assert right < TOLERANCE < wrong
    assert all(
        check.error <= check.tolerance for check in check_networks(directory, 'public', 'networks_gdd')
    )
