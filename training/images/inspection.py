# Copyright 2026 The GDD-1S authors.
# SPDX-License-Identifier: Apache-2.0
"""What a source holds, before anything is made of it: counts, sizes, classes, duplicates, damage, samples.

Legend: H W pixels, K classes. Images are uint8 [H, W] or [H, W, 3], 0..255.
"""

import collections
import contextlib
import dataclasses
import functools
import hashlib
import os
from collections.abc import Callable, Iterable
from typing import Any, NamedTuple

import numpy as np
import PIL.Image

from dnnlib.errors import ArgumentError
from dnnlib.parallel import map_ordered
from dnnlib.progress import with_progress
from training.images.decoding import MAX_PIXELS, has_more_frames, orientation
from training.images.files import DatasetError
from training.images.items import Source, SourceItem, load_image, to_pixels
from training.images.labels import label_array
from training.images.png import BACKGROUND, save_grid

_THUMBNAIL = 128  # longest side of a sample in the grid, in pixels
_EXAMPLES = 5  # sizes and duplicates that are written out
_CLASSES = 100  # classes up to which each has a line


class Examined(NamedTuple):
    """What is remembered of one readable image."""

    size: tuple[int, int]  # (width, height) in pixels
    mode: str  # Pillow's mode, as stored
    digest: bytes  # hash of shape and pixels after conversion to grayscale or RGB
    thumbnail: np.ndarray | None  # uint8 [h, w, 3] of a chosen sample
    is_rotated: bool  # by its EXIF orientation
    has_more_frames: bool


@dataclasses.dataclass
class Inspection:
    """Result of `inspect_source`: `lines()` for the user, `facts()` for scripts, `healthy` for the exit."""

    source: Source  # used up
    sizes: collections.Counter = dataclasses.field(
        default_factory=collections.Counter
    )  # (size, mode) -> images
    unreadable: list[DatasetError] = dataclasses.field(default_factory=list)
    same_pixels: list[tuple[int, int]] = dataclasses.field(default_factory=list)  # (index, earlier index)
    same_names: list[list[str]] = dataclasses.field(default_factory=list)
    rotated: list[int] = dataclasses.field(default_factory=list)  # indices
    more_frames: list[int] = dataclasses.field(default_factory=list)  # indices
    thumbnails: dict[int, np.ndarray] = dataclasses.field(default_factory=dict)  # uint8 [h, w, 3]
    label_lines: list[str] = dataclasses.field(default_factory=list)
    class_counts: dict[int, int] = dataclasses.field(default_factory=dict)  # class number -> images
    label_error: DatasetError | None = None
    labels_usable: bool = True

    @property
    def healthy(self) -> bool:
        """Whether every image can be read, and names and labels are unambiguous."""
        return not self.unreadable and not self.source.repeated and self.labels_usable

    def lines(self, describe: Callable[[ArgumentError], str] = str) -> list[str]:
        """Return the report; `describe` spells an error for the user."""
        count = self.source.count
        name_of = self.source.name_of
        lines = [
            f'Source:       {self.source.kind}',
            f'Images:       {count}, {len(self.unreadable)} of them unreadable',
        ]
        if self.source.ignored:
            ignored = self.source.ignored
            lines.append(f'Other files:  {len(ignored)}, not images by name, such as {ignored[0]}')
        lines += _size_lines(self.sizes) + self.label_lines
        if self.label_error is not None:
            lines.append(f'Labels:       unusable: {describe(self.label_error)}')
        if self.source.repeated:
            lines.append(f'Stored twice: {_shorten(self.source.repeated)}')
        if self.same_names:
            groups = [' = '.join(names) for names in self.same_names]
            lines.append(f'Same names:   {_shorten(groups)} (up to case and extension)')
        if self.same_pixels:
            pairs = [f'{name_of(index)} = {name_of(first)}' for index, first in self.same_pixels]
            lines.append(f'Same pixels:  {_shorten(pairs)}')
        if self.rotated:
            lines.append(f'EXIF rotated: {_shorten(list(map(name_of, self.rotated)))}')
        if self.more_frames:
            lines.append(f'More frames:  {_shorten(list(map(name_of, self.more_frames)))}; the first is used')
        lines += [f'Note:         {describe(ArgumentError(*note))}' for note in self.source.notes]
        return lines + [f'Unreadable:   {describe(error)}' for error in self.unreadable]

    def facts(self, describe: Callable[[ArgumentError], str] = str) -> dict[str, Any]:
        """Return what the report says, complete, as plain values for JSON."""
        source = self.source
        names = source.class_names or []
        return dict(
            source=source.kind,
            images=source.count,
            healthy=self.healthy,
            sizes=[
                dict(width=width, height=height, mode=mode, images=count)
                for ((width, height), mode), count in self.sizes.most_common()
            ],
            classes=[
                dict(number=number, name=names[number] if number < len(names) else None, images=count)
                for number, count in self.class_counts.items()
            ],
            label_error=None if self.label_error is None else describe(self.label_error),
            other_files=list(source.ignored),
            stored_twice=list(source.repeated),
            same_names=self.same_names,
            same_pixels=[list(map(source.name_of, pair)) for pair in self.same_pixels],
            exif_rotated=list(map(source.name_of, self.rotated)),
            more_frames=list(map(source.name_of, self.more_frames)),
            notes=[describe(ArgumentError(*note)) for note in source.notes],
            unreadable=list(map(describe, self.unreadable)),
        )


