# Copyright 2026 The GDD-1S authors.
# SPDX-License-Identifier: Apache-2.0
"""Tests of snapshot.py and network_builder.py: snapshots out, snapshots in, weight copies."""

import ast
import os
import pickle
import pickletools

import numpy as np
import pytest
import torch

from dnnlib import EasyDict
from tests.support.upstream_files import (
    A1,
    S1,
    S2,
    S3,
    STAND_IN_SOURCE,
    TINY,
    Call,
    edm_content,
    network_output,
    small_network,
    upstream_bytes,
)
from torch_utils import persistence
from torch_utils.pickle_machine import PickleError, PickleFormatError, UnsafePickleError
from training import networks
from training.augment import AugmentPipe
from training.loss import EDMLoss
from training.snapshots.pickle_reader import read_snapshot
from training.snapshots.pickle_records import SnapshotError
from training.snapshots.snapshot import copy_params_and_buffers, load_network, save_snapshot

CASES = {
    'S1': (networks.EDMPrecond, S1),
    'S2': (networks.EDMPrecond, S2),
    'S3': (networks.EDMPrecond, S3),
    'A1': (networks.EDMPrecond, A1),
    'GDD': (networks.GDDPrecond, S1),
    'VP': (networks.VPPrecond, TINY),
    'VE': (networks.VEPrecond, TINY),
    'iDDPM': (networks.iDDPMPrecond, TINY),
}


def write(path, content, **options):
    path.write_bytes(upstream_bytes(content, **options))
    return str(path)


def globals_of(data):
    """List the names a pickle refers to, protocol 4, memo included."""
    found, texts, memo, last = set(), [], {}, None
    for opcode, argument, _position in pickletools.genops(data):
        if opcode.name in ('SHORT_BINUNICODE', 'BINUNICODE', 'BINUNICODE8'):
            last = argument
            texts.append(argument)
        elif opcode.name == 'MEMOIZE':
            memo[len(memo)] = last
        elif opcode.name in ('BINGET', 'LONG_BINGET'):
            last = memo[argument]
            texts.append(last)
        elif opcode.name == 'STACK_GLOBAL':
            found.add((texts[-2], texts[-1]))
            last = None
        else:
            last = None
    return found


@pytest.mark.parametrize('case', sorted(CASES))
def test_round_trip(case, tmp_path):
    cls, kwargs = CASES[case]
    net = small_network(cls, **kwargs)
    path = tmp_path / 'network.pkl'
    save_snapshot(path, ema=net, metadata=dict(cur_nimg=5))
    random_state = torch.get_rng_state()
    loaded, info = load_network(path)
    assert torch.equal(torch.get_rng_state(), random_state)
    assert (
        type(loaded) is cls and not loaded.training and not any(p.requires_grad for p in loaded.parameters())
    )
    expected = net.state_dict()
    assert list(loaded.state_dict()) == list(expected)
    for name, tensor in loaded.state_dict().items():
        assert (
            torch.equal(tensor, expected[name])
            and tensor.device.type == 'cpu'
            and tensor.dtype == torch.float32
        )
    assert torch.equal(network_output(loaded), network_output(net))
    assert (loaded.sigma_min, loaded.sigma_max) == (net.sigma_min, net.sigma_max)
    assert info.class_name == cls.__name__ and info.init_kwargs == kwargs == loaded._init_kwargs
    assert info.flavour == ('gdd' if case == 'GDD' else 'edm')
    assert info.entries == ['ema', 'augment_pipe', 'dataset_kwargs', 'metadata'] and info.metadata == {
        'cur_nimg': 5
    }


