# Copyright 2026 The GDD-1S authors.
# SPDX-License-Identifier: Apache-2.0
"""Tests of pickle_reader.py and pickle_records.py: faithful on good files, firm on bad ones."""

import io
import os
import pickle
import struct
import warnings
from collections import OrderedDict

import numpy as np
import pytest
import torch

from tests.support.upstream_files import (
    S1,
    TINY,
    Call,
    edm_content,
    empty_hooks,
    small_network,
    upstream_bytes,
)
from torch_utils import persistence
from torch_utils.pickle_machine import PickleError, PickleFormatError, UnsafePickleError
from training.snapshots.pickle_reader import read_snapshot
from training.snapshots.pickle_records import PersistentRecord

PROTO4 = b'\x80\x04'


def tensors_of(record, prefix=''):
    """Flatten records to {dotted name: tensor}; independent of network_builder."""
    found = {}
    for group in ('_parameters', '_buffers'):
        found.update(
            (prefix + key, value.to_tensor())
            for key, value in record.state[group].items()
            if value is not None
        )
    for key, child in record.state['_modules'].items():
        if child is not None:
            found.update(tensors_of(child, f'{prefix}{key}.'))
    return found


def storage_bytes(values, dtype=torch.float32):
    return persistence.legacy_storage_bytes(torch.as_tensor(values, dtype=dtype))


def text(value):
    return b'X' + struct.pack('<i', len(value)) + value.encode()


def tensor_call(size, stride, offset=0, values=(1.0, 2.0, 3.0, 4.0), hooks=None):
    storage = Call(torch.storage._load_from_bytes, storage_bytes(values))
    return Call(torch._utils._rebuild_tensor_v2, storage, offset, size, stride, False, hooks or empty_hooks())


def read_value(value, protocol=4):
    return read_snapshot(pickle.dumps({'ema': value}, protocol=protocol))['ema']


@pytest.mark.parametrize('protocol', [2, 3, 4, 5])
@pytest.mark.parametrize('numpy1', [False, True])
@pytest.mark.parametrize('containers', [dict, OrderedDict])
def test_upstream_files_of_every_spelling(protocol, numpy1, containers):
    net = small_network(**TINY)
    data = upstream_bytes(edm_content(net), protocol=protocol, numpy1=numpy1, containers=containers)
    assert (b'numpy._core' in data) != numpy1 and (b'numpy.core' in data) == numpy1
    top = read_snapshot(data)
    assert list(top) == ['ema', 'loss_fn', 'augment_pipe', 'dataset_kwargs']
    assert isinstance(top['ema'], PersistentRecord) and top['ema'].class_name == 'EDMPrecond'
    found, expected = tensors_of(top['ema']), net.state_dict()
    assert list(found) == list(expected)
    assert all(torch.equal(found[name], expected[name]) for name in expected)
    block = top['ema'].state['_modules']['model'].state['_modules']['enc'].state['_modules']['8x8_block0']
    assert type(block.state['skip_scale']) is float and block.state['skip_scale'] == 0.5**0.5


def test_reading_uses_nothing_of_the_standard_unpickler(monkeypatch):
    data = upstream_bytes(edm_content(small_network(**TINY)))

    def forbidden(*_args, **_kwargs):
        raise AssertionError('the file was handed to code that can run it')

    for module, name in (
        (pickle, 'loads'),
        (pickle, 'load'),
        (pickle, 'Unpickler'),
        (torch, 'load'),
        (torch.storage, '_load_from_bytes'),
        (torch._utils, '_rebuild_tensor_v2'),
        (persistence, '_reconstruct_persistent_obj'),
    ):
        monkeypatch.setattr(module, name, forbidden)
    assert read_snapshot(data)['ema'].class_name == 'EDMPrecond'


@pytest.mark.parametrize('dtype', list(persistence.STORAGE_CLASSES))
def test_storages_agree_with_torch(dtype):
    values = torch.tensor([0, 1, 3, 100]).to(dtype)
    with warnings.catch_warnings():
        warnings.simplefilter('ignore')  # torch announces the end of typed storages
        reference = torch.load(io.BytesIO(storage_bytes(values, dtype)), weights_only=True)
        file = io.BytesIO()
        torch.save(values.storage(), file, _use_new_zipfile_serialization=False)
        assert reference.tolist() == values.tolist() and reference.dtype == dtype
    for data in (storage_bytes(values, dtype), file.getvalue()):
        storage = read_value(Call(torch.storage._load_from_bytes, data))
        assert (storage.dtype, storage.count) == (dtype, 4)
        tensor = Call(
            torch._utils._rebuild_tensor_v2,
            Call(torch.storage._load_from_bytes, data),
            0,
            (4,),
            (1,),
            False,
            empty_hooks(),
        )
        assert torch.equal(read_value(tensor).to_tensor(), values)


