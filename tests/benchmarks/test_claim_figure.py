# Copyright 2026 The GDD-1S authors.
# SPDX-License-Identifier: Apache-2.0
"""Tests of benchmarks/claim_figure.py: means and deviations by hand, and a picture of all panels."""

import numpy as np
import PIL.Image
import pytest

from benchmarks.claim_figure import bands, save_figure


def test_mean_and_sample_standard_deviation_at_common_points():
    longer = [(1.0, 10.0), (2.0, 4.0), (3.0, 1.0)]
    assert bands([longer, [(1.0, 14.0), (2.0, 4.0)]]) == [(1.0, 12.0, pytest.approx(8**0.5)), (2.0, 4.0, 0.0)]
    assert bands([longer])[2] == (3.0, 1.0, 0.0)


@pytest.mark.parametrize('count', [1, 4])
def test_every_panel_is_drawn(tmp_path, count):
    pytest.importorskip('matplotlib')
    curve = [(1.0, 10.0), (2.0, 0.5)]
    panels = {f'claim {i}': {'a': [curve, [(1.0, 8.0), (2.0, 0.1)]], 'b': [curve]} for i in range(count)}
    save_figure(tmp_path / 'figure.png', panels, 'distance')
    with PIL.Image.open(tmp_path / 'figure.png') as image:
        pixels = np.asarray(image.convert('L'))
    height, width = pixels.shape
    rows, columns = (1, 1) if count == 1 else (2, 3)
    assert (height, width) == (300 * rows, 400 * columns)
    drawn = [
        pixels[300 * i : 300 * (i + 1), 400 * k : 400 * (k + 1)].min() < 100
        for i in range(rows)
        for k in range(columns)
    ]
    assert drawn == [True] * count + [False] * (rows * columns - count)
