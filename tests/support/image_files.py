# Copyright 2026 The GDD-1S authors.
# SPDX-License-Identifier: Apache-2.0
"""Image files, archives and data sets as other programs write them, with random or constant pixels."""

import gzip
import io
import struct
import tarfile
import zipfile
import zlib

import numpy as np
import PIL.Image


def encode(pixels, kind='png', **options):
    """Bytes of an image file from uint8 [H, W] or [H, W, 3]."""
    buffer = io.BytesIO()
    PIL.Image.fromarray(pixels).save(buffer, format=kind, **options)
    return buffer.getvalue()


def random_pixels(seed, shape=(8, 8, 3)):
    return np.random.RandomState(seed).randint(256, size=shape).astype(np.uint8)


def colour(value, shape=(4, 4, 3)):
    return encode(np.full(shape, value, dtype=np.uint8))


def write_files(path, files):
    """Store {name: bytes} in a new zip archive or folder."""
    if path.suffix == '.zip':
        with zipfile.ZipFile(path, 'w') as archive:
            for name, data in files.items():
                archive.writestr(name, data)
        return path
    for name, data in files.items():
        (path / name).parent.mkdir(parents=True, exist_ok=True)
        (path / name).write_bytes(data)
    return path


def png_16bit_rgb(side=8):
    """A valid RGB PNG with 16 bits per channel, which Pillow opens as 8-bit RGB without a word."""

    def chunk(kind, body):
        return struct.pack('>I', len(body)) + kind + body + struct.pack('>I', zlib.crc32(kind + body))

    rows = b''.join(b'\0' + b'\x12\x34' * (3 * side) for _ in range(side))
    header = struct.pack('>IIBBBBB', side, side, 16, 2, 0, 0, 0)
    return (
        b'\x89PNG\r\n\x1a\n'
        + chunk(b'IHDR', header)
        + chunk(b'IDAT', zlib.compress(rows))
        + chunk(b'IEND', b'')
    )


def write_mnist(folder, part='train', count=5, compress=False, side=28):
    """Write idx files with random content; return (images uint8 [N, 28, 28], list of labels)."""
    images = random_pixels(1, (count, side, side))
    labels = [(3 * k) % 10 for k in range(count)]
    suffix, pack = ('.gz', gzip.compress) if compress else ('', bytes)
    folder.mkdir(exist_ok=True)
    (folder / f'{part}-images-idx3-ubyte{suffix}').write_bytes(
        pack(struct.pack('>IIII', 2051, count, side, side) + images.tobytes())
    )
    (folder / f'{part}-labels-idx1-ubyte{suffix}').write_bytes(
        pack(struct.pack('>II', 2049, count) + bytes(labels))
    )
    return images, labels


def python2_batch(pixels, labels):
    """Pickle as Python 2 wrote it (protocol 2, byte strings): assembled from opcodes."""

    def text(value):
        return b'T' + struct.pack('<I', len(value)) + value

    data = pixels.tobytes()
    rows = struct.pack('<I', len(pixels))
    dtype = (
        b'cnumpy\ndtype\n'
        + text(b'u1')
        + b'K\x00K\x01\x87R(K\x03'
        + text(b'|')
        + b'NNN'
        + b'J\xff\xff\xff\xff' * 2
        + b'K\x00tb'
    )
    array = (
        b'cnumpy.core.multiarray\n_reconstruct\ncnumpy\nndarray\nK\x00\x85'
        + text(b'b')
        + b'\x87R('
        + b'K\x01J'
        + rows
        + b'M\x00\x0c\x86'
        + dtype
        + b'\x89'
        + text(data)
        + b'tb'
    )
    numbers = b'](' + b''.join(b'K' + bytes([label]) for label in labels) + b'e'
    return (
        b'\x80\x02}('
        + text(b'data')
        + array
        + text(b'labels')
        + numbers
        + text(b'batch_label')
        + text(b'x')
        + b'u.'
    )


def write_cifar10(folder, make_batch, count=3):
    """Write an archive of five batches; return (path, images uint8 [N, 32, 32, 3], labels)."""
    pixels = random_pixels(2, (5, count, 3072))
    labels = np.random.RandomState(3).randint(10, size=(5, count)).tolist()
    path = folder / 'cifar-10-python.tar.gz'
    with tarfile.open(path, 'w:gz') as archive:
        for number in (2, 1, 3, 5, 4, 'test'):  # order in the tar does not matter; the test batch is left out
            k = number - 1 if number != 'test' else 0
            data = make_batch(pixels[k], labels[k])
            entry = tarfile.TarInfo(
                'cifar-10-batches-py/' + (f'data_batch_{number}' if number != 'test' else 'test_batch')
            )
            entry.size = len(data)
            archive.addfile(entry, io.BytesIO(data))
    return path, pixels.reshape(-1, 3, 32, 32), sum(labels, [])
