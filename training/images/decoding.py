# Copyright 2026 The GDD-1S authors.
# SPDX-License-Identifier: Apache-2.0
"""From the bytes of one image file to a Pillow image, in bounded memory; metadata never costs the image.

Legend: H W pixels.
"""

import contextlib
import io
import re
import struct
import warnings
from collections.abc import Iterator

import PIL.Image

from dnnlib.errors import arg
from training.images.files import DatasetError, Where

MAX_PIXELS = 178_956_970  # beyond this Pillow itself refuses: half a gigabyte of RGB

_DEEP_LAYOUT = re.compile('(?<!BGR);16')  # "BGR;16" is the 5-6-5 bit BMP, which has no more than 8 bits
_PNG_HEADER = b'\x89PNG\r\n\x1a\n'
_PNG_CHANNELS = {0: 1, 2: 3, 3: 1, 4: 2, 6: 4}  # colour type -> numbers per pixel
_PNG_TEXT = (b'tEXt', b'zTXt', b'iTXt', b'iCCP')  # chunks that say nothing about pixels, and may be long
# Those that can hold the orientation are kept while they are short.
_PNG_ORIENTATION, _ORIENTATION_BYTES = (b'XML:com.adobe.xmp', b'Raw profile type'), 1 << 16
_DEFLATE_RATIO = 1032  # 258 bytes from 2 bits
_EXIF_ORIENTATION = 0x0112
_UPRIGHT = {  # EXIF orientation -> what makes the image upright
    2: PIL.Image.Transpose.FLIP_LEFT_RIGHT,
    3: PIL.Image.Transpose.ROTATE_180,
    4: PIL.Image.Transpose.FLIP_TOP_BOTTOM,
    5: PIL.Image.Transpose.TRANSPOSE,
    6: PIL.Image.Transpose.ROTATE_270,
    7: PIL.Image.Transpose.TRANSVERSE,
    8: PIL.Image.Transpose.ROTATE_90,
}

warnings.filterwarnings('ignore', category=PIL.Image.DecompressionBombWarning)  # there is an error instead


def decode_image(data: bytes, where: Where, max_pixels: int = MAX_PIXELS) -> PIL.Image.Image:
    """Decode one compressed image completely; of several frames or pages, the first.

    Args:
        data:       Content of the file.
        where:      Parts of a message that name the file.
        max_pixels: Largest H x W that is read.
    Returns:
        Pillow image in the mode of the file.
    Raises:
        DatasetError: `data` is no image, is damaged, announces more pixels than allowed or than it can hold,
            or has more than 8 bits per channel.
    """
    try:
        with _pillow_limit(max_pixels):
            image = PIL.Image.open(io.BytesIO(_without_png_text(data)))
            if image.width * image.height > max_pixels:
                raise PIL.Image.DecompressionBombError(f'{image.width * image.height} pixels')
            if image.format == 'EPS':
                raise ValueError('Pillow would start another program to draw EPS')
            _check_announced_size(image, data)
            layout = str(getattr(image, 'tile', ''))
            image.load()
    except PIL.Image.DecompressionBombError as error:
        count = int(re.search(r'\d+', str(error))[0])
        raise DatasetError(
            *where,
            f' has {count:,} pixels, but at most {max_pixels:,} are read; make it smaller, '
            'or convert it with dataset_tool.py and ',
            arg('max_pixels', count),
        ) from error
    except Exception as error:  # Pillow's plugins raise nearly anything for a damaged file
        reason = str(error) or type(error).__name__
        if isinstance(error, PIL.UnidentifiedImageError):
            reason = 'no known format'
        raise DatasetError(*where, f' is not a readable image ({reason}); replace or remove it') from error
    # Pillow reduces 16-bit colour to 8 bit without a word, so the mode alone does not show it.
    if image.mode.startswith(('I', 'F')) or _DEEP_LAYOUT.search(layout):
        raise DatasetError(
            *where,
            f' has 16 or more bits per channel (mode {image.mode}, {image.width}x{image.height}), '
            'but must have 8; convert it first, for example with ImageMagick: convert IN -depth 8 OUT',
        )
    return image


def orientation(image: PIL.Image.Image) -> int:
    """Return the EXIF orientation of a decoded image, 1 (upright) to 8; what cannot be understood is 1."""
    try:
        value = image.getexif().get(_EXIF_ORIENTATION, 1)
    except Exception:  # as for any damaged file
        return 1
    return value if value in _UPRIGHT else 1


def upright(image: PIL.Image.Image) -> PIL.Image.Image:
    """Return the image turned and mirrored as its EXIF orientation says."""
    method = _UPRIGHT.get(orientation(image))
    return image if method is None else image.transpose(method)


def has_more_frames(image: PIL.Image.Image) -> bool:
    """Return whether the file has further frames or pages. Read the pixels first: it may move to another."""
    try:
        return bool(getattr(image, 'is_animated', False))
    except Exception:  # as for any damaged file
        return False


@contextlib.contextmanager
def _pillow_limit(max_pixels: int) -> Iterator[None]:
    """Set Pillow's own limit, which also holds for images within others; it refuses twice as many."""
    previous, PIL.Image.MAX_IMAGE_PIXELS = PIL.Image.MAX_IMAGE_PIXELS, max_pixels
    try:
        yield
    finally:
        PIL.Image.MAX_IMAGE_PIXELS = previous


def _check_announced_size(image: PIL.Image.Image, data: bytes) -> None:
    """Raise ValueError if a PNG or an uncompressed image cannot hold the pixels that it announces."""
    if data.startswith(_PNG_HEADER):
        width, height, depth, colour = struct.unpack('>IIBB', data[16:26])
        needed, possible = (
            height * (width * depth * _PNG_CHANNELS.get(colour, 1) // 8),
            _DEFLATE_RATIO * len(data),
        )
    elif image.tile and all(tile[0] == 'raw' for tile in image.tile):
        bits = 1 if image.mode in ('1', 'L', 'P') else 8  # the least per pixel
        needed, possible = image.width * image.height * bits // 8, len(data)
    else:
        return
    if needed > possible:
        raise ValueError(
            f'it announces {image.width}x{image.height} pixels, which {len(data)} bytes cannot hold'
        )


def _without_png_text(data: bytes) -> bytes:
    """Drop text and colour profiles of a PNG, whose length Pillow limits; other data is returned as it is."""
    if not data.startswith(_PNG_HEADER):
        return data
    kept, position, dropped = [_PNG_HEADER], len(_PNG_HEADER), False
    while position + 8 <= len(data):
        length, kind = struct.unpack('>I4s', data[position : position + 8])
        end = position + 12 + length
        if end > len(data):
            break  # truncated: Pillow says how
        if kind in _PNG_TEXT and not (
            data.startswith(_PNG_ORIENTATION, position + 8) and length <= _ORIENTATION_BYTES
        ):
            dropped = True
        else:
            kept.append(data[position:end])
        position = end
    return b''.join([*kept, data[position:]]) if dropped else data
