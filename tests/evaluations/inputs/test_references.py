# Copyright 2026 The GDD-1S authors.
# SPDX-License-Identifier: Apache-2.0

"""Reference files of other programs: EDM2's pickles."""

import os
import pickle

import numpy as np
import pytest

from evaluations.inputs.references import load_references

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


def nested_tuples(in_set):
    """A few hundred bytes of tuples inside tuples, whose hash takes 2 to the power of 100 steps."""
    nested = b''.join(b'\x94' + (b'h' + bytes([i])) * 2 + b'\x86' for i in range(100)) + b'\x94'
    use = b'\x8f(h\x64\x90.' if in_set else b'}h\x64Ns.'
    return b'\x80\x04N' + nested + use


class Evil:
    def __reduce__(self):
        return os.system, ('touch hacked',)


@pytest.mark.parametrize(
    'content, words',
    [
        (pickle.dumps({'fid': Evil()}), 'refers to (posix|nt).system'),
        (
            pickle.dumps({'fid': {'mu': np.array([Evil()], dtype=object), 'sigma': SIGMA}}),
            'numpy type O8 is not one of',
        ),
        (pickle.dumps({'fid': {'mu': MU, 'sigma': SIGMA}})[:-30], 'not a reference file of EDM2'),
        (pickle.dumps({'fid': {'mu': MU, 'sigma': SIGMA[:2]}}), r'they must be \[D\] and \[D, D\]'),
        (
            pickle.dumps({'other': {'mu': MU, 'sigma': SIGMA}}),
            'holds no statistics with mu and sigma under fid or fd_dinov2',
        ),
        (pickle.dumps([1, 2]), 'holds no statistics'),
        (b'\x80\x04\x95\xff', 'not a reference file of EDM2'),
        (nested_tuples(in_set=True), 'not a reference file of EDM2'),
        (nested_tuples(in_set=False), 'not a reference file of EDM2'),
        (b'\x80\x04' + b'(' * 100_000 + b']' + b'a' * 100_000 + b'.', 'not a reference file of EDM2'),
        (b'\x80\x04B' + b'\xff\xff\xff\xff' + b'x.', 'not a reference file of EDM2'),  # 4 GB announced
        (pickle.dumps({'num_images': float('inf'), 'fid': {'mu': MU, 'sigma': SIGMA}}), 'num_images is inf'),
        (pickle.dumps({'num_images': -1, 'fid': {'mu': MU, 'sigma': SIGMA}}), 'num_images is -1'),
        (pickle.dumps({'num_images': [[1]], 'fid': {'mu': MU, 'sigma': SIGMA}}), 'not a number of images'),
        (pickle.dumps({'fid': {'mu': MU * np.inf, 'sigma': SIGMA}}), 'values in mu that are not finite'),
        (pickle.dumps({'fid': {'mu': MU, 'sigma': -SIGMA}}), 'sigma that is no covariance'),
    ],
)
def test_unusable_pickles(tmp_path, monkeypatch, content, words):
    monkeypatch.chdir(tmp_path)
    (tmp_path / 'x.pkl').write_bytes(content)
    with pytest.raises(ValueError, match=words) as info:
        load_references('x.pkl')
    assert (
        str(info.value).startswith('path=x.pkl')
        and '\n' not in str(info.value)
        and os.listdir(tmp_path) == ['x.pkl']
    )


def test_missing_files_are_named(tmp_path):
    for name in ('none.pkl', 'none.npz'):
        with pytest.raises(ValueError, match=f'path={name} cannot be read'):
            load_references(name)
