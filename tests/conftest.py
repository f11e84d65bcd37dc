# Copyright 2026 The GDD-1S authors.
# SPDX-License-Identifier: Apache-2.0
"""Shared fixtures: the repository root on the path, the folder of golden numbers, data and teacher of tiny runs."""

import os
import pathlib
import sys

import pytest

ROOT = pathlib.Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))
os.chdir(ROOT)


@pytest.fixture(scope='session')
def shared_dir():
    """Folder with golden numbers, specifications and data beside the checkout; tests skip without it, except in CI."""
    path = ROOT.parent / 'shared'
    if not path.is_dir():
        if os.environ.get('CI'):
            pytest.fail('the folder ../shared is missing, and CI must not skip what needs it')
        pytest.skip('the folder ../shared is absent')
    return path


@pytest.fixture(scope='module')
def material(tmp_path_factory):
    """Paths of a tiny data set and of a teacher for it (tests/support/tiny_runs.py)."""
    from tests.support import tiny_runs  # late: few tests need torch and the networks

    folder = tmp_path_factory.mktemp('material')
    return tiny_runs.write_zip(folder / 'data.zip'), tiny_runs.write_teacher(folder / 'teacher.pkl')
