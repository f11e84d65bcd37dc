# Copyright 2026 The GDD-1S authors.
# SPDX-License-Identifier: Apache-2.0
"""The commands of the README for one's own images, word by word, on four small images."""

import re
import shlex

from click.testing import CliRunner

from tests.support import ROOT
from tests.support.documented_commands import commands, load
from tests.support.image_files import encode, random_pixels, write_files

SMALL = {
    'own-teacher': '--duration=0.000008 --batch=8 --cbase=8 --cres=1,1 --attn-res=16 --grid=1x2',
    'own-student': '--duration=0.000008 --batch=8 --d-channel-max=16 --grid=1x2',
    'evaluations.teacher_and_student': '--num=4 --steps=2',
}


def test_own_images_step_by_step(tmp_path, monkeypatch):
    text = (ROOT / 'README.md').read_text(encoding='utf-8')
    section = text[text.index('## Your own images') : text.index('## Where to go')]
    lines = [part.strip() for line in commands(section) for part in line.split('&&') if 'python' in line]
    assert len(lines) == 6  # the last command has two halves
    names = ('a/1.png', 'a/2.png', 'b/1.png', 'b/2.png')
    pixels = {name: encode(random_pixels(k, (40, 48, 3))) for k, name in enumerate(names)}
    write_files(tmp_path / 'photos', pixels)
    monkeypatch.chdir(tmp_path)
    for line in lines:
        words = shlex.split(re.sub(r'network-snapshot-\d+', 'network-snapshot-000000', line))[1:]
        name, *options = words[1:] if words[0] == '-m' else words
        for key, more in SMALL.items():
            if key == name or f'--recipe={key}' in options:
                options += more.split()
        result = CliRunner().invoke(load(name), options)
        assert result.exit_code == 0, (line, result.output, result.exception)
    made = {path.name for path in (tmp_path / 'runs/student').iterdir()}
    assert {'network-snapshot-000000.pkl', 'comparison.md', 'comparison.png'} <= made
    assert (tmp_path / 'photos.png').exists()
