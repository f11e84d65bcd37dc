# Copyright 2026 The GDD-1S authors.
# SPDX-License-Identifier: Apache-2.0
"""Numbers that were measured, from the files that hold them: metric-NAME.jsonl, and JSON of `fid.py`."""

import dataclasses
import os
import re
from collections.abc import Iterator
from typing import Any

from reports.json_files import number, read_lines, read_object, typed

_DISTANCES = ('fid', 'fd', 'frechet', 'clip-fid', 'sfid', 'kid')
_LIVE_PATTERN = re.compile(r'metric-.+\.jsonl')


@dataclasses.dataclass(frozen=True)
class Measurement:
    """One number and what it depends on.

    Attributes:
        name:     Name under which it may be compared, such as fid50k or frechet-mnist-classifier-2000.
        value:    The number.
        kimg:     Thousands of images seen by the network that was measured; None where the file does not say.
        network:  Name of the file of that network; '' where unknown.
        sha256:   Hash of that file; None where unknown.
        key:      Which of its weights.
        seeds:    Seeds of the images, such as '0-49999'; '' for images out of files.
        sampler:  How they were sampled; '' for images out of files.
        detector: Feature network.
        ref:      Reference statistics.
        overlap:  What the detector shares with what trained the generator; None where nobody looked.
    """

    name: str
    value: float
    kimg: float | None = None
    network: str = ''
    sha256: str | None = None
    key: str = 'ema'
    seeds: str = ''
    sampler: str = ''
    detector: str = ''
    ref: str = ''
    overlap: Any = None

    @property
    def text(self) -> str:
        """The value as it is written: accuracies in percent."""
        return f'{100 * self.value:.2f} %' if self.name.startswith('class-accuracy') else f'{self.value:.4g}'

    @property
    def overlap_text(self) -> str:
        """What is known about the overlap, in words."""
        return 'not recorded' if self.overlap is None else describe_overlap(self.overlap)

    @property
    def is_distance(self) -> bool:
        """Whether less is better."""
        return self.name.startswith(_DISTANCES)


def describe_overlap(overlap: Any) -> str:
    """Write the overlap field of a file in words: a text as it is, lists and objects by their parts."""
    if isinstance(overlap, dict):
        return ', '.join(f'{name}: {describe_overlap(value)}' for name, value in overlap.items())
    if isinstance(overlap, (list, tuple)):
        return ', '.join(map(describe_overlap, overlap)) or 'none'
    return ('yes' if overlap else 'none') if isinstance(overlap, bool) else str(overlap)


def read_measurements(folder: str) -> list[Measurement]:
    """Read all numbers in a folder: distances before others, then by name, then by kimg."""
    found = []
    for name in sorted(os.listdir(folder)):
        path = os.path.join(folder, name)
        if _LIVE_PATTERN.fullmatch(name):
            for entry in read_lines(path):
                found += _entry(entry, 'name')
        elif name.endswith('.json'):
            found += read_report(path)
    return sorted(found, key=lambda item: (not item.is_distance, item.name, item.kimg or 0))


def read_report(path: str) -> list[Measurement]:
    """Read what `fid.py gen --json=FILE` or `fid.py calc --json=FILE` has written; [] for any other file."""
    content = read_object(path) or {}
    images = os.path.basename(typed(content, 'images', str, ''))
    common = dict(
        network=typed(content, 'network', str, '') or images,
        sha256=typed(content, 'network_sha256', str, '') or None,
        key=typed(content, 'key', str, 'ema'),
        sampler=typed(content, 'sampler', str, ''),
    )
    return [
        item
        for entry in typed(content, 'results', list, [])
        for item in _entry(entry, 'metric', overlap=_overlap(content, entry), **common)
    ]


def _overlap(content: dict[str, Any], entry: Any) -> Any:
    # Stated once for the file, or for the reference and detector of a number.
    pairs = content.get('comparisons') if isinstance(entry, dict) else None
    same = [
        pair
        for pair in (pairs if isinstance(pairs, list) else [])
        if isinstance(pair, dict) and all(pair.get(name) == entry.get(name) for name in ('detector', 'ref'))
    ]
    return next((place['overlap'] for place in (*same, content) if place.get('overlap') is not None), None)


def _entry(entry: Any, named: str, **common: Any) -> Iterator[Measurement]:
    if not isinstance(entry, dict) or number(entry.get('value')) is None or named not in entry:
        return
    known = dict(
        kimg=number(entry.get('kimg')),
        network=typed(entry, 'snapshot', str, ''),
        seeds=typed(entry, 'seeds', str, ''),
        sampler=typed(entry, 'sampler', str, ''),
        detector=typed(entry, 'detector', str, ''),
        ref=os.path.basename(str(entry.get('reference', entry.get('ref', '')))),
        overlap=entry.get('overlap'),
    )
    given = {name: value for name, value in common.items() if value or not known.get(name)}
    yield Measurement(str(entry[named]), float(entry['value']), **{**known, **given})
