# Copyright 2026 The GDD-1S authors.
# SPDX-License-Identifier: Apache-2.0
"""Files from the web, kept in EDM's download cache; only complete and plausible ones enter it."""

import email.message
import glob
import hashlib
import os
import queue
import re
import tempfile
import threading
import time
import urllib.parse
import urllib.request
from typing import Any, BinaryIO

from dnnlib.errors import ArgumentError
from dnnlib.files import atomic_write, file_sha256, refuse_special_file
from dnnlib.os_errors import underlying_os_error

URL_PATTERN = re.compile(r'[a-z][a-z0-9+.-]*://')
_CHUNK_BYTES = 1 << 20
_HEAD_BYTES = 1 << 10
# A server that sends less than this within a minute, a byte now and then, is given up.
_RATE_SEC, _RATE_BYTES = 60, 60 << 10
_BINARY_EXTENSIONS = ('.pkl', '.pickle', '.npz', '.npy', '.zip', '.pt', '.pth', '.safetensors', '.gz', '.h5')
_PAGE = re.compile(rb'\s*<(!doctype|html|head|\?xml)', re.IGNORECASE)
_TEXT = re.compile(rb'[\t\n\r\x20-\x7e]*')
_PASSING = (408, 425, 429)  # the only answers 4xx after which another try can help
_pause = time.sleep
_HELP = 'download it by other means and give the local path'


class _TryError(Exception):
    """One try has failed; the message says why."""

    def __init__(self, reason: str, final: bool = False) -> None:
        super().__init__(reason)
        self.final = final


def is_url(text: object) -> bool:
    """Tell whether a text is a URL rather than a local path."""
    return URL_PATTERN.match(str(text)) is not None


def make_cache_dir_path(*parts: str) -> str:
    """Name a folder inside the download cache, without creating it.

    The base is DNNLIB_CACHE_DIR if set, else .cache/dnnlib in the home folder: EDM's own cache.

    Args:
        parts: Folder names below the base.
    """
    base = os.environ.get('DNNLIB_CACHE_DIR')
    if not base:
        home = os.environ.get('HOME') or os.environ.get('USERPROFILE') or tempfile.gettempdir()
        base = os.path.join(home, '.cache', 'dnnlib')
    return os.path.join(base, *parts)


def open_url(
    url: str | os.PathLike,
    cache_dir: str | None = None,
    num_attempts: int = 4,
    timeout_sec: float = 30,
    sha256: str | None = None,
    verbose: bool = True,
    return_filename: bool = False,
) -> BinaryIO | str:
    """Open a local file, or a URL through the download cache.

    A file is stored as MD5-of-the-URL_name, EDM's layout, so EDM's cache is used as well.

    Args:
        url:             Local path, file:// or http(s):// URL.
        cache_dir:       Folder for downloads; None for `make_cache_dir_path('downloads')`.
        num_attempts:    Tries, with growing pauses between them.
        timeout_sec:     Seconds without any data after which a try fails; it also fails where less than
                         60 KiB come within a minute.
        sha256:          Expected hex digest of the content, or None for no check.
        verbose:         Print a line when something is downloaded.
        return_filename: Return the local path instead of an open file.
    Returns:
        Binary file object, or the path.
    Raises:
        ArgumentError: Not reachable, wrong content, an unsupported kind of URL, or a pipe or device.
        OSError: A local file cannot be opened, or the cache cannot be written.
    """
    path = str(url)
    if path.startswith('file://'):
        path = urllib.request.url2pathname(path[len('file://') :])
    elif is_url(path):
        cache_dir = cache_dir or make_cache_dir_path('downloads')
        path = _cached_download(path, cache_dir, num_attempts, timeout_sec, sha256, verbose)
    refuse_special_file(path)
    if sha256 is not None:
        _require_sha256(path, sha256)
    return path if return_filename else open(path, 'rb')


def _require_sha256(path: str, expected: str) -> None:
    found = file_sha256(path)
    if found != expected.lower():
        raise ArgumentError(
            f'{path} has SHA-256 {found}, but {expected} is expected; delete the file and fetch it again'
        )


def _cached_download(
    url: str, cache_dir: str, num_attempts: int, timeout_sec: float, sha256: str | None, verbose: bool
) -> str:
    # The path of the cached copy; downloads it unless exactly one copy is there.
    if not re.match(r'https?://[^/]+', url):
        raise ArgumentError(f'{url} is not supported; use http://, https://, file:// or a local path')
    if num_attempts < 1:
        raise ArgumentError(f'num_attempts={num_attempts} must be at least 1')
    key = hashlib.md5(url.encode('utf-8', errors='surrogateescape'), usedforsecurity=False).hexdigest()
    cached = glob.glob(os.path.join(glob.escape(cache_dir), key + '_*'))
    if len(cached) == 1:
        _require_plausible_copy(cached[0], url)
        return cached[0]
    if verbose:
        print(f'Downloading {url} ...', flush=True)
    os.makedirs(cache_dir, exist_ok=True)
    for attempt in range(num_attempts):
        try:
            return _download(url, os.path.join(cache_dir, key), timeout_sec, sha256)
        except _TryError as error:
            if error.final or attempt + 1 == num_attempts:
                raise ArgumentError(f'{url} cannot be downloaded ({error}); {_HELP}') from error
        _pause(min(2**attempt, 10))
    raise AssertionError('unreachable')


def _require_plausible_copy(path: str, url: str) -> None:
    # Other programs that share the cache may have stored error pages and broken files.
    with open(path, 'rb') as file:
        problem = _describe_wrong_content(file.read(_HEAD_BYTES), url)
    if problem:
        raise ArgumentError(f'{path}, the cached copy of {url}, is {problem}; delete it and try again')