@pytest.mark.parametrize(
    'size, stride, offset',
    [((2, 2), (1, 2), 0), ((2,), (2,), 1), ((), (), 3), ((0, 5), (5, 1), 0), ((4, 1), (1, 1), 0)],
)
def test_views_agree_with_torch(size, stride, offset):
    tensor = read_value(tensor_call(size, stride, offset)).to_tensor()
    reference = torch.tensor([1.0, 2.0, 3.0, 4.0]).as_strided(size, stride, offset)
    assert torch.equal(tensor, reference) and tensor.is_contiguous()
    assert tensor.untyped_storage().nbytes() == 4 * max(tensor.numel(), 0) or not reference.is_contiguous()


@pytest.mark.parametrize(
    'size, stride, offset',
    [
        ((5,), (1,), 0),
        ((4,), (1,), 1),
        ((2,), (4,), 0),
        ((4, 4), (0, 1), 0),
        ((1000,), (0,), 0),
        ((2, 2), (2,), 0),
        ((-1,), (1,), 0),
        ((4,), (-1,), 3),
        ((4.0,), (1,), 0),
        ((True,), (1,), 0),
        ((0, 10**18), (1, 1), 0),
        ((1,) * 9, (1,) * 9, 0),
        ((2**62, 2**62), (1, 1), 0),
        ([4], [1], 0),
    ],
)
def test_tensors_that_do_not_fit_their_storage_are_refused(size, stride, offset):
    with pytest.raises(PickleFormatError, match='tensor'):
        read_value(tensor_call(size, stride, offset))


def test_tensors_of_very_old_torch():
    storage = Call(torch.storage._load_from_bytes, storage_bytes([1.0, 2.0, 3.0, 4.0]))
    tensor = read_value(Call(torch._utils._rebuild_tensor, storage, 1, (3,), (1,))).to_tensor()
    assert tensor.tolist() == [2.0, 3.0, 4.0]


@pytest.mark.parametrize(
    'location, good',
    [
        ('cuda:0', True),
        ('cuda', True),
        ('cuda:15', True),
        ('mps', True),
        ('xpu:1', True),
        ('cuda:', False),
        ('meta', False),
        ('cpu:0 ', False),
        ('', False),
    ],
)
def test_the_device_of_a_storage_does_not_matter(location, good):
    data = storage_bytes([1.0, 2.0]).replace(text('cpu'), text(location))
    storage = Call(torch.storage._load_from_bytes, data)
    tensor = Call(torch._utils._rebuild_tensor_v2, storage, 0, (2,), (1,), False, empty_hooks())
    if good:
        assert read_value(tensor).to_tensor().tolist() == [1.0, 2.0]
    else:
        with pytest.raises(PickleFormatError, match='on the unknown device'):
            read_value(tensor)


def test_torch_itself_would_accept_an_oversized_tensor():
    # Why the check above is needed: the same call makes torch show memory beyond the storage.
    storage = torch.storage.TypedStorage(
        wrap_storage=torch.zeros(4).untyped_storage(), dtype=torch.float32, _internal=True
    )
    tensor = torch._utils._rebuild_tensor_v2(storage, 0, (1000,), (1,), False, OrderedDict())
    assert tensor.numel() == 1000


@pytest.mark.parametrize(
    'value',
    [
        np.float64(0.5),
        np.float32(0.25),
        np.int64(-3),
        np.uint8(7),
        np.bool_(True),
        np.float64('inf'),
        np.float16(1.5),
    ],
)
@pytest.mark.parametrize('protocol', [2, 4])
def test_numpy_scalars_become_python_numbers(value, protocol):
    found = read_value(value, protocol)
    assert found == value.item() and type(found) is type(value.item())


class Shell:
    """A class of the test: any reference to it is a foreign one."""


def hostile_values(marker):
    command = f'touch {marker}'
    scalar = np.float64(1).__reduce__()[0]
    return {
        'call': Call(os.system, command),
        'reference': os.system,
        'evaluation': Call(eval, f'open({str(marker)!r}, "w")'),
        'foreign class': Shell(),
        'nested in a dict': {'a': [{'b': Call(os.system, command)}]},
        'nested in a storage': Call(
            torch.storage._load_from_bytes,
            storage_bytes([1.0])[:15] + pickle.dumps(Call(os.system, command), protocol=2),
        ),
        'list instead of storage': Call(torch.storage._load_from_bytes, pickle.dumps([1, 2], protocol=2)),
        'zip instead of storage': Call(torch.storage._load_from_bytes, b'PK\x03\x04'),
        'array': np.zeros(3),
        'object scalar': Call(scalar, np.dtype('O'), b'x' * 8),
        'short scalar': Call(scalar, np.dtype('f8'), b'x' * 7),
        'codec': Call(__import__('_codecs').encode, 'x', 'zlib'),
        'tensor hooks': tensor_call((4,), (1,), hooks=OrderedDict(a=1)),
        'tensor type': torch.float32,
        'Sequential': torch.nn.Sequential(),
        'OrderedDict with attributes': Call(OrderedDict, state={'items': 1}),
        'container as key': {(1, 2): 3},
    }


