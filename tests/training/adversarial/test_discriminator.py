# Copyright 2026 The GDD-1S authors.
# SPDX-License-Identifier: Apache-2.0

"""Test the discriminator heads: sizes, hand-computed float64 numbers, spectral norm, class tables."""

import copy
import functools
import math
import pickle
import warnings

import numpy as np
import pytest
import torch
from torch import nn
from torch.nn import functional

from dnnlib.errors import ArgumentError, as_option
from training.adversarial.class_table import class_means, make_class_table
from training.adversarial.discriminator import (
    EqualizedLinear,
    ProjectedDiscriminator,
    SpectralNormConv2d,
    head_channels,
    head_end_size,
)
from training.adversarial.losses import discriminator_loss, generator_loss, r1_penalty

CHANNELS, OFFICIAL = [64, 64, 128, 256], [128, 64, 32, 16]


# ---- sizes ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    'start, width, expected',
    [
        (128, 64, [64, 64, 128, 256, 512]),
        (64, 64, [64, 128, 256, 512]),
        (32, 128, [128, 256, 512]),
        (16, 256, [256, 512]),
    ],
)
def test_official_channels_per_level(start, width, expected):
    assert head_channels(start, 8, width) == expected


def test_channel_max_spares_the_input():
    assert head_channels(32, 4, 64, channel_max=48) == [64, 48, 48, 48]
    assert head_channels(4, 4, 256, channel_max=48) == [256]


def test_start_size_is_rounded_to_the_table():
    assert head_channels(112, 8, 64) == head_channels(128, 8, 64)


