# Copyright 2026 The GDD-1S authors.
# SPDX-License-Identifier: Apache-2.0
"""Tests of training/update/optimizers.py; tests/training/tasks/test_distillation.py has their first steps by
hand."""

import pytest
import torch

from dnnlib.errors import ArgumentError
from training.update.optimizers import make_optimizer, step_unless


@pytest.mark.parametrize('kind', ['adam', 'radam'])
def test_a_step_that_is_left_out_leaves_no_trace(kind):
    """Three steps with one left out in the middle, against two: parameter, moments and step counter have the
    same bits."""
    ends = []
    for skips in ((0.0, 1.0, 0.0), (0.0, 0.0), (None, None)):
        param = torch.nn.Parameter(torch.tensor([1.0, 2.0]))
        optimizer = make_optimizer(kind, [param], lr=0.1, betas=(0.5, 0.9), eps=1e-8)
        for skip in skips:
            param.grad = torch.tensor([float('nan'), 1.0] if skip else [0.5, -3.0])
            step_unless(optimizer, None if skip is None else torch.tensor(skip))
        ends.append([param.detach(), *optimizer.state[param].values()])
    for other in ends[1:]:
        assert all(torch.equal(a, b) for a, b in zip(ends[0], other, strict=True))


def test_unknown_kind():
    with pytest.raises(
        ArgumentError, match='optimizer_type=sgd is unknown; use optimizer_type=adam or radam'
    ):
        make_optimizer('sgd', [])
