# Copyright 2026 The GDD-1S authors.
# SPDX-License-Identifier: Apache-2.0
"""Recognition of what dataset_tool.py is given, and the readers of folders and zip archives of images."""

import itertools
import json
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from dnnlib.errors import arg
from training.images.files import (
    LABEL_FILE,
    DatasetError,
    FileTree,
    Where,
    examples,
    is_image_name,
    normal_name,
    read_regular_file,
)
from training.images.items import Source, SourceItem
from training.images.labels import match_labels, refuse_labels_elsewhere
from training.images.mnist_cifar10 import CIFAR10_ARCHIVE, MNIST_FILES, open_cifar10, open_mnist
from training.images.packs import open_pack

_WITHOUT_LABELS = ('or give ', arg('labels', 'none'))
_SPLITS = {'train', 'training', 'test', 'testing', 'val', 'valid', 'validation', 'eval', 'dev'}


def open_source(
    path: str | os.PathLike, max_images: int | None = None, use_labels: bool = True, strict: bool = True
) -> Source:
    """Recognise a source by its name and content.

    Args:
        path:       Folder of images, zip, MNIST idx file or folder, CIFAR-10 archive, or npz.
        max_images: Stop after this many images, or None for all.
        use_labels: Read the labels; otherwise all are None.
        strict:     Refuse names stored twice, labels for only some of the images, and unusable dataset.json
                    files; otherwise they are part of the result.
    Raises:
        DatasetError: there is no such path, or it is none of these, or it is damaged.
    """
    path = os.fspath(path)
    if not os.path.exists(path):
        raise DatasetError(arg('source', path), ' does not exist; give an existing folder or file')
    if os.path.isdir(path):
        source = _open_folder(path, use_labels)
    elif os.path.isfile(path):
        source = _open_file(path, use_labels)
    else:
        raise DatasetError(
            arg('source', path), ' is a pipe, a device or a socket; save its content as a file and give that'
        )
    if strict and source.label_error is not None:
        raise source.label_error
    labels = source.labels[:max_images] if use_labels else [None] * len(source.labels[:max_images])
    source = source._replace(
        labels=labels,
        items=itertools.islice(source.items, max_images),
        names=source.names[:max_images],
        class_names=source.class_names if use_labels else None,
    )
    if strict:
        _refuse_ambiguity(path, source)
    return source


def _open_file(path: str, use_labels: bool) -> Source:
    name = os.path.basename(path)
    if name == CIFAR10_ARCHIVE:
        return open_cifar10(path)
    if name in MNIST_FILES:
        return open_mnist(Path(path))
    if name.lower().endswith('.npz'):
        return open_pack(path)
    if name.lower().endswith('.zip'):
        tree = FileTree(path)
        return _open_tree(f'zip archive {path}', tree, _image_names(tree), use_labels)
    raise DatasetError(
        arg('source', path),
        f' is of no known kind; give a folder of images, a .zip, {CIFAR10_ARCHIVE}, an '
        f'.npz with arr_0, or an MNIST file named {MNIST_FILES[0]} or {MNIST_FILES[1]}',
    )


def _open_folder(path: str, use_labels: bool) -> Source:
    found = [file for file in MNIST_FILES if Path(path, file).is_file()]
    if found:
        return open_mnist(Path(path, found[0]))
    if path.rstrip('/' + os.sep).endswith('_lmdb'):
        raise DatasetError(
            arg('source', path),
            ' is an LSUN database by its name, which is not read here; export its images '
            'to a folder first, with the tools of LSUN',
        )
    tree = FileTree(path)
    names = sorted(_image_names(tree), key=lambda name: name.split('/'))
    return _open_tree(f'folder {path}', tree, names, use_labels)


def _refuse_ambiguity(path: str, source: Source) -> None:
    if source.repeated:
        raise DatasetError(
            arg('source', path),
            f' stores {len(source.repeated)} names twice, the first is '
            f'{source.repeated[0]}; make the archive again',
        )
    missing = [index for index, label in enumerate(source.labels) if label is None]
    if 0 < len(missing) < source.count:
        strangers = f'; it has {source.absent[0]}, which is no image here' if source.absent else ''
        raise DatasetError(
            arg('source', path),
            f' has a {LABEL_FILE} with labels for some images, but none for {len(missing)} of '
            f'{source.count}, the first is {source.name_of(missing[0])}{strangers}; add them, ',
            *_WITHOUT_LABELS,
        )


# ------------------------------------------------------------------------------------------------
# Folders and zip archives of images.


def _image_names(tree: FileTree) -> list[str]:
    names = [name for name in tree.names if is_image_name(name)]
    if not names:
        others = ''.join(f'; {remark}' for remark in tree.remarks())
        raise DatasetError(
            tree.arg, f' contains no images; PNG and JPEG files are looked for in all its folders{others}'
        )
    return names


