# Copyright 2026 The GDD-1S authors.
# SPDX-License-Identifier: Apache-2.0
"""Tests of training/student/freeze.py: the counts of the official code, its substring rule, and the rule that
is not meant."""

import functools

import pytest
import torch

from training import networks
from training.choices import ARCHITECTURES
from training.student import freeze

TOKENS = {0: (), 1: ('conv', 'proj'), 2: ('conv', 'proj', 'qkv'), 3: ('conv', 'proj', 'qkv', 'skip')}
RULE_A, RULE_B = ('block', 'up', 'down', 'in'), ('block', 'in')

CIFAR = dict(img_resolution=32, img_channels=3)
SIZE64 = dict(img_resolution=64, img_channels=3, channel_mult=[1, 2, 2, 2])
IMAGENET = dict(img_resolution=64, img_channels=3, label_dim=1000)
NETWORKS = {
    'cifar ncsnpp': ('ncsnpp', CIFAR),
    'cifar ncsnpp cond': ('ncsnpp', dict(CIFAR, label_dim=10)),
    '64 ncsnpp': ('ncsnpp', SIZE64),
    'imagenet adm': ('adm', IMAGENET),
    'cifar ddpmpp': ('ddpmpp', CIFAR),
    '64 ddpmpp': ('ddpmpp', SIZE64),
}
TOTALS = {
    'cifar ncsnpp': (56395523, 420),
    'cifar ncsnpp cond': (56398339, 422),
    '64 ncsnpp': (62758787, 546),
    'imagenet adm': (295899267, 541),
    'cifar ddpmpp': (55732739, 416),
    '64 ddpmpp': (61804419, 540),
}
# (network, level): frozen elements and tensors, per cent, trained elements; then rule B's elements and
# tensors.
COUNTS = {
    ('cifar ncsnpp', 1): (47597568, 144, 84.400, 8797955, 42876928, 128),
    ('cifar ncsnpp', 2): (48781824, 156, 86.499, 7613699, 44061184, 140),
    ('cifar ncsnpp', 3): (51015168, 196, 90.460, 5380355, 46031360, 172),
    ('cifar ncsnpp cond', 1): (47597568, 144, 84.395, 8800771, 42876928, 128),
    ('cifar ncsnpp cond', 2): (48781824, 156, 86.495, 7616515, 44061184, 140),
    ('cifar ncsnpp cond', 3): (51015168, 196, 90.455, 5383171, 46031360, 172),
    ('64 ncsnpp', 1): (52614144, 188, 83.836, 10144643, 46418176, 164),
    ('64 ncsnpp', 2): (53798400, 200, 85.723, 8960387, 47602432, 176),
    ('64 ncsnpp', 3): (56294912, 254, 89.700, 6463875, 49753472, 218),
    ('imagenet adm', 1): (233065920, 188, 78.765, 62833347, 204527424, 164),
    ('imagenet adm', 2): (257324160, 232, 86.963, 38575107, 228785664, 208),
    ('imagenet adm', 3): (266807616, 270, 90.168, 29091651, 238269120, 246),
    ('cifar ddpmpp', 1): (47597568, 144, 85.403, 8135171, 42876928, 128),
    ('64 ddpmpp', 1): (52614144, 188, 85.130, 9190275, 46418176, 164),
}
# Elements by kind in the three published architectures, all of them: plain blocks (with the bottleneck's), up
# and down blocks, the rest. Sums stand where the specification gives a sum. Level 1 freezes the first three,
# 2 adds qkv, 3 skips.
KINDS = {
    'block: conv0, block: conv1': (42482176, 46023424, 196441344),
    'up/down: conv0, up/down: conv1': (4720640, 6195968, 28538496),
    'block: proj': (394752, 394752, 8086080),
    'block: qkv': (1184256, 1184256, 24258240),
    'block: skip': (1970176, 2151040, 9483456),
    'up/down: skip': (263168, 345472, 0),
    'block: affine, up/down: affine': (4333824, 5121792, 27462528),
    'block: norm0, block: norm1, block: norm2, up/down: norm0, up/down: norm1': (44032, 51712, 111360),
    'map_layer0, map_layer1': (394240, 394240, 738816),
    'map_label': (0, 0, 768000),
    'aux_residual': (597248, 888832, 0),
    'conv': (3584, 3584, 5376),
    'aux_norm, aux_conv, out_norm, out_conv': (7427, 3715, 5571),
}
PUBLISHED = ('cifar ncsnpp', '64 ncsnpp', 'imagenet adm')
FIRST_LEVEL = {
    'conv0': 1,
    'conv1': 1,
    'proj': 1,
    'qkv': 2,
    'skip': 3,
}  # at which a layer inside a block is frozen


@functools.cache
def network(name):
    arch, arguments = NETWORKS[name]
    with torch.device('meta'):
        return networks.GDDPrecond(**dict(ARCHITECTURES[arch], **arguments))


def official(name, level, places):
    """The official rule, written anew: substring tests on the whole dotted name."""
    return any(place in name for place in places) and any(token in name for token in TOKENS[level])


@pytest.mark.parametrize('name', NETWORKS)
def test_sizes_of_the_networks(name):
    params = list(network(name).parameters())
    assert (sum(p.numel() for p in params), len(params)) == TOTALS[name]


