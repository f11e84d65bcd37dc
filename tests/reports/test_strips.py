# Copyright 2026 The GDD-1S authors.
# SPDX-License-Identifier: Apache-2.0
"""Tests of reports/strips.py."""

import numpy as np
import PIL.Image
import pytest

from dnnlib.errors import ArgumentError
from reports.run_folder import read_run
from reports.strips import LABEL_WIDTH, first_images, make_strip, save_strips
from tests.support.written_runs import grid, write_run


def test_rows_are_snapshots_and_columns_seeds(tmp_path):
    """Image i of the grid at k kimg has the value 10 i + k; 8 pixels become 64."""
    strip = make_strip(read_run(write_run(tmp_path)), rows=8, columns=10)
    assert strip.shape == (3 * 64, LABEL_WIDTH + 3 * 64, 3)
    pixels = strip[:, LABEL_WIDTH:, 0]
    assert pixels[::64, ::64].tolist() == [[0, 10, 20], [2, 12, 22], [4, 14, 24]]
    assert all(len(np.unique(pixels[64 * i : 64 * i + 64, :64])) == 1 for i in range(3))
    assert (strip[:, :LABEL_WIDTH] < 128).any(axis=(1, 2)).sum() > 15  # something is written there


def test_fewer_rows_and_columns(tmp_path):
    strip = make_strip(read_run(write_run(tmp_path)), rows=2, columns=2)
    assert strip[::64, LABEL_WIDTH::64, 0].tolist() == [[0, 10], [4, 14]]


def test_a_grid_of_unknown_size_is_one_image():
    image = PIL.Image.fromarray(grid(0)[:, :, 0])
    assert first_images(image, None, 5).size == (24 * 4, 16 * 4)
    assert first_images(PIL.Image.new('L', (200, 100)), [1, 2], 1).size == (100, 100)  # large: as it is


def test_strips_of_several_runs(tmp_path):
    runs = [read_run(write_run(tmp_path / name, grids=name != 'b')) for name in 'abc']
    save_strips(str(tmp_path / 'strips.png'), runs, rows=2)
    with PIL.Image.open(tmp_path / 'strips.png') as image:
        assert image.size == (LABEL_WIDTH + 192, 2 * (14 + 128) + 8)
    with pytest.raises(ArgumentError, match='no sample grids'):
        save_strips(str(tmp_path / 'none.png'), [runs[1]])


@pytest.mark.parametrize('size', ['x', [0, 0], [2, 3000], [1.5, 2], [1], None, {'a': 1}])
def test_a_damaged_grid_size_is_unknown(size, tmp_path):
    run = read_run(write_run(tmp_path))
    run.options['grid_size'] = size
    assert make_strip(run, rows=1, columns=3).shape == (64, LABEL_WIDTH + 24 * 4, 3)
