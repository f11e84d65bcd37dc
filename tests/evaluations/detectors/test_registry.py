# Copyright 2026 The GDD-1S authors.
# SPDX-License-Identifier: Apache-2.0

"""Detectors: one interface, clear refusals, names and hashes, EfficientNet features against timm itself."""

import functools
import hashlib
import os
import shutil

import pytest
import torch

from evaluations.detectors import inception, vit
from evaluations.detectors import registry as detectors
from evaluations.detectors import weights as detector_weights
from evaluations.detectors.registry import (
    PRETRAINED_DIR,
    Detector,
    Measured,
    detector_names,
    find_missing,
    get_detector,
)
from evaluations.detectors.weights import PUBLISHED, PublishedFile
from tests.support.inception_files import graph_bytes, torch_state


@pytest.fixture(autouse=True)
def no_network(monkeypatch, tmp_path):
    """No download, and none of the caches of this machine."""

    def refuse(url, **_options):
        raise ValueError(f'{url} cannot be downloaded (no network)')

    monkeypatch.setattr(detector_weights, 'open_url', refuse)
    monkeypatch.setenv('HOME', str(tmp_path / 'home'))
    monkeypatch.setenv('DNNLIB_CACHE_DIR', str(tmp_path / 'cache'))
    monkeypatch.setattr(torch.hub, 'get_dir', lambda: str(tmp_path / 'hub'))


@pytest.fixture(scope='module')
def inception_files(tmp_path_factory):
    """The same random Inception weights in two formats."""
    folder = tmp_path_factory.mktemp('inception')
    state = inception.random_state(seed=0)
    torch.save(torch_state(state), folder / 'random.pth')
    (folder / 'random.pb').write_bytes(graph_bytes(state))
    return folder


def test_mnist_classifier_interface():
    detector = get_detector('mnist-classifier', 'cpu')
    x = torch.randint(0, 256, [5, 1, 32, 32], dtype=torch.uint8)
    features, logits, spatial = detector.measure(x)
    assert (detector.name, detector.feature_dim, detector.num_classes) == ('mnist-classifier', 64, 10)
    assert (
        features.shape == (5, 64)
        and logits.shape == (5, 10)
        and spatial is None
        and features.dtype == torch.float32
    )
    assert (
        detector.labels_comparable
        and detector.spatial_dim == 0
        and detector.weights_path == 'mnist-classifier.pt'
    )
    assert detector.file_sha256 == detector.sha256 and detector.notes == ()
    assert not features.requires_grad
    assert torch.equal(detector.features(x), features) and torch.equal(detector.logits(x), logits)


def test_tf32_is_off_while_a_detector_runs():
    switches = torch.backends.cudnn, torch.backends.cuda.matmul
    before, seen = [switch.allow_tf32 for switch in switches], []

    def run(images, _spatial):
        seen.extend(switch.allow_tf32 for switch in switches)
        return Measured(images.flatten(1).float())

    try:
        for switch in switches:
            switch.allow_tf32 = True
        Detector('toy', run, 12, 'ab' * 32, 'cpu').measure(torch.zeros([1, 3, 2, 2], dtype=torch.uint8))
        assert seen == [False, False] and all(switch.allow_tf32 for switch in switches)
    finally:
        for switch, value in zip(switches, before):
            switch.allow_tf32 = value


@pytest.mark.parametrize(
    'images, words',
    [
        (torch.zeros(2, 1, 32, 32), 'torch.float32'),  # -1..1 images must not pass unnoticed
        (torch.zeros(2, 32, 32, dtype=torch.uint8), 'uint8 .N, C, H, W.'),
        (torch.zeros(2, 3, 32, 32, dtype=torch.uint8), r'takes \(1, 32, 32\)'),
        (torch.zeros(2, 32, 32, 1, dtype=torch.uint8), r'shape \(32, 32, 1\)'),  # NHWC
    ],
)
def test_unsuitable_images_are_refused(images, words):
    with pytest.raises(ValueError, match=words):
        get_detector('mnist-classifier').features(images)


def test_unknown_name_and_missing_weights(tmp_path):
    with pytest.raises(
        ValueError, match='detector=inception-v9 is not known; choose one of inception, clip-vit-b-32'
    ):
        get_detector('inception-v9')
    with pytest.raises(ValueError, match='No such file'):
        get_detector('mnist-classifier', pretrained_dir=str(tmp_path))


