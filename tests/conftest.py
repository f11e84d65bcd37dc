# Copyright 2026 The GDD-1S authors.
# SPDX-License-Identifier: Apache-2.0
"""Which tests run and in which order; shared fixtures: golden numbers, data and teacher of tiny runs."""

import os
import pathlib
import sys

import pytest

ROOT = pathlib.Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))
os.chdir(ROOT)

# Files that take longest, so that no process of pytest-xdist begins one while the others have nothing left.
FIRST = (
    'runs/test_kill_and_resume.py',
    'test_golden.py',
    'runs/test_two_processes.py',
    'evaluations/test_cross_checks.py',
    'training/snapshots/test_pickle_fuzz.py',
    'evaluations/test_live_metrics.py',
    'scripts/test_fid_processes.py',
)
LEFT_OUT_BY_FAST = ('processes', 'slow')


def pytest_addoption(parser):
    parser.addoption(
        '--fast', action='store_true', help=f'leave out tests marked {" or ".join(LEFT_OUT_BY_FAST)}'
    )


def pytest_collection_modifyitems(config, items):
    """Begin with the files named in FIRST; with --fast leave out what is marked so."""
    rank = {ROOT / 'tests' / name: number for number, name in enumerate(FIRST)}
    items.sort(key=lambda item: rank.get(item.path, len(FIRST)))
    if config.getoption('fast'):
        left_out = [item for item in items if any(map(item.get_closest_marker, LEFT_OUT_BY_FAST))]
        config.hook.pytest_deselected(items=left_out)
        items[:] = [item for item in items if item not in left_out]


@pytest.fixture(scope='session')
def shared_dir():
    """Folder with golden numbers, specifications and data; tests skip without it, except in CI."""
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
