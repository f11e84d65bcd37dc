# Copyright 2026 The GDD-1S authors.
# SPDX-License-Identifier: Apache-2.0
"""The files that the demo ships: sizes, what they hold, and that the teacher draws digits."""

import os

import pytest
import torch

from evaluations.detectors.registry import get_detector
from evaluations.inputs.reference import load_reference
from training.sampling.samplers import sample_batch, to_uint8
from training.snapshots.snapshot import load_network

TEACHER = 'pretrained/edm-mnist-32x32-cond-ve.pkl'
REFERENCE = 'datasets/mnist-32x32-train-ref-mnist-classifier.npz'
MIB = 2**20


@pytest.mark.parametrize(
    'path, limit',
    [
        (TEACHER, 8 * MIB),
        ('datasets/mnist-32x32.zip', 6 * MIB),
        ('pretrained/mnist-classifier.pt', MIB),
        (REFERENCE, MIB),
    ],
)
def test_sizes(path, limit):
    assert 0 < os.path.getsize(path) <= limit


def test_reference_belongs_to_the_classifier():
    reference = load_reference(REFERENCE)
    assert reference.check(get_detector('mnist-classifier'), (1, 32, 32)) == []


def test_teacher_draws_digits():
    net, info = load_network(TEACHER)
    assert info.class_name == 'EDMPrecond' and sum(p.numel() for p in net.parameters()) <= 2_000_000
    assert (net.img_resolution, net.img_channels, net.label_dim) == (32, 1, 10)
    with torch.no_grad():
        images, classes = sample_batch(net, list(range(20)), sampler='edm', num_steps=18)
    pixels = torch.from_numpy(to_uint8(images)).permute(0, 3, 1, 2)  # [N, C, H, W]
    correct = torch.as_tensor(get_detector('mnist-classifier').logits(pixels)).argmax(dim=1) == classes
    # 95 % of 2,000; a broken sampler or another label order gives 10 %.
    assert correct.sum() >= 15
