# Copyright 2026 The GDD-1S authors.
# SPDX-License-Identifier: Apache-2.0
"""What a person sees while a run goes on: a bar on a terminal, a status line per tick, its numbers."""

import resource
import sys
import time
from typing import Any, TextIO

import torch
from tqdm import tqdm

from dnnlib.util import format_time
from torch_utils import training_stats

GIB = 2**30


class Progress:
    """Clock and bar of a run, on rank 0; other ranks keep the clock only.

    Args:
        total_nimg: Images at the end of the run.
        nimg:       Images at the start (after a resume above 0).
        visible:    Print and draw.
        terminal:   Stream of the bar; no bar unless it is a terminal.
        state:      `state_dict()` to let the clock go on from; the time in between does not count.
    """

    def __init__(
        self,
        total_nimg: int,
        nimg: int = 0,
        visible: bool = True,
        terminal: TextIO | None = None,
        state: dict[str, Any] | None = None,
    ) -> None:
        terminal = sys.__stderr__ if terminal is None else terminal
        shown = visible and terminal is not None and terminal.isatty()
        self.total_nimg, self.visible = total_nimg, visible
        self.bar = tqdm(
            total=total_nimg,
            initial=nimg,
            unit='img',
            unit_scale=True,
            file=terminal,
            dynamic_ncols=True,
            smoothing=0.05,
            disable=not shown,
        )
        state = state or dict(total_sec=0.0, tick_sec=0.0, tick_nimg=nimg)
        now = time.perf_counter()
        self.start = now - state['total_sec']
        self.tick_start = self.tick_end = now - state['tick_sec']
        self.tick_nimg = state['tick_nimg']

    def state_dict(self) -> dict[str, Any]:
        """Return the seconds since run and tick have begun, and the images seen when the tick did."""
        now = time.perf_counter()
        return dict(total_sec=now - self.start, tick_sec=now - self.tick_start, tick_nimg=self.tick_nimg)

    def advance(self, count: int) -> None:
        """Count the images of one iteration."""
        self.bar.update(count)

    def end_of_tick(self, tick: int, nimg: int, device: torch.device) -> None:
        """Print the status line of a tick and report its numbers.

        Args:
            tick:   Index of the tick.
            nimg:   Images seen.
            device: Device whose memory is shown.
        """
        now = time.perf_counter()
        count, seconds = nimg - self.tick_nimg, now - self.tick_start
        rate = count / max(seconds, 1e-9)
        values = {
            'Progress/tick': tick,
            'Progress/kimg': nimg / 1e3,
            'Timing/total_sec': now - self.start,
            'Timing/sec_per_tick': seconds,
            'Timing/sec_per_kimg': seconds * 1e3 / max(count, 1),
            'Timing/img_per_sec': rate,
            'Timing/maintenance_sec': self.tick_start - self.tick_end,
            **memory_gb(device),
        }
        for name, value in values.items():
            training_stats.report0(name, value)
        if self.visible:
            left = format_time(max(self.total_nimg - nimg, 0) / max(rate, 1e-9))
            tqdm.write(
                f'tick {tick:<5d} kimg {nimg / 1e3:<9.1f} time {format_time(now - self.start):<12s} '
                f'left {left:<12s} img/s {rate:<8.1f} sec/tick {seconds:<7.1f} '
                f'sec/kimg {values["Timing/sec_per_kimg"]:<7.2f} '
                f'maintenance {values["Timing/maintenance_sec"]:<6.1f} '
                f'cpumem {values["Resources/cpu_mem_gb"]:<6.2f} '
                f'gpumem {values["Resources/peak_gpu_mem_gb"]:<6.2f} '
                f'reserved {values["Resources/peak_gpu_mem_reserved_gb"]:<6.2f}',
                file=sys.stdout,
            )
        self.tick_end = now
        self.tick_nimg = nimg

    def maintenance_done(self) -> None:
        """Start the clock of the next tick."""
        self.tick_start = time.perf_counter()

    def close(self) -> None:
        """Take the bar away."""
        self.bar.close()


def memory_gb(device: torch.device) -> dict[str, float]:
    """Return peak memory in GiB under the official names; GPU peaks restart at each call."""
    gpu = reserved = 0.0
    if device.type == 'cuda':
        gpu, reserved = (
            torch.cuda.max_memory_allocated(device) / GIB,
            torch.cuda.max_memory_reserved(device) / GIB,
        )
        torch.cuda.reset_peak_memory_stats(device)
    return {
        'Resources/cpu_mem_gb': resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20,
        'Resources/peak_gpu_mem_gb': gpu,
        'Resources/peak_gpu_mem_reserved_gb': reserved,
    }
