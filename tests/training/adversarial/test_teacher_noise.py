# Copyright 2026 The GDD-1S authors.
# SPDX-License-Identifier: Apache-2.0
"""Tests of training/adversarial/teacher_noise.py: the laws of the noise levels."""

import pytest
import torch

from training.adversarial.teacher_noise import draw_noise, grid_levels

IMAGES = torch.zeros(1, 3, 2, 2)


def draw(law, count=20_000, seed=0):
    return draw_noise(law, IMAGES, count, torch.Generator().manual_seed(seed))


def test_grid_of_dmd2():
    """Its entries 250, 500 and 750 of EDM's ascending 1000 levels."""
    levels = grid_levels()
    assert len(levels) == 997  # 2 .. 998
    for index, value in ((250, 0.1703123249), (500, 2.5265068484), (750, 17.617)):
        assert float(levels[index - 2]) == pytest.approx(value, rel=1e-4)
    drawn = draw('grid')['sigma'].flatten().sort().values
    assert float(drawn[0]) > 0.002 and float(drawn[-1]) < 80
    # Kolmogorov and Smirnov: 1.63 / sqrt(n) is exceeded in one of a hundred cases.
    share = torch.searchsorted(levels, drawn, right=True) / len(levels)
    empirical = torch.searchsorted(drawn, drawn, right=True) / len(drawn)
    assert (share - empirical).abs().max() < 1.63 / len(drawn) ** 0.5


def test_law_of_the_teachers_training():
    drawn = draw('lognormal')['sigma'].log()
    assert float(drawn.mean()) == pytest.approx(-1.2, abs=0.04) and float(drawn.std()) == pytest.approx(
        1.2, abs=0.03
    )


def test_levels_of_a_list_have_equal_chances():
    drawn = draw([0.1, 1.0, 5.0])['sigma']
    for level in (0.1, 1.0, 5.0):
        assert float((drawn == level).float().mean()) == pytest.approx(1 / 3, abs=0.015)
    assert (draw([0.5], count=4)['sigma'] == 0.5).all()


@pytest.mark.parametrize('law', ['grid', 'lognormal', [0.1, 1.0]])
def test_shapes_and_noise(law):
    drawn = draw(law, count=5000)
    assert drawn['sigma'].shape == (5000, 1, 1, 1) and drawn['noise'].shape == (5000, 3, 2, 2)
    assert drawn['sigma'].dtype == drawn['noise'].dtype == torch.float32
    assert float(drawn['noise'].mean()) == pytest.approx(0, abs=0.02)
    assert float(drawn['noise'].std()) == pytest.approx(1, abs=0.02)
    assert all(torch.equal(a, b) for a, b in zip(drawn.values(), draw(law, count=5000).values()))
    assert not torch.equal(drawn['noise'], draw(law, count=5000, seed=1)['noise'])
