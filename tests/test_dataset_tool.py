# Copyright 2026 The GDD-1S authors.
# SPDX-License-Identifier: Apache-2.0
"""Tests of dataset_tool.py and training/dataset_sources.py: source formats, transforms, checks, and destinations."""

import gzip
import io
import json
import pickle
import struct
import tarfile
import zipfile

import numpy as np
import PIL.Image
import pytest
from click.testing import CliRunner

import dataset_tool
from training.dataset import ImageFolderDataset
from training.dataset_sources import Source, SourceItem, open_source
from training.image_files import DatasetError
from tests.test_dataset import encode, png_16bit_rgb, random_pixels, write_files


def run(*args):
    """Output of a successful call of the command line."""
    result = CliRunner().invoke(dataset_tool.main, [str(arg) for arg in args])
    assert result.exit_code == 0, result.output
    return result.output


def run_error(*args):
    """Message of a failing call, which must not be a traceback."""
    result = CliRunner().invoke(dataset_tool.main, [str(arg) for arg in args])
    assert result.exit_code != 0 and isinstance(result.exception, SystemExit), result.exception
    assert 'Error: ' in result.output
    return result.output.split('Error: ')[1].strip()


def convert(tmp_path, source, *args):
    """Dataset made from `source`, with labels."""
    dest = tmp_path / 'out' / 'made.zip'
    run(f'--source={source}', f'--dest={dest}', *args)
    return ImageFolderDataset(dest, use_labels=True)


def stored_labels(path):
    with zipfile.ZipFile(path) as archive:
        return json.loads(archive.read('dataset.json'))['labels']


def images_of(dataset):
    return np.stack([image for image, _label in dataset])       # [N, C, H, W]


# ------------------------------------------------------------------------------------------------
# MNIST.

def write_mnist(folder, part='train', count=5, compress=False, side=28):
    """Write idx files with random content; return (images uint8 [N, 28, 28], list of labels)."""
    images = random_pixels(1, (count, side, side))
    labels = [(3 * k) % 10 for k in range(count)]
    suffix, pack = ('.gz', gzip.compress) if compress else ('', bytes)
    folder.mkdir(exist_ok=True)
    (folder / f'{part}-images-idx3-ubyte{suffix}').write_bytes(
        pack(struct.pack('>IIII', 2051, count, side, side) + images.tobytes()))
    (folder / f'{part}-labels-idx1-ubyte{suffix}').write_bytes(
        pack(struct.pack('>II', 2049, count) + bytes(labels)))
    return images, labels


@pytest.mark.parametrize('compress', [False, True])
@pytest.mark.parametrize('part, as_folder', [('train', True), ('train', False), ('t10k', False), ('t10k', True)])
def test_mnist(tmp_path, part, as_folder, compress):
    images, labels = write_mnist(tmp_path / 'raw', part, compress=compress)
    name = f'{part}-images-idx3-ubyte' + ('.gz' if compress else '')
    dataset = convert(tmp_path, tmp_path / 'raw' if as_folder else tmp_path / 'raw' / name)
    made = images_of(dataset)                                           # [N, 1, 32, 32]
    np.testing.assert_array_equal(made[:, 0], np.pad(images, [(0, 0), (2, 2), (2, 2)]))
    assert [dataset.get_details(k)[2] for k in range(5)] == labels


def test_mnist_folder_with_both_parts_gives_the_training_set(tmp_path):
    write_mnist(tmp_path / 'raw', 't10k', count=2)
    write_mnist(tmp_path / 'raw', 'train', count=3)
    assert open_source(tmp_path / 'raw').count == 3


