# Copyright 2026 The GDD-1S authors.
# SPDX-License-Identifier: Apache-2.0
"""Test the straightforward program that fid.py is compared with: its sums, its number, the verdict."""

import numpy as np
import PIL.Image
import pytest
import torch
from click.testing import CliRunner

from benchmarks import fid_calc


@pytest.fixture
def folder(tmp_path):
    """A folder of 70 gray images, more than a batch."""
    images = np.random.RandomState(0).randint(256, size=[70, 32, 32]).astype(np.uint8)
    for number, pixels in enumerate(images):
        PIL.Image.fromarray(pixels).save(tmp_path / f'{number:02d}.png')
    return tmp_path, images


def corner(images):
    """Features [N, 2]: two pixels."""
    return images[:, 0, 0, :2].float()


@pytest.mark.parametrize('num', [70, 64, 10])
def test_sums_over_batches_are_mean_and_covariance(folder, num):
    path, images = folder
    mu, sigma = fid_calc.accumulate(str(path), corner, num)
    expected = images[:num, 0, :2].astype(float)
    np.testing.assert_allclose(mu, expected.mean(axis=0), rtol=1e-12)
    np.testing.assert_allclose(sigma, np.cov(expected, rowvar=False), rtol=1e-10)


def test_distance_to_its_own_moments_is_zero_and_grows_with_the_mean(folder, monkeypatch):
    path, _images = folder
    monkeypatch.setattr(fid_calc, 'build_mnist_classifier', lambda: corner)
    ref = str(path / 'ref.npz')
    mu, sigma = fid_calc.accumulate(str(path), corner, 70)
    np.savez(ref, mu=mu + [3, 4], sigma=sigma)
    args = ['straightforward', f'--images={path}', f'--ref={ref}', '--detector=mnist-classifier', '--num=70']
    result = CliRunner().invoke(fid_calc.main, args)
    assert result.exit_code == 0 and float(result.output) == pytest.approx(25)


def test_commands_to_compare():
    found = fid_calc.commands('a.zip', 'r.npz', 'mnist-classifier', 20, [1, 2])
    assert list(found) == ['straightforward', 'fid.py calc, 1 process', 'fid.py calc, 2 processes']
    assert '--nproc_per_node=2' in found['fid.py calc, 2 processes']
    assert all('--num=20' in command and '--images=a.zip' in command for command in found.values())


@pytest.mark.parametrize('theirs, status', [(5.0004, 0), (5.1, 1)])
def test_different_numbers_fail_the_comparison(monkeypatch, theirs, status):
    monkeypatch.setattr(fid_calc, 'make_reference', lambda *args: None)
    runs = iter([(8.0, 8.0, 5.0), (2.0, 1.0, theirs)])
    monkeypatch.setattr(fid_calc, 'run', lambda command: next(runs))
    result = CliRunner().invoke(fid_calc.main, ['compare', '--num=20', '--runs=1', '--processes=1'])
    assert result.exit_code == status, result.output
    assert '| 2.0 | 1.0 | 4.00 |' in result.output
    assert ('different numbers' in result.output) == (status == 1)


@pytest.mark.parametrize('processes', ['two', '0', '1,,2', ''])
def test_bad_lists_of_processes_are_one_line(processes):
    result = CliRunner().invoke(fid_calc.main, ['compare', f'--processes={processes}'])
    assert result.exit_code in (1, 2) and isinstance(result.exception, SystemExit), result.exception
    assert f"'{processes}'" in result.output or f'--processes={processes}' in result.output


def test_missing_images_are_one_line(tmp_path):
    for args in (['straightforward', f'--ref={tmp_path}'], ['compare']):
        result = CliRunner().invoke(fid_calc.main, [*args, f'--images={tmp_path}/none.zip'])
        assert result.exit_code == 2 and 'none.zip' in result.output.replace('\n', ''), result.output


def test_features_of_the_classifier_have_64_dimensions():
    with torch.no_grad():
        assert fid_calc.build_mnist_classifier()(torch.zeros([2, 1, 32, 32], dtype=torch.uint8)).shape == (
            2,
            64,
        )
