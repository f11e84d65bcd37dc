# Copyright 2026 The GDD-1S authors.
# SPDX-License-Identifier: Apache-2.0
"""Run every file of examples/ as its readers do, in tiny form."""

import importlib
import re

import PIL.Image
import pytest

from tests.support import ROOT, tiny_exports
from tests.support.tiny_exports import ARCHITECTURES, load_pipeline, need, write_snapshot

TEACHER = str(ROOT / 'pretrained/edm-mnist-32x32-cond-ve.pkl')
REF = str(ROOT / 'datasets/mnist-32x32-train-ref-mnist-classifier.npz')
NAMES = {path.stem for path in (ROOT / 'examples').glob('*.py')}


def main(name):
    return importlib.import_module(f'examples.{name}').main


def size(path):
    with PIL.Image.open(path) as image:
        return image.size


def test_make_images(tmp_path, capsys):
    network = write_snapshot(tmp_path / 'a.pkl', **ARCHITECTURES['ncsnpp'])
    main('make_images')(network, str(tmp_path / 'a.png'))
    assert size(tmp_path / 'a.png') == (64, 64)
    first, second = capsys.readouterr().out.splitlines()
    assert first.startswith('[64, 3, 8, 8] from -') and second.endswith('class 1: [3, 3, 8, 8]')


@pytest.mark.filterwarnings('ignore:.*dominated by chance')
def test_measure_network(capsys):
    main('measure_network')(TEACHER, REF, '3')
    lines = capsys.readouterr().out.splitlines()
    value = re.match(r'frechet-mnist-classifier-3: ([\d.]+)', lines[1])[1]
    assert lines[0].startswith('class-accuracy-mnist-classifier-3: ') and f': {value}' in lines[2]


def test_load_with_diffusers(tmp_path, monkeypatch):
    need('diffusers')
    tiny_exports.run(write_snapshot(tmp_path / 'a.pkl', **ARCHITECTURES['ddpmpp']), 'diffusers')
    module = importlib.import_module('examples.load_with_diffusers')
    # As from_pretrained, but with a cache of code of its own, and without a network.
    loader = type('Loader', (), dict(from_pretrained=lambda folder, trust_remote_code: load_pipeline(folder)))
    monkeypatch.setattr(module, 'DiffusionPipeline', loader)
    module.main(str(tmp_path / 'a-diffusers'), str(tmp_path / 'a.png'))
    assert size(tmp_path / 'a.png') == (32, 16)


def test_every_example_is_run():
    with open(__file__, encoding='utf-8') as file:
        assert NAMES == set(re.findall(r"(?:main\(|module\('examples\.)'?(\w+)'\)", file.read()))
