# Copyright 2026 The GDD-1S authors.
# SPDX-License-Identifier: Apache-2.0
"""Tests of dnnlib/downloads.py with a server on loopback that misbehaves: nothing bad enters the cache."""

import contextlib
import gzip
import hashlib
import os
import socketserver
import threading
import time

import pytest

from dnnlib.downloads import is_url, make_cache_dir_path, open_url
from dnnlib.errors import ArgumentError

BODY = b'\x80\xffsmall'
OK = b'HTTP/1.1 200 OK\r\nContent-Type: application/octet-stream\r\n'
ERROR = b'Quota exceeded for this file, come back tomorrow.\n'


def answer(body, *headers):
    return (
        OK
        + b''.join(header + b'\r\n' for header in (b'Content-Length: %d' % len(body), *headers))
        + b'\r\n'
        + body
    )


# Path -> what the server sends before it closes the connection.
ANSWERS = {
    '/good.pkl': answer(BODY),
    '/my%20file.pkl': answer(BODY),
    '/named': answer(BODY, b'Content-Disposition: attachment; filename="a b!.pkl"'),
    '/../up': answer(BODY, b'Content-Disposition: attachment; filename="../../up.pkl"'),
    '/list.txt': answer(ERROR),
    '/unknown-length': OK + b'\r\n' + BODY,
    '/chunked': OK + b'Transfer-Encoding: chunked\r\n\r\n7\r\n' + BODY + b'\r\n0\r\n\r\n',
    '/encoded': answer(gzip.compress(BODY), b'Content-Encoding: gzip'),
    '/moved': b'HTTP/1.1 302 Found\r\nConnection: close\r\nLocation: /good.pkl\r\nContent-Length: 0\r\n\r\n',
}
# Path -> the same, words of the error, and number of tries out of 2.
BAD = {
    '/missing': (b'HTTP/1.1 404 Not Found\r\nContent-Length: 0\r\n\r\n', '404 Not Found', 1),
    '/forbidden': (b'HTTP/1.1 403\r\nContent-Length: 0\r\n\r\n', 'status 403', 1),
    '/overload': (b'HTTP/1.1 503 Busy\r\nContent-Length: 0\r\n\r\n', '503 Busy', 2),
    '/too-many': (b'HTTP/1.1 429 Slow Down\r\nContent-Length: 0\r\n\r\n', '429', 2),
    '/part': (b'HTTP/1.1 206 Partial\r\nContent-Length: 7\r\n\r\n' + BODY, '206', 2),
    '/page': (
        OK.replace(b'application/octet-stream', b'text/HTML; charset=utf-8') + b'\r\n<p>',
        'web page',
        1,
    ),
    '/hidden-page.pkl': (answer(b'\n<!DOCTYPE html><p>Sign in'), 'web page', 1),
    '/error.npz': (answer(ERROR), 'a text that begins with', 1),
    '/short': (OK + b'Content-Length: 8\r\n\r\n' + BODY, 'received 7 of 8 bytes', 2),
    '/cut': (OK + b'Transfer-Encoding: chunked\r\n\r\n100000\r\nonly a part', 'cut off', 2),
    '/bad-chunk': (OK + b'Transfer-Encoding: chunked\r\n\r\nxyz\r\n\x80', 'cut off', 2),
    '/bad-length': (OK + b'Content-Length: many\r\n\r\n' + BODY, "unusable Content-Length 'many'", 2),
    '/negative-length': (OK + b'Content-Length: -3\r\n\r\n' + BODY, "unusable Content-Length '-3'", 2),
    '/empty': (answer(b''), 'empty', 2),
    '/silent': (b'', '', 2),
    '/no-http': (b'SSH-2.0-OpenSSH\r\n', '', 2),
    '/bad-gzip': (answer(BODY, b'Content-Encoding: gzip'), '', 2),
    '/circle': (
        b'HTTP/1.1 302 Found\r\nConnection: close\r\nLocation: /circle\r\nContent-Length: 0\r\n\r\n',
        'redirects',
        31 * 2,
    ),
    '/to-file': (
        b'HTTP/1.1 302 Found\r\nConnection: close\r\nLocation: file:///x\r\nContent-Length: 0\r\n\r\n',
        '',
        1,
    ),
}

