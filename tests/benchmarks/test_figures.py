# Copyright 2026 The GDD-1S authors.
# SPDX-License-Identifier: Apache-2.0
"""Tests of benchmarks/figures.py: size in pixels, and nothing that stays open or half written."""

import PIL.Image
import pytest

from benchmarks.figures import new_figure, save_and_close


def test_a_figure_is_written_and_let_go(tmp_path):
    pyplot = pytest.importorskip('matplotlib.pyplot')
    before = pyplot.get_fignums()
    figure, axis = new_figure(figsize=(4, 2))
    axis.plot([0, 1], [1, 0])
    save_and_close(figure, tmp_path / 'a.png', dpi=50)
    with PIL.Image.open(tmp_path / 'a.png') as image:
        assert image.size == (200, 100) and image.format == 'PNG'
    assert pyplot.get_fignums() == before and [path.name for path in tmp_path.iterdir()] == ['a.png']