def _open_tree(kind: str, tree: FileTree, names: list[str], use_labels: bool) -> Source:
    known = set(names)
    source = Source(
        kind,
        [None] * len(names),
        _tree_items(tree, names),
        names=tuple(names),
        repeated=tuple(tree.repeated),
        ignored=tuple(name for name in tree.names if name not in known and name != tree.label_file),
        label_where=tree.where(LABEL_FILE),
        notes=tuple((remark,) for remark in tree.remarks()),
    )
    if not use_labels:
        return source
    try:
        mapping = tree.read_label_map()
        return _with_labels(source, tree, mapping) if mapping else _without_label_file(source, tree)
    except DatasetError as error:
        return source._replace(label_error=error)


def _with_labels(source: Source, tree: FileTree, mapping: dict[str, Any]) -> Source:
    """Add the labels of dataset.json."""
    matched = match_labels(tree, list(source.names), mapping, _WITHOUT_LABELS)
    return source._replace(
        labels=matched.labels,
        class_names=tree.read_class_names(),
        notes=source.notes + tuple((words,) for words in matched.remarks()),
        absent=tuple(matched.absent),
    )


def _without_label_file(source: Source, tree: FileTree) -> Source:
    """Add the labels that folders give, and say where there may be others."""
    names = list(source.names)
    if tree.label_file is None:
        refuse_labels_elsewhere(tree, names, _WITHOUT_LABELS)
    notes = [_label_file_above(tree, names), _label_file_below(tree)]
    labels, class_names = source.labels, None
    if tree.is_zip:
        notes.append(_folders_of_zip(names))
    else:
        labels, class_names = _labels_from_folders(tree, names)
        notes += [_splits(class_names), _empty_folders(tree, names)]
    notes = tuple(note for note in notes if note)
    return source._replace(labels=labels, class_names=class_names, notes=source.notes + notes)


def _labels_from_folders(tree: FileTree, names: list[str]) -> tuple[list, list[str] | None]:
    """Class number = rank of the top-level folder; with a single folder (or none) there are no classes."""
    tops = [name.split('/')[0] if '/' in name else '' for name in names]
    class_names = sorted(set(tops))
    if len(class_names) < 2:
        return [None] * len(names), None
    if '' in class_names:
        stray = [name for name, top in zip(names, tops) if not top]
        raise DatasetError(
            tree.arg,
            f' has {len(stray)} image(s) beside the folders that would be classes, '
            f'{examples(class_names[1:])}: move {examples(stray)} into the folder of a class or elsewhere, ',
            *_WITHOUT_LABELS,
        )
    numbers = {top: number for number, top in enumerate(class_names)}
    return [numbers[top] for top in tops], class_names


def _tree_items(tree: FileTree, names: list[str]) -> Iterator[SourceItem]:
    for name in names:
        content = Path(tree.path, name)
        if tree.is_zip:  # read here: opening a large archive in every process would take long and much memory
            try:
                content = tree.read(name)
            except DatasetError as error:
                content = error
        yield SourceItem(tree.where(name), content)


# ------------------------------------------------------------------------------------------------
# What a user should know.


def _folders_of_zip(names: list[str]) -> Where | None:
    """A note where folders of an archive look like classes, which they are not; EDM's are numbered."""
    tops = sorted({name.split('/')[0] for name in map(normal_name, names) if '/' in name})
    if len(tops) < 2 or all(top.isdigit() for top in tops):
        return None
    return (f'a zip archive has labels from its {LABEL_FILE} only; for classes {examples(tops)}, unpack it',)


def _splits(class_names: list[str] | None) -> Where | None:
    """A note where the folders that become classes look like the parts of a data set."""
    if not class_names or not {name.lower() for name in class_names} <= _SPLITS:
        return None
    return (
        f'the classes {examples(class_names)} look like parts of a data set; give one of these folders as ',
        arg('source'),
        ', or all without labels: ',
        arg('labels', 'none'),
    )


def _empty_folders(tree: FileTree, names: list[str]) -> Where | None:
    """A note on folders that a user may take for classes, but hold no image."""
    used = {name.split('/')[0] for name in names}
    empty = [folder for folder in tree.folders if folder not in used]
    return (f'no class, since no image is in it: {examples(empty)}',) if empty else None


def _label_file_below(tree: FileTree) -> Where | None:
    """A note on files dataset.json that lie in folders, and are not read."""
    found = [
        name
        for name in tree.names
        if os.path.basename(name) == LABEL_FILE and normal_name(name) != LABEL_FILE
    ]
    return (f'not read, since only the one at the top is: {examples(found)}',) if found else None


def _label_file_above(tree: FileTree, names: list[str]) -> Where | None:
    """A note where the dataset.json of the folder above has labels for these images."""
    if tree.is_zip:
        return None
    folder = os.path.realpath(tree.path)
    above = os.path.join(os.path.dirname(folder), LABEL_FILE)
    try:
        pairs = json.loads(read_regular_file(above))['labels']
        known = {normal_name(pair[0]) for pair in pairs}
    except (OSError, ValueError, LookupError, TypeError, AttributeError, RecursionError):
        return None
    if known.isdisjoint(f'{os.path.basename(folder)}/{normal_name(name)}' for name in names):
        return None
    return (
        f'labels of these images are in {above}, which is not read; for them give ',
        arg('source', os.path.dirname(os.path.normpath(tree.path)) or '.'),
    )