def test_bad_mnist_files(tmp_path):
    dest = f'--dest={tmp_path / "out.zip"}'
    raw = tmp_path / 'raw'
    write_mnist(raw)
    source = raw / 'train-images-idx3-ubyte'
    labels = raw / 'train-labels-idx1-ubyte'
    whole, whole_labels = source.read_bytes(), labels.read_bytes()
    for image_bytes, label_bytes, words in [
            (whole[:-1], whole_labels, 'has 3935 bytes, but its header promises 3936'),
            (b'hello', whole_labels, 'not an MNIST idx file'),
            (b'\x1f\x8bdamaged', whole_labels, 'cannot be read'),
            (whole[:4] + struct.pack('>III', 0, 28, 28), whole_labels, 'promises'),
            (whole, whole_labels[:4] + struct.pack('>I', 2) + b'ab', '2 labels for the 5 images')]:
        source.write_bytes(image_bytes)
        labels.write_bytes(label_bytes)
        assert words in run_error(f'--source={source}', dest)
    write_mnist(raw, side=27)
    assert 'images of 27x27' in run_error(f'--source={source}', dest)
    labels.unlink()
    write_mnist(tmp_path / 'other')
    (tmp_path / 'other' / 'train-labels-idx1-ubyte').unlink()
    assert 'put train-labels-idx1-ubyte' in run_error(f'--source={tmp_path / "other"}', dest)
    assert not (tmp_path / 'out.zip').exists()


# ------------------------------------------------------------------------------------------------
# CIFAR-10.

def python2_batch(pixels, labels):
    """Pickle as Python 2 wrote it (protocol 2, byte strings): assembled from opcodes."""
    def text(value):
        return b'T' + struct.pack('<I', len(value)) + value
    data = pixels.tobytes()
    rows = struct.pack('<I', len(pixels))
    dtype = (b'cnumpy\ndtype\n' + text(b'u1') + b'K\x00K\x01\x87R(K\x03' + text(b'|') + b'NNN'
             + b'J\xff\xff\xff\xff' * 2 + b'K\x00tb')
    array = (b'cnumpy.core.multiarray\n_reconstruct\ncnumpy\nndarray\nK\x00\x85' + text(b'b') + b'\x87R('
             + b'K\x01J' + rows + b'M\x00\x0c\x86' + dtype + b'\x89' + text(data) + b'tb')
    numbers = b'](' + b''.join(b'K' + bytes([label]) for label in labels) + b'e'
    return b'\x80\x02}(' + text(b'data') + array + text(b'labels') + numbers + text(b'batch_label') + text(b'x') + b'u.'


def python3_batch(protocol):
    return lambda pixels, labels: pickle.dumps({'data': pixels, 'labels': labels}, protocol=protocol)


def write_cifar10(folder, make_batch, count=3):
    """Write an archive of five batches; return (path, images uint8 [N, 32, 32, 3], labels)."""
    pixels = random_pixels(2, (5, count, 3072))
    labels = np.random.RandomState(3).randint(10, size=(5, count)).tolist()
    path = folder / 'cifar-10-python.tar.gz'
    with tarfile.open(path, 'w:gz') as archive:
        for number in (2, 1, 3, 5, 4, 'test'):      # order in the tar does not matter; the test batch is left out
            k = number - 1 if number != 'test' else 0
            data = make_batch(pixels[k], labels[k])
            entry = tarfile.TarInfo('cifar-10-batches-py/' + (f'data_batch_{number}' if number != 'test' else 'test_batch'))
            entry.size = len(data)
            archive.addfile(entry, io.BytesIO(data))
    return path, pixels.reshape(-1, 3, 32, 32), sum(labels, [])


@pytest.mark.parametrize('make_batch', [python2_batch, python3_batch(2), python3_batch(4)])
def test_cifar10(tmp_path, make_batch):
    path, images, labels = write_cifar10(tmp_path, make_batch)
    dataset = convert(tmp_path, path)
    np.testing.assert_array_equal(images_of(dataset), images)
    assert [dataset.get_details(k)[2] for k in range(15)] == labels


class Attack:
    def __reduce__(self):
        return (eval, ('open("attacked", "w").close()',))


@pytest.mark.parametrize('make_batch, words', [
    (lambda pixels, labels: pickle.dumps({'data': Attack(), 'labels': labels}), 'builtins.eval'),
    (lambda pixels, labels: pickle.dumps([1, 2]), 'not the CIFAR-10 python archive'),
    (lambda pixels, labels: b'no pickle', 'not the CIFAR-10 python archive'),
    (lambda pixels, labels: python3_batch(4)(pixels, [10] * len(labels)), 'labels outside 0..9'),
    (lambda pixels, labels: python3_batch(4)(pixels, labels[:-1]), 'not as many labels'),
    (lambda pixels, labels: python3_batch(4)(pixels.astype(np.int16), labels), 'type i2'),
    (lambda pixels, labels: python3_batch(4)(pixels[:, :100].copy(), labels), 'shape (3, 100)')])