def test_efficientnet_features_equal_those_of_timm(tmp_path):
    timm = pytest.importorskip('timm', reason='the detector tf_efficientnet_lite0 needs timm')
    assert 'tf_efficientnet_lite0' in detector_names()
    model = timm.create_model('tf_efficientnet_lite0', pretrained=False).eval()
    torch.save(model.state_dict(), tmp_path / 'tf_efficientnet_lite0.pth')
    before = torch.get_rng_state()
    detector = get_detector('tf_efficientnet_lite0', pretrained_dir=str(tmp_path))
    assert torch.equal(before, torch.get_rng_state())
    grey = torch.randint(0, 256, [2, 1, 32, 32], dtype=torch.uint8)
    features, logits, spatial = detector.measure(grey)
    assert features.shape == (2, detector.feature_dim) == (2, 320) and logits is None and spatial is None
    with torch.no_grad():
        x = torch.nn.functional.interpolate(
            grey.expand(-1, 3, -1, -1) / 127.5 - 1, size=(224, 224), mode='bilinear'
        )
        expected = model.blocks(model.bn1(model.conv_stem(x))).mean(dim=(2, 3))
    assert torch.allclose(features, expected, rtol=1e-3, atol=1e-4 * float(expected.abs().max()))
    with pytest.raises(ValueError, match='tf_efficientnet_lite0 does not classify'):
        detector.logits(grey)
    same = get_detector('tf_efficientnet_lite0', path=str(tmp_path / 'tf_efficientnet_lite0.pth'))
    assert same.name == f'tf_efficientnet_lite0-{detector.sha256[:8]}' and torch.equal(
        same.features(grey), features
    )


def test_inception_interface(inception_files):
    detector = get_detector('inception', path=str(inception_files / 'random.pth'))
    assert (detector.feature_dim, detector.num_classes, detector.spatial_dim) == (2048, 1008, 2023)
    assert (
        not detector.labels_comparable
        and 'TensorFlow 1' in detector.preprocessing
        and detector.weights_path == 'random.pth'
    )
    grey = torch.randint(
        0, 256, [2, 1, 32, 32], dtype=torch.uint8, generator=torch.Generator().manual_seed(0)
    )
    measured = detector.measure(grey, spatial=True)
    assert [tuple(part.shape) for part in measured] == [(2, 2048), (2, 1008), (2, 2023)]
    assert all(part.dtype == torch.float32 and not part.requires_grad for part in measured)
    colour = detector.measure(grey.repeat(1, 3, 1, 1))
    assert torch.allclose(colour.features, measured.features, rtol=1e-4, atol=1e-5) and colour.spatial is None
    with pytest.raises(ValueError, match='RGB images, 3 channels, or grey ones'):
        detector.measure(torch.zeros(1, 4, 32, 32, dtype=torch.uint8))


def test_unpublished_weights_are_named_after_their_hash(inception_files, monkeypatch):
    pth, pb = inception_files / 'random.pth', inception_files / 'random.pb'
    detector = get_detector('inception', path=str(pth))
    assert detector.name == f'inception-{detector.sha256[:8]}'
    assert (
        detector.file_sha256 == hashlib.sha256(pth.read_bytes()).hexdigest()
        and detector.file_sha256 in detector.notes[0]
    )
    other_format = get_detector(detector.name, path=str(pb))  # asked for by the name that was reported
    assert (other_format.name, other_format.sha256) == (detector.name, detector.sha256)
    assert other_format.file_sha256 != detector.file_sha256
    with pytest.raises(
        ValueError, match='inception-01234567 asks for weights whose hash starts with 01234567.*detector_path'
    ):
        get_detector('inception-01234567', path=str(pth))
    monkeypatch.setitem(
        PUBLISHED, 'inception', (PublishedFile('x.pth', 'https://x.example', detector.file_sha256),)
    )
    published = get_detector('inception', path=str(pth))
    assert published.name == 'inception' and published.notes == ()


def test_detectors_without_spatial_features_refuse_them():
    with pytest.raises(ValueError, match='mnist-classifier has no spatial features; inception does'):
        get_detector('mnist-classifier').measure(torch.zeros(1, 1, 32, 32, dtype=torch.uint8), spatial=True)


