# Copyright 2026 The GDD-1S authors.
# SPDX-License-Identifier: Apache-2.0
"""From the names and labels of dataset.json to an array; what is not certain is refused, never guessed.

Legend: N images, K classes.
"""

import unicodedata
from collections.abc import Callable, Iterable
from typing import Any, NamedTuple

import numpy as np

from training.images.files import LABEL_FILE, DatasetError, FileTree, Where, normal_name, service_part

_MAX_CLASS = 999_999  # one-hot vectors beyond this would only exhaust the memory
# Up to so many classes, numbers without an image are a remark: ImageNet-21k has 21,841 classes, and a
# selection of its images leaves most of them empty. Beyond, most numbers must have an image.
_MAX_SPARSE_CLASSES = 1 << 15


class Matched(NamedTuple):
    """Labels of images by name."""

    labels: list  # as stored, None where there is none
    missing: list[str]  # images without an entry
    absent: list[str]  # names of entries that no image has
    respelled: list[str]  # images whose entry has the same letters in another Unicode form

    def remarks(self) -> list[str]:
        """Return what a user should know of it, a line each."""
        lines = []
        if self.respelled:
            lines.append(
                f'{LABEL_FILE} names {len(self.respelled)} image(s) in another Unicode normal form '
                f'(NFC, NFD), the first is {self.respelled[0]}; they are taken as the same'
            )
        if self.absent:
            lines.append(
                f'{LABEL_FILE} names {len(self.absent)} image(s) that are not there, '
                f'the first is {self.absent[0]}'
            )
        return lines


def match_labels(tree: FileTree, names: list[str], mapping: dict[str, Any], ways_out: Where) -> Matched:
    """Find the label of every image by its name.

    Args:
        tree:     Where the images are.
        names:    Their names, as `tree` lists them.
        mapping:  What `tree.read_label_map()` returns.
        ways_out: What the user can do without these labels, parts of a message.
    Raises:
        DatasetError: there are labels, but none is that of an image.
    """
    keys = [normal_name(name) for name in names]
    forms = _other_forms(keys, mapping)
    respelled = [name for name, key in zip(names, keys) if key in forms]
    keys = [forms.get(key, key) for key in keys]
    known = set(keys)
    absent = [name for name in mapping if name not in known and not service_part(name)]
    if mapping and known.isdisjoint(mapping):
        stranger = absent[0] if absent else next(iter(mapping))
        raise DatasetError(
            *tree.where(LABEL_FILE),
            f' names none of the {len(names)} images: it has {stranger} where they are called {keys[0]}; '
            'write the names relative to its own folder, ',
            *ways_out,
        )
    missing = [name for name, key in zip(names, keys) if key not in mapping]
    return Matched([mapping.get(key) for key in keys], missing, absent, respelled)


def _other_forms(keys: list[str], mapping: dict[str, Any]) -> dict[str, str]:
    """Return key -> name in the mapping with the same letters, where there is one of each and no more.

    Some systems write an accent as a letter of its own (NFD), most do not (NFC); names travel through both.
    """
    known = set(keys)
    if known <= mapping.keys():
        return {}
    images, entries = _by_form(known), _by_form(mapping)
    return {
        same[0]: entries[form][0]
        for form, same in images.items()
        if len(same) == 1 and len(entries.get(form, ())) == 1 and same != entries[form]
    }


def _by_form(names: Iterable[str]) -> dict[str, list[str]]:
    found = {}
    for name in names:
        found.setdefault(unicodedata.normalize('NFC', name), []).append(name)
    return found


def refuse_labels_elsewhere(tree: FileTree, names: list[str], ways_out: Where) -> None:
    """Raise DatasetError if all images lie in one folder, and dataset.json with them, not at the top."""
    tops = {normal_name(name).partition('/')[0] for name in names}
    top = tops.pop() if len(tops) == 1 else None
    inner = f'{top}/{LABEL_FILE}'
    if tree.label_file is None and inner in map(normal_name, tree.names):
        raise DatasetError(
            tree.arg,
            f' has its labels in {inner}, but {LABEL_FILE} must lie at the top; '
            f'give the folder {top} itself, or an archive of what is in it, ',
            *ways_out,
        )


def label_array(labels: list, where: Where, name_of: Callable[[int], str] = 'image {}'.format) -> np.ndarray:
    """Convert labels as stored in dataset.json.

    Args:
        labels:  N class numbers >= 0, or N vectors of K numbers.
        where:   Parts of a message that name their file.
        name_of: Returns the name of an image by its number.
    Returns:
        int64 [N] or float32 [N, K].
    Raises:
        DatasetError: the labels are anything else, or of both kinds, or leave most numbers without an image.
    """
    if all(type(label) is int for label in labels):
        return _class_numbers(labels, where)
    offender = next((k for k, label in enumerate(labels) if not _is_vector(label, labels[0])), None)
    if offender is None:
        return np.array(labels, dtype=np.float32)
    if type(labels[0]) is int:
        offender = next(k for k, label in enumerate(labels) if type(label) is not int)
    raise DatasetError(
        *where,
        ' must give every image a class number (such as 3) or a vector of numbers, all of one '
        f'length; the label of {name_of(offender)} is {labels[offender]!r:.60}',
    )


def _class_numbers(labels: list[int], where: Where) -> np.ndarray:
    low, high = min(labels), max(labels)
    if low < 0 or high > _MAX_CLASS:
        raise DatasetError(
            *where,
            f' has class numbers from {low} to {high}, but they must lie '
            f'in 0..{_MAX_CLASS}; number the classes 0, 1, 2, ...',
        )
    array = np.array(labels, dtype=np.int64)
    used = len(set(labels))
    if high >= _MAX_SPARSE_CLASSES and 2 * used < high + 1:
        raise DatasetError(
            *where,
            f' has only {used} class numbers, up to {high}: a network would get {high + 1:,} classes, '
            f'most of them without an image; number the classes 0 to {used - 1}',
        )
    return array


def _is_vector(label: Any, first: Any) -> bool:
    """Whether a label is a vector of finite numbers, as long as the first one."""
    return (
        isinstance(label, list)
        and isinstance(first, list)
        and len(label) == len(first) > 0
        and all(type(value) in (int, float) and abs(value) < 1e30 for value in label)
    )


def unused_classes(array: np.ndarray) -> str | None:
    """Return a remark on class numbers that no image has, or None.

    Args:
        array: Labels, int64 [N] or float32 [N, K].
    """
    if array.ndim != 1:
        return None
    used = np.unique(array)
    count = int(used[-1]) + 1
    if len(used) == count:
        return None
    first = int(np.setdiff1d(np.arange(count), used)[0])
    return (
        f'{count - len(used)} of the class numbers 0 to {count - 1} have no image, the first is {first}: '
        f'a network gets {count} classes; number them 0 to {len(used) - 1} if that is not meant'
    )
