# Copyright 2026 The GDD-1S authors.
# SPDX-License-Identifier: Apache-2.0
"""Tests of decoding: memory is bounded by what a file can hold, and metadata never costs the image."""

import io
import struct
import tracemalloc
import zlib

import numpy as np
import PIL.Image
import pytest
from PIL.PngImagePlugin import PngInfo

from tests.support.image_files import encode, random_pixels
from training.images.decoding import decode_image, has_more_frames, orientation, upright
from training.images.files import DatasetError

WHERE = ('the image',)


def chunk(kind, body):
    return struct.pack('>I', len(body)) + kind + body + struct.pack('>I', zlib.crc32(kind + body))


def png(width, height, body, depth=8, colour=2):
    """A PNG whose header may say anything."""
    header = struct.pack('>IIBBBBB', width, height, depth, colour, 0, 0, 0)
    return (
        b'\x89PNG\r\n\x1a\n'
        + chunk(b'IHDR', header)
        + chunk(b'IDAT', zlib.compress(body))
        + chunk(b'IEND', b'')
    )


def bmp(width, height, pixels):
    header = struct.pack('<IiiHHIIiiII', 40, width, height, 1, 24, 0, len(pixels), 0, 0, 0, 0)
    return b'BM' + struct.pack('<IHHI', 54 + len(pixels), 0, 0, 54) + header + pixels


# ------------------------------------------------------------------------------------------------
# Announced sizes.


@pytest.mark.parametrize(
    'data',
    [
        png(12_000, 12_000, b'\0' * 100),
        png(12_000, 12_000, b'', colour=6),
        png(12_000, 12_000, b'\0' * 100, depth=1, colour=0),
        bmp(12_000, 12_000, b'\0' * 100),
        b'P6 12000 12000 255\n' + b'\0' * 100,
    ],
)
def test_more_pixels_than_the_file_can_hold(data):
    tracemalloc.start()  # Pillow's own memory is not seen by it, so what it says is looked at as well
    with pytest.raises(
        DatasetError, match=f'announces 12000x12000 pixels, which {len(data)} bytes cannot hold'
    ):
        decode_image(data, WHERE)
    assert tracemalloc.get_traced_memory()[1] < 10_000_000
    tracemalloc.stop()


def test_forged_and_beyond_the_limit_is_forged():
    with pytest.raises(DatasetError, match='60000x60000 pixels, which .* cannot hold'):
        decode_image(png(60_000, 60_000, b''), WHERE)


@pytest.mark.parametrize('mode', ['1', 'L', 'P', 'RGB', 'RGBA'])
@pytest.mark.parametrize('kind', ['png', 'bmp', 'gif', 'tiff', 'webp'])
def test_plain_images_of_one_colour_are_not_taken_for_forged(mode, kind):
    """They are the smallest that their formats can make."""
    buffer = io.BytesIO()
    if (mode, kind) in {('1', 'webp'), ('P', 'webp'), ('L', 'webp'), ('RGBA', 'bmp')}:
        mode = 'RGB'
    PIL.Image.new(mode, (2000, 1000)).save(buffer, kind, **({'compress_level': 9} if kind == 'png' else {}))
    assert decode_image(buffer.getvalue(), WHERE).size == (2000, 1000)


def test_large_images_have_an_option():
    data = encode(random_pixels(0, (20, 30, 3)))
    assert decode_image(data, WHERE, max_pixels=600).size == (30, 20)
    previous = PIL.Image.MAX_IMAGE_PIXELS
    for limit in (599, 400, 200, 10):  # Pillow itself refuses from twice its limit on
        with pytest.raises(DatasetError) as caught:
            decode_image(data, WHERE, max_pixels=limit)
        assert f'has 600 pixels, but at most {limit} are read' in str(caught.value)
        assert str(caught.value).endswith('max_pixels=600')  # what works
        assert PIL.Image.MAX_IMAGE_PIXELS == previous
    buffer = io.BytesIO()
    PIL.Image.new('1', (14_000, 14_000)).save(buffer, 'png', compress_level=1)
    with pytest.raises(DatasetError, match='has 196,000,000 pixels, but at most 178,956,970 are read'):
        decode_image(buffer.getvalue(), WHERE)


# ------------------------------------------------------------------------------------------------
# Metadata.


def with_text(pixels, add):
    info, buffer = PngInfo(), io.BytesIO()
    add(info)
    PIL.Image.fromarray(pixels).save(buffer, 'png', pnginfo=info)
    return buffer.getvalue()


