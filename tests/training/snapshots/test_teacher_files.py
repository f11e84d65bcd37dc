# Copyright 2026 The GDD-1S authors.
# SPDX-License-Identifier: Apache-2.0
"""Test that the safe loader reads every kind of EDM and GDD snapshot, in the spelling of every version."""

import copy

import numpy as np
import pytest
import torch

from dnnlib import EasyDict
from tests.support.upstream_files import (
    NEW_HOOKS,
    TINY,
    edm_content,
    network_output,
    small_network,
    upstream_bytes,
)
from torch_utils import persistence
from training import networks
from training.augment import AugmentPipe as EDMAugmentPipe
from training.loss import EDMLoss, VELoss, VPLoss
from training.snapshots.snapshot import load_network

PRECONDITIONERS = {
    'vp': (networks.VPPrecond, VPLoss),
    've': (networks.VEPrecond, VELoss),
    'edm': (networks.EDMPrecond, EDMLoss),
    'iddpm': (networks.iDDPMPrecond, None),
}
SMALL = dict(TINY, channel_mult=[1, 2], dropout=0.13, augment_dim=9)
ARCHITECTURES = {
    'ddpmpp': dict(
        SMALL,
        embedding_type='positional',
        encoder_type='standard',
        decoder_type='standard',
        channel_mult_noise=1,
        resample_filter=[1, 1],
    ),
    'ncsnpp': dict(
        SMALL,
        embedding_type='fourier',
        encoder_type='residual',
        decoder_type='standard',
        channel_mult_noise=2,
        resample_filter=[1, 3, 3, 1],
    ),
    'adm': {
        **{key: value for key, value in SMALL.items() if key != 'attn_resolutions'},
        'model_type': 'DhariwalUNet',
        'attn_resolutions': [8],
    },
}
WRITERS = {
    'torch 1, numpy 1': dict(torch1=True, numpy1=True, protocol=4),
    'torch 2, numpy 2': dict(protocol=5),
    'torch 2, numpy 1': dict(numpy1=True, protocol=2),
}
PIPE = dict(p=0.12, xflip=1e8, yflip=1, scale=1, rotate_frac=1, aniso=1, translate_frac=1)


@persistence.persistent_class
class AugmentPipe(torch.nn.Module):
    """GDD's pipe: a torch module with the name of EDM's plain class."""

    def __init__(self):
        super().__init__()
        self.xflip = 1
        self.register_buffer('p', torch.ones([]))
        self.register_buffer('Hz_geom', torch.zeros(12))


def numpy_arguments(name, state):
    """Record arguments as upstream does: some are NumPy scalars, or attribute dictionaries."""
    if name == 'UNetBlock':
        arguments = dict(state['_init_kwargs'], skip_scale=np.float64(np.sqrt(0.5)))
        state['_init_kwargs'] = EasyDict(
            arguments, init_attn=EasyDict(init_mode='xavier_uniform', init_weight=np.sqrt(0.2))
        )
    if name.endswith('Precond'):
        state['_init_kwargs'] = EasyDict(state['_init_kwargs'])


def load(tmp_path, content, **options):
    path = tmp_path / 'network-snapshot-000123.pkl'
    path.write_bytes(upstream_bytes(content, edit=numpy_arguments, **options))
    return load_network(path)


@pytest.mark.parametrize('architecture', list(ARCHITECTURES))
@pytest.mark.parametrize('precond', list(PRECONDITIONERS))
@pytest.mark.parametrize('label_dim', [0, 3])
def test_edm_teachers(architecture, precond, label_dim, tmp_path, caplog):
    cls, loss = PRECONDITIONERS[precond]
    net = small_network(cls, **dict(ARCHITECTURES[architecture], label_dim=label_dim))
    writer = list(WRITERS)[(list(ARCHITECTURES).index(architecture) + label_dim) % len(WRITERS)]
    content = edm_content(net)
    content.update(
        loss_fn=loss and loss(),
        augment_pipe=EDMAugmentPipe(**PIPE),
        dataset_kwargs=EasyDict(content['dataset_kwargs'], use_labels=label_dim > 0),
    )
    random_state = torch.get_rng_state()
    loaded, info = load(tmp_path, content, **WRITERS[writer])
    assert torch.equal(torch.get_rng_state(), random_state)
    assert (
        type(loaded) is cls and not loaded.training and not any(p.requires_grad for p in loaded.parameters())
    )
    assert torch.equal(network_output(loaded), network_output(net)) and caplog.text == ''
    assert list(loaded.state_dict()) == list(net.state_dict())
    assert (info.class_name, info.flavour, info.executed) == (cls.__name__, 'edm', [])
    assert info.init_kwargs == dict(ARCHITECTURES[architecture], label_dim=label_dim)
    assert info.dataset_kwargs == content['dataset_kwargs'] and list(info.extras) == [
        'loss_fn',
        'augment_pipe',
    ]
    assert (info.extras['loss_fn'] or {}).get('class_name') == (loss and loss.__name__)
    pipe = info.extras['augment_pipe']
    assert pipe.pop('class_name') == 'AugmentPipe' and pipe.items() >= PIPE.items()
    assert vars(EDMAugmentPipe(**pipe)).items() >= {**PIPE, 'scale_std': 0.2}.items()


