# Copyright 2026 The GDD-1S authors.
# SPDX-License-Identifier: Apache-2.0
"""Measure a network, and images in memory, against reference statistics.

python -m examples.measure_network network-snapshot-001000.pkl reference.npz 2000
"""

import sys

import torch

from evaluations import compute_metrics
from training import load_generator


def main(network: str, ref: str, num: str) -> None:
    G = load_generator(network)
    for name, value in compute_metrics(G, ref=ref, num=int(num)).items():
        print(f'{name}: {value:g}')

    pixels = G(int(num), dtype=torch.uint8)  # or any other images, uint8 [N, C, H, W]
    print(f'the same from memory: {compute_metrics(pixels, ref=ref)}')


if __name__ == '__main__':
    main(*sys.argv[1:])