def test_bad_cifar10_archives(tmp_path, monkeypatch, make_batch, words):
    monkeypatch.chdir(tmp_path)
    path, _images, _labels = write_cifar10(tmp_path, make_batch)
    assert words in run_error(f'--source={path}', '--dest=out.zip')
    assert [file.name for file in tmp_path.iterdir()] == [path.name]


def test_cifar10_name_with_other_content(tmp_path):
    path = tmp_path / 'cifar-10-python.tar.gz'
    path.write_bytes(b'text')
    assert 'not the CIFAR-10 python archive' in run_error(f'--source={path}', f'--dest={tmp_path / "o.zip"}')


# ------------------------------------------------------------------------------------------------
# Folders and archives.

def colour(value, shape=(4, 4, 3)):
    return encode(np.full(shape, value, dtype=np.uint8))


def test_folder_labels_are_ranks_of_top_folders_and_order_is_by_component(tmp_path):
    source = write_files(tmp_path / 'in', {'a-b/x.png': colour(1), 'a/x.png': colour(2), 'a/z/y.png': colour(3),
                                           'root.png': colour(4), 'a/text.txt': b''})
    dataset = convert(tmp_path, source)
    # By components a/... precedes a-b/..., although '-' sorts before '/'. Labels: '' 0, 'a' 1, 'a-b' 2.
    assert images_of(dataset)[:, 0, 0, 0].tolist() == [2, 3, 1, 4]
    assert [dataset.get_details(k)[2] for k in range(4)] == [1, 1, 2, 0]


def test_single_folder_has_no_labels(tmp_path):
    dataset = convert(tmp_path, write_files(tmp_path / 'in', {'a/x.png': colour(1), 'a/y.png': colour(2)}))
    assert dataset.label_dim == 0 and stored_labels(tmp_path / 'out' / 'made.zip') is None


@pytest.mark.parametrize('target', ['in', 'in.zip'])
def test_dataset_json_is_respected(tmp_path, target):
    labels = json.dumps({'labels': [['b/y.png', 5], ['a/x.png', 3]]}).encode()
    files = {'a/x.png': colour(1), 'b/y.png': colour(2), 'dataset.json': labels}
    convert(tmp_path, write_files(tmp_path / target, files))
    assert stored_labels(tmp_path / 'out' / 'made.zip') == [['00000/img00000000.png', 3], ['00000/img00000001.png', 5]]


def test_zip_has_no_folder_labels(tmp_path):
    dataset = convert(tmp_path, write_files(tmp_path / 'in.zip', {'a/x.png': colour(1), 'b/y.png': colour(2)}))
    assert len(dataset) == 2 and not dataset.has_labels


def test_one_unlabelled_image_removes_all_labels_and_says_so(tmp_path):
    files = {'a.png': colour(1), 'b.png': colour(2), 'dataset.json': b'{"labels": [["a.png", 3]]}'}
    source = write_files(tmp_path / 'in.zip', files)
    output = run(f'--source={source}', f'--dest={tmp_path / "o.zip"}')
    assert '1 of 2 images have none' in output and stored_labels(tmp_path / 'o.zip') is None


def test_unusable_labels_are_refused(tmp_path):
    source = write_files(tmp_path / 'in.zip', {'a.png': colour(1), 'dataset.json': b'{"labels": [["a.png", "cat"]]}'})
    assert 'class number' in run_error(f'--source={source}', f'--dest={tmp_path / "o.zip"}')
    assert not (tmp_path / 'o.zip').exists()


@pytest.mark.parametrize('mode, expected', [('L', 'L'), ('1', 'L'), ('LA', 'L'),
                                            ('P', 'RGB'), ('RGBA', 'RGB'), ('CMYK', 'RGB')])
