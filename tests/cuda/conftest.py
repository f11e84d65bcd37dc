# Copyright 2026 The GDD-1S authors.
# SPDX-License-Identifier: Apache-2.0
"""The device of these tests, by the option `--device` (tests/conftest.py)."""

import pytest
import torch

from tests.support import pretended_runs
from torch_utils import distributed


@pytest.fixture(autouse=True)
def device(request):
    """The device to compare with the CPU."""
    chosen = request.config.getoption('device')
    if chosen == 'cuda' and not torch.cuda.is_available():
        pytest.skip('there is no CUDA here')
    torch.backends.cudnn.allow_tf32 = torch.backends.cuda.matmul.allow_tf32 = False
    with pretended_runs.on_device('cpu' if chosen == 'cpu' else 'cuda', real=chosen == 'cuda'):
        yield distributed.get_device()


@pytest.fixture
def kind(request):
    """What `--device` says: 'pretended', 'cuda' or 'cpu'."""
    return request.config.getoption('device')
