# Copyright 2026 The GDD-1S authors.
# SPDX-License-Identifier: Apache-2.0
"""Freed memory is kept for the next tensor: fewer pages are handed out anew."""

import json
import os
import subprocess
import sys

import pytest

from torch_utils import allocator

ROOT = os.path.dirname(os.path.dirname(os.path.abspath(allocator.__file__)))
PROGRAM = """
import json, resource, sys
import numpy as np
from torch_utils.allocator import keep_freed_memory
accepted = keep_freed_memory() if sys.argv[1] == 'keep' else None
for _ in range(5):
    array = np.ones(40 << 20, dtype=np.uint8)
    before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
    del array
    array = np.ones(40 << 20, dtype=np.uint8)
    after = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
print(json.dumps([accepted, after - before]))
"""


def faults(mode):
    # NumPy's huge pages would hide what is counted here.
    env = {**os.environ, 'NUMPY_MADVISE_HUGEPAGE': '0', 'PYTHONPATH': ROOT}
    result = subprocess.run(
        [sys.executable, '-c', PROGRAM, mode], env=env, capture_output=True, text=True, check=True, timeout=60
    )
    return json.loads(result.stdout)


@pytest.mark.skipif(not sys.platform.startswith('linux'), reason='a setting of the C library of Linux')
def test_second_array_needs_no_new_pages():
    accepted, kept = faults('keep')
    _, plain = faults('plain')
    if not accepted:
        pytest.skip('this C library is not glibc')
    assert kept < 100 and kept <= plain  # 40 MiB are 10240 pages


def test_other_systems_are_left_alone(monkeypatch):
    monkeypatch.setattr(sys, 'platform', 'darwin')
    assert allocator.keep_freed_memory() is False
