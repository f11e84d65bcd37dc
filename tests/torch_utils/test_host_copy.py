# Copyright 2026 The GDD-1S authors.
# SPDX-License-Identifier: Apache-2.0
"""Tests of torch_utils/host_copy.py, on the CPU and on the pretended GPU."""

import pytest
import torch

from tests.support.pretended_cuda import DeviceMismatch, HostWaits, PretendedCuda
from torch_utils.host_copy import HostCopy


def test_tensors_of_the_cpu_are_there_at_once():
    x = torch.arange(3)
    first, missing = HostCopy(x, None).wait()
    assert first is x and missing is None


def test_a_gpu_that_has_more_to_do_is_not_waited_for():
    with PretendedCuda() as gpu:
        x = torch.arange(6.0, device='cuda').reshape(2, 3)
        with gpu.hot_loop():
            copy = HostCopy(x.t(), None, x > 2)
            x.add_(1)  # the next batch
            turned, missing, larger = copy.wait()
        assert turned.device.type == 'cpu' and turned.numpy().tolist() == [[0, 3], [1, 4], [2, 5]]
        assert missing is None and larger.tolist() == [[False] * 3, [True] * 3] and gpu.copies == 2
        assert copy.wait()[0] is turned  # once more, without a wait


def test_the_harness_sees_a_gpu_that_runs_dry_and_copies_that_are_read_too_early():
    with PretendedCuda() as gpu:
        x = torch.ones(2, device='cuda')
        with pytest.raises(HostWaits, match='synchronize.*host_copy'), gpu.hot_loop():
            HostCopy(x).wait()
        with pytest.raises(DeviceMismatch, match='may not have arrived'):
            x.to('cpu', non_blocking=True).numpy()
        early = HostCopy(x)._copies[0]
        with pytest.raises(DeviceMismatch, match='may not have arrived'):
            early + 1
        torch.cuda.synchronize()
        assert (early + 1).tolist() == [2, 2]
