# Copyright 2026 The GDD-1S authors.
# SPDX-License-Identifier: Apache-2.0
"""Status lines of training."""

import io

import pytest
import torch

from training.run.progress import Progress


@pytest.mark.parametrize('nimg', [1000, 1024])  # the last iteration may overshoot the total
def test_finished_run_has_no_time_left(capsys, nimg):
    progress = Progress(1000, visible=True, terminal=io.StringIO())
    progress.tick_start -= 60
    progress.end_of_tick(1, nimg, torch.device('cpu'))
    assert 'left 0s ' in capsys.readouterr().out