@pytest.mark.parametrize('name', sorted(hostile_values('')))
@pytest.mark.parametrize('protocol', [2, 4])
def test_hostile_values_are_refused_and_not_run(name, protocol, tmp_path):
    marker = tmp_path / 'was_run'
    with pytest.raises(PickleError) as caught:
        read_value(hostile_values(marker)[name], protocol)
    assert '\n' not in str(caught.value) and 'byte' in str(caught.value)
    assert not marker.exists()


def test_the_refusal_names_the_reference():
    with pytest.raises(UnsafePickleError, match='which a snapshot has no use for') as caught:
        read_value(Call(os.system, 'true'))
    assert f'{os.system.__module__}.system' in str(caught.value)


def test_nested_global_is_refused_by_name():
    data = storage_bytes([1.0])[:15] + pickle.dumps(os.system, protocol=2)
    with pytest.raises(UnsafePickleError, match='system'):
        read_value(Call(torch.storage._load_from_bytes, data))


RAW_STREAMS = {
    'attributes of an allowed function': b'ctorch._utils\n_rebuild_tensor_v2\n}X\x01\x00\x00\x00aK\x01sb.',
    'attributes of an allowed class': b'ctorch.nn.modules.container\nModuleDict\n'
    b'N}X\x01\x00\x00\x00aK\x01s\x86b.',
    'attributes of a dict': b'}}X\x01\x00\x00\x00aK\x01sb.',
    'class with arguments': b'ctorch.nn.modules.container\nModuleDict\nK\x01\x85\x81.',
    'new object of a function': b'ctorch._utils\n_rebuild_tensor_v2\n)\x81.',
    'call of a module dict': b'ctorch.nn.modules.container\nModuleDict\n)R.',
    'dotted name': b'X\x0b\x00\x00\x00collectionsX\x14\x00\x00\x00OrderedDict.__init__\x93.',
    'extension registry': b'\x82\x01.',
    'persistent id': b'X\x01\x00\x00\x00aQ.',
    'instance': b'(ios\nsystem\n.',
    'protocol 6': b'\x80\x06}.',
    'empty stack': b'.',
    'nothing at all': b'',
    'pop below the mark': b'}(0.',
    'open mark': b'}(.',
    'unknown memo entry': b'h\x05.',
    'missing value': b'}X\x01\x00\x00\x00as.',
    'odd items': b'}(X\x01\x00\x00\x00au.',
    'huge bytes': b'\x8e\xff\xff\xff\xff\xff\xff\xff\x0fabc.',
    'huge integer': b'\x8a\xff' + b'\x7f' * 255 + b'.',
    'unknown operation': b'\xff.',
    'a list': b']K\x01a.',
    'numbers as keys': b'}K\x01K\x02s.',
}


@pytest.mark.parametrize('name', sorted(RAW_STREAMS))
def test_malformed_streams_are_refused(name):
    with pytest.raises(PickleError) as caught:
        read_snapshot(PROTO4 + RAW_STREAMS[name])
    assert '\n' not in str(caught.value)


def test_huge_memo_index_costs_nothing():
    data = PROTO4 + b'}r\xff\xff\xff\x7f.'  # a list of that length would take 16 GiB
    assert read_snapshot(data) == {}


@pytest.mark.parametrize(
    'change',
    [
        dict(version=5),
        dict(version=True),
        dict(version='6'),
        dict(type='function'),
        dict(module_src=None),
        dict(class_name=3),
        dict(state=[]),
        dict(extra=1),
    ],
)
def test_wrong_meta_is_refused(change):
    meta = dict(dict(type='class', version=6, module_src='', class_name='EDMPrecond', state={}), **change)
    with pytest.raises(PickleFormatError, match='persist|source text'):
        read_value(Call(persistence._reconstruct_persistent_obj, meta))


def test_wrong_version_is_named():
    meta = dict(type='class', version=7, module_src='', class_name='EDMPrecond', state={})
    with pytest.raises(PickleFormatError, match='persistence version 7 is not supported'):
        read_value(Call(persistence._reconstruct_persistent_obj, meta))


@pytest.mark.parametrize('position, value', [(-9, b'\x09'), (0, b'\x00'), (15, b'\x00')])
def test_damaged_storages_are_refused(position, value):
    data = bytearray(storage_bytes([1.0]))
    index = len(data) - 12 if position == -9 else position  # the element count before one float
    data[index : index + 1] = value
    with pytest.raises(PickleFormatError):
        read_value(Call(torch.storage._load_from_bytes, bytes(data)))


