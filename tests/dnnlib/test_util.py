# Copyright 2026 The GDD-1S authors.
# SPDX-License-Identifier: Apache-2.0
"""Tests of dnnlib/util.py: dictionaries, files, logs, downloads and class lookup, all local."""

import copy
import hashlib
import http.server
import io
import os
import pickle
import stat
import sys
import threading

import pytest

from dnnlib import EasyDict
from dnnlib.util import Logger, atomic_write, file_sha256, format_time, is_url, make_cache_dir_path, open_url


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


def test_atomic_write(tmp_path):
    path = tmp_path / 'a.bin'
    with atomic_write(path) as file:
        file.write(b'new')
        assert not path.exists() and len(os.listdir(tmp_path)) == 1
    assert path.read_bytes() == b'new' and os.listdir(tmp_path) == ['a.bin']
    mask = os.umask(0)
    os.umask(mask)
    assert stat.S_IMODE(path.stat().st_mode) == 0o666 & ~mask  # as an ordinary file, not private


@pytest.mark.parametrize('error', [ValueError, KeyboardInterrupt])
def test_atomic_write_keeps_the_old_file_on_errors(error, tmp_path):
    path = tmp_path / 'a.bin'
    path.write_bytes(b'old')
    with pytest.raises(error):
        with atomic_write(str(path)) as file:
            file.write(b'half')
            raise error
    assert path.read_bytes() == b'old' and os.listdir(tmp_path) == ['a.bin']


def test_atomic_write_in_the_current_folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with atomic_write('a.bin') as file:
        file.write(b'x')
    assert os.listdir() == ['a.bin']
    with pytest.raises(FileNotFoundError):
        with atomic_write('missing/a.bin'):
            pass


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


def test_cache_folder(monkeypatch, tmp_path):
    monkeypatch.setenv('DNNLIB_CACHE_DIR', str(tmp_path))
    assert make_cache_dir_path('downloads') == str(tmp_path / 'downloads')
    monkeypatch.delenv('DNNLIB_CACHE_DIR')
    monkeypatch.setenv('HOME', '/home/somebody')
    assert make_cache_dir_path('a', 'b') == os.path.join('/home/somebody', '.cache', 'dnnlib', 'a', 'b')
    monkeypatch.delenv('HOME')
    monkeypatch.setenv('USERPROFILE', '/users/somebody')
    assert make_cache_dir_path() == os.path.join('/users/somebody', '.cache', 'dnnlib')


def test_open_local_files(tmp_path):
    path = tmp_path / 'a b.bin'
    path.write_bytes(b'content')
    for name in (str(path), path.as_uri()):
        assert open_url(name, return_filename=True) == str(path)
        with open_url(name, sha256=hashlib.sha256(b'content').hexdigest().upper()) as file:
            assert file.read() == b'content'
    assert file_sha256(path) == hashlib.sha256(b'content').hexdigest()
    with pytest.raises(ValueError, match='has SHA-256 .* is expected; delete the file'):
        open_url(str(path), sha256='0' * 64)
    with pytest.raises(FileNotFoundError):
        open_url(str(tmp_path / 'missing'))
    with pytest.raises(ValueError, match='not supported'):
        open_url('s3://bucket/key')


def test_is_url():
    assert is_url('https://a.b/c') and is_url('file:///a') and not is_url('a/b.pkl') and not is_url('C://a')


class Handler(http.server.BaseHTTPRequestHandler):
    """Serve small answers; `requests` counts them, `failures` is the number of errors to give first."""

    requests = []
    failures = 0

    def do_GET(self):
        cls = type(self)
        cls.requests.append(self.path)
        if self.path == '/missing' or cls.failures > 0:
            cls.failures -= 1
            self.send_error(404 if self.path == '/missing' else 503)
            return
        body = b'\x80\xffsmall'
        self.send_response(200)
        self.send_header('Content-Type', 'text/html' if self.path == '/page' else 'application/octet-stream')
        self.send_header('Content-Length', str(len(body) + (self.path == '/short')))
        if self.path == '/named':
            self.send_header('Content-Disposition', 'attachment; filename="a b!.pkl"')
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_args):
        pass


@pytest.fixture
def server(monkeypatch):
    monkeypatch.setattr('time.sleep', lambda _seconds: None)
    monkeypatch.setattr(Handler, 'requests', [])
    monkeypatch.setattr(Handler, 'failures', 0)
    for name in ('http_proxy', 'HTTP_PROXY', 'all_proxy', 'ALL_PROXY'):
        monkeypatch.delenv(name, raising=False)
    instance = http.server.ThreadingHTTPServer(('127.0.0.1', 0), Handler)
    threading.Thread(target=instance.serve_forever, kwargs={'poll_interval': 0.02}, daemon=True).start()
    yield f'http://127.0.0.1:{instance.server_address[1]}'
    instance.shutdown()
    instance.server_close()


def test_download_once_then_use_the_cache(server, tmp_path, capsys):
    cache = str(tmp_path / 'cache')
    url = server + '/named'
    path = open_url(url, cache_dir=cache, return_filename=True)
    key = hashlib.md5(url.encode()).hexdigest()
    assert os.listdir(cache) == [f'{key}_a_b_.pkl'] and path == os.path.join(cache, f'{key}_a_b_.pkl')
    with open_url(url, cache_dir=cache) as file:
        assert file.read() == b'\x80\xffsmall'  # small binary files are fine
    assert Handler.requests == ['/named'] and capsys.readouterr().out.count('Downloading') == 1


def test_download_errors(server, tmp_path):
    cache = str(tmp_path / 'cache')
    Handler.failures = 2
    open_url(server + '/again', cache_dir=cache, verbose=False).close()
    assert Handler.requests == ['/again'] * 3
    Handler.requests.clear()
    for page, text, tries in (
        ('/missing', '404', 1),
        ('/short', 'received 7 of 8 bytes', 2),
        ('/page', 'a web page', 1),
    ):
        with pytest.raises(ValueError, match=text):
            open_url(server + page, cache_dir=cache, num_attempts=2, verbose=False)
        assert Handler.requests.count(page) == tries
    assert len(os.listdir(cache)) == 1  # nothing half-finished is left
    with pytest.raises(ValueError, match='at least 1'):
        open_url(server + '/new', cache_dir=cache, num_attempts=0)
