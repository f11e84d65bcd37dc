# Copyright 2026 The GDD-1S authors.
# SPDX-License-Identifier: Apache-2.0
"""The record that stands for a persistent object of a snapshot, and the errors of snapshots.

A record holds plain data of the file; making one never imports, constructs or runs anything the
file asks for. Records of numbers and tensors stand in `torch_utils.pickle_values`.
"""

import hashlib
from typing import Any

from torch_utils.persistence import PERSISTENCE_VERSION
from torch_utils.pickle_machine import Budget, PickleError, PickleFormatError, shown

META_KEYS = {'type', 'version', 'module_src', 'class_name', 'state'}


class SnapshotError(PickleError):
    """A snapshot cannot be used; the message is one line for the user."""


class UnknownClassError(SnapshotError):
    """The network has a class, an option or a structure that this project does not have."""


class PersistentRecord:
    """A persistent object: class name, attributes, and the digest of the source text beside it."""

    __slots__ = ('class_name', 'state', 'src_sha256')

    def __init__(self, class_name: str, state: dict, src_sha256: str) -> None:
        self.class_name = class_name
        self.state = state
        self.src_sha256 = src_sha256


class PersistentFactory:
    """Make the records of the persistent objects of one file.

    Args:
        budget: What reading the file may cost.
    """

    def __init__(self, budget: Budget) -> None:
        self._budget = budget
        self._source_digests = {}

    def make(self, meta: Any) -> PersistentRecord:
        """Make the record of a persistent object from its meta dictionary."""
        self._budget.count_record()
        if not isinstance(meta, dict) or len(meta) != len(META_KEYS) or set(meta) != META_KEYS:
            raise PickleFormatError(
                f'a persistent object must come with exactly {", ".join(sorted(META_KEYS))}'
            )
        if (
            meta['type'] != 'class'
            or type(meta['version']) is not int
            or meta['version'] != PERSISTENCE_VERSION
        ):
            raise PickleFormatError(
                f'persistence version {shown(meta["version"])} is not supported '
                f'({PERSISTENCE_VERSION} of type class expected)'
            )
        source, name, state = meta['module_src'], meta['class_name'], meta['state']
        if not isinstance(source, str) or not isinstance(name, str) or not isinstance(state, dict):
            raise PickleFormatError(
                'source text and class name of a persistent object must be str, its state a dict'
            )
        if source not in self._source_digests:
            digest = hashlib.sha256(source.encode('utf-8', errors='surrogatepass')).hexdigest()
            self._source_digests[source] = digest
        return PersistentRecord(name, state, self._source_digests[source])