def examine_item(
    chosen: frozenset[int], max_pixels: int, numbered_item: tuple[int, SourceItem]
) -> Examined | DatasetError:
    """Decode one image completely; all that worker processes do.

    Args:
        chosen:        Indices whose thumbnails are wanted.
        max_pixels:    Largest H x W that is read.
        numbered_item: (index, SourceItem).
    Returns:
        Examined, or the DatasetError of an unusable image.
    """
    index, item = numbered_item
    try:
        image = load_image(item, max_pixels)
        pixels = to_pixels(image, item.where)
    except DatasetError as error:
        return error
    digest = hashlib.blake2b(repr(pixels.shape).encode() + pixels.tobytes(), digest_size=16).digest()
    thumbnail = _make_thumbnail(pixels) if index in chosen else None
    size, mode, is_rotated = image.size, image.mode, orientation(image) != 1
    return Examined(size, mode, digest, thumbnail, is_rotated, has_more_frames(image))


def _make_thumbnail(pixels: np.ndarray) -> np.ndarray:
    sample = PIL.Image.fromarray(pixels).convert('RGB')
    sample.thumbnail((_THUMBNAIL, _THUMBNAIL), PIL.Image.Resampling.LANCZOS)
    return np.asarray(sample)


def inspect_source(
    source: Source, chosen: Iterable[int] = (), max_pixels: int = MAX_PIXELS, workers: int = 1
) -> Inspection:
    """Decode all images of a source and gather what they have in common.

    Args:
        source:     What to look into, opened with strict=False.
        chosen:     Indices of images to keep as thumbnails.
        max_pixels: Largest H x W that is read.
        workers:    Number of processes.
    """
    found = Inspection(source)
    _judge_labels(found)
    found.same_names = _same_names(source.names)
    first_with = {}
    job = functools.partial(examine_item, frozenset(chosen), max_pixels)
    with contextlib.closing(map_ordered(job, enumerate(source.items), workers, source.count)) as results:
        for index, result in enumerate(with_progress(results, 'Inspecting', source.count)):
            if isinstance(result, DatasetError):
                found.unreadable.append(result)
            else:
                _remember(found, index, result, first_with)
    return found


def _remember(found: Inspection, index: int, result: Examined, first_with: dict[bytes, int]) -> None:
    """Count one readable image; `first_with` maps digests to the first image that has them."""
    found.sizes[result.size, result.mode] += 1
    first = first_with.setdefault(result.digest, index)
    if first != index:
        found.same_pixels.append((index, first))
    if result.is_rotated:
        found.rotated.append(index)
    if result.has_more_frames:
        found.more_frames.append(index)
    if result.thumbnail is not None:
        found.thumbnails[index] = result.thumbnail


def _size_lines(sizes: collections.Counter) -> list[str]:
    lines = [
        f'Size:         {width}x{height} {mode}: {count}'
        for ((width, height), mode), count in sizes.most_common(_EXAMPLES)
    ]
    rest = sizes.most_common()[_EXAMPLES:]
    if rest:
        shorter_sides = [min(size) for (size, _mode), _count in rest]
        lines.append(
            f'Size:         {len(rest)} others: {sum(count for _key, count in rest)}; '
            f'their shorter sides are {min(shorter_sides)} to {max(shorter_sides)}'
        )
    return lines


