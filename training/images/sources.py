# Copyright 2026 The GDD-1S authors.
# SPDX-License-Identifier: Apache-2.0
"""Recognition of what dataset_tool.py is given, and the readers of folders and zip archives of images."""

import itertools
import json
import os
from collections.abc import Iterator
from pathlib import Path

from dnnlib.errors import arg
from training.images.cifar10 import CIFAR10_ARCHIVE, open_cifar10
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
from training.images.labels import absent_images, match_labels, refuse_labels_elsewhere
from training.images.mnist import MNIST_FILES, open_mnist
from training.images.packs import open_pack

_WITHOUT_LABELS = ('or give ', arg('labels', 'none'))
# Formats of cameras and drawings for which Pillow has no reader of its own.
_OTHER_FORMATS = {
    '.heic',
    '.heif',
    '.avif',
    '.jxl',
    '.svg',
    '.dng',
    '.cr2',
    '.cr3',
    '.nef',
    '.arw',
    '.raf',
    '.orf',
}
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
        raise DatasetError(
            arg('source', path),
            f' has a {LABEL_FILE} with labels for some images, but none for {len(missing)} of '
            f'{source.count}, the first is {source.name_of(missing[0])}; add them, ',
            *_WITHOUT_LABELS,
        )


# ------------------------------------------------------------------------------------------------
# Folders and zip archives of images.


def _image_names(tree: FileTree) -> list[str]:
    names = [name for name in tree.names if is_image_name(name)]
    if not names:
        others = ''.join(f'; {words}' for words in [_other_formats(tree), _left_out(tree)] if words)
        raise DatasetError(
            tree.arg, f' contains no images; PNG and JPEG files are looked for in all its folders{others}'
        )
    return names


def _open_tree(kind: str, tree: FileTree, names: list[str], use_labels: bool) -> Source:
    labels, class_names, label_error = [None] * len(names), None, None
    notes = [(words,) for words in (_left_out(tree), _other_formats(tree), _loops(tree)) if words]
    if use_labels:
        try:
            labels, class_names, more = _read_labels(tree, names)
            notes += more
        except DatasetError as error:
            label_error = error
    known = set(names)
    return Source(
        kind,
        labels,
        _tree_items(tree, names),
        class_names,
        tuple(names),
        tuple(tree.repeated),
        tuple(name for name in tree.names if name not in known and normal_name(name) != LABEL_FILE),
        tree.where(LABEL_FILE),
        tuple(notes),
        label_error,
    )


def _read_labels(tree: FileTree, names: list[str]) -> tuple[list, list[str] | None, list[Where]]:
    """Return labels, names of the classes, and notes."""
    mapping = tree.read_label_map()
    if mapping:
        matched = match_labels(tree, names, mapping, _WITHOUT_LABELS)
        words = absent_images(matched.absent)
        return matched.labels, tree.read_class_names(), [(words,)] if words else []
    if tree.label_file is None:
        refuse_labels_elsewhere(tree, names, _WITHOUT_LABELS)
    notes = [_label_file_above(tree, names), _label_file_below(tree)]
    labels, class_names = [None] * len(names), None
    if not tree.is_zip:
        labels, class_names = _labels_from_folders(tree, names)
        notes.append(_splits(class_names))
    return labels, class_names, [note for note in notes if note]


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


def _left_out(tree: FileTree) -> str | None:
    if not tree.left_out:
        return None
    return f'left out as files of services or hidden: {examples(tree.left_out)}'


def _loops(tree: FileTree) -> str | None:
    if not tree.loops:
        return None
    return f'links that lead back to where they lie are not followed: {examples(tree.loops)}'


def _other_formats(tree: FileTree) -> str | None:
    found = [
        name
        for name in tree.names
        if os.path.splitext(name)[1].lower() in _OTHER_FORMATS and not is_image_name(name)
    ]
    if not found:
        return None
    return (
        f'{len(found)} image(s) that Pillow cannot open are left out, convert them first: {examples(found)}'
    )


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
