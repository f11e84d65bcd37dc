# Copyright 2026 The GDD-1S authors.
# SPDX-License-Identifier: Apache-2.0
"""Tests of trusted_pickle.py: files run only when asked, only when needed, and with a warning."""

import copy
import hashlib
import pickle
import re

import numpy as np
import pytest
import torch

from dnnlib import EasyDict
from tests.support.upstream_files import (
    S1,
    STAND_IN_SOURCE,
    TINY,
    Call,
    edm_content,
    module_state,
    network_output,
    persistent,
    small_network,
    upstream_bytes,
)
from torch_utils import misc, persistence
from torch_utils.pickle_machine import PickleError, PickleFormatError, UnsafePickleError
from training import networks
from training.snapshots.pickle_records import SnapshotError, UnknownClassError
from training.snapshots.snapshot import load_network, save_snapshot

# A network class that this project does not have, using all that EDM-style texts import.
FOREIGN_SOURCE = """
import pathlib
import numpy as np
import torch
import dnnlib
from torch_utils import misc
from torch_utils import persistence

pathlib.Path({marker!r}).touch()

@persistence.persistent_class
class Layer(torch.nn.Module):
    def forward(self, x):
        return x * misc.constant(np.array([self.gain]), dtype=x.dtype)

@persistence.persistent_class
class OddPrecond(torch.nn.Module):
    @misc.profiled_function
    def forward(self, x, sigma, class_labels=None):
        misc.assert_shape(x, [None, self.img_channels, None, None])
        assert isinstance(self.model, Layer) and isinstance(self.options, dnnlib.EasyDict)
        return self.model(x) + sigma.reshape(-1, 1, 1, 1)

    def round_sigma(self, sigma):
        return torch.as_tensor(sigma)
"""


def foreign_file(tmp_path, source=FOREIGN_SOURCE, **changes):
    source = source.replace('{marker!r}', repr(str(tmp_path / 'was_run')))
    layer = persistent(source, 'Layer', module_state(gain=3.0))
    attributes = dict(
        img_resolution=8,
        img_channels=1,
        label_dim=0,
        sigma_min=0,
        sigma_max=80.0,
        options=EasyDict(a=1),
        modules={'model': layer},
        _init_args=(),
        _init_kwargs={'a': 2},
    )
    attributes.update(changes)
    state = {key: value for key, value in module_state(**attributes).items() if value != 'absent'}
    path = tmp_path / 'foreign.pkl'
    path.write_bytes(
        pickle.dumps(dict(ema=persistent(source, 'OddPrecond', state), dataset_kwargs=dict(resolution=8)))
    )
    return path, source


def test_foreign_classes_are_refused_without_the_option(tmp_path):
    path, _source = foreign_file(tmp_path)
    with pytest.raises(
        UnknownClassError, match='teacher=.*foreign.pkl: holds OddPrecond where .*trust_pickle'
    ) as caught:
        load_network(path, option='teacher')
    assert '\n' not in str(caught.value) and not (tmp_path / 'was_run').exists()


def test_foreign_classes_run_with_the_option(tmp_path, capsys):
    path, source = foreign_file(tmp_path)
    net, info = load_network(path, trust=True)
    assert (tmp_path / 'was_run').exists() and not net.training
    x, sigma = torch.ones(2, 1, 8, 8), torch.tensor([1.0, 2.0])
    assert torch.equal(net(x, sigma)[:, 0, 0, 0], torch.tensor([4.0, 5.0]))
    file_digest, text_digest = (
        hashlib.sha256(data).hexdigest() for data in (path.read_bytes(), source.encode())
    )
    assert (info.class_name, info.flavour) == ('OddPrecond', 'edm')
    assert info.init_kwargs == dict(a=2, img_resolution=8, img_channels=1, label_dim=0)
    assert (info.sha256, info.source_sha256, info.executed) == (file_digest, text_digest, [text_digest])
    assert info.dataset_kwargs == {'resolution': 8} and net.init_kwargs == {'a': 2} and net.init_args == ()
    warnings = [line for line in capsys.readouterr().err.splitlines() if line.startswith('WARNING')]
    assert len(warnings) == 2 and 'CODE OF THIS FILE RUNS' in warnings[0]
    assert file_digest in warnings[0] and text_digest in warnings[1]
    with pytest.raises(AssertionError, match='shape'):
        net(torch.ones(2, 3, 8, 8), sigma)


