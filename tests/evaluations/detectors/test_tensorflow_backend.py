# Copyright 2026 The GDD-1S authors.
# SPDX-License-Identifier: Apache-2.0

"""The TensorFlow backend: a frozen graph with random weights gives the same numbers in TensorFlow and in PyTorch.

All but the last two run where TEST_TENSORFLOW is set, as in continuous integration, and fail there without TensorFlow. test.sh
gives them a process of their own: the first import of triton (by torch's ONNX exporter) crashes a process with TensorFlow in it.
"""

import os
import sys

import numpy as np
import pytest
import torch

from evaluations.detectors import tensorflow_backend
from evaluations.detectors.inception_weights import read_inception_weights
from evaluations.detectors.registry import get_detector
from evaluations.evaluator import evaluate
from tests.support.frozen_graph import write_random_graph

needs_tensorflow = pytest.mark.skipif(
    not os.environ.get('TEST_TENSORFLOW'),
    reason='TEST_TENSORFLOW=1 sh test.sh installs TensorFlow and runs this',
)
COUNT = 6  # images in each file; Inception takes a fifth of a second for one


@pytest.fixture(scope='module')
def graph(tmp_path_factory):
    """A frozen graph, and the detectors of both backends made from it."""
    path = tmp_path_factory.mktemp('graph') / 'random.pb'
    write_random_graph(tensorflow_backend._import_tensorflow(), path)
    return (
        path,
        tensorflow_backend.load_frozen_graph('cpu', str(path)),
        get_detector('inception', 'cpu', path=str(path)),
    )


@pytest.fixture(scope='module')
def packs(tmp_path_factory):
    """Two files of smooth random images, so that features differ between images.

    The reference has statistics, too, as OpenAI's files have; of full rank, which makes FID faster here.
    """
    folder = tmp_path_factory.mktemp('packs')
    moments = dict(
        mu=np.full(2048, 0.5), sigma=np.eye(2048) / 100, mu_s=np.full(2023, 0.5), sigma_s=np.eye(2023) / 100
    )
    for name, seed, extra in (('sample', 1, {}), ('ref', 2, moments)):
        coarse = np.random.RandomState(seed).randint(0, 256, size=(COUNT, 4, 4, 3)).astype(np.uint8)
        np.savez(folder / f'{name}.npz', coarse.repeat(5, axis=1).repeat(8, axis=2), **extra)
    return folder


def relative(a, b):
    return float((a - b).norm() / b.norm())


@needs_tensorflow
def test_both_backends_give_the_same_features(graph, packs):
    path, in_tensorflow, in_torch = graph
    images = torch.from_numpy(np.load(packs / 'sample.npz')['arr_0'][:3]).permute(0, 3, 1, 2)
    expected, found = (detector.measure(images, spatial=True) for detector in (in_tensorflow, in_torch))
    assert [part.shape for part in expected] == [(3, 2048), (3, 1008), (3, 2023)]
    for a, b in zip(found, expected):
        assert relative(a, b) < 1e-5
    assert relative(found.features[[1, 2, 0]], expected.features) > 1e-3  # the images do differ
    # Wrong versions: spatial features in PyTorch's order of dimensions, logits with the bias.
    nchw = expected.spatial.reshape(3, 17, 17, 7).permute(0, 3, 1, 2).flatten(1)
    assert relative(nchw, expected.spatial) > 1e-2
    bias = read_inception_weights(path)[0]['fc.bias']
    assert relative(found.logits + bias, expected.logits) > 1e-2
    assert in_tensorflow.measure(images).spatial is None
    grey = images[:, :1]
    assert relative(in_torch.features(grey), in_tensorflow.features(grey)) < 1e-5


@needs_tensorflow
def test_both_backends_are_the_same_detector(graph):
    path, in_tensorflow, in_torch = graph
    for fact in ('name', 'sha256', 'file_sha256', 'feature_dim', 'num_classes', 'spatial_dim'):
        assert getattr(in_tensorflow, fact) == getattr(in_torch, fact)
    assert in_tensorflow.name != 'inception'  # random weights must not be reported as Inception's


@needs_tensorflow
def test_both_backends_give_the_same_numbers(graph, packs, capsys, monkeypatch):
    detectors = {'tensorflow': graph[1], 'torch': graph[2]}
    monkeypatch.setattr(
        'evaluations.evaluator.load_detector', lambda backend, device, path: detectors[backend]
    )
    results = {
        backend: evaluate(str(packs / 'sample.npz'), str(packs / 'ref.npz'), backend=backend, batch=4)[
            'results'
        ]
        for backend in detectors
    }
    expected, found = results['tensorflow'], results['torch']
    assert list(found) == ['is', 'fid', 'sfid', 'precision', 'recall']
    for kind in ('is', 'fid', 'sfid'):
        assert found[kind]['value'] == pytest.approx(expected[kind]['value'], rel=1e-4)
        assert expected[kind]['value'] > 0.1
    for kind in ('precision', 'recall'):
        assert found[kind]['value'] == expected[kind]['value']
    assert 0 < expected['precision']['value'] and 0 < expected['recall']['value']
    lines = capsys.readouterr().out.splitlines()
    assert sum(line.startswith('Inception Score: ') for line in lines) == 2


@needs_tensorflow
def test_command_line_loads_the_graph(graph, packs, capsys):
    path, in_tensorflow, _in_torch = graph
    content = evaluate(str(packs / 'sample.npz'), 'none', backend='tensorflow', detector_path=str(path))
    assert 'warming up TensorFlow...' in capsys.readouterr().out
    assert (content['backend'], content['detector_sha256']) == ('tensorflow', in_tensorflow.sha256)
    assert list(content['results']) == ['is']


@needs_tensorflow
def test_other_files_are_refused(tmp_path):
    with pytest.raises(ValueError, match='does not hold the Inception-2015 weights'):
        (tmp_path / 'other.pb').write_bytes(b'no graph at all')
        tensorflow_backend.load_frozen_graph('cpu', str(tmp_path / 'other.pb'))
    with pytest.raises(ValueError, match='absent.pb cannot be read'):
        tensorflow_backend.load_frozen_graph('cpu', str(tmp_path / 'absent.pb'))


def test_search_for_the_graph(tmp_path, monkeypatch):
    monkeypatch.setattr(
        tensorflow_backend, 'open_url', lambda url, **_: (_ for _ in ()).throw(ValueError('no network'))
    )
    with pytest.raises(
        ValueError, match='classify_image_graph_def.pb, which is not in .*fetch it from https://.*no network'
    ):
        tensorflow_backend.find_graph(str(tmp_path))
    assert tensorflow_backend.find_graph('some.pb') == 'some.pb'
    monkeypatch.undo()
    (tmp_path / 'classify_image_graph_def.pb').write_bytes(b'not the published one')
    with pytest.raises(ValueError, match='has SHA-256'):
        tensorflow_backend.find_graph(str(tmp_path))


def test_absence_of_tensorflow_is_explained(monkeypatch):
    monkeypatch.setitem(sys.modules, 'tensorflow', None)
    with pytest.raises(
        ValueError, match='pip install -r requirements/tensorflow.txt, or use --backend=torch'
    ):
        tensorflow_backend.load_frozen_graph('cpu', 'any.pb')
