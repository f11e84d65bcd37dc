# Copyright 2026 The GDD-1S authors.
# SPDX-License-Identifier: Apache-2.0
"""Convert a folder, zip, MNIST or CIFAR-10 into a dataset in EDM format.

The result is a zip with stored entries, or a folder: PNG images `00000/img00000000.png` of one square,
power-of-two size, and `dataset.json` with the labels. The same input gives the same bytes, as all
entries carry one fixed time.

Legend: C channels, H W pixels. Images are uint8 [H, W] or [H, W, 3], 0..255.
"""

import contextlib
import io
import json
import os
import re
import shutil
import sys
import zipfile

import click
import numpy as np
import PIL.Image
import tqdm

from dnnlib.util import atomic_write
from training.dataset import label_array
from training.dataset_sources import open_source
from training.image_files import LABEL_FILE, DatasetError

_ENTRY_TIME = (1980, 1, 1, 0, 0, 0)     # the earliest a zip can store
_LINE_EVERY = 10000                     # images per progress line when there is no terminal


# ------------------------------------------------------------------------------------------------
# Transforms: image -> image, or None to skip it. EDM's geometry.

def resize(pixels, width=None, height=None):
    """Resize with Pillow's Lanczos filter, ignoring the aspect; None keeps that extent.

    Args:
        pixels: uint8 [H, W] or [H, W, 3].
        width:  New width in pixels.
        height: New height in pixels.
    Returns:
        uint8 [height, width] or [height, width, 3]; the input itself when nothing changes.
    """
    size = (width or pixels.shape[1], height or pixels.shape[0])
    if size == (pixels.shape[1], pixels.shape[0]):
        return pixels
    return np.asarray(PIL.Image.fromarray(pixels).resize(size, PIL.Image.Resampling.LANCZOS))