def test_the_same_text_runs_once_but_is_always_announced(tmp_path, capsys):
    path, _source = foreign_file(tmp_path)
    first, info = load_network(path, trust=True)
    (tmp_path / 'was_run').unlink()
    capsys.readouterr()
    second, info2 = load_network(path, trust=True)
    assert type(first) is type(second) and not (tmp_path / 'was_run').exists()
    assert info.executed == info2.executed and info.executed[0] in capsys.readouterr().err


def test_a_trusted_network_can_be_saved_again(tmp_path):
    path, source = foreign_file(tmp_path, options=None)
    net, _info = load_network(path, trust=True)
    save_snapshot(tmp_path / 'again.pkl', ema=net)
    again, info = load_network(tmp_path / 'again.pkl', trust=True)
    assert type(again) is type(net) and info.source_sha256 == hashlib.sha256(source.encode()).hexdigest()


@pytest.mark.parametrize('value', [np.zeros(3), torch.float32, torch.Size([1])])
def test_what_the_safe_reader_refuses_runs_the_same_network(value, tmp_path, capsys):
    net = small_network(networks.GDDPrecond, **S1)

    def edit(name, state):
        if name == 'GDDPrecond':
            state['remark'] = value

    text = persistence._module_sources['training.networks']
    data = upstream_bytes(dict(net=net, ema=net, augment_pipe=None), gdd=True, edit=edit, source=text)
    (tmp_path / 'a.pkl').write_bytes(data)
    with pytest.raises(UnsafePickleError, match=r'refers to (torch|numpy)\S* .*trust_pickle'):
        load_network(tmp_path / 'a.pkl')
    loaded, info = load_network(tmp_path / 'a.pkl', trust=True)
    assert (
        torch.equal(network_output(loaded), network_output(net)) and type(loaded) is not networks.GDDPrecond
    )
    assert (info.class_name, info.flavour, len(info.executed)) == ('GDDPrecond', 'gdd', 1)
    assert list(loaded.state_dict()) == list(net.state_dict())
    assert re.search('refers to .*; so it cannot be read without running it\n', capsys.readouterr().err)


def test_another_structure_under_the_same_names(tmp_path):
    # A fork that made the hidden layer of the noise embedding wider: only its own text knows how to use it.
    def edit(name, state):
        if name == 'SongUNet':
            generator = torch.Generator().manual_seed(0)
            for layer, shape in (('map_layer0', [24, 4]), ('map_layer1', [16, 24])):
                part = copy.deepcopy(state['_modules'][layer])
                part.weight = torch.nn.Parameter(torch.randn(shape, generator=generator), requires_grad=False)
                part.bias = torch.nn.Parameter(torch.zeros(shape[0]), requires_grad=False)
                state['_modules'][layer] = part

    path = tmp_path / 'a.pkl'
    text = persistence._module_sources['training.networks']
    path.write_bytes(upstream_bytes(dict(ema=small_network(**TINY)), edit=edit, source=text))
    with pytest.raises(
        UnknownClassError, match=r'shape: model.map_layer0.weight \(file \[24, 4\], needed \[16, 4\]\)'
    ):
        load_network(path)
    net, info = load_network(path, trust=True)
    assert net.model.map_layer0.weight.shape == (24, 4) and len(info.executed) == 1
    assert torch.isfinite(network_output(net)).all()


def test_nothing_runs_when_the_safe_reader_succeeds(tmp_path, capsys):
    net = small_network(**TINY)
    assert STAND_IN_SOURCE.startswith('raise')
    (tmp_path / 'a.pkl').write_bytes(upstream_bytes(edm_content(net)))
    loaded, info = load_network(tmp_path / 'a.pkl', trust=True)
    assert type(loaded) is networks.EDMPrecond and info.executed == [] and capsys.readouterr().err == ''


