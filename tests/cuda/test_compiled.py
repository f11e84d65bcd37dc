# Copyright 2026 The GDD-1S authors.
# SPDX-License-Identifier: Apache-2.0
"""The stages as torch.compile makes them for a GPU, against the same stages eager. Takes minutes there."""

import pytest
import torch

from tests.support import devices
from tests.support.pretended_runs import CASES


@pytest.fixture(autouse=True)
def same_numbers(monkeypatch):
    devices.draw_on_the_cpu(monkeypatch.setattr)


@pytest.mark.compiled
def test_compiled_stages_are_the_eager_ones(device, kind):
    if kind != 'cuda':
        pytest.skip('compiles for a GPU only')
    found = []
    for stance in ('force_eager', 'default'):
        torch.compiler.set_stance(stance)
        run, statistics = devices.trained(CASES['fast'], device.type, [1])
        assert run.task.arithmetic.compiled
        found.append(statistics)
    eager, compiled = found
    assert eager.keys() == compiled.keys()
    for name in eager:
        if name.startswith(('Loss/', 'Grad/')) and 'signs' not in name:
            assert compiled[name] == pytest.approx(eager[name], rel=0.1, abs=1e-2), name
