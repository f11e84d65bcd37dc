# Copyright 2026 The GDD-1S authors.
# SPDX-License-Identifier: Apache-2.0
"""Tests of dnnlib/util.py: dictionaries, logs, time texts and class lookup."""

import copy
import errno
import io
import pickle
import sys

import pytest

from dnnlib import EasyDict, downloads, files, util
from dnnlib.util import Logger, format_time


def test_easy_dict():
    d = EasyDict(a=1)
    d.b = 2
    assert d['b'] == 2 and d.a == 1 and d == {'a': 1, 'b': 2}
    del d.a
    for action in (lambda: d.a, lambda: d.__delattr__('a')):
        with pytest.raises(AttributeError, match='a'):
            action()
    assert not hasattr(d, 'a') and getattr(d, 'a', 3) == 3
    for twin in (copy.deepcopy(d), pickle.loads(pickle.dumps(d))):
        assert type(twin) is EasyDict and twin == d


@pytest.mark.parametrize(
    'seconds, text',
    [
        (0, '0s'),
        (5, '5s'),
        (59.4, '59s'),
        (59.6, '1m 00s'),
        (65, '1m 05s'),
        (3599.9, '1h 00m 00s'),
        (3723, '1h 02m 03s'),
        (86399, '23h 59m 59s'),
        (86400, '1d 00h 00m'),
        (2 * 86400 + 3 * 3600 + 4 * 60 + 5, '2d 03h 04m'),
    ],
)
def test_format_time(seconds, text):
    assert format_time(seconds) == text


def test_logger(tmp_path, monkeypatch):
    screen = io.StringIO()
    monkeypatch.setattr(sys, 'stdout', screen)
    error_stream = sys.stderr
    path = tmp_path / 'log.txt'
    path.write_text('before\n')
    with Logger(str(path), 'a') as logger:
        print('hello')
        print('trouble', file=sys.stderr)
        logger.write(b'bytes \xc3\xa9\n')
        logger.write('')
        assert path.read_text(encoding='utf-8') == 'before\nhello\ntrouble\nbytes é\n'  # flushed already
        assert sys.stdout.isatty() is False
    assert sys.stdout is screen and sys.stderr is error_stream
    assert screen.getvalue() == 'hello\ntrouble\nbytes é\n'
    logger.close()


def test_logger_leaves_the_streams_of_others(monkeypatch):
    monkeypatch.setattr(sys, 'stdout', io.StringIO())
    monkeypatch.setattr(sys, 'stderr', sys.stderr)
    logger = Logger()
    other = sys.stdout = io.StringIO()
    logger.close()
    assert sys.stdout is other


def test_a_log_takes_every_path_and_is_named_when_the_disk_is_full(tmp_path, monkeypatch):
    monkeypatch.setattr(sys, 'stdout', io.StringIO())
    monkeypatch.setattr(sys, 'stderr', sys.stderr)
    path = str(tmp_path / 'log.txt')
    logger = Logger(path)
    print('caf\udce9')
    assert open(path, encoding='utf-8').read() == 'caf\\udce9\n'
    logger._file = Full(path)
    with pytest.raises(OSError) as raised:
        print('more')
    assert raised.value.filename == path
    with pytest.raises(OSError):
        logger.close()
    assert sys.stdout is not logger  # all the same


class Full:
    def __init__(self, name):
        self.name = name

    def write(self, _text=''):
        raise OSError(errno.ENOSPC, 'No space left on device')

    close = write


def test_names_that_edm_keeps_here():
    assert util.open_url is downloads.open_url and util.make_cache_dir_path is downloads.make_cache_dir_path
    assert util.is_url is downloads.is_url and util.atomic_write is files.atomic_write
