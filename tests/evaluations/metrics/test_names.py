# Copyright 2026 The GDD-1S authors.
# SPDX-License-Identifier: Apache-2.0

"""Names of numbers, and lists of metrics."""

import pytest

from evaluations.metrics.names import metric_name, parse_metrics


@pytest.mark.parametrize(
    'detector, kind, num, name',
    [
        ('inception', 'fid', 50000, 'fid50k'),
        ('inception', 'fid', 10000, 'fid10k'),
        ('inception', 'fid', 49999, 'fid49999'),
        ('inception', 'is', 50000, 'is50k'),
        ('inception', 'sfid', 50000, 'sfid50k'),
        ('inception', 'precision', 2000, 'precision2k'),
        ('clip-vit-b-32', 'fid', 50000, 'clip-fid50k'),
        ('dinov2-vit-l-14', 'fid', 50000, 'fd-dinov2-50k'),
        ('clip-vit-b-32', 'kid', 50000, 'kid-clip-vit-b-32-50000'),
        ('mnist-classifier', 'fid', 2000, 'frechet-mnist-classifier-2000'),
        (
            'inception-0123abcd',
            'fid',
            50000,
            'frechet-inception-0123abcd-50000',
        ),  # other weights than the published ones
    ],
)
def test_names(detector, kind, num, name):
    assert metric_name(detector, kind, num) == name


def test_lists_of_metrics():
    assert parse_metrics('pr, FID') == ['pr', 'fid']
    for text, words in (
        ('fid,fd', "'fd' is not known; write some of fid,sfid,is,kid,pr,dc"),
        ('', "'' is not known"),
        ('is,is', 'twice'),
    ):
        with pytest.raises(ValueError, match=words):
            parse_metrics(text)
