# Copyright 2026 The GDD-1S authors.
# SPDX-License-Identifier: Apache-2.0
"""Tests of dnnlib/terminal.py: colour on terminals only."""

import io

from dnnlib.terminal import paint


class Terminal(io.StringIO):
    def isatty(self):
        return True


def test_colour_on_a_terminal_only(monkeypatch):
    monkeypatch.delenv('NO_COLOR', raising=False)
    monkeypatch.setenv('TERM', 'xterm')
    assert paint('text', 'red', Terminal()) == '\x1b[31mtext\x1b[0m'
    assert paint('text', 'red', io.StringIO()) == 'text'


def test_colour_can_be_refused(monkeypatch):
    monkeypatch.setenv('TERM', 'dumb')
    assert paint('text', 'red', Terminal()) == 'text'
    monkeypatch.setenv('TERM', 'xterm')
    monkeypatch.setenv('NO_COLOR', '1')
    assert paint('text', 'red', Terminal()) == 'text'
