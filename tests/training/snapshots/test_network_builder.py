# Copyright 2026 The GDD-1S authors.
# SPDX-License-Identifier: Apache-2.0
"""Tests of network_builder.py: networks from the records of a file, refusals, attributes that were edited."""

import logging

import pytest
import torch

from tests.support.upstream_files import S2, TINY, network_output, small_network, upstream_bytes
from torch_utils.pickle_machine import PickleError, UnsafePickleError
from training import networks
from training.snapshots.pickle_records import SnapshotError, UnknownClassError
from training.snapshots.snapshot import load_network


def write(path, content, **options):
    path.write_bytes(upstream_bytes(content, **options))
    return str(path)


def edited(where, **changes):
    """Return an edit function for UpstreamPickler that sets entries of the states of one class."""

    def edit(name, state):
        if name == where:
            state.update(changes)

    return edit


def argument(**changes):
    def edit(name, state):
        if name == 'EDMPrecond':
            state['_init_kwargs'] = {**state['_init_kwargs'], **changes}

    return edit


def rename(name, state):
    if name == 'SongUNet':
        state['_modules'] = {
            ('x.y' if key == 'enc' else key): value for key, value in state['_modules'].items()
        }


@pytest.mark.parametrize(
    'edit, error, text',
    [
        (edited('Linear', _forward_hooks={1: None}), UnsafePickleError, 'map_layer[01] carries hooks'),
        (edited('EDMPrecond', _load_state_dict_post_hooks={1: None}), UnsafePickleError, 'carries hooks'),
        (argument(colour='red'), UnknownClassError, 'argument colour of EDMPrecond is unknown; known are '),
        (argument(in_channels=3), UnknownClassError, 'argument in_channels of EDMPrecond is unknown'),
        (
            argument(model_type='eval'),
            UnknownClassError,
            'model_type=eval must be one of SongUNet, DhariwalUNet',
        ),
        (
            argument(img_resolution=10**9),
            SnapshotError,
            'img_resolution=1000000000 of EDMPrecond must be an integer in 4.',
        ),
        (argument(img_channels=True), SnapshotError, 'img_channels=True of EDMPrecond must be an integer'),
        (
            argument(channel_mult=[1] * 13),
            SnapshotError,
            'channel_mult=a list of EDMPrecond must be a list of at most 12',
        ),
        (argument(dropout=float('nan')), SnapshotError, 'dropout=nan of EDMPrecond must be a number in 0..1'),
        (
            argument(model_channels=8),
            SnapshotError,
            'shape: model.map_layer0.weight .file .16, 4., needed .32, 8.',
        ),
        (argument(num_blocks=2), SnapshotError, r'missing: model.enc.8x8_block1.norm0.weight \[4\], '),
        (
            argument(num_blocks=0),
            SnapshotError,
            r'unexpected: model.enc.8x8_block0.norm0.weight \[4\], .* and 12 more',
        ),
        (argument(embedding_type='fourier'), SnapshotError, r'missing: model.map_noise.freqs \[2\]'),
        (
            edited('EDMPrecond', _init_kwargs=None),
            SnapshotError,
            'does not record how its network was constructed',
        ),
        (
            edited('EDMPrecond', _init_args=(8, 1)),
            SnapshotError,
            'does not record how its network was constructed',
        ),
        (edited('UNetBlock', num_heads=2), SnapshotError, 'num_heads is 2 in the file, but [01] according'),
        (edited('Conv2d', groups=2), UnknownClassError, 'grouped convolution'),
        (edited('EDMPrecond', sigma_max='large'), SnapshotError, 'sigma_max is large, but must be a number'),
        (edited('EDMPrecond', _parameters=[]), SnapshotError, 'the network: _parameters is not a dict'),
        (edited('SongUNet', _buffers={'a': 3}), SnapshotError, 'model.a is no tensor'),
        (edited('SongUNet', _modules={'a': 3}), SnapshotError, 'model.a is no part of a network'),
        (rename, SnapshotError, 'entry with the name x.y'),
    ],
)
def test_networks_that_do_not_fit_are_refused(edit, error, text, tmp_path):
    path = write(tmp_path / 'a.pkl', dict(ema=small_network(**TINY)), edit=edit)
    with pytest.raises(error, match=text) as caught:
        load_network(path)
    assert '\n' not in str(caught.value)