def center_crop(pixels, width, height):
    """Cut the central square, make it RGB, and resize it. Arguments and result as for `resize`."""
    side = min(pixels.shape[:2])
    top, left = ((extent - side) // 2 for extent in pixels.shape[:2])
    bottom, right = ((extent + side) // 2 for extent in pixels.shape[:2])
    return resize(_to_rgb(pixels[top:bottom, left:right]), width, height)


def center_crop_wide(pixels, width, height):
    """Cut a central band, resize it to width x height, and centre it in a black square.

    The band is round(width * H / W) rows high, as in EDM; this distorts unless the image is `width` wide.

    Args:
        pixels: uint8 [H, W] or [H, W, 3].
        width:  Side of the resulting square in pixels.
        height: Height of the band in the result in pixels, at most `width`.
    Returns:
        uint8 [width, width, 3], or None when the image is narrower than `width` or the band lower than `height`.
    """
    rows, columns = pixels.shape[:2]
    band = round(width * rows / columns)
    if columns < width or band < height:
        return None
    band_pixels = pixels[(rows - band) // 2:(rows + band) // 2]
    canvas = np.zeros([width, width, 3], dtype=np.uint8)
    canvas[(width - height) // 2:(width + height) // 2] = resize(_to_rgb(band_pixels), width, height)
    return canvas


def _to_rgb(pixels):
    return np.repeat(pixels[:, :, np.newaxis], 3, axis=2) if pixels.ndim == 2 else pixels


_TRANSFORMS = {None: resize, 'center-crop': center_crop, 'center-crop-wide': center_crop_wide}


# ------------------------------------------------------------------------------------------------
# Destinations: context managers that yield save(name, data). Nothing is left behind after an error.

@contextlib.contextmanager
def _open_zip_dest(path):
    os.makedirs(os.path.dirname(path) or '.', exist_ok=True)
    with atomic_write(path) as file, zipfile.ZipFile(file, 'w', zipfile.ZIP_STORED) as archive:
        def save(name, data):
            entry = zipfile.ZipInfo(name, _ENTRY_TIME)
            entry.create_system = 3                 # Unix, also when made on Windows
            entry.external_attr = 0o644 << 16
            archive.writestr(entry, data)
        yield save


@contextlib.contextmanager
def _open_folder_dest(path):
    temporary = f'{path}.tmp-{os.getpid()}'
    os.makedirs(temporary)

    def save(name, data):
        target = os.path.join(temporary, name)
        os.makedirs(os.path.dirname(target), exist_ok=True)
        with open(target, 'wb') as file:
            file.write(data)
    try:
        yield save
        os.replace(temporary, path)
    finally:
        shutil.rmtree(temporary, ignore_errors=True)


def open_dest(path):
    """Open a new dataset for writing; it appears under its name only when complete.

    Args:
        path: `.zip` file that does not exist, or a folder that is empty or does not exist.
    Returns:
        Context manager yielding `save(name, data)`; parent folders are made on entering it.
    Raises:
        DatasetError: the destination exists already, or is empty text.
    """
    path = path.rstrip('/' + os.sep)
    if not path:
        raise DatasetError('--dest must name a .zip file or a folder below the root; try --dest=datasets/mine.zip')
    is_zip = path.lower().endswith('.zip')
    is_empty_folder = os.path.isdir(path) and not os.path.islink(path) and not os.listdir(path)
    if os.path.lexists(path) and (is_zip or not is_empty_folder):
        raise DatasetError(f'--dest={path} exists already and is not written over; remove it or choose another name')
    return _open_zip_dest(path) if is_zip else _open_folder_dest(path)


# ------------------------------------------------------------------------------------------------
# Conversion.

def check_shape(pixels, first_shape, where):
    """Raise DatasetError unless an output image can be part of the dataset.

    Args:
        pixels:      uint8 [H, W] or [H, W, C].
        first_shape: Shape of the first output image, or None when `pixels` is the first.
        where:       Words that name the image.
    """
    height, width = pixels.shape[:2]
    channels = pixels.shape[2] if pixels.ndim == 3 else 1
    if first_shape is not None:
        if pixels.shape != first_shape:
            first_channels = first_shape[2] if len(first_shape) == 3 else 1
            raise DatasetError(f'{where} is {width}x{height} with {channels} channel(s), but the dataset has '
                               f'{first_shape[1]}x{first_shape[0]} with {first_channels}; make all alike with '
                               '--transform=center-crop --resolution=64x64')
        return
    if height != width:
        raise DatasetError(f'{where} must be square after scale and crop, got {width}x{height}; '
                           'try --transform=center-crop --resolution=64x64')
    if channels not in (1, 3):
        raise DatasetError(f'{where} must have 1 or 3 channels, got {channels}; save it as grayscale or RGB')
    if width & (width - 1):
        power = 1 << (width.bit_length() - 1)
        raise DatasetError(f'{where} is {width}x{height}, but the size must be a power of two; '
                           f'try --resolution={power}x{power}')


def convert(source, save, transform=None, resolution=None, png_compress=0):
    """Transform and store all images of a source, then the labels.

    A skipped image still consumes its number, so the names of its successors do not change.

    Args:
        source:       training.dataset_sources.Source.
        save:         Function of (name, data) from `open_dest`.
        transform:    None, 'center-crop' or 'center-crop-wide'.
        resolution:   (width, height) in pixels, or None.
        png_compress: PNG compression level, 0..9.
    Returns:
        dict with `count` and `skipped` (images), `shape` (of each) and `labels` (words for the user).
    Raises:
        DatasetError: an image or the labels are unusable, or no image remains.
    """
    width, height = resolution or (None, None)
    first_shape = None
    labels = []
    for number, item in enumerate(_with_progress(source)):
        pixels = _TRANSFORMS[transform](item.pixels, width, height)
        if pixels is None:
            continue
        check_shape(pixels, first_shape, item.where)
        first_shape = first_shape or pixels.shape
        buffer = io.BytesIO()
        PIL.Image.fromarray(pixels).save(buffer, format='png', compress_level=png_compress, optimize=False)
        name = f'{number // 1000:05d}/img{number:08d}.png'
        save(name, buffer.getvalue())
        labels.append([name, item.label])
    if not labels:
        raise DatasetError(f'{source.kind} has {source.count} images, but all are too small for '
                           f'--resolution={width}x{height}; try a smaller one')
    return dict(count=len(labels), skipped=source.count - len(labels), shape=first_shape,
                labels=_save_labels(save, labels, source.kind))


def _with_progress(source):
    """Items of the source, with a bar on a terminal and a line now and then elsewhere."""
    if sys.stderr.isatty():
        yield from tqdm.tqdm(source.items, total=source.count, unit='img')
        return
    for number, item in enumerate(source.items, start=1):
        yield item
        if number % _LINE_EVERY == 0:
            click.echo(f'{number} of {source.count} images')


def _save_labels(save, labels, kind):
    """Write dataset.json; return words about it. One unlabelled image makes all unlabelled, as in EDM."""
    unlabelled = [name for name, label in labels if label is None]
    if unlabelled:
        if len(unlabelled) < len(labels):
            click.echo(f'Labels are left out: {len(unlabelled)} of {len(labels)} images have none, '
                       f'the first becomes {unlabelled[0]}')
        save(LABEL_FILE, json.dumps({'labels': None}).encode())
        return 'no labels'
    array = label_array([label for _name, label in labels], f'{LABEL_FILE} of {kind}')
    save(LABEL_FILE, json.dumps({'labels': labels}).encode())
    return f'labels of {len(np.unique(array))} class(es)' if array.ndim == 1 else f'label vectors of length {array.shape[1]}'


# ------------------------------------------------------------------------------------------------
# Command line.

def parse_resolution(_ctx, _param, text):
    """Turn `WxH` or `W,H` into (width, height) in pixels; None stays None."""
    if text is None:
        return None
    match = re.fullmatch(r'([1-9]\d{0,4})[x,]([1-9]\d{0,4})', text)
    if not match:
        raise click.BadParameter(f'{text} must be two positive numbers as WxH; try 64x64')
    return int(match[1]), int(match[2])


def check_crop(transform, resolution):
    """Raise ClickException unless --resolution suits --transform."""
    if transform is None:
        return
    if resolution is None:
        raise click.ClickException(f'--transform={transform} needs --resolution=WxH; try --resolution=64x64')
    width, height = resolution
    if transform == 'center-crop-wide' and height > width:
        raise click.ClickException(f'--resolution={width}x{height} must be wider than high for '
                                   f'--transform={transform}; try {height}x{width}')


@click.command()
@click.option('--source',       help='Folder, .zip, MNIST or CIFAR-10 file', metavar='PATH', required=True)
@click.option('--dest',         help='New .zip file or folder',              metavar='PATH', required=True)
@click.option('--max-images',   help='Stop after this many images',          metavar='INT',  type=click.IntRange(min=1))
@click.option('--transform',    help='Crop before resizing',                 type=click.Choice(list(_TRANSFORMS)[1:]))
@click.option('--resolution',   help='Output size in pixels, such as 64x64', metavar='WxH',  callback=parse_resolution)
@click.option('--png-compress', help='PNG compression: 0 fast, 9 small',     metavar='INT',  type=click.IntRange(0, 9),
              default=0, show_default=True)
def main(source, dest, max_images, transform, resolution, png_compress):
    """Convert images into a dataset for train.py and fid.py.

    \b
    --source is recognised by its name:
      FOLDER                      all images in it; labels from its dataset.json,
                                  otherwise one class per top-level folder
      FILE.zip                    all images in it; labels from its dataset.json
      cifar-10-python.tar.gz      the 50000 training images of CIFAR-10
      train-images-idx3-ubyte     MNIST (also .gz, t10k-..., or the folder with
                                  these files), padded from 28x28 to 32x32

    Images must end up square, of equal power-of-two size, gray or RGB. Palette,
    CMYK and 1-bit images are converted, transparency is dropped, 16-bit images are refused.

    \b
    Examples:
      python dataset_tool.py --source=cifar-10-python.tar.gz --dest=datasets/cifar10-32x32.zip
      python dataset_tool.py --source=photos --dest=datasets/photos-64x64.zip \\
          --transform=center-crop --resolution=64x64
    """
    check_crop(transform, resolution)
    try:
        new_dataset = open_dest(dest)
        opened = open_source(source, max_images)
        click.echo(f'Converting {opened.count} images of {opened.kind}')
        with new_dataset as save:
            result = convert(opened, save, transform, resolution, png_compress)
    except DatasetError as error:
        raise click.ClickException(str(error)) from error
    except OSError as error:
        raise click.ClickException(f'--dest={dest} cannot be written ({error}); try --dest=datasets/mine.zip') from error
    height, width = result['shape'][:2]
    kind = 'grayscale' if len(result['shape']) == 2 else 'RGB'
    skipped = f', {result["skipped"]} skipped as too small' if result['skipped'] else ''
    click.echo(f'Wrote {result["count"]} {kind} images of {width}x{height} ({result["labels"]}{skipped}) to {dest}')


if __name__ == '__main__':
    main()
