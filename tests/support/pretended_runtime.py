# Copyright 2026 The GDD-1S authors.
# SPDX-License-Identifier: Apache-2.0
"""What of CUDA is no torch function, for the pretended GPU: `torch.cuda`, generators, new parameters."""

import contextlib
import sys
from collections.abc import Callable
from typing import Any
from unittest import mock

import torch
import torch._dynamo  # before anything is replaced: it makes a table of torch's functions
from torch.utils import _foreach_utils

CPU = torch.device('cpu')
_current = [0]  # index of the selected GPU


def place(x: torch.Tensor) -> torch.device:
    """Return the device that a tensor claims."""
    return x.__dict__.get('_pretended') or CPU


def normal(device: Any) -> torch.device:
    """Return a device with its index."""
    device = torch.device('cuda', device) if isinstance(device, int) else torch.device(device)
    return torch.device('cuda', _current[0]) if device.type == 'cuda' and device.index is None else device


class PretendedGenerator(torch.Generator):
    """A generator of the CPU that claims a device."""

    def __new__(cls, device: Any = 'cpu') -> 'PretendedGenerator':
        return super().__new__(cls, 'cpu')

    def __init__(self, device: Any = 'cpu') -> None:
        self._claimed = normal(device)

    @property
    def device(self) -> torch.device:
        return self._claimed


def set_device(device: Any) -> None:
    _current[0] = normal(device).index


def group_by_claimed_device(original: Callable) -> Callable:
    """Let optimizers, which group tensors by device in C++, see the device that tensors claim."""

    def group(lists, with_indices=False):
        found = {}
        for (device, dtype), value in original(lists, with_indices).items():
            first = next((x for tensors in value[0] for x in tensors if x is not None), None)
            found[device if first is None else place(first), dtype] = value
        return found

    return group


def claim_of_data(original: Callable) -> Callable:
    """Let a new parameter claim the device of the tensor that it is made of."""

    def new(cls, data=None, *args, **kwargs):
        parameter = original(cls, data, *args, **kwargs)
        if data is not None and place(data) != CPU:
            parameter._pretended = place(data)
        return parameter

    return staticmethod(new)


def nothing(*_args: Any, **_kwargs: Any) -> None:
    """Do nothing."""


def install(count: int, synchronize: Callable[[], None], event: Callable[..., Any]) -> contextlib.ExitStack:
    """Replace parts of torch until the stack is closed.

    Args:
        count:       Number of GPUs.
        synchronize: Called where the program waits for the GPU.
        event:       In place of torch.cuda.Event.
    """
    _current[0] = 0
    mebibyte = 1 << 20
    functions = dict(
        is_available=lambda: count > 0,
        is_initialized=lambda: True,
        device_count=lambda: count,
        set_device=set_device,
        current_device=lambda: _current[0],
        synchronize=lambda device=None: synchronize(),
        Event=event,
        get_device_name=lambda device=None: 'pretended GPU',
        get_device_capability=lambda device=None: (9, 0),
        is_bf16_supported=lambda including_emulation=True: True,
        get_rng_state=lambda device='cuda': torch.get_rng_state(),
        get_rng_state_all=lambda: [],
    )
    for name in ('max_memory_allocated', 'max_memory_reserved', 'memory_allocated', 'memory_reserved'):
        functions[name] = lambda device=None: mebibyte
    for name in ('reset_peak_memory_stats', 'empty_cache', 'manual_seed', 'manual_seed_all', 'set_rng_state'):
        functions[name] = nothing
    group = group_by_claimed_device(_foreach_utils._group_tensors_by_device_and_dtype)
    health_checks = [name for name in dir(torch.optim.Optimizer) if name.endswith('_capture_health_check')]
    patches = [
        *(mock.patch.object(torch.cuda, name, function) for name, function in functions.items()),
        mock.patch.object(torch.cuda, '_lazy_init', nothing),
        mock.patch.object(torch.cuda, '_lazy_call', nothing),
        mock.patch.object(torch, 'Generator', PretendedGenerator),
        mock.patch.object(_foreach_utils, '_group_tensors_by_device_and_dtype', group),
        mock.patch.object(sys.modules['torch.optim.optimizer'], '_group_tensors_by_device_and_dtype', group),
        mock.patch.object(torch.nn.Parameter, '__new__', claim_of_data(torch.nn.Parameter.__new__)),
        *(mock.patch.object(torch.optim.Optimizer, name, nothing) for name in health_checks),
    ]
    stack = contextlib.ExitStack()
    for patch in patches:
        stack.enter_context(patch)
    return stack
