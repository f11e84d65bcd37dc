# Copyright 2026 The GDD-1S authors.
# SPDX-License-Identifier: Apache-2.0

"""Remarks about what makes numbers misleading."""

import numpy as np
import PIL.Image
import pytest

from evaluations.comparison import Comparison
from evaluations.inputs.image_sources import open_images
from evaluations.remarks import describe_choice, describe_images, resolution_in_name
from tests.support.toy_images import IMAGES, toy, toy_reference, write_sources


@pytest.fixture(scope='module')
def paths(tmp_path_factory):
    return write_sources(tmp_path_factory.mktemp('images'))


@pytest.mark.parametrize(
    'name, side',
    [
        ('ffhq-64x64.npz', 64),
        ('a/cifar10-32x32.npz', 32),
        ('imagenet-64x64-baseline.npz', 64),
        ('x.npz', None),
        ('64x32.npz', None),
        ('2024x2024x.npz', 2024),
    ],
)
def test_resolution_in_a_name(name, side):
    assert resolution_in_name(name) == side


def test_oddities_are_noticed(paths, tmp_path):
    def notes(path, *metrics):
        return ' '.join(describe_images(str(path), open_images(str(path))[0], metrics))

    assert [notes(path, 'is') for path in paths] == ['', '', '']
    np.savez(tmp_path / 'both.npz', arr_0=IMAGES, mu=np.zeros(2), sigma=np.eye(2))
    assert 'are these real images meant as samples?' in notes(tmp_path / 'both.npz')
    PIL.Image.fromarray(IMAGES[0]).save(tmp_path / 'a.jpg')
    PIL.Image.fromarray(IMAGES[0]).save(tmp_path / 'b.png')
    assert '1 files of' in notes(tmp_path) and 'are JPEG' in notes(tmp_path)
    many = np.zeros([5002, 1, 1, 1], dtype=np.uint8)
    np.savez(tmp_path / 'sorted.npz', arr_0=many, arr_1=np.arange(5002) // 1000)
    assert 'sorted by class' in notes(tmp_path / 'sorted.npz', 'is') and not notes(
        tmp_path / 'sorted.npz', 'fid'
    )


def test_remarks_about_comparability():
    def notes(name, num, path='ref.npz', shape=(3, 32, 32), **changes):
        return ' '.join(
            describe_choice(
                [Comparison(toy_reference(path=path), toy(name=name, **changes), ['fid'])], num, shape
            )
        )

    assert notes('toy', 50) == '' and notes('inception', 50000) == ''
    assert 'called fid10k' in notes('inception', 10000) and 'called clip-fid60k' in notes(
        'clip-vit-b-32', 60000
    )
    assert 'dominated by chance' in notes('toy', 6)
    assert 'speaks of 64x64 pixels, but the images have 32x32' in notes('toy', 50, 'ffhq-64x64.npz')
    assert (
        notes('toy', 50, 'ffhq-64x64.npz', (3, 64, 64)) == ''
        and notes('toy', 50, notes=['gamma is odd']) == 'gamma is odd'
    )
