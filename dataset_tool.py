# Copyright 2026 The GDD-1S authors.
# SPDX-License-Identifier: Apache-2.0
"""Convert images into a dataset for train.py and fid.py, or look into any source of images.

\b
Examples:
  # Convert; `convert` may be left out, as in EDM. All options: dataset_tool.py convert --help
  python dataset_tool.py --source=cifar-10-python.tar.gz --dest=datasets/cifar10-32x32.zip
  python dataset_tool.py --source=photos --dest=datasets/photos-64x64.zip \\
      --transform=center-crop --resolution=64x64
\b
  # Inspect
  python dataset_tool.py inspect --source=datasets/photos-64x64.zip --grid=photos.png

\b
--source is recognised by its name:
  FOLDER                      all images in it; labels from its dataset.json,
                              otherwise one class per top-level folder
  FILE.zip                    all images in it; labels from its dataset.json
  cifar-10-python.tar.gz      the 50000 training images of CIFAR-10
  train-images-idx3-ubyte     MNIST (also .gz, t10k-..., or the folder with
                              these files), padded from 28x28 to 32x32
  FILE.npz                    arr_0: images uint8 [N, H, W, 3]; arr_1: labels
                              (guided-diffusion's format, also of generate.py)
"""

import contextlib
import json
import os
import re
import signal
from collections.abc import Iterator
from typing import Any

import click

from dnnlib import cli
from dnnlib.errors import ArgumentError, arg
from dnnlib.parallel import WorkerError, available_cores
from training.images.conversion import convert as convert_source
from training.images.conversion import open_dest
from training.images.decoding import MAX_PIXELS
from training.images.inspection import choose_samples, inspect_source, save_samples
from training.images.sources import open_source
from training.images.transforms import TRANSFORMS

_MAX_CELLS = 4096


class _ConvertByDefault(click.Group):
    """Command group that reads options without a command name as those of `convert`: EDM's command line."""

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        if args and args[0].startswith('-') and args[0] not in ctx.help_option_names:
            args = ['convert', *args]
        return super().parse_args(ctx, args)


def parse_pair(_ctx: Any, _param: Any, text: str | None) -> tuple[int, int] | None:
    """Turn `AxB` or `A,B` into a tuple of two positive ints; None stays None."""
    if text is None:
        return None
    match = re.fullmatch(r'([1-9]\d{0,4})[x,]([1-9]\d{0,4})', text)
    if not match:
        raise click.BadParameter(f'{text} must be two positive numbers with an x between; try 64x64')
    return int(match[1]), int(match[2])


def check_crop(transform: str | None, resolution: tuple[int, int] | None) -> None:
    """Raise ClickException unless --resolution suits --transform."""
    if transform is None:
        return
    if resolution is None:
        raise click.ClickException(f'--transform={transform} needs --resolution=WxH; try --resolution=64x64')
    width, height = resolution
    if transform == 'center-crop-wide' and height > width:
        raise click.ClickException(
            f'--resolution={width}x{height} must be wider than high for '
            f'--transform={transform}; try {height}x{width}'
        )


def describe(error: Exception) -> str:
    """Spell an error or a note for the command line; library code calls what it reads `path`."""
    return cli.one_line(error, path='source')


@contextlib.contextmanager
def _clean_end(option: str, output: str | None) -> Iterator[None]:
    """Show what is wrong in one line; let SIGTERM end the block like Ctrl-C, without half a file left.

    Args:
        option: Name of the option that gave the output.
        output: Its value, or None where nothing is written.
    """

    def stop(*_args: Any) -> None:
        raise SystemExit(128 + signal.SIGTERM)

    previous = signal.signal(signal.SIGTERM, stop)
    try:
        yield
    except (ArgumentError, WorkerError) as error:
        raise click.ClickException(describe(error)) from error
    except OSError as error:
        reason = cli.one_line(error)
        if output is not None and _concerns(error, output):
            reason = f'--{option}={output} cannot be written ({reason})'
        raise click.ClickException(reason) from error
    finally:
        signal.signal(signal.SIGTERM, previous)


def _concerns(error: OSError, output: str) -> bool:
    """Whether an error of the operating system is about the output, a folder above it or a file beside it."""
    if not isinstance(error.filename, (str, bytes)) or error.filename == cli.STDOUT:
        return error.filename is None
    name, output = os.path.abspath(os.fsdecode(error.filename)), os.path.abspath(output)
    return output.startswith(name) or name.startswith(os.path.dirname(output))


@click.group(cls=_ConvertByDefault, help=__doc__, subcommand_metavar='[convert] OPTIONS | inspect OPTIONS')
def main() -> None:
    pass


# fmt: off
@main.command()
@click.option('--source',       help='Folder, .zip, .npz, MNIST or CIFAR-10', metavar='PATH', required=True)
@click.option('--dest',         help='New .zip file or folder',         metavar='PATH', required=True)
@click.option('--max-images',   help='Stop after this many images', metavar='INT', type=click.IntRange(min=1))
@click.option('--transform',    help='How to get to --resolution  [default: resize]',
              type=click.Choice(list(TRANSFORMS)[1:]))
@click.option('--resolution',   help='Output size in pixels: 64x64', metavar='WxH', callback=parse_pair)
@click.option('--labels',       help='From dataset.json or folder names, or no labels',
              type=click.Choice(['auto', 'none']), default='auto', show_default=True)