LONG = 'y' * 3_000_000
TEXTS = {
    'zTXt': lambda info: info.add_text('x', LONG, zip=True),
    'tEXt': lambda info: info.add_text('x', LONG),
    'iTXt': lambda info: info.add_itxt('x', LONG, zip=True),
    'many': lambda info: [info.add_text(f'x{k}', LONG[:1_000_000], zip=True) for k in range(80)],
    'broken': lambda info: info.add(b'zTXt', b'x\0\0not deflated'),
    'profile': lambda info: info.add(b'iCCP', b'x\0\0' + zlib.compress(LONG.encode())),
}


@pytest.mark.parametrize('kind', TEXTS)
def test_metadata_does_not_cost_the_image(kind):
    pixels = random_pixels(0, (8, 8, 3))
    data = with_text(pixels, TEXTS[kind])
    if kind in ('zTXt', 'many'):  # so the test is about something
        with pytest.raises(ValueError):
            PIL.Image.open(io.BytesIO(data)).load()
    np.testing.assert_array_equal(np.asarray(decode_image(data, WHERE)), pixels)


def test_chunks_that_matter_stay():
    buffer = io.BytesIO()
    image = PIL.Image.fromarray(random_pixels(0, (8, 8, 3))).quantize(7)
    exif = PIL.Image.Exif()
    exif[0x0112] = 3
    info = PngInfo()
    info.add_text('x', 'text')
    image.save(buffer, 'png', transparency=2, gamma=0.5, exif=exif, pnginfo=info)
    made = decode_image(buffer.getvalue(), WHERE)
    assert made.mode == 'P' and made.getpalette() == PIL.Image.open(buffer).getpalette()
    np.testing.assert_array_equal(np.asarray(made), np.asarray(image))
    assert made.info['transparency'] == 2 and orientation(made) == 3 and 'x' not in made.info


def test_orientation_in_the_text_of_a_png():
    xmp = '<x:xmpmeta xmlns:x="adobe:ns:meta/"><r tiff:Orientation="6"/></x:xmpmeta>'
    data = with_text(random_pixels(0), lambda info: info.add_itxt('XML:com.adobe.xmp', xmp))
    assert orientation(decode_image(data, WHERE)) == 6


def test_truncated_png_is_still_refused():
    data = with_text(random_pixels(0, (64, 64, 3)), TEXTS['zTXt'])
    for length in (len(data) - 3000, 60, 30, 10):
        with pytest.raises(DatasetError, match='not a readable image'):
            decode_image(data[:length], WHERE)


# EXIF orientation -> the stored pixels of an upright image, by the definition: where row 0 and column 0 are.
STORED = {
    1: lambda p: p,
    2: lambda p: p[:, ::-1],
    3: lambda p: p[::-1, ::-1],
    4: lambda p: p[::-1],
    5: lambda p: p.transpose(1, 0, 2),
    6: lambda p: p.transpose(1, 0, 2)[::-1],
    7: lambda p: p.transpose(1, 0, 2)[::-1, ::-1],
    8: lambda p: p.transpose(1, 0, 2)[:, ::-1],
}


@pytest.mark.parametrize('value', STORED)
def test_orientation_by_hand(value):
    pixels = random_pixels(0, (4, 6, 3))
    exif, buffer = PIL.Image.Exif(), io.BytesIO()
    exif[0x0112] = value
    PIL.Image.fromarray(np.ascontiguousarray(STORED[value](pixels))).save(buffer, 'png', exif=exif)
    image = decode_image(buffer.getvalue(), WHERE)
    assert orientation(image) == value
    np.testing.assert_array_equal(np.asarray(image), STORED[value](pixels))  # ignored, unless asked for
    np.testing.assert_array_equal(np.asarray(upright(image)), pixels)


@pytest.mark.parametrize('exif', [b'Exif\0\0nonsense', b'', b'Exif\0\0II*\0\x08\0\0\0\xff\xff'])
def test_damaged_exif_is_upright(exif):
    image = decode_image(encode(random_pixels(0), 'jpeg', exif=exif), WHERE)
    assert orientation(image) == 1 and upright(image) is image


@pytest.mark.parametrize('kind', ['gif', 'png', 'webp', 'tiff'])
def test_further_frames_are_seen_and_the_first_is_read(kind):
    frames = [PIL.Image.new('RGB', (8, 8), colour) for colour in ('red', 'blue', 'lime')]
    several, one = io.BytesIO(), io.BytesIO()
    options = {'lossless': True} if kind == 'webp' else {}
    frames[0].save(several, kind, save_all=True, append_images=frames[1:], **options)
    frames[0].save(one, kind, **options)
    image = decode_image(several.getvalue(), WHERE)
    assert np.asarray(image.convert('RGB'))[0, 0].tolist() == [255, 0, 0]
    assert has_more_frames(image) and not has_more_frames(decode_image(one.getvalue(), WHERE))
