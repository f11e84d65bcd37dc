# Copyright 2026 The GDD-1S authors.
# SPDX-License-Identifier: Apache-2.0
"""Tests of `dataset_tool.py convert` and what is behind it: sources, transforms, checks, destinations."""

import io
import json
import os
import signal
import subprocess
import sys
import time
import zipfile

import numpy as np
import PIL.Image
import pytest
from click.testing import CliRunner

import dataset_tool
from tests.support import ROOT
from tests.support.conversions import convert, images_of, run, run_error, stored_json, stored_labels
from tests.support.image_files import colour, encode, png_16bit_rgb, random_pixels, write_files
from training.dataset import ImageFolderDataset
from training.images import conversion as dataset_writer
from training.images import transforms
from training.images.files import DatasetError
from training.images.sources import Source, SourceItem, open_source

# ------------------------------------------------------------------------------------------------
# Folders and archives.


def test_folder_labels_are_ranks_of_top_folders_and_order_is_by_component(tmp_path):
    source = write_files(
        tmp_path / 'in',
        {'a-b/x.png': colour(1), 'a/x.png': colour(2), 'a/z/y.png': colour(3), 'a/text.txt': b''},
    )
    dataset = convert(tmp_path, source)
    # By components a/... precedes a-b/..., although '-' sorts before '/'. Labels: 'a' 0, 'a-b' 1.
    assert images_of(dataset)[:, 0, 0, 0].tolist() == [2, 3, 1]
    assert [dataset.get_details(k)[2] for k in range(3)] == [0, 0, 1]


def test_single_folder_has_no_labels(tmp_path):
    dataset = convert(tmp_path, write_files(tmp_path / 'in', {'a/x.png': colour(1), 'a/y.png': colour(2)}))
    assert dataset.label_dim == 0 and stored_labels(tmp_path / 'out' / 'made.zip') is None


@pytest.mark.parametrize('target', ['in', 'in.zip'])
def test_dataset_json_is_respected(tmp_path, target):
    labels = json.dumps({'labels': [['b/y.png', 5], ['a/x.png', 3]]}).encode()
    files = {'a/x.png': colour(1), 'b/y.png': colour(2), 'dataset.json': labels}
    convert(tmp_path, write_files(tmp_path / target, files))
    assert stored_labels(tmp_path / 'out' / 'made.zip') == [
        ['00000/img00000000.png', 3],
        ['00000/img00000001.png', 5],
    ]


def test_zip_has_no_folder_labels(tmp_path):
    dataset = convert(
        tmp_path, write_files(tmp_path / 'in.zip', {'a/x.png': colour(1), 'b/y.png': colour(2)})
    )
    assert len(dataset) == 2 and not dataset.has_labels


@pytest.mark.parametrize(
    'labels, words',
    [
        ([['a.png', 3]], 'none for 1 of 2, the first is b.png; add them, or give --labels=none'),
        ([['a.png', 3], ['b.png', None]], 'none for 1 of 2, the first is b.png'),
        ([['a.png', 'cat'], ['b.png', 'dog']], 'class number'),
        ([['a.png', 0], ['b.png', 1], ['a.png', 2]], 'gives a.png two labels, 0 and 2; keep one'),
        ([[['a.png'], 0]], 'must hold'),
    ],
)
@pytest.mark.parametrize('target', ['in', 'in.zip'])
def test_unusable_labels_are_refused_and_can_be_left_out(tmp_path, target, labels, words):
    files = {'a.png': colour(1), 'b.png': colour(2), 'dataset.json': json.dumps({'labels': labels}).encode()}
    source, dest = write_files(tmp_path / target, files), tmp_path / 'new' / 'o.zip'
    assert words in run_error(f'--source={source}', f'--dest={dest}')
    assert not dest.parent.exists() or not list(dest.parent.iterdir())
    run(f'--source={source}', f'--dest={dest}', '--labels=none')
    assert stored_json(dest) == {'labels': None}


