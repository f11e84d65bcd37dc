# Copyright 2026 The GDD-1S authors.
# SPDX-License-Identifier: Apache-2.0
"""Tests of training/tasks/students.py: the tasks with a student build it alike from the options."""

import torch

from tests.support import tiny_runs
from training.snapshots.snapshot import load_network
from training.tasks.students import build_student, instance_loss_from_config

CPU, LAYOUT = torch.device('cpu'), torch.channels_last


def config_of(material, *args):
    data, teacher = material
    return tiny_runs.make_config(
        *tiny_runs.GAN_ARGS, f'--data={data}', f'--transfer={teacher}', '--cond=1', *args
    )


def test_student_has_the_weights_of_the_teacher_and_the_options_of_the_run(material):
    config = config_of(material, '--dropout=0.25')
    dataset = tiny_runs.make_run(config).dataset
    net, teacher, facts = build_student(config, dataset, CPU, LAYOUT)
    loaded, info = load_network(material[1])
    assert not tiny_runs.differences(net.state_dict(), loaded.state_dict())
    assert not tiny_runs.differences(teacher.state_dict(), loaded.state_dict())
    assert facts['network_kwargs']['dropout'] == 0.25 and facts['teacher']['sha256'] == info.sha256


def test_instance_loss_is_with_the_teacher_or_with_a_target(material):
    options = ('--teacher-type=cd', '--max-steps=8', '--distance=huber')
    teacher = load_network(material[1])[0]
    config = config_of(material, *options)
    loss, facts = instance_loss_from_config(config, teacher, teacher, CPU, LAYOUT)
    assert (loss.kind, loss.max_steps, facts) == ('cd', 8, {})
    config = config_of(material, *options, f'--target={material[1]}')
    loss, facts = instance_loss_from_config(config, teacher, None, CPU, LAYOUT)
    assert facts == dict(target_sha256=load_network(material[1])[1].sha256)
