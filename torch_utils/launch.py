# Copyright 2026 The GDD-1S authors.
# SPDX-License-Identifier: Apache-2.0
"""torchrun with quiet failures: `python -m torch_utils.launch [torchrun options] SCRIPT|-m MODULE [options]`.

When a process fails, torchrun stops the others and adds a report and a traceback of its own. The
failing process has already said what is wrong, so here the report is replaced by its exit code; a
process that was killed could not, and gets a line. SIGTERM and SIGUSR1 are passed on to the processes,
which may finish in good order (training writes its state) without torchrun's limit of 30 seconds. A launcher
that is killed takes its processes along: they watch it. With --max-restarts, training needs --resume=auto.
"""

import logging
import os
import signal
import sys
import threading
import time
from collections.abc import Sequence
from types import FrameType

import psutil

EXIT_PREEMPTED = 75  # EX_TEMPFAIL of sysexits.h: no failure, try again
PREEMPTION_SIGNALS = (signal.SIGTERM, signal.SIGUSR1)
_LAUNCHER = 'GDD_LAUNCHER_PID'  # environment variable; plain torchrun does not set it
_WATCH_SEC = 1


def protect_script(args: Sequence[str]) -> list[str]:
    """Put `--` before the script or module, or torchrun takes its options for abbreviations of its own.

    Current torchrun stops at `fid.py calc --num=300`, which "could match --numa-binding".

    Args:
        args: Command line.
    Returns:
        The same with `--` before the first Python file, or before the module of -m.
    """
    for index, arg in enumerate(args):
        if arg == '--':
            break
        module = index and args[index - 1] in ('-m', '--module')
        if module or (arg.endswith('.py') and not arg.startswith('-')):
            return [*args[:index], '--', *args[index:]]
    return list(args)


def list_children() -> list[int]:
    """Return the process ids of this process's children."""
    return [child.pid for child in psutil.Process().children()]


def end_with_launcher() -> None:
    """Let this process end as soon as the launcher that started it, if any, is no more."""
    launcher = os.environ.get(_LAUNCHER) or ('TORCHELASTIC_RUN_ID' in os.environ and os.getppid())
    if launcher:
        watch = threading.Thread(target=_watch, args=[int(launcher)], name='watch launcher', daemon=True)
        watch.start()


def _watch(pid: int) -> None:
    try:
        launcher = psutil.Process(pid)
        while not _is_orphaned(launcher) and launcher.is_running():
            if launcher.status() == psutil.STATUS_ZOMBIE:
                break
            time.sleep(_WATCH_SEC)
    except psutil.NoSuchProcess:
        pass
    which = f' (process {pid})' if pid != 1 else ''
    rank = os.environ.get('RANK', '0')
    print(f'Error: process {rank} ends, since its launcher{which} was ended', file=sys.stderr, flush=True)
    os._exit(1)


def _is_orphaned(parent: psutil.Process) -> bool:
    # A torchrun that was killed while this process still imported torch has left it to process 1. In a
    # container that can be the launcher itself, which is a Python program then.
    if parent.pid != 1:
        return False
    try:
        return not any('python' in part for part in (parent.name(), *parent.cmdline()[:1]))
    except psutil.AccessDenied:
        return False


class SignalForwarder:
    """Pass preemption signals on to the children instead of dying from them; `received` holds what came."""

    def __init__(self) -> None:
        self.received: int | None = None
        for number in PREEMPTION_SIGNALS:
            signal.signal(number, self._forward)

    def _forward(self, number: int, _frame: FrameType | None) -> None:
        self.received = number
        children = list_children()
        if not children:
            sys.exit(EXIT_PREEMPTED)  # nothing has been started yet
        for pid in children:
            try:
                os.kill(pid, number)
            except ProcessLookupError:
                pass


def exit_code_of(failures: dict[int, int], received: int | None) -> int:
    """Choose the exit code of processes of which some have failed, and report those that were killed.

    Args:
        failures: {rank: exit code}, the first failure first; negative: ended by that signal.
        received: Preemption signal that was passed on to them, or None.
    Returns:
        Exit code, 1..255.
    """
    codes = list(failures.values())
    # Whoever was too young to handle the signal has nothing to save either.
    if EXIT_PREEMPTED in codes or (received is not None and -received in codes):
        return EXIT_PREEMPTED
    for rank, code in failures.items():
        # With SIGTERM torchrun ends the others; with SIGABRT C++ has said why.
        if code < 0 and -code not in (signal.SIGTERM, signal.SIGABRT):
            name = signal.Signals(-code).name
            guess = ' (out of memory?)' if name == 'SIGKILL' else ''
            print(f'Error: process {rank} was ended by {name}{guess}', file=sys.stderr, flush=True)
            return 128 - code
    return next((code for code in codes if 0 < code < 128), 1)


def main(args: Sequence[str] | None = None) -> int:
    """Launch processes like torchrun and return the exit code of the first one that failed, or 0."""
    forwarder = SignalForwarder()  # before torch is imported, which takes seconds
    os.environ[_LAUNCHER] = str(os.getpid())
    from torch.distributed import run
    from torch.distributed.elastic.multiprocessing import SignalException
    from torch.distributed.elastic.multiprocessing.errors import ChildFailedError

    args = protect_script(sys.argv[1:] if args is None else args)
    logging.getLogger('torch.distributed.elastic').setLevel(logging.CRITICAL)
    # Leaves SIGTERM to us: torchrun's handler kills the processes after 30 seconds. Older versions of torch
    # do not know the option and keep their handler; SIGUSR1 is the signal to use with them.
    if '--signals-to-handle' in run.get_args_parser().format_help():
        args = ['--signals-to-handle=SIGINT,SIGHUP,SIGQUIT', *args]
    try:
        run.main(args)
    except ChildFailedError as error:
        first, _failure = error.get_first_failure()
        ranks = [first, *(rank for rank in error.failures if rank != first)]
        return exit_code_of({rank: error.failures[rank].exitcode for rank in ranks}, forwarder.received)
    except SignalException as error:
        return 128 + error.sigval
    return 0


if __name__ == '__main__':
    sys.exit(main())