def test_labels_of_images_that_are_not_used_may_miss(tmp_path):
    files = {
        'a.png': colour(1),
        'b.png': colour(2),
        'dataset.json': b'{"labels": [["a.png", 3], ["gone.png", 9]]}',
    }
    run(
        f'--source={write_files(tmp_path / "in.zip", files)}',
        f'--dest={tmp_path / "o.zip"}',
        '--max-images=1',
    )
    assert stored_labels(tmp_path / 'o.zip') == [['00000/img00000000.png', 3]]


def test_names_of_classes_are_kept(tmp_path):
    source = write_files(tmp_path / 'in', {'dog/x.png': colour(1), 'cat/y.png': colour(2)})
    run(f'--source={source}', f'--dest={tmp_path / "a.zip"}')
    assert stored_json(tmp_path / 'a.zip')['class_names'] == ['cat', 'dog']
    run(f'--source={tmp_path / "a.zip"}', f'--dest={tmp_path / "b.zip"}')
    assert (tmp_path / 'a.zip').read_bytes() == (tmp_path / 'b.zip').read_bytes()
    assert (
        ImageFolderDataset(tmp_path / 'b.zip', use_labels=True).label_dim == 2
    )  # readers look at `labels` alone
    odd = write_files(
        tmp_path / 'odd.zip',
        {'x.png': colour(1), 'dataset.json': b'{"labels": [["x.png", 0]], "class_names": 5}'},
    )
    run(f'--source={odd}', f'--dest={tmp_path / "c.zip"}')
    assert stored_json(tmp_path / 'c.zip') == {'labels': [['00000/img00000000.png', 0]]}


@pytest.mark.filterwarnings('ignore:Duplicate name')
def test_archives_with_ambiguous_or_dangerous_names_are_refused(tmp_path):
    with zipfile.ZipFile(tmp_path / 'twice.zip', 'w') as archive:
        for value in (1, 2):
            archive.writestr('a/x.png', colour(value))
    sources = {'twice.zip': 'stores 1 names twice, the first is a/x.png'}
    for number, name in enumerate(['../x.png', 'a/../../x.png', '/x.png', 'C:/x.png', '..\\x.png', '..']):
        with zipfile.ZipFile(tmp_path / f'{number}.zip', 'w') as archive:
            archive.writestr(name, colour(1))
        sources[f'{number}.zip'] = f'has an entry {name}, which points outside the archive'
    for file, words in sources.items():
        assert words in run_error(f'--source={tmp_path / file}', f'--dest={tmp_path / "new" / "o.zip"}')
        with pytest.raises(DatasetError, match='the archive'):
            ImageFolderDataset(tmp_path / file)
    assert not (tmp_path / 'new').exists()
    # Dots inside a name are harmless.
    convert(tmp_path, write_files(tmp_path / 'dots.zip', {'a..b/x..y.png': colour(1)}))


def test_backslashes_in_names_match_labels(tmp_path):
    labels = json.dumps({'labels': [['a/x.png', 4]]}).encode()
    dataset = convert(
        tmp_path, write_files(tmp_path / 'in.zip', {'a\\x.png': colour(1), 'dataset.json': labels})
    )
    assert dataset.get_details(0)[2] == 4
    assert ImageFolderDataset(tmp_path / 'in.zip', use_labels=True).get_details(0)[2] == 4


def test_folder_that_cannot_be_listed_is_named(tmp_path, monkeypatch):
    source = write_files(tmp_path / 'in', {'a/x.png': colour(1), 'secret/y.png': colour(2)})
    scandir = os.scandir

    def refuse(path):
        if str(path).endswith('secret'):
            raise PermissionError(13, 'Permission denied', str(path))
        return scandir(path)

    monkeypatch.setattr(os, 'scandir', refuse)
    message = run_error(f'--source={source}', f'--dest={tmp_path / "o.zip"}')
    assert 'cannot be read in full' in message and 'secret' in message


@pytest.mark.parametrize(
    'mode, expected', [('L', 'L'), ('1', 'L'), ('LA', 'L'), ('P', 'RGB'), ('RGBA', 'RGB'), ('CMYK', 'RGB')]
)
def test_modes_are_converted(tmp_path, mode, expected):
    image = PIL.Image.fromarray(random_pixels(0, (16, 16, 3))).convert(mode)
    if mode in ('LA', 'RGBA'):
        image.putalpha(0)  # dropping alpha keeps the colours that blending would lose
    (tmp_path / 'in').mkdir()
    image.save(tmp_path / 'in' / ('x.tif' if mode == 'CMYK' else 'x.png'))
    made = images_of(convert(tmp_path, tmp_path / 'in'))[0]
    wanted = np.asarray(image.convert(expected))
    np.testing.assert_array_equal(made.transpose(1, 2, 0) if expected == 'RGB' else made[0], wanted)
    assert made.max() > 0


