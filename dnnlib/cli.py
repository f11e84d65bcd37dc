# Copyright 2026 The GDD-1S authors.
# SPDX-License-Identifier: Apache-2.0
"""How every script ends when something is wrong: one line with what was given and what works, no traceback."""

import contextlib
import sys
from collections.abc import Iterator

import click

from dnnlib.errors import ArgumentError, FailedElsewhere, as_option


def one_line(error: Exception, **names: str) -> str:
    """Return the message of an error as the command line shows it, with options instead of arguments.

    Args:
        error: What was raised.
        names: Argument -> option name, where they differ: path='data'.
    """
    if isinstance(error, ArgumentError):
        return error.renamed(**names).spell(as_option)
    return ' '.join(str(error).split())


@contextlib.contextmanager
def one_line_errors(**names: str) -> Iterator[None]:
    """Run a script, or a part of one; what a user can mend ends it with one line and exit code 1.

    Args:
        names: Argument -> option name, where they differ: path='data'.
    Raises:
        click.ClickException: The block raised a ValueError or OSError.
    """
    try:
        yield
    except (ValueError, OSError) as error:
        raise click.ClickException(one_line(error, **names)) from error
    except FailedElsewhere:
        sys.exit(1)
