# Copyright 2026 The GDD-1S authors.
# SPDX-License-Identifier: Apache-2.0
"""Tests of training/tasks/score_network.py: which network the student is compared with, and which are
refused."""

import pytest
import torch

from dnnlib.errors import ArgumentError
from tests.support import tiny_runs
from training import networks
from training.dataset import ImageFolderDataset
from training.snapshots.snapshot import load_network
from training.tasks.instance import InstanceTask

ONLY = ('--teacher-only=1', '--max-steps=8', '--distance=l2')


def make_task(material, *args):
    data, teacher = material
    config = tiny_runs.make_config(
        f'--data={data}', '--cond=1', f'--transfer={teacher}', *tiny_runs.COMMON_ARGS, *args
    )
    dataset = ImageFolderDataset(data, use_labels=True)
    return InstanceTask(tiny_runs.frozen(config), dataset, torch.device('cpu'), 8)


def test_score_network_is_the_teacher_unless_another_is_named(material, tmp_path):
    task = make_task(material, '--teacher-type=cd', *ONLY)
    assert type(task.instance.teacher) is networks.EDMPrecond and not task.instance.teacher.training
    assert not tiny_runs.differences(
        task.instance.teacher.state_dict(), load_network(material[1])[0].state_dict()
    )
    assert not any(p.requires_grad for p in task.instance.teacher.parameters())
    assert 'EDMPrecond, the teacher of --transfer (no --target given)' in task.summary()[-1]
    other = tiny_runs.write_teacher(tmp_path / 'other.pkl', cls=networks.VEPrecond)
    task = make_task(material, '--teacher-type=cd', f'--target={other}', *ONLY)
    assert (
        type(task.instance.teacher) is networks.VEPrecond
        and f'VEPrecond, --target={other}' in task.summary()[-1]
    )
    assert type(task.G) is networks.GDDPrecond


def test_score_network_keeps_its_own_preconditioning(material):
    """At sigma 0.002 GDD's coefficients are the identity, EDM's are not: the teacher must not be called
    through the student's."""
    task = make_task(material, '--teacher-type=cd', *ONLY)
    x = torch.randn([2, 3, 8, 8])
    sigma = torch.full([2, 1, 1, 1], 0.002)
    with torch.no_grad():
        assert torch.equal(task.instance.student(x, sigma, torch.eye(3)[:2]), x)
        assert not torch.equal(task.instance.teacher(x, sigma, torch.eye(3)[:2]), x)


@pytest.mark.parametrize(
    'changes, text',
    [
        (dict(cls=networks.GDDPrecond), 'is a GDDPrecond, which denoises at its own few noise levels only'),
        (dict(classes=5), 'has 5 classes, but the student of transfer has 3'),
        (dict(resolution=16), 'has 16 resolution, but the student of transfer has 8'),
    ],
)
def test_score_networks_that_do_not_fit(changes, text, material, tmp_path):
    other = tiny_runs.write_teacher(tmp_path / 'other.pkl', **changes)
    with pytest.raises(ArgumentError, match=f'^target={other} {text}') as caught:
        make_task(material, '--teacher-type=cd', f'--target={other}', *ONLY)
    assert '\n' not in str(caught.value)


def test_generator_as_transfer_needs_a_target(material, tmp_path):
    student = tiny_runs.write_teacher(tmp_path / 'student.pkl', cls=networks.GDDPrecond)
    with pytest.raises(ArgumentError, match='^transfer=.* is a GDDPrecond, .* target='):
        make_task((material[0], student), '--teacher-type=cd', *ONLY)
    task = make_task((material[0], student), '--teacher-type=cd', f'--target={material[1]}', *ONLY)
    assert type(task.instance.teacher) is networks.EDMPrecond


def test_student_from_random_weights_needs_a_target(material):
    scratch = (*tiny_runs.NETWORK_ARGS, '--teacher-type=cd', *ONLY)
    with pytest.raises(
        ArgumentError,
        match='^teacher_type=cd needs a score network, and transfer=random has none; .* target=',
    ):
        make_task((material[0], 'random'), *scratch)
    task = make_task((material[0], 'random'), f'--target={material[1]}', *scratch)
    assert tiny_runs.differences(task.G.state_dict(), task.instance.teacher.state_dict())