@pytest.mark.parametrize(
    'data, words',
    [
        (png_16bit_rgb(), '16 or more bits'),
        (b'text', 'no known format'),
        (encode(random_pixels(0, (64, 64, 3)))[:500], 'not a readable image'),
    ],
)
def test_bad_images_are_named_and_nothing_is_left(tmp_path, data, words):
    source = write_files(tmp_path / 'in', {'a/0.png': colour(1), 'b/bad.png': data})
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
    assert transforms.resize(pixels, None, None) is pixels and transforms.resize(pixels, 10, 6) is pixels
    np.testing.assert_array_equal(transforms.resize(pixels, 4, 4), lanczos(pixels, (4, 4)))
    bilinear = np.asarray(PIL.Image.fromarray(pixels).resize((4, 4), PIL.Image.Resampling.BILINEAR))
    assert not np.array_equal(transforms.resize(pixels, 4, 4), bilinear)


@pytest.mark.parametrize(
    'shape, rows, columns',
    [((7, 12, 3), (0, 7), (2, 9)), ((12, 7, 3), (2, 9), (0, 7)), ((5, 8), (0, 5), (1, 6))],
)
def test_center_crop_by_hand(shape, rows, columns):
    pixels = random_pixels(0, shape)
    square = pixels[rows[0] : rows[1], columns[0] : columns[1]]
    square = square if square.ndim == 3 else np.stack([square] * 3, axis=2)
    np.testing.assert_array_equal(transforms.center_crop(pixels, 4, 4), lanczos(square, (4, 4)))


def test_center_crop_wide_by_hand():
    pixels = random_pixels(0, (20, 16, 3))
    # The band is round(16 * 20 / 16) = 20 rows here, so everything is kept and squeezed into 16x8.
    made = transforms.center_crop_wide(pixels, 16, 8)
    assert made.shape == (16, 16, 3) and not made[:4].any() and not made[12:].any()
    np.testing.assert_array_equal(made[4:12], lanczos(pixels, (16, 8)))
    # Gray, 32 wide: round(16 * 20 / 32) = 10 rows, 5..15.
    gray = random_pixels(0, (20, 32))
    made = transforms.center_crop_wide(gray, 16, 8)
    np.testing.assert_array_equal(made[4:12], lanczos(np.stack([gray[5:15]] * 3, axis=2), (16, 8)))
    assert transforms.center_crop_wide(random_pixels(0, (20, 15, 3)), 16, 8) is None
    assert transforms.center_crop_wide(random_pixels(0, (14, 32, 3)), 16, 8) is None


def test_skipped_images_consume_their_number(tmp_path):
    files = {
        f'{k}.png': encode(random_pixels(k, shape))
        for k, shape in enumerate([(16, 16, 3), (2, 2, 3), (16, 16)])
    }
    source = write_files(tmp_path / 'in', files)
    options = '--transform=center-crop-wide', '--resolution=16x8'
    output = run(f'--source={source}', f'--dest={tmp_path / "o"}', *options)
    assert '1 skipped' in output
    assert [path.name for path in sorted((tmp_path / 'o').rglob('*.png'))] == [
        'img00000000.png',
        'img00000002.png',
    ]
    message = run_error(f'--source={source}', f'--dest={tmp_path / "p"}', options[0], '--resolution=64,32')
    assert (
        'no image is left of the 3 of folder' in message
        and '3 are too small for --resolution=64x32' in message
    )
    assert not (tmp_path / 'p').exists()


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
        dataset_writer.check_shape((5, 6, 4), None, 'image')
    with pytest.raises(DatasetError, match='1 or 3 channels, got 4'):
        dataset_writer.check_shape((6, 6, 4), None, 'image')


# ------------------------------------------------------------------------------------------------
# Unreadable images.


