# Copyright 2026 The GDD-1S authors.
# SPDX-License-Identifier: Apache-2.0
"""What a source holds, before anything is made of it: counts, sizes, classes, duplicates, damage, sample images.

Legend: H W pixels, K classes. Images are uint8 [H, W] or [H, W, 3], 0..255.
"""

import collections
import contextlib
import dataclasses
import functools
import hashlib
import os
from typing import NamedTuple

import numpy as np
import PIL.Image

from dnnlib.parallel import map_ordered
from dnnlib.progress import with_progress
from training.images.files import LABEL_FILE, DatasetError, label_array
from training.images.png import BACKGROUND, save_grid
from training.images.sources import load_image, to_pixels

_THUMBNAIL = 128  # longest side of a sample in the grid, in pixels
_EXAMPLES = 5  # sizes and duplicates that are written out
_CLASSES = 100  # classes up to which each has a line


class Examined(NamedTuple):
    """What is remembered of one readable image."""

    size: tuple  # (width, height) in pixels
    mode: str  # Pillow's mode, as stored
    digest: bytes  # hash of shape and pixels after conversion to grayscale or RGB
    thumbnail: np.ndarray | None  # uint8 [h, w, 3] of a chosen sample


@dataclasses.dataclass
class Inspection:
    """Result of `inspect_source`; `lines()` are for the user, `healthy` is for the exit status."""

    source: object  # the Source, used up
    sizes: collections.Counter = dataclasses.field(
        default_factory=collections.Counter
    )  # (size, mode) -> images
    unreadable: list = dataclasses.field(default_factory=list)  # one line per image
    same_pixels: list = dataclasses.field(default_factory=list)  # (index, earlier index)
    same_names: list = dataclasses.field(default_factory=list)  # lists of names
    thumbnails: dict = dataclasses.field(default_factory=dict)  # index -> uint8 [h, w, 3]
    label_lines: list = dataclasses.field(default_factory=list)
    labels_usable: bool = True

    @property
    def healthy(self):
        """Whether every image can be read, and names and labels are unambiguous."""
        return not self.unreadable and not self.source.repeated and self.labels_usable

    def lines(self):
        """Return the report as a list of lines."""
        count = self.source.count
        lines = [
            f'Source:       {self.source.kind}',
            f'Images:       {count}, {len(self.unreadable)} of them unreadable',
        ]
        if self.source.ignored:
            lines.append(
                f'Other files:  {len(self.source.ignored)}, not images by name, such as {self.source.ignored[0]}'
            )
        lines += _size_lines(self.sizes) + self.label_lines
        if self.source.repeated:
            lines.append(f'Stored twice: {_shorten(self.source.repeated)}')
        if self.same_names:
            lines.append(
                f'Same names:   {_shorten([" = ".join(names) for names in self.same_names])} (up to case and extension)'
            )
        if self.same_pixels:
            name_of = self.source.name_of
            pairs = [f'{name_of(index)} = {name_of(first)}' for index, first in self.same_pixels]
            lines.append(f'Same pixels:  {_shorten(pairs)}')
        return lines + [f'Unreadable:   {message}' for message in self.unreadable]


def examine_item(chosen, numbered_item):
    """Decode one image completely; all that worker processes do.

    Args:
        chosen:        Indices whose thumbnails are wanted.
        numbered_item: (index, SourceItem).
    Returns:
        Examined, or the DatasetError of an unusable image.
    """
    index, item = numbered_item
    try:
        image = load_image(item)
        pixels = to_pixels(image, item.where)
    except DatasetError as error:
        return error
    digest = hashlib.blake2b(repr(pixels.shape).encode() + pixels.tobytes(), digest_size=16).digest()
    thumbnail = None
    if index in chosen:
        sample = PIL.Image.fromarray(pixels).convert('RGB')
        sample.thumbnail((_THUMBNAIL, _THUMBNAIL), PIL.Image.Resampling.LANCZOS)
        thumbnail = np.asarray(sample)
    return Examined(image.size, image.mode, digest, thumbnail)


def inspect_source(source, chosen=(), workers=1):
    """Decode all images of a source and gather what they have in common.

    Args:
        source:  training.dataset_sources.Source, opened with strict=False.
        chosen:  Indices of images to keep as thumbnails.
        workers: Number of processes.
    Returns:
        Inspection.
    """
    found = Inspection(source)
    found.label_lines, found.labels_usable = _judge_labels(source)
    found.same_names = _same_names(source.names)
    first_with = {}
    job = functools.partial(examine_item, frozenset(chosen))
    with contextlib.closing(map_ordered(job, enumerate(source.items), workers, source.count)) as results:
        for index, result in enumerate(with_progress(results, 'Inspecting', source.count)):
            if isinstance(result, DatasetError):
                found.unreadable.append(str(result))
                continue
            found.sizes[result.size, result.mode] += 1
            first = first_with.setdefault(result.digest, index)
            if first != index:
                found.same_pixels.append((index, first))
            if result.thumbnail is not None:
                found.thumbnails[index] = result.thumbnail
    return found


def _size_lines(sizes):
    lines = [
        f'Size:         {width}x{height} {mode}: {count}'
        for ((width, height), mode), count in sizes.most_common(_EXAMPLES)
    ]
    rest = sizes.most_common()[_EXAMPLES:]
    if rest:
        shorter_sides = [min(size) for (size, _mode), _count in rest]
        lines.append(
            f'Size:         {len(rest)} others: {sum(count for _key, count in rest)}; their shorter sides are '
            f'{min(shorter_sides)} to {max(shorter_sides)}'
        )
    return lines


def _same_names(names):
    groups = collections.defaultdict(list)
    for name in names:
        groups[os.path.splitext(name.lower())[0]].append(name)
    return [group for group in groups.values() if len(group) > 1]


def _shorten(texts):
    more = f', and {len(texts) - _EXAMPLES} more' if len(texts) > _EXAMPLES else ''
    return f'{len(texts)}: ' + ', '.join(texts[:_EXAMPLES]) + more


# ------------------------------------------------------------------------------------------------
# Labels.


def _judge_labels(source):
    """Lines about the labels, and whether a conversion could use them."""
    missing = [index for index, label in enumerate(source.labels) if label is None]
    if len(missing) == source.count:
        return ['Labels:       none'], True
    try:
        array = label_array([label for label in source.labels if label is not None], LABEL_FILE)
    except DatasetError as error:
        return [f'Labels:       unusable: {error}'], False
    if array.ndim == 2:
        lines = [f'Labels:       vectors of length {array.shape[1]}']
    else:
        lines = _class_lines(*np.unique(array, return_counts=True), source.class_names or [])
    if missing:
        lines.append(
            f'Unlabelled:   {len(missing)} of {source.count}, the first is {source.name_of(missing[0])}'
        )
    return lines, not missing


def _class_lines(classes, counts, names):
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


def choose_samples(labels, cells, seed):
    """Choose images for a grid, at random but the same for the same seed.

    Args:
        labels: Class number, vector or None, for each of N images.
        cells:  Number of images wanted, >= 1.
        seed:   Seed of the choice.
    Returns:
        List of at most `cells` indices. With class numbers they are ordered by class, and the K classes that occur
        share the n cells evenly: class floor(i K / n) for cell i. A class with too few images shows them all.
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


def save_samples(path, found, chosen, columns):
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
    labels = found.source.labels
    captions = (
        [labels[index] for index in shown] if all(type(labels[index]) is int for index in shown) else None
    )
    save_grid(path, cells, columns, captions)
    return len(shown)
