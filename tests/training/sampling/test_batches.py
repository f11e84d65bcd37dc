# Copyright 2026 The GDD-1S authors.
# SPDX-License-Identifier: Apache-2.0
"""Tests of training/sampling/batches.py: the same bytes as step by step, and nothing that waits for a GPU."""

import numpy as np
import pytest
import torch

from tests.golden import fill
from tests.support.generated_images import TINY
from tests.support.pretended_cuda import PretendedCuda
from training import networks
from training.sampling import samplers
from training.sampling.batches import start_batch


@pytest.fixture
def net():
    return fill(networks.GDDPrecond(label_dim=4, **TINY)).eval()


def test_pixels_labels_and_marks_are_those_of_the_steps(net):
    images, labels = samplers.sample_batch(net, [5, 6, 7], 'one_step')
    batch = start_batch(net, [5, 6, 7], sampler='one_step')
    assert np.array_equal(batch.pixels.permute(0, 2, 3, 1).numpy(), samplers.to_uint8(images))
    assert torch.equal(batch.labels, labels) and batch.not_finite.tolist() == [False] * 3


def test_damaged_images_are_marked_and_named(monkeypatch, net):
    images = torch.zeros([3, 1, 2, 2])
    images[1, 0, 1, 0], images[2, 0, 0, 0] = float('nan'), float('-inf')
    monkeypatch.setattr(samplers, 'sample_batch', lambda *args, **kwargs: (images, None))
    batch = start_batch(net, [5, 6, 7])
    assert batch.not_finite.tolist() == [False, True, True] and batch.labels is None
    with pytest.raises(ValueError, match='of seed 6, 7 is not finite'):
        samplers.refuse_not_finite(batch.not_finite, [5, 6, 7])
    samplers.refuse_not_finite(batch.not_finite[:1], [5])


@pytest.mark.parametrize('options', [dict(sampler='one_step'), dict(sampler='one_step', rng_device='cpu'),
    dict(sampler='multi_step', class_idx=2)], ids=['one step', 'noise of the CPU', 'two steps'])  # fmt: skip
def test_a_gpu_is_not_waited_for(net, options):
    expected = start_batch(net, [5, 6], **options)
    with PretendedCuda() as gpu:
        net.to('cuda')
        with gpu.hot_loop():
            batch = start_batch(net, [5, 6], device=torch.device('cuda'), **options)
        assert batch.pixels.is_cuda and torch.equal(batch.pixels.cpu(), expected.pixels)
