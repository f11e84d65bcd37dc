# Copyright 2026 The GDD-1S authors.
# SPDX-License-Identifier: Apache-2.0
"""Files of a folder or zip archive, decoding of single images, and the labels of dataset.json."""

import collections
import io
import json
import os
import re
import zipfile
from pathlib import Path

import numpy as np
import PIL.Image

LABEL_FILE = 'dataset.json'
_MAX_CLASS = 999_999  # one-hot vectors beyond this would only exhaust the memory
_OUTSIDE = re.compile(r'^(/|\\|[A-Za-z]:)|(^|[/\\])\.\.([/\\]|$)')  # absolute, or with a component ".."
_DEEP_LAYOUT = re.compile('(?<!BGR);16')  # "BGR;16" is the 5-6-5 bit BMP, which has no more than 8 bits


class DatasetError(ValueError):
    """Report unusable image data in one line that a user can act on."""


def is_image_name(name):
    """Return whether the extension of `name` belongs to a format that Pillow can open."""
    extension = os.path.splitext(name)[1].lower()
    return PIL.Image.registered_extensions().get(extension) in PIL.Image.OPEN


def decode_image(data, where):
    """Decode one compressed image completely.

    Args:
        data:  Content of the file, bytes.
        where: Words that name the file in an error.
    Returns:
        Pillow image in the mode of the file.
    Raises:
        DatasetError: `data` is no image, is damaged, or has more than 8 bits per channel.
    """
    try:
        image = PIL.Image.open(io.BytesIO(data))
        if image.format == 'EPS':
            raise ValueError('Pillow would start another program to draw EPS')
        layout = str(getattr(image, 'tile', ''))
        image.load()
    except Exception as error:  # Pillow's plugins raise nearly anything for a damaged file
        reason = 'no known format' if isinstance(error, PIL.UnidentifiedImageError) else error
        raise DatasetError(f'{where} is not a readable image ({reason}); replace or remove it') from error
    # Pillow reduces 16-bit colour to 8 bit without a word, so the mode alone does not show it.
    if image.mode.startswith(('I', 'F')) or _DEEP_LAYOUT.search(layout):
        raise DatasetError(
            f'{where} has 16 or more bits per channel (mode {image.mode}, {image.width}x{image.height}), '
            'but must have 8; convert it first, for example with ImageMagick: convert IN -depth 8 OUT'
        )
    return image


