# Copyright 2026 The GDD-1S authors.
# SPDX-License-Identifier: Apache-2.0

"""What `fid.py inspect` says of each kind of file."""

import numpy as np
import pytest

from evaluations.inputs.inspection import describe_file
from evaluations.inputs.reference import FORMAT_VERSION, Reference, load_reference, save_reference
from evaluations.inputs.references import load_references
from tests.evaluations.inputs.test_references import MU, SIGMA, edm2


def test_missing_files_are_named():
    for name in ('none.pkl', 'none.npz'):
        with pytest.raises(ValueError, match=f'path={name} cannot be read'):
            describe_file(name)


def test_openai_batch(tmp_path):
    path = tmp_path / 'VIRTUAL_imagenet64_labeled.npz'
    images = np.zeros([4, 8, 8, 3], dtype=np.uint8)
    np.savez(
        path,
        arr_0=images,
        mu=MU,
        sigma=SIGMA,
        mu_s=MU[:2],
        sigma_s=SIGMA[:2, :2],
        mu_clip=MU,
        sigma_clip=SIGMA,
    )
    [ref] = load_references(path)
    assert ref.has_images and np.array_equal(ref.mu_s, MU[:2]) and np.array_equal(ref.sigma_s, SIGMA[:2, :2])
    text = '\n'.join(describe_file(path))
    assert 'reference batch as OpenAI publishes it' in text and 'not those of CLIP-FID' in text
    assert 'uint8 [4, 8, 8, 3]: images' in text and 'its 4 images serve' in text and 'kid, pr and dc' in text


def test_description_of_each_kind(tmp_path):
    np.savez(tmp_path / 'edm.npz', mu=np.zeros(2048), sigma=np.eye(2048))
    text = '\n'.join(describe_file(tmp_path / 'edm.npz'))
    assert (
        'as EDM, GDD and pytorch-fid write them' in text
        and 'not named; 2048 features suggest inception' in text
    )
    assert 'trace of covariance 2048' in text and 'fid50k and the like' in text

    np.savez(tmp_path / 'pack.npz', arr_0=np.zeros([5, 4, 4, 1], dtype=np.uint8), arr_1=np.arange(5))
    text = '\n'.join(describe_file(tmp_path / 'pack.npz'))
    assert (
        'image pack (samples, no statistics)' in text
        and 'class numbers' in text
        and 'mu' not in text.replace('image pack', '')
    )

    ref = Reference(
        MU,
        SIGMA,
        60,
        (1, 32, 32),
        'toy',
        'ab' * 32,
        'digits',
        'cd' * 32,
        'x / 2',
        features=np.zeros([2, 3]),
        features_seed=5,
        software='torch 9',
        format_version=FORMAT_VERSION,
    )
    save_reference(tmp_path / 'own.npz', ref)
    text = '\n'.join(describe_file(tmp_path / 'own.npz'))
    for words in (
        'of this project',
        'detector:       toy',
        'sha256 ' + 'ab' * 32,
        'x / 2',
        '60',
        '1 channels, 32 x 32 pixels',
        'digits, sha256 ' + 'cd' * 32,
        '2 features, seed 5',
        'torch 9',
        load_reference(tmp_path / 'own.npz').sha256,
    ):
        assert words in text

    text = '\n'.join(describe_file(edm2(tmp_path / 'img.pkl')))
    assert 'statistics of EDM2' in text and 'fd-dinov2-50k and the like' in text


def test_undescribable_files(tmp_path):
    np.savez(tmp_path / 'other.npz', weights=np.zeros(3))
    (tmp_path / 'text.npz').write_text('hello')
    for name, words in (('other.npz', 'but weights; give'), ('text.npz', 'is not an .npz file')):
        with pytest.raises(ValueError, match=words):
            describe_file(tmp_path / name)