def test_teachers_carry_loss_and_augmentation(tmp_path):
    net, path = small_network(**TINY), tmp_path / 'network.pkl'
    save_snapshot(path, ema=net, loss_fn=EDMLoss(P_mean=-1.0), augment_pipe=AugmentPipe(p=0.12, xflip=1e8))
    _net, info = load_network(path)
    assert info.entries == ['ema', 'loss_fn', 'augment_pipe', 'dataset_kwargs']  # EDM's order
    assert info.extras['loss_fn'] == dict(class_name='EDMLoss', P_mean=-1.0, P_std=1.2, sigma_data=0.5)
    assert info.extras['augment_pipe'].p == 0.12 and info.extras['augment_pipe'].class_name == 'AugmentPipe'
    save_snapshot(path, ema=net)
    assert load_network(path)[1].entries == ['ema', 'augment_pipe', 'dataset_kwargs']


def test_flavour_of_an_edm_class_from_gdd(tmp_path):
    net = small_network(**TINY)
    assert load_network(write(tmp_path / 'a.pkl', dict(ema=net), gdd=True))[1].flavour == 'gdd'
    assert load_network(write(tmp_path / 'b.pkl', dict(ema=net)))[1].flavour == 'edm'


def test_net_and_ema_are_told_apart(tmp_path):
    raw, ema = small_network(seed=1, **TINY), small_network(seed=2, **TINY)
    path = tmp_path / 'network.pkl'
    save_snapshot(path, ema=ema, net=raw)
    for key, expected in (('ema', ema), ('net', raw)):
        loaded, info = load_network(path, key)
        assert torch.equal(network_output(loaded), network_output(expected))
    assert info.entries == ['net', 'ema', 'augment_pipe', 'dataset_kwargs']  # GDD's order


def test_contents_of_a_written_file(tmp_path):
    net = small_network(**S1).train().requires_grad_(True).double()
    assert net.model.map_layer0.weight.dtype == torch.float64
    net.model.map_layer0.weight.data = net.model.map_layer0.weight.data.t().contiguous().t()
    expected = {name: tensor.float() for name, tensor in net.state_dict().items()}
    path = tmp_path / 'network.pkl'
    save_snapshot(path, ema=net)
    data = path.read_bytes()
    assert data[:2] == b'\x80\x04'
    assert globals_of(data) == {
        ('torch_utils.persistence', '_reconstruct_persistent_obj'),
        ('collections', 'OrderedDict'),
        ('torch._utils', '_rebuild_parameter'),
        ('torch._utils', '_rebuild_tensor_v2'),
        ('torch.storage', '_load_from_bytes'),
        ('torch.nn.modules.container', 'ModuleDict'),
    }
    assert data.count(b'EDM U-Nets (DDPM++, NCSN++, ADM)') == 1  # one text, stored once
    record = read_snapshot(data)['ema']
    assert record.state['training'] is False and list(record.state)[-2:] == ['_init_args', '_init_kwargs']
    assert net.training and net.model.map_layer0.weight.dtype == torch.float64  # not changed
    loaded, _info = load_network(path)
    assert all(torch.equal(tensor, expected[name]) for name, tensor in loaded.state_dict().items())
    assert loaded.model.map_layer0.weight.is_contiguous()


@pytest.mark.parametrize('module', ['networks', 'loss', 'augment'])
def test_embedded_text_is_self_contained(module):
    source = persistence._module_sources[f'training.{module}']
    tree = ast.parse(source, feature_version=(3, 8))
    imported = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            imported.update(alias.name.split('.')[0] for alias in node.names)
        if isinstance(node, ast.ImportFrom):
            assert node.level == 0
            imported.add(node.module.split('.')[0])
        assert not (isinstance(node, ast.Name) and node.id in ('__file__', 'inspect'))
    plain = {'math', '__future__', 'collections', 'functools', 'typing'}
    assert imported - plain == ({'numpy'} if module == 'networks' else set()) | {'torch', 'torch_utils'}
    assert 'from torch_utils import persistence\n' in source


