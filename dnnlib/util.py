# Copyright 2026 The GDD-1S authors.
# SPDX-License-Identifier: Apache-2.0
"""Attribute dictionaries, safe file writing, logs, time texts and downloads."""

import contextlib
import glob
import hashlib
import os
import re
import secrets
import sys
import tempfile
import time
import urllib.error
import urllib.request

URL_PATTERN = re.compile(r'[a-z][a-z0-9+.-]*://')
DOWNLOAD_CHUNK_BYTES = 1 << 20


class EasyDict(dict):
    """Dictionary whose string keys are attributes as well."""

    def __getattr__(self, name):
        try:
            return self[name]
        except KeyError:
            raise AttributeError(name) from None

    def __setattr__(self, name, value):
        self[name] = value

    def __delattr__(self, name):
        try:
            del self[name]
        except KeyError:
            raise AttributeError(name) from None


class Logger:
    """Copy everything printed to stdout and stderr into a file, until close().

    Args:
        file_name:    File to write, or None to leave the streams without a file.
        file_mode:    'w' to start anew, 'a' to append (used when a run is resumed).
        should_flush: Write through at once, so that a crash loses nothing.
    """

    def __init__(self, file_name=None, file_mode='w', should_flush=True):
        self._file = open(file_name, file_mode, encoding='utf-8') if file_name is not None else None
        self._should_flush = should_flush
        self._stdout, self._stderr = sys.stdout, sys.stderr
        sys.stdout = sys.stderr = self

    def __enter__(self):
        return self

    def __exit__(self, *_exception):
        self.close()

    def __getattr__(self, name):
        # Callers ask the stream for encoding, fileno and the like: the terminal answers. Private
        # names are excluded, or a half-built Logger would look itself up for ever.
        if name.startswith('_'):
            raise AttributeError(name)
        return getattr(self._stdout, name)

    def write(self, text):
        """Write text, or UTF-8 bytes, to the file and to the original stdout."""
        if isinstance(text, bytes):
            text = text.decode('utf-8', errors='replace')
        if not text:
            return 0
        if self._file is not None:
            self._file.write(text)
        self._stdout.write(text)
        if self._should_flush:
            self.flush()
        return len(text)

    def flush(self):
        """Flush the file and the original stdout."""
        if self._file is not None:
            self._file.flush()
        self._stdout.flush()

    def close(self):
        """Give the streams back and close the file; further calls do nothing."""
        self.flush()
        if sys.stdout is self:
            sys.stdout = self._stdout
        if sys.stderr is self:
            sys.stderr = self._stderr
        if self._file is not None:
            self._file.close()
            self._file = None


@contextlib.contextmanager
def atomic_write(path):
    """Open a temporary file beside `path` and rename it to `path` once complete.

    Nobody ever sees half a file: an error, or a kill, leaves an earlier `path` as it was.

    Args:
        path: File to create or replace; its folder must exist.
    Yields:
        Binary file object.
    """
    path = os.fspath(path)
    temporary = os.path.join(os.path.dirname(path), f'.tmp-{os.getpid()}-{secrets.token_hex(6)}')
    try:
        with open(temporary, 'xb') as file:
            yield file
            file.flush()
            os.fsync(file.fileno())
        os.replace(temporary, path)
    except BaseException:
        with contextlib.suppress(FileNotFoundError):
            os.remove(temporary)
        raise


def format_time(seconds):
    """Write a duration in seconds as '5s', '1m 05s', '1h 02m 03s' or '2d 03h 04m'."""
    total = round(float(seconds))
    minutes, sec = divmod(total, 60)
    hours, minutes_left = divmod(minutes, 60)
    days, hours_left = divmod(hours, 24)
    if days:
        return f'{days}d {hours_left:02d}h {minutes_left:02d}m'
    if hours:
        return f'{hours}h {minutes_left:02d}m {sec:02d}s'
    return f'{minutes}m {sec:02d}s' if minutes else f'{sec}s'


def is_url(text):
    """Tell whether a text is a URL rather than a local path."""
    return URL_PATTERN.match(str(text)) is not None