def _same_names(names: Iterable[str]) -> list[list[str]]:
    groups = collections.defaultdict(list)
    for name in names:
        groups[os.path.splitext(name.lower())[0]].append(name)
    return [group for group in groups.values() if len(group) > 1]


def _shorten(texts: list[str]) -> str:
    more = f', and {len(texts) - _EXAMPLES} more' if len(texts) > _EXAMPLES else ''
    return f'{len(texts)}: ' + ', '.join(texts[:_EXAMPLES]) + more


# ------------------------------------------------------------------------------------------------
# Labels.


def _judge_labels(found: Inspection) -> None:
    """Describe the labels, and whether a conversion could use them."""
    source = found.source
    missing = [index for index, label in enumerate(source.labels) if label is None]
    labelled = [index for index, label in enumerate(source.labels) if label is not None]
    found.labels_usable = source.label_error is None and not (missing and labelled)
    found.label_error = source.label_error
    if not labelled:
        found.label_lines = ['Labels:       none'] if source.label_error is None else []
        return
    try:
        array = label_array(
            [source.labels[index] for index in labelled],
            source.label_where,
            lambda number: source.name_of(labelled[number]),
        )
    except DatasetError as error:
        found.label_error, found.labels_usable = error, False
        return
    if array.ndim == 2:
        found.label_lines = [f'Labels:       vectors of length {array.shape[1]}']
    else:
        numbers, counts = np.unique(array, return_counts=True)
        found.class_counts = dict(zip(numbers.tolist(), counts.tolist()))
        found.label_lines = _class_lines(numbers, counts, source.class_names or [])
    if missing:
        found.label_lines.append(
            f'Unlabelled:   {len(missing)} of {source.count}, the first is {source.name_of(missing[0])}'
        )


def _class_lines(classes: np.ndarray, counts: np.ndarray, names: list[str]) -> list[str]:
    extent = f'{counts.min()} to {counts.max()}' if counts.min() < counts.max() else counts.min()
    head = f'Labels:       {len(classes)} class(es) of {extent} images'
    absent = int(classes.max()) + 1 - len(classes)
    if absent:
        head += f'; {absent} class numbers up to {classes.max()} have no image'
    if len(classes) > _CLASSES:
        return [head]
    return [head] + [
        f'  {number:>6} {names[number] if number < len(names) else "":<20} {count:>8}'
        for number, count in zip(classes.tolist(), counts.tolist())
    ]


# ------------------------------------------------------------------------------------------------
# Sample grid.


def choose_samples(labels: list, cells: int, seed: int) -> list[int]:
    """Choose images for a grid, at random but the same for the same seed.

    Args:
        labels: Class number, vector or None, for each of N images.
        cells:  Number of images wanted, >= 1.
        seed:   Seed of the choice.
    Returns:
        List of at most `cells` indices. With class numbers they are ordered by class, and the K classes that
        occur share the n cells evenly: class floor(i K / n) for cell i. One with too few images shows all.
    """
    rng = np.random.RandomState(seed)
    order = rng.permutation(len(labels)).tolist()
    cells = min(cells, len(labels))
    members = collections.defaultdict(list)
    for index in order:
        members[labels[index] if type(labels[index]) is int else None].append(index)
    if None in members:
        return sorted(order[:cells])
    classes = sorted(members)
    wanted = collections.Counter(classes[i * len(classes) // cells] for i in range(cells))
    return [index for number in classes for index in members[number][: wanted[number]]]


def save_samples(path: str, found: Inspection, chosen: Iterable[int], columns: int) -> int:
    """Write the thumbnails in the order of `chosen` as one PNG, each centred in a white cell.

    Args:
        path:    File to create or replace; its folder must exist.
        found:   Inspection with the thumbnails.
        chosen:  Indices; unreadable images among them are left out.
        columns: Images per row.
    Returns:
        Number of images in the grid.
    """
    shown = [index for index in chosen if index in found.thumbnails]
    if not shown:
        return 0
    side = max(max(found.thumbnails[index].shape[:2]) for index in shown)
    cells = np.full([len(shown), side, side, 3], BACKGROUND, dtype=np.uint8)  # [N, side, side, 3]
    for cell, index in zip(cells, shown):
        height, width = found.thumbnails[index].shape[:2]
        top, left = (side - height) // 2, (side - width) // 2
        cell[top : top + height, left : left + width] = found.thumbnails[index]
    labels = [found.source.labels[index] for index in shown]
    save_grid(path, cells, columns, labels if all(type(label) is int for label in labels) else None)
    return len(shown)
