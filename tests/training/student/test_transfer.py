# Copyright 2026 The GDD-1S authors.
# SPDX-License-Identifier: Apache-2.0
"""Tests of training/student/transfer.py: the teacher as it is loaded and copied."""

import pytest
import torch

from dnnlib import EasyDict
from dnnlib.errors import ArgumentError, as_option
from tests.support import tiny_runs
from training import networks
from training.student.transfer import copy_teacher, has_augmentation, load_teacher, teacher_facts

SHAPE = dict(img_resolution=8, img_channels=3, label_dim=3)


def network(seed=0, cls=networks.EDMPrecond, **changes):
    torch.manual_seed(seed)
    return cls(**dict(SHAPE, **tiny_runs.UNET, **changes))


def test_teacher_is_read_with_its_facts(material):
    net, info = load_teacher(material[1], trust_pickle=False)
    assert type(net) is networks.EDMPrecond and info.init_kwargs['img_resolution'] == 8
    assert teacher_facts(info) == dict(sha256=info.sha256, class_name='EDMPrecond')


def test_random_is_no_teacher():
    net, info = load_teacher('random', trust_pickle=False)
    assert net is None and info == EasyDict(sha256='none', class_name='GDDPrecond', init_kwargs=None)
    student = network()
    before = {name: tensor.clone() for name, tensor in student.state_dict().items()}
    copy_teacher(None, student, 'random')
    assert not tiny_runs.differences(before, student.state_dict())


def test_all_weights_are_copied():
    teacher, student = network(1), network(2, networks.GDDPrecond)
    assert tiny_runs.differences(teacher.state_dict(), student.state_dict())
    copy_teacher(teacher, student, 't.pkl')
    assert not tiny_runs.differences(teacher.state_dict(), student.state_dict())


def test_augmentation_of_the_teacher_may_be_left_over():
    teacher, student = network(1, augment_dim=9), network(2)
    assert has_augmentation(teacher) and not has_augmentation(student)
    copy_teacher(teacher, student, 't.pkl')
    assert not tiny_runs.differences(
        student.state_dict(), {k: v for k, v in teacher.state_dict().items() if 'map_augment' not in k}
    )


@pytest.mark.parametrize(
    'teacher, student, hint',
    [
        (dict(), dict(augment_dim=9), 'was trained without augmentation, use --augment=0'),
        (dict(label_dim=4), dict(), "leave out --arch to take the teacher's"),
    ],
)
def test_what_does_not_fit_is_explained(teacher, student, hint):
    build = lambda changes: networks.EDMPrecond(**(SHAPE | tiny_runs.UNET | changes))  # noqa: E731
    with pytest.raises(ArgumentError) as caught:
        copy_teacher(build(teacher), build(student), 't.pkl')
    message = caught.value.spell(as_option)
    assert message.startswith('--transfer=t.pkl: ') and hint in message