def make_cache_dir_path(*parts):
    """Name a folder inside the download cache, without creating it.

    The base is DNNLIB_CACHE_DIR if set, else .cache/dnnlib in the home folder: EDM's own cache.

    Args:
        parts: Folder names below the base.
    Returns:
        The path.
    """
    base = os.environ.get('DNNLIB_CACHE_DIR')
    if not base:
        home = os.environ.get('HOME') or os.environ.get('USERPROFILE') or tempfile.gettempdir()
        base = os.path.join(home, '.cache', 'dnnlib')
    return os.path.join(base, *parts)


def open_url(
    url, cache_dir=None, num_attempts=4, timeout_sec=30, sha256=None, verbose=True, return_filename=False
):
    """Open a local file, or a URL through the download cache.

    A file is stored as MD5-of-the-URL_name, EDM's layout, so EDM's cache is used as well.

    Args:
        url:             Local path, file:// or http(s):// URL.
        cache_dir:       Folder for downloads; None for `make_cache_dir_path('downloads')`.
        num_attempts:    Tries, with growing pauses between them.
        timeout_sec:     Seconds without any data after which a try fails.
        sha256:          Expected hex digest of the content, or None for no check.
        verbose:         Print a line when something is downloaded.
        return_filename: Return the local path instead of an open file.
    Returns:
        Binary file object, or the path.
    Raises:
        ValueError: not reachable, wrong content, or an unsupported kind of URL.
        OSError: a local file cannot be opened.
    """
    path = str(url)
    if path.startswith('file://'):
        path = urllib.request.url2pathname(path[len('file://') :])
    elif is_url(path):
        path = _cached_download(
            path, cache_dir or make_cache_dir_path('downloads'), num_attempts, timeout_sec, verbose
        )
    if sha256 is not None:
        _require_sha256(path, sha256)
    return path if return_filename else open(path, 'rb')


def file_sha256(path):
    """Return the SHA-256 hex digest of a file."""
    digest = hashlib.sha256()
    with open(path, 'rb') as file:
        while chunk := file.read(DOWNLOAD_CHUNK_BYTES):
            digest.update(chunk)
    return digest.hexdigest()


def _require_sha256(path, expected):
    found = file_sha256(path)
    if found != expected.lower():
        raise ValueError(
            f'{path} has SHA-256 {found}, but {expected} is expected; delete the file and fetch it again'
        )


def _cached_download(url, cache_dir, num_attempts, timeout_sec, verbose):
    # The path of the cached copy; downloads it unless exactly one copy is there.
    if not re.match(r'https?://[^/]+', url):
        raise ValueError(f'{url} is not supported; use http://, https://, file:// or a local path')
    key = hashlib.md5(url.encode('utf-8'), usedforsecurity=False).hexdigest()
    cached = glob.glob(os.path.join(glob.escape(cache_dir), key + '_*'))
    if len(cached) == 1:
        return cached[0]
    if verbose:
        print(f'Downloading {url} ...', flush=True)
    os.makedirs(cache_dir, exist_ok=True)
    for attempt in range(num_attempts):
        try:
            return _download(url, cache_dir, key, timeout_sec)
        except (OSError, EOFError) as error:
            final = isinstance(error, urllib.error.HTTPError) and error.code in (401, 403, 404, 410)
            if final or attempt + 1 == num_attempts:
                raise ValueError(
                    f'{url} cannot be downloaded ({error}); download it by other means '
                    'and give the local path'
                ) from error
            time.sleep(min(2**attempt, 10))
    raise ValueError(f'num_attempts={num_attempts} must be at least 1')


def _download(url, cache_dir, key, timeout_sec):
    # One try: stream to disk, check the length, then rename into place.
    request = urllib.request.Request(url, headers={'User-Agent': 'gdd-1s'})
    with urllib.request.urlopen(request, timeout=timeout_sec) as response:
        if response.headers.get_content_type() == 'text/html':
            raise ValueError(
                f'{url} answers with a web page, not a file; download it with a browser '
                'and give the local path'
            )
        name = re.sub(r'[^0-9A-Za-z._-]', '_', response.headers.get_filename() or url)[:128]
        path = os.path.join(cache_dir, f'{key}_{name}')
        expected = response.headers.get('Content-Length')
        with atomic_write(path) as file:
            while chunk := response.read(DOWNLOAD_CHUNK_BYTES):
                file.write(chunk)
            received = file.tell()
            if received == 0 or (expected is not None and received != int(expected)):
                raise EOFError(f'received {received} of {expected or "an unknown number of"} bytes')
    return path
