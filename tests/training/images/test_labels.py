# Copyright 2026 The GDD-1S authors.
# SPDX-License-Identifier: Apache-2.0
"""Tests of labels that are matched to images by name, and of class numbers; nothing is guessed."""

import json
import unicodedata

import numpy as np
import pytest

from tests.support.conversions import invoke, run, run_error, stored_json, stored_labels
from tests.support.image_files import colour, write_files
from training.dataset import ImageFolderDataset
from training.images.files import DatasetError
from training.images.labels import label_array, unused_classes

WHERE = ('the file',)


def labelled(path, labels, images=('00000/a.png', '00000/b.png'), inner=''):
    files = {name: colour(k) for k, name in enumerate(images)}
    return write_files(path, {**files, f'{inner}dataset.json': json.dumps({'labels': labels}).encode()})


# ------------------------------------------------------------------------------------------------
# Names.


@pytest.mark.parametrize('target', ['in', 'in.zip'])
@pytest.mark.parametrize('spelling', ['./{}', '././{}', '{}', '.\\{}', './/{}', 'x/../{}'])
def test_certain_spellings_match(tmp_path, target, spelling):
    labels = [[spelling.format(f'00000/{name}.png'), k] for k, name in enumerate('ab')]
    source = labelled(tmp_path / target, labels)
    run(f'--source={source}', f'--dest={tmp_path / "o.zip"}')
    assert [label for _name, label in stored_labels(tmp_path / 'o.zip')] == [0, 1]
    dataset = ImageFolderDataset(source, use_labels=True)
    assert [dataset.get_details(k)[2] for k in range(2)] == [0, 1]


@pytest.mark.parametrize('target', ['in', 'in.zip'])
@pytest.mark.parametrize(
    'spelling', ['mine/00000/{}', '{}', '/00000/{}', '../00000/{}', '00000/{}.jpg', '00000/X{}']
)
def test_uncertain_spellings_are_refused_with_a_name_of_each_side(tmp_path, target, spelling):
    source = labelled(tmp_path / target, [[spelling.format(f'{name}.png'), k] for k, name in enumerate('ab')])
    message = run_error(f'--source={source}', f'--dest={tmp_path / "o.zip"}')
    assert message.startswith(f'file dataset.json in --source={source} names none of the 2 images')
    assert f'it has {spelling.format("a.png")} where they are called 00000/a.png' in message
    assert message.endswith('or give --labels=none')
    with pytest.raises(DatasetError, match='names none of the 2 images.*or train without labels'):
        ImageFolderDataset(source, use_labels=True)
    result = invoke('inspect', f'--source={source}')
    assert result.exit_code == 1 and 'Labels:       unusable: file dataset.json in --source=' in result.output
    run(f'--source={source}', f'--dest={tmp_path / "o.zip"}', '--labels=none')
    assert stored_json(tmp_path / 'o.zip') == {'labels': None}


@pytest.mark.parametrize('target', ['in', 'in.zip'])
def test_label_file_one_folder_down_is_not_passed_over(tmp_path, target):
    source = labelled(tmp_path / target, [['a.png', 1], ['b.png', 0]], ('mine/a.png', 'mine/b.png'), 'mine/')
    message = run_error(f'--source={source}', f'--dest={tmp_path / "o.zip"}')
    assert (
        f'--source={source} has its labels in mine/dataset.json' in message
        and 'give the folder mine' in message
    )
    with pytest.raises(DatasetError, match='mine/dataset.json'):
        ImageFolderDataset(source, use_labels=True)
    assert not ImageFolderDataset(source).has_labels


def test_label_files_in_classes_or_above_are_named(tmp_path):
    source = labelled(tmp_path / 'in', [], ('cat/a.png', 'dog/b.png'), 'cat/')
    output = run(f'--source={source}', f'--dest={tmp_path / "o.zip"}')
    assert 'Note: not read, since only the one at the top is: cat/dataset.json' in output
    above = labelled(tmp_path / 'up', [['00000/a.png', 1], ['00000/b.png', 0]])
    output = run(f'--source={above / "00000"}', f'--dest={tmp_path / "p.zip"}')
    assert f'labels of these images are in {above / "dataset.json"}' in output
    assert f'for them give --source={above}\n' in output


@pytest.mark.parametrize('target', ['in', 'in.zip'])
def test_images_that_only_the_labels_know_are_named(tmp_path, target):
    labels = [['00000/a.png', 1], ['00000/b.png', 0], ['00000/c.png', 0], ['__MACOSX/._a.png', 5]]
    source = labelled(tmp_path / target, labels)
    words = 'dataset.json names 1 image(s) that are not there, the first is 00000/c.png'
    assert words in run(f'--source={source}', f'--dest={tmp_path / "o.zip"}')
    assert words in invoke('inspect', f'--source={source}').output
    assert ImageFolderDataset(source, use_labels=True).remarks == [words]


