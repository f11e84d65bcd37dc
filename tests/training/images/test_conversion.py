# Copyright 2026 The GDD-1S authors.
# SPDX-License-Identifier: Apache-2.0
"""Tests of what a conversion says in its summary, and of outputs that two processes want."""

import io
import multiprocessing
import os

import numpy as np
import PIL.Image
import pytest

from dnnlib.errors import ArgumentError
from tests.support.conversions import images_of, invoke, run, run_error, stored_json
from tests.support.image_files import colour, encode, random_pixels, write_files
from training.dataset import ImageFolderDataset
from training.images.conversion import open_dest


def notes(output):
    return [line.removeprefix('Note: ') for line in output.splitlines() if line.startswith('Note: ')]


def turned(pixels, value=6):
    exif = PIL.Image.Exif()
    exif[0x0112] = value
    return encode(pixels, 'png', exif=exif)


def animated(pixels):
    buffer = io.BytesIO()
    frames = [PIL.Image.fromarray(array) for array in (pixels, 255 - pixels)]
    frames[0].save(buffer, 'gif', save_all=True, append_images=frames[1:])
    return buffer.getvalue()


# ------------------------------------------------------------------------------------------------
# Classes.


def test_the_last_line_names_the_classes(tmp_path):
    files = {f'{name}/0.png': colour(1) for name in ('owl', 'cat', '.cache', '__MACOSX', 'dog')}
    output = run(f'--source={write_files(tmp_path / "in", files)}', f'--dest={tmp_path / "o.zip"}')
    assert '(labels of 3 class(es): 0 cat, 1 dog, 2 owl)' in output.splitlines()[-1]
    assert stored_json(tmp_path / 'o.zip')['class_names'] == ['cat', 'dog', 'owl']
    assert notes(output) == ['left out as files of services or hidden: .cache, __MACOSX']
    files = {f'c{k:02d}/0.png': colour(1) for k in range(12)}
    output = run(f'--source={write_files(tmp_path / "many", files)}', f'--dest={tmp_path / "p.zip"}')
    assert '8 c08, ... 11 c11)' in output.splitlines()[-1]


@pytest.mark.parametrize('strays', [['0.png'], ['0.png', 'a.jpg']])
def test_a_stray_image_is_asked_about(tmp_path, strays):
    files = {name: colour(1) for name in ['cat/0.png', 'dog/0.png', *strays]}
    source, dest = write_files(tmp_path / 'in', files), tmp_path / 'o.zip'
    message = run_error(f'--source={source}', f'--dest={dest}')
    assert f'has {len(strays)} image(s) beside the folders that would be classes, cat, dog' in message
    assert f'move {", ".join(strays)} into the folder' in message and '--labels=none' in message
    assert 'beside the folders' in invoke('inspect', f'--source={source}').output
    run(f'--source={source}', f'--dest={dest}', '--labels=none')
    assert len(ImageFolderDataset(dest)) == 2 + len(strays)
    # An AppleDouble file beside them is no image.
    for name in strays:
        (source / name).rename(source / f'._{name}')
    run(f'--source={source}', f'--dest={tmp_path / "p.zip"}')


@pytest.mark.parametrize(
    'folders, said',
    [(['train', 'test'], True), (['Train', 'VAL'], True), (['train', 'cat'], False), (['train'], False)],
)
def test_parts_of_a_data_set_that_become_classes(tmp_path, folders, said):
    source = write_files(tmp_path / 'in', {f'{name}/0.png': colour(1) for name in folders})
    found = notes(run(f'--source={source}', f'--dest={tmp_path / "o.zip"}'))
    assert len(found) == said
    if said:
        assert (
            'look like parts of a data set' in found[0]
            and '--labels=none' in found[0]
            and '--source' in found[0]
        )


# ------------------------------------------------------------------------------------------------
# Images that are special.


