# Copyright 2026 The GDD-1S authors.
# SPDX-License-Identifier: Apache-2.0
"""Tests of network_arguments.py: what constructors may be called with."""

import math

import pytest

from training import networks
from training.snapshots.network_arguments import check_arguments
from training.snapshots.pickle_records import SnapshotError, UnknownClassError

GOOD = dict(img_resolution=8, img_channels=3)


@pytest.mark.parametrize(
    'more',
    [
        {},
        dict(label_dim=0, use_fp16=True, sigma_min=0, sigma_max=math.inf, dropout=0.5),
        dict(model_type='DhariwalUNet', channel_mult=(1, 2), attn_resolutions=[]),
        dict(
            model_type='SongUNet', resample_filter=[1, 3, 3, 1], encoder_type='residual', channel_mult_noise=2
        ),
    ],
)
def test_accepted(more):
    check_arguments(networks.EDMPrecond, GOOD | more)


@pytest.mark.parametrize(
    'more, error, text',
    [
        (dict(img_resolution=2), SnapshotError, 'img_resolution=2 of EDMPrecond must be an integer in 4'),
        (dict(img_channels=True), SnapshotError, 'img_channels=True'),
        (dict(use_fp16=1), SnapshotError, 'must be True or False'),
        (dict(sigma_min=math.nan), SnapshotError, 'sigma_min=nan'),
        (dict(sigma_data=math.inf), SnapshotError, 'sigma_data=inf'),
        (dict(channel_mult=[1] * 13), SnapshotError, 'must be a list of at most 12'),
        (dict(in_channels=3), UnknownClassError, 'argument in_channels of EDMPrecond is unknown'),
        (dict(beta_d=1), UnknownClassError, 'argument beta_d of EDMPrecond is unknown'),
        (dict(model_type=3), UnknownClassError, 'model_type=3 must be one of'),
        (dict(model_type='DhariwalUNet', encoder_type='skip'), UnknownClassError, 'encoder_type'),
    ],
)
def test_refused(more, error, text):
    with pytest.raises(error, match=text):
        check_arguments(networks.EDMPrecond, GOOD | more)


def test_missing_arguments_are_named():
    with pytest.raises(SnapshotError, match='argument img_channels of EDMPrecond is missing'):
        check_arguments(networks.EDMPrecond, dict(img_resolution=8))
