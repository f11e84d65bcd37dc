# Copyright 2026 The GDD-1S authors.
# SPDX-License-Identifier: Apache-2.0
"""Tests of reports/figures.py."""

import sys

import PIL.Image
import pytest

from dnnlib.errors import ArgumentError
from reports import figures
from reports.panels import Curve, Panel, make_panels
from reports.run_folder import read_run
from tests.support.written_runs import write_run


def test_one_run_and_several(tmp_path, monkeypatch):
    """Of one run the colour tells the statistic; of several it tells the run, and dashes the statistic."""
    pytest.importorskip('matplotlib')
    from matplotlib.figure import Figure

    seen = []
    monkeypatch.setattr(Figure, 'savefig', lambda self, *args, savefig=Figure.savefig, **kwargs: (
        seen.append(self), savefig(self, *args, **kwargs)))  # fmt: skip
    runs = [read_run(write_run(tmp_path / name)) for name in 'ab']
    panels = [panel for panel in make_panels(runs[:1]) if panel.title == 'Logits of D']
    figures.save_figure(str(tmp_path / 'one.png'), panels, dpi=40)
    panels = [panel for panel in make_panels(runs) if panel.title == 'Logits of D']
    figures.save_figure(str(tmp_path / 'two.png'), panels, ['a', 'b'], dpi=40)
    looks = [[(line.get_color(), line.get_linestyle()) for line in f.axes[0].get_lines()] for f in seen]
    assert looks == [[('C0', '-'), ('C1', '-')], [('C0', '-'), ('C0', '--'), ('C1', '-'), ('C1', '--')]]
    assert [[t.get_text() for t in f.axes[0].get_legend().get_texts()] for f in seen] == [
        ['real', 'generated'], ['real', 'generated']]  # fmt: skip
    assert [text.get_text() for text in seen[1].legends[0].get_texts()] == ['a', 'b']
    with PIL.Image.open(tmp_path / 'one.png') as image:
        assert image.size == (200, 136)


def test_legends_where_they_tell_something(tmp_path):
    pytest.importorskip('matplotlib')
    from matplotlib.figure import Figure

    axes = Figure().add_subplot()
    figures._draw(axes, Panel('t', '', [Curve('a', [0, 1], [1.0, 2.0])], log=True), False)
    assert axes.get_legend() is None and axes.get_yscale() == 'log' and axes.get_xlim()[0] == 0


def test_names_are_no_formulas(tmp_path):
    pytest.importorskip('matplotlib')
    panels = [Panel('$x_{$', '', [Curve('a', [0, 1], [1.0, 2.0], run)]) for run in (0, 1)]
    figures.save_figure(str(tmp_path / 'a.png'), panels, ['$b^{$', '_c'], dpi=40)
    assert figures._plain('a$b$') == r'a\$b\$' and (tmp_path / 'a.png').exists()


def test_nothing_to_draw(tmp_path):
    with pytest.raises(ArgumentError, match='no statistic to draw'):
        figures.save_figure(str(tmp_path / 'a.png'), [])


def test_without_matplotlib(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, 'matplotlib.figure', None)
    with pytest.raises(ArgumentError, match='pip install -r requirements/plots.txt'):
        figures.save_figure(str(tmp_path / 'a.png'), [Panel('t', '', [Curve('a', [0], [1.0])])])
    assert not list(tmp_path.iterdir())
