# Copyright 2026 The GDD-1S authors.
# SPDX-License-Identifier: Apache-2.0
"""PNG files and grids: pixels come back unchanged, in reading order, and never as half a file."""

import numpy as np
import PIL.Image
import pytest

from training.images.png import CAPTION_HEIGHT, make_grid, save_grid, save_png


def test_grid_is_in_reading_order():
    images = np.arange(5, dtype=np.uint8).reshape(5, 1, 1, 1).repeat(2, axis=1).repeat(2, axis=2)
    grid = make_grid(images, columns=3)
    assert grid.shape == (4, 6, 1)
    assert grid[::2, ::2, 0].tolist() == [[0, 1, 2], [3, 4, 255]]
    assert grid[::2, ::2, 0].tolist() != make_grid(images, columns=2)[::2, ::2, 0].tolist()


def test_captions_take_room_below_each_image():
    images = np.zeros([2, 20, 40, 3], dtype=np.uint8)
    grid = make_grid(images, 2, captions=['7', ''])
    assert grid.shape == (20 + CAPTION_HEIGHT, 80, 3)
    assert not grid[:20].any() and grid[20:, :40].min() < 128 and grid[20:, 40:].min() == 255


@pytest.mark.parametrize('channels, mode', [(1, 'L'), (3, 'RGB')])
def test_png_keeps_the_pixels(tmp_path, channels, mode):
    images = np.random.RandomState(0).randint(256, size=[6, 4, 4, channels]).astype(np.uint8)
    save_png(str(tmp_path / 'a.png'), images[0])
    with PIL.Image.open(tmp_path / 'a.png') as image:
        assert image.mode == mode and np.array_equal(np.asarray(image).reshape(4, 4, channels), images[0])
    save_grid(str(tmp_path / 'grid.png'), images, 3)
    with PIL.Image.open(tmp_path / 'grid.png') as image:
        assert np.array_equal(np.asarray(image).reshape(8, 12, channels), make_grid(images, 3))


def test_a_failed_write_leaves_the_old_file_and_nothing_else(tmp_path, monkeypatch):
    path = tmp_path / 'a.png'
    save_png(str(path), np.zeros([2, 2, 1], dtype=np.uint8))
    before = path.read_bytes()

    def fail(self, name, **kwargs):
        open(name, 'wb').close()
        raise OSError(28, 'No space left on device')

    monkeypatch.setattr(PIL.Image.Image, 'save', fail)
    with pytest.raises(OSError):
        save_png(str(path), np.ones([2, 2, 1], dtype=np.uint8))
    assert path.read_bytes() == before and [p.name for p in tmp_path.iterdir()] == ['a.png']


@pytest.mark.parametrize(
    'pixels', [np.zeros([2, 2], np.uint8), np.zeros([2, 2, 4], np.uint8), np.zeros([2, 2, 3], np.float32)]
)
def test_other_arrays_are_refused(tmp_path, pixels):
    with pytest.raises(ValueError, match='uint8'):
        save_png(str(tmp_path / 'a.png'), pixels)


def test_impossible_grids_are_refused():
    images = np.zeros([2, 2, 2, 1], dtype=np.uint8)
    for arguments in ((images[:0], 1), (images, 0), (images, 1, ['a'])):
        with pytest.raises(ValueError):
            make_grid(*arguments)
