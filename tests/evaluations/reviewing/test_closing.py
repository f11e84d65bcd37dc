# Copyright 2026 The GDD-1S authors.
# SPDX-License-Identifier: Apache-2.0
"""The lines below the table of teacher and student."""

import re

import torch

from evaluations.metrics.frechet import frechet_distance
from evaluations.reviewing.closing import Sets, closing_lines
from evaluations.reviewing.overlap import Training

NAMES = ('mnist-classifier', 'random-conv')


def sets(seed, copied=False):
    generator = torch.Generator().manual_seed(seed)
    training, others, samples = torch.randn(3, 80, 4, generator=generator) + 1
    return Sets(training.clone() if copied else samples, training, others)


def numbers(line):
    return [float(text) for text in re.findall(r'-?\d+\.\d+', line)]


def test_lines():
    own, other = sets(0), sets(1)
    training = Training(('tf_efficientnet_lite0',), 'mnist', 'x.json')
    head, pr, distance, copies, overlap = closing_lines(own, other, NAMES, training)
    assert head == 'Student beside 80 training images; in brackets 80 other real images'
    expected = []
    for part in (other.samples, other.others):
        part, train = part.double(), other.training.double()
        expected.append(frechet_distance(part.mean(0), part.T.cov(), train.mean(0), train.T.cov()))
    assert distance == f'Frechet distance {expected[0]:.3f} ({expected[1]:.3f}), random-conv'
    assert all(0.5 < value <= 1 for value in numbers(pr)[:4]) and ' 0 exact copies' in copies
    assert overlap.endswith('independent (mnist-classifier) and independent (random-conv)')


def test_copies_show():
    copies = closing_lines(sets(0, copied=True), sets(1), NAMES, None)
    assert 'authentic 0.0 %' in copies[3] and '80 exact copies' in copies[3]
    assert numbers(copies[3])[1] > 20  # real images are authentic all the same
    assert 'unknown (random-conv)' in copies[4]
