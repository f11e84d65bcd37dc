# Copyright 2026 The GDD-1S authors.
# SPDX-License-Identifier: Apache-2.0
"""Tests of training/run/launches.py."""

import json
import shlex
import sys

import torch

from training.run import launches


def test_every_start_is_a_line(tmp_path, monkeypatch):
    for name in launches.VARIABLES:
        monkeypatch.delenv(name, raising=False)
    for nimg, argv in ((0, ['train.py', '--desc=a b']), (2500, ['train.py', '--resume=auto'])):
        monkeypatch.setattr(sys, 'argv', argv)
        launches.record_launch(str(tmp_path), nimg)
    first, second = map(json.loads, (tmp_path / launches.FILE_NAME).read_text().splitlines())
    assert (first['kimg'], second['kimg']) == (0, 2.5) and first['timestamp'] <= second['timestamp']
    assert shlex.split(first['command']) == ['python', 'train.py', '--desc=a b']
    assert first['torch'] == torch.__version__ and first['processes'] == 1 and first['device'] == 'cpu'
    assert first['numpy'] and list(tmp_path.iterdir()) == [tmp_path / launches.FILE_NAME]


def test_variables_of_recipes_belong_to_the_command(monkeypatch):
    monkeypatch.setattr(sys, 'argv', ['train.py', '--recipe=demo'])
    monkeypatch.setenv('DATA', 'my photos.zip')
    monkeypatch.setenv('TEACHER', '')
    monkeypatch.delenv('OUTDIR', raising=False)
    assert launches.describe_launch(0)['command'] == "DATA='my photos.zip' python train.py --recipe=demo"


def test_a_package_that_is_not_there_is_none():
    assert launches._version('no-such-package') is None
