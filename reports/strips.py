# Copyright 2026 The GDD-1S authors.
# SPDX-License-Identifier: Apache-2.0
"""Sample grids over time as one picture: a row per snapshot, in every column the same seed."""

from collections.abc import Sequence
from typing import Any

import numpy as np
import PIL.Image
import PIL.ImageDraw

from dnnlib.errors import ArgumentError
from reports.run_folder import RunFolder, open_picture, spread
from training.images.png import draw_caption, save_png

CELL = 64  # small images are enlarged to at least this side, in pixels
LABEL_WIDTH = 76  # left of each row, for its kimg
BACKGROUND = 255


def save_strips(path: str, runs: Sequence[RunFolder], rows: int = 8, columns: int = 10) -> None:
    """Write the strips of some runs below each other as one PNG file, atomically.

    Args:
        path:    File to write; its folder must exist.
        runs:    Those without a grid are left out.
        rows:    Most snapshots per run, evenly from the first to the last.
        columns: Most images of a snapshot: the first ones of the upper row of its grid.
    Raises:
        ArgumentError: No run has a grid.
    """
    strips = [make_strip(run, rows, columns) for run in runs if run.grids]
    if not strips:
        raise ArgumentError(f'{", ".join(run.path for run in runs)}: no sample grids (fakes-*.png)')
    titles = [run.name.encode('utf-8', 'backslashreplace').decode() for run in runs if run.grids]
    width = max(strip.shape[1] for strip in strips)
    parts = []
    for title, strip in zip(titles, strips):
        if len(runs) > 1:
            parts.append(np.broadcast_to(draw_caption(title, width), (14, width, 3)))
        parts.append(np.pad(strip, [(0, 8), (0, width - strip.shape[1]), (0, 0)], constant_values=BACKGROUND))
    save_png(path, np.concatenate(parts)[:-8])


def make_strip(run: RunFolder, rows: int, columns: int) -> np.ndarray:
    """Return the snapshots of a run as rows with their kimg to the left, uint8 [H, W, 3].

    Args:
        run:           With at least one grid.
        rows, columns: As for `save_strips`.
    """
    lines = []
    for kimg, path in spread(run.grids, rows):
        image = open_picture(path)[1].convert('RGB')
        images = first_images(image, _fitting(run.options.get('grid_size'), image), columns)
        label = PIL.Image.new('RGB', (LABEL_WIDTH, images.height), (BACKGROUND,) * 3)
        PIL.ImageDraw.Draw(label).text((2, images.height / 2 - 6), f'{kimg} kimg', fill=0)
        lines.append(np.concatenate([np.asarray(label), np.asarray(images)], axis=1))  # [H, W, 3]
    return np.concatenate(lines)


def first_images(grid: PIL.Image.Image, grid_size: Sequence[int] | None, columns: int) -> PIL.Image.Image:
    """Cut the first images of the upper row out of a grid, and enlarge small ones by a whole factor.

    Args:
        grid:      Picture of a grid.
        grid_size: Its rows and columns; None takes the whole picture for one image.
        columns:   How many images to take at most.
    """
    grid_rows, grid_columns = grid_size or (1, 1)
    width, height = grid.width // grid_columns, grid.height // grid_rows
    taken = grid.crop((0, 0, width * min(columns, grid_columns), height))
    factor = max(1, -(-CELL // height))
    return taken.resize((taken.width * factor, taken.height * factor), PIL.Image.Resampling.NEAREST)


def _fitting(grid_size: Any, image: PIL.Image.Image) -> list[int] | None:
    # Rows and columns out of a file that may be damaged, or None.
    sides = (image.height, image.width)
    if not isinstance(grid_size, list) or len(grid_size) != 2:
        return None
    return grid_size if all(type(n) is int and 1 <= n <= side for n, side in zip(grid_size, sides)) else None