def test_unknown_classes_are_named_with_their_place(tmp_path):
    data = upstream_bytes(dict(ema=small_network(**TINY)))
    path = tmp_path / 'a.pkl'
    path.write_bytes(data.replace(b'SongUNet', b'LongUNet'))
    with pytest.raises(PickleError, match='model_type=LongUNet|model has the class LongUNet'):
        load_network(path)
    path.write_bytes(data.replace(b'PositionalEmbedding', b'PositionalEmbeddinX'))
    with pytest.raises(UnknownClassError, match='model.map_noise has the class PositionalEmbeddinX'):
        load_network(path)
    path.write_bytes(data.replace(b'EDMPrecond', b'XDMPrecond'))
    with pytest.raises(
        UnknownClassError, match='holds XDMPrecond where a network is expected; known are EDMPrecond'
    ):
        load_network(path)


def test_part_of_another_class_is_refused(tmp_path):
    # Neither has tensors here, so their names cannot tell the two apart.
    def edit(name, state):
        if name == 'SongUNet':
            state['_modules'] = {**state['_modules'], 'map_noise': networks.GroupNorm(4)}
            state['_modules']['map_noise']._parameters.clear()

    path = write(tmp_path / 'a.pkl', dict(ema=small_network(**TINY)), edit=edit)
    with pytest.raises(
        SnapshotError, match='model.map_noise is GroupNorm in the file, but PositionalEmbedding'
    ):
        load_network(path)


def test_network_inside_itself_is_refused(tmp_path):
    def edit(name, state):
        if name == 'SongUNet':
            state['_modules'] = {'enc': state['_modules']['enc']}
            state['_modules']['enc']._modules['again'] = state['_modules']['enc']

    data = upstream_bytes(dict(ema=small_network(**TINY)), edit=edit)
    path = tmp_path / 'a.pkl'
    path.write_bytes(data)
    with pytest.raises(PickleError, match='nested deeper|over'):
        load_network(path)


def test_removed_augmentation_layer(tmp_path):
    for removed in ({'map_augment': None}, {}):
        net = small_network(**S2)

        def edit(name, state, removed=removed):
            if name == 'SongUNet':
                children = {key: value for key, value in state['_modules'].items() if key != 'map_augment'}
                state['_modules'] = {**children, **removed}

        loaded, info = load_network(write(tmp_path / 'a.pkl', dict(ema=net), edit=edit))
        assert loaded.model.map_augment is None and info.init_kwargs['augment_dim'] == 0
        assert torch.equal(network_output(loaded), network_output(net))


def test_edited_attributes_are_taken_over(tmp_path, caplog):
    caplog.set_level(logging.INFO)
    edit = edited('EDMPrecond', sigma_min=0.01, use_fp16=True)
    loaded, _info = load_network(write(tmp_path / 'a.pkl', dict(ema=small_network(**TINY)), edit=edit))
    assert loaded.sigma_min == 0.01 and loaded.use_fp16 is True
    assert 'sigma_min was edited' in caplog.text


def test_unknown_attributes_are_named(tmp_path, caplog):
    net = small_network(**TINY)
    load_network(write(tmp_path / 'a.pkl', dict(ema=net), gdd=True))
    assert caplog.text == ''
    loaded, _info = load_network(
        write(tmp_path / 'b.pkl', dict(ema=net), edit=edited('UNetBlock', gain=2.0, kind=[1]))
    )
    assert torch.equal(network_output(loaded), network_output(net))
    assert (
        'does not know, and may compute something else; ignored: UNetBlock.gain, UNetBlock.kind\n'
        in caplog.text
    )


@pytest.mark.parametrize('dtype', [torch.float16, torch.bfloat16, torch.float64])
def test_other_float_types_are_converted_with_a_warning(dtype, tmp_path, caplog):
    net = small_network(**TINY).to(dtype)
    loaded, _info = load_network(write(tmp_path / 'a.pkl', dict(ema=net)))
    assert all(tensor.dtype == torch.float32 for tensor in loaded.state_dict().values())
    assert torch.equal(loaded.model.map_layer0.weight, net.model.map_layer0.weight.float())
    assert 'converted to torch.float32' in caplog.text