def test_end_size_rule():
    assert [head_end_size([r, r // 2, r // 4, r // 8]) for r in (128, 32, 16)] == [8, 4, 2]
    with pytest.raises(ArgumentError, match='coarsest map has side 6.* as d_resolution=128 does') as caught:
        head_end_size([48, 24, 12, 6])
    assert caught.value.spell(as_option).endswith('let the images be resized, as --d-resolution=128 does')


@pytest.mark.parametrize(
    'resolutions, label_dim, expected',
    [
        (OFFICIAL, 0, 10_331_328),
        (OFFICIAL, 10, 13_757_888),
        ([16, 8, 4, 2], 0, 24_134_400),
        ([32, 16, 8, 4], 0, 12_336_384),
    ],
)
def test_parameter_counts(resolutions, label_dim, expected):
    with torch.device('meta'):
        table = torch.empty(1000, 320)
        D = ProjectedDiscriminator(['tf_efficientnet_lite0'], CHANNELS, resolutions, label_dim, table)
    assert sum(p.numel() for p in D.parameters()) == expected
    if resolutions == OFFICIAL:
        assert len(list(D.parameters())) == (56 if label_dim else 44)
        assert sum(b.numel() for b in D.buffers()) == (68_042 if label_dim else 67_790)


def test_logits_of_a_64_pixel_head_and_a_twice_as_large_map():
    D = ProjectedDiscriminator(['tf_efficientnet_lite0'], CHANNELS, [32, 16, 8, 4], channel_max=8)
    for factor, expected in ((1, 4 * 9), (2, 4 * 49)):
        maps = [torch.randn(2, c, factor * r, factor * r) for c, r in zip(CHANNELS, [32, 16, 8, 4])]
        assert D({'tf_efficientnet_lite0': maps})[0].shape == (2, expected)


def test_heads_of_a_backbone_with_maps_of_its_own_size():
    sizes = [64, 32, 16, 8]
    D = ProjectedDiscriminator(
        ['teacher', 'tf_efficientnet_lite0'], CHANNELS, [32, 16, 8, 4], own_resolutions=dict(teacher=sizes)
    )
    assert [head.num_blocks for head in D.teacher] == [3, 2, 1, 0]
    assert [head.out.kernel_size[0] for head in (D.teacher[0], D.tf_efficientnet_lite0[0])] == [4, 2]
    maps = {
        name: [torch.randn(2, c, s, s) for c, s in zip(CHANNELS, own)]
        for name, own in (('teacher', sizes), ('tf_efficientnet_lite0', [32, 16, 8, 4]))
    }
    assert [x.shape for x in D(maps)] == [(2, 4 * 25), (2, 4 * 9)]


# ---- spectral norm --------------------------------------------------------------------------------------


def slow_spectral_norm(weight, u):
    matrix = weight.reshape(weight.shape[0], -1)
    v = matrix.T @ u
    v = v / np.linalg.norm(v)
    u = matrix @ v
    u = u / np.linalg.norm(u)
    return weight / (u @ matrix @ v), u


def test_spectral_norm_takes_one_step_per_training_forward():
    torch.manual_seed(0)
    conv = SpectralNormConv2d(3, 5, 4, stride=2, padding=1).double()
    x = torch.randn(2, 3, 8, 8, dtype=torch.float64)
    u = conv.u.numpy().copy()
    for _ in range(3):
        weight, u = slow_spectral_norm(conv.weight.detach().numpy(), u)
        expected = functional.conv2d(x, torch.from_numpy(weight), conv.bias, stride=2, padding=1)
        torch.testing.assert_close(conv(x), expected)
    conv.eval()
    torch.testing.assert_close(conv(x), expected)
    np.testing.assert_allclose(conv.u.numpy(), u)


def test_spectral_norm_equals_the_old_pytorch_hook():
    torch.manual_seed(0)
    ours, plain = SpectralNormConv2d(3, 5, 3), nn.Conv2d(3, 5, 3)
    plain.load_state_dict({'weight': ours.weight.detach(), 'bias': ours.bias.detach()})
    with warnings.catch_warnings():
        warnings.simplefilter('ignore', FutureWarning)  # Newer PyTorch prefers the parametrisation.
        hooked = torch.nn.utils.spectral_norm(plain)
    hooked.weight_u.copy_(ours.u)
    x = torch.randn(2, 3, 6, 6)
    for _ in range(2):  # two forwards before one backward, as in the discriminator stage
        a, b = ours(x).square().sum(), hooked(x).square().sum()
    a.backward()
    b.backward()
    torch.testing.assert_close(ours.weight.grad, hooked.weight_orig.grad)


def test_backward_after_a_second_forward_uses_the_vectors_of_its_own_forward():
    torch.manual_seed(0)
    conv, x = SpectralNormConv2d(2, 3, 3).double(), torch.randn(1, 2, 5, 5, dtype=torch.float64)
    state = {name: tensor.clone() for name, tensor in conv.state_dict().items()}
    (alone,) = torch.autograd.grad(conv(x).square().sum(), [conv.weight])
    conv.load_state_dict(state)
    first = conv(x).square().sum()
    conv(x)
    torch.testing.assert_close(torch.autograd.grad(first, [conv.weight])[0], alone)


# ---- hand-computed numbers of the specification, float64 ------------------------------------------------


def sines(shape, scale, offset):
    k = torch.arange(math.prod(shape), dtype=torch.float64)
    return (scale * torch.sin(0.37 * k + offset)).reshape(shape)


def unit(vector):
    return vector / vector.norm()


@functools.cache
def filled_once(label_dim):
    table = torch.sin(0.1 * torch.arange(10.0)[:, None] + 0.01 * torch.arange(320.0))
    D = ProjectedDiscriminator(['x'], CHANNELS, OFFICIAL, label_dim, table).double()
    with torch.no_grad():
        for i, head in enumerate(D.x):
            for b in range(head.num_blocks):
                block = head.get_submodule(f'down{b}')
                k = torch.arange(len(block.conv.u), dtype=torch.float64)
                block.conv.weight.copy_(sines(block.conv.weight.shape, 0.05, i + 2 * b))
                block.conv.bias.copy_(0.1 * torch.sin(k + 0.5))
                block.conv.u.copy_(unit(torch.sin(k + 1)))
                block.norm.weight.copy_(1 + 0.1 * torch.sin(k))
                block.norm.bias.copy_(0.1 * torch.cos(k))
            head.out.weight.copy_(sines(head.out.weight.shape, 0.05, i + 20))
            head.out.u.copy_(unit(torch.sin(torch.arange(len(head.out.u), dtype=torch.float64) + 1)))
            if label_dim:
                n, o, d = (torch.arange(size, dtype=torch.float64) for size in (10, 64, 320))
                head.embed.weight.copy_(torch.sin(0.1 * n[:, None] + 0.01 * d))
                head.proj.weight.copy_(torch.cos(0.05 * o[:, None] + 0.02 * d))
                head.proj.bias.copy_(0.1 * torch.sin(o))
    return D


def hand_filled(label_dim):
    return copy.deepcopy(filled_once(label_dim))


def hand_images():
    b, c, h, w = torch.meshgrid(
        *(torch.arange(n, dtype=torch.float64) for n in (2, 3, 16, 16)), indexing='ij'
    )
    return torch.sin(0.5 * b + 0.9 * c + 0.3 * h + 0.2 * w), torch.cos(
        0.4 * b + 0.7 * c + 0.25 * h - 0.15 * w
    )


def hand_features(x):
    maps = []
    for channels, size in zip(CHANNELS, (80, 40, 20, 10)):
        j = torch.arange(channels)
        resized = functional.interpolate(x, size=(size, size), mode='bilinear', align_corners=False)
        maps.append(resized[:, j % 3] * torch.cos(j.double())[:, None, None])
    return {'x': maps}


def labels_3_and_7():
    return torch.eye(10, dtype=torch.float64)[[3, 7]]


def close(value, expected, tolerance=1e-9):
    assert float(value.detach()) == pytest.approx(expected, rel=tolerance)


def total_norm(D):
    return torch.stack([p.grad.norm() for p in D.parameters()]).norm()


def test_hand_logits_and_sigma():
    D = hand_filled(0)
    real, _ = hand_images()
    (logits,) = D(hand_features(real))
    expected = [
        -0.01980358,
        -0.07289057,
        -0.06523807,
        -0.04768178,
        -0.04359135,
        -0.0121907,
        -0.01650214,
        -0.02319018,
        -0.03422453,
        -0.00598968,
        -0.00119099,
        0.00910415,
        -0.0474885,
        -0.02618118,
        0.00939861,
        0.03535814,
    ]
    np.testing.assert_allclose(logits[0].detach(), expected, atol=6e-9)
    close(logits[1].mean(), -0.0149556803, 1e-8)
    conv = D.x[0].down0.conv
    close(conv.u @ conv.weight.flatten(1) @ conv.v, 6.4409588212)


# (label_dim, kind): G loss, its gradient's norm and two entries; D loss, gradient norms: all, conv, out.
HAND = {
    (0, 'ns'): (
        1.4407374836,
        1.3839321333e-01,
        6.6450358115e-04,
        1.5031967330e-03,
        2.7399288842,
        1.3551377071e02,
        1.8584383251e01,
        1.0996958705,
    ),
    (0, 'hinge'): (
        0.1062930558,
        2.6398623635e-01,
        1.3877491560e-03,
        2.9029807427e-03,
        3.9313062768,
        2.7118623064e02,
        3.6914095023e01,
        2.3348627454,
    ),
    (10, 'ns'): (
        1.3826681222,
        8.9383173693e-03,
        -6.5314618073e-05,
        -8.5014213669e-05,
        2.7750251458,
        9.0622406786,
        1.1892510139,
        3.7621670535e-01,
    ),
    (10, 'hinge'): (
        -0.0072641358,
        1.7933653639e-02,
        -1.3062219218e-04,
        -1.7033832944e-04,
        4.0048575011,
        1.8118095050e01,
        2.3798949080,
        7.4941756209e-01,
    ),
}
HAND_CLASS = {'ns': (1.0511284759e-04, 1.0541835104e-03), 'hinge': (2.0760979062e-04, 2.0977073667e-03)}


@pytest.mark.parametrize('label_dim, kind', HAND)
def test_hand_losses_and_gradients(label_dim, kind):
    g_loss, g_norm, g_first, g_other, d_loss, d_norm, d_conv, d_out = HAND[label_dim, kind]
    real, fake = hand_images()
    labels = labels_3_and_7() if label_dim else None
    fake.requires_grad_(True)
    loss = generator_loss(hand_filled(label_dim)(hand_features(fake), labels), kind)
    (gradient,) = torch.autograd.grad(loss, [fake])
    close(loss.detach(), g_loss, 1e-8)
    close(gradient.norm(), g_norm)
    close(gradient[0, 0, 0, 0], g_first)
    close(gradient[1, 2, 7, 5], g_other)
    D = hand_filled(label_dim)
    loss = discriminator_loss(D(hand_features(fake.detach()), labels), D(hand_features(real), labels), kind)
    loss.backward()
    close(loss.detach(), d_loss)
    close(total_norm(D), d_norm)
    close(D.x[0].down0.conv.weight.grad.norm(), d_conv)
    close(D.x[0].out.weight.grad.norm(), d_out)
    if label_dim:
        close(D.x[0].embed.weight.grad.norm(), HAND_CLASS[kind][0])
        close(D.x[0].proj.weight.grad.norm(), HAND_CLASS[kind][1])


def test_reals_before_fakes_is_noticed():
    real, fake = hand_images()
    D = hand_filled(0)
    real_logits = D(hand_features(real))
    loss = discriminator_loss(D(hand_features(fake)), real_logits, 'ns')
    assert abs(float(loss.detach()) / HAND[0, 'ns'][4] - 1) > 1e-8  # the right order agrees to 1e-9


@pytest.mark.parametrize(
    'label_dim, penalties, norms',
    [
        (0, (1.0425410888e01, 1.8203929805e01), (1.1118542461e01, 6.5608510813, 8.0333741535e-01)),
        (10, (4.9903081778e-02, 6.4522875125e-02), (4.6736854144e-02, 2.5912528478e-02, 1.4639152700e-02)),
    ],
)
def test_hand_r1(label_dim, penalties, norms):
    D = hand_filled(label_dim)
    real = hand_images()[0].requires_grad_(True)
    penalty = r1_penalty(D(hand_features(real), labels_3_and_7() if label_dim else None), real)
    np.testing.assert_allclose(penalty.detach(), penalties, rtol=1e-9)
    (16 * (penalty * 1e-4 / 2).mean()).backward()
    close(total_norm(D), norms[0])
    close(D.x[0].down0.conv.weight.grad.norm(), norms[1])
    close(D.x[0].out.weight.grad.norm(), norms[2])


# ---- conditioning ---------------------------------------------------------------------------------------


def test_equalized_linear_by_hand():
    layer = EqualizedLinear(4, 2)
    with torch.no_grad():
        layer.weight.copy_(torch.tensor([[1.0, 2.0, 3.0, 4.0], [-1.0, 0.0, 0.0, 0.0]]))
        layer.bias.copy_(torch.tensor([0.5, 0.0]))
    expected = [math.sqrt(2) * (10 / 2 + 0.5), math.sqrt(2) * 0.2 * (-1 / 2)]
    assert layer(torch.ones(1, 4))[0].tolist() == pytest.approx(expected)


def test_labels_matter_only_to_a_conditional_discriminator():
    maps = {'x': [torch.randn(2, c, r, r) for c, r in zip(CHANNELS, [16, 8, 4, 2])]}
    D = ProjectedDiscriminator(
        ['x'], CHANNELS, [16, 8, 4, 2], 3, make_class_table(3, 'random:0'), channel_max=8
    )
    state = {name: tensor.clone() for name, tensor in D.state_dict().items()}
    results = []
    for classes in ([0, 1], [0, 2]):
        D.load_state_dict(state)
        results.append(D(maps, torch.eye(3)[classes])[0])
    assert torch.equal(results[0][0], results[1][0]) and not torch.allclose(results[0][1], results[1][1])
    for labels in (None, torch.zeros(2, 0), torch.eye(4)[[0, 1]]):
        with pytest.raises(ValueError, match='label_dim=3'):
            D(maps, labels)


def test_too_short_class_table_is_refused():
    with pytest.raises(
        ValueError, match='label_dim=1001 needs a class table with at least 1001 rows; it has 1000'
    ):
        ProjectedDiscriminator(['x'], CHANNELS, [16, 8, 4, 2], 1001, torch.zeros(1000, 320))


def test_random_class_table_is_reproducible():
    a, b = make_class_table(7, 'random:5'), make_class_table(7, 'random:5')
    assert torch.equal(a, b) and a.shape == (7, 320) and a.std() == pytest.approx(1.078, rel=0.05)
    assert not torch.equal(a, make_class_table(7, 'random:6'))


def test_official_class_table(shared_dir):
    path = shared_dir / 'data' / 'imagenet-class-embeddings-tf_efficientnet_lite0.npy'
    table = make_class_table(10, str(path), all_rows=True)
    assert table.shape == (1000, 320) and table.norm(dim=1).mean() == pytest.approx(19.01, abs=0.01)
    assert torch.equal(make_class_table(10, str(path)), table[:10])  # sized to the data set: the first rows
    with pytest.raises(ValueError, match='1000 rows, too few for 1001 classes'):
        make_class_table(1001, str(path))


def test_rows_without_a_class_change_no_result():
    """All rows (official) or those of the data set (clean): equal logits and gradients, none for the rest."""
    table = make_class_table(9, 'random:0')
    maps = {'x': [torch.randn(4, c, r, r) for c, r in zip(CHANNELS, [16, 8, 4, 2])]}
    results = []
    for rows in (9, 3):
        torch.manual_seed(0)
        D = ProjectedDiscriminator(['x'], CHANNELS, [16, 8, 4, 2], 3, table[:rows], channel_max=8)
        logits = D(maps, torch.eye(3)[[0, 1, 2, 0]])[0]
        generator_loss([logits], 'ns').backward()
        results.append((logits, D.x[1].embed.weight.grad, D.x[1].proj.weight.grad))
    (logits, long, proj), (short_logits, short, short_proj) = results
    assert (
        torch.equal(logits, short_logits) and torch.equal(proj, short_proj) and torch.equal(long[:3], short)
    )
    assert short.abs().max() > 0 and long[3:].abs().max() == 0


def test_tables_of_other_widths(tmp_path):
    table = np.random.RandomState(0).standard_normal([5, 7])
    np.save(tmp_path / 'table.npy', table)
    found = make_class_table(4, str(tmp_path / 'table.npy'))
    assert found.dtype == torch.float32 and np.array_equal(found, table[:4].astype(np.float32))
    D = ProjectedDiscriminator(['x'], CHANNELS, [16, 8, 4, 2], 4, found, channel_max=8)
    maps = {'x': [torch.randn(2, c, r, r) for c, r in zip(CHANNELS, [16, 8, 4, 2])]}
    assert D(maps, torch.eye(4)[[0, 3]])[0].shape == (2, 16)


def test_table_from_a_url(tmp_path, monkeypatch):
    """Through the download cache: the second time from there."""
    path = tmp_path / 'table.npy'
    np.save(path, np.ones([3, 4], np.float32))
    calls = []
    monkeypatch.setattr(
        'training.adversarial.class_table.open_url',
        lambda url, return_filename: (calls.append(url), str(path))[1],
    )
    assert make_class_table(2, 'https://example.org/table.npy').tolist() == [[1] * 4] * 2
    assert calls == ['https://example.org/table.npy']
    monkeypatch.undo()
    assert make_class_table(3, path.as_uri()).shape == (3, 4)
    with pytest.raises(
        ValueError, match="class table 'ftp://example.org/a.npy' cannot be read .*is not supported"
    ):
        make_class_table(3, 'ftp://example.org/a.npy')


def test_pickle_of_the_official_code(tmp_path):
    """A dict with an nn.Embedding; nothing in the file is executed, and nothing else is accepted."""
    embedding = nn.Embedding(6, 5)
    path = tmp_path / 'embed.pkl'
    for protocol in (2, 4):
        path.write_bytes(pickle.dumps({'embed': embedding}, protocol=protocol))
        assert torch.equal(make_class_table(6, str(path)), embedding.weight.detach())
    for content in ({'embed': Trap()}, [1], {'other': embedding}, {'embed': nn.Linear(2, 3)}):
        path.write_bytes(pickle.dumps(content))
        with pytest.raises(ValueError, match='cannot be read .*give an .npy file') as caught:
            make_class_table(6, str(path))
        assert '\n' not in str(caught.value)
    assert not Trap.sprung


class Trap:
    sprung = []

    def __reduce__(self):
        return Trap.sprung.append, (1,)


@pytest.mark.parametrize(
    'table, message',
    [
        (np.ones([4], np.float32), r'holds float32 \[4\]; expected floats \[rows, width\]'),
        (np.ones([4, 2], np.int64), 'holds int64'),
        (np.full([4, 2], np.nan), 'not finite'),
        (np.ones([4, 0], np.float32), r'holds float32 \[4, 0\]'),
        (np.ones([2, 3], np.float32), '2 rows, too few for 3 classes'),
        (None, 'cannot be read'),
    ],
)
def test_tables_that_do_not_fit(table, message, tmp_path):
    path = tmp_path / 'table.npy'
    np.save(path, table) if table is not None else path.write_bytes(b'\x93NUMPY nothing')
    with pytest.raises(ValueError, match=message) as caught:
        make_class_table(3, str(path))
    assert '\n' not in str(caught.value)


def test_class_means_against_a_loop():
    torch.manual_seed(0)
    features, classes = torch.randn(12, 320) + 5, torch.arange(12) % 3
    table = class_means(features, torch.eye(3)[classes], 3)
    means = torch.stack([features[classes == c].mean(dim=0) for c in range(3)])
    means = means - means.mean(dim=0)
    torch.testing.assert_close(table, means * (1.078 / means.square().mean().sqrt()))
    with pytest.raises(ValueError, match='no image of class 1'):
        class_means(features[::3], torch.eye(3)[classes[::3]], 3)


@pytest.mark.parametrize(
    'source, message',
    [
        ('random:x', 'whole number'),
        ('mean', 'is unknown'),
        ('nowhere.npy', 'cannot be read'),
        ('computed', 'needs features'),
    ],
)
def test_bad_class_table_sources(source, message):
    with pytest.raises(ValueError, match=message):
        make_class_table(3, source)
