# Copyright 2026 The GDD-1S authors.
# SPDX-License-Identifier: Apache-2.0

"""Streaming mean and covariance, reference files, and the batches of each process."""

import types

import numpy as np
import pytest
import torch

from evaluations.measure import hash_dataset, striped_batches
from evaluations.statistics import FeatureStats, Reference, load_reference, save_reference

X = np.random.RandomState(0).randn(500, 16)     # vector V1 of the specification


def collect(parts, dim=16):
    stats = FeatureStats(dim)
    for part in parts:
        stats.append(torch.from_numpy(part))
    return stats


def reference(**changes):
    facts = dict(mu=X.mean(axis=0), sigma=np.cov(X.T), num_images=500, image_shape=(1, 32, 32), detector='toy',
                 detector_sha256='ab' * 32, dataset='digits', dataset_sha256='cd' * 32)
    return Reference(**{**facts, **changes})


def detector(**changes):
    return types.SimpleNamespace(**{**dict(name='toy', feature_dim=16, sha256='ab' * 32), **changes})


def test_published_values():
    stats = collect([X])
    assert stats.mean()[:3] == pytest.approx([-0.019489819999, 0.030704857210, -0.083383847205], abs=1e-12)
    assert stats.cov()[0, :3] == pytest.approx([0.902794238919, 0.004396877491, -0.021567740013], abs=1e-12)


@pytest.mark.parametrize('shards', [1, 3, 7, 500, 600])
def test_any_split_gives_the_same_statistics(shards):
    stats = collect(np.array_split(X, shards))      # 600 shards: some are empty
    assert stats.num_images == 500
    assert np.abs(stats.mean() - X.mean(axis=0)).max() < 1e-12
    assert np.abs(stats.cov() - np.cov(X, rowvar=False)).max() < 1e-12


def test_float32_features_are_accumulated_in_float64():
    x = (X + 100).astype(np.float32)
    exact = np.cov(x.astype(np.float64), rowvar=False)
    wrong = (x.T @ x - len(x) * np.outer(x.mean(axis=0), x.mean(axis=0))) / (len(x) - 1)    # all in float32
    assert np.abs(collect([x]).cov() - exact).max() < 1e-8
    assert np.abs(wrong - exact).max() > 1e-4


def test_covariance_is_unbiased():
    assert collect([np.array([[0.0], [2.0]])], dim=1).cov() == 2    # divided by N it would be 1


def test_too_few_images():
    with pytest.raises(ValueError, match='at least 2 images, but there are 1'):
        collect([X[:1]]).cov()
    with pytest.raises(ValueError, match='at least 1 images, but there are 0'):
        collect([]).mean()


def test_reference_round_trip(tmp_path):
    path = tmp_path / 'ref.npz'
    save_reference(path, reference())
    back = load_reference(path)
    assert back.path == str(path) and len(back.sha256) == 64
    for field in ('num_images', 'image_shape', 'detector', 'detector_sha256', 'dataset', 'dataset_sha256'):
        assert getattr(back, field) == getattr(reference(), field)
    with np.load(path, allow_pickle=False) as npz:      # the names and types of EDM's files
        assert npz['mu'].dtype == npz['sigma'].dtype == np.float64
        assert np.array_equal(npz['sigma'], back.sigma) and np.array_equal(npz['mu'], X.mean(axis=0))
    assert back.check(detector(), [1, 32, 32]) == []


def test_plain_edm_file_gets_a_remark(tmp_path):
    np.savez(tmp_path / 'edm.npz', mu=np.zeros(16), sigma=np.eye(16))
    ref = load_reference(tmp_path / 'edm.npz')
    assert ref.detector is None and ref.num_images is None
    [note] = ref.check(detector(), (3, 64, 64))
    assert 'does not say which detector' in note


@pytest.mark.parametrize('changes, shape, words', [
    (dict(name='other'), (1, 32, 32), 'made with detector toy, but --detector=other'),
    (dict(feature_dim=8), (1, 32, 32), 'holds 16 features, but detector toy gives 8'),
    (dict(sha256='ef' * 32), (1, 32, 32), 'other weights'),
    (dict(), (3, 32, 32), r'images of shape \(1, 32, 32\)'),
    (dict(), (1, 64, 64), 'same resolution'),
])
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
        assert '--ref=' in str(info.value) and '\n' not in str(info.value)

    refuse('cannot be read: No such file')
    refuse('not a reference file', mu=np.zeros(3))
    refuse('must be', mu=np.zeros(3), sigma=np.eye(2))
    refuse('not a reference file', mu=np.array([{}], dtype=object), sigma=np.eye(1))   # pickled: never loaded
    (tmp_path / 'bad.npz').write_bytes(b'not a zip')
    refuse('not a reference file')


def test_batches_follow_the_published_rule():
    def sizes(*args):
        return [len(part) for part in striped_batches(*args)]

    both = [striped_batches(103, 16, rank, 2) for rank in range(2)]
    assert sizes(103, 16, 0, 2) == [13] * 4 and sizes(103, 16, 1, 2) == [13, 13, 13, 12]
    assert both[0][1].tolist() == list(range(26, 39))                               # rank 0 takes pieces 0, 2, 4, 6
    assert sorted(np.concatenate(sum(both, []))) == list(range(103))
    one = sizes(50000, 64)
    assert (one.count(64), one.count(63), len(one)) == (734, 48, 782)
    eight = sum([sizes(50000, 64, rank, 8) for rank in range(8)], [])
    assert (eight.count(64), eight.count(63)) == (608, 176)
    assert [sizes(3, 64, rank, 8) for rank in range(8)] == [[1]] * 3 + [[0]] * 5    # upstream crashes here


def test_dataset_hash_tells_contents_and_names_apart(tmp_path):
    def folder(name, **files):
        for key, text in files.items():
            path = tmp_path / name / 'sub' / key
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(text)
        return hash_dataset(tmp_path / name)

    same = folder('a', x='1', y='2')
    assert folder('b', y='2', x='1') == same
    assert folder('c', x='1', y='3') != same and folder('d', x='1', z='2') != same
    (tmp_path / 'a.zip').write_bytes(b'abc')
    assert hash_dataset(tmp_path / 'a.zip').startswith('ba7816bf8f01cfea')     # sha256 of "abc"
