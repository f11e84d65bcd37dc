# Copyright 2026 The GDD-1S authors.
# SPDX-License-Identifier: Apache-2.0
"""Tests of reports/json_files.py: what is damaged counts as missing, and nothing is waited for."""

import os

import pytest

from reports.json_files import MAX_DEPTH, number, read_lines, read_object, typed

UNREADABLE = {
    'cut off': b'{"a"',
    'a list': b'[1]',
    'nothing': b'',
    'no UTF-8': b'\xff\xfe{}',
    'nested without end': b'[' * 100_000,
    'nested too deep': b'{"a": ' * (MAX_DEPTH + 1) + b'1' + b'}' * (MAX_DEPTH + 1),
    'an endless number': b'{"a": ' + b'9' * 5000 + b'}',
}


@pytest.mark.parametrize('name', UNREADABLE)
def test_what_cannot_be_read_counts_as_missing(name, tmp_path):
    path = tmp_path / 'a.json'
    path.write_bytes(UNREADABLE[name])
    assert read_object(str(path)) is None
    path.write_bytes(b'{"a": 1}\n' + UNREADABLE[name] + b'\n{"a": 2}\n')
    assert list(read_lines(str(path))) == [{'a': 1}, {'a': 2}]


def test_what_can_be_read(tmp_path):
    path = tmp_path / 'a.json'
    path.write_bytes(b'{"a": ' * MAX_DEPTH + b'1' + b'}' * MAX_DEPTH)
    assert list(read_object(str(path))) == ['a']


@pytest.mark.parametrize('make', [os.mkdir, os.mkfifo, lambda path: os.symlink('nowhere', path), None])
def test_what_is_no_file(make, tmp_path):
    path = str(tmp_path / 'a.json')
    if make is not None:
        make(path)
    assert read_object(path) is None and list(read_lines(path)) == []


def test_numbers():
    assert [number(value) for value in (0, -1.5, 10**99)] == [0, -1.5, 10**99]
    for value in (float('nan'), float('inf'), 1e101, 10**400, True, '1', None, [1]):
        assert number(value) is None


def test_values_of_a_type():
    content = {'a': 'x', 'b': 3}
    assert typed(content, 'a', str, '-') == 'x'
    assert typed(content, 'b', str, '-') == typed(content, 'c', str, '-') == '-'
