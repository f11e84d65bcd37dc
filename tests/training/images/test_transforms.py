# Copyright 2026 The GDD-1S authors.
# SPDX-License-Identifier: Apache-2.0
"""Tests of crops and resizing, by hand."""

import numpy as np
import PIL.Image
import pytest

from tests.support.image_files import lanczos, random_pixels
from training.images import transforms


def test_resize_keeps_a_fitting_image_and_changes_others():
    pixels = random_pixels(0, (6, 10, 3))
    assert transforms.resize(pixels, None, None) is pixels and transforms.resize(pixels, 10, 6) is pixels
    np.testing.assert_array_equal(transforms.resize(pixels, 4, 4), lanczos(pixels, (4, 4)))
    bilinear = np.asarray(PIL.Image.fromarray(pixels).resize((4, 4), PIL.Image.Resampling.BILINEAR))
    assert not np.array_equal(transforms.resize(pixels, 4, 4), bilinear)


@pytest.mark.parametrize(
    'shape, rows, columns',
    [((7, 12, 3), (0, 7), (2, 9)), ((12, 7, 3), (2, 9), (0, 7)), ((5, 8), (0, 5), (1, 6))],
)
def test_center_crop_by_hand(shape, rows, columns):
    pixels = random_pixels(0, shape)
    square = pixels[rows[0] : rows[1], columns[0] : columns[1]]
    square = square if square.ndim == 3 else np.stack([square] * 3, axis=2)
    np.testing.assert_array_equal(transforms.center_crop(pixels, 4, 4), lanczos(square, (4, 4)))


def test_center_crop_wide_by_hand():
    pixels = random_pixels(0, (20, 16, 3))
    # The band is round(16 * 20 / 16) = 20 rows here, so everything is kept and squeezed into 16x8.
    made = transforms.center_crop_wide(pixels, 16, 8)
    assert made.shape == (16, 16, 3) and not made[:4].any() and not made[12:].any()
    np.testing.assert_array_equal(made[4:12], lanczos(pixels, (16, 8)))
    # Gray, 32 wide: round(16 * 20 / 32) = 10 rows, 5..15.
    gray = random_pixels(0, (20, 32))
    made = transforms.center_crop_wide(gray, 16, 8)
    np.testing.assert_array_equal(made[4:12], lanczos(np.stack([gray[5:15]] * 3, axis=2), (16, 8)))
    assert transforms.center_crop_wide(random_pixels(0, (20, 15, 3)), 16, 8) is None
    assert transforms.center_crop_wide(random_pixels(0, (14, 32, 3)), 16, 8) is None
