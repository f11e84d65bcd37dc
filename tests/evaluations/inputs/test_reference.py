# Copyright 2026 The GDD-1S authors.
# SPDX-License-Identifier: Apache-2.0

"""Reference files of ours and of EDM: what they hold, what they fit, what is refused."""

import types

import numpy as np
import pytest

from evaluations.inputs.reference import FORMAT_VERSION, Reference, load_reference, save_reference

X = np.random.RandomState(0).randn(500, 16)


def reference(**changes):
    facts = dict(
        mu=X.mean(axis=0),
        sigma=np.cov(X.T),
        num_images=500,
        image_shape=(1, 32, 32),
        detector='toy',
        detector_sha256='ab' * 32,
        dataset='digits',
        dataset_sha256='cd' * 32,
        preprocessing='x / 2',
    )
    return Reference(**{**facts, **changes})


def detector(**changes):
    return types.SimpleNamespace(
        **{**dict(name='toy', feature_dim=16, sha256='ab' * 32, preprocessing='x / 2'), **changes}
    )


def test_reference_round_trip(tmp_path):
    path = tmp_path / 'ref.npz'
    save_reference(path, reference())
    back = load_reference(path)
    assert back.path == str(path) and len(back.sha256) == 64 and not back.has_images
    for field in (
        'num_images',
        'image_shape',
        'detector',
        'detector_sha256',
        'dataset',
        'dataset_sha256',
        'preprocessing',
    ):
        assert getattr(back, field) == getattr(reference(), field)
    assert back.mu_s is None and back.features is None and back.format_version is None
    with np.load(path, allow_pickle=False) as npz:  # the names and types of EDM's files
        assert npz['mu'].dtype == npz['sigma'].dtype == np.float64
        assert np.array_equal(npz['sigma'], back.sigma) and np.array_equal(npz['mu'], X.mean(axis=0))
    assert back.check(detector(), [1, 32, 32]) == []


def test_optional_parts_round_trip(tmp_path):
    parts = dict(
        mu_s=np.arange(3.0),
        sigma_s=np.eye(3),
        features=X[:5].astype(np.float32),
        features_seed=7,
        software='torch 9',
        format_version=FORMAT_VERSION,
    )
    save_reference(tmp_path / 'ref.npz', reference(**parts))
    back = load_reference(tmp_path / 'ref.npz')
    for name, value in parts.items():
        assert np.array_equal(getattr(back, name), value), name
    assert back.features.dtype == np.float32  # exactly what the detector gave


def test_plain_edm_file_gets_a_remark(tmp_path):
    np.savez(tmp_path / 'edm.npz', mu=np.zeros(16), sigma=np.eye(16))
    ref = load_reference(tmp_path / 'edm.npz')
    assert ref.detector is None and ref.num_images is None
    [note] = ref.check(detector(), (3, 64, 64))
    assert 'does not say which detector' in note


@pytest.mark.parametrize(
    'changes, shape, words',
    [
        (dict(name='other'), (1, 32, 32), 'made with detector toy, but detector=other'),
        (dict(feature_dim=8), (1, 32, 32), 'holds 16 features, but detector toy gives 8'),
        (dict(sha256='ef' * 32), (1, 32, 32), 'other weights'),
        (dict(preprocessing='x / 3'), (1, 32, 32), 'now has "x / 3"'),
        (dict(), (3, 32, 32), r'images of shape \(1, 32, 32\)'),
        (dict(), (1, 64, 64), 'same resolution'),
    ],
)
def test_reference_of_another_kind_is_refused(changes, shape, words):
    with pytest.raises(ValueError, match=words):
        reference().check(detector(**changes), shape)


def test_unusable_reference_files(tmp_path):
    def refuse(words, **arrays):
        path = tmp_path / 'bad.npz'
        if arrays:
            np.savez(path, **arrays)
        with pytest.raises(ValueError, match=words) as info:
            load_reference(path)
        assert 'path=' in str(info.value) and '\n' not in str(info.value)

    refuse('cannot be read: No such file.*; fid.py ref makes one')
    with pytest.raises(
        ValueError, match=f'; fetch it from https://nvlabs.*/edm/fid-refs/ffhq-64x64.npz into {tmp_path}$'
    ):
        load_reference(tmp_path / 'ffhq-64x64.npz')
    refuse('not a reference file', mu=np.zeros(3))
    refuse('must be', mu=np.zeros(3), sigma=np.eye(2))
    refuse('they must be .S. and .S, S.', mu=np.zeros(2), sigma=np.eye(2), mu_s=np.zeros(3))
    refuse('features .4, 3.; they must be .M, 2.', mu=np.zeros(2), sigma=np.eye(2), features=np.zeros([4, 3]))
    refuse('values in mu that are not finite', mu=np.array([np.nan, 0]), sigma=np.eye(2))
    refuse('values in sigma that are not finite', mu=np.zeros(2), sigma=np.diag([np.inf, 0]))
    refuse('beyond 1e', mu=np.array([1e200, 0]), sigma=np.eye(2))
    refuse('sigma that is no covariance', mu=np.zeros(2), sigma=-np.eye(2))
    refuse('sigma that is no covariance', mu=np.zeros(0), sigma=np.zeros([0, 0]))
    features = np.full([4, 2], np.nan)
    refuse('values in features that are', mu=np.zeros(2), sigma=np.eye(2), features=features)
    refuse('num_images is .* not 1 whole number', mu=np.zeros(2), sigma=np.eye(2), num_images=np.inf)
    refuse('num_images is', mu=np.zeros(2), sigma=np.eye(2), num_images=np.zeros([2, 2]))
    refuse('image_shape is .* not 3 whole numbers', mu=np.zeros(2), sigma=np.eye(2), image_shape=7)
    refuse('detector is .* not one text', mu=np.zeros(2), sigma=np.eye(2), detector=np.zeros(3))
    refuse('mu holds complex128, not numbers', mu=np.zeros(2, dtype=complex), sigma=np.eye(2))
    refuse('not a reference file', mu=np.array([{}], dtype=object), sigma=np.eye(1))  # pickled: never loaded
    (tmp_path / 'bad.npz').write_bytes(b'not a zip')
    refuse('not a reference file')
