# Copyright 2026 The GDD-1S authors.
# SPDX-License-Identifier: Apache-2.0
"""Tests of torch_utils/pickle_machine.py: a small file costs little, whatever it says.

What the operations do is tested with the files that need them: test_pickle_values.py, and in
tests/training/snapshots test_pickle_reader.py and test_pickle_fuzz.py.
"""

import struct
import tracemalloc

import pytest

from torch_utils import pickle_machine
from torch_utils.pickle_machine import Budget, Name, PickleError, PickleFormatError, PickleMachine
from torch_utils.pickle_values import read_plain

# A few bytes that keep the standard unpickler busy for ever, or make it take gigabytes.
BOMBS = {
    'hash of nested tuples in a set': b'N'
    + b''.join(b'\x94' + (b'h' + bytes([i])) * 2 + b'\x86' for i in range(100))
    + b'\x94\x8f(h\x64\x90.',
    'hash of nested tuples in a dict': b'N'
    + b''.join(b'\x94' + (b'h' + bytes([i])) * 2 + b'\x86' for i in range(100))
    + b'\x94}h\x64K\x01s.',
    'memo index': b'Nr\xff\xff\xff\x7f.',
    'bytes of 4 GB': b'B\xff\xff\xff\xff.',
    'bytes of 2**62': b'\x8e\xff\xff\xff\xff\xff\xff\xff\x3f.',
    'bytearray of 2**40': b'\x96\x00\x00\x00\x00\x00\x01\x00\x00.',
    'text of 4 GB': b'X\xff\xff\xff\xff.',
    'str of 2 GB': b'T\xff\xff\xff\x7f.',
    'text of 2**62': b'\x8d\xff\xff\xff\xff\xff\xff\xff\x3f.',
    'frame of 2**62': b'\x95\xff\xff\xff\xff\xff\xff\xff\x3f.',
    'decimal digits': b'I' + b'9' * 200_000 + b'\n.',
    'long of 2 GB': b'\x8b\xff\xff\xff\x7f.',
    'nested lists': b']' * 100_000 + b'a' * 99_999 + b'.',
}


@pytest.mark.parametrize('name', list(BOMBS))
def test_small_files_cost_little(name):
    tracemalloc.start()
    try:
        try:
            read_plain(b'\x80\x04' + BOMBS[name], 'a test')
        except PickleError as error:
            assert '\n' not in str(error)
        else:
            assert name in ('memo index', 'nested lists')
        assert tracemalloc.get_traced_memory()[1] < 64 << 20
    finally:
        tracemalloc.stop()


def test_the_same_bytes_again_and_again(monkeypatch):
    monkeypatch.setattr(pickle_machine, 'MAX_OPERATIONS', 20_000)
    with pytest.raises(PickleFormatError, match='more than 20000 operations'):
        read_plain(b'\x80\x04]' + b'N0' * 20_000 + b'.', 'a test')
    # latin1 text of one MiB, to be encoded a thousand times
    text = b'X' + struct.pack('<I', 1 << 20) + b'a' * (1 << 20)
    encode = b'c_codecs\nencode\nh\x00X\x06\x00\x00\x00latin1\x86R0'
    with pytest.raises(PickleFormatError, match='texts of bytes together are larger than the file'):
        read_plain(b'\x80\x04' + text + b'\x940' + encode * 1000 + b'N.', 'a test')


def run(stream, names=(), persistent_load=None):
    data = b'\x80\x04' + stream + b'.'
    return PickleMachine(
        data, dict(names), Budget(len(data)), 'a test', persistent_load=persistent_load
    ).run()


def test_names_are_what_the_caller_says():
    names = {('a', 'f'): Name(call=lambda x, y: x + y), ('a', 'C'): Name(new=dict)}
    assert run(b'ca\nf\n(K\x01K\x02tR', names) == 3
    assert run(b'ca\nC\n)\x81', names) == {}
    for stream in (b'ca\nC\n)R', b'ca\nf\n)\x81', b'ca\ng\n', b'ca\nf\n}b', b'K\x01Q'):
        with pytest.raises(PickleError, match='a test|outside the file'):
            run(stream, names)
    assert run(b'K\x05Q', persistent_load=lambda value: ('loaded', value)) == ('loaded', 5)


def test_limits_of_objects_and_memory(monkeypatch):
    monkeypatch.setattr(pickle_machine, 'MAX_RECORDS', 2)
    budget = Budget(100)
    for _ in range(2):
        budget.count_record()
    with pytest.raises(PickleFormatError, match='more than 2 objects'):
        budget.count_record()
    budget.count_bytes('tensors', 60)
    budget.count_bytes('texts', 60)
    with pytest.raises(PickleFormatError, match='the tensors together are larger than the file'):
        budget.count_bytes('tensors', 60)
