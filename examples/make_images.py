# Copyright 2026 The GDD-1S authors.
# SPDX-License-Identifier: Apache-2.0
"""Make images with a network, in three lines, and write them as one picture.

python -m examples.make_images network-snapshot-001000.pkl images.png
"""

import sys

import torch

from training import load_generator
from training.images.png import save_grid


def main(network: str, picture: str) -> None:
    G = load_generator(network)
    images = G(64, seed=0)  # float32 [64, C, H, W], -1..1, on the GPU if there is one
    print(f'{list(images.shape)} from {images.min():.2f} to {images.max():.2f} on {images.device}')

    pixels = G(64, seed=0, dtype=torch.uint8)  # the bytes that generate.py writes for seeds 0-63
    save_grid(picture, pixels.permute(0, 2, 3, 1).cpu().numpy(), columns=8)
    if G.num_classes:
        ones = G([0, 1, 2], labels=1)  # three seeds, one class
        print(f'seeds 0, 1, 2 draw the classes {G.draw_labels(3).tolist()}; class 1: {list(ones.shape)}')


if __name__ == '__main__':
    main(*sys.argv[1:])
