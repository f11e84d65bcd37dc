# Copyright 2026 The GDD-1S authors.
# SPDX-License-Identifier: Apache-2.0
"""How much faster dataset_tool.py is on several cores than on one, with synthetic JPEG photos.

The CPU seconds, unlike the ratio, hardly depend on what else the machine does: several processes should need
about as many as one.

Run in the repository root:

    python -m benchmarks.dataset_tool
"""

import os
import tempfile
import time

import click
import numpy as np
import PIL.Image

from dnnlib.parallel import available_cores
from training.images.conversion import convert, open_dest
from training.images.sources import open_source


def write_photos(folder: str, count: int, size: int) -> None:
    """Write smooth random JPEG images with a little noise, about as costly to decode as photos."""
    rng = np.random.RandomState(0)
    for k in range(count):
        coarse = PIL.Image.fromarray(rng.randint(256, size=[16, 16, 3]).astype(np.uint8))
        pixels = np.asarray(coarse.resize((size, size), PIL.Image.Resampling.BICUBIC)).astype(int)
        pixels = (pixels + rng.randint(-8, 9, size=pixels.shape)).clip(0, 255).astype(np.uint8)
        PIL.Image.fromarray(pixels).save(os.path.join(folder, f'{k:06d}.jpg'), quality=92)


def measure(source: str, dest: str, resolution: int, workers: int) -> tuple[float, float]:
    """Convert once; return the seconds and the CPU seconds of all processes, their start included."""
    start, start_cpu = time.perf_counter(), sum(os.times()[:4])
    with open_dest(dest) as save:
        convert(open_source(source), save, 'center-crop', (resolution, resolution), workers=workers)
    return time.perf_counter() - start, sum(os.times()[:4]) - start_cpu


# fmt: off
@click.command()
@click.option('--images',     help='Number of images', metavar='INT', type=click.IntRange(min=1),
              default=1000, show_default=True)
@click.option('--size',       help='Side of the images', metavar='PIXELS', type=click.IntRange(min=16),
              default=512, show_default=True)
@click.option('--resolution', help='Side of the result', metavar='PIXELS', type=click.IntRange(min=1),
              default=64, show_default=True)
@click.option('--workers',    help='Processes to compare with 1', metavar='INT', type=click.IntRange(min=1),
              default=available_cores, show_default='all cores')
def main(images: int, size: int, resolution: int, workers: int) -> None:
    """Compare a conversion in one process with one in several."""
    with tempfile.TemporaryDirectory() as folder:
        photos = os.path.join(folder, 'photos')
        os.makedirs(photos)
        write_photos(photos, images, size)
        print(f'{images} JPEG images of {size}x{size} -> PNG {resolution}x{resolution}, '
              f'{available_cores()} cores')
        print('| workers | seconds | CPU seconds | images/s | ratio |\n|---:|---:|---:|---:|---:|')
        alone = None
        for count in sorted({1, workers}):
            seconds, cpu_seconds = measure(photos, os.path.join(folder, f'{count}.zip'), resolution, count)
            alone = alone or seconds
            print(f'| {count} | {seconds:.1f} | {cpu_seconds:.1f} | {images / seconds:.0f} '
                  f'| {alone / seconds:.2f} |')
# fmt: on


if __name__ == '__main__':
    main()
