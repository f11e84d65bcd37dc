# Copyright 2026 The GDD-1S authors.
# SPDX-License-Identifier: Apache-2.0
"""What the throughput benchmark measures with: clocks around stages, and the peaks of the machine."""

import contextlib
import functools
import resource
import time
from collections.abc import Callable, Iterator
from typing import Any

import torch

GIB = 2**30


def synchronize(device: torch.device) -> None:
    """Wait until the device has done all that it was given."""
    if device.type == 'cuda':
        torch.cuda.synchronize(device)


def seconds_of(function: Callable[[], object], device: torch.device) -> float:
    """Return the wall time of a call, the work that it leaves to the device included."""
    synchronize(device)
    start = time.perf_counter()
    function()
    synchronize(device)
    return time.perf_counter() - start


class StageTimer:
    """Share the time of a training loop among named stages, by clocks around methods of its objects.

    Nested stages count for themselves only, so the stages sum up to the whole. Every clock waits for
    the device, which a loop at full speed does not do: stages are measured apart from images/s.

    Args:
        device: Device to wait for.
        clock:  Function that returns seconds.
    """

    def __init__(self, device: torch.device, clock: Callable[[], float] = time.perf_counter) -> None:
        self.seconds = {}  # stage -> total
        self._device, self._clock = device, clock
        self._running, self._since = [], None

    @property
    def current(self) -> str:
        """The innermost stage that runs now; '' outside of all."""
        return self._running[-1] if self._running else ''

    @contextlib.contextmanager
    def stage(self, name: str) -> Iterator[None]:
        """Count the time inside for a stage, and not for the one around it."""
        self._charge()
        self._running.append(name)
        try:
            yield
        finally:
            self._charge()
            self._running.pop()

    @contextlib.contextmanager
    def around(self, methods: list[tuple[object, str, str]]) -> Iterator['StageTimer']:
        """Put clocks around methods while inside.

        Args:
            methods: List of (object or module, name of its method, stage).
        """
        wrapped = []
        try:
            for owner, method, name in methods:
                wrapped.append((owner, method, vars(owner).get(method)))
                setattr(owner, method, self._timed(getattr(owner, method), name))
            yield self
        finally:
            for owner, method, own in wrapped:
                if own is None:
                    delattr(owner, method)  # back to the method of the class
                else:
                    setattr(owner, method, own)  # a function of a module

    def _timed(self, function: Callable[..., Any], name: str) -> Callable[..., Any]:
        @functools.wraps(function)
        def timed(*args: Any, **kwargs: Any) -> Any:
            with self.stage(name):
                return function(*args, **kwargs)

        return timed

    def _charge(self) -> None:
        synchronize(self._device)
        now = self._clock()
        if self._running:
            name = self._running[-1]
            self.seconds[name] = self.seconds.get(name, 0.0) + now - self._since
        self._since = now


def matmul_peak(
    dtype: torch.dtype, device: torch.device, size: int | None = None, seconds: float = 0.5
) -> float:
    """Measure the rate of a large square matrix product.

    Args:
        dtype:   Number type.
        device:  Device.
        size:    Side of the matrices; None for one that keeps a GPU busy, or that a CPU finishes before it
                 turns to another process.
        seconds: Time to try.
    Returns:
        Operations per second of the fastest product, as the training would get them (TF32 as it is set).
    """
    size = size or (8192 if device.type == 'cuda' else 512)
    a, b = (torch.randn([size, size], device=device).to(dtype) for _ in range(2))
    product = functools.partial(torch.mm, a, b)
    seconds_of(product, device)  # chooses the kernel
    best, end = float('inf'), time.perf_counter() + seconds
    while best == float('inf') or time.perf_counter() < end:
        best = min(best, seconds_of(product, device))
    return 2 * size**3 / best


def copy_rate(device: torch.device, seconds: float = 0.3) -> float:
    """Return the bytes per second that a copy of a large array reads and writes.

    Args:
        device:  Device.
        seconds: Time to try.
    """
    size = 2**30 if device.type == 'cuda' else 2**26
    a, b = (torch.zeros([size], dtype=torch.uint8, device=device) for _ in range(2))
    best, end = float('inf'), time.perf_counter() + seconds
    while best == float('inf') or time.perf_counter() < end:
        best = min(best, seconds_of(functools.partial(a.copy_, b), device))
    return 2 * size / best


def peak_memory_gib(device: torch.device) -> float:
    """Return the peak of the device's memory since the last reset; on the CPU that of the whole process."""
    if device.type == 'cuda':
        return torch.cuda.max_memory_allocated(device) / GIB
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20
