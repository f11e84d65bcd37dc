# Copyright 2026 The GDD-1S authors.
# SPDX-License-Identifier: Apache-2.0
"""Tests of evaluations/one_call.py, by its public name `evaluations.compute_metrics`."""

import json
import warnings

import numpy as np
import pytest
import torch
from click.testing import CliRunner

import fid
from dnnlib.errors import ArgumentError
from evaluations import compute_metrics
from tests.support import ROOT
from training import load_generator

NETWORK = str(ROOT / 'pretrained/edm-mnist-32x32-cond-ve.pkl')
REF = ROOT / 'datasets/mnist-32x32-train-ref-mnist-classifier.npz'
NAMES = {'frechet-mnist-classifier-10', 'class-accuracy-mnist-classifier-10'}
pytestmark = pytest.mark.filterwarnings('ignore:.*dominated by chance')


@pytest.fixture(scope='module')
def G():
    """The demo's teacher in one step: bad images, cheaply."""
    own = load_generator(NETWORK, device='cpu')
    plan = own.plan
    own.plan = lambda: plan(sampler='one_step')
    return own


def test_the_numbers_of_fid_gen(G, tmp_path):
    path = tmp_path / 'a.json'
    options = [f'--network={NETWORK}', f'--ref={REF}', '--seeds=3-12', '--sampler=one_step', '--batch=4']
    result = CliRunner().invoke(fid.main, ['gen', *options, f'--json={path}'])
    assert result.exit_code == 0, result.output
    expected = {entry['metric']: entry['value'] for entry in json.loads(path.read_text())['results']}
    found = compute_metrics(G, ref=REF, num=10, seed=3, batch=4)
    assert found == expected and set(found) == NAMES


def test_pixels_in_memory_and_in_files(G, tmp_path):
    pixels = G(10, dtype=torch.uint8)
    np.savez(tmp_path / 'pack.npz', arr_0=pixels.permute(0, 2, 3, 1).numpy())
    found = compute_metrics(pixels, ref=REF)
    assert set(found) == {'frechet-mnist-classifier-10'}  # nobody has told their classes
    assert compute_metrics(pixels.numpy(), ref=str(REF)) == found
    assert compute_metrics(tmp_path / 'pack.npz', ref=REF) == found
    assert set(compute_metrics(pixels, ref=REF, num=5)) == {'frechet-mnist-classifier-5'}


def test_what_misleads_is_a_warning():
    with pytest.warns(UserWarning, match='10 images are not more than the 64 features'):
        compute_metrics(torch.zeros([10, 1, 32, 32], dtype=torch.uint8), ref=REF)
    with warnings.catch_warnings():
        warnings.simplefilter('error')
        pixels = torch.zeros([65, 1, 32, 32], dtype=torch.uint8)
        assert set(compute_metrics(pixels, ref=REF)) == {'frechet-mnist-classifier-65'}


@pytest.mark.parametrize(
    'images, options, message',
    [
        (torch.zeros([3, 1, 32, 32]), {}, 'must be torch.uint8'),
        (torch.zeros([3, 32, 32], dtype=torch.uint8), {}, 'must be torch.uint8'),
        (torch.zeros([3, 1, 32, 32], dtype=torch.uint8), dict(num=4), 'num=4: there are 3 images'),
        (torch.zeros([3, 3, 32, 32], dtype=torch.uint8), {}, 'the images'),
        (torch.zeros([3, 1, 32, 32], dtype=torch.uint8), dict(metrics='fidd'), "'fidd' is not known"),
        (torch.zeros([3, 1, 32, 32], dtype=torch.uint8), dict(metrics='kid'), 'no kid against'),
        ('nowhere.zip', {}, 'nowhere.zip'),
    ],
)
def test_bad_arguments(images, options, message):
    with pytest.raises(ArgumentError, match=message):
        compute_metrics(images, ref=REF, **options)
