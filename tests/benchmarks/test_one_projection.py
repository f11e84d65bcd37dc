# Copyright 2026 The GDD-1S authors.
# SPDX-License-Identifier: Apache-2.0
"""Tests of benchmarks/one_projection.py: every process draws what the first one draws, as official code
draws it there."""

import pytest

from benchmarks import one_projection
from tests.support import tiny_runs
from torch_utils import distributed
from training.tasks import distillation


@pytest.fixture(autouse=True)
def random_backbones(monkeypatch):
    tiny_runs.use_random_backbones(monkeypatch.setattr)


def test_projection_is_that_of_the_first_process(material, monkeypatch):
    states = {}
    for built_by in (distillation.build_features, one_projection.build_equal_features):
        monkeypatch.setattr(distillation, 'build_features', built_by)
        for rank in (0, 1):
            monkeypatch.setattr(distributed, 'get_rank', lambda rank=rank: rank)
            task = tiny_runs.make_task(material, '--compat=official')
            states[built_by.__name__, rank] = task.F.projection_state()
    official, equal = 'build_features', 'build_equal_features'
    assert tiny_runs.differences(states[official, 0], states[official, 1])
    assert not tiny_runs.differences(states[equal, 0], states[equal, 1])
    assert not tiny_runs.differences(states[equal, 0], states[official, 0])
