# Copyright 2026 The GDD-1S authors.
# SPDX-License-Identifier: Apache-2.0
"""Tests of what counts as a file of a data set, and of reading it: services, links, pipes, sizes, JSON."""

import json
import os
import socket
import subprocess
import sys
import zipfile

import pytest

from tests.support import ROOT
from tests.support.conversions import run, run_error, stored_json
from tests.support.image_files import colour, write_files
from training.dataset import ImageFolderDataset
from training.images import files
from training.images.files import DatasetError, FileTree, examples, normal_name, service_part

UNIX = pytest.mark.skipif(sys.platform == 'win32', reason='links and pipes of Unix')


# ------------------------------------------------------------------------------------------------
# Names.


@pytest.mark.parametrize(
    'name, part',
    [
        ('cat/0.png', None),
        ('.ipynb_checkpoints/0.png', '.ipynb_checkpoints'),
        ('cat/.ipynb_checkpoints/x/0.png', 'cat/.ipynb_checkpoints'),
        ('__MACOSX/cat/._0.png', '__MACOSX'),
        ('cat/._0.png', 'cat/._0.png'),
        ('cat\\._0.png', 'cat/._0.png'),
        ('@eaDir/0.png/SYNOFILE_THUMB_M.png', '@eaDir'),
        ('a/Thumbs.db', 'a/Thumbs.db'),
        ('$RECYCLE.BIN/1.png', '$RECYCLE.BIN'),
        ('lost+found/1.png', 'lost+found'),
        ('./cat/0.png', None),
        ('a..b/x..y.png', None),
        ('thumbs/0.png', None),  # may well be a class
        ('_train/0.png', None),
    ],
)
def test_parts_of_services(name, part):
    assert service_part(name) == part


def test_only_certain_spellings_of_a_name_are_the_same():
    for name in ('./a/x.png', '././a/x.png', 'a//x.png', 'a\\x.png', '.\\a\\x.png', 'b/../a/x.png'):
        assert normal_name(name) == 'a/x.png'
    for name in ('/a/x.png', '../a/x.png', 'A/x.png', 'x.png', 'a/x.PNG', ''):
        assert normal_name(name) == name


def test_examples():
    assert examples('abc') == 'a, b, c' and examples('abcdefg') == 'a, b, c, d, e, and 2 more'


# ------------------------------------------------------------------------------------------------
# Listing.


@pytest.mark.parametrize('target', ['in', 'in.zip'])
def test_services_are_left_out_everywhere_and_named(tmp_path, target):
    junk = ['.git/x.png', '__MACOSX/cat/._0.png', 'cat/.thumbnails/0.png', 'dog/._1.png', '@eaDir/1.png']
    names = ['cat/0.png', 'dog/1.png', 'notes.txt']
    tree = FileTree(write_files(tmp_path / target, {name: colour(1) for name in names + junk}))
    assert tree.names == sorted(names)
    assert tree.left_out == ['.git', '@eaDir', '__MACOSX', 'cat/.thumbnails', 'dog/._1.png']
    dataset = ImageFolderDataset(tree.path)
    assert len(dataset) == 2 and len(dataset.remarks) == 1 and '__MACOSX' in dataset.remarks[0]


def test_folder_that_only_services_fill(tmp_path):
    source = write_files(tmp_path / 'in', {'.cache/0.png': colour(1)})
    for message in (
        run_error(f'--source={source}', f'--dest={tmp_path / "o.zip"}'),
        str(pytest.raises(DatasetError, ImageFolderDataset, source).value),
    ):
        assert 'contains no images' in message and '.cache' in message
    # The folder that was asked for may be called anything.
    assert FileTree(source / '.cache').names == ['0.png']


@UNIX
def test_unreadable_folders_of_services_do_not_matter(tmp_path, monkeypatch):
    source = write_files(tmp_path / 'in', {'a/0.png': colour(1), 'lost+found/x': b''})
    scandir = os.scandir

    def refuse(path):
        assert 'lost+found' not in str(path)
        return scandir(path)

    monkeypatch.setattr(os, 'scandir', refuse)
    assert FileTree(source).names == ['a/0.png']


