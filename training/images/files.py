# Copyright 2026 The GDD-1S authors.
# SPDX-License-Identifier: Apache-2.0
"""Files of a folder or zip archive: which of them count, how they are read, and what dataset.json says."""

import collections
import json
import os
import posixpath
import re
import stat
import zipfile
from collections.abc import Iterable, Iterator
from typing import Any

import PIL.Image

from dnnlib.errors import Arg, ArgumentError, arg

LABEL_FILE = 'dataset.json'
Where = tuple[str | Arg, ...]  # parts of a message that name a file or an image

_OUTSIDE = re.compile(r'^(/|\\|[A-Za-z]:)|(^|[/\\])\.\.([/\\]|$)')  # absolute, or with a component ".."
# What file managers, archivers, network drives and notebooks leave behind, in lower case. Names with a
# leading dot are left out as well: .ipynb_checkpoints, .git, .DS_Store, .Trash-1000, and ._x (AppleDouble).
_SERVICE_NAMES = {
    '__macosx',
    '__pycache__',
    '@eadir',
    '@recycle',
    '@recently-snapshot',
    '@__thumb',
    '#recycle',
    '#snapshot',
    '$recycle.bin',
    'recycler',
    'system volume information',
    'lost+found',
    'thumbs.db',
    'ehthumbs.db',
    'desktop.ini',
}
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
# A zip member may announce this much, whatever it takes up in the archive: an image without any compression
# of its own. Beyond it, at most so many times what it takes up: 1032 is the most that deflate can do.
_MEMBER_BYTES, _MEMBER_RATIO = 1 << 26, 20
_JSON_BYTES, _JSON_RATIO = (
    1 << 24,
    4,
)  # dataset.json, and the size of the whole archive: it becomes far larger in memory
_EXAMPLES = 5  # names that are written out


class DatasetError(ArgumentError):
    """Image data cannot be used; one line that a user can act on."""


# ------------------------------------------------------------------------------------------------
# Names.


def is_image_name(name: str) -> bool:
    """Return whether the extension of `name` belongs to a format that Pillow can open."""
    extension = os.path.splitext(name)[1].lower()
    return PIL.Image.registered_extensions().get(extension) in PIL.Image.OPEN


def service_part(name: str) -> str | None:
    """Return the part of a relative path, from its start, that is a folder or file of a service; else None.

    'cat/.ipynb_checkpoints/0.png' -> 'cat/.ipynb_checkpoints'.
    """
    parts = name.replace('\\', '/').split('/')
    for number, part in enumerate(parts):
        if part.lower() in _SERVICE_NAMES or part.startswith('.') and part not in ('.', '..'):
            return '/'.join(parts[: number + 1])
    return None


def normal_name(name: str) -> str:
    """Return a relative path in the one spelling in which names of files and labels are compared.

    Backslashes, './' and doubled slashes name the same file for certain. A leading slash, '..' at the start,
    another case or another folder do not, and stay.
    """
    return posixpath.normpath(name.replace('\\', '/')) if name else name


def examples(names: Iterable[str]) -> str:
    """Return a few names as text: `a, b, and 7 more`."""
    names = list(names)
    more = f', and {len(names) - _EXAMPLES} more' if len(names) > _EXAMPLES else ''
    return ', '.join(names[:_EXAMPLES]) + more


def read_regular_file(path: str | os.PathLike) -> bytes:
    """Return the content of a file.

    Raises:
        ValueError: it is a pipe, a device or a socket, whose reading may never end.
        OSError:    it cannot be read.
    """
    if not stat.S_ISREG(os.stat(path).st_mode):
        raise ValueError('it is no regular file')
    with open(path, 'rb') as file:
        return file.read()


def check_member_size(info: zipfile.ZipInfo, base: int = _MEMBER_BYTES, ratio: int = _MEMBER_RATIO) -> None:
    """Compare what a zip member announces with what it can hold, before memory is taken.

    Args:
        info:  The member.
        base:  Bytes that any member may announce.
        ratio: Bytes that it may announce per byte in the archive, beyond `base`.
    Raises:
        ValueError: it announces more, or, stored without compression, more than it takes up.
    """
    if info.compress_type == zipfile.ZIP_STORED and info.file_size > info.compress_size:
        raise ValueError(f'it takes up {info.compress_size:,} bytes, but announces {info.file_size:,}')
    if info.file_size > base + ratio * info.compress_size:
        raise ValueError(
            f'it takes up {info.compress_size:,} bytes, but announces {info.file_size:,}; '
            'if it is really as large, unpack the archive'
        )


