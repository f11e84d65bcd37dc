# Copyright 2026 The GDD-1S authors.
# SPDX-License-Identifier: Apache-2.0
"""Test that compare_checkouts.py sees differences; its checkouts here are stand-ins that only write files."""

import copy
import io
import json

import pytest
import torch
from click.testing import CliRunner

from tests import compare_checkouts
from tests.compare_checkouts import compare_files, compare_snapshots, compare_states, compare_stats
from tests.support import tiny_runs
from training.snapshots.snapshot import load_network

# A train.py that writes what a run leaves; `RATE` stands for whatever the code computes.
STAND_IN = """
import json, os, sys
options = dict(text[2:].partition('=')[::2] for text in sys.argv[1:])
folder = options['outdir']
if RATE is None:
    sys.exit('Error: no rate')
os.makedirs(folder, exist_ok=True)
with open(folder + '/stats.jsonl', 'w') as file:
    json.dump({'Loss/loss': {'mean': RATE}, 'Timing/s': {'mean': os.getpid()}, 'timestamp': 1}, file)
for name in ('training-state-000000.pt', 'network-snapshot-000000.pkl', 'fakes-000000.png'):
    open(folder + '/' + name, 'wb').close()
"""


def write_stand_in(folder, rate):
    folder.mkdir()
    (folder / 'train.py').write_text(STAND_IN.replace('RATE', repr(rate)))
    return str(folder)


@pytest.mark.parametrize(
    'rate, status, words',
    [
        (0.5, 0, ['equal', '1 of 1 cases']),
        (0.5000001, 1, ['1 DIFFER', 'stats.jsonl: /0/Loss/loss/mean', '0 of 1 cases']),
        (None, 1, ['FAILED', 'exit status 1: Error: no rate']),
    ],
)
def test_command(tmp_path, rate, status, words):
    other, here = write_stand_in(tmp_path / 'a', 0.5), write_stand_in(tmp_path / 'b', rate)
    arguments = [other, f'--here={here}', '--only=teacher vp', f'--keep={tmp_path / "keep"}']
    result = CliRunner().invoke(compare_checkouts.main, arguments)
    assert result.exit_code == status, result.output
    for word in words:
        assert word in result.output
    # The runs of the other checkout are taken from the folder now, not made again.
    write_stand_in(tmp_path / 'c', None)
    again = CliRunner().invoke(compare_checkouts.main, [str(tmp_path / 'c'), *arguments[1:]])
    assert again.exit_code == status and again.output.count('exit status') == (rate is None)


def test_unknown_case_and_folder(tmp_path):
    for arguments, words in (
        ([write_stand_in(tmp_path / 'a', 1), '--only=nothing'], 'names no case'),
        ([str(tmp_path)], 'has no train.py'),
    ):
        result = CliRunner().invoke(compare_checkouts.main, arguments)
        assert result.exit_code == 1 and words in result.output


def saved(state):
    file = io.BytesIO()
    torch.save(state, file)
    return file.getvalue()


def test_states_bit_for_bit():
    state = dict(
        nimg=8, task=dict(G=torch.tensor([0.0, float('nan')])), progress=dict(total_sec=1.0), names=[]
    )
    other = copy.deepcopy(state)
    other['progress']['total_sec'] = 2.0
    assert compare_states(saved(state), saved(other)) == ([], 0)
    for change in (
        lambda s: s['task']['G'].mul_(-1),  # -0.0
        lambda s: s['task'].update(G=s['task']['G'].double()),
        lambda s: s.update(nimg=8.0),
        lambda s: s['task'].update(D=torch.zeros(1)),
        lambda s: s.pop('names'),
        lambda s: s['task'].update(G=torch.tensor([0.0, 1.0])),
    ):
        changed = copy.deepcopy(state)
        change(changed)
        found, names = compare_states(saved(state), saved(changed))
        assert len(found) == 1 and names == 0


def test_options_may_have_other_names_but_not_other_values():
    state = dict(run=dict(options=dict(lr=0.1, lpips=None)))
    fewer, other = dict(run=dict(options=dict(lr=0.1))), dict(run=dict(options=dict(lr=0.2, lpips=None)))
    assert compare_states(saved(state), saved(fewer)) == ([], 1)
    assert compare_states(saved(state), saved(other)) == (['/run/options/lr'], 0)


def test_statistics():
    line = dict(timestamp=1.5, **{'Loss/loss': dict(num=8, mean=None), 'Resources/cpu': dict(num=1, mean=3)})
    later = dict(line, timestamp=2.5, **{'Resources/cpu': dict(num=1, mean=4)})
    a, b = (json.dumps(x).encode() + b'\n' for x in (line, later))
    assert compare_stats(a, b) == []
    assert compare_stats(a, a + b) and compare_stats(a, b.replace(b'null', b'0.0')) == ['/0/Loss/loss/mean']


def test_snapshots(tmp_path):
    data = open(tiny_runs.write_teacher(tmp_path / 'a.pkl'), 'rb').read()
    text = b'# SPDX-License-Identifier: Apache-2.0'
    assert data.count(text) == 1  # the text of training/networks.py
    assert compare_snapshots(data, data.replace(text, text[::-1])) == ([], 1)
    assert compare_files('a.pkl', data, data) == ([], '')
    # The last bit of a weight.
    weight = next(load_network(tmp_path / 'a.pkl')[0].parameters()).detach().numpy().tobytes()
    assert data.count(weight) == 1
    found, programs = compare_snapshots(data, data.replace(weight, bytes([weight[0] ^ 1]) + weight[1:]))
    assert len(found) == 1 and 'BINBYTES' in found[0] and programs == 0
    # An argument.
    other = tmp_path / 'b.pkl'
    tiny_runs.write_teacher(other, dropout=0.5)
    found, programs = compare_snapshots(data, other.read_bytes())
    assert programs == 0 and any("'dropout'" in text for text in found)
