# Copyright 2026 The GDD-1S authors.
# SPDX-License-Identifier: Apache-2.0
"""A network for the tests of generate.py, and the reading of what it has written."""

import numpy as np
import PIL.Image

TINY = dict(
    img_resolution=8,
    img_channels=3,
    model_type='SongUNet',
    model_channels=8,
    channel_mult=[1],
    num_blocks=1,
    attn_resolutions=[],
    dropout=0,
)


def read(outdir, name='000000.png'):
    """Return the pixels of an image file, uint8 [H, W] or [H, W, 3]."""
    with PIL.Image.open(outdir / name) as image:
        return np.asarray(image)
