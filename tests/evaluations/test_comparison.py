# Copyright 2026 The GDD-1S authors.
# SPDX-License-Identifier: Apache-2.0

"""Which metrics a reference and a detector allow, and the features of reference images."""

import numpy as np
import pytest
import torch

from dnnlib.errors import ArgumentError, arg, as_option
from evaluations.comparison import (
    Comparison,
    add_reference_features,
    check_fit,
    choose_detector,
    load_detectors,
    require_any,
)
from tests.support.toy_images import FEATURES, IMAGES, toy, toy_reference


def test_images_inside_a_reference_are_measured(tmp_path):
    path = str(tmp_path / 'virtual.npz')
    np.savez(path, arr_0=IMAGES[:30])
    comparison = Comparison(toy_reference(features=None, num_stored_images=30, path=path), toy(), ['pr'])
    add_reference_features([comparison], batch=7)
    assert torch.allclose(comparison.features, FEATURES[:30], atol=1e-5)


@pytest.mark.parametrize(
    'metric, changes, words',
    [
        ('is', dict(detector=toy(num_classes=0)), 'detector toy has no class scores'),
        ('sfid', dict(detector=toy(spatial_dim=0)), 'detector toy has no spatial features'),
        ('sfid', dict(reference=toy_reference(mu_s=None, sigma_s=None)), 'fid.py ref --spatial stores them'),
        ('kid', dict(reference=toy_reference(features=None)), 'fid.py ref --features=10000 stores them'),
    ],
)
def test_impossible_metrics(metric, changes, words):
    possible = Comparison(toy_reference(), toy(), [metric])
    impossible = Comparison(
        **{'reference': toy_reference(), 'detector': toy(), 'metrics': ['fid', metric], **changes}
    )
    assert impossible.metrics == ['fid']
    assert words in require_any([possible, impossible])[0]  # skipped here, computed there
    with pytest.raises(ValueError, match=words):
        require_any([impossible])


def few(count):
    return toy_reference(features=FEATURES[:count].numpy())


@pytest.mark.parametrize(
    'metric, reference, num, words',
    [
        ('pr', toy_reference(), 3, '--metrics=pr needs at least 4 images, but there are 3; measure more'),
        ('pr', few(3), 50, 'it has the features of 3 images, and at least 4 are needed'),
        ('dc', few(5), 50, 'it has the features of 5 images, and at least 6 are needed'),
        ('kid', few(1), 50, 'it has the features of 1 images, and at least 2 are needed'),
        ('dc', toy_reference(features=None, num_stored_images=5), 50, 'features of 5 images'),
    ],
)
def test_too_few_images_are_found_before_measuring(metric, reference, num, words):
    with pytest.raises(ArgumentError) as caught:
        check_fit(
            [Comparison(reference, toy(), ['fid', metric])], num, (3, 4, 4), ('images of ', arg('data'))
        )
    assert words in caught.value.spell(as_option)
    enough = Comparison(toy_reference(), toy(), ['fid', metric])
    assert check_fit([enough], 4, (3, 4, 4), ('images',)) == []


def test_detector_of_a_reference(monkeypatch):
    assert choose_detector(toy_reference(), None) == 'toy'
    assert choose_detector(toy_reference(detector=None), 'inception') == 'inception'
    edm2 = toy_reference(path='x.pkl', detector='inception')
    assert choose_detector(edm2, 'inception') == 'inception' and choose_detector(edm2, 'toy') is None
    with pytest.raises(ArgumentError) as caught:
        choose_detector(toy_reference(detector=None), None)
    assert '--ref=ref.npz does not say which detector made it; give --detector, one of inception' in (
        caught.value.spell(as_option)
    )


def test_all_missing_weights_are_reported_together(tmp_path):
    with pytest.raises(ArgumentError) as caught:
        load_detectors(['mnist-classifier', 'mnist-classifier-01234567'], str(tmp_path), torch.device('cpu'))
    lines = str(caught.value).splitlines()
    assert len(lines) == 2 and all(f'there is no file {tmp_path}' in line for line in lines)
