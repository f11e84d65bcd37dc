# Copyright 2026 The GDD-1S authors.
# SPDX-License-Identifier: Apache-2.0
"""Tests of single items of a source: where their pixels come from, and what they become."""

import numpy as np
import PIL.Image
import pytest

from tests.support.image_files import encode, random_pixels
from training.images.files import DatasetError
from training.images.items import SourceItem, array_source, load_image, to_pixels


def test_all_kinds_of_content_are_the_same_pixels(tmp_path):
    pixels = random_pixels(0, (4, 6, 3))
    path = tmp_path / 'a.png'
    path.write_bytes(encode(pixels))
    for content in (pixels, path, path.read_bytes()):
        image = load_image(SourceItem(('a.png',), content))
        np.testing.assert_array_equal(to_pixels(image, ('a.png',)), pixels)
    with pytest.raises(DatasetError, match='as it was met'):
        load_image(SourceItem(('a.png',), DatasetError('as it was met')))
    path.unlink()
    with pytest.raises(DatasetError, match='^a.png cannot be read'):
        load_image(SourceItem(('a.png',), path))


def test_rare_modes_are_refused():
    with pytest.raises(DatasetError, match='has mode LAB .*save it as 8-bit grayscale or RGB'):
        to_pixels(PIL.Image.new('LAB', (2, 2)), ('a.tif',))


def test_source_of_arrays():
    source = array_source(
        'a test', 'x.bin', random_pixels(0, (2, 4, 4)), np.array([3, 1]), ['a', 'b', 'c', 'd']
    )
    assert source.count == 2 and source.labels == [3, 1] and source.name_of(1) == 'image 1'
    assert [item.where for item in source.items] == [('image 0 of x.bin',), ('image 1 of x.bin',)]
