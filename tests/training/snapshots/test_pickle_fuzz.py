# Copyright 2026 The GDD-1S authors.
# SPDX-License-Identifier: Apache-2.0
"""Run pickle_fuzz.py: thousands of damaged snapshots, which may do nothing but fail with one clear line."""

import json
import os
import subprocess
import sys

from tests.support import ROOT

# Readers that do what must not happen, each of which the watch has to notice.
SELF_TEST = """
import json, pickle, sys
import numpy as np
from tests import pickle_fuzz

def runs_the_file(data):
    pickle.loads(b"cbuiltins\\neval\\n(V1\\ntR.")
    return "read"

def hangs(data):
    while True:
        pass

def fills_the_memory(data):
    np.ones(1 << 30)

def raises(data):
    raise KeyError("a")

pickle_fuzz.CASE_CPU_SEC = 0.2
print(json.dumps({reader.__name__: pickle_fuzz.fuzz(2, 0, reader=reader)["failures"]
                  for reader in (runs_the_file, hangs, fills_the_memory, raises)}))
"""


def run(*arguments):
    environment = {**os.environ, 'OMP_NUM_THREADS': '1'}
    result = subprocess.run(
        [sys.executable, *arguments], cwd=ROOT, env=environment, text=True, capture_output=True, timeout=600
    )
    assert result.returncode == 0, result.stderr
    return json.loads(result.stdout)


def test_damaged_files_do_nothing_but_fail():
    report = run('tests/pickle_fuzz.py', '--count=3000')
    assert report['failures'] == [] and report['count'] == 3000
    assert set(report['results']) == {
        'read',
        'SnapshotError',
        'PickleFormatError',
        'UnsafePickleError',
        'UnknownClassError',
    }
    assert report['growth_mib'] < 256


def test_the_watch_notices_what_must_not_happen():
    failures = run('-c', SELF_TEST)
    assert any('audit event exec' in line for line in failures['runs_the_file'])
    assert any('audit event pickle.find_class' in line for line in failures['runs_the_file'])
    assert [line.split(': ')[1] for line in failures['hangs']] == ['Hang', 'Hang']
    assert all('MemoryError' in line for line in failures['fills_the_memory'])
    assert [line.split(': ', 1)[1] for line in failures['raises']] == ["KeyError: 'a'"] * 2
