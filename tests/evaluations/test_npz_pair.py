# Copyright 2026 The GDD-1S authors.
# SPDX-License-Identifier: Apache-2.0
"""Tests of evaluations/npz_pair.py: what files hold, and what can be computed of two of them.

tests/evaluations/test_evaluator.py holds the remarks and errors as the command prints them.
"""

import numpy as np
import pytest

from dnnlib.errors import ArgumentError
from evaluations.detectors.registry import Detector
from evaluations.npz_pair import Side, image_size, plan

IMAGES = np.random.RandomState(0).randint(256, size=(8, 4, 6, 3), dtype=np.uint8)
MOMENTS = dict(mu=np.zeros(5), sigma=np.eye(5))
SPATIAL = dict(mu_s=np.zeros(7), sigma_s=np.eye(7))


@pytest.fixture
def side(tmp_path):
    def make(name='REF', **arrays):
        path = tmp_path / f'{name}.npz'
        np.savez(path, **arrays)
        return Side(str(path), name)

    return make


@pytest.mark.parametrize(
    'arrays, kinds',
    [
        (dict(arr_0=IMAGES), {'is', 'fid', 'sfid', 'features'}),
        (MOMENTS, {'is', 'fid'}),
        (MOMENTS | SPATIAL, {'is', 'fid', 'sfid'}),
        (dict(arr_0=IMAGES, **MOMENTS), {'is', 'fid', 'sfid', 'features'}),
    ],
)
def test_what_can_be_computed(side, arrays, kinds):
    found, notes = plan(side('SAMPLE', arr_0=IMAGES), side(**arrays))
    assert found == kinds and notes[0].startswith(('SAMPLE and REF are the same', '8 samples; published'))


def test_without_a_reference_only_the_inception_score(side):
    assert plan(side('SAMPLE', arr_0=IMAGES), None) == ({'is'}, [])
    with pytest.raises(ArgumentError, match='needs a REF with images'):
        plan(side('SAMPLE', arr_0=IMAGES), None, ['kid'])


def test_stored_statistics_are_taken_as_they_are(side):
    one = side(arr_0=IMAGES, **MOMENTS)
    assert one.has_moments('fid') and not one.has_moments('sfid') and one.can('sfid')
    assert one.moments('fid').mu.tolist() == [0] * 5 and image_size(one) == '6x4 pixels, 3 channels'


def test_statistics_of_another_detector_are_refused(side):
    detector = Detector(
        'small', None, 6, 'ab' * 32, 'cpu', num_classes=2, spatial_dim=7, preprocessing='none'
    )
    side(**SPATIAL, mu=np.zeros(6), sigma=np.eye(6)).check(detector)
    with pytest.raises(ArgumentError, match='holds statistics of 5 features, but small gives 6 for FID'):
        side(**MOMENTS).check(detector)


def test_errors_name_the_place_on_the_command_line(tmp_path):
    with pytest.raises(ArgumentError, match=r'^SAMPLE=.*absent.npz cannot be read'):
        Side(str(tmp_path / 'absent.npz'), 'SAMPLE')