@pytest.mark.parametrize('target', ['in', 'in.zip'])
def test_skip_bad_names_and_leaves_out_unreadable_images(tmp_path, target):
    files = {
        'a/0.png': b'text',
        'a/1.png': colour(1),
        'b/2.png': png_16bit_rgb(4),
        'b/3.png': colour(3),
        'dataset.json': json.dumps(
            {'labels': [[f'{top}/{k}.png', k] for k, top in enumerate('aabb')]}
        ).encode(),
    }
    source = write_files(tmp_path / target, files)
    assert 'leave out such images with --skip-bad' in run_error(
        f'--source={source}', f'--dest={tmp_path / "o.zip"}'
    )
    output = run(f'--source={source}', f'--dest={tmp_path / "o.zip"}', '--skip-bad')
    for name, reason in [('a/0.png', 'no known format'), ('b/2.png', '16 or more bits')]:
        assert any(
            line.startswith(f'Left out: file {name} in') and reason in line for line in output.splitlines()
        )
    assert 'Wrote 2 RGB images of 4x4 (labels of 4 class(es), 2 skipped as unreadable)' in output
    assert stored_labels(tmp_path / 'o.zip') == [['00000/img00000001.png', 1], ['00000/img00000003.png', 3]]
    assert images_of(ImageFolderDataset(tmp_path / 'o.zip'))[:, 0, 0, 0].tolist() == [1, 3]


def test_skip_bad_passes_over_damaged_zip_entries_but_not_over_wrong_shapes(tmp_path):
    source = write_files(tmp_path / 'in.zip', {'a.png': colour(1), 'b.png': colour(2)})
    data = bytearray(source.read_bytes())
    data[data.index(b'IDAT') + 8] ^= 255  # the checksum of the first entry no longer holds
    source.write_bytes(data)
    assert 'a.png in --source' in run_error(f'--source={source}', f'--dest={tmp_path / "o.zip"}')
    assert 'Left out: file a.png' in run(f'--source={source}', f'--dest={tmp_path / "o.zip"}', '--skip-bad')
    source = write_files(tmp_path / 'in', {'a.png': colour(1), 'b.png': colour(2, (8, 8, 3))})
    assert 'b.png' in run_error(f'--source={source}', f'--dest={tmp_path / "p.zip"}', '--skip-bad')


def test_nothing_but_bad_images_leaves_nothing(tmp_path):
    source = write_files(tmp_path / 'in', {'a.png': b'text', 'b.png': b''})
    message = run_error(f'--source={source}', f'--dest={tmp_path / "new" / "o.zip"}', '--skip-bad')
    assert (
        'no image is left of the 2' in message
        and '2 cannot be read' in message
        and not list((tmp_path / 'new').iterdir())
    )


def test_file_that_vanishes_is_named(tmp_path):
    source = write_files(tmp_path / 'in', {'a.png': colour(1)})
    opened = open_source(source)
    (source / 'a.png').unlink()
    with pytest.raises(DatasetError, match='a.png .*cannot be read'):
        dataset_writer.convert(opened, lambda name, data: None)


# ------------------------------------------------------------------------------------------------
# Destinations.


def black_images(count):
    item = SourceItem('x', np.zeros([4, 4], dtype=np.uint8))
    return Source('test', [None] * count, iter([item] * count))


def test_archive_layout_and_deterministic_bytes(tmp_path):
    source = write_files(tmp_path / 'in', {f'{k // 2}/{k}.png': colour(k, (4, 4)) for k in range(4)})
    for name in ('a.zip', 'b.zip', 'small.zip'):
        run(
            f'--source={source}',
            f'--dest={tmp_path / name}',
            f'--png-compress={9 if name == "small.zip" else 0}',
        )
    assert (tmp_path / 'a.zip').read_bytes() == (tmp_path / 'b.zip').read_bytes()
    with zipfile.ZipFile(tmp_path / 'a.zip') as archive:
        assert archive.namelist() == [f'00000/img{k:08d}.png' for k in range(4)] + ['dataset.json']
        for entry in archive.infolist():
            assert (entry.compress_type, entry.date_time) == (zipfile.ZIP_STORED, (1980, 1, 1, 0, 0, 0))
    assert (tmp_path / 'small.zip').stat().st_size < (tmp_path / 'a.zip').stat().st_size
    np.testing.assert_array_equal(
        images_of(ImageFolderDataset(tmp_path / 'small.zip')),
        images_of(ImageFolderDataset(tmp_path / 'a.zip')),
    )