@pytest.mark.parametrize('name, level', COUNTS)
def test_counts_of_the_official_code(name, level):
    frozen_count, frozen_tensors, percent, trained_count, *_rule_b = COUNTS[name, level]
    params = dict(network(name).named_parameters())
    frozen = [p for key, p in params.items() if freeze.is_frozen(key, level)]
    total = sum(p.numel() for p in params.values())
    assert (sum(p.numel() for p in frozen), len(frozen)) == (frozen_count, frozen_tensors)
    assert total - frozen_count == trained_count and 100 * frozen_count / total == pytest.approx(
        percent, abs=6e-4
    )


@pytest.mark.parametrize('name', NETWORKS)
def test_every_parameter_agrees_with_the_rule_of_the_official_optimizer(name):
    for level in range(4):
        for key, _param in network(name).named_parameters():
            assert freeze.is_frozen(key, level) == official(key, level, RULE_A), (key, level)


@pytest.mark.parametrize('name, level', COUNTS)
def test_rule_of_the_official_loss_is_another_one(name, level):
    """Rule B leaves the up and down blocks out: it has its own counts, and our rule must not be it."""
    params = dict(network(name).named_parameters())
    wrong = {key for key in params if official(key, level, RULE_B)}
    assert (sum(params[key].numel() for key in wrong), len(wrong)) == COUNTS[name, level][4:]
    ours = {key for key in params if freeze.is_frozen(key, level)}
    assert wrong < ours and all('_up.' in key or '_down.' in key for key in ours - wrong)


def test_look_alikes_outside_the_blocks_stay_trained():
    names = [key for key, _param in network('cifar ncsnpp').named_parameters()]
    trained = [
        'model.enc.32x32_conv.weight',
        'model.enc.16x16_aux_residual.weight',
        'model.dec.32x32_aux_conv.weight',
        'model.enc.32x32_block0.affine.weight',
        'model.dec.8x8_in0.norm0.bias',
        'model.map_layer0.weight',
    ]
    frozen = [
        'model.enc.32x32_block0.conv0.bias',
        'model.dec.8x8_in0.conv1.weight',
        'model.dec.16x16_up.conv0.weight',
        'model.enc.16x16_down.skip.weight',
        'model.enc.16x16_block0.qkv.bias',
    ]
    assert set(trained + frozen) <= set(names)
    assert not any(freeze.is_frozen(name, 3) for name in trained) and all(
        freeze.is_frozen(name, 3) for name in frozen
    )
    assert freeze.layer_kind('model.dec.8x8_in1.conv0.weight') == ('conv0', True)
    assert freeze.layer_kind('model.dec.32x32_aux_conv.bias') == ('aux_conv', False)


def tiny():
    return networks.GDDPrecond(
        img_resolution=8,
        img_channels=1,
        model_type='SongUNet',
        model_channels=4,
        channel_mult=[1, 1],
        num_blocks=1,
        attn_resolutions=[4],
    )


def test_freeze_layers_returns_what_is_trained_and_can_be_repeated():
    net = tiny()
    counts = []
    for level in (3, 1, 0):
        trained = freeze.freeze_layers(net, level)
        assert {id(p) for p in trained} == {id(p) for key, p in net.named_parameters() if p.requires_grad}
        assert all(p.requires_grad != freeze.is_frozen(key, level) for key, p in net.named_parameters())
        counts.append(len(trained))
    assert counts[0] < counts[1] < counts[2] == len(list(net.parameters()))


@pytest.mark.parametrize('level', range(4))
@pytest.mark.parametrize('name', NETWORKS)
def test_table_adds_up_and_names_what_is_frozen(name, level):
    """The printed table, for every network and level: each row wholly frozen or wholly trained, totals those
    of the official code."""
    lines = freeze.freeze_table(network(name), level)
    rows = {
        line[2:26].strip(): [int(cell.replace(',', '')) for cell in line[26:].split()] for line in lines[2:]
    }
    assert rows == freeze.count_by_kind(network(name), level)
    frozen, trained = (sum(row[i] for row in rows.values()) for i in (0, 1))
    assert frozen + trained == TOTALS[name][0] and (level > 0) == (frozen > 0)
    if (name, level) in COUNTS:
        assert (frozen, trained) == (COUNTS[name, level][0], COUNTS[name, level][3])
        assert float(lines[0].split('(')[1].split()[0]) == pytest.approx(COUNTS[name, level][2], abs=1.1e-3)
    assert f'--freeze={level}: {frozen:,} of {frozen + trained:,}' in lines[0]
    for kind, row in rows.items():
        block, _colon, layer = kind.rpartition(': ')
        expected = bool(block) and level >= FIRST_LEVEL.get(layer, 4)
        assert row[1 if expected else 0] == 0, kind


@pytest.mark.parametrize('name', PUBLISHED)
def test_kinds_of_the_published_networks(name):
    counts = {kind: sum(row) for kind, row in freeze.count_by_kind(network(name), 1).items()}
    for kinds, sizes in KINDS.items():
        assert sum(counts.pop(kind, 0) for kind in kinds.split(', ')) == sizes[PUBLISHED.index(name)], kinds
    assert not counts


@pytest.mark.parametrize('level', [4, -1])
def test_unknown_level_is_explained(level):
    with pytest.raises(
        ValueError, match=f'^freeze={level} is unknown; levels are 0 .nothing. to 3, GDD-I uses freeze=1'
    ):
        freeze.is_frozen('model.enc.32x32_conv.weight', level)
