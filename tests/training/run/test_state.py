# Copyright 2026 The GDD-1S authors.
# SPDX-License-Identifier: Apache-2.0
"""Tests of training/run/state.py: atomic files of tensors and plain values, and errors in one line."""

import os
import pickle
import random
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
    assert '\n' not in text and text.startswith(f'resume={path} is not a training state of this code')
    assert 'give a training-state-*.pt file of a run folder' in text
    assert len(recwarn) == 0


@pytest.mark.parametrize('kind', ['missing', 'folder'])
def test_missing_file_is_one_line(kind, tmp_path):
    path = tmp_path if kind == 'folder' else tmp_path / 'training-state-000001.pt'
    with pytest.raises(
        training_state.StateError, match=re.escape(f'resume={path} does not exist; give a training')
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
    """After a resume from an earlier state, the later ones of the abandoned branch push nothing out."""
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


# ------------------------------------------------------------------------------------------------
# Every bit, and every type.


def flipped(path, position, bit):
    data = bytearray(path.read_bytes())
    data[position] ^= 1 << bit
    path.write_bytes(data)


def same(first, second):
    """Compare two states, also those in which NaN stands."""
    if isinstance(first, torch.Tensor):
        return isinstance(second, torch.Tensor) and first.numpy().tobytes() == second.numpy().tobytes()
    if isinstance(first, dict):
        return list(first) == list(second) and all(same(first[key], second[key]) for key in first)
    return first == second


def test_no_flipped_bit_is_taken_over(tmp_path):
    """Wherever it is: in a tensor, in the structure, in a header. Those of unused bytes change nothing."""
    path = tmp_path / 'training-state-000001.pt'
    big = dict(STATE, ema=dict(weight=torch.arange(2000.0), more=torch.arange(5, dtype=torch.int64)))
    training_state.save_state(path, big)
    whole, rng = path.read_bytes(), random.Random(0)
    start = whole.index(torch.arange(2000.0).numpy().tobytes())
    unnoticed = 0
    for number in range(300):
        path.write_bytes(whole)
        inside = number < 100
        position = start + rng.randrange(8000) if inside else rng.randrange(len(whole))
        flipped(path, position, rng.randrange(8))
        try:
            loaded = training_state.load_state(str(path))
        except training_state.StateError as error:
            assert '\n' not in str(error)
        else:
            assert not inside and same(loaded, big), position
            unnoticed += 1
    assert unnoticed < 40


def test_torch_itself_notices_no_flipped_bit(tmp_path):
    """Why the check is needed."""
    path = tmp_path / 'training-state-000001.pt'
    training_state.save_state(path, STATE)
    flipped(path, path.read_bytes().index(STATE['task']['net']['weight'].numpy().tobytes()) + 9, 6)
    found = torch.load(path, weights_only=True)['task']['net']['weight']
    assert not torch.equal(found, STATE['task']['net']['weight'])


@pytest.mark.parametrize(
    'change, text',
    [
        (dict(nimg='1234'), 'nimg is a str'),
        (dict(nimg=-1), 'nimg is -1'),
        (dict(tick=True), 'tick is a bool'),
        (dict(iteration=torch.zeros([])), 'iteration is a Tensor'),
        (dict(task=[1]), 'task is a list'),
        (dict(ema=None), 'ema is a NoneType'),
        (dict(run=3), 'run is a int'),
        (dict(progress=dict(total_sec='x')), 'total_sec is a str'),
        (dict(last_tick_nimg=[]), 'last_tick_nimg is a list'),
        (dict(nonfinite={'a': {}}), 'a is a dict'),
    ],
)
def test_values_of_other_types_are_one_line(change, text, tmp_path):
    path = tmp_path / 'training-state-000007.pt'
    training_state.save_state(path, {**STATE, **change})
    with pytest.raises(training_state.StateError, match=re.escape(f'this code ({text}); give a training')):
        training_state.load_state(str(path))


@pytest.mark.parametrize(
    'error', [KeyError('a'), TypeError('no\nlist'), AttributeError('x'), RuntimeError('y')]
)
def test_parts_that_cannot_take_over_their_share(error):
    with pytest.raises(
        training_state.StateError, match='resume=a.pt does not fit the networks of this'
    ) as caught:
        with training_state.taking_over('a.pt'):
            raise error
    assert '\n' not in str(caught.value)
    with pytest.raises(training_state.StateError, match='^own$'), training_state.taking_over('a.pt'):
        raise training_state.StateError('own')


class Task:
    """A task with an optimizer after a step."""

    def __init__(self):
        self.net = torch.nn.Linear(2, 3)
        self.optimizer = torch.optim.Adam(self.net.parameters())
        self.net(torch.ones(1, 2)).sum().backward()
        self.optimizer.step()


@pytest.mark.parametrize(
    'change, text',
    [
        (
            lambda state: state['state'][0].update(exp_avg=torch.zeros(3, 3)),
            'exp_avg .* has shape .3, 3., its',
        ),
        (lambda state: state['state'][1].update(exp_avg_sq='x'), 'exp_avg_sq of the optimizer is a str'),
        (lambda state: state['param_groups'][0].update(lr='x'), 'lr of the optimizer is a str'),
        (lambda state: state['state'][1].update(step=torch.tensor(-1.0)), 'step of the optimizer is -1'),
        (lambda state: state['state'][0].update(step=float('nan')), 'step of the optimizer is nan'),
        (lambda state: state['param_groups'][0].update(betas=(0.9, None)), 'betas .* are not 2 numbers'),
    ],
)
def test_optimizers_are_checked(change, text):
    """torch itself notices some of these in the next step only, with a traceback."""
    task = Task()
    training_state.check_optimizers(task)
    state = task.optimizer.state_dict()
    change(state)
    task.optimizer.load_state_dict(state)
    with pytest.raises(ValueError, match=text):
        training_state.check_optimizers(task)


class ConvolutionTask:
    """A task with the optimizer of students, after some steps; weights in one of the two memory orders."""

    def __init__(self, layout, steps):
        torch.manual_seed(0)
        self.net = torch.nn.Conv2d(3, 4, 3).to(memory_format=layout)
        self.optimizer = torch.optim.Adam(self.net.parameters(), lr=0.1, fused=True)
        for _ in range(steps):
            self.step()

    def step(self):
        self.optimizer.zero_grad()
        self.net(torch.arange(48.0).reshape(1, 3, 4, 4) / 48).square().sum().backward()
        self.optimizer.step()


@pytest.mark.parametrize('follows', [True, False])
def test_moments_follow_the_memory_order_of_the_weights(follows):
    """A fused step goes by position in memory: without this, other weights would be moved."""
    whole = ConvolutionTask(torch.contiguous_format, 3)
    interrupted = ConvolutionTask(torch.contiguous_format, 2)
    resumed = ConvolutionTask(torch.channels_last, 0)
    resumed.net.load_state_dict(interrupted.net.state_dict())
    resumed.optimizer.load_state_dict(interrupted.optimizer.state_dict())
    if follows:
        training_state.follow_memory_order(resumed)
    resumed.step()
    assert torch.allclose(resumed.net.weight, whole.net.weight, atol=1e-5) == follows
