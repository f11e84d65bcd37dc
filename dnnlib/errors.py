# Copyright 2026 The GDD-1S authors.
# SPDX-License-Identifier: Apache-2.0
"""The error that users see: one line with the argument, its value, the rule, and a value that works.

Library code speaks of arguments (`batch=500`), the command line of options (`--batch=500`). So an error
carries its arguments as parts of the message, and whoever shows it spells them:

    raise ArgumentError(arg('batch', 500), f' must be a multiple of {unit}; try ', arg('batch', 512))

`str(error)` spells them for Python; the scripts do it for the shell (dnnlib/cli.py).
"""

from collections.abc import Callable
from typing import Any, NamedTuple

_NOT_SHOWN = ...  # survives pickling between processes, unlike an object of ours


class Arg(NamedTuple):
    """An argument as part of a message; without a value only its name is shown."""

    name: str
    value: Any = _NOT_SHOWN


def arg(name: str, value: Any = _NOT_SHOWN) -> Arg:
    """Return an argument as part of a message, by its name in Python (with underscores)."""
    return Arg(name, value)


def shown(value: Any) -> str:
    """Write a value as a user types it: lists with commas, numbers without needless digits."""
    if isinstance(value, (list, tuple)):
        return ','.join(map(shown, value))
    return f'{value:g}' if isinstance(value, float) else str(value)


def as_python(part: Arg) -> str:
    """Spell an argument as in Python: `batch=500`."""
    return part.name if part.value is _NOT_SHOWN else f'{part.name}={shown(part.value)}'


def as_option(part: Arg) -> str:
    """Spell an argument as an option of a script: `--batch=500`."""
    return '--' + as_python(part._replace(name=part.name.replace('_', '-')))


class ArgumentError(ValueError):
    """What was given cannot be used; the message is one line for the user.

    Args:
        parts: Texts, and `Arg`s where an argument is named. They are joined as they are.
    """

    def __init__(self, *parts: str | Arg) -> None:
        super().__init__(*parts)  # the parts are `args`, so the error can be pickled

    def spell(self, spelling: Callable[[Arg], str]) -> str:
        """Return the message with every argument spelled by a function such as `as_option`."""
        return ''.join(part if isinstance(part, str) else spelling(part) for part in self.args)

    def renamed(self, **names: str) -> 'ArgumentError':
        """Return the same error where arguments have the names of the caller: renamed(path='data')."""
        parts = [
            part._replace(name=names.get(part.name, part.name)) if isinstance(part, Arg) else part
            for part in self.args
        ]
        error = type(self)(*parts)
        error.__cause__ = self
        return error

    def __str__(self) -> str:
        return self.spell(as_python)


def message_parts(error: Exception) -> tuple[str | Arg, ...]:
    """Return the message of an error as parts for another; an `ArgumentError` keeps its arguments."""
    return error.args if isinstance(error, ArgumentError) else (str(error),)


class FailedElsewhere(RuntimeError):
    """Another process has an error and reports it; this one ends without a word of its own."""


class ProcessLost(RuntimeError):
    """Another process has ended, so that a collective operation cannot be completed."""
