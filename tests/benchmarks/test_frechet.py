# Copyright 2026 The GDD-1S authors.
# SPDX-License-Identifier: Apache-2.0
"""Test the benchmark of the Frechet distance: its formula by hand, and that both programs agree."""

import re

import numpy as np
import pytest
from click.testing import CliRunner

from benchmarks import frechet


def test_official_distance_by_hand():
    # Diagonal covariances: (1 - 4)^2 of the means, (2 - 3)^2 and (1 - 4)^2 of the standard deviations.
    found = frechet.official_distance(
        np.array([1.0, 0]), np.diag([4.0, 1]), np.array([4.0, 0]), np.diag([9.0, 16])
    )
    assert found == pytest.approx(9 + 1 + 9)


def test_moments_differ_by_seed_and_have_the_shape():
    mean, cov = frechet.make_moments(1, 50, 8)
    assert mean.shape == (8,) and cov.shape == (8, 8) and np.allclose(cov, cov.T)
    assert not np.allclose(mean, frechet.make_moments(2, 50, 8)[0])


def test_both_programs_give_the_same_distance():
    result = CliRunner().invoke(frechet.main, ['--dim=8', '--images=100', '--repeats=1'])
    assert result.exit_code == 0, result.output
    official, ours = (float(value) for value in re.findall(r'\| ([\d.]+) \|$', result.output, re.MULTILINE))
    assert official == pytest.approx(ours, rel=1e-6) and official > 0.01
    assert 'relative difference' in result.output


@pytest.mark.parametrize('option', ['--dim=1', '--images=1', '--repeats=0'])
def test_bad_numbers_are_one_line(option):
    result = CliRunner().invoke(frechet.main, [option])
    assert result.exit_code == 2 and f"Invalid value for '{option[:-2]}'" in result.output
