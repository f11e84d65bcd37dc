# Copyright 2026 The GDD-1S authors.
# SPDX-License-Identifier: Apache-2.0

"""A teacher's row comes from an earlier comparison only if that measured the same thing."""

import hashlib
import json

import pytest

from dnnlib.errors import ArgumentError
from evaluations.inputs.stored_measurement import CONDITIONS, stored_path, stored_row
from tests.support import ROOT

FACTS = dict(
    metric='frechet-x-4', seeds=[0, 3], steps=18, teacher_sha256='a', detector_sha256='b', ref_sha256='c'
)
ROW = dict(name='teacher', frechet=0.25, accuracy=0.5, images_per_sec=7.0, nfe=35, num_images=4)


@pytest.fixture
def teacher(tmp_path):
    content = dict(FACTS, command='python -m something', rows=[ROW])
    (tmp_path / 'net.comparison.json').write_text(json.dumps(content))
    return str(tmp_path / 'net.pkl')


def test_the_same_conditions_give_the_row_without_its_speed(teacher):
    row, command = stored_row(teacher, dict(FACTS, batch=7), 'teacher')
    assert row == dict(ROW, name='teacher (stored)', images_per_sec=None)
    assert command == 'python -m something'


@pytest.mark.parametrize('name', CONDITIONS)
def test_another_condition_gives_nothing(name, teacher):
    assert stored_row(teacher, dict(FACTS, **{name: 'other'}), 'teacher') is None


def test_nothing_stored(teacher, tmp_path):
    assert stored_row(str(tmp_path / 'other.pkl'), FACTS, 'teacher') is None
    assert stored_row(teacher, FACTS, 'student') is None


@pytest.mark.parametrize('text', ['{', '{}', '[]', '{"metric": "frechet-x-4"}'])
def test_a_damaged_file_is_named_with_the_way_out(text, teacher):
    with open(stored_path(teacher), 'w') as file:
        file.write(text)
    with pytest.raises(ArgumentError, match=r'net.comparison.json: not a stored .*remeasure=True'):
        stored_row(teacher, FACTS, 'teacher')


def test_the_file_of_the_repository_is_about_the_files_of_the_repository():
    """A changed teacher, detector or reference would make the closing table of the demo stale."""
    content = json.loads((ROOT / 'pretrained' / 'edm-mnist-32x32-cond-ve.comparison.json').read_text())
    for key, name in (
        ('teacher_sha256', 'pretrained/edm-mnist-32x32-cond-ve.pkl'),
        ('detector_sha256', 'pretrained/mnist-classifier.pt'),
        ('ref_sha256', 'datasets/mnist-32x32-train-ref-mnist-classifier.npz'),
    ):
        assert content[key] == hashlib.sha256((ROOT / name).read_bytes()).hexdigest(), name
    assert (content['metric'], content['seeds'], content['steps']) == (
        'frechet-mnist-classifier-2000',
        [0, 1999],
        18,
    )
    first = content['rows'][0]
    assert first['name'] == 'teacher, 18 steps' and round(first['frechet'], 3) == 0.228
    assert '--remeasure' in content['command'] and content['student'] is None
