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
# Several processes share few cores: one thread each is faster than threads that wait for each other.
os.environ.setdefault('OMP_NUM_THREADS', '1')

from tests import marks  # noqa: E402 - needs the path


def pytest_addoption(parser):
    parser.addoption(
        '--fast',
        action='store_true',
        help=f'leave out tests marked {" or ".join(marks.MARKED)} (tests/marks.py)',
    )
    parser.addoption(
        '--device',
        choices=('pretended', 'cuda', 'cpu'),
        default='pretended',
        help='where tests/cuda run: a GPU that is only pretended, a real one, or the CPU',
    )


def pytest_ignore_collect(collection_path, config):
    """With --fast do not even import files all of whose tests are left out."""
    if config.getoption('fast') and marks.whole_file(collection_path.relative_to(ROOT / 'tests').as_posix()):
        return True
    return None  # the others decide


def pytest_collection_modifyitems(config, items):
    """Mark the tests and begin with the files that take longest; with --fast leave out what is marked."""
    rank = {ROOT / 'tests' / name: number for number, name in enumerate(marks.FIRST)}
    items.sort(key=lambda item: rank.get(item.path, len(rank)))
    for item in items:
        file = item.path.relative_to(ROOT / 'tests').as_posix()
        for mark in marks.marks_of(file, getattr(item, 'originalname', item.name)):
            item.add_marker(mark)
    if config.getoption('fast'):
        left_out = [item for item in items if any(map(item.get_closest_marker, marks.MARKED))]
        config.hook.pytest_deselected(items=left_out)
        items[:] = [item for item in items if not any(map(item.get_closest_marker, marks.MARKED))]


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