def test_modes_are_converted(tmp_path, mode, expected):
    image = PIL.Image.fromarray(random_pixels(0, (16, 16, 3))).convert(mode)
    if mode in ('LA', 'RGBA'):
        image.putalpha(0)       # dropping alpha keeps the colours that blending would lose
    (tmp_path / 'in').mkdir()
    image.save(tmp_path / 'in' / ('x.tif' if mode == 'CMYK' else 'x.png'))
    made = images_of(convert(tmp_path, tmp_path / 'in'))[0]
    wanted = np.asarray(image.convert(expected))
    np.testing.assert_array_equal(made.transpose(1, 2, 0) if expected == 'RGB' else made[0], wanted)
    assert made.max() > 0


@pytest.mark.parametrize('data, words', [(png_16bit_rgb(), '16 or more bits'), (b'text', 'no known format'),
                                         (encode(random_pixels(0, (64, 64, 3)))[:500], 'not a readable image')])
def test_bad_images_are_named_and_nothing_is_left(tmp_path, data, words):
    source = write_files(tmp_path / 'in', {'a.png': colour(1), 'b/bad.png': data})
    for dest in ('new/out.zip', 'new/out'):
        message = run_error(f'--source={source}', f'--dest={tmp_path / dest}')
        assert words in message and 'b/bad.png' in message
        assert list((tmp_path / 'new').iterdir()) == []


# ------------------------------------------------------------------------------------------------
# Transforms.

def lanczos(pixels, size):
    return np.asarray(PIL.Image.fromarray(pixels).resize(size, PIL.Image.Resampling.LANCZOS))


def test_resize_keeps_a_fitting_image_and_changes_others():
    pixels = random_pixels(0, (6, 10, 3))
    assert dataset_tool.resize(pixels, None, None) is pixels and dataset_tool.resize(pixels, 10, 6) is pixels
    np.testing.assert_array_equal(dataset_tool.resize(pixels, 4, 4), lanczos(pixels, (4, 4)))
    bilinear = np.asarray(PIL.Image.fromarray(pixels).resize((4, 4), PIL.Image.Resampling.BILINEAR))
    assert not np.array_equal(dataset_tool.resize(pixels, 4, 4), bilinear)


@pytest.mark.parametrize('shape, rows, columns', [((7, 12, 3), (0, 7), (2, 9)), ((12, 7, 3), (2, 9), (0, 7)),
                                                  ((5, 8), (0, 5), (1, 6))])
def test_center_crop_by_hand(shape, rows, columns):
    pixels = random_pixels(0, shape)
    square = pixels[rows[0]:rows[1], columns[0]:columns[1]]
    square = square if square.ndim == 3 else np.stack([square] * 3, axis=2)
    np.testing.assert_array_equal(dataset_tool.center_crop(pixels, 4, 4), lanczos(square, (4, 4)))


def test_center_crop_wide_by_hand():
    pixels = random_pixels(0, (20, 16, 3))
    # The band is round(16 * 20 / 16) = 20 rows here, so everything is kept and squeezed into 16x8.
    made = dataset_tool.center_crop_wide(pixels, 16, 8)
    assert made.shape == (16, 16, 3) and not made[:4].any() and not made[12:].any()
    np.testing.assert_array_equal(made[4:12], lanczos(pixels, (16, 8)))
    # Gray, 32 wide: round(16 * 20 / 32) = 10 rows, 5..15.
    gray = random_pixels(0, (20, 32))
    made = dataset_tool.center_crop_wide(gray, 16, 8)
    np.testing.assert_array_equal(made[4:12], lanczos(np.stack([gray[5:15]] * 3, axis=2), (16, 8)))
    assert dataset_tool.center_crop_wide(random_pixels(0, (20, 15, 3)), 16, 8) is None
    assert dataset_tool.center_crop_wide(random_pixels(0, (14, 32, 3)), 16, 8) is None


