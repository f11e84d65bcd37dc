# Copyright 2026 The GDD-1S authors.
# SPDX-License-Identifier: Apache-2.0
"""Tests of training/adversarial/class_table.py: the official pickle in any spelling, and odd files.

More tests of tables stand in test_discriminator.py.
"""

import io
import os
import pickle
import pickletools
import struct

import numpy as np
import pytest
import torch

from tests.support.upstream_files import Call
from training.adversarial.class_table import make_class_table, read_table

SET = b'cbuiltins\nset\n'


def official_pickle(weight, protocol=3, set_name=b'cdill._dill\n_load_type\nX\x03\x00\x00\x00set\x85R'):
    """Return a pickle as the official file is one: an Embedding, whose set is spelled as dill does it."""
    module = torch.nn.Embedding.from_pretrained(weight, freeze=False)
    data = pickle.dumps({'embed': module}, protocol=protocol)
    if set_name:
        assert data.count(SET) == 1
        data = data.replace(SET, set_name)
    return data


def test_the_official_file(tmp_path, shared_dir, monkeypatch):
    expected = np.load(shared_dir / 'data/imagenet-class-embeddings-tf_efficientnet_lite0.npy')
    data = official_pickle(torch.from_numpy(expected))
    globals_ = [argument for code, argument, _ in pickletools.genops(data) if code.name == 'GLOBAL']
    assert 'dill._dill _load_type' in globals_ and 'torch.nn.modules.sparse Embedding' in globals_
    path = tmp_path / 'tf_efficientnet_lite0.pkl'
    path.write_bytes(data)

    def forbidden(*_args, **_kwargs):
        raise AssertionError('the file was handed to code that can run it')

    for module, name in (
        (pickle, 'Unpickler'),
        (pickle, 'loads'),
        (torch, 'load'),
        (torch.storage, '_load_from_bytes'),
    ):
        monkeypatch.setattr(module, name, forbidden)
    table = read_table(1000, str(path))
    assert table.dtype == torch.float32 and table.numpy().tobytes() == expected.tobytes()


@pytest.mark.parametrize('protocol', [2, 3, 4, 5])
def test_other_spellings_of_the_set(protocol, tmp_path):
    """Other versions of dill, and pickle itself."""
    weight = torch.randn(3, 4)
    names = [None]
    if protocol == 3:
        names += [b'cdill.dill\n_load_type\nX\x03\x00\x00\x00set\x85R', b'c__builtin__\nset\n']
    for name in names:
        path = tmp_path / 'table.pkl'
        path.write_bytes(official_pickle(weight, protocol, name))
        assert torch.equal(make_class_table(2, str(path)), weight[:2])


@pytest.mark.parametrize('kind', ['int', 'object', 'function', '__import__'])
def test_other_types_of_dill_are_refused(kind, tmp_path):
    path = tmp_path / 'table.pkl'
    name = b'cdill._dill\n_load_type\nX' + struct.pack('<I', len(kind)) + kind.encode() + b'\x85R'
    path.write_bytes(official_pickle(torch.zeros(3, 4), set_name=name))
    with pytest.raises(ValueError, match=f'class table .* cannot be read .*asks dill for the type {kind}'):
        read_table(3, str(path))


HOSTILE = {
    'call': pickle.dumps({'embed': Call(os.system, 'true')}),
    'nothing': pickle.dumps({}),
    'a number': pickle.dumps({'embed': 3}),
    'a list': pickle.dumps([1, 2]),
    'module without weight': pickle.dumps({'embed': Call(torch.nn.Embedding, state={})}),
    'memo index': b'\x80\x03Nr\xff\xff\xff\x7f.',
    'bytes of 4 GB': b'\x80\x03B\xff\xff\xff\xff.',
    'nested tuples in a set': b'\x80\x04N'
    + b''.join(b'\x94' + (b'h' + bytes([i])) * 2 + b'\x86' for i in range(100))
    + b'\x94\x8f(h\x64\x90.',
}


@pytest.mark.parametrize('name', list(HOSTILE))
def test_hostile_pickles_are_one_line(name, tmp_path):
    path = tmp_path / 'table.pkl'
    path.write_bytes(HOSTILE[name])
    with pytest.raises(ValueError, match='class table .* cannot be read') as caught:
        read_table(3, str(path))
    assert '\n' not in str(caught.value)


@pytest.mark.parametrize('dtype', [torch.float16, torch.bfloat16, torch.float64])
def test_other_floats(dtype, tmp_path):
    weight = torch.randn(3, 4).to(dtype)
    path = tmp_path / 'table.pkl'
    path.write_bytes(official_pickle(weight))
    assert torch.equal(read_table(3, str(path)), weight.float())


def write_zip(path):
    np.savez(path.open('wb'), np.zeros([3, 4]))


def write_whole_numbers(path):
    module = torch.nn.Embedding(1, 1)
    module.weight = torch.nn.Parameter(torch.zeros(3, 4, dtype=torch.int64), requires_grad=False)
    path.write_bytes(pickle.dumps({'embed': module}, protocol=3))


@pytest.mark.parametrize(
    'write, words',
    [
        (lambda path: path.write_bytes(pickle.dumps({'embed': 1}, protocol=0)), 'neither an .npy file nor'),
        (write_zip, 'neither an .npy file nor a pickle'),
        (lambda path: path.write_bytes(b''), 'neither an .npy file nor a pickle'),
        (write_whole_numbers, 'its Embedding holds torch.int64, which are no floats'),
    ],
)
def test_other_files_are_said_to_be_none(write, words, tmp_path):
    write(tmp_path / 'table')
    with pytest.raises(ValueError, match=words):
        read_table(3, str(tmp_path / 'table'))


def npy_with_shape(shape, values, fortran=False):
    """A file whose header says what it likes."""
    file = io.BytesIO()
    np.lib.format.write_array_header_1_0(file, dict(descr='<f8', fortran_order=fortran, shape=shape))
    return file.getvalue() + np.asarray(values, '<f8').tobytes()


@pytest.mark.parametrize('shape', [(10**6, 10**6), (2, 2), (4, 3), (0, 320)])
def test_announced_sizes_are_compared_with_the_file(shape, tmp_path):
    path = tmp_path / 'table.npy'
    path.write_bytes(npy_with_shape(shape, range(6)))
    with pytest.raises(ValueError, match=r'the header announces float64 .*, but 48 bytes follow'):
        read_table(2, str(path))


def test_order_of_the_numbers(tmp_path):
    path = tmp_path / 'table.npy'
    path.write_bytes(npy_with_shape((2, 3), range(6), fortran=True))
    assert read_table(2, str(path)).tolist() == [[0, 2, 4], [1, 3, 5]]