def test_absolute_paths_stay_at_home(tmp_path):
    path = tmp_path / 'network.pkl'
    save_snapshot(
        path,
        ema=small_network(**TINY),
        dataset_kwargs=EasyDict(path='/home/somebody/data/cifar10.zip'),
        metadata=dict(runs=['/home/somebody/run/'], relative='out/a'),
    )
    _net, info = load_network(path)
    assert info.dataset_kwargs == {'path': 'cifar10.zip'} and info.metadata == {
        'runs': ['run'],
        'relative': 'out/a',
    }
    assert b'somebody' not in path.read_bytes()


def test_failed_save_leaves_the_old_file(tmp_path):
    path = tmp_path / 'network.pkl'
    path.write_bytes(b'old')
    net = small_network(**TINY)
    for arguments, text in (
        (dict(ema=net, metadata=dict(a=object())), 'object'),
        (dict(ema=None), 'needs a network'),
        (dict(ema=torch.nn.Linear(1, 1)), 'ema is a Linear, .* without a wrapper'),
        (dict(ema=net, loss_fn=print), 'loss_fn is a builtin'),
        (dict(ema=net, augment_pipe=print), 'augment_pipe is a builtin'),
        (dict(ema=net, augment_pipe=dict(p=object())), 'object'),
        (dict(ema=net, metadata=dict(a=np.zeros(2))), 'ndarray'),
    ):
        with pytest.raises(ValueError, match=text):
            save_snapshot(path, **arguments)
    net.model.map_layer0.register_forward_hook(lambda *args: None)
    with pytest.raises(ValueError, match='carries hooks'):
        save_snapshot(path, ema=net)
    assert path.read_bytes() == b'old' and os.listdir(tmp_path) == ['network.pkl']


def test_numpy_numbers_are_stored_as_python_numbers(tmp_path):
    net = small_network(**dict(TINY, dropout=np.float64(0.1)))
    save_snapshot(tmp_path / 'network.pkl', ema=net, metadata=dict(a=np.int64(3)))
    assert b'numpy' not in (tmp_path / 'network.pkl').read_bytes().replace(
        persistence._module_sources['training.networks'].encode(), b''
    )
    _net, info = load_network(tmp_path / 'network.pkl')
    assert type(info.init_kwargs['dropout']) is float and info.metadata == {'a': 3}


@pytest.mark.parametrize(
    'make, text',
    [
        (lambda path: None, 'there is no such file'),
        (lambda path: path.mkdir(), 'this is not a file'),
        (lambda path: path.write_bytes(b''), 'no pickle'),
        (lambda path: torch.save({}, path), 'torch zip checkpoint'),
        (lambda path: path.write_bytes(pickle.dumps([1])), 'holds a list'),
        (lambda path: path.write_bytes(pickle.dumps({'a': 1, 'b': 2})), "has no entry 'ema' .it holds a, b."),
        (
            lambda path: path.write_bytes(pickle.dumps({'ema': Call(os.system, 'true')})),
            r'refers to (posix|nt).system, .* nothing in it was run; only if you trust .*, use trust_pickle',
        ),
        (lambda path: path.write_bytes(pickle.dumps({'ema': {'weight': 1}})), 'holds dict where a network'),
    ],
)
def test_unusable_files(make, text, tmp_path):
    path = tmp_path / 'input.pkl'
    make(path)
    with pytest.raises(PickleError, match=text) as caught:
        load_network(str(path), option='transfer')
    assert str(caught.value).startswith(f'transfer={path}: ') and '\n' not in str(caught.value)


def test_missing_raw_weights_are_explained(tmp_path):
    path = write(tmp_path / 'a.pkl', edm_content(small_network(**TINY)))
    with pytest.raises(
        SnapshotError, match="has no entry 'net' .it holds ema, loss_fn, augment_pipe, dataset_kwargs."
    ):
        load_network(path, key='net')