# Path -> what the server sends at once, and the byte that it sends now and then from there on.
DRIPPING = {
    '/slow-body': (OK + b'Content-Length: 1000000\r\n\r\n', b'\x80'),
    '/slow-chunks': (OK + b'Transfer-Encoding: chunked\r\n\r\n', b'1\r\n\x80\r\n'),
    '/slow-headers': (OK, b'x'),
}


class Handler(socketserver.StreamRequestHandler):
    def handle(self):
        path = self.rfile.readline().split()[1].decode()
        while self.rfile.readline().strip():
            pass
        self.server.requests.append(path)
        if path in DRIPPING:
            self.drip(*DRIPPING[path])
        if path == '/again' and len(self.server.requests) < 3:
            path = '/overload'
        self.wfile.write(BAD[path][0] if path in BAD else ANSWERS.get(path, answer(BODY)))

    def drip(self, start, byte):
        with contextlib.suppress(OSError):  # the other side gives up
            self.wfile.write(start)
            for _ in range(200):
                self.wfile.write(byte)
                time.sleep(0.02)


@pytest.fixture(scope='module')
def running():
    with socketserver.ThreadingTCPServer(('127.0.0.1', 0), Handler) as instance:
        instance.daemon_threads = True
        threading.Thread(target=instance.serve_forever, kwargs={'poll_interval': 0.02}, daemon=True).start()
        yield instance
        instance.shutdown()


@pytest.fixture
def server(running, monkeypatch):
    monkeypatch.setattr('dnnlib.downloads._pause', lambda _seconds: None)
    for name in ('http_proxy', 'HTTP_PROXY', 'all_proxy', 'ALL_PROXY'):
        monkeypatch.delenv(name, raising=False)
    running.requests = []
    running.url = f'http://127.0.0.1:{running.server_address[1]}'
    return running


@pytest.fixture
def cache(tmp_path):
    return str(tmp_path / 'cache')


def test_is_url():
    assert is_url('https://a.b/c') and is_url('file:///a') and not is_url('a/b.pkl') and not is_url('C://a')


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
    with pytest.raises(ArgumentError, match='has SHA-256 .* is expected; delete the file'):
        open_url(str(path), sha256='0' * 64)
    with pytest.raises(FileNotFoundError):
        open_url(str(tmp_path / 'missing'))
    for url in ('s3://bucket/key', 'http:///x', 'ftp://a/b'):
        with pytest.raises(ArgumentError, match='not supported'):
            open_url(url)
    os.mkfifo(tmp_path / 'pipe')
    with pytest.raises(ArgumentError, match='is a pipe'):
        open_url(str(tmp_path / 'pipe'))


def test_download_once_then_use_the_cache(server, cache, capsys):
    url = server.url + '/named'
    path = open_url(url, cache_dir=cache, return_filename=True)
    key = hashlib.md5(url.encode()).hexdigest()
    assert os.listdir(cache) == [f'{key}_a_b_.pkl'] and path == os.path.join(cache, f'{key}_a_b_.pkl')
    with open_url(url, cache_dir=cache) as file:
        assert file.read() == BODY  # small binary files are fine
    assert server.requests == ['/named'] and capsys.readouterr().out.count('Downloading') == 1


@pytest.mark.parametrize(
    'path', ['/good.pkl', '/my file.pkl', '/unknown-length', '/chunked', '/encoded', '/moved']
)
def test_good_answers(path, server, cache):
    url = server.url + path
    with open_url(url, cache_dir=cache, num_attempts=1, verbose=False) as file:
        assert file.read() == BODY
    assert os.listdir(cache)[0].startswith(hashlib.md5(url.encode()).hexdigest() + '_http___127')


