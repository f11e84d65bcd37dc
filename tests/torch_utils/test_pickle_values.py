# Copyright 2026 The GDD-1S authors.
# SPDX-License-Identifier: Apache-2.0
"""Tests of torch_utils/pickle_values.py: values and arrays of any writer, and sizes that fit the bytes."""

import io
import math
import os
import pickle

import numpy as np
import pytest
import torch

from tests.support.upstream_files import Call
from torch_utils.pickle_machine import PickleError, PickleFormatError, UnsafePickleError
from torch_utils.pickle_values import ArrayRecord, TensorRecord, read_plain

ARRAYS = [
    np.arange(6, dtype=np.uint8).reshape(2, 3),
    np.arange(6, dtype=np.float64).reshape(3, 2).T,  # Fortran order
    np.float32([1.5]),
    np.array(2.5),
    np.zeros([0, 4], np.int64),
    np.arange(3, dtype='>i4'),
    np.array([True, False]),
]


def read(value, protocol=4):
    return read_plain(pickle.dumps(value, protocol=protocol), 'a test')


@pytest.mark.parametrize('protocol', [2, 3, 4, 5])
@pytest.mark.parametrize('array', ARRAYS, ids=lambda array: f'{array.dtype.str}{list(array.shape)}')
def test_arrays_of_every_protocol(array, protocol):
    record = read({'a': [array]}, protocol)['a'][0]
    assert isinstance(record, ArrayRecord) and (record.shape, record.dtype) == (array.shape, array.dtype)
    np.testing.assert_array_equal(record.to_array(), array, strict=True)


def test_arrays_of_numpy_1():
    data = pickle.dumps({'a': ARRAYS[0]}, protocol=3).replace(b'numpy._core', b'numpy.core')
    np.testing.assert_array_equal(read_plain(data, 'a test')['a'].to_array(), ARRAYS[0])


def test_plain_values_and_numbers():
    value = {
        'fid': {'n': 3, 'x': (1.5, None, True, b'ab', 'text')},
        7: [np.float64(0.5), np.int32(-4)],
        's': {1, 2},
    }
    assert read(value, 3) == {**value, 7: [0.5, -4]}


def test_texts_and_arrays_of_python_2():
    """As in CIFAR-10: str are bytes there, also those of an array."""

    def string(text):
        return b'U' + bytes([len(text)]) + text

    dtype = (
        b'cnumpy\ndtype\n('
        + string(b'u1')
        + b'K\x00K\x01tR(K\x03'
        + string(b'|')
        + b'NNNJ\xff\xff\xff\xffJ\xff\xff\xff\xffK\x00tb'
    )
    empty = b'cnumpy.core.multiarray\n_reconstruct\n(cnumpy\nndarray\n(K\x00t' + string(b'b') + b'tR'
    state = (
        b'(K\x01(K\x02K\x03t' + dtype + b'\x89T\x06\x00\x00\x00' + bytes([0, 1, 127, 128, 255, 10]) + b'tb'
    )
    data = b'\x80\x02}(' + string(b'data') + empty + state + string(b'labels') + b']K\x05au.'
    expected = pickle.loads(data, encoding='latin1')
    found = read_plain(data, 'a test')
    assert found['labels'] == expected['labels'] == [5]
    np.testing.assert_array_equal(found['data'].to_array(), expected['data'])
    assert found['data'].to_array().tolist() == [[0, 1, 127], [128, 255, 10]]


def array_call(shape, data, code='f8', fortran=False):
    """An array whose state says what it likes."""
    reconstruct, arguments, _ = np.zeros(1).__reduce__()
    return Call(reconstruct, *arguments, state=(1, shape, np.dtype(code), fortran, data))


@pytest.mark.parametrize(
    'value, text',
    [
        (array_call((1 << 40,), b'x' * 8), 'shape of an array'),
        (array_call((100, 100), b'x' * 8), 'comes with 8 bytes'),
        (array_call((1,), b'x' * 16), 'comes with 16 bytes'),
        (array_call((-1,), b''), 'shape of an array'),
        (array_call((True,), b'x' * 8), 'shape of an array'),
        (array_call((1,) * 9, b'x' * 8), 'shape of an array'),
        (array_call([1], b'x' * 8), 'shape of an array'),
        (array_call((1,), 3), 'an array needs a number type and bytes'),
        (np.array(['text']), 'numpy type U4 is not one of'),
        (np.array([{}], dtype=object), 'numpy type O8 is not one of'),
        (np.zeros(2, dtype=[('a', 'f4')]), 'numpy type V4 is not one of'),
        (np.array(['2020-01-01'], dtype='M8[D]'), 'numpy type M8 is not one of'),
        ({(1, 2): 3}, 'tuple is used as a key'),
        ({1: {frozenset([1])}}, 'FROZENSET'),
        (os.system, 'system, which a test has no use for'),
        ([Call(os.system, 'true')], 'system, which a test has no use for'),
        (1 << 100, 'integer is too large'),
        (torch.zeros(2), 'torch'),
    ],
)
def test_what_is_refused(value, text):
    with pytest.raises(PickleError, match=text) as caught:
        read(value)
    assert '\n' not in str(caught.value)


def test_tensors_only_where_they_are_wanted():
    module = torch.nn.Embedding(3, 2)
    data = pickle.dumps({'embed': module}, protocol=3)
    with pytest.raises(UnsafePickleError, match='which a test has no use for'):
        read_plain(data, 'a test')
    weight = read_plain(data, 'a test', embedding=True)['embed'].state['_parameters']['weight']
    assert isinstance(weight, TensorRecord) and torch.equal(weight.to_tensor(), module.weight)


def test_no_pickle():
    for data in (b'', b'PK\x03\x04', b'(dp0\n.', b'text'):
        with pytest.raises(PickleFormatError, match='so it is not a test'):
            read_plain(data, 'a test')


def test_every_cut_is_noticed():
    buffer = io.BytesIO()
    pickle.dump({'mu': np.arange(4.0), 'n': 3}, buffer, protocol=4)
    data = buffer.getvalue()
    for length in range(2, len(data)):
        with pytest.raises(PickleError):
            read_plain(data[:length], 'a test')
    assert math.prod(read_plain(data, 'a test')['mu'].shape) == 4