# ------------------------------------------------------------------------------------------------
# Folders and archives.


class FileTree:
    """Read the files of a folder or a zip archive by name, from any process.

    The zip handle is opened lazily, once per process: it is neither pickled for a spawned worker
    nor shared with a forked one, whose reads would move the file position of its parent.
    Linked folders are followed, unless they lead back to a folder that they lie in.

    Attributes:
        names:    Files, sorted by code point, without those of services.
        repeated: Names stored twice; only the last entry can be read by its name.
        left_out: Files and folders of services (see `service_part`), sorted.
        loops:    Linked folders that lead back, sorted.
        dead_links: Links without a target, images excepted: those are refused when they are read.
        folders:  Folders at the top, sorted; an archive has none.
        label_file: Name of dataset.json at the top, or None.

    Args:
        path: Folder or `.zip` file.
    Raises:
        DatasetError: `path` does not exist, is neither a folder nor a zip archive, cannot be listed in
            full, or has entries that point outside the archive.
    """

    def __init__(self, path: str | os.PathLike) -> None:
        self.path = os.fspath(path)
        self.arg = arg('path', self.path)
        self._zip = None
        self._zip_pid = None
        self.is_zip = not os.path.isdir(self.path)
        if not os.path.exists(self.path):
            raise DatasetError(self.arg, ' does not exist; give an existing folder or .zip file')
        if self.is_zip and not os.path.isfile(self.path):
            raise DatasetError(self.arg, ' is a pipe, a device or a socket; give a folder or a .zip file')
        if self.is_zip and not self.path.lower().endswith('.zip'):
            raise DatasetError(self.arg, ' must be a folder or a .zip file; dataset_tool.py makes one')
        left_out, loops, self.dead_links, self.folders = set(), [], [], []
        counts = collections.Counter(
            self._zip_names(left_out) if self.is_zip else self._folder_names(left_out, loops)
        )
        self.names = sorted(counts)
        self.repeated = sorted(name for name, count in counts.items() if count > 1)
        self.left_out, self.loops, self.folders = sorted(left_out), sorted(loops), sorted(self.folders)
        self.label_file = next((name for name in self.names if normal_name(name) == LABEL_FILE), None)

    def _folder_names(self, left_out: set[str], loops: list[str]) -> Iterator[str]:
        # Each folder comes with the identities of all that it lies in, links followed.
        pending = [(self.path, '', frozenset([_identity(self.path)]))]
        while pending:
            folder, prefix, above = pending.pop()
            try:
                with os.scandir(folder) as entries:
                    entries = list(entries)
            except OSError as error:
                raise DatasetError(
                    self.arg, f' cannot be read in full ({error}); make all its folders readable'
                ) from error
            for entry in entries:
                name = prefix + entry.name
                if service_part(entry.name):
                    left_out.add(name)
                    continue
                try:
                    identity = _identity(entry.path) if entry.is_dir() else None
                except OSError:  # links in a circle lead nowhere
                    identity = next(iter(above))
                if identity is None:
                    if entry.is_symlink() and not os.path.exists(entry.path) and not is_image_name(name):
                        self.dead_links.append(name)
                    yield name
                elif identity in above:
                    loops.append(name)
                else:
                    pending.append((entry.path, f'{name}/', above | {identity}))
                    if not prefix:
                        self.folders.append(name)

    def _zip_names(self, left_out: set[str]) -> Iterator[str]:
        for name in self._open_zip().namelist():
            if _OUTSIDE.search(name):
                raise DatasetError(
                    self.arg,
                    f' has an entry {name}, which points outside the archive; '
                    'get the archive from a source you trust, or make it again',
                )
            part = service_part(name.rstrip('/'))
            if part:
                left_out.add(part)
            elif not name.endswith('/'):
                yield name

    def _open_zip(self) -> zipfile.ZipFile:
        if self._zip is None or self._zip_pid != os.getpid():
            try:
                self._zip = zipfile.ZipFile(self.path)
            except (OSError, ValueError, NotImplementedError, zipfile.BadZipFile) as error:
                raise DatasetError(
                    self.arg, f' is not a readable zip archive ({error}); copy it again or give a folder'
                ) from error
            self._zip_pid = os.getpid()
        return self._zip

    def __getstate__(self) -> dict[str, Any]:
        return dict(self.__dict__, _zip=None, _zip_pid=None)

    def remarks(self) -> list[str]:
        """Return what was listed otherwise than a user may think, a line each."""
        remarks = []
        if self.left_out:
            remarks.append(f'left out as files of services or hidden: {examples(self.left_out)}')
        others = [
            name
            for name in self.names
            if os.path.splitext(name)[1].lower() in _OTHER_FORMATS and not is_image_name(name)
        ]
        if others:
            remarks.append(
                f'{len(others)} image(s) that Pillow cannot open are left out, '
                f'convert them first: {examples(others)}'
            )
        if self.loops:
            remarks.append(f'links that lead back to where they lie are not followed: {examples(self.loops)}')
        if self.dead_links:
            remarks.append(f'links that lead nowhere are left out: {examples(sorted(self.dead_links))}')
        return remarks

    def where(self, name: str) -> Where:
        """Return the parts of a message that name one file."""
        return f'file {name} in ', self.arg

    def read(self, name: str) -> bytes:
        """Return the content of one file; raise DatasetError when it cannot be read."""
        try:
            if not self.is_zip:
                return read_regular_file(os.path.join(self.path, name))
            info = self._open_zip().getinfo(name)
            if os.path.basename(name) == LABEL_FILE:
                check_member_size(info, _JSON_BYTES + _JSON_RATIO * os.path.getsize(self.path), ratio=0)
            else:
                check_member_size(info)
            return self._open_zip().read(name)
        except DatasetError:
            raise
        except Exception as error:  # damaged entries surface as OS, zip, zlib, struct or runtime errors
            raise DatasetError(
                *self.where(name), f' cannot be read ({error}); replace or remove it'
            ) from error

    # --------------------------------------------------------------------------------------------
    # dataset.json.

    def read_json(self, name: str) -> Any:
        """Return one JSON file, decoded from UTF-8, UTF-16 or UTF-32, with a byte-order mark or without.

        Raises:
            DatasetError: it is no JSON text.
        """
        try:
            return json.loads(self.read(name))
        except DatasetError:
            raise
        except (ValueError, RecursionError, MemoryError) as error:
            raise DatasetError(
                *self.where(name), f' is not JSON text ({error}); make it with dataset_tool.py'
            ) from error

    def read_label_map(self) -> dict[str, Any] | None:
        """Read the labels of dataset.json.

        Returns:
            `normal_name` -> label, or None when there is no dataset.json or its `labels` is null. Whole
            numbers such as 1.0 become ints, as EDM reads them.
        Raises:
            DatasetError: the file does not hold `{"labels": [[name, label], ...]}`, or a name has two labels.
        """
        if self.label_file is None:
            return None
        content = self.read_json(self.label_file)
        rule = (*self.where(LABEL_FILE), ' must hold {"labels": [[NAME, LABEL], ...]} or {"labels": null}; ')
        if not isinstance(content, dict) or 'labels' not in content:
            raise DatasetError(*rule, 'there is no "labels" entry')
        pairs = content['labels']
        if pairs is None:
            return None
        if not isinstance(pairs, list):
            raise DatasetError(*rule, f'"labels" is a {type(pairs).__name__}')
        for number, pair in enumerate(pairs):
            if not (isinstance(pair, list) and len(pair) == 2 and isinstance(pair[0], str)):
                raise DatasetError(*rule, f'entry {number} is {str(pair)[:60]}')
        return self._unique_labels(pairs)

    def _unique_labels(self, pairs: list) -> dict[str, Any]:
        labels = {}
        for name, label in pairs:
            name = normal_name(name)
            if isinstance(label, float) and label.is_integer():
                label = int(label)
            known = labels.setdefault(name, label)
            if known != label:
                raise DatasetError(
                    *self.where(LABEL_FILE),
                    f' gives {name} two labels, {str(known)[:60]} and {str(label)[:60]}; keep one of them',
                )
        return labels

    def read_class_names(self) -> list[str] | None:
        """Return the list `class_names` of dataset.json, our addition to EDM's format, None without one."""
        content = self.read_json(self.label_file) if self.label_file is not None else None
        names = content.get('class_names') if isinstance(content, dict) else None
        return names if isinstance(names, list) and all(isinstance(name, str) for name in names) else None


def _identity(folder: str) -> tuple[int, int]:
    """What makes two paths the same folder."""
    found = os.stat(folder)
    return found.st_dev, found.st_ino