def _describe_wrong_content(head: bytes, url: str) -> str | None:
    """Return what the beginning of a file shows it to be, where that cannot be meant; None where it can."""
    if not head:
        return 'empty'
    if _PAGE.match(head):
        return 'a web page, not a file'
    binary = urllib.parse.urlsplit(url).path.lower().endswith(_BINARY_EXTENSIONS)
    if binary and _TEXT.fullmatch(head):
        return f'a text that begins with {head[:60].decode("ascii")!r}'
    return None


def _download(url: str, prefix: str, timeout_sec: float, sha256: str | None) -> str:
    # One try: stream to disk, check, then rename into place.
    import requests  # slow to import, and needed here only
    import urllib3

    try:
        with _request(url, timeout_sec) as response:
            expected = _check_answer(response)
            path = f'{prefix}_{_safe_name(response.headers.get("Content-Disposition"), url)}'
            with atomic_write(path) as file:
                _receive(response, file, expected, url, sha256)
            return path
    # UnicodeError: impossible host names.
    except (requests.RequestException, urllib3.exceptions.HTTPError, UnicodeError) as error:
        raise _TryError(_reason(error), isinstance(error, ValueError)) from error


def _check_answer(response: Any) -> int | None:
    """Return the announced number of bytes, None if unknown; raise _TryError where this cannot be a file."""
    status, kind = response.status_code, response.headers.get('Content-Type', '')
    if status != 200:
        words = ' '.join(f'status {status} {response.reason or ""}'.split())[:100]
        raise _TryError(words, final=400 <= status < 500 and status not in _PASSING)
    if kind.split(';')[0].strip().lower() == 'text/html':
        raise _TryError('the answer is a web page, not a file', final=True)
    length = response.headers.get('Content-Length')
    if length is not None and not re.fullmatch(r'[0-9]{1,18}', length.strip()):
        raise _TryError(f'the answer has an unusable Content-Length {length[:40]!r}')
    return None if length is None else int(length)


def _receive(response: Any, file: BinaryIO, expected: int | None, url: str, sha256: str | None) -> None:
    """Copy the body of an answer to a file, and raise _TryError unless all of it came and is plausible."""
    import urllib3

    head, digest, whole = b'', hashlib.sha256(), True
    start, before = time.monotonic(), 0
    try:
        # read1 returns what has come; the other ways wait until a whole piece is there.
        while chunk := response.raw.read1(_CHUNK_BYTES, decode_content=True):
            file.write(chunk)
            digest.update(chunk)
            head += chunk[: _HEAD_BYTES - len(head)]
            if time.monotonic() - start >= _RATE_SEC:
                _require_rate(response.raw.tell() - before)
                start, before = time.monotonic(), response.raw.tell()
    except (urllib3.exceptions.ProtocolError, urllib3.exceptions.ReadTimeoutError):
        whole = False
    received = response.raw.tell()  # before any decoding
    if not whole and expected is None:
        raise _TryError('the answer was cut off')
    if not whole or (expected is not None and received != expected):
        raise _TryError(f'received {received} of {expected} bytes')
    problem = _describe_wrong_content(head, url)
    if problem:
        raise _TryError(f'the answer is {problem}', final=bool(head))
    if sha256 is not None and digest.hexdigest() != sha256.lower():
        raise _TryError(f'it has SHA-256 {digest.hexdigest()}, but {sha256} is expected', final=True)


def _require_rate(received: int) -> None:
    if received < _RATE_BYTES:
        raise _TryError(
            f'too slow: {received} bytes in {_RATE_SEC:g} s, but at least {_RATE_BYTES} must come'
        )


def _request(url: str, timeout_sec: float) -> Any:
    """Return the answer to a request as soon as its headers are there.

    `requests` bounds the silence between two bytes, not the whole: a server that sends a byte of its headers
    now and then would never be given up, so that a thread waits for it, which ends with the program.
    """
    import requests

    answers = queue.SimpleQueue()

    def ask() -> None:
        headers = {'User-Agent': 'gdd-1s', 'Accept-Encoding': 'identity'}
        try:
            answers.put(requests.get(url, stream=True, timeout=timeout_sec, headers=headers))
        except Exception as error:  # travels to the thread that waits
            answers.put(error)

    threading.Thread(target=ask, daemon=True).start()
    try:
        answer = answers.get(timeout=max(_RATE_SEC, timeout_sec))
    except queue.Empty:
        raise _TryError(f'too slow: no complete answer in {max(_RATE_SEC, timeout_sec):g} s') from None
    if isinstance(answer, Exception):
        raise answer
    return answer


def _safe_name(disposition: str | None, url: str) -> str:
    """Return EDM's name of a downloaded file: that of the server, else the URL, in harmless characters."""
    message = email.message.Message()
    if disposition:
        message['Content-Disposition'] = ' '.join(disposition.split())
    return re.sub(r'[^0-9A-Za-z._-]', '_', message.get_filename() or url)[:128]


def _reason(error: Exception) -> str:
    """Return in a few words why a request has failed; `requests` nests several messages."""
    import requests

    if isinstance(error, requests.Timeout):
        return 'no answer in time'
    system = underlying_os_error(error)
    if system is not None and system.strerror:
        return system.strerror
    while error.args and isinstance(error.args[-1], Exception):
        error = error.args[-1]
    return ' '.join(str(error).split())[:200] or type(error).__name__
