# Copyright 2026 The GDD-1S authors.
# SPDX-License-Identifier: Apache-2.0
"""Tests of reports/panels.py."""

import re

from reports.panels import PANELS, make_panels
from reports.run_folder import read_run
from tests.support import ROOT
from tests.support.written_runs import NAME, stats_line, write_lines, write_run


def test_panels_of_a_run(tmp_path):
    panels = {panel.title: panel for panel in make_panels([read_run(write_run(tmp_path))])}
    assert list(panels)[0] == NAME and 'Augmentation strength' not in panels
    assert [curve.label for curve in panels['Gradient norms'].curves] == ['G', 'D']
    assert panels['Gradient norms'].log and panels['R1 penalty'].log  # 3 to 200, 10 to 10000
    assert not panels['Adversarial losses, per image'].log and not panels[NAME].log  # 0.6 to 2, 4 to 40
    assert panels[NAME].curves[0].x == [0, 1, 2, 3, 4]


def test_curves_of_several_runs_know_their_run(tmp_path):
    runs = [read_run(write_run(tmp_path / name)) for name in 'ab']
    panel = next(panel for panel in make_panels(runs) if panel.title == 'Logits of D')
    assert [(c.label, c.run, c.kind) for c in panel.curves] == [
        ('real', 0, 0), ('generated', 0, 1), ('real', 1, 0), ('generated', 1, 1)]  # fmt: skip


def test_a_teacher_has_panels_of_its_own(tmp_path):
    values = {'Progress/kimg': 1.0, 'Loss/loss': 0.5, 'Grad/norm': 2.0}
    lines = [{name: dict(mean=value) for name, value in values.items()}]
    write_lines(f'{tmp_path}/stats.jsonl', lines)
    panels = make_panels([read_run(str(tmp_path))])
    assert [panel.title for panel in panels] == ['Denoising loss', 'Gradient norms']
    assert [curve.label for panel in panels for curve in panel.curves] == ['loss', 'all']


def test_every_statistic_is_one_that_training_reports():
    """Names in f-strings: 'Loss/logits/{kind}' and '{label}/norm' of labels 'Grad/G'."""
    sources = [path.read_text('utf-8') for path in (ROOT / 'training').rglob('*.py')]
    reported = set(re.findall(r"'((?:Loss|Progress|Timing)/[^'{]*)", '\n'.join(sources)))
    known = {name for name in reported if not name.endswith('/')} | set(stats_line(1))
    known |= {'Grad/R1/norm', 'Grad/norm'}
    assert {name for _, _, statistics, _ in PANELS for _, name in statistics} <= known