def test_thousand_images_per_folder():
    saved = {}
    dataset_writer.convert(black_images(1001), saved.__setitem__)
    assert list(saved)[999:] == ['00000/img00000999.png', '00001/img00001000.png', 'dataset.json']


def test_folder_equals_zip(tmp_path):
    source = write_files(tmp_path / 'in', {f'{k}/x.png': colour(k) for k in range(3)})
    (tmp_path / 'folder').mkdir()  # an empty folder may exist
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
    (tmp_path / 'church_lmdb').mkdir()
    assert 'LSUN database' in run_error(f'--source={tmp_path / "church_lmdb"}', dest)
    message = run_error(f'--source={tmp_path / "text.zip"}', dest)
    assert 'not a readable zip' in message and '--source=' in message
    assert not (tmp_path / 'new').exists()


def test_terminal_gets_a_bar_instead_of_lines(monkeypatch, capsys):
    for is_terminal in (True, False):
        monkeypatch.setattr('sys.stderr.isatty', lambda answer=is_terminal: answer)
        dataset_writer.convert(black_images(1), lambda name, data: None)
        captured = capsys.readouterr()
        assert ('1/1 [' in captured.err) == is_terminal and captured.out == ''
        assert captured.err.startswith('Converting: 1/1 images') != is_terminal


def test_max_images(tmp_path):
    source = write_files(tmp_path / 'in', {f'{k}.png': colour(k) for k in range(9)})
    output = run(f'--source={source}', f'--dest={tmp_path / "o.zip"}', '--max-images=5')
    assert 'Converting: 5/5 images' in output
    assert images_of(ImageFolderDataset(tmp_path / 'o.zip'))[:, 0, 0, 0].tolist() == [0, 1, 2, 3, 4]


# ------------------------------------------------------------------------------------------------
# The command line as a whole.


def test_command_name_may_be_left_out(tmp_path):
    source = write_files(tmp_path / 'in', {f'{k}/x.png': colour(k) for k in range(3)})
    run(f'--source={source}', f'--dest={tmp_path / "a.zip"}')
    run(
        '--max-images', '3', '--source', source, '--dest', tmp_path / 'b.zip'
    )  # EDM's options, in any order and spelling
    run('convert', f'--source={source}', f'--dest={tmp_path / "c.zip"}')
    assert len({(tmp_path / f'{name}.zip').read_bytes() for name in 'abc'}) == 1
    assert "No such command 'konvert'" in run_error('konvert', f'--source={source}')
    assert "Missing option '--dest'" in run_error(f'--source={source}')
    assert 'No such option' in run_error(f'--source={source}', '--dests=x')


def test_every_option_is_explained(tmp_path):
    text = CliRunner().invoke(dataset_tool.main, ['--help']).output
    assert 'convert' in text and 'inspect' in text and 'FILE.npz' in text
    for command in ('convert', 'inspect'):
        assert CliRunner().invoke(dataset_tool.main, [command, '--help']).exit_code == 0
        for option in dataset_tool.main.commands[command].params:
            assert option.help


# ------------------------------------------------------------------------------------------------
# Processes.


def test_workers_are_all_cores_by_default(tmp_path, monkeypatch):
    seen = []
    monkeypatch.setattr(os, 'sched_getaffinity', lambda pid: {0, 3, 5}, raising=False)
    original = dataset_writer.convert
    monkeypatch.setattr(
        dataset_tool, 'convert_source', lambda *args: seen.append(args[-1]) or original(*args[:-1], workers=1)
    )
    source = write_files(tmp_path / 'in', {'a.png': colour(1)})
    for number, options in enumerate([(), ('--workers=2',)]):
        result = CliRunner().invoke(
            dataset_tool.main, [f'--source={source}', f'--dest={tmp_path / str(number)}', *options]
        )
        assert result.exit_code == 0, result.output
    assert seen == [3, 2]
    assert '--workers' in run_error(f'--source={source}', f'--dest={tmp_path / "o"}', '--workers=0')