def test_other_entries_do_not_matter(tmp_path, caplog):
    net = small_network(**TINY)
    laughs = []
    for _ in range(40):
        laughs = [laughs, laughs]  # 2 ** 40 items in 40 lists
    loss = dict(
        type='class',
        version=6,
        module_src=STAND_IN_SOURCE,
        class_name='EDMLoss',
        state=dict(P_mean=-1.2, P_std=1.2),
    )
    pipe = dict(loss, class_name='OtherPipe', state=dict(p=laughs))
    reconstruct = persistence._reconstruct_persistent_obj
    content = dict(
        ema=net,
        loss_fn=Call(reconstruct, loss),
        augment_pipe=Call(reconstruct, pipe),
        dataset_kwargs=dict(path=laughs),
        progress=EasyDict(kimg=3),
    )
    _net, info = load_network(write(tmp_path / 'a.pkl', content))
    assert info.extras['loss_fn'] == dict(class_name='EDMLoss', P_mean=-1.2, P_std=1.2)
    assert info.extras['augment_pipe'].class_name == 'OtherPipe' and 'unknown class OtherPipe' in caplog.text
    assert (
        info.dataset_kwargs == {}
        and 'dataset_kwargs of the snapshot is not made of plain values' in caplog.text
    )
    assert info.extras['progress'] == {'class_name': 'dict'}


def test_urls_use_the_download_cache(tmp_path):
    path = tmp_path / 'network.pkl'
    save_snapshot(path, ema=small_network(**TINY))
    _net, info = load_network(f'file://{path}')
    assert info.path == str(path)
    with pytest.raises(PickleError, match='teacher=ftp://a.b/c.pkl: .* is not supported'):
        load_network('ftp://a.b/c.pkl', option='teacher')


def test_info_digests(tmp_path):
    import hashlib

    path = write(tmp_path / 'a.pkl', dict(ema=small_network(**TINY)))
    _net, info = load_network(path)
    assert info.sha256 == hashlib.sha256((tmp_path / 'a.pkl').read_bytes()).hexdigest()
    assert info.source_sha256 == hashlib.sha256(STAND_IN_SOURCE.encode()).hexdigest()


def test_copy_copies_everything():
    src, dst = (
        small_network(seed=1, **S1),
        small_network(networks.GDDPrecond, seed=2, **dict(S1, augment_dim=0)).double(),
    )
    copy_params_and_buffers(src, dst)
    for name, tensor in dst.state_dict().items():
        assert torch.equal(tensor, src.state_dict()[name].double()), name
    assert torch.equal(
        dst.model.map_noise.freqs, src.model.map_noise.freqs.double()
    )  # random, so part of the weights


def test_copy_lists_what_does_not_fit_and_copies_nothing():
    src = small_network(seed=1, **TINY)
    dst = small_network(seed=2, **dict(TINY, model_channels=8))
    before = {name: tensor.clone() for name, tensor in dst.state_dict().items()}
    text = r'other shape: model.map_layer0.weight \(\[16, 4\] into \[32, 8\]\).* and \d+ more'
    with pytest.raises(ValueError, match=text):
        copy_params_and_buffers(src, dst)
    assert all(torch.equal(tensor, before[name]) for name, tensor in dst.state_dict().items())
    with pytest.raises(
        ValueError,
        match=r'missing in the source: model.map_label.weight \[4, 3\], model.map_label.bias \[4\]',
    ):
        copy_params_and_buffers(small_network(**TINY), small_network(**dict(TINY, label_dim=3)))
    with pytest.raises(ValueError, match=r'unknown in the target: model.map_label.weight \[4, 3\]'):
        copy_params_and_buffers(small_network(**dict(TINY, label_dim=3)), small_network(**TINY))
    with pytest.raises(ValueError, match='unknown in the target: model.map_augment.weight'):
        copy_params_and_buffers(small_network(**S2), small_network(**dict(S2, augment_dim=0)), allow_extra=())
    with pytest.raises(ValueError, match='other shape'):  # broadcasting, which upstream lets pass
        copy_params_and_buffers(torch.nn.Linear(1, 1), torch.nn.Linear(4, 1))


def test_error_classes_are_value_errors():
    assert all(issubclass(cls, ValueError) for cls in (SnapshotError, PickleFormatError, UnsafePickleError))
