# Copyright 2026 The GDD-1S authors.
# SPDX-License-Identifier: Apache-2.0
"""Tests of what a folder is taken for: classes, stray images, parts of a data set."""

import pytest

from tests.support.conversions import invoke, notes, run, run_error
from tests.support.image_files import colour, write_files
from training.dataset import ImageFolderDataset
from training.images.files import DatasetError
from training.images.sources import open_source


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


@pytest.mark.parametrize(
    'empty, said', [(['dog', 'eel/young'], 'dog, eel'), ([], ''), (['cat/young'], ''), (['.git'], '')]
)
def test_folders_without_images_are_named(tmp_path, empty, said):
    source = write_files(tmp_path / 'in', {'cat/0.png': colour(1), 'fox/0.png': colour(2)})
    for name in empty:
        (source / name).mkdir(parents=True)
    converted = notes(run(f'--source={source}', f'--dest={tmp_path / "o.zip"}'))
    inspected = invoke('inspect', f'--source={source}').output.splitlines()
    for lines in (converted, inspected):
        found = [line for line in lines if 'no class, since' in line]
        assert len(found) == bool(said) and said in ''.join(found)


def test_sources_that_are_opened_all_the_same(tmp_path):
    """inspect reports what convert refuses."""
    source = write_files(tmp_path / 'in', {'cat/0.png': colour(1), '1.png': colour(2)})
    with pytest.raises(DatasetError, match='beside the folders'):
        open_source(source)
    opened = open_source(source, strict=False)
    assert opened.labels == [None, None] and 'beside the folders' in str(opened.label_error)
    assert opened.names == ('1.png', 'cat/0.png') and len(list(opened.items)) == 2
