# Copyright 2026 The GDD-1S authors.
# SPDX-License-Identifier: Apache-2.0

"""Which metrics a reference and a detector allow, and the features of reference images."""

import numpy as np
import pytest
import torch

from evaluations.comparison import Comparison, add_reference_features, require_any
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
