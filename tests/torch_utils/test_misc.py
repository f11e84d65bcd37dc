# Copyright 2026 The GDD-1S authors.
# SPDX-License-Identifier: Apache-2.0
"""Tests of torch_utils/misc.py; test_distributed.py and the two-process runs compare processes with it."""

import warnings
import zlib

import numpy as np
import pytest
import torch

from torch_utils import distributed, misc


def test_parameters_and_buffers_come_in_order():
    net = torch.nn.BatchNorm1d(2)
    names = [name for name, _tensor in misc.named_params_and_buffers(net)]
    assert names == ['weight', 'bias', 'running_mean', 'running_var', 'num_batches_tracked']


def test_all_parameters_and_buffers_are_taken_over_from_rank_0(monkeypatch):
    def broadcast(tensor, src=0):
        assert src == 0 and not tensor.requires_grad
        tensor.fill_(7)

    monkeypatch.setattr(distributed, 'broadcast_', broadcast)
    nets = [torch.nn.BatchNorm1d(2), torch.nn.Linear(2, 2)]
    misc.take_over_from_rank0(*nets)
    assert all((tensor == 7).all() for net in nets for tensor in net.state_dict().values())


def test_full_precision_ends_with_its_block():
    flags = torch.backends.cudnn, torch.backends.cuda.matmul
    before = [flag.allow_tf32 for flag in flags]
    try:
        for flag in flags:
            flag.allow_tf32 = True
        with pytest.raises(KeyError), misc.full_precision():
            assert [flag.allow_tf32 for flag in flags] == [False, False]
            raise KeyError
        assert [flag.allow_tf32 for flag in flags] == [True, True]
    finally:
        for flag, value in zip(flags, before):
            flag.allow_tf32 = value


def test_one_process_is_consistent():
    misc.check_ddp_consistency(torch.nn.Linear(2, 2))
    misc.check_ddp_consistency(torch.nn.BatchNorm1d(2), ignore_regex=r'.*running.*')


def test_checksum_is_the_crc_of_all_values_in_order():
    a, b = torch.arange(3.0), torch.tensor([7], dtype=torch.int64)
    expected = zlib.crc32(np.arange(3, dtype=np.float32).tobytes() + np.array([7]).tobytes())
    assert misc.checksum(dict(a=a, b=b)) == expected != misc.checksum(dict(b=b, a=a))


def test_constants_have_memory_of_their_own():
    source = torch.ones(2, 1)
    found = misc.constant(source, shape=[2, 3], dtype=torch.float64)
    assert found.tolist() == [[1] * 3] * 2 and found.dtype == torch.float64 and found.is_contiguous()
    found.zero_()
    assert source.sum() == 2
    assert misc.constant([1, 2]).dtype == torch.get_default_dtype()
    image = misc.constant(0, shape=[1, 2, 3, 3], memory_format=torch.channels_last)
    assert image.is_contiguous(memory_format=torch.channels_last)


def test_shapes_with_free_sizes():
    misc.assert_shape(torch.zeros(2, 3), [None, 3])
    for wrong in ([2], [2, 4], [None, None, None]):
        with pytest.raises(AssertionError, match=r'shape \[2, 3\], but'):
            misc.assert_shape(torch.zeros(2, 3), wrong)


def test_profiled_functions_show_their_names():
    @misc.profiled_function
    def twice(x):
        return 2 * x

    with torch.profiler.profile(activities=[torch.profiler.ProfilerActivity.CPU]) as profile:
        assert twice(torch.ones(1)).item() == 2
    assert 'twice' in {event.key for event in profile.key_averages()} and twice.__name__ == 'twice'


def test_only_warnings_of_the_tracer_are_silenced():
    with warnings.catch_warnings(record=True) as seen:
        warnings.simplefilter('always')
        with misc.suppress_tracer_warnings():
            warnings.warn('a', torch.jit.TracerWarning, stacklevel=1)
            warnings.warn('b', UserWarning, stacklevel=1)
    assert [str(item.message) for item in seen] == ['b']
