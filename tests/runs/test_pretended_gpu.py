# Copyright 2026 The GDD-1S authors.
# SPDX-License-Identifier: Apache-2.0
"""Tests of iterations on a pretended GPU (tests/support/pretended_cuda.py): no device is mixed up, the host
waits for nothing in the loop, and the numbers are those of the CPU, bit for bit.
"""

import pytest

from tests.support import pretended_runs
from tests.support.pretended_runs import CASES, on_device


@pytest.fixture(autouse=True)
def cuda_arithmetic(monkeypatch):
    pretended_runs.use_small_transformer(monkeypatch.setattr)
    pretended_runs.pad_as_on_cuda(monkeypatch.setattr)


def state_after(name, device, iterations):
    """Train some iterations, of which the first may wait for the GPU; return the state."""
    with on_device(device) as gpu:
        run = pretended_runs.make_run(CASES[name], device)
        if gpu is None:
            pretended_runs.compute_as_on_cuda(run)
        batches = run.batches()
        run.train_step(*next(batches))
        for run.iteration in iterations:
            if gpu is None:
                run.train_step(*next(batches))
            else:
                with gpu.hot_loop():
                    run.train_step(*next(batches))
        return run.state_dict()


@pytest.mark.parametrize('name', CASES)
def test_iterations_wait_for_nothing_and_equal_those_of_the_cpu(name):
    iterations = (16,) if name in ('deit', 'accumulation', 'adm') else (1, 16)  # 16: with R1
    state, reference = (state_after(name, device, iterations) for device in ('cuda', 'cpu'))
    assert pretended_runs.differing(state, reference) == []
