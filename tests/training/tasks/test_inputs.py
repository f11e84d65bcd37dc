# Copyright 2026 The GDD-1S authors.
# SPDX-License-Identifier: Apache-2.0
"""Tests of training/tasks/inputs.py: micro-batches hold all that belongs to their images, and nothing
else."""

import dataclasses

import pytest
import torch

from training.tasks.inputs import StageInputs


def make_inputs(count=7):
    """Every tensor says of which image it is."""
    number = torch.arange(count)
    images = number.float().reshape(-1, 1, 1, 1).expand(-1, 3, 2, 2)
    draws = dict(fake=dict(ada=dict(angle=number), diffaug=dict(one=dict(x=number), two=dict(x=number))))
    return StageInputs(images, number[:, None], images + 0.5, draws, dict(t=number, s=number), count)


def numbers(part):
    """Image numbers of all that a part holds, one list each."""
    fake = part.draws['fake']
    values = [fake['ada']['angle'], fake['diffaug']['one']['x'], fake['diffaug']['two']['x']]
    values += [part.images[:, 0, 0, 0], part.labels[:, 0], part.z[:, 1, 1, 1] - 0.5, *part.indices.values()]
    return [value.tolist() for value in values]


@pytest.mark.parametrize('size', [1, 2, 3, 7, 100])
def test_micro_batches_hold_each_image_once_and_in_order(size):
    inputs = make_inputs()
    parts = inputs.micro_batches(size)
    assert [len(part.images) for part in parts] == [min(size, 7 - begin) for begin in range(0, 7, size)]
    for name in range(8):
        assert [i for part in parts for i in numbers(part)[name]] == list(range(7))
    assert all(part.batch == 7 for part in parts) and sum(part.share for part in parts) == pytest.approx(1)


def test_weights_of_means_are_exact():
    """In float: shares of 2 of 8 images are 0.25 and not nearly so."""
    assert [part.share for part in make_inputs(8).micro_batches(2)] == [0.25] * 4
    assert make_inputs().share == 1.0


def test_what_is_not_there_stays_away():
    inputs = dataclasses.replace(make_inputs(), z=None, draws={}, indices={})
    part = inputs.part(2, 4)
    assert part.z is None and part.draws == part.indices == {} and len(part.images) == 2


def test_parts_share_their_memory_with_the_whole():
    inputs = make_inputs()
    assert inputs.part(3, 5).labels.data_ptr() == inputs.labels[3:].data_ptr()
