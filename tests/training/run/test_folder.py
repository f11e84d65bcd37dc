# Copyright 2026 The GDD-1S authors.
# SPDX-License-Identifier: Apache-2.0
"""Tests of training/run/folder.py: names of run folders, and how a run takes one that nobody else has."""

import json
import os
import subprocess
import sys

import pytest

from dnnlib.errors import ArgumentError, as_option
from dnnlib.files import claim
from tests.support import ROOT, tiny_runs
from training.run import folder

DATA = '--data=some/cifar10-32x32.zip'
STUDENT = (DATA, '--transfer=teacher.pkl')


def test_run_folder_names():
    config = tiny_runs.make_config(*STUDENT, '--batch=256', '--arch=ncsnpp', '--fp16=1', '--cond=1')
    assert folder.run_description(config, 4) == 'cifar10-32x32-cond-ncsnpp-gdd-gdd-gpus4-batch256-bf16'
    assert (
        folder.run_description(tiny_runs.make_config(*STUDENT), 1, 'x')
        == 'cifar10-32x32-uncond-teacher-gdd-gdd-gpus1-batch512-fp32-x'
    )


@pytest.mark.parametrize('desc', ['a/b', '../x', '/'])
def test_suffix_that_is_no_part_of_a_name(desc):
    with pytest.raises(ArgumentError) as caught:
        folder.run_description(tiny_runs.make_config(*STUDENT), 1, desc)
    assert f'--desc={desc} is part of the name of a folder' in caught.value.spell(as_option)


@pytest.mark.parametrize(
    'path', ['a/b/afhqv2-64x64.zip', 'afhqv2-64x64', 'a/afhqv2-64x64/', 'a/afhqv2-64x64.ZIP']
)
def test_dataset_names(path):
    assert folder.dataset_name(path) == 'afhqv2-64x64'


def test_run_folders_count_on(tmp_path):
    assert folder.next_run_dir(str(tmp_path / 'none'), 'd') == str(tmp_path / 'none' / '00000-d')
    assert not (tmp_path / 'none').exists()
    for name in ('00000-x', '00007-y', '00003', 'notes', '123456-z', '00009x'):
        (tmp_path / name).mkdir()
    assert folder.next_run_dir(str(tmp_path), 'd') == str(tmp_path / '00008-d')


@pytest.mark.parametrize(
    'name',
    ['training_options.json', 'stats.jsonl', 'network-snapshot-000001.pkl', 'training-state-000010.pt'],
)
def test_nosubdir_never_starts_over_a_run(name, tmp_path):
    """Also where the options are gone and other files tell that a run is there."""
    (tmp_path / 'notes.txt').touch()
    assert folder.choose_run_dir(str(tmp_path), 'd', True, None) == str(tmp_path)
    (tmp_path / name).write_text('precious')
    for take in (
        lambda: folder.choose_run_dir(str(tmp_path), 'd', True, None),
        lambda: folder.claim_run_dir(str(tmp_path), 'd', True, b'{}'),
    ):
        with pytest.raises(ArgumentError, match='already holds a run; choose an empty folder'):
            take()
    assert (tmp_path / name).read_text() == 'precious' and len(os.listdir(tmp_path)) == 2


def test_a_claimed_folder_is_complete_and_nobody_elses(tmp_path):
    outdir = str(tmp_path / 'runs')
    taken = [folder.claim_run_dir(outdir, text, False, b'{"a": 1}') for text in ('d', 'd', 'other', 'd')]
    names = ['00000-d', '00001-d', '00002-other', '00003-d']
    assert [os.path.basename(path) for path in taken] == names == sorted(os.listdir(outdir))
    assert json.loads((tmp_path / 'runs' / '00003-d' / 'training_options.json').read_text()) == {'a': 1}
    assert os.listdir(taken[0]) == ['training_options.json']


def test_what_a_killed_start_has_left_is_taken_over(tmp_path):
    """Only where nothing of worth is in it, and only by the same description."""
    for name in ('00000-d', '00001-d', '00002-d', '00003-x'):
        (tmp_path / name).mkdir()
    (tmp_path / '00000-d' / 'training-state-000001.pt').touch()
    (tmp_path / '00001-d' / '.tmp-12-0123456789ab').touch()
    taken = [os.path.basename(folder.claim_run_dir(str(tmp_path), 'd', False, b'{}')) for _ in range(3)]
    assert taken == ['00001-d', '00002-d', '00004-d']


def test_a_start_that_is_alive_keeps_its_folder(tmp_path):
    """Between making the folder and writing its options it holds the number."""
    (tmp_path / '00000-d').mkdir()
    command = 'import sys; from training.run import folder; print(folder.claim_run_dir(sys.argv[1], "d", False, b"{}"))'
    with claim(tmp_path / '00000'):
        found = subprocess.run(
            [sys.executable, '-c', command, str(tmp_path)],
            cwd=ROOT,
            capture_output=True,
            text=True,
            timeout=60,
        )
    assert found.stdout == f'{tmp_path}/00001-d\n', found.stderr


def test_simultaneous_starts_get_folders_of_their_own(tmp_path):
    """Different descriptions as well: no number is given twice."""
    command = (
        'import sys; from training.run import folder; sys.stdin.readline()\n'
        'for _ in range(20): folder.claim_run_dir(sys.argv[1], sys.argv[2], False, sys.argv[3].encode())'
    )
    starts = [
        subprocess.Popen(
            [sys.executable, '-c', command, str(tmp_path), text, str(k)], cwd=ROOT, stdin=-1, text=True
        )
        for k, text in enumerate(('d', 'd', 'other'))
    ]
    for start in starts:
        start.stdin.write('go\n')
        start.stdin.close()
    assert [start.wait(timeout=120) for start in starts] == [0, 0, 0]
    names = sorted(os.listdir(tmp_path))
    assert [name[:5] for name in names] == [f'{number:05d}' for number in range(60)]
    owners = [(tmp_path / name / 'training_options.json').read_text() for name in names]
    assert sorted(owners) == ['0'] * 20 + ['1'] * 20 + ['2'] * 20