@click.option('--exif',         help='Turn images as their EXIF orientation says, or not, as EDM',
              type=click.Choice(['apply', 'ignore']), default='ignore', show_default=True)
@click.option('--max-pixels',   help='Largest width x height read', metavar='INT', type=click.IntRange(min=1),
              default=MAX_PIXELS, show_default=True)
@click.option('--skip-bad',     help='Name unreadable images and leave them out', is_flag=True)
@click.option('--png-compress', help='PNG compression: 0 fast, 9 small', metavar='INT',
              type=click.IntRange(0, 9), default=0, show_default=True)
@click.option('--workers',      help='Processes; same bytes for any number', metavar='INT',
              type=click.IntRange(min=1), default=available_cores, show_default='all cores')
# fmt: on
def convert(
    source: str,
    dest: str,
    max_images: int | None,
    transform: str | None,
    resolution: tuple[int, int] | None,
    labels: str,
    exif: str,
    max_pixels: int,
    skip_bad: bool,
    png_compress: int,
    workers: int,
) -> None:
    """Convert images into a dataset (`convert` may be left out).

    Files and folders of services (.ipynb_checkpoints, __MACOSX, @eaDir, names with a leading
    dot, ...) are left out, before classes are numbered; linked folders are followed.
    Images must end up square, of equal power-of-two size, gray or RGB. Palette,
    CMYK and 1-bit images are converted, transparency is dropped, 16-bit images are refused.
    The dataset appears under its name only when it is complete.
    """
    check_crop(transform, resolution)
    with _clean_end('dest', dest):
        new_dataset = open_dest(dest)
        opened = open_source(source, max_images, use_labels=labels == 'auto')
        click.echo(f'Converting {opened.count} images of {opened.kind}')
        with new_dataset as save:
            reading = (skip_bad, exif, max_pixels, describe)
            made = convert_source(opened, save, transform, resolution, png_compress, *reading, workers)
    for note in made.notes:
        click.echo(f'Note: {describe(ArgumentError(*note))}')
    height, width = made.shape[:2]
    kind = 'grayscale' if len(made.shape) == 2 else 'RGB'
    reasons = [(made.small, 'too small'), (made.bad, 'unreadable')]
    skipped = ''.join(f', {count} skipped as {reason}' for count, reason in reasons if count)
    click.echo(f'Wrote {made.count} {kind} images of {width}x{height} ({made.labels}{skipped}) to {dest}')


# fmt: off
@main.command()
@click.option('--source',       help='Anything that `convert` reads',   metavar='PATH', required=True)
@click.option('--max-images',   help='Stop after this many images', metavar='INT', type=click.IntRange(min=1))
@click.option('--grid',         help='Write sample images here',        metavar='PNG')
@click.option('--grid-size',    help='Rows and columns of --grid', metavar='ROWSxCOLS', callback=parse_pair,
              default='10x8', show_default=True)
@click.option('--max-pixels',   help='Largest width x height read', metavar='INT', type=click.IntRange(min=1),
              default=MAX_PIXELS, show_default=True)
@click.option('--seed',         help='Choice of the samples',           metavar='INT',
              type=click.IntRange(0, 2 ** 32 - 1), default=0, show_default=True)
@click.option('--workers',      help='Processes',                   metavar='INT', type=click.IntRange(min=1),
              default=available_cores, show_default='all cores')
@click.option('--json', 'as_json', help='Print what was found as JSON, for scripts', is_flag=True)
# fmt: on
def inspect(
    source: str,
    max_images: int | None,
    grid: str | None,
    grid_size: tuple[int, int],
    max_pixels: int,
    seed: int,
    workers: int,
    as_json: bool,
) -> None:
    """Print counts, sizes, classes, duplicates and unreadable files.

    Every image is decoded. The samples of --grid are ordered by class where there are classes.
    The exit status is 1 if an image cannot be read, a name is stored twice, or labels are
    incomplete or unusable.
    """
    rows, columns = grid_size
    if rows * columns > _MAX_CELLS:
        raise click.ClickException(
            f'--grid-size={rows}x{columns} must be at most {_MAX_CELLS} images; try 10x8'
        )
    with _clean_end('grid', grid):
        if grid is not None:
            _check_png(grid)
        opened = open_source(source, max_images, strict=False)
        chosen = choose_samples(opened.labels, rows * columns, seed) if grid is not None else ()
        found = inspect_source(opened, chosen, max_pixels, workers)
        shown = 0 if grid is None else save_samples(grid, found, chosen, columns)
        if as_json:
            facts = dict(found.facts(describe), grid=grid if shown else None)
            click.echo(json.dumps(facts, indent=2))
            raise SystemExit(0 if found.healthy else 1)
        for line in found.lines(describe):
            click.echo(line)
        if grid is not None:
            click.echo(f'Samples:      {f"{shown} in {grid}" if shown else "0, so nothing is written"}')
    if not found.healthy:
        raise SystemExit(1)


def _check_png(path: str) -> None:
    """Make the parent folder of the grid before any long work; refuse an unsuitable name."""
    if not path.lower().endswith('.png') or os.path.isdir(path):
        raise ArgumentError(
            arg('grid', path), ' must name a file ending in .png; try ', arg('grid', 'samples.png')
        )
    os.makedirs(os.path.dirname(os.path.abspath(path)), exist_ok=True)


if __name__ == '__main__':
    cli.run_script(main)
