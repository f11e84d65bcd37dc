# Copyright 2026 The GDD-1S authors.
# SPDX-License-Identifier: Apache-2.0
"""How every script ends when something is wrong: one line with what was given and what works, no traceback.

    if __name__ == '__main__':
        cli.run_script(main)            # main is a Click command

Inside, `one_line_errors` turns errors into the line, where arguments have other names as options; what leaves
the command all the same, such as a full disk, is turned into one by `run_script`.
"""

import contextlib
import io
import os
import sys
import time
from collections.abc import Iterator
from typing import NoReturn

import click

from dnnlib.errors import ArgumentError, FailedElsewhere, ProcessLost, as_option
from dnnlib.os_errors import NO_MEMORY, describe_os_error, is_memory_error, underlying_os_error

STDOUT = 'standard output'
# The launcher ends all processes as soon as one has failed: whoever knows the reason goes first.
LAST_WORDS_SEC = 5


def one_line(error: BaseException, **names: str) -> str:
    """Return the message of an error as the command line shows it, with options instead of arguments.

    Args:
        error: What was raised.
        names: Argument -> option name, where they differ: path='data'.
    """
    text = str(error)
    if isinstance(error, ArgumentError):
        text = error.renamed(**names).spell(as_option)
    elif isinstance(error, OSError):
        text = describe_os_error(error)
    elif is_memory_error(error):
        text = NO_MEMORY
    return ' '.join(text.split())


def cause_for_user(error: BaseException) -> BaseException | None:
    """Return the error that tells a user what to mend, this one or what it came from; None for a bug."""
    if isinstance(error, (ArgumentError, OSError, ProcessLost)) or is_memory_error(error):
        return error
    return underlying_os_error(error) if isinstance(error, RuntimeError) else None


@contextlib.contextmanager
def one_line_errors(**names: str) -> Iterator[None]:
    """Run a script, or a part of one; what a user can mend ends it with one line and exit code 1.

    Of several processes, rank 0 reports first and the others a moment later, as the launcher ends them all.

    Args:
        names: Argument -> option name, where they differ: path='data'.
    Raises:
        click.ClickException: A ValueError or OSError, short memory, or a lost process.
    """
    try:
        yield
    except FailedElsewhere:
        sys.exit(1)
    except Exception as error:
        cause = error if isinstance(error, ValueError) else cause_for_user(error)
        if cause is None:
            raise
        fail(cause, **names)


def fail(error: BaseException, **names: str) -> NoReturn:
    """End with one line: at once on rank 0; a moment later on others, and where another process knows why.

    Args:
        error: What was raised.
        names: Argument -> option name, where they differ: path='data'.
    Raises:
        click.ClickException: Always.
    """
    rank = os.environ.get('RANK', '0')
    message = one_line(error, **names)
    if rank == '0' and not isinstance(error, ProcessLost):
        raise click.ClickException(message) from error
    # All processes usually find the same mistake. Ending first could silence rank 0, or whoever knows why.
    time.sleep(LAST_WORDS_SEC)
    raise click.ClickException(f'process {rank}: {message}') from error


def run_script(command: click.Command, program: str | None = None) -> NoReturn:
    """Run a Click command as a program: the outermost call of every script.

    Paths with bytes that are no UTF-8 can be printed, as escapes. Errors of the operating system that nobody
    has caught become one line, also those of a full standard output; bugs of ours keep their traceback.

    Args:
        command: The command.
        program: What the user has typed to come here, if it is not `python SCRIPT`.
    """
    prepare_streams()
    code = 0
    try:
        result = _run(command, program)
        code = result if isinstance(result, int) else 0
    except click.ClickException as error:
        code = error.exit_code
        with contextlib.suppress(OSError):
            error.show()
    except click.Abort:
        code = 1
        with contextlib.suppress(OSError):
            click.echo('Aborted!', err=True)
    finally:
        _abandon_stdout_if_broken()
    sys.exit(code)


def _run(command: click.Command, program: str | None) -> object:
    try:
        result = command.main(prog_name=program, standalone_mode=False)
        sys.stdout.flush()
        return result
    except FailedElsewhere:
        return 1
    except click.ClickException:
        raise
    except Exception as error:
        cause = cause_for_user(error)
        if cause is None:
            raise
        fail(cause)


def prepare_streams() -> None:
    """Make standard output and error fit for every text; closed ones lead nowhere."""
    for descriptor in range(3):  # ascending: a new file gets the lowest number that is free
        try:
            os.fstat(descriptor)
        except OSError:
            os.set_inheritable(os.open(os.devnull, os.O_RDWR), True)
    for name in ('stdout', 'stderr'):
        if getattr(sys, name) is None:
            setattr(sys, name, open(os.devnull, 'w', encoding='utf-8'))
    if isinstance(sys.stdout, io.TextIOWrapper) and not isinstance(sys.stdout, _StandardOutput):
        old = sys.stdout
        kept = {name: getattr(old, name) for name in ('encoding', 'line_buffering', 'write_through')}
        sys.stdout = sys.__stdout__ = _StandardOutput(old.detach(), errors='backslashreplace', **kept)


class _StandardOutput(io.TextIOWrapper):
    """Standard output whose errors say so; of a broken pipe Click would end without a word."""

    def write(self, text: str) -> int:
        with _errors_of_stdout():
            return super().write(text)

    def flush(self) -> None:
        with _errors_of_stdout():
            super().flush()


@contextlib.contextmanager
def _errors_of_stdout() -> Iterator[None]:
    try:
        yield
    except OSError as error:
        error.filename = STDOUT
        raise ArgumentError(describe_os_error(error)) from error


def _abandon_stdout_if_broken() -> None:
    # Python flushes it once more at the end, and would report the same error again in its own way.
    try:
        sys.stdout.flush()
    except (OSError, ValueError):
        os.dup2(os.open(os.devnull, os.O_WRONLY), 1)
