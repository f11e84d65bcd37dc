# Copyright 2026 The GDD-1S authors.
# SPDX-License-Identifier: Apache-2.0
"""Read the JSON that runs leave; what is damaged, or no longer as it was written, counts as missing."""

import json
import os
from collections.abc import Iterator
from typing import Any, TypeVar

T = TypeVar('T')

LARGEST = 1e100  # beyond this a number of a run is damaged, and the arithmetic of charts overflows
MAX_DEPTH = 40  # of lists and objects in each other; ours have 5


def read_object(path: str) -> dict[str, Any] | None:
    """Return the object of a JSON file, or None if there is none that can be read."""
    if not os.path.isfile(path):  # a pipe would be waited for
        return None
    try:
        with open(path, encoding='utf-8') as file:
            return _parse(file.read())
    except (OSError, UnicodeDecodeError):
        return None


def read_lines(path: str) -> Iterator[dict[str, Any]]:
    """Yield the objects of a file with one JSON object per line; other lines are passed over."""
    if not os.path.isfile(path):
        return
    with open(path, encoding='utf-8', errors='replace') as file:
        for line in file:
            entry = _parse(line)  # None: cut off by a killed process, or still being written
            if entry is not None:
                yield entry


def number(value: Any) -> float | int | None:
    """Return a finite number as it is, and None for anything else."""
    known = isinstance(value, (int, float)) and not isinstance(value, bool)
    return value if known and abs(value) <= LARGEST else None  # false for NaN


def typed(content: dict[str, Any], name: str, kind: type[T], default: T) -> T:
    """Return the value of a name if it has a type, else a default."""
    value = content.get(name)
    return value if isinstance(value, kind) else default


def _parse(text: str) -> dict[str, Any] | None:
    try:
        content = json.loads(text)
    except (ValueError, RecursionError):
        return None
    return content if isinstance(content, dict) and _is_flat(content, MAX_DEPTH) else None


def _is_flat(value: Any, depth: int) -> bool:
    if not isinstance(value, (dict, list)):
        return True
    parts = value.values() if isinstance(value, dict) else value
    return depth > 0 and all(_is_flat(part, depth - 1) for part in parts)
