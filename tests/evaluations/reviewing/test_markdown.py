# Copyright 2026 The GDD-1S authors.
# SPDX-License-Identifier: Apache-2.0
"""The table for a paper: one row per number, with encoder and overlap."""

from evaluations.reviewing.markdown import format_results


def test_table():
    common = dict(detector='inception', ref='a.npz')
    results = [
        dict(metric='fid50k', value=1.97321, **common),
        dict(metric='kid50k', value=0.001234567, std=0.0001, **common),
        dict(metric='authpct50k', value=0.4512, floor=0.47, **common),
        dict(metric='fdr2-50k', value=1.5, detector='inception, random-conv', ref='a.npz, b.npz'),
    ]
    table = format_results(results, {'inception': 'seen', 'random-conv': 'independent'}).splitlines()
    assert table == [
        '| metric and images | value | held-out images | encoder | overlap with training | reference |',
        '| --- | ---: | ---: | --- | --- | --- |',
        '| fid50k | 1.973 | - | inception | seen | a.npz |',
        '| kid50k | 0.001235 ± 0.0001 | - | inception | seen | a.npz |',
        '| authpct50k | 45.12 % | 47.00 % | inception | seen | a.npz |',
        '| fdr2-50k | 1.5 | - | inception, random-conv | seen, independent | a.npz, b.npz |',
    ]
