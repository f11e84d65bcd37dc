# Copyright 2026 The GDD-1S authors.
# SPDX-License-Identifier: Apache-2.0
"""Tests of `dataset_tool.py inspect`: what it counts, what it finds wrong, and the grid of samples."""

import json
import zipfile

import numpy as np
import PIL.Image
import pytest

from tests.support import ROOT
from tests.support.conversions import invoke
from tests.support.image_files import (
    colour,
    encode,
    png_16bit_rgb,
    python2_batch,
    random_pixels,
    write_cifar10,
    write_files,
    write_mnist,
)
from training.images import inspection as dataset_inspection
from training.images.inspection import choose_samples
from training.images.png import CAPTION_HEIGHT


def inspect(source, *args, status=0):
    """Lines that the command prints; `status` is the exit status it must have."""
    result = invoke('inspect', f'--source={source}', *args)
    assert result.exit_code == status and (
        result.exception is None or isinstance(result.exception, SystemExit)
    ), result.output
    return result.stdout.splitlines()


def line(lines, head):
    """The text after the one line that begins with `head`."""
    found = [text for text in lines if text.startswith(f'{head}:')]
    assert len(found) == 1, lines
    return found[0][len(head) + 1 :].strip()


# ------------------------------------------------------------------------------------------------
# Counts.


@pytest.mark.parametrize('target', ['in', 'in.zip'])
def test_a_healthy_source(tmp_path, target):
    files = {f'{k}.png': encode(random_pixels(k, (4, 6, 3))) for k in range(4)}
    files |= {
        'gray.png': encode(random_pixels(9, (8, 8))),
        'notes.txt': b'',
        'dataset.json': json.dumps(
            {
                'labels': [['gray.png', 2], *[[f'{k}.png', 0] for k in range(4)]],
                'class_names': ['dog', 'cat', 'owl'],
            }
        ).encode(),
    }
    source = write_files(tmp_path / target, files)
    assert [text.split() for text in inspect(source)] == [
        text.split()
        for text in [
            f'Source: {"zip archive" if target.endswith("zip") else "folder"} {source}',
            'Images: 5, 0 of them unreadable',
            'Other files: 1, not images by name, such as notes.txt',
            'Size: 6x4 RGB: 4',
            'Size: 8x8 L: 1',
            'Labels: 2 class(es) of 1 to 4 images; 1 class numbers up to 2 have no image',
            '0 dog 4',
            '2 owl 1',
        ]
    ]


def test_what_is_found_as_json(tmp_path):
    pixels = random_pixels(1, (4, 6, 3))
    files = {'cat/a.png': encode(pixels), 'dog/b.png': encode(pixels), 'dog/c.jpg': b'no image', 'x.txt': b''}
    source = write_files(tmp_path / 'in', files)
    grid = str(tmp_path / 'g.png')
    found = json.loads('\n'.join(inspect(source, '--json', f'--grid={grid}', status=1)))
    assert (found['images'], found['healthy'], found['grid']) == (3, False, grid)
    assert found['sizes'] == [dict(width=6, height=4, mode='RGB', images=2)]
    assert [(entry['number'], entry['name'], entry['images']) for entry in found['classes']] == [
        (0, 'cat', 1),
        (1, 'dog', 2),
    ]
    assert found['same_pixels'] == [['dog/b.png', 'cat/a.png']] and found['other_files'] == ['x.txt']
    assert len(found['unreadable']) == 1 and 'dog/c.jpg' in found['unreadable'][0]


def test_sources_of_arrays(tmp_path):
    write_mnist(tmp_path / 'raw')
    lines = inspect(tmp_path / 'raw')
    assert line(lines, 'Images') == '5, 0 of them unreadable' and line(lines, 'Size') == '32x32 L: 5'
    path, _images, _labels = write_cifar10(tmp_path, python2_batch)
    lines = inspect(path, '--max-images=14')
    assert line(lines, 'Size') == '32x32 RGB: 14' and '14' in line(lines, 'Images')
    np.savez(tmp_path / 'pack.npz', random_pixels(0, (3, 8, 8, 3)), np.eye(3))
    lines = inspect(tmp_path / 'pack.npz')
    assert line(lines, 'Size') == '8x8 RGB: 3' and line(lines, 'Labels') == 'vectors of length 3'