def test_another_mnist_classifier_is_named_after_its_hash(tmp_path):
    own = os.path.join(PRETRAINED_DIR, 'mnist-classifier.pt')
    content = torch.load(own, weights_only=True)
    torch.save({**content, 'facts': {}}, tmp_path / 'mine.pt')
    shutil.copy(own, tmp_path / 'copy.pt')
    detector = get_detector('mnist-classifier', path=str(tmp_path / 'mine.pt'))
    assert detector.name == f'mnist-classifier-{detector.sha256[:8]}'
    assert get_detector('mnist-classifier', path=str(tmp_path / 'copy.pt')).name == 'mnist-classifier'


@pytest.mark.parametrize('name', ['clip-vit-b-32', 'clip-vit-l-14-336', 'dinov2-vit-l-14'])
def test_transformers_as_detectors(name, tmp_path, monkeypatch):
    pytest.importorskip('timm', reason='pip install timm')
    small = dict(embed_dim=64, depth=1, num_heads=2)
    create = 'create_dinov2' if name == 'dinov2-vit-l-14' else 'create_clip'
    which = [] if name == 'dinov2-vit-l-14' else [name]
    build = functools.partial(getattr(vit, create), *which)
    monkeypatch.setattr(vit, create, lambda *given: build(**small) if [*given] == which else None)
    monkeypatch.setattr(vit, 'DINOV2_DIM', 64)
    state = {name: torch.randn_like(tensor) * 0.1 for name, tensor in build(**small).state_dict().items()}
    torch.save(state, tmp_path / 'mine.pth')
    before = torch.get_rng_state()
    detector = get_detector(name, path=str(tmp_path / 'mine.pth'))
    assert torch.equal(before, torch.get_rng_state())
    assert detector.name == f'{name}-{detector.sha256[:8]}' and detector.file_sha256 in detector.notes[0]
    measured = detector.measure(torch.randint(0, 256, [2, 1, 32, 40], dtype=torch.uint8))
    assert (
        measured.features.shape == (2, detector.feature_dim)
        and measured.logits is None
        and measured.spatial is None
    )
    assert bool(torch.isfinite(measured.features).all()) and 'bicubic' in detector.preprocessing


def test_missing_weights_are_listed_before_any_work(tmp_path, inception_files):
    names = ['inception', 'clip-vit-b-32', 'dinov2-vit-l-14', 'mnist-classifier']
    messages = [str(error) for error in find_missing(names, pretrained_dir=str(tmp_path))]
    assert [message.split(':')[0] for message in messages] == [f'detector {name}' for name in names]
    for message, name in zip(messages, names[:3]):
        assert (
            PUBLISHED[name][0].url in message
            and PUBLISHED[name][0].name in message
            and f'into {tmp_path}' in message
        )
        assert '\n' not in message
    assert find_missing(['mnist-classifier']) == []
    assert find_missing(['inception'], path=str(inception_files / 'random.pth')) == []
    assert find_missing(['inception-01234567'], path=str(inception_files / 'random.pth')) == []
    (error,) = find_missing(['inception', 'clip-vit-b-32'], path=str(inception_files / 'random.pth'))
    assert 'is one file, but the weights of 2 detectors are needed' in str(error)
    shutil.copy(os.path.join(PRETRAINED_DIR, 'mnist-classifier.pt'), tmp_path)
    assert find_missing(['mnist-classifier'], path=str(tmp_path), pretrained_dir='nowhere') == []
    assert (
        get_detector('mnist-classifier', path=str(tmp_path), pretrained_dir='nowhere').name
        == 'mnist-classifier'
    )


def test_names():
    assert detector_names() == [
        'inception',
        'clip-vit-b-32',
        'clip-vit-l-14-336',
        'dinov2-vit-l-14',
        'tf_efficientnet_lite0',
        'tf_efficientnet_lite1',
        'tf_efficientnet_lite2',
        'random-conv',
        'mnist-classifier',
    ]
    assert detectors._base_name('clip-vit-b-32') == 'clip-vit-b-32'
    assert detectors._base_name('tf_efficientnet_lite0-0123abcd') == 'tf_efficientnet_lite0'
