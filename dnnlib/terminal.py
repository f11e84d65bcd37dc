# Copyright 2026 The GDD-1S authors.
# SPDX-License-Identifier: Apache-2.0
"""Colour where it helps: on terminals only, and never where the user asks for none (https://no-color.org)."""

import os
import sys
from typing import TextIO

import click


def paint(text: str, colour: str, stream: TextIO | None = None) -> str:
    """Colour a text if it goes to a terminal.

    Args:
        text:   What is shown.
        colour: One of Click's names, such as 'red'.
        stream: Where it goes; None for standard output.
    """
    stream = stream or sys.stdout
    if os.environ.get('NO_COLOR') or os.environ.get('TERM') == 'dumb' or not stream.isatty():
        return text
    return click.style(text, fg=colour)