@pytest.mark.parametrize('target', ['in', 'in.zip'])
@pytest.mark.parametrize('stored, named', [('NFC', 'NFD'), ('NFD', 'NFC')])
def test_the_same_letters_in_another_unicode_form_match(tmp_path, target, stored, named):
    """As after a data set has travelled through a file system that takes accents off their letters."""
    names = ['00000/caf\u00e9.png', '00000/b.png']
    labels = [[unicodedata.normalize(named, name), k] for k, name in enumerate(names)]
    source = labelled(tmp_path / target, labels, [unicodedata.normalize(stored, name) for name in names])
    output = run(f'--source={source}', f'--dest={tmp_path / "o.zip"}')
    words = 'dataset.json names 1 image(s) in another Unicode normal form (NFC, NFD), the first is 00000/caf'
    assert words in output and 'not there' not in output
    assert sorted(label for _name, label in stored_labels(tmp_path / 'o.zip')) == [0, 1]
    dataset = ImageFolderDataset(source, use_labels=True)
    assert [dataset.get_details(k)[2] for k in range(2)] == [1, 0]
    assert len(dataset.remarks) == 1 and words in dataset.remarks[0]


def test_two_images_of_the_same_letters_are_not_guessed(tmp_path):
    both = [unicodedata.normalize(form, '00000/caf\u00e9.png') for form in ('NFC', 'NFD')]
    source = labelled(tmp_path / 'in.zip', [[both[0], 0]], both)
    assert 'caf' in run_error(f'--source={source}', f'--dest={tmp_path / "o.zip"}')
    with pytest.raises(DatasetError, match='has no label for 1 of 2 images'):
        ImageFolderDataset(source, use_labels=True)


def test_nothing_is_said_where_all_is_well(tmp_path):
    source = labelled(tmp_path / 'in.zip', [['00000/a.png', 1], ['00000/b.png', 0]])
    assert 'Note' not in run(f'--source={source}', f'--dest={tmp_path / "o.zip"}')
    assert ImageFolderDataset(source, use_labels=True).remarks == []


# ------------------------------------------------------------------------------------------------
# Arrays.


def test_arrays_by_hand():
    numbers = label_array([3, 0, 1], WHERE)
    assert numbers.dtype == np.int64 and numbers.tolist() == [3, 0, 1]
    vectors = label_array([[0.5, 1], [2, -3]], WHERE)
    assert vectors.dtype == np.float32 and vectors.tolist() == [[0.5, 1], [2, -3]]


@pytest.mark.parametrize(
    'labels, offender',
    [
        ([0, 1, 'cat'], 2),
        ([0, 'cat', 1], 1),
        ([0, True], 1),
        ([0, [1]], 1),
        ([[1], 0], 1),
        ([[1, 2], [1, 2], [1]], 2),
        ([[1], [float('nan')]], 1),
        ([0.5, 1], 0),
        (['0', '1'], 0),
        ([[], []], 0),
    ],
)
def test_the_label_that_offends_is_shown(labels, offender):
    with pytest.raises(DatasetError) as caught:
        label_array(labels, WHERE, 'picture {}'.format)
    assert str(caught.value).startswith('the file must give every image a class number')
    assert str(caught.value).endswith(f'the label of picture {offender} is {labels[offender]!r}')


def test_class_numbers_with_holes(tmp_path):
    """Few unused numbers are said, absurd ones refused."""
    array = label_array([0, 7, 7, 2], WHERE)
    assert unused_classes(array) == (
        '5 of the class numbers 0 to 7 have no image, the first is 1: '
        'a network gets 8 classes; number them 0 to 2 if that is not meant'
    )
    assert unused_classes(label_array([1, 0, 2], WHERE)) is None
    assert unused_classes(label_array([[1], [2]], WHERE)) is None
    label_array([0, 21_840], WHERE)  # a selection of ImageNet-21k
    label_array(list(range(50_000)), WHERE)  # many classes, all used
    for labels in ([0, 7, 90_000], [40_000], [*range(20_000), 50_000]):
        with pytest.raises(DatasetError, match=f'number the classes 0 to {len(labels) - 1}$'):
            label_array(labels, WHERE)
    source = labelled(tmp_path / 'in.zip', [['00000/a.png', 0], ['00000/b.png', 90_000]])
    message = run_error(f'--source={source}', f'--dest={tmp_path / "o.zip"}')
    assert 'has only 2 class numbers, up to 90000: a network would get 90,001 classes' in message
    source = labelled(tmp_path / 'few.zip', [['00000/a.png', 0], ['00000/b.png', 7]])
    assert 'Note: 6 of the class numbers 0 to 7' in run(f'--source={source}', f'--dest={tmp_path / "o.zip"}')
    assert '6 of the class numbers' in ImageFolderDataset(source, use_labels=True).remarks[0]


def test_folders_of_an_archive_are_no_classes(tmp_path):
    """As in EDM; but it is said where they have names."""
    words = 'a zip archive has labels from its dataset.json only; for classes cat, dog, unpack it'
    source = write_files(tmp_path / 'in.zip', {'cat/a.png': colour(1), 'dog/b.png': colour(2)})
    assert f'Note: {words}' in run(f'--source={source}', f'--dest={tmp_path / "o.zip"}')
    source = write_files(tmp_path / 'edm.zip', {'00000/a.png': colour(1), '00001/b.png': colour(2)})
    assert 'Note' not in run(f'--source={source}', f'--dest={tmp_path / "p.zip"}')


def test_labels_that_match_in_part_name_both_sides(tmp_path):
    source = labelled(tmp_path / 'in.zip', [['00000/a.png', 1], ['00000/B.png', 0]])
    message = run_error(f'--source={source}', f'--dest={tmp_path / "o.zip"}')
    assert 'the first is 00000/b.png; it has 00000/B.png, which is no image here; add them' in message
    with pytest.raises(
        DatasetError, match='first are 00000/b.png; it has 00000/B.png, which is no image here'
    ):
        ImageFolderDataset(source, use_labels=True)
