# Copyright 2026 The GDD-1S authors.
# SPDX-License-Identifier: Apache-2.0
"""The four relations of a detector to what trained a network, and where that is read."""

import json

import pytest

from evaluations.detectors.registry import detector_names
from evaluations.reviewing.overlap import Training, find_overlap, read_training, training_of

LITE0 = Training(('tf_efficientnet_lite0',), 'cifar10-32x32', 'training_options.json')


@pytest.mark.parametrize(
    'detector, networks, relation',
    [
        ('tf_efficientnet_lite0', ['tf_efficientnet_lite0'], 'seen'),
        ('tf_efficientnet_lite0', ['deit_base_distilled_patch16_224', 'tf_efficientnet_lite0'], 'seen'),
        ('tf_efficientnet_lite0-0123abcd', ['tf_efficientnet_lite0'], 'same pretraining'),  # other weights
        ('tf_efficientnet_lite1', ['tf_efficientnet_lite0'], 'same pretraining'),
        ('inception', ['vgg16_bn'], 'same pretraining'),
        ('inception', ['vit_base_patch16_224.augreg_in21k_ft_in1k'], 'same pretraining'),
        ('dinov2-vit-l-14', ['tf_efficientnet_lite0'], 'same pretraining'),
        ('clip-vit-b-32', ['tf_efficientnet_lite0'], 'independent'),
        ('clip-vit-l-14-336', ['tf_efficientnet_lite0'], 'independent'),
        ('clip-vit-b-32', ['vit_base_patch16_clip_224.openai'], 'same pretraining'),
        ('random-conv', ['tf_efficientnet_lite0'], 'independent'),
        ('mnist-classifier', ['tf_efficientnet_lite0'], 'independent'),
        ('inception', ['teacher'], 'independent'),
        ('tf_efficientnet_lite0', ['teacher', 'tf_efficientnet_lite0'], 'seen'),
        ('inception', [], 'independent'),
        ('inception', ['some_private_network'], 'unknown'),
        ('inception', ['some_private_network', 'vgg16_bn'], 'same pretraining'),
        ('inception-0123abcd', ['teacher'], 'unknown'),  # weights of unknown origin
    ],
)
def test_relations(detector, networks, relation):
    training = Training(tuple(networks), 'cifar10-32x32', 'training_options.json')
    assert find_overlap(detector, training).relation == relation


def test_features_of_a_teacher_share_the_images_of_its_data_set():
    on_digits = Training(('teacher',), 'mnist-32x32', 'here')
    assert find_overlap('mnist-classifier', on_digits).relation == 'same pretraining'
    assert find_overlap('inception', on_digits).relation == 'independent'
    on_imagenet = Training(('teacher',), 'imagenet-64x64', 'here')
    assert find_overlap('inception', on_imagenet).relation == 'same pretraining'


def test_unknown_is_said():
    found = find_overlap('inception', None)
    assert found.facts() == dict(
        overlap='unknown', overlap_reason='there is no training_options.json beside what was measured'
    )


def test_every_detector_is_known():
    assert {find_overlap(name, LITE0).relation for name in detector_names()} == {
        'seen', 'same pretraining', 'independent'
    }  # fmt: skip


def test_training_options_are_read_beside_the_snapshot(tmp_path):
    config = dict(
        loss='gdd',
        dataset_kwargs=dict(path='datasets/CIFAR10-32x32.zip'),
        feature_kwargs=dict(names=['tf_efficientnet_lite0'], weights='pretrained'),
        instance_kwargs=dict(distance='lpips'),
    )
    path = tmp_path / 'training_options.json'
    path.write_text(json.dumps(config))
    network = str(tmp_path / 'network-snapshot-000001.pkl')
    expected = Training(('tf_efficientnet_lite0', 'vgg16'), 'cifar10-32x32', str(path))
    assert read_training(network) == expected
    assert training_of(dict(config, teacher_only=True), 'x').networks == ('vgg16',)
    random = dict(config, feature_kwargs=dict(names=['vgg16_bn'], weights='random'), instance_kwargs=None)
    assert training_of(random, 'x').networks == ()
    for text in ('{', '[]', '{"feature_kwargs": 3}', '{"dataset_kwargs": [1]}'):
        path.write_text(text)
        assert read_training(network) is None  # damaged: unknown, not wrong
    path.unlink()
    assert read_training(network) is None
    assert read_training(network, dict(loss='edm')) == Training((), '', 'the snapshot')
    assert read_training(network, dict(loss='gdd')) is None