def test_texts_may_be_meant_and_names_stay_in_the_cache(server, cache):
    with open_url(server.url + '/list.txt', cache_dir=cache, verbose=False) as file:
        assert file.read() == ERROR
    path = open_url(server.url + '/../up', cache_dir=cache, verbose=False, return_filename=True)
    assert os.path.dirname(path) == cache


@pytest.mark.parametrize('path', BAD)
def test_bad_answers_are_one_line_and_leave_nothing(path, server, cache):
    _answer, words, tries = BAD[path]
    with pytest.raises(ArgumentError) as raised:
        open_url(server.url + path, cache_dir=cache, num_attempts=2, timeout_sec=10, verbose=False)
    message = str(raised.value)
    assert message.startswith(f'{server.url}{path} cannot be downloaded (') and words in message
    assert message.endswith('); download it by other means and give the local path')
    assert '\n' not in message and len(message) < 400
    assert os.listdir(cache) == [] and server.requests.count(path) == tries


def test_passing_trouble_is_tried_again(server, cache):
    open_url(server.url + '/again', cache_dir=cache, verbose=False).close()
    assert server.requests == ['/again'] * 3
    with pytest.raises(ArgumentError, match='at least 1'):
        open_url(server.url + '/new', cache_dir=cache, num_attempts=0)


def test_content_with_another_hash_never_enters(server, cache):
    with pytest.raises(ArgumentError, match=f'SHA-256 {hashlib.sha256(BODY).hexdigest()}, but 000'):
        open_url(server.url + '/good.pkl', cache_dir=cache, sha256='0' * 64, verbose=False)
    assert os.listdir(cache) == []


def test_nobody_answers(server, cache):
    with pytest.raises(ArgumentError, match=r'cannot be downloaded \(Connection refused\)'):
        open_url('http://127.0.0.1:9/x.pkl', cache_dir=cache, num_attempts=1, verbose=False)
    for url in ('http://[::1/x', 'http://a..b/x', 'http://user:pw@:80/x', 'http://127.0.0.1:99999/x'):
        with pytest.raises(ArgumentError, match='cannot be downloaded'):
            open_url(url, cache_dir=cache, num_attempts=1, verbose=False)


@pytest.mark.parametrize(
    'content, words', [(b'', 'empty'), (b'<html>', 'a web page'), (ERROR, 'a text that begins')]
)
def test_a_bad_file_in_the_cache_is_named(content, words, server, cache):
    url = server.url + '/good.pkl'
    path = open_url(url, cache_dir=cache, verbose=False, return_filename=True)
    with open(path, 'wb') as file:
        file.write(content)
    with pytest.raises(ArgumentError) as raised:
        open_url(url, cache_dir=cache)
    assert str(raised.value).startswith(f'{path}, the cached copy of {url}, is {words}')
    assert 'delete it' in str(raised.value)


@pytest.mark.parametrize('path', DRIPPING)
def test_a_dripping_server_is_given_up(path, server, cache, monkeypatch):
    monkeypatch.setattr('dnnlib.downloads._RATE_SEC', 0.2)
    with pytest.raises(ArgumentError, match=r'cannot be downloaded \(too slow: .* in 0.2 s'):
        open_url(server.url + path, cache_dir=cache, num_attempts=1, timeout_sec=0.2, verbose=False)
    assert os.listdir(cache) == []


def test_a_full_disk_is_not_blamed_on_the_server(server, cache, monkeypatch):
    def refuse(_descriptor):
        raise OSError(28, 'No space left on device')

    monkeypatch.setattr('dnnlib.files.os.fsync', refuse)
    with pytest.raises(OSError) as raised:
        open_url(server.url + '/good.pkl', cache_dir=cache, verbose=False)
    assert (
        raised.value.filename.startswith(cache)
        and server.requests == ['/good.pkl']
        and os.listdir(cache) == []
    )
