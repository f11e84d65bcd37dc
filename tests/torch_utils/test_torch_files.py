# Copyright 2026 The GDD-1S authors.
# SPDX-License-Identifier: Apache-2.0
"""Tests of torch_utils/torch_files.py: as torch.load reads them, but checked and in bounds."""

import collections
import copy
import io
import os
import pickle
import zipfile

import pytest
import torch

from dnnlib.errors import ArgumentError
from dnnlib.zips import ZipError
from tests.support.upstream_files import Call
from torch_utils.persistence import STORAGE_CLASSES
from torch_utils.pickle_machine import PickleError, PickleFormatError, UnsafePickleError
from torch_utils.torch_files import read_torch_file, read_weight_file


def saved(value):
    file = io.BytesIO()
    torch.save(value, file)
    file.seek(0)
    return file


def repacked(file, **changes):
    """Write the zip anew, with other contents for some members (path below the root -> bytes)."""
    result = io.BytesIO()
    with zipfile.ZipFile(file) as source, zipfile.ZipFile(result, 'w') as target:
        for member in source.infolist():
            name = member.filename.split('/', 1)[1]
            content = changes.get(name, source.read(member))
            if content is not None:
                target.writestr(member.filename, content)
    return result


def read(value):
    return read_torch_file(saved(value), 'a test')


@pytest.mark.parametrize('dtype', list(STORAGE_CLASSES))
def test_tensors_of_every_type(dtype):
    tensor = torch.tensor([[0, 1, 2], [3, 4, 100]]).to(dtype)
    for value in (tensor, tensor.t(), tensor[:, 1], tensor[0, 2], tensor[:0], torch.empty([0], dtype=dtype)):
        found, expected = read(value), torch.load(saved(value), weights_only=True)
        assert found.dtype == dtype and found.stride() == expected.stride() and torch.equal(found, expected)


def test_plain_values_and_shared_memory():
    flat = torch.arange(6.0)
    value = {
        'a': [1, -2.5, None, True, 'x', (b'y', 1 << 40)],
        3: {'views': (flat[:3], flat[3:], flat)},
        's': {1},
    }
    found = read(value)
    assert found['a'] == value['a'] and found['s'] == {1}
    first, second, whole = found[3]['views']
    first[0], second[0] = 7, 8
    assert whole.tolist() == [7, 1, 2, 8, 4, 5]


def test_modules_and_optimizers():
    """Also the versions of the parts, which load_state_dict reads."""
    net = torch.nn.Sequential(torch.nn.Linear(2, 3), torch.nn.BatchNorm1d(3))
    optimizer = torch.optim.Adam(net.parameters())
    net(torch.randn(4, 2)).sum().backward()
    optimizer.step()
    found = read(dict(net=net.state_dict(), optimizer=optimizer.state_dict()))
    assert isinstance(found['net'], collections.OrderedDict)
    assert found['net']._metadata == net.state_dict()._metadata
    again = torch.load(saved(found), weights_only=True)  # what was read can be written
    assert type(again['net']) is collections.OrderedDict and again['net']._metadata == found['net']._metadata
    assert copy.deepcopy(found['net'])._metadata == found['net']._metadata
    other = torch.nn.Sequential(torch.nn.Linear(2, 3), torch.nn.BatchNorm1d(3))
    other.load_state_dict(found['net'])
    assert all(torch.equal(a, b) for a, b in zip(net.state_dict().values(), other.state_dict().values()))
    torch.optim.Adam(other.parameters()).load_state_dict(found['optimizer'])
    expected = optimizer.state_dict()['state'][0]['exp_avg']
    assert torch.equal(found['optimizer']['state'][0]['exp_avg'], expected)


def test_the_weights_of_this_project():
    path = os.path.join(os.path.dirname(__file__), '../../pretrained/mnist-classifier.pt')
    found, expected = read_torch_file(path, 'a test'), torch.load(path, weights_only=True)
    assert list(found['state_dict']) == list(expected['state_dict']) and found['facts'] == expected['facts']
    assert all(
        torch.equal(found['state_dict'][name], tensor) for name, tensor in expected['state_dict'].items()
    )


