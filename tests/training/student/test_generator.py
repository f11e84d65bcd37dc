# Copyright 2026 The GDD-1S authors.
# SPDX-License-Identifier: Apache-2.0
"""Tests of training/student/generator.py and transfer.py: arguments from the teacher, checks against the
data."""

import pytest
import torch

from dnnlib import EasyDict
from dnnlib.errors import ArgumentError
from tests.support import tiny_runs
from training import networks
from training.snapshots.snapshot import load_network
from training.student import generator

DATA = EasyDict(resolution=8, num_channels=3, label_dim=3)


def info_of(class_name='EDMPrecond', **changes):
    return EasyDict(
        class_name=class_name,
        init_kwargs=dict(dict(img_resolution=32, img_channels=3, label_dim=10), **changes),
    )


@pytest.mark.parametrize(
    'info, text',
    [
        (
            info_of(img_resolution=64),
            'resolution 32, but the teacher transfer=t.pkl has 64; .* to resolution 64',
        ),
        (info_of(img_channels=1), 'channels 3, but the teacher transfer=t.pkl has 1; '),
        (
            info_of(label_dim=0),
            'cond=True gives 10 classes, but the teacher transfer=t.pkl has 0; use cond=False',
        ),
        (info_of(label_dim=1000), 'gives 10 classes, .* has 1000; use cond=True with data of 1000 classes'),
        (info_of('VPPrecond'), '^transfer=t.pkl is a VPPrecond, .* give a teacher trained with precond=edm'),
    ],
)
def test_teacher_and_data_must_agree(info, text):
    options = dict(
        data='d.zip', transfer='t.pkl', network_kwargs=None, network_options=dict(dropout=0, use_fp16=False)
    )
    data = EasyDict(resolution=32, num_channels=3, label_dim=10)
    assert generator.generator_kwargs(info_of(), data, **options)['img_resolution'] == 32
    with pytest.raises(ArgumentError, match=text) as caught:
        generator.generator_kwargs(info, data, **options)
    assert '\n' not in str(caught.value)


def build(teacher, **changes):
    options = dict(
        data='d.zip',
        transfer=teacher,
        trust_pickle=False,
        network_kwargs=None,
        network_options=dict(dropout=0.25, use_fp16=False),
    )
    return generator.build_generator(
        DATA, torch.device('cpu'), torch.channels_last, **dict(options, **changes)
    )


def test_generator_teacher_and_facts(material):
    net, teacher, facts = build(material[1])
    loaded, info = load_network(material[1])
    assert type(net) is networks.GDDPrecond and net.training and type(teacher) is networks.EDMPrecond
    assert not tiny_runs.differences(net.state_dict(), loaded.state_dict())
    assert facts['teacher'] == dict(sha256=info.sha256, class_name='EDMPrecond')
    assert facts['network_kwargs'] == dict(info.init_kwargs, dropout=0.25, use_fp16=False)
    weight = net.model.enc['8x8_block0'].conv0.weight
    assert weight.is_contiguous(memory_format=torch.channels_last)


def test_architecture_without_a_teacher():
    net, teacher, facts = build('random', network_kwargs=dict(tiny_runs.UNET))
    assert teacher is None and facts['teacher'] == dict(sha256='none', class_name='GDDPrecond')
    assert (net.img_resolution, net.img_channels, net.label_dim) == (8, 3, 3)


def test_twin_is_the_network_itself_without_a_gpu(material):
    net, *_rest = build(material[1], network_options=dict(dropout=0, use_fp16=True))
    assert generator.computing_generator(net) is net
    lines = generator.describe_generator(net, 'bf16', 't.pkl', dict(sha256='0123456789abcdef' * 4))
    assert lines == [
        'Precision: float32, since --precision=bf16 takes effect on CUDA only',
        'Teacher: --transfer=t.pkl sha256 0123456789abcdef',
    ]