def test_frames_formats_and_rotation_are_one_line_each(tmp_path):
    pixels = random_pixels(0, (8, 8, 3))
    files = {
        'a.png': encode(pixels),
        'b.gif': animated(pixels),
        'c.gif': animated(pixels),
        'd.png': turned(pixels),
        'e.png': turned(pixels, 1),
        'photo.HEIC': b'ftypheic',
        'drawing.svg': b'<svg/>',
        'notes.txt': b'',
    }
    source = write_files(tmp_path / 'in', files)
    assert notes(run(f'--source={source}', f'--dest={tmp_path / "o.zip"}')) == [
        '2 image(s) that Pillow cannot open are left out, convert them first: drawing.svg, photo.HEIC',
        '2 image(s) have several frames or pages, such as b.gif; the first is used',
        '1 image(s) have an EXIF orientation, such as d.png; '
        'it is ignored, as by EDM; turn them with --exif=apply',
    ]
    output = run(f'--source={source}', f'--dest={tmp_path / "p.zip"}', '--exif=apply')
    assert notes(output)[2] == '1 image(s) have an EXIF orientation, such as d.png; it is applied'
    ignored, applied = (images_of(ImageFolderDataset(tmp_path / name)) for name in ('o.zip', 'p.zip'))
    changed = [k for k in range(5) if (ignored[k] != applied[k]).any()]
    assert changed == [3]
    np.testing.assert_array_equal(applied[3].transpose(1, 2, 0), np.rot90(pixels, -1))  # 6: clockwise
    lines = invoke('inspect', f'--source={source}').output
    assert 'EXIF rotated: 1: d.png' in lines and 'More frames:  2: b.gif, c.gif' in lines


def test_folder_of_formats_that_cannot_be_opened(tmp_path):
    source = write_files(tmp_path / 'in', {f'{k}.heic': b'' for k in range(7)})
    message = run_error(f'--source={source}', f'--dest={tmp_path / "o.zip"}')
    assert 'contains no images' in message and '7 image(s) that Pillow cannot open' in message
    assert 'and 2 more' in message


def test_large_images_name_the_option_that_reads_them(tmp_path):
    source = write_files(tmp_path / 'in', {'a.png': encode(random_pixels(0, (16, 16, 3)))})
    message = run_error(f'--source={source}', f'--dest={tmp_path / "o.zip"}', '--max-pixels=100')
    assert f'file a.png in --source={source} has 256 pixels, but at most 100 are read' in message
    assert '--max-pixels=256' in message
    run(f'--source={source}', f'--dest={tmp_path / "o.zip"}', '--max-pixels=256')


# ------------------------------------------------------------------------------------------------
# Two that write one output.


def _write(path, entered, leave):
    with open_dest(path) as save:
        save('a.txt', b'first')
        entered.set()
        assert leave.wait(60)


@pytest.mark.processes
@pytest.mark.parametrize('name', ['made.zip', 'folder', 'empty'])
def test_the_second_writer_is_refused_before_it_works(tmp_path, name):
    (tmp_path / 'empty').mkdir()
    path = str(tmp_path / name)
    context = multiprocessing.get_context('spawn')
    entered, leave = context.Event(), context.Event()
    first = context.Process(target=_write, args=(path, entered, leave))
    first.start()
    try:
        assert entered.wait(60)
        with pytest.raises(ArgumentError, match='is being written by another process'):
            with open_dest(path):
                raise AssertionError('both write')
        source = write_files(tmp_path / 'in', {'a.png': colour(1)})
        assert f'--dest={path} is being written' in run_error(f'--source={source}', f'--dest={path}')
    finally:
        leave.set()
        first.join(60)
    assert first.exitcode == 0
    assert 'exists already' in run_error(f'--source={source}', f'--dest={path}')
    assert sorted(os.listdir(tmp_path)) == sorted({'in', 'empty', name})


@pytest.mark.parametrize('name', ['made.zip', 'folder'])
def test_an_output_that_appears_between_opening_and_entering_is_kept(tmp_path, name):
    dest = open_dest(str(tmp_path / name))
    if name == 'folder':
        write_files(tmp_path / name, {'x.txt': b'precious'})
    else:
        (tmp_path / name).write_bytes(b'precious')
    with pytest.raises(ArgumentError, match='exists already'):
        with dest:
            pass
    kept = tmp_path / name / 'x.txt' if name == 'folder' else tmp_path / name
    assert kept.read_bytes() == b'precious'


def test_a_folder_that_is_filled_meanwhile_is_kept(tmp_path):
    with pytest.raises(ArgumentError, match='exists already'):
        with open_dest(str(tmp_path / 'folder')) as save:
            save('a.txt', b'ours')
            write_files(tmp_path / 'folder', {'x.txt': b'precious'})
    assert [path.name for path in (tmp_path / 'folder').iterdir()] == ['x.txt']
    assert os.listdir(tmp_path) == ['folder']