class FileTree:
    """Read the files of a folder or a zip archive by name, from any process.

    The zip handle is opened lazily, once per process: it is neither pickled for a spawned worker
    nor shared with a forked one, whose reads would move the file position of its parent.

    Attributes `names` (sorted by code point) and `repeated` (names stored twice; only the last entry
    can be read by its name) list the files.

    Args:
        path:   Folder or `.zip` file.
        option: Command-line option that `path` came from, for messages.
    Raises:
        DatasetError: `path` does not exist, is neither a folder nor a zip archive, cannot be listed in
            full, or has entries that point outside the archive.
    """

    def __init__(self, path, option='--data'):
        self.path = os.fspath(path)
        self.label = f'{option}={self.path}'
        self._zip = None
        self._zip_pid = None
        self.is_zip = not os.path.isdir(self.path)
        if not os.path.exists(self.path):
            raise DatasetError(f'{self.label} does not exist; give an existing folder or .zip file')
        if self.is_zip and not self.path.lower().endswith('.zip'):
            raise DatasetError(f'{self.label} must be a folder or a .zip file; dataset_tool.py makes one')
        counts = collections.Counter(self._zip_names() if self.is_zip else self._folder_names())
        self.names = sorted(counts)
        self.repeated = sorted(name for name, count in counts.items() if count > 1)

    def _folder_names(self):
        def fail(error):
            raise DatasetError(
                f'{self.label} cannot be read in full ({error}); make all its folders readable'
            )

        for root, _dirs, files in os.walk(self.path, onerror=fail):
            for file in files:
                yield os.path.relpath(os.path.join(root, file), self.path).replace(os.sep, '/')

    def _zip_names(self):
        for name in self._open_zip().namelist():
            if _OUTSIDE.search(name):
                raise DatasetError(
                    f'{self.label} has an entry {name}, which points outside the archive; '
                    'get the archive from a source you trust, or make it again'
                )
            if not name.endswith('/'):
                yield name

    def _open_zip(self):
        if self._zip is None or self._zip_pid != os.getpid():
            try:
                self._zip = zipfile.ZipFile(self.path)
            except (OSError, ValueError, NotImplementedError, zipfile.BadZipFile) as error:
                raise DatasetError(
                    f'{self.label} is not a readable zip archive ({error}); copy it again or give a folder'
                ) from error
            self._zip_pid = os.getpid()
        return self._zip

    def __getstate__(self):
        return dict(self.__dict__, _zip=None, _zip_pid=None)

    def where(self, name):
        """Return words that name one file in an error."""
        return f'file {name} in {self.label}'

    def read(self, name):
        """Return the content of one file as bytes; raise DatasetError when it cannot be read."""
        try:
            if self.is_zip:
                return self._open_zip().read(name)
            return Path(self.path, name).read_bytes()
        except DatasetError:
            raise
        except Exception as error:  # damaged entries surface as OS, zip, zlib, struct or runtime errors
            raise DatasetError(
                f'{self.where(name)} cannot be read ({error}); replace or remove it'
            ) from error

    def read_json(self, name):
        """Return one JSON file, decoded; raise DatasetError when it is no JSON text."""
        try:
            return json.loads(self.read(name).decode('utf-8'))
        except DatasetError:
            raise
        except (ValueError, RecursionError) as error:
            raise DatasetError(
                f'{self.where(name)} is not JSON text ({error}); make it with dataset_tool.py'
            ) from error

    def read_label_map(self):
        """Read the labels of dataset.json.

        Returns:
            dict name -> label as stored, or None when there is no dataset.json or its `labels` is null.
        Raises:
            DatasetError: the file does not hold `{"labels": [[name, label], ...]}`, or gives a name two labels.
        """
        if LABEL_FILE not in self.names:
            return None
        content = self.read_json(LABEL_FILE)
        rule = f'{self.where(LABEL_FILE)} must hold {{"labels": [[NAME, LABEL], ...]}} or {{"labels": null}}'
        if not isinstance(content, dict) or 'labels' not in content:
            raise DatasetError(f'{rule}; there is no "labels" entry')
        pairs = content['labels']
        if pairs is None:
            return None
        if not isinstance(pairs, list):
            raise DatasetError(f'{rule}; "labels" is a {type(pairs).__name__}')
        for number, pair in enumerate(pairs):
            if not (isinstance(pair, list) and len(pair) == 2 and isinstance(pair[0], str)):
                raise DatasetError(f'{rule}; entry {number} is {str(pair)[:60]}')
        return self._unique_labels(pairs)

    def _unique_labels(self, pairs):
        labels = {}
        for name, label in pairs:
            name = name.replace('\\', '/')
            if labels.setdefault(name, label) != label:
                raise DatasetError(
                    f'{self.where(LABEL_FILE)} gives {name} two labels, {str(labels[name])[:60]} and '
                    f'{str(label)[:60]}; keep one of them'
                )
        return labels

    def read_class_names(self):
        """Return the list `class_names` of dataset.json, our addition to EDM's format, or None without such a list."""
        content = self.read_json(LABEL_FILE) if LABEL_FILE in self.names else None
        names = content.get('class_names') if isinstance(content, dict) else None
        return names if isinstance(names, list) and all(isinstance(name, str) for name in names) else None


def label_array(labels, where):
    """Convert labels as stored in dataset.json.

    Args:
        labels: List of N class numbers >= 0, or of N vectors of K numbers.
        where:  Words that name the file in an error.
    Returns:
        int64 [N] or float32 [N, K].
    Raises:
        DatasetError: the labels are anything else, or of both kinds.
    """
    if all(type(label) is int for label in labels):
        if min(labels) < 0 or max(labels) > _MAX_CLASS:
            raise DatasetError(
                f'{where} has class numbers from {min(labels)} to {max(labels)}, but they must lie '
                f'in 0..{_MAX_CLASS}; number the classes 0, 1, 2, ...'
            )
        return np.array(labels, dtype=np.int64)
    are_vectors = all(isinstance(label, list) and len(label) == len(labels[0]) > 0 for label in labels)
    if are_vectors and all(
        type(value) in (int, float) and abs(value) < 1e30 for label in labels for value in label
    ):
        return np.array(labels, dtype=np.float32)
    raise DatasetError(
        f'{where} must give every image a class number (such as 3) or a vector of numbers, all of one '
        f'length; the first label is {str(labels[0])[:60]}'
    )
