# Copyright 2026 The GDD-1S authors.
# SPDX-License-Identifier: Apache-2.0
"""Tests of pickle_records.py: records of persistent objects, and what is no such object."""

import hashlib

import pytest

from torch_utils.persistence import PERSISTENCE_VERSION
from torch_utils.pickle_machine import Budget, PickleError, PickleFormatError
from training.snapshots.pickle_records import PersistentFactory, SnapshotError, UnknownClassError

META = dict(type='class', version=PERSISTENCE_VERSION, module_src='x = 1', class_name='A', state=dict(b=2))


def test_record_has_class_state_and_digest_of_the_source():
    record = PersistentFactory(Budget(10_000)).make(META)
    assert (record.class_name, record.state) == ('A', dict(b=2))
    assert record.src_sha256 == hashlib.sha256(b'x = 1').hexdigest()


@pytest.mark.parametrize(
    'change, text',
    [
        (dict(more=1), 'must come with exactly class_name, module_src, state, type, version'),
        (dict(version=PERSISTENCE_VERSION + 1), 'is not supported'),
        (dict(version=float(PERSISTENCE_VERSION)), 'is not supported'),
        (dict(type='function'), 'is not supported'),
        (dict(module_src=b'x'), 'must be str, its state a dict'),
        (dict(class_name=None), 'must be str, its state a dict'),
        (dict(state=[]), 'must be str, its state a dict'),
    ],
)
def test_other_content_is_refused(change, text):
    with pytest.raises(PickleFormatError, match=text):
        PersistentFactory(Budget(10_000)).make(META | change)
    with pytest.raises(PickleFormatError, match='must come with exactly'):
        PersistentFactory(Budget(10_000)).make({name: META[name] for name in list(META)[:4]})


def test_errors_are_those_of_pickles():
    assert issubclass(SnapshotError, PickleError) and issubclass(UnknownClassError, SnapshotError)