def test_damage_and_mistakes_are_no_reason_to_run_a_file(tmp_path):
    data = upstream_bytes(edm_content(small_network(**TINY)))
    path = tmp_path / 'a.pkl'
    for content, key, error, text in (
        (data[:-100], 'ema', PickleFormatError, 'truncated'),
        (data, 'net', SnapshotError, "has no entry 'net'"),
        (b'', 'ema', PickleFormatError, 'no pickle'),
    ):
        path.write_bytes(content)
        with pytest.raises(error, match=text):
            load_network(path, key=key, trust=True)


@pytest.mark.parametrize(
    'source, text',
    [
        (
            'import torch_utils.ops.upfirdn2d',
            'needs the module torch_utils.ops, which is neither installed nor part',
        ),
        (
            'raise RuntimeError("first line\\nsecond")',
            'running the file failed with RuntimeError: first line$',
        ),
        ('import sys; sys.exit(3)', 'failed with SystemExit: 3'),
        ('this is no program', 'failed with SyntaxError'),
        ('', "failed with AttributeError: .* has no attribute 'Layer'"),
    ],
)
def test_failures_of_the_foreign_code_are_one_line(source, text, tmp_path):
    path, _source = foreign_file(tmp_path, source=source)
    with pytest.raises(PickleError, match=text) as caught:
        load_network(path, trust=True)
    assert '\n' not in str(caught.value) and str(caught.value).startswith(f'network={path}: ')


def test_what_is_no_edm_network_is_refused(tmp_path):
    path, _source = foreign_file(tmp_path, img_channels='absent', sigma_max='absent')
    with pytest.raises(
        SnapshotError, match='its OddPrecond lacks img_channels, sigma_max, so it cannot be used'
    ):
        load_network(path, trust=True)
    for value, text in (
        (dict(ema=torch.Size([1])), "its entry 'ema' has the type Size, but a network is expected"),
        (dict(other=torch.Size([1])), "has no entry 'ema' .it holds other."),
        (torch.Size([1]), "has no entry 'ema' .it holds a Size."),
    ):
        path.write_bytes(pickle.dumps(value))
        with pytest.raises(PickleError, match=text):
            load_network(path, trust=True)


def test_wrong_meta_is_refused(tmp_path):
    path = tmp_path / 'a.pkl'
    for meta, text in (
        (dict(a=1), 'must come with'),
        (
            dict(type='class', version=7, module_src='', class_name='a', state={}),
            'persistence version 7 is not supported',
        ),
    ):
        path.write_bytes(pickle.dumps([torch.Size([1]), Call(persistence._reconstruct_persistent_obj, meta)]))
        with pytest.raises(PickleError, match=text):
            load_network(path, trust=True)


def test_plain_objects_are_revived_and_described(tmp_path):
    text = persistence._module_sources['training.networks']
    loss = persistent('class EDMLoss:\n    pass\n', 'EDMLoss', dict(P_mean=-1.2, sigma_data=0.5, table=[1]))
    content = dict(ema=small_network(**TINY), loss_fn=loss, remark=torch.Size([1]))
    path = tmp_path / 'a.pkl'
    path.write_bytes(upstream_bytes(content, source=text))
    _net, info = load_network(path, trust=True)
    assert info.extras['loss_fn'] == dict(class_name='EDMLoss', P_mean=-1.2, sigma_data=0.5)
    assert len(info.executed) == 2 and info.source_sha256 == hashlib.sha256(text.encode()).hexdigest()


def test_names_that_embedded_texts_use():
    assert torch.equal(misc.constant([1, 2], shape=[2, 2]), torch.tensor([[1.0, 2.0], [1.0, 2.0]]))
    assert misc.constant(3, dtype=torch.int64).dtype == torch.int64
    with misc.suppress_tracer_warnings():
        pass
    misc.assert_shape(torch.zeros(2, 3), [None, 3])
    with pytest.raises(AssertionError, match=r'\[2, 3\], but \[2\] is expected'):
        misc.assert_shape(torch.zeros(2, 3), [2])
