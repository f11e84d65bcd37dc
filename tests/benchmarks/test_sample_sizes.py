# Copyright 2026 The GDD-1S authors.
# SPDX-License-Identifier: Apache-2.0
"""Value against number of images (benchmarks/sample_sizes.py), from the command line and by hand."""

import json

import numpy as np
import pytest
from click.testing import CliRunner

from benchmarks import sample_sizes
from benchmarks.sample_sizes import measure_sizes
from evaluations.inputs.reference import Reference, save_reference
from evaluations.metrics.sliced_wasserstein import mind


def reference(**more):
    features = np.random.RandomState(0).randn(300, 4).astype(np.float32)
    return Reference(np.zeros(4), np.eye(4), features=features, image_shape=(1, 32, 32), **more)


def test_curves():
    samples = np.random.RandomState(1).randn(200, 4)
    found = measure_sizes(samples, reference())
    assert [size for size, _, _ in found['frechet']] == [20, 40, 80, 120, 160, 200]
    assert found['mind'][-1][1:] == (pytest.approx(mind(samples, reference().features), rel=0.2), 0)
    means = {name: [mean for _, mean, _ in curve] for name, curve in found.items()}
    # Fewer images raise the Frechet distance, and less so its extrapolation.
    assert means['frechet'][0] > 3 * means['frechet'][-1]
    assert abs(means['frechet-inf'][0]) < means['frechet'][0]


def test_command(tmp_path, monkeypatch):
    pytest.importorskip('matplotlib')
    rng = np.random.RandomState(2)
    save_reference(tmp_path / 'ref.npz', reference(heldout_features=rng.randn(60, 4).astype(np.float32)))
    monkeypatch.setattr(sample_sizes, 'sample_features', lambda *_: rng.randn(60, 4) + 1)
    options = [f'--ref={tmp_path}/ref.npz', '--network=x.pkl', f'--outdir={tmp_path}/out']
    result = CliRunner().invoke(sample_sizes.main, options)
    assert result.exit_code == 0, result.output
    curves = json.loads((tmp_path / 'out' / 'sizes.json').read_text())
    assert curves['generated']['sw'][-1][1] > curves['real']['sw'][-1][1]
    assert (tmp_path / 'out' / 'sizes.png').is_file() and 'frechet      real' in result.output
    save_reference(tmp_path / 'ref.npz', reference())
    result = CliRunner().invoke(sample_sizes.main, options)
    assert result.exit_code != 0 and 'fid.py ref --split --features=10000' in result.output