def test_a_storage_that_claims_more_than_it_has_is_refused():
    data = storage_bytes([1.0]).replace(b'K\x01Nt', b'J\xff\xff\xff\x7fNt')
    data = data[:-12] + struct.pack('<q', 2**31 - 1) + data[-4:]
    with pytest.raises(PickleFormatError, match='comes with 4 bytes'):
        read_value(Call(torch.storage._load_from_bytes, data))


def test_one_storage_used_very_often_is_refused():
    data = storage_bytes(torch.zeros(1000))
    with pytest.raises(PickleFormatError, match='larger than the file'):
        read_value([Call(torch.storage._load_from_bytes, data) for _ in range(20)])


def test_other_kinds_of_file_are_named():
    file = io.BytesIO()
    torch.save({'a': torch.zeros(1)}, file)
    with pytest.raises(PickleFormatError, match='torch zip checkpoint'):
        read_snapshot(file.getvalue())
    for data in (
        b'\x89PNG\r\n',
        b'',
        pickle.dumps({'ema': 1}, protocol=0),
        pickle.dumps({'ema': 1}, protocol=1),
    ):
        with pytest.raises(PickleFormatError, match='no pickle of protocol 2 to 5'):
            read_snapshot(data)


@pytest.mark.parametrize('protocol', [2, 4])
def test_truncation_anywhere_is_refused(protocol):
    data = upstream_bytes(edm_content(small_network(**TINY)), protocol=protocol)
    for percent in range(100):
        with pytest.raises(PickleFormatError):
            read_snapshot(data[: len(data) * percent // 100])


def test_deep_nesting_is_no_recursion():
    data = PROTO4 + b'}X\x01\x00\x00\x00a' + b']' * 100_000 + b'a' * 99_999 + b's.'
    value = read_snapshot(data)['a']
    depth = 0
    while value:
        value, depth = value[0], depth + 1
    assert depth == 99_999


NUMBERS = b']q\x00(' + b''.join(b'J' + struct.pack('<i', n) for n in range(1000)) + b'e'
PAIRS = b']q\x00(' + b''.join(b'J' + struct.pack('<i', n) + b'N\x86' for n in range(1000)) + b'e'
LONG_HEADER = storage_bytes([])[:15] + b'\x80\x02(' + b'N' * 600 + b'1' + storage_bytes([])[17:]
FEW_BYTES_ASK_FOR_MUCH = {
    'a set of a long list, again and again': NUMBERS + b'cbuiltins\nset\nq\x01' + b'h\x01h\x00\x85R' * 1000,
    'a dict of a long list, again and again': PAIRS
    + b'ccollections\nOrderedDict\nq\x01'
    + b'h\x01h\x00\x85R' * 1000,
    'bytes of a long text, again and again': (
        text('x' * 1000)
        + b'q\x00'
        + text('latin1')
        + b'\x86q\x02c_codecs\nencode\nq\x01'
        + b'h\x01h\x02R' * 1000
    ),
    'empty sets': b'\x8f' * 300_000,
    'a storage with a long header, again and again': (
        b'ctorch.storage\n_load_from_bytes\nq\x00B'
        + struct.pack('<i', len(LONG_HEADER))
        + LONG_HEADER
        + b'\x85q\x01'
        + b'h\x00h\x01R' * 1000
    ),
}


@pytest.mark.parametrize('name', sorted(FEW_BYTES_ASK_FOR_MUCH))
def test_work_is_bounded(name, monkeypatch):
    monkeypatch.setattr('torch_utils.pickle_machine.MAX_OPERATIONS', 200_000)
    with pytest.raises(
        PickleFormatError, match='more than 200000 operations|together are larger than the file'
    ):
        read_snapshot(PROTO4 + FEW_BYTES_ASK_FOR_MUCH[name] + b'.')


def test_arguments_of_operations_that_are_not_allowed_are_not_decoded():
    # The value of a decimal number costs the square of its length.
    for operation in (b'I' + b'1' * 1_000_000 + b'\n', b'\x8b' + struct.pack('<i', 10**6) + b'\x01' * 10**6):
        with pytest.raises(UnsafePickleError, match='operation (INT|LONG4) has no place'):
            read_snapshot(PROTO4 + operation + b'.')


def test_tensor_data_is_not_copied():
    data = pickle.dumps({'ema': tensor_call((100,), (1,), values=[0.0] * 100)}, protocol=4)
    assert read_snapshot(data)['ema'].storage.data.obj is data


def test_too_many_records_are_refused(monkeypatch):
    monkeypatch.setattr('torch_utils.pickle_machine.MAX_RECORDS', 50)
    with pytest.raises(PickleFormatError, match='more than 50 objects'):
        read_snapshot(upstream_bytes(edm_content(small_network(**S1))))