def test_many_sizes_and_classes_are_summed_up(tmp_path, monkeypatch):
    monkeypatch.setattr(dataset_inspection, '_CLASSES', 2)
    files = {f'{k % 3}/{k}.png': encode(random_pixels(k, (4 + max(k, 4), 20, 3))) for k in range(12)}
    lines = inspect(write_files(tmp_path / 'in', files))
    sizes = [text.split(':', 1)[1].strip() for text in lines if text.startswith('Size:')]
    assert sizes[0] == '20x8 RGB: 5' and len(sizes) == 6
    assert (
        sizes[-1] == '3 others: 3; their shorter sides are 9 to 15'
    )  # equally frequent sizes: the first by path are listed
    assert line(lines, 'Labels') == '3 class(es) of 4 images' and lines[-1].startswith('Labels:')


def test_modes_are_those_of_the_files(tmp_path):
    PIL.Image.new('P', (4, 4)).save(tmp_path / 'x.png')
    assert line(inspect(tmp_path), 'Size') == '4x4 P: 1'


# ------------------------------------------------------------------------------------------------
# What is wrong.


def test_unreadable_files_are_named_with_reasons_and_the_status_is_1(tmp_path):
    files = {
        'a.png': b'text',
        'b.png': png_16bit_rgb(),
        'c.png': colour(1),
        'd.png': encode(random_pixels(0, (64, 64, 3)))[:900],
    }
    lines = inspect(write_files(tmp_path / 'in', files), status=1)
    assert line(lines, 'Images') == '4, 3 of them unreadable' and line(lines, 'Size') == '4x4 RGB: 1'
    bad = [text for text in lines if text.startswith('Unreadable:')]
    for text, name, reason in zip(
        bad, ('a.png', 'b.png', 'd.png'), ('no known format', '16 or more bits', 'not a readable')
    ):
        assert f'file {name} in --source={tmp_path / "in"}' in text and reason in text
    assert len(bad) == 3


@pytest.mark.filterwarnings('ignore:Duplicate name')
def test_duplicates_of_names_and_pixels(tmp_path):
    with zipfile.ZipFile(tmp_path / 'in.zip', 'w') as archive:
        for name, value in [('a.png', 1), ('a.png', 2), ('b.png', 3), ('B.bmp', 4), ('c/b.png', 3)]:
            archive.writestr(name, colour(value))
    lines = inspect(tmp_path / 'in.zip', status=1)
    assert line(lines, 'Stored twice') == '1: a.png'
    assert line(lines, 'Same names') == '1: B.bmp = b.png (up to case and extension)'
    assert line(lines, 'Same pixels') == '1: c/b.png = b.png'


def test_same_pixels_in_another_format_or_shape(tmp_path):
    pixels = random_pixels(0, (4, 8, 3))
    files = {
        'a.png': encode(pixels),
        'b.bmp': encode(pixels, 'bmp'),
        'c.png': encode(pixels.reshape(8, 4, 3)),
        'd.png': encode(pixels[:, ::-1].copy()),
    }
    assert line(inspect(write_files(tmp_path / 'in', files)), 'Same pixels') == '1: b.bmp = a.png'
    files = {f'{k}.png': colour(7) for k in range(8)}
    assert line(inspect(write_files(tmp_path / 'many', files)), 'Same pixels').startswith(
        '7: 1.png = 0.png, 2.png'
    )
    assert line(inspect(tmp_path / 'many'), 'Same pixels').endswith('5.png = 0.png, and 2 more')


@pytest.mark.parametrize(
    'labels, head, words',
    [
        ([['a.png', 1]], 'Unlabelled', '1 of 2, the first is b.png'),
        (
            [['a.png', 'cat'], ['b.png', 'dog']],
            'Labels',
            'must give every image a class number (such as 3) or a vector of numbers, all of one length; '
            "the label of a.png is 'cat'",
        ),
    ],
)
def test_bad_labels(tmp_path, labels, head, words):
    files = {'a.png': colour(1), 'b.png': colour(2), 'dataset.json': json.dumps({'labels': labels}).encode()}
    assert words in line(inspect(write_files(tmp_path / 'in.zip', files), status=1), head)


def test_errors_are_one_line(tmp_path):
    (tmp_path / 'text.zip').write_bytes(b'text')
    for args, words in [
        ((f'--source={tmp_path / "text.zip"}',), 'not a readable zip'),
        ((f'--source={ROOT / "pretrained"}',), 'contains no images'),
        ((f'--source={tmp_path}', '--grid=out.jpg'), '--grid=out.jpg must name a file ending in .png'),
        ((f'--source={tmp_path}', '--grid-size=100x100'), '--grid-size=100x100 must be at most 4096'),
        ((f'--source={tmp_path}', '--grid-size=8'), 'two positive numbers'),
        ((f'--source={tmp_path}', '--seed=-1'), '--seed'),
        (('--grid=x.png',), "Missing option '--source'"),
    ]:
        result = invoke('inspect', *args)
        assert (
            result.exit_code in (1, 2) and words in result.output and isinstance(result.exception, SystemExit)
        )
    (tmp_path / 'x.png').write_bytes(colour(1))
    result = invoke('inspect', f'--source={tmp_path}', f'--grid={tmp_path / "x.png" / "grid.png"}')
    assert 'cannot be written' in result.output and result.exit_code == 1


