# Copyright 2026 The GDD-1S authors.
# SPDX-License-Identifier: Apache-2.0

"""Reference files of other programs: EDM2's pickles, OpenAI's batches, and what `fid.py inspect` says of each kind."""

import os
import pickle

import numpy as np
import pytest

from evaluations.inputs.references import describe_file, load_references, resolution_in_name
from evaluations.metrics.moments import FORMAT_VERSION, Reference, load_reference, save_reference

MU, SIGMA = np.arange(3.0), np.diag([1.0, 2, 3])


def edm2(path, protocol=4, **changes):
    """A file as EDM2 writes it: a plain dict of NumPy arrays."""
    content = {
        'num_images': 100,
        'fid': {'mu': MU, 'sigma': SIGMA},
        'fd_dinov2': {'mu': MU[:2], 'sigma': SIGMA[:2, :2]},
        **changes,
    }
    path.write_bytes(pickle.dumps(content, protocol=protocol))
    return path


@pytest.mark.parametrize('protocol', [2, 3, 4, 5])
def test_edm2_pickle(tmp_path, protocol):
    fid, dino = load_references(edm2(tmp_path / 'img.pkl', protocol, num_images=np.int64(100)))
    assert (fid.detector, dino.detector, fid.num_images) == ('inception', 'dinov2-vit-l-14', 100)
    assert (
        np.array_equal(fid.mu, MU)
        and np.array_equal(fid.sigma, SIGMA)
        and np.array_equal(dino.sigma, SIGMA[:2, :2])
    )
    assert fid.path == str(tmp_path / 'img.pkl') and len(fid.sha256) == 64 and fid.detector_sha256 is None


def test_edm2_pickle_keeps_byte_and_axis_order(tmp_path):
    sigma = np.asfortranarray(np.array([[1.0, 5], [0, 2]]))
    path = edm2(tmp_path / 'x.pkl', fid={'mu': MU[:2].astype('>f8'), 'sigma': sigma}, fd_dinov2=None)
    [ref] = load_references(path)
    assert np.array_equal(ref.mu, MU[:2]) and np.array_equal(ref.sigma, sigma)


class Evil:
    def __reduce__(self):
        return os.system, ('touch hacked',)


@pytest.mark.parametrize(
    'content, words',
    [
        (pickle.dumps({'fid': Evil()}), 'refers to (posix|nt).system'),
        (pickle.dumps({'fid': {'mu': np.array([Evil()], dtype=object), 'sigma': SIGMA}}), 'no number type'),
        (pickle.dumps({'fid': {'mu': MU, 'sigma': SIGMA}})[:-30], 'not a reference file of EDM2'),
        (pickle.dumps({'fid': {'mu': MU, 'sigma': SIGMA[:2]}}), r'they must be \[D\] and \[D, D\]'),
        (
            pickle.dumps({'other': {'mu': MU, 'sigma': SIGMA}}),
            'holds no statistics with mu and sigma under fid or fd_dinov2',
        ),
        (pickle.dumps([1, 2]), 'holds no statistics'),
        (b'\x80\x04\x95\xff', 'not a reference file of EDM2'),
    ],
)
def test_unusable_pickles(tmp_path, monkeypatch, content, words):
    monkeypatch.chdir(tmp_path)
    (tmp_path / 'x.pkl').write_bytes(content)
    with pytest.raises(ValueError, match=words) as info:
        load_references('x.pkl')
    assert (
        str(info.value).startswith('--ref=x.pkl')
        and '\n' not in str(info.value)
        and os.listdir(tmp_path) == ['x.pkl']
    )


def test_missing_files_are_named(tmp_path):
    for name in ('none.pkl', 'none.npz'):
        with pytest.raises(ValueError, match=f'--ref={name} cannot be read'):
            load_references(name)
        with pytest.raises(ValueError, match=f'FILE={name} cannot be read'):
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


@pytest.mark.parametrize(
    'name, side',
    [
        ('ffhq-64x64.npz', 64),
        ('a/cifar10-32x32.npz', 32),
        ('imagenet-64x64-baseline.npz', 64),
        ('x.npz', None),
        ('64x32.npz', None),
        ('2024x2024x.npz', 2024),
    ],
)
def test_resolution_in_a_name(name, side):
    assert resolution_in_name(name) == side
