# Copyright 2026 The GDD-1S authors.
# SPDX-License-Identifier: Apache-2.0
"""Collect training statistics from anywhere in the code, over all processes.

`report()` adds to three running moments per name, [count, sum, sum of squares], on the device of
the reported tensor, without waiting for the GPU. `Collector.update()` fetches what has come in
since the last update, sums it over the processes and offers mean and standard deviation.
"""

import math
import re
import weakref
import zlib
from collections.abc import Sequence
from typing import Any

import torch

from dnnlib import EasyDict
from torch_utils import distributed

_counters = {}  # name -> {device: [count, float64 [2] on the device]}, in order of first report
_collectors = weakref.WeakSet()  # each gets its own copy of everything that comes in


@torch.no_grad()
def _elements(value: Any) -> torch.Tensor:
    if isinstance(value, torch.Tensor):
        return value.detach().reshape(-1).to(torch.float32)
    return torch.as_tensor(value, dtype=torch.float64).reshape(-1)


def report(name: str, value: Any) -> Any:
    """Add all elements of a value to the statistics of a name.

    Args:
        name:  Statistic, such as 'Loss/D/r1_loss'. Every rank must report the same names in the
               same order.
        value: Tensor of any shape, number, or list of numbers. An empty one registers the name.
    Returns:
        `value` itself.
    """
    devices = _counters.setdefault(name, {})
    elements = _elements(value)
    if elements.numel() == 0:
        return value
    # Few operations, as each costs a kernel launch; the number of elements is known without the device.
    sums = torch.stack([elements.sum(), elements.square().sum()])
    running = devices.get(elements.device)
    if running is None:
        devices[elements.device] = [elements.numel(), sums.to(torch.float64)]
    else:
        running[0] += elements.numel()
        running[1].add_(sums)
    return value


def report0(name: str, value: Any) -> Any:
    """Report a value of rank 0 only; the other ranks just register the name.

    Args:
        name:  Statistic, see report().
        value: Tensor or number.
    Returns:
        `value` itself.
    """
    report(name, value if distributed.get_rank() == 0 else [])
    return value


class Collector:
    """Read the statistics that were reported between two calls of update().

    Several collectors do not disturb each other; each sees everything reported after it was made.

    Args:
        regex:         Names to collect; the whole name must match.
        keep_previous: Keep the old values of a name that got no new data; else it has none (NaN).
    """

    def __init__(self, regex: str = '.*', keep_previous: bool = True) -> None:
        self._regex = re.compile(regex)
        self._keep_previous = keep_previous
        self._pending = {}  # name -> float64 [3], this process, not yet summed over ranks
        self._moments = {}  # name -> float64 [3], over all ranks, as of the last update
        _fetch_counters()  # what came earlier belongs to the other collectors
        _collectors.add(self)

    def update(self) -> None:
        """Fetch everything reported since the last update. All ranks must call this together.

        Raises:
            ValueError: the ranks reported different names, or the same in another order.
        """
        _fetch_counters()
        names = self.names()
        _require_same_names(names)
        if not names:
            return
        zero = torch.zeros(3, dtype=torch.float64)
        deltas = torch.stack([self._pending.get(name, zero) for name in names])  # [names, 3]
        self._pending.clear()
        for name, moments in zip(names, distributed.all_reduce_sum_(deltas)):
            if moments[0] > 0 or not self._keep_previous or name not in self._moments:
                self._moments[name] = moments

    def state_dict(self) -> dict[str, Any]:
        """Return what has come in, as plain lists of numbers. All ranks must call this together.

        The sums over the processes then stay with rank 0, so a saved and an undisturbed run report the same.
        """
        _fetch_counters()
        names = self.names()
        _require_same_names(names)
        zero = torch.zeros(3, dtype=torch.float64)
        deltas = torch.stack([self._pending.get(name, zero) for name in names] or [zero])  # [names, 3]
        distributed.all_reduce_sum_(deltas)
        self._pending = dict(zip(names, deltas)) if distributed.get_rank() == 0 else {}
        return dict(
            names=names,
            pending={name: moments.tolist() for name, moments in zip(names, deltas)},
            moments={name: moments.tolist() for name, moments in self._moments.items()},
        )

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Continue from `state_dict()`, on any number of processes; names keep their order."""
        for name in state['names']:
            _counters.setdefault(name, {})
        tensors = {
            kind: {name: torch.tensor(values, dtype=torch.float64) for name, values in state[kind].items()}
            for kind in ('pending', 'moments')
        }
        self._pending = tensors['pending'] if distributed.get_rank() == 0 else {}
        self._moments = tensors['moments']

    def names(self) -> list[str]:
        """Return the collected names in the order of their first report."""
        return [name for name in _counters if self._regex.fullmatch(name)]

    def num(self, name: str) -> int:
        """Return the number of elements of a name in the last interval, 0 for none."""
        return int(self._get(name)[0])

    def mean(self, name: str) -> float:
        """Return the mean of a name, NaN where nothing was reported."""
        count, total, _squares = self._get(name)
        return total / count if count > 0 else math.nan

    def std(self, name: str) -> float:
        """Return the population standard deviation of a name, NaN where there is no data."""
        count, total, squares = self._get(name)
        if count == 0 or not math.isfinite(total) or not math.isfinite(squares):
            return math.nan
        if count == 1:
            return 0.0
        return math.sqrt(max(squares / count - (total / count) ** 2, 0.0))

    def as_dict(self) -> dict[str, Any]:
        """Return {name: {num, mean, std}} as EasyDicts, in the order of the first reports."""
        return EasyDict(
            (name, EasyDict(num=self.num(name), mean=self.mean(name), std=self.std(name)))
            for name in self.names()
        )

    def __getitem__(self, name: str) -> float:
        return self.mean(name)

    def _get(self, name: str) -> Sequence[float]:
        moments = self._moments.get(name)
        return moments.tolist() if moments is not None else (0.0, 0.0, 0.0)


def _fetch_counters() -> None:
    # Move all running moments to the collectors: one copy per device, the only wait for the GPU.
    by_device = {}
    for name, devices in _counters.items():
        for device in devices:
            by_device.setdefault(device, []).append(name)
    for device, names in by_device.items():
        counts, sums = zip(*(_counters[name].pop(device) for name in names))
        fetched = torch.cat(
            [torch.tensor(counts, dtype=torch.float64)[:, None], torch.stack(sums).cpu()], dim=1
        )  # [names, 3]
        for collector in _collectors:
            for name, moments in zip(names, fetched):
                collector._pending[name] = collector._pending.get(name, 0) + moments


def _require_same_names(names: list[str]) -> None:
    # The sums below would mix up names silently, or wait for ever, if the lists differed.
    world_size = distributed.get_world_size()
    if world_size == 1:
        return
    digest = zlib.crc32('\n'.join(names).encode())
    total = distributed.all_reduce_sum_(torch.tensor([digest], dtype=torch.int64))
    if total.item() != digest * world_size:
        raise ValueError(
            f'rank {distributed.get_rank()}: statistics must be reported under the same names in the same '
            f'order on all {world_size} ranks; this rank has {", ".join(names) or "none"}'
        )