def test_several_processes_find_the_same(tmp_path):
    files = {f'{k % 2}/{k}.png': encode(random_pixels(k % 15, (8, 8, 3))) for k in range(20)}
    source = write_files(tmp_path / 'in', {**files, '1/7.png': b'text'})
    one, two = (
        inspect(source, f'--workers={n}', f'--grid={tmp_path / str(n)}.png', status=1) for n in (1, 2)
    )
    assert (
        one[:-1] == two[:-1]
        and one[-1] == two[-1].replace('2.png', '1.png')
        and line(one, 'Same pixels').startswith('5: ')
    )
    assert (tmp_path / '1.png').read_bytes() == (tmp_path / '2.png').read_bytes()


# ------------------------------------------------------------------------------------------------
# Samples.


def test_choice_without_classes_is_random_ordered_and_fixed():
    chosen = choose_samples([None] * 100, 10, seed=0)
    assert chosen == sorted(np.random.RandomState(0).permutation(100)[:10].tolist()) and chosen != list(
        range(10)
    )
    assert chosen != choose_samples([None] * 100, 10, seed=1)
    assert choose_samples([None] * 3, 10, seed=0) == [0, 1, 2]
    assert len(choose_samples([[0.5, 1]] * 20, 6, seed=0)) == 6


def test_choice_with_classes_is_ordered_by_class_and_even():
    labels = [7, 3] * 30 + [5]
    chosen = choose_samples(labels, 8, seed=0)
    assert [labels[index] for index in chosen] == [
        3,
        3,
        3,
        5,
        7,
        7,
    ]  # of three 5 that cells 3 to 5 ask for, one exists
    assert len(set(chosen)) == 6
    many = choose_samples(list(range(100)), 5, seed=0)
    assert many == [0, 20, 40, 60, 80]
    unlabelled_too = choose_samples([0, 1, None], 3, seed=0)
    assert unlabelled_too == [0, 1, 2]


def test_grid_by_hand(tmp_path):
    """Class-ordered rows, captions below, smaller images centred in white; a broken image leaves no hole."""
    shapes = {'0/a.png': (8, 8, 3), '0/b.png': (4, 8, 3), '1/c.png': (8, 8), '1/d.png': None}
    pixels = {name: random_pixels(k, shape) for k, (name, shape) in enumerate(shapes.items()) if shape}
    source = write_files(
        tmp_path / 'in', {name: encode(pixels[name]) if shape else b'text' for name, shape in shapes.items()}
    )
    lines = inspect(source, f'--grid={tmp_path / "new" / "g.png"}', '--grid-size=2x2', '--seed=3', status=1)
    assert line(lines, 'Samples') == f'3 in {tmp_path / "new" / "g.png"}'
    grid = np.asarray(PIL.Image.open(tmp_path / 'new' / 'g.png'))
    assert grid.shape == (2 * (8 + CAPTION_HEIGHT), 16, 3)
    names = [name for name in np.array(list(shapes))[choose_samples([0, 0, 1, 1], 4, 3)] if name in pixels]
    for i, name in enumerate(names):
        y, x = i // 2 * (8 + CAPTION_HEIGHT), i % 2 * 8
        cell = grid[y : y + 8, x : x + 8]
        if name == '0/b.png':
            assert (cell[:2] == 255).all() and (cell[6:] == 255).all()
            cell = cell[2:6]
        np.testing.assert_array_equal(
            cell, pixels[name] if pixels[name].ndim == 3 else np.stack([pixels[name]] * 3, axis=2)
        )
        assert grid[y + 8 : y + 8 + CAPTION_HEIGHT, x : x + 8].min() < 100  # a class number is written


def test_large_samples_are_made_smaller_and_unlabelled_ones_have_no_caption(tmp_path):
    source = write_files(tmp_path / 'in', {'a.png': encode(random_pixels(0, (300, 150, 3)))})
    inspect(source, f'--grid={tmp_path / "g.png"}')
    assert PIL.Image.open(tmp_path / 'g.png').size == (8 * 128, 128)


def test_grid_of_nothing_readable(tmp_path):
    source = write_files(tmp_path / 'in', {'a.png': b'text'})
    lines = inspect(source, f'--grid={tmp_path / "g.png"}', status=1)
    assert line(lines, 'Samples').startswith('0, so nothing is written') and not (tmp_path / 'g.png').exists()