@pytest.mark.parametrize('target', ['in', 'in.zip'])
def test_bytes_and_order_do_not_depend_on_the_number_of_workers(tmp_path, target):
    files = {f'{k % 3}/{k}.png': encode(random_pixels(k, (8 + k, 12, 3))) for k in range(27)}
    files['1/13.png'] = b'text'
    files['dataset.json'] = json.dumps({'labels': [[name, k] for k, name in enumerate(files)]}).encode()
    source = write_files(tmp_path / target, files)
    args = f'--source={source}', '--transform=center-crop-wide', '--resolution=8x8', '--skip-bad'
    outputs = []
    for workers in (1, 2):
        output = run(*args, f'--dest={tmp_path / f"{workers}.zip"}', f'--workers={workers}')
        lines = output.replace(f'{workers}.zip', 'X.zip').splitlines()
        outputs.append([line for line in lines if not line.startswith('Converting:')])  # these tell the time
    assert outputs[0] == outputs[1] and any(line.startswith('Left out: file 1/13.png') for line in outputs[0])
    assert (tmp_path / '1.zip').read_bytes() == (tmp_path / '2.zip').read_bytes()
    message = run_error(
        *args[:3], f'--dest={tmp_path / "3.zip"}', '--workers=2'
    )  # one line from a worker as well
    assert (
        message.startswith('file 1/13.png in') and '\n' not in message and not (tmp_path / '3.zip').exists()
    )


@pytest.mark.skipif(sys.platform == 'win32', reason='signals of Unix')
@pytest.mark.parametrize(
    'number, whole_group, left_over',
    [(signal.SIGINT, True, 0), (signal.SIGTERM, False, 0), (signal.SIGKILL, False, 2)],
)
def test_stopped_midway_nothing_appears_under_the_name(tmp_path, number, whole_group, left_over):
    source = tmp_path / 'in'
    source.mkdir()
    ramp = np.arange(1024, dtype=np.uint8)
    (source / 'first.png').write_bytes(encode(np.stack([ramp[:, None] + ramp] * 3, axis=2)))
    for k in range(600):
        os.link(source / 'first.png', source / f'{k}.png')
    dest = tmp_path / 'out' / 'made.zip'
    process = subprocess.Popen(
        [
            sys.executable,
            str(ROOT / 'dataset_tool.py'),
            f'--source={source}',
            f'--dest={dest}',
            '--resolution=64x64',
            '--workers=2',
        ],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
        env=dict(os.environ, OMP_NUM_THREADS='1'),
        # Background jobs of a shell, such as a CI run, inherit that SIGINT is ignored.
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),
    )
    while not any(path.stat().st_size for path in dest.parent.glob('.tmp-*')):
        assert process.poll() is None, process.communicate()
        time.sleep(0.01)
    (os.killpg if whole_group else os.kill)(process.pid, number)
    _output, errors = process.communicate(
        timeout=120
    )  # the workers hold these pipes: returns once all have ended
    assert process.returncode != 0 and 'Traceback' not in errors
    assert not dest.exists() and len(list(dest.parent.iterdir())) == left_over
    assert ('Aborted!' in errors) == (number == signal.SIGINT)


# ------------------------------------------------------------------------------------------------
# Real data.


def test_cifar10_jpeg_archive_becomes_png(tmp_path, shared_dir):
    source = shared_dir / 'data' / 'cifar10-32x32-jpeg.zip'
    dataset = convert(tmp_path, source, '--max-images=20')
    original = ImageFolderDataset(source, use_labels=True)
    assert len(dataset) == 20 and dataset.image_shape == [3, 32, 32]
    for k in range(20):
        np.testing.assert_array_equal(dataset[k][0], original[k][0])  # the pixels of the JPEG, losslessly
        assert dataset.get_details(k)[2] == original.get_details(k)[2]
    with zipfile.ZipFile(tmp_path / 'out' / 'made.zip') as archive:
        assert PIL.Image.open(io.BytesIO(archive.read('00000/img00000019.png'))).format == 'PNG'
