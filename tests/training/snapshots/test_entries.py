# Copyright 2026 The GDD-1S authors.
# SPDX-License-Identifier: Apache-2.0
"""Tests of training/snapshots/entries.py: what a snapshot holds beside its networks."""

import pytest
import torch

from torch_utils.pickle_values import StorageRecord, TensorRecord
from training.augment import AugmentPipe
from training.snapshots.entries import describe_entry, plain_entry, portable
from training.snapshots.pickle_records import PersistentRecord


def test_plain_entries():
    value = dict(path='a.zip', size=[1, (2.5, None)], more={'a': {'b': True}})
    assert plain_entry({'dataset_kwargs': value}, 'dataset_kwargs') == value
    assert plain_entry({}, 'metadata') == {} and plain_entry({'metadata': None}, 'metadata') == {}


@pytest.mark.parametrize(
    'value',
    [
        [1],
        'text',
        {'a': object()},
        {'a': {1, 2}},
        {'a': torch.zeros(1)},
        {'a': [0] * 20_000},
        {'a': ['x' * 1000] * 2000},
        {'x' * 2_000_000: 1},
        {'a': [[[[[[[[[[[[[[[[[[[1]]]]]]]]]]]]]]]]]]]},
    ],
)
def test_entries_that_are_not_plain_are_left_out_with_a_warning(value, caplog):
    assert plain_entry({'metadata': value}, 'metadata') == {}
    assert 'the entry metadata of the snapshot is not made of plain values' in caplog.text


def test_descriptions(caplog):
    assert describe_entry('a', None) is None and describe_entry('a', 3) == 3
    assert describe_entry('a', [1, 2]) == {'class_name': 'list'} and describe_entry('a', {'b': 1}) == {
        'class_name': 'dict'
    }
    state = {'P_mean': -1.2, 'table': [1], 3: 4, '_init_kwargs': {}, 'name': 'x'}
    found = describe_entry('loss_fn', PersistentRecord('EDMLoss', state, ''))
    assert found == dict(class_name='EDMLoss', P_mean=-1.2, name='x')
    assert caplog.text == ''
    describe_entry('loss_fn', PersistentRecord('Odd\nLoss', {}, ''))
    assert 'loss_fn of the snapshot has the unknown class Odd\\nLoss; ignored' in caplog.text


def test_modules_are_described_with_their_buffers():
    tensor = TensorRecord(StorageRecord(torch.float32, 1, b'\0' * 4), 0, (1,), (1,))
    record = PersistentRecord('AugmentPipe', dict(xflip=1, _buffers={'p': tensor, 'nothing': None}), '')
    assert describe_entry('augment_pipe', record) == dict(class_name='AugmentPipe', xflip=1, buffers=['p'])


def test_the_pipes_of_this_project_are_described_completely():
    """EDM's AugmentPipe of a teacher can be made again, and a student's, which is stored as plain values."""
    pipe = AugmentPipe(p=0.15, yflip=1)
    found = describe_entry('augment_pipe', pipe)
    assert found.pop('class_name') == 'AugmentPipe' and found.items() <= vars(AugmentPipe(**found)).items()
    assert (found.p, found.yflip, found.xflip) == (0.15, 1, 0)
    student = dict(class_name='AdaPipe', p=0.25)
    assert describe_entry('augment_pipe', student) == student
    assert describe_entry('augment_pipe', dict(class_name='AdaPipe', p={1})) == {'class_name': 'dict'}


def test_portable_values_name_no_folders_of_this_machine():
    found = portable({'path': '/home/somebody/a.zip', 'b': ['/x/y/', 'relative/c', 3]})
    assert found == {'path': 'a.zip', 'b': ['y', 'relative/c', 3]}
