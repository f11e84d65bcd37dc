# Copyright 2026 The GDD-1S authors.
# SPDX-License-Identifier: Apache-2.0
"""Tests of reports/model_card.py."""

import ast
import dataclasses
import json
import re
import shlex

import pytest
import yaml

from dnnlib.errors import ArgumentError
from reports.measurements import Measurement
from reports.model_card import find_measurements, render_card
from tests.support.written_runs import metric_line, write_lines

CONFIG = dict(
    class_name='GDDPrecond',
    init_kwargs=dict(model_type='SongUNet'),
    key='ema',
    levels=[80.0],
    function='generator',
    img_resolution=32,
    img_channels=3,
    label_dim=10,
    dataset_kwargs=dict(path='digits: "x".zip'),
    metadata=dict(nimg=5000000, batch_size=256, loss='gdd'),
    source=dict(file='net.pkl', sha256='abc'),
)
RESULT = Measurement('fid50k', 1.54, network='net.pkl', seeds='0-49999', ref='r.npz', detector='inception')


def metadata_of(card):
    """Return what stands between the first two lines of dashes, read as YAML."""
    assert card.startswith('---\n')
    return yaml.safe_load(card.split('---\n')[1])


def test_metadata_for_model_hubs():
    card = render_card('my: net', CONFIG, [RESULT], pipeline=True, samples=16)
    data = metadata_of(card)
    assert (data['library_name'], data['pipeline_tag']) == ('diffusers', 'unconditional-image-generation')
    (model,) = data['model-index']
    (result,) = model['results']
    assert model['name'] == 'my: net' and result['dataset']['name'] == 'digits: "x"'
    assert result['metrics'] == [dict(type='fid50k', value=1.54)]
    assert 'license' not in data  # nobody has stated one


def test_text_of_a_pipeline():
    card = render_card('folder', CONFIG, [RESULT], pipeline=True, samples=16)
    for expected in (
        'RGB images of 32x32 pixels of 10 classes', 'one network evaluation per image', '(samples.png)',
        "from_pretrained('folder', trust_remote_code=True)", 'class_labels=3', '| images seen | 5,000,000 |',
        '| fid50k | 1.54 | net.pkl | 0-49999 | r.npz | inception | not recorded |', 'Seeds 0 to 15',
    ):  # fmt: skip
        assert expected in card, expected
    assert '\n\n\n' not in card and '{{' not in card and '{%' not in card


@pytest.mark.parametrize('pipeline', [True, False])
def test_the_class_of_the_example_exists(pipeline):
    card = render_card('folder', dict(CONFIG, label_dim=3), [], pipeline=pipeline)
    assert 'labels=2)' in card and 'labels=3' not in card


def test_text_of_a_file_without_numbers():
    config = dict(CONFIG, label_dim=0, img_channels=1, levels=[80.0, 0.8], metadata={})
    card = render_card('a.b.safetensors', config, [], pipeline=False)
    assert 'library_name' not in metadata_of(card) and 'model-index' not in metadata_of(card)
    for expected in ("load_generator('a.b.safetensors')", '# a.b\n', '2 network evaluations', '80, 0.8',
                     'None were found', '--network=net.pkl'):  # fmt: skip
        assert expected in card, expected
    for absent in ('diffusers', 'labels=3', 'samples.png', 'images seen'):
        assert absent not in card


def test_names_are_text_wherever_they_stand():
    """In tables, in Python and in commands; Markdown would pass HTML on, and a bar would end a cell."""
    odd = "a'b|<script>alert(1)</script>.safetensors"
    config = dict(CONFIG, source=dict(file=odd, sha256='abc'), dataset_kwargs=dict(path=odd))
    results = [dataclasses.replace(RESULT, name=odd, network=odd, ref=odd, detector=odd, overlap=odd)]
    card = render_card(odd, config, [], pipeline=False)
    assert ast.literal_eval(re.search(r'load_generator\((.*)\)', card)[1]) == odd
    assert shlex.split(re.search(r'python fid.py gen (.*) --ref', card)[1]) == [f'--network={odd}']
    card = render_card(odd, config, results, pipeline=True, samples=1)
    assert ast.literal_eval(re.search(r'from_pretrained\((.*), trust', card)[1]) == odd
    texts = [line for line in card.split('---\n', 2)[2].split('\n') if not line.startswith('    ')]
    assert '<script' not in '\n'.join(texts)
    (row,) = [line for line in texts if '| 0-49999 |' in line]
    assert len(re.findall(r'(?<!\\)\|', row)) == 8


def test_a_teacher_is_no_generator():
    card = render_card('t.safetensors', dict(CONFIG, function='denoiser', levels=[]), [], pipeline=False)
    assert 'A diffusion model (EDM) of RGB images' in card and 'noise levels' not in card


@pytest.fixture
def network(tmp_path):
    """Path of a snapshot that was measured during training, after 2 kimg, and kept as the best."""
    lines = [metric_line(k, 10.0 - k) for k in (1, 2)]
    write_lines(f'{tmp_path}/metric-fd200.jsonl', lines)
    (tmp_path / 'best-fd200.json').write_text(json.dumps(dict(lines[1], file='best-fd200.pkl')))
    return str(tmp_path / 'network-snapshot-000002.pkl')


def write_report(path, sha256, key='ema', value=5.0):
    results = [dict(metric='fid50k', value=value, ref='r.npz')]
    path.write_text(json.dumps(dict(network='x.pkl', network_sha256=sha256, key=key, results=results)))
    return str(path)


def test_numbers_of_the_network_and_of_no_other(network, tmp_path):
    assert [item.value for item in find_measurements(network, 'abc', 'ema')] == [8.0]
    assert [item.value for item in find_measurements(str(tmp_path / 'best-fd200.pkl'), 'abc', 'ema')] == [8.0]
    assert find_measurements(network, 'abc', 'net') == []  # the average was measured, not the raw weights
    assert find_measurements(str(tmp_path / 'other.pkl'), 'abc', 'ema') == []
    write_report(tmp_path / 'a.json', 'abc')
    write_report(tmp_path / 'b.json', 'def', value=6.0)
    write_report(tmp_path / 'c.json', 'abc', key='net', value=7.0)
    assert [item.value for item in find_measurements(network, 'abc', 'ema')] == [5.0, 8.0]
    assert [item.value for item in find_measurements(network, 'abc', 'net')] == [7.0]
    assert find_measurements('https://host.example/net.pkl', 'abc', 'ema') == []


def test_reports_that_a_user_names(network, tmp_path):
    folder = tmp_path / 'elsewhere'
    folder.mkdir()
    good = write_report(folder / 'good.json', 'abc')
    assert [item.value for item in find_measurements(network, 'abc', 'ema', [good])] == [8.0, 5.0]
    assert len(find_measurements(network, 'abc', 'ema', [good, good])) == 2
    for path, message in (
        (write_report(folder / 'other.json', 'def'), 'is not about ema of'),
        (write_report(folder / 'raw.json', 'abc', key='net'), 'is not about ema of'),
        (str(folder / 'none.json'), 'holds no results'),
    ):
        with pytest.raises(ArgumentError, match=message):
            find_measurements(network, 'abc', 'ema', [path])
