# Copyright 2026 The GDD-1S authors.
# SPDX-License-Identifier: Apache-2.0
"""The report of the profile by hand-made events; test_gpu_campaign.py runs the command."""

import types

from torch.autograd import DeviceType

from benchmarks import profile_step


def event(name, calls, cpu, device, where=DeviceType.CUDA, annotation=False):
    return types.SimpleNamespace(
        key=name,
        count=calls,
        self_cpu_time_total=cpu,
        self_device_time_total=device,
        device_type=where,
        is_user_annotation=annotation,
    )


def test_kernels_are_sorted_by_the_time_of_their_device():
    events = [event('a', 4, 9000, 1000), event('b', 2, 1000, 3000), event('c', 6, 500, 0)]
    events += [
        event('launches b', 2, 200, 3000, DeviceType.CPU),
        event('graph', 1, 100, 4000, annotation=True),
    ]
    assert profile_step.kernel_times(events, on_gpu=True) == [(3.0, 2, 'b'), (1.0, 4, 'a')]
    assert [row[2] for row in profile_step.kernel_times(events[:3], on_gpu=False)] == ['a', 'b', 'c']


def test_gaps_are_what_is_left():
    lines = profile_step.report([(3.0, 2, 'b'), (1.0, 4, 'a')], wall=8.0, count=2, top=1)
    assert lines[0] == '4.00 ms per iteration, 2.00 ms of them busy, 50.0 % gaps, 3 launches'
    assert len(lines) == 2 and lines[1].split() == ['1.500', 'ms', '1x', 'b']
