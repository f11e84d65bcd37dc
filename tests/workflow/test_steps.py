# Copyright 2026 The GDD-1S authors.
# SPDX-License-Identifier: Apache-2.0
"""Tests of workflow/steps.py: what is done is skipped, what has changed is not, failures keep their code."""

import pytest

from workflow.steps import Step, StepFailed, Steps, run_command, signature, spell


def write_step(folder, text='a', source=None):
    made = folder / 'made.txt'
    code = f'import pathlib; pathlib.Path({str(made)!r}).write_text({text!r})'
    inputs = [str(source)] if source else []
    return Step('write', 'write a file', ['-c', code], inputs, lambda: str(made) if made.exists() else None)


def test_a_step_runs_once(tmp_path):
    lines = []
    assert Steps(str(tmp_path), lines.append).run(write_step(tmp_path)) == str(tmp_path / 'made.txt')
    Steps(str(tmp_path), lines.append).run(write_step(tmp_path))
    assert (tmp_path / 'made.txt').read_text() == 'a' and lines[-1].startswith('write: done before, ')


def test_another_command_another_input_or_a_lost_result_runs_it_again(tmp_path):
    source = tmp_path / 'source.txt'
    source.write_text('1')
    steps = Steps(str(tmp_path), lambda line: None)
    for change in (lambda: None, lambda: source.write_text('22'), lambda: (tmp_path / 'made.txt').unlink()):
        change()
        assert steps.result(write_step(tmp_path, 'a', source)) is None
        steps.run(write_step(tmp_path, 'a', source))
        assert steps.result(write_step(tmp_path, 'a', source)) is not None
    assert steps.result(write_step(tmp_path, 'b', source)) is None


def test_failure_passes_on_the_exit_code(tmp_path):
    step = Step('stop', 'end with 75', ['-c', 'raise SystemExit(75)'], [], lambda: None)
    with pytest.raises(StepFailed, match='step stop has ended with exit code 75; the same command') as caught:
        Steps(str(tmp_path), lambda line: None).run(step)
    assert caught.value.code == 75
    wrong = step._replace(command=['-c', 'raise SystemExit(1)'])
    with pytest.raises(StepFailed, match='exit code 1; once that is mended, the same command goes on'):
        Steps(str(tmp_path), lambda line: None).run(wrong)
    with pytest.raises(StepFailed, match='step none has left no result'):
        Steps(str(tmp_path), lambda line: None).run(step._replace(name='none', command=['-c', '']))
    assert run_command(['-c', 'import os; os.kill(os.getpid(), 9)']) == 137


def test_a_damaged_record_is_no_record(tmp_path):
    (tmp_path / 'steps.json').write_text('{')
    assert Steps(str(tmp_path), lambda line: None).result(write_step(tmp_path)) is None


def test_signature_of_a_folder_sees_its_files(tmp_path):
    before = signature(str(tmp_path))
    (tmp_path / 'a').mkdir()
    (tmp_path / 'a' / 'b').write_text('xy')
    after = signature(str(tmp_path))
    assert before[:2] == [0, 0] and after[:2] == [1, 2]
    assert signature(str(tmp_path / 'none')) == [0, 0, 0]
    assert spell(['fid.py', '--ref=a b']) == "python fid.py '--ref=a b'"
