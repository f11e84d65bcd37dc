# Copyright 2026 The GDD-1S authors.
# SPDX-License-Identifier: Apache-2.0
"""Ending a run in good order on a signal, and states by the clock: both are agreed on by all processes.

A cluster that wants its machine back sends SIGTERM or SIGUSR1 some time before SIGKILL. Processes receive it
at different moments of different iterations, or some of them only, so they settle together where to stop.
"""

import signal
import time

import torch

from torch_utils import distributed
from torch_utils.launch import EXIT_PREEMPTED, PREEMPTION_SIGNALS

# The reduction below makes processes wait for each other's Python, though not for the GPU.
POLL_ITERATIONS_CUDA = 8


class Preempted(Exception):
    """A signal has stopped the run, after its state was written; the message is one line for the user."""

    exit_code = EXIT_PREEMPTED


class Interruption:
    """Tell, after each iteration, whether to write a state and whether to stop, the same to all ranks.

    Use it as a context manager: inside, SIGTERM and SIGUSR1 only leave a note, also a second time.

    Args:
        state_minutes: Minutes between two states; 0 for none by the clock.
        device:        Device of the run; with CUDA the processes talk every few iterations only.
    """

    def __init__(self, state_minutes: float, device: torch.device) -> None:
        self.signal_name: str | None = None
        self._state_seconds = state_minutes * 60
        self._poll_iterations = (
            POLL_ITERATIONS_CUDA if device.type == 'cuda' and distributed.get_world_size() > 1 else 1
        )
        self._last_state = time.monotonic()
        self._previous = {}

    def __enter__(self) -> 'Interruption':
        for number in PREEMPTION_SIGNALS:
            self._previous[number] = signal.signal(number, self._note)
        return self

    def __exit__(self, kind: type[BaseException] | None, *_exception: object) -> None:
        for number, handler in self._previous.items():
            signal.signal(number, handler)
        if self.signal_name == 'SIGTERM' and kind is not None and issubclass(kind, distributed.ProcessLost):
            signal.raise_signal(
                signal.SIGTERM
            )  # no preemption: the launcher ends us, since another process has failed

    def _note(self, number: int, _frame: object) -> None:
        self.signal_name = signal.Signals(number).name

    def poll(self, iteration: int) -> tuple[bool, bool]:
        """Return (stop, write a state), agreed on by all ranks; they all call this after the same iteration.

        Args:
            iteration: Iterations done.
        """
        if iteration % self._poll_iterations:
            return False, False
        due = self._state_seconds and time.monotonic() - self._last_state >= self._state_seconds
        flags = torch.tensor(
            [self.signal_name is not None, bool(due)], dtype=torch.int64
        )  # on the CPU: through gloo
        stop, write = (distributed.all_reduce_sum_(flags) > 0).tolist()
        return stop, stop or write

    def state_written(self) -> None:
        """Start the clock of the next state."""
        self._last_state = time.monotonic()


def ignore_signals(_worker: int) -> None:
    """Leave preemption to the process that trains; for loader processes, which may get its signals too."""
    for number in PREEMPTION_SIGNALS:
        signal.signal(number, signal.SIG_IGN)