@pytest.mark.parametrize(
    'value, error, text',
    [
        (Call(os.system, 'true'), UnsafePickleError, 'system, which a test has no use for'),
        ({'a': os.system}, UnsafePickleError, 'system, which a test has no use for'),
        ({(1, 2): 3}, PickleFormatError, 'tuple is used as a key'),
        (
            Call(collections.OrderedDict, state={'items': 1}),
            PickleFormatError,
            'other attributes than _metadata',
        ),
        (torch.nn.Linear(2, 3), UnsafePickleError, 'Linear, which a test has no use for'),
        (1 << 100, PickleFormatError, 'integer is too large'),
    ],
)
def test_other_things_are_refused(value, error, text):
    with pytest.raises(error, match=text) as caught:
        read(value)
    assert isinstance(caught.value, ArgumentError) and '\n' not in str(caught.value)


BOMB = (
    b'\x80\x02Nq\x00'
    + b''.join((b'h' + bytes([i])) * 2 + b'\x86q' + bytes([i + 1]) for i in range(100))
    + b'}h\x64K\x01s.'
)


@pytest.mark.parametrize(
    'changes, text',
    [
        ({'data.pkl': BOMB}, 'tuple is used as a key'),
        ({'data.pkl': None}, 'not one data.pkl'),
        ({'data.pkl': b'(dp0\n.'}, 'has no place|damaged'),
        ({'data/0': None}, 'a storage is missing'),
        ({'data/0': b'1234'}, 'a storage of 4 elements of 4 bytes comes with 4 bytes'),
        ({'byteorder': b'big'}, 'little-endian'),
    ],
)
def test_changed_members_are_refused(changes, text):
    """With checksums that fit."""
    with pytest.raises(PickleError, match=text):
        read_torch_file(repacked(saved(torch.arange(4.0)), **changes), 'a test')


@pytest.mark.parametrize(
    'size, stride', [((5,), (1,)), ((1000, 1000), (0, 0)), ((2, 2), (3, 1)), ((-1,), (1,))]
)
def test_tensors_stay_inside_their_memory(size, stride):
    class Storage:
        pass

    class Pickler(pickle.Pickler):
        def persistent_id(self, value):
            return ('storage', torch.FloatStorage, '0', 'cpu', 4) if isinstance(value, Storage) else None

    file = io.BytesIO()
    hooks = collections.OrderedDict()
    Pickler(file, 2).dump(Call(torch._utils._rebuild_tensor_v2, Storage(), 0, size, stride, False, hooks))
    with pytest.raises(PickleFormatError, match='tensor'):
        read_torch_file(repacked(saved(torch.arange(4.0)), **{'data.pkl': file.getvalue()}), 'a test')


def test_damage_and_other_files(tmp_path):
    data = bytearray(saved(torch.arange(1000.0)).getvalue())
    data[len(data) // 2] ^= 4
    with pytest.raises(ZipError, match='Bad CRC-32'):
        read_torch_file(io.BytesIO(data), 'a test')
    with pytest.raises(ZipError):
        read_torch_file(io.BytesIO(b'text'), 'a test')
    with pytest.raises(FileNotFoundError):
        read_torch_file(tmp_path / 'nothing.pt', 'a test')


def test_weight_files_of_both_formats(tmp_path):
    path, state = tmp_path / 'weights.pth', {'a': torch.arange(1000.0)}
    for zipped in (True, False):
        torch.save(state, path, _use_new_zipfile_serialization=zipped)
        assert torch.equal(read_weight_file(path, 'a test')['a'], state['a'])
    path.write_bytes(b'no weights')
    with pytest.raises(PickleFormatError, match='torch.load refuses it'):
        read_weight_file(path, 'a test')
    data = bytearray(saved(state).getvalue())
    path.write_bytes(data[: len(data) // 2])
    with pytest.raises(ZipError, match='damaged or incomplete'):
        read_weight_file(path, 'a test')
    data[len(data) // 2] ^= 1
    path.write_bytes(data)
    with pytest.raises(ZipError, match='Bad CRC-32'):
        read_weight_file(path, 'a test')
