# Copyright 2026 The GDD-1S authors.
# SPDX-License-Identifier: Apache-2.0
"""Tests of reports/measurements.py."""

import json

import pytest

from reports.measurements import Measurement, describe_overlap, read_measurements, read_report
from tests.support.written_runs import NAME, metric_line, write_lines


def write_report(path, **changes):
    """Write what `fid.py gen --json` writes, as far as it is read."""
    result = dict(metric='fid50k', value=1.5, seeds='0-49999', detector='inception', ref='a/cifar10.npz')
    content = dict(network='net.pkl', network_sha256='ab', key='net', sampler='edm', results=[result])
    path.write_text(json.dumps({**content, **changes}))
    return str(path)


def test_numbers_of_training(tmp_path):
    lines = [metric_line(3, 7.0, overlap='backbone'), metric_line(1, 9.0)]
    write_lines(f'{tmp_path}/metric-fd200.jsonl', lines, cut=True)
    first, second = read_measurements(str(tmp_path))
    assert (first.name, first.value, first.kimg, first.overlap) == (NAME, 9.0, 1, None)
    assert second == Measurement(
        NAME,
        7.0,
        kimg=3,
        network='network-snapshot-000003.pkl',
        seeds='0-199',
        sampler='one_step',
        detector='mnist-classifier',
        ref='ref.npz',
        overlap='backbone',
    )


def test_report_of_fid(tmp_path):
    (item,) = read_report(write_report(tmp_path / 'a.json'))
    assert (item.name, item.value, item.network, item.sha256) == ('fid50k', 1.5, 'net.pkl', 'ab')
    assert (item.key, item.sampler, item.seeds, item.ref) == ('net', 'edm', '0-49999', 'cifar10.npz')
    (item,) = read_report(write_report(tmp_path / 'a.json', overlap={'detector': False}))
    assert item.overlap_text == 'detector: none'
    pairs = [dict(detector='inception', ref=ref, overlap=ref) for ref in ('b.npz', 'a/cifar10.npz')]
    (item,) = read_report(write_report(tmp_path / 'a.json', comparisons=pairs))
    assert item.overlap == 'a/cifar10.npz'


def test_other_json_holds_no_numbers(tmp_path):
    for text in ('{"results": 3}', '[]', '{', '{"results": [{"metric": "fid50k"}, {"value": 1}, 5]}'):
        (tmp_path / 'a.json').write_text(text)
        assert read_report(str(tmp_path / 'a.json')) == []
    assert read_report(str(tmp_path / 'none.json')) == []


def test_distances_come_first(tmp_path):
    for name, kind in (('a', 'class-accuracy-x-5'), ('b', 'frechet-x-5')):
        write_lines(f'{tmp_path}/metric-{name}.jsonl', [dict(metric_line(1, 0.5), name=kind)])
    write_report(tmp_path / 'c.json')
    assert [m.name for m in read_measurements(str(tmp_path))] == [
        'fid50k',
        'frechet-x-5',
        'class-accuracy-x-5',
    ]


def test_values_as_text():
    assert Measurement('class-accuracy-x-200', 0.815).text == '81.50 %'
    assert Measurement('fid50k', 1.23456).text == '1.235'


@pytest.mark.parametrize(
    'overlap, text',
    [(True, 'yes'), (False, 'none'), ([], 'none'), (['a', 'b'], 'a, b'), ('x', 'x'), ({'a': ['b']}, 'a: b')],
)
def test_overlap_in_words(overlap, text):
    assert describe_overlap(overlap) == text
    assert Measurement('a', 1.0).overlap_text == 'not recorded'
