# Copyright 2026 The GDD-1S authors.
# SPDX-License-Identifier: Apache-2.0
"""Commands one after the other, each skipped where its result is there: so the same command goes on."""

import contextlib
import json
import os
import shlex
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from types import FrameType
from typing import Any, NamedTuple

from dnnlib.errors import ArgumentError
from dnnlib.files import atomic_write
from dnnlib.util import format_time

RECORD = 'steps.json'
_FORWARDED = (signal.SIGTERM, signal.SIGUSR1)
INTERRUPTED = (
    75,
    128 + signal.SIGINT,
    128 + signal.SIGTERM,
)  # exit codes of those that had done nothing wrong


class Step(NamedTuple):
    """One command.

    Attributes:
        name:    Word by which it is remembered.
        about:   What it does, for the screen.
        command: Arguments of Python: a script or -m MODULE, and options.
        inputs:  Files and folders that the result depends on, beside the command.
        find:    Function that names the result once the command has ended; None if there is none.
    """

    name: str
    about: str
    command: list[str]
    inputs: list[str]
    find: Callable[[], str | None]


class StepFailed(ArgumentError):
    """A command has ended with another exit code than 0; it has said why. `code` is the exit code."""

    def __init__(self, *parts: Any, code: int = 1) -> None:
        super().__init__(*parts)
        self.code = code


class Steps:
    """Run steps, and remember in a file which are done.

    Args:
        folder: Where the record lies; must exist.
        tell:   Function that shows a line.
    """

    def __init__(self, folder: str, tell: Callable[[str], None] = print) -> None:
        self._path, self._tell = os.path.join(folder, RECORD), tell
        self._record: dict[str, Any] = {}
        with contextlib.suppress(OSError, ValueError), open(self._path, encoding='utf-8') as file:
            self._record = json.load(file)

    def result(self, step: Step) -> str | None:
        """Return what a step has left, if it was done with this command and these inputs; else None."""
        known = self._record.get(step.name)
        same = isinstance(known, dict) and all(known.get(key) == value for key, value in _key(step).items())
        return known['result'] if same and os.path.exists(known['result']) else None

    def run(self, step: Step) -> str:
        """Run a step unless it is done; returns its result.

        Raises:
            StepFailed: It ended with another exit code than 0, or without a result.
        """
        known = self.result(step)
        if known is not None:
            self._tell(f'{step.name}: done before, {known}')
            return known
        self._tell(f'{step.name}: {step.about}\n  {spell(step.command)}')
        key, begin = _key(step), time.monotonic()
        code = run_command(step.command)
        if code:
            then = 'the' if code in INTERRUPTED else 'once that is mended, the'
            raise StepFailed(
                f'step {step.name} has ended with exit code {code}; {then} same command goes on from there',
                code=code,
            )
        found = step.find()
        if found is None:
            raise StepFailed(f'step {step.name} has left no result; its command was: {spell(step.command)}')
        seconds = time.monotonic() - begin
        self._record[step.name] = dict(key, result=found, seconds=round(seconds, 1))
        with atomic_write(self._path) as file:
            file.write(json.dumps(self._record, indent=2).encode(errors='surrogateescape') + b'\n')
        self._tell(f'{step.name}: {found} after {format_time(seconds)}')
        return found


def spell(command: list[str]) -> str:
    """Write a command as one would type it."""
    return shlex.join(['python', *command])


def run_command(command: list[str]) -> int:
    """Run Python with these arguments and return its exit code; SIGTERM and SIGUSR1 are passed on to it."""
    process = subprocess.Popen([sys.executable, *command])
    with _forwarding(process):
        while True:
            with contextlib.suppress(KeyboardInterrupt):  # which reaches the command as well
                code = process.wait()
                return code if code >= 0 else 128 - code


@contextlib.contextmanager
def _forwarding(process: subprocess.Popen) -> Iterator[None]:
    def forward(number: int, _frame: FrameType | None) -> None:
        with contextlib.suppress(ProcessLookupError):
            process.send_signal(number)

    before = {number: signal.signal(number, forward) for number in _FORWARDED}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def _key(step: Step) -> dict[str, Any]:
    return dict(command=step.command, inputs={path: signature(path) for path in step.inputs})


def signature(path: str) -> list[int]:
    """Return what changes when a file or the files below a folder do: number, bytes, newest time in ns."""
    if not os.path.isdir(path):
        found = [os.stat(path)] if os.path.exists(path) else []
    else:
        found = [
            os.stat(os.path.join(folder, name))
            for folder, _, names in os.walk(path)
            for name in names
            if os.path.exists(os.path.join(folder, name))
        ]
    newest = max((item.st_mtime_ns for item in found), default=0)
    return [len(found), sum(item.st_size for item in found), newest]