def test_skipped_images_consume_their_number(tmp_path):
    files = {f'{k}.png': encode(random_pixels(k, shape)) for k, shape in enumerate([(16, 16, 3), (2, 2, 3), (16, 16)])}
    source = write_files(tmp_path / 'in', files)
    options = '--transform=center-crop-wide', '--resolution=16x8'
    output = run(f'--source={source}', f'--dest={tmp_path / "o"}', *options)
    assert '1 skipped' in output
    assert [path.name for path in sorted((tmp_path / 'o').rglob('*.png'))] == ['img00000000.png', 'img00000002.png']
    assert 'all are too small' in run_error(f'--source={source}', f'--dest={tmp_path / "p"}', options[0], '--resolution=64,32')


def test_command_line_transforms(tmp_path):
    pixels = random_pixels(0, (20, 24, 3))
    source = write_files(tmp_path / 'in', {'a.png': encode(pixels)})
    run(f'--source={source}', f'--dest={tmp_path / "crop"}', '--transform=center-crop', '--resolution=8x8')
    run(f'--source={source}', f'--dest={tmp_path / "size"}', '--resolution=8,8')
    crop, size = (ImageFolderDataset(tmp_path / name)[0][0].transpose(1, 2, 0) for name in ('crop', 'size'))
    np.testing.assert_array_equal(crop, lanczos(pixels[:, 2:22], (8, 8)))
    np.testing.assert_array_equal(size, lanczos(pixels, (8, 8)))


def test_bad_shapes_and_options(tmp_path):
    def error(files, *options):
        source = tmp_path / f'in{len(list(tmp_path.iterdir()))}'
        return run_error(f'--source={write_files(source, files)}', f'--dest={tmp_path / "o.zip"}', *options)
    assert 'must be square after scale and crop, got 6x4' in error({'a.png': colour(0, (4, 6, 3))})
    assert 'try --resolution=4x4' in error({'a.png': colour(0, (6, 6, 3))})
    message = error({'a.png': colour(0), 'b.png': colour(0, (8, 8))})
    assert 'b.png' in message and '8x8 with 1 channel(s), but the dataset has 4x4 with 3' in message
    assert 'needs --resolution' in error({'a.png': colour(0)}, '--transform=center-crop')
    assert 'try 8x4' in error({'a.png': colour(0)}, '--transform=center-crop-wide', '--resolution=4x8')
    for text in ('8', '0x8', '8x', 'axb', '-8x8'):
        assert 'try 64x64' in error({'a.png': colour(0)}, f'--resolution={text}')
    assert '--png-compress' in error({'a.png': colour(0)}, '--png-compress=10')
    assert '--max-images' in error({'a.png': colour(0)}, '--max-images=0')
    assert 'contains no images' in error({'a.txt': b''})
    assert not (tmp_path / 'o.zip').exists()


def test_square_is_checked_before_power_of_two_and_channels():
    with pytest.raises(DatasetError, match='must be square'):
        dataset_tool.check_shape(np.zeros([5, 6, 4], dtype=np.uint8), None, 'image')
    with pytest.raises(DatasetError, match='1 or 3 channels, got 4'):
        dataset_tool.check_shape(np.zeros([6, 6, 4], dtype=np.uint8), None, 'image')


# ------------------------------------------------------------------------------------------------
# Destinations.

def test_archive_layout_and_deterministic_bytes(tmp_path):
    source = write_files(tmp_path / 'in', {f'{k // 2}/{k}.png': colour(k, (4, 4)) for k in range(4)})
    for name in ('a.zip', 'b.zip', 'small.zip'):
        run(f'--source={source}', f'--dest={tmp_path / name}', f'--png-compress={9 if name == "small.zip" else 0}')
    assert (tmp_path / 'a.zip').read_bytes() == (tmp_path / 'b.zip').read_bytes()
    with zipfile.ZipFile(tmp_path / 'a.zip') as archive:
        assert archive.namelist() == [f'00000/img{k:08d}.png' for k in range(4)] + ['dataset.json']
        for entry in archive.infolist():
            assert (entry.compress_type, entry.date_time) == (zipfile.ZIP_STORED, (1980, 1, 1, 0, 0, 0))
    assert (tmp_path / 'small.zip').stat().st_size < (tmp_path / 'a.zip').stat().st_size
    np.testing.assert_array_equal(images_of(ImageFolderDataset(tmp_path / 'small.zip')),
                                  images_of(ImageFolderDataset(tmp_path / 'a.zip')))


