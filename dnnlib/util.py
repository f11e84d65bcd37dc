# Copyright 2026 The GDD-1S authors.
# SPDX-License-Identifier: Apache-2.0
"""Attribute dictionaries, logs and time texts; names that EDM keeps here stay importable."""

import sys
from typing import Any, TextIO

from dnnlib.downloads import is_url, make_cache_dir_path, open_url
from dnnlib.files import atomic_write, file_sha256, naming

# EDM's names, wherever they are defined now, and `atomic_write` with `file_sha256`, which belong to them.
__all__ = [
    'EasyDict',
    'Logger',
    'atomic_write',
    'file_sha256',
    'format_time',
    'is_url',
    'make_cache_dir_path',
    'open_url',
]


class EasyDict(dict):
    """Dictionary whose string keys are attributes as well."""

    def __getattr__(self, name: str) -> Any:
        try:
            return self[name]
        except KeyError:
            raise AttributeError(name) from None

    def __setattr__(self, name: str, value: Any) -> None:
        self[name] = value

    def __delattr__(self, name: str) -> None:
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

    def __init__(self, file_name: str | None = None, file_mode: str = 'w', should_flush: bool = True) -> None:
        self._file: TextIO | None = None
        if file_name is not None:  # a path may have bytes that are no UTF-8
            self._file = open(file_name, file_mode, encoding='utf-8', errors='backslashreplace')
        self._should_flush = should_flush
        self._stdout, self._stderr = sys.stdout, sys.stderr
        sys.stdout = sys.stderr = self

    def __enter__(self) -> 'Logger':
        return self

    def __exit__(self, *_exception: object) -> None:
        self.close()

    def __getattr__(self, name: str) -> Any:
        # Callers ask the stream for encoding, fileno and the like: the terminal answers. Private
        # names are excluded, or a half-built Logger would look itself up for ever.
        if name.startswith('_'):
            raise AttributeError(name)
        return getattr(self._stdout, name)

    def write(self, text: str | bytes) -> int:
        """Write text, or UTF-8 bytes, to the file and to the original stdout."""
        if isinstance(text, bytes):
            text = text.decode('utf-8', errors='replace')
        if not text:
            return 0
        if self._file is not None:
            with naming(self._file.name):
                self._file.write(text)
        self._stdout.write(text)
        if self._should_flush:
            self.flush()
        return len(text)

    def flush(self) -> None:
        """Flush the file and the original stdout."""
        if self._file is not None:
            with naming(self._file.name):
                self._file.flush()
        self._stdout.flush()

    def close(self) -> None:
        """Give the streams back and close the file; further calls do nothing."""
        if sys.stdout is self:
            sys.stdout = self._stdout
        if sys.stderr is self:
            sys.stderr = self._stderr
        self._stdout.flush()
        if self._file is not None:
            file, self._file = self._file, None
            with naming(file.name):
                file.close()


def format_time(seconds: float) -> str:
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
