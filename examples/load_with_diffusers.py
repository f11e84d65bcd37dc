# Copyright 2026 The GDD-1S authors.
# SPDX-License-Identifier: Apache-2.0
"""Use what `export.py --format=diffusers` has written; nothing of this project is imported.

python -m examples.load_with_diffusers exported-folder images.png
"""

import sys

import torch
from diffusers import DiffusionPipeline
from diffusers.utils import make_image_grid


def main(folder: str, picture: str) -> None:
    pipe = DiffusionPipeline.from_pretrained(folder, trust_remote_code=True)  # runs the code in the folder
    pipe = pipe.to('cuda' if torch.cuda.is_available() else 'cpu')
    images = pipe(seeds=range(8)).images  # PIL images, on the same kind of device those of generate.py
    make_image_grid(images, rows=2, cols=4).save(picture)


if __name__ == '__main__':
    main(*sys.argv[1:])