@pytest.mark.parametrize('cls', [networks.GDDPrecond, networks.EDMPrecond])
@pytest.mark.parametrize('writer', list(WRITERS))
@pytest.mark.parametrize('architecture', list(ARCHITECTURES))
def test_gdd_students(cls, writer, architecture, tmp_path, caplog):
    arguments = {key: value for key, value in ARCHITECTURES[architecture].items() if key != 'augment_dim'}
    raw, ema = (small_network(cls, seed=seed, **arguments) for seed in (1, 2))
    pipe = None if writer == 'torch 2, numpy 2' else AugmentPipe()
    content = dict(net=raw, ema=ema, augment_pipe=pipe, dataset_kwargs=dict(path='afhqv2.zip', cache=True))
    path = tmp_path / 'network.pkl'
    path.write_bytes(upstream_bytes(content, gdd=True, **WRITERS[writer]))
    for key, net in (('ema', ema), ('net', raw)):
        loaded, info = load_network(path, key=key)
        assert type(loaded) is cls and torch.equal(network_output(loaded), network_output(net))
        assert (info.flavour, info.entries) == ('gdd', ['net', 'ema', 'augment_pipe', 'dataset_kwargs'])
    assert caplog.text == ''
    if pipe is not None:
        assert info.extras['augment_pipe'].buffers == ['p', 'Hz_geom']


def test_the_spellings_differ():
    # Otherwise the tests above would read one kind of file under several names.
    net = small_network(**TINY)
    old, new = (
        upstream_bytes(dict(ema=net), **WRITERS[name]) for name in ('torch 1, numpy 1', 'torch 2, numpy 2')
    )
    for text, in_old, in_new in [
        (b'numpy.core', True, False),
        (b'numpy._core', False, True),
        *((bytes([len(name)]) + name.encode(), False, True) for name in NEW_HOOKS),
    ]:
        assert (text in old, text in new) == (in_old, in_new), text
    assert old[:2] == b'\x80\x04' and new[:2] == b'\x80\x05'


def test_files_with_only_the_network(tmp_path):
    net = small_network(**TINY)
    loaded, info = load(tmp_path, dict(ema=net))
    assert torch.equal(network_output(loaded), network_output(net))
    assert (info.entries, info.extras, info.dataset_kwargs, info.metadata) == (['ema'], {}, {}, {})


def test_parameters_with_attributes_of_their_own(tmp_path):
    # torch >= 2.0 writes them by another function, and the attributes do not matter.
    net = small_network(**TINY)
    net.model.map_layer0.weight.remark = 'frozen'
    data = upstream_bytes(dict(ema=net))
    assert b'_rebuild_parameter_with_state' in data
    (tmp_path / 'a.pkl').write_bytes(data)
    loaded, _info = load_network(tmp_path / 'a.pkl')
    assert torch.equal(network_output(loaded), network_output(net))


def test_networks_saved_on_a_gpu(tmp_path):
    net = small_network(**TINY)
    data = upstream_bytes(dict(ema=net), protocol=4)
    count = data.count(b'X\x03\x00\x00\x00cpu')
    assert count == len(net.state_dict())
    # Longer texts shift everything behind them, so "mps" stands for all other devices here.
    (tmp_path / 'a.pkl').write_bytes(data.replace(b'X\x03\x00\x00\x00cpu', b'X\x03\x00\x00\x00mps'))
    loaded, _info = load_network(tmp_path / 'a.pkl')
    assert torch.equal(network_output(loaded), network_output(net))
    assert all(tensor.device.type == 'cpu' for tensor in loaded.state_dict().values())


def test_one_network_under_two_names(tmp_path):
    net = small_network(**TINY)
    loaded, _info = load(tmp_path, dict(net=net, ema=net))
    assert torch.equal(network_output(loaded), network_output(net))
    loaded, _info = load(tmp_path, dict(net=copy.deepcopy(net), ema=net))
    assert torch.equal(network_output(loaded), network_output(net))
