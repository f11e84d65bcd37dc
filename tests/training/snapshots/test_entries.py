# Copyright 2026 The GDD-1S authors.
# SPDX-License-Identifier: Apache-2.0
"""Tests of training/snapshots/entries.py: what a snapshot holds beside its networks."""

import math

import pytest
import torch

from training.adversarial.ada import AdaPipe
from training.augment import AugmentPipe
from training.snapshots.entries import build_augment_pipe, describe_entry, plain_entry, portable
from training.snapshots.pickle_records import PersistentRecord, SnapshotError, StorageRecord, TensorRecord


def description(**changes):
    return {**describe_entry('augment_pipe', AugmentPipe(p=0.15, yflip=1)), **changes}


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


def test_augment_pipes_are_rebuilt():
    pipe = build_augment_pipe(description())
    assert type(pipe) is AugmentPipe and (pipe.p, pipe.yflip, pipe.xflip) == (0.15, 1.0, 0.0)
    assert vars(pipe).keys() >= set(description()) - {'class_name'} and build_augment_pipe(None) is None
    images = torch.rand(2, 3, 8, 8)
    torch.manual_seed(0)
    expected = AugmentPipe(p=0.15, yflip=1)(images)
    torch.manual_seed(0)
    assert all(torch.equal(a, b) for a, b in zip(pipe(images), expected))


def test_pipe_of_a_student_is_rebuilt():
    """Stored as plain values."""
    pipe = build_augment_pipe(describe_entry('augment_pipe', dict(class_name='AdaPipe', p=0.25)))
    assert type(pipe) is AdaPipe and pipe.p == 0.25
    for wrong in (dict(p=-1), dict(p='1'), dict(p=math.inf), {}, dict(p=0.1, q=1)):
        with pytest.raises(SnapshotError, match='no AdaPipe of this project'):
            build_augment_pipe(dict(wrong, class_name='AdaPipe'))
    assert describe_entry('augment_pipe', dict(class_name='AdaPipe', p={1})) == {'class_name': 'dict'}


@pytest.mark.parametrize(
    'value, text',
    [
        (description(class_name='OtherPipe'), 'not the AugmentPipe of EDM'),
        (description(buffers=['p']), 'not the AugmentPipe of EDM'),
        ('text', 'not the AugmentPipe of EDM'),
        (description(noise=1.0), 'differs from EDM.s in noise, so'),
        (
            {key: value for key, value in description().items() if key != 'hue'},
            'differs from EDM.s in hue, so',
        ),
        (description(p=math.nan), 'has p=nan, but a finite number'),
        (description(p='1'), 'has p=1, but a finite number'),
        (description(p=True), 'has p=True, but a finite number'),
    ],
)
def test_other_pipes_are_refused(value, text):
    with pytest.raises(SnapshotError, match=text) as caught:
        build_augment_pipe(value)
    assert '\n' not in str(caught.value)


def test_portable_values_name_no_folders_of_this_machine():
    found = portable({'path': '/home/somebody/a.zip', 'b': ['/x/y/', 'relative/c', 3]})
    assert found == {'path': 'a.zip', 'b': ['y', 'relative/c', 3]}