@UNIX
def test_links_are_followed_but_not_in_circles(tmp_path):
    write_files(tmp_path / 'other', {'0.png': colour(1), 'deep/1.png': colour(2)})
    source = write_files(tmp_path / 'in', {'cat/0.png': colour(3)})
    (source / 'bird').symlink_to(tmp_path / 'other')
    (source / 'owl').symlink_to(tmp_path / 'other')  # twice the same is not a circle
    (source / 'cat' / '9.png').symlink_to(tmp_path / 'other' / '0.png')
    (source / 'cat' / 'up').symlink_to(source)
    (source / 'self').symlink_to(source / 'self')
    (tmp_path / 'other' / 'deep' / 'back').symlink_to(source / 'bird')  # leads back by way of another folder
    (source / 'gone').symlink_to(tmp_path / 'nowhere')
    tree = FileTree(source)
    linked = [f'{top}/{name}' for top in ('bird', 'owl') for name in ('0.png', 'deep/1.png')]
    assert tree.names == sorted(['cat/0.png', 'cat/9.png', 'gone', *linked])
    assert tree.loops == ['bird/deep/back', 'cat/up', 'owl/deep/back', 'self']
    assert tree.read('bird/deep/1.png') == colour(2)


# ------------------------------------------------------------------------------------------------
# What is no file.


@UNIX
@pytest.mark.parametrize('kind', ['fifo', 'socket', 'device'])
def test_pipes_sockets_and_devices_are_refused_at_once(tmp_path, monkeypatch, kind):
    monkeypatch.chdir(tmp_path)
    (tmp_path / 'in').mkdir()
    for name in (
        'x.zip',
        'x.npz',
        'cifar-10-python.tar.gz',
        'train-images-idx3-ubyte',
        'in/0.png',
        'in/dataset.json',
    ):
        if kind == 'fifo':
            os.mkfifo(name)
        elif kind == 'socket':
            socket.socket(socket.AF_UNIX).bind(name)
        else:
            os.symlink('/dev/zero', name)
    for name in ('x.zip', 'x.npz', 'cifar-10-python.tar.gz', 'train-images-idx3-ubyte'):
        message = run_error(f'--source={name}', '--dest=o.zip')
        assert message.startswith(f'--source={name} is a pipe, a device or a socket')
    with pytest.raises(DatasetError, match='path=x.zip is a pipe'):
        ImageFolderDataset('x.zip')
    with pytest.raises(DatasetError, match='file 0.png in path=in cannot be read .it is no regular file'):
        ImageFolderDataset('in')
    assert 'dataset.json in --source=in cannot be read' in run_error('--source=in', '--dest=o.zip')
    message = run_error('--source=in', '--dest=o.zip', '--labels=none')
    assert 'file 0.png in --source=in cannot be read (it is no regular file)' in message


@UNIX
def test_names_that_are_no_utf8(tmp_path):
    """They are read, numbered and stored like others; the terminal shows them with escapes."""
    folder = os.fsencode(tmp_path) + b'/caf\xe9'
    for name in (b'/b\xe9te', b'/zoo'):
        os.makedirs(folder + name)
        with open(folder + name + b'/0\xff.png', 'wb') as file:
            file.write(colour(1))
    path = os.fsdecode(folder)
    assert FileTree(path).names == ['b\udce9te/0\udcff.png', 'zoo/0\udcff.png']
    assert len(ImageFolderDataset(path)) == 2


@UNIX
@pytest.mark.processes
def test_command_line_with_names_that_are_no_utf8(tmp_path):
    folder = os.fsencode(tmp_path) + b'/caf\xe9'
    for name in (b'/b\xe9te', b'/zoo'):
        os.makedirs(folder + name)
        with open(folder + name + b'/0.png', 'wb') as file:
            file.write(colour(1))
    command = [sys.executable, str(ROOT / 'dataset_tool.py'), '--workers=1', b'--source=' + folder]
    dest = os.fsencode(tmp_path) + b'/\xff.zip'
    result = subprocess.run([*command, b'--dest=' + dest], capture_output=True, timeout=120)
    assert result.returncode == 0 and b'Traceback' not in result.stderr, result.stderr
    assert b'2 class(es)' in result.stdout and b'zoo' in result.stdout
    names = stored_json(os.fsdecode(dest))['class_names']
    assert names == ['b\udce9te', 'zoo']
    os.remove(folder + b'/zoo/0.png')
    with open(folder + b'/zoo/1\xff.png', 'wb') as file:
        file.write(b'text')
    os.remove(dest)
    result = subprocess.run([*command, b'--dest=' + dest], capture_output=True, timeout=120)
    assert result.returncode == 1 and b'Traceback' not in result.stderr
    assert b'is not a readable image' in result.stderr.splitlines()[-1]


