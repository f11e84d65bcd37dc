# Copyright 2026 The GDD-1S authors.
# SPDX-License-Identifier: Apache-2.0
"""Tests of training/run/state.py: atomic files of tensors and plain values, and errors in one line."""

import os
import pickle
import re

import pytest
import torch

from training.run import state as training_state

STATE = dict(
    nimg=1234,
    tick=3,
    iteration=7,
    run={},
    statistics={},
    progress={},
    ema=dict(weight=torch.zeros(2)),
    task=dict(net=dict(weight=torch.arange(6.0).reshape(2, 3)), lr=[0.1, 'x', None, True]),
)


class Foreign:
    """Something that only unpickling code could rebuild."""

    def __reduce__(self):
        return os.system, ('exit 3',)


def test_round_trip_and_names(tmp_path):
    path = training_state.state_path(str(tmp_path), 1234567)
    assert os.path.basename(path) == 'training-state-001234.pt'
    training_state.save_state(path, STATE)
    loaded = training_state.load_state(path)
    assert torch.equal(loaded['task']['net']['weight'], STATE['task']['net']['weight'])
    assert loaded['nimg'] == 1234 and loaded['task']['lr'] == [0.1, 'x', None, True]
    assert os.listdir(tmp_path) == ['training-state-001234.pt']


def test_failed_writing_leaves_the_earlier_file(tmp_path):
    path = training_state.state_path(str(tmp_path), 5000)
    training_state.save_state(path, STATE)
    with pytest.raises((AttributeError, TypeError, pickle.PicklingError)):
        training_state.save_state(path, dict(function=lambda: None))
    assert os.listdir(tmp_path) == ['training-state-000005.pt']
    assert training_state.load_state(path)['nimg'] == 1234


def damaged(path, kind):
    training_state.save_state(path, STATE)
    data = path.read_bytes()
    if kind == 'truncated':
        path.write_bytes(data[: len(data) // 2])
    elif kind == 'empty':
        path.write_bytes(b'')
    elif kind == 'text':
        path.write_text('no state at all\n' * 3)
    elif kind == 'foreign objects':
        torch.save(dict(STATE, extra=Foreign()), path)
    elif kind == 'plain pickle':
        path.write_bytes(pickle.dumps(dict(STATE, extra=Foreign())))
    elif kind == 'no dict':
        torch.save(torch.zeros(3), path)
    elif kind == 'other dict':
        torch.save(dict(ema=torch.zeros(3)), path)


@pytest.mark.parametrize(
    'kind', ['truncated', 'empty', 'text', 'foreign objects', 'plain pickle', 'no dict', 'other dict']
)
def test_unusable_file_is_one_line(kind, tmp_path, recwarn):
    path = tmp_path / 'training-state-000007.pt'
    damaged(path, kind)
    with pytest.raises(training_state.StateError) as caught:
        training_state.load_state(str(path))
    text = str(caught.value)
    assert '\n' not in text and text.startswith(f'--resume={path} is not a training state of this code')
    assert 'give a training-state-*.pt file of a run folder' in text
    assert len(recwarn) == 0


@pytest.mark.parametrize('kind', ['missing', 'folder'])
def test_missing_file_is_one_line(kind, tmp_path):
    path = tmp_path if kind == 'folder' else tmp_path / 'training-state-000001.pt'
    with pytest.raises(
        training_state.StateError, match=re.escape(f'--resume={path} does not exist; give a training')
    ):
        training_state.load_state(str(path))


def states(folder):
    return [
        int(re.search(r'\d+', os.path.basename(path)).group())
        for path in training_state.list_states(str(folder))
    ]


def make_states(folder, *kimgs):
    for kimg in kimgs:
        with open(training_state.state_path(str(folder), kimg * 1000), 'wb'):
            pass


def test_states_are_listed_by_number(tmp_path):
    make_states(tmp_path, 90, 1000000, 200, 999999)
    for name in (
        'training-state-12.pt',
        'training-state-000012.pt.tmp',
        'network-snapshot-000012.pkl',
        'x-000012.pt',
    ):
        (tmp_path / name).touch()
    assert states(tmp_path) == [90, 200, 999999, 1000000]


@pytest.mark.parametrize(
    'keep, left', [(0, [1, 2, 3, 4]), (1, [4]), (2, [3, 4]), (4, [1, 2, 3, 4]), (9, [1, 2, 3, 4])]
)
def test_retention(keep, left, tmp_path):
    make_states(tmp_path, 1, 2, 3, 4)
    (tmp_path / 'network-snapshot-000001.pkl').touch()
    training_state.remove_old_states(str(tmp_path), keep, training_state.state_path(str(tmp_path), 4000))
    assert states(tmp_path) == left and (tmp_path / 'network-snapshot-000001.pkl').exists()


def test_retention_never_deletes_the_state_just_written(tmp_path):
    """After a resume from an earlier state, the later ones of the abandoned branch must not push the new one out."""
    make_states(tmp_path, 10, 20, 30, 11)
    training_state.remove_old_states(str(tmp_path), 1, training_state.state_path(str(tmp_path), 11000))
    assert states(tmp_path) == [11, 20, 30]


# ------------------------------------------------------------------------------------------------
# Which state goes on, and who may.


def test_newest_complete_state(tmp_path):
    """Damaged ones are skipped with a line each; temporary and foreign files are no states."""
    assert training_state.newest_complete_state(str(tmp_path)) == (None, [])
    paths = [training_state.state_path(str(tmp_path), kimg * 1000) for kimg in (1, 2, 3, 4)]
    for path in paths:
        training_state.save_state(path, STATE)
    (tmp_path / '.tmp-77-0123456789ab').write_bytes(b'half')
    assert training_state.newest_complete_state(str(tmp_path)) == (paths[3], [])
    os.truncate(paths[3], os.path.getsize(paths[3]) // 2)
    os.truncate(paths[2], os.path.getsize(paths[2]) - 1)
    path, skipped = training_state.newest_complete_state(str(tmp_path))
    assert path == paths[1] and len(skipped) == 2
    assert re.fullmatch(re.escape(f'Skipping {paths[3]}: damaged or incomplete (') + r'\w+\)', skipped[0])
    for path in paths[:2]:
        os.truncate(path, 0)
    path, skipped = training_state.newest_complete_state(str(tmp_path))
    assert path is None and len(skipped) == 4


def test_later_states_are_set_aside_not_deleted(tmp_path):
    make_states(tmp_path, 10, 20, 30)
    assert training_state.set_aside_states(str(tmp_path), 10500) == [
        'training-state-000020.pt',
        'training-state-000030.pt',
    ]
    assert states(tmp_path) == [10] and sorted(os.listdir(tmp_path))[1:] == [
        'training-state-000020.pt.discarded',
        'training-state-000030.pt.discarded',
    ]
    assert training_state.set_aside_states(str(tmp_path), 10500) == []


def test_a_folder_has_one_process_at_a_time(tmp_path):
    with training_state.lock(str(tmp_path)):
        with pytest.raises(
            training_state.StateError,
            match=f'{tmp_path} is in use by another process that trains there; wait',
        ):
            with training_state.lock(str(tmp_path)):
                pass
    with training_state.lock(str(tmp_path)):
        assert not os.listdir(tmp_path)