def test_thousand_images_per_folder():
    saved = {}
    images = iter([SourceItem('x', np.zeros([4, 4], dtype=np.uint8), None)] * 1001)
    source = Source('test', 1001, images)
    dataset_tool.convert(source, saved.__setitem__)
    assert list(saved)[999:] == ['00000/img00000999.png', '00001/img00001000.png', 'dataset.json']


def test_folder_equals_zip(tmp_path):
    source = write_files(tmp_path / 'in', {f'{k}/x.png': colour(k) for k in range(3)})
    (tmp_path / 'folder').mkdir()       # an empty folder may exist
    run(f'--source={source}', f'--dest={tmp_path / "folder"}/')
    run(f'--source={source}', f'--dest={tmp_path / "data.zip"}')
    with zipfile.ZipFile(tmp_path / 'data.zip') as archive:
        for name in archive.namelist():
            assert (tmp_path / 'folder' / name).read_bytes() == archive.read(name)
    assert sorted(path.name for path in tmp_path.iterdir()) == ['data.zip', 'folder', 'in']


def test_existing_destination_is_kept(tmp_path):
    source = write_files(tmp_path / 'in', {'a.png': colour(1)})
    (tmp_path / 'data.zip').write_bytes(b'precious')
    (tmp_path / 'file').write_bytes(b'precious')
    write_files(tmp_path / 'full', {'x.txt': b'precious'})
    for name in ('data.zip', 'file', 'full'):
        assert f'{name} exists already' in run_error(f'--source={source}', f'--dest={tmp_path / name}')
    assert (tmp_path / 'data.zip').read_bytes() == (tmp_path / 'full' / 'x.txt').read_bytes() == b'precious'
    assert '--dest' in run_error(f'--source={source}', '--dest=')


def test_unwritable_destination_is_one_line(tmp_path):
    source = write_files(tmp_path / 'in', {'a.png': colour(1)})
    (tmp_path / 'file').write_bytes(b'')
    message = run_error(f'--source={source}', f'--dest={tmp_path / "file" / "data.zip"}')
    assert message.startswith('--dest=') and 'cannot be written' in message and '\n' not in message


def test_bad_sources(tmp_path):
    (tmp_path / 'data.tar').write_bytes(b'')
    (tmp_path / 'text.zip').write_bytes(b'text')
    dest = f'--dest={tmp_path / "new" / "o.zip"}'
    assert 'does not exist' in run_error(f'--source={tmp_path / "gone"}', dest)
    assert 'no known kind' in run_error(f'--source={tmp_path / "data.tar"}', dest)
    message = run_error(f'--source={tmp_path / "text.zip"}', dest)
    assert 'not a readable zip' in message and '--source=' in message
    assert not (tmp_path / 'new').exists()


def test_terminal_gets_a_bar_instead_of_lines(monkeypatch, capsys):
    monkeypatch.setattr(dataset_tool, '_LINE_EVERY', 1)
    for is_terminal in (True, False):
        monkeypatch.setattr('sys.stderr.isatty', lambda answer=is_terminal: answer)
        source = Source('test', 1, iter([SourceItem('x', np.zeros([4, 4], dtype=np.uint8), None)]))
        dataset_tool.convert(source, lambda name, data: None)
        captured = capsys.readouterr()
        assert ('1/1' in captured.err) == is_terminal and ('1 of 1 images' in captured.out) != is_terminal


def test_max_images_and_progress_lines(tmp_path, monkeypatch):
    monkeypatch.setattr(dataset_tool, '_LINE_EVERY', 2)
    source = write_files(tmp_path / 'in', {f'{k}.png': colour(k) for k in range(9)})
    output = run(f'--source={source}', f'--dest={tmp_path / "o.zip"}', '--max-images=5')
    assert '4 of 5 images\n' in output
    assert images_of(ImageFolderDataset(tmp_path / 'o.zip'))[:, 0, 0, 0].tolist() == [0, 1, 2, 3, 4]
    write_mnist(tmp_path / 'raw')
    assert open_source(tmp_path / 'raw', max_images=2).count == len(list(open_source(tmp_path / 'raw', 2).items)) == 2