# ------------------------------------------------------------------------------------------------
# Announced sizes.


def test_members_that_announce_more_than_they_hold(tmp_path, monkeypatch):
    monkeypatch.setattr(files, '_MEMBER_BYTES', 1000)
    monkeypatch.setattr(files.check_member_size, '__defaults__', (1000, 20))
    with zipfile.ZipFile(tmp_path / 'a.zip', 'w', zipfile.ZIP_DEFLATED) as archive:
        archive.writestr('zeros.png', bytes(1 << 20))
        archive.writestr('fine.png', colour(1))
        archive.writestr('stored.png', colour(1), zipfile.ZIP_STORED)
        archive.getinfo('stored.png').file_size = 1 << 40
    tree = FileTree(tmp_path / 'a.zip')
    assert tree.read('fine.png') == colour(1)
    with pytest.raises(
        DatasetError, match='zeros.png .*announces 1,048,576; if it is really as large, unpack'
    ):
        tree.read('zeros.png')
    with pytest.raises(DatasetError, match=r'stored.png .*announces 1,099,511,627,776\)'):
        tree.read('stored.png')


def test_dataset_json_is_bounded_by_its_archive(tmp_path, monkeypatch):
    monkeypatch.setattr(files, '_JSON_BYTES', 1000)
    with zipfile.ZipFile(tmp_path / 'a.zip', 'w', zipfile.ZIP_DEFLATED) as archive:
        archive.writestr('a.png', colour(1))
        archive.writestr('dataset.json', b'{"labels": [' + b'[],' * (1 << 18) + b'[]]}')
    with pytest.raises(DatasetError, match='dataset.json in .*announces 786,'):
        ImageFolderDataset(tmp_path / 'a.zip', use_labels=True)
    assert len(ImageFolderDataset(tmp_path / 'a.zip')) == 1


# ------------------------------------------------------------------------------------------------
# dataset.json.


@pytest.mark.parametrize('encoding', ['utf-8', 'utf-8-sig', 'utf-16', 'utf-16-le', 'utf-16-be', 'utf-32'])
def test_json_is_read_in_every_encoding_that_json_has(tmp_path, encoding):
    text = json.dumps({'labels': [['é.png', 1]]}, ensure_ascii=False)
    for target in ('in', 'in.zip'):
        path = write_files(tmp_path / target, {'é.png': colour(1), 'dataset.json': text.encode(encoding)})
        assert FileTree(path).read_label_map() == {'é.png': 1}


@pytest.mark.parametrize(
    'data', [b'\xff\xfe{', b'\xe9', b'[' * 100_000, b'{"labels": ' + b'9' * 10_000 + b'}']
)
def test_json_that_is_none(tmp_path, data):
    path = write_files(tmp_path / 'in', {'a.png': colour(1), 'dataset.json': data})
    with pytest.raises(DatasetError, match='dataset.json in .* is not JSON text'):
        FileTree(path).read_label_map()


def test_whole_numbers_are_class_numbers(tmp_path):
    labels = [['a.png', 0.0], ['b.png', 1], ['c.png', 2.0]]
    path = write_files(
        tmp_path / 'in.zip',
        {
            **{name: colour(1) for name, _label in labels},
            'dataset.json': json.dumps({'labels': labels}).encode(),
        },
    )
    mapping = FileTree(path).read_label_map()
    assert mapping == {'a.png': 0, 'b.png': 1, 'c.png': 2} and all(type(k) is int for k in mapping.values())
    assert ImageFolderDataset(path, use_labels=True).label_dim == 3


def test_label_file_of_an_archive_with_dots_before_its_names(tmp_path):
    label = json.dumps({'labels': [['a.png', 1]]}).encode()
    path = write_files(tmp_path / 'in.zip', {'./a.png': colour(1), './dataset.json': label})
    assert ImageFolderDataset(path, use_labels=True).get_details(0)[2] == 1


def test_links_that_lead_nowhere_are_said(tmp_path):
    """A class whose disk is not mounted would be lost without a word, and shift the numbers of the others."""
    write_files(tmp_path / 'in', {'cat/a.png': colour(1), 'dog/b.png': colour(2)})
    os.symlink('not mounted', tmp_path / 'in' / 'bird')
    output = run(f'--source={tmp_path / "in"}', f'--dest={tmp_path / "o.zip"}')
    assert 'Note: links that lead nowhere are left out: bird\n' in output
