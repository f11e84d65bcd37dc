# Copyright 2026 The GDD-1S authors.
# SPDX-License-Identifier: Apache-2.0
"""Tests of training/run/resume.py and of --resume=auto in train.py: which run goes on, what is refused, what its folder holds."""

import json
import os

import pytest
import torch
from click.testing import CliRunner

import train
from tests.support import tiny_runs
from torch_utils import training_stats
from training import config as config_lib
from training.run import resume
from training.run import state as training_state

RUN = '00000-data-cond-ncsnpp-edm-edm-gpus1-batch8-fp32'


def config_of(*args, images=20, teacher=None):
    config = tiny_runs.make_config(*tiny_runs.TEACHER_ARGS, '--data=a/data.zip', '--cond=1', *args)
    config['dataset_kwargs']['max_size'] = images
    return dict(config, teacher=dict(sha256=teacher)) if teacher else config


# ------------------------------------------------------------------------------------------------
# What makes two runs the same.


def test_identity_is_plain_and_free_options_are_not_part_of_it():
    one = resume.identity(config_of(), 2)
    two = resume.identity(
        config_of('--duration=9', '--workers=3', '--data=elsewhere/data.zip', '--resume=auto', '--dump=5'), 2
    )
    assert (
        one == two == json.loads(json.dumps(one))
        and one['options']['cres'] == [1, 1]
        and one['options']['precision'] == 'fp32'
    )
    assert not set(resume.FREE_OPTIONS) & set(one['options'])


def test_free_options_exist():
    assert set(resume.FREE_OPTIONS + resume.FILE_OPTIONS) <= {param.name for param in train.main.params}


@pytest.mark.parametrize(
    'args, options, expected',
    [
        (('--lr=0.02',), {}, ('--lr=0.01', '--lr=0.02')),
        (('--cres=1,2',), {}, ('--cres=1,1', '--cres=1,2')),
        (('--max-size=9',), dict(images=9), ('images of --data=20', '9')),
        (('--data=b.zip',), {}, ('--data=data', 'b')),
        ((), dict(teacher='ab' * 32), ('SHA-256 of --transfer=None', 'ab' * 16)),
        (('--fp16=1', '--arch=ddpmpp'), {}, ('--arch=ncsnpp', '--arch=ddpmpp')),
    ],
)
def test_differences_are_named_with_both_values(args, options, expected):
    stored, own = resume.identity(config_of(), 1), resume.identity(config_of(*args, **options), 1)
    assert resume.compare(stored, own)[0] == expected
    with pytest.raises(training_state.StateError) as caught:
        resume.require_same_run('--resume=x.pt', stored, own)
    assert str(caught.value).startswith(
        f'--resume=x.pt was written with {expected[0]}, this run has {expected[1]}'
    )


def test_spelling_does_not_count():
    base = ('--outdir=none', '--data=d.zip', '--loss=edm')
    runs = [
        resume.identity(
            dict(
                config_lib.build_config(params_of(*base, *args)),
                dataset_kwargs=dict(path='d.zip', max_size=1),
            ),
            1,
        )
        for args in (('--fp16=1',), ('--precision=fp16', '--precond=edm'), ('--precision=bf16',))
    ]
    assert runs[0] == runs[1] != runs[2]


def params_of(*args):
    params = dict(train.main.make_context('train.py', list(args)).params)
    return {
        name: value for name, value in params.items() if name not in ('outdir', 'desc', 'nosubdir', 'dry_run')
    }


def test_number_of_processes_may_change_in_clean_only():
    for compat, expected in (('clean', []), ('official', [('2 processes under --compat=official', '4')])):
        config = config_of(f'--compat={compat}')
        assert resume.compare(resume.identity(config, 2), resume.identity(config, 4)) == expected


def test_option_of_another_version_is_a_difference():
    stored, own = resume.identity(config_of(), 1), resume.identity(config_of(), 1)
    del stored['options']['lr_rampup']
    assert resume.compare(stored, own) == [('--lr-rampup=unknown', '--lr-rampup=0')]


# ------------------------------------------------------------------------------------------------
# The folder.


def test_lines_beyond_the_position_are_moved(tmp_path):
    path = tmp_path / 'stats.jsonl'
    lines = [json.dumps({'Progress/kimg': dict(num=1, mean=kimg)}) for kimg in (0.008, 0.024, 0.032)]
    path.write_text('\n'.join([*lines, '{"Progress/kimg": {"nu']))
    notes = resume.tidy_run_dir(str(tmp_path), 24)
    assert path.read_text() == '\n'.join(lines[:2]) + '\n'
    assert (tmp_path / 'stats.jsonl.discarded').read_text() == lines[2] + '\n{"Progress/kimg": {"nu\n'
    assert notes == ['stats.jsonl: 2 line(s) beyond 0.024 kimg moved to stats.jsonl.discarded']
    assert resume.tidy_run_dir(str(tmp_path), 24) == []
    resume.tidy_run_dir(str(tmp_path), 0)
    assert path.read_text() == '' and len((tmp_path / 'stats.jsonl.discarded').read_text().splitlines()) == 4


def test_leftovers_of_a_kill_are_tidied_up(tmp_path):
    for name in (
        '.tmp-123-0123456789ab',
        '.tmp-notes',
        'training-state-000001.pt',
        'training-state-000002.pt',
        'log.txt',
    ):
        (tmp_path / name).touch()
    notes = resume.tidy_run_dir(str(tmp_path), 1000)
    assert sorted(os.listdir(tmp_path)) == [
        '.tmp-notes',
        'log.txt',
        'training-state-000001.pt',
        'training-state-000002.pt.discarded',
    ]
    assert len(notes) == 2 and notes[0].startswith('Removed .tmp-123-0123456789ab, left half-written')


# ------------------------------------------------------------------------------------------------
# --resume=auto from the command line.


@pytest.fixture
def command(tmp_path, monkeypatch):
    """Run train.py on a tiny teacher, with states named by images and ticks of 16 images."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(training_stats, '_counters', {})
    tiny_runs.use_small_steps(monkeypatch.setattr)
    tiny_runs.write_zip('data.zip')
    for name in ('RANK', 'WORLD_SIZE', 'LOCAL_RANK'):
        monkeypatch.delenv(name, raising=False)

    def invoke(nimg, *args):
        result = CliRunner().invoke(
            train.main,
            [
                '--outdir=runs',
                '--data=data.zip',
                '--cond=1',
                *tiny_runs.TEACHER_ARGS,
                '--grid=0',
                '--dump=1',
                '--keep=0',
                '--resume=auto',
                tiny_runs.duration(nimg),
                *args,
            ],
        )
        assert 'Traceback' not in result.output and isinstance(result.exception, (SystemExit, type(None))), (
            result.exception
        )
        return result

    return invoke


def test_the_same_command_goes_on_and_ends(command):
    assert command(24).exit_code == 0 and os.listdir('runs') == [RUN]
    result = command(40)
    assert result.exit_code == 0 and os.listdir('runs') == [RUN]
    assert f'Going on at 0.024 kimg from runs/{RUN}/training-state-000024.pt' in result.output
    result = command(40)
    assert (
        result.exit_code == 0
        and 'Nothing to do: 0.04 kimg are done' in result.output
        and os.listdir('runs') == [RUN]
    )
    kimg = [round(line['Progress/kimg']['mean'] * 1000) for line in tiny_runs.read_stats(f'runs/{RUN}')]
    assert kimg == [8, 24, 40]


def test_other_options_start_another_run_and_say_why(command):
    command(16)
    result = command(16, '--lr=0.02')
    assert f'Not going on with runs/{RUN}: it has --lr=0.01, this run --lr=0.02' in result.output
    assert len(os.listdir('runs')) == 2
    # Each of the two commands finds its own folder, also the older one.
    for args, number in (((), '00000'), (('--lr=0.02',), '00001')):
        assert f'Run folder: runs/{number}-' in command(32, *args).output
    assert len(os.listdir('runs')) == 2


def test_another_number_of_processes_finds_the_run(command):
    """In `clean` only; the folder keeps its name."""
    command(16)
    os.rename(f'runs/{RUN}', f'runs/{RUN.replace("gpus1", "gpus2")}')
    result = command(24)
    assert (
        result.exit_code == 0 and len(os.listdir('runs')) == 1 and 'Going on at 0.016 kimg' in result.output
    )
    result = command(24, '--compat=official')
    assert len(os.listdir('runs')) == 2 and 'Going on' not in result.output


def test_truncated_newest_state_is_skipped(command):
    command(40)
    newest = f'runs/{RUN}/training-state-000040.pt'
    whole = training_state.load_state(newest)
    os.truncate(newest, os.path.getsize(newest) // 2)
    result = command(40)
    assert result.exit_code == 0 and f'Skipping {newest}: damaged or incomplete' in result.output
    assert f'Going on at 0.024 kimg from runs/{RUN}/training-state-000024.pt' in result.output
    assert 'stats.jsonl: 1 line(s) beyond 0.024 kimg moved' in result.output and os.path.exists(
        newest + '.discarded'
    )
    assert not tiny_runs.differences(
        *(tiny_runs.lasting(state) for state in (whole, training_state.load_state(newest)))
    )


def test_no_usable_state_is_an_error_and_no_state_a_new_start(command):
    command(24)
    states = training_state.list_states(f'runs/{RUN}')
    for path in states:
        os.truncate(path, 100)
    result = command(24)
    assert result.exit_code == 1 and result.output.splitlines()[-1] == (
        f'Error: --resume=auto: none of the {len(states)} states in runs/{RUN} can be read; delete them to start that run from '
        'its beginning, or move the folder away'
    )
    for path in states:
        os.remove(path)
    result = command(24)
    assert result.exit_code == 0 and f'runs/{RUN} has no state yet: its run starts again' in result.output
    assert len(tiny_runs.read_stats(f'runs/{RUN}')) == 2


def test_nosubdir_goes_on_in_the_folder_itself(command):
    assert command(16, '--nosubdir').exit_code == 0
    assert 'Going on at 0.016 kimg from runs/training-state-000016.pt' in command(24, '--nosubdir').output
    result = command(24, '--nosubdir', '--lr=0.02')
    assert (
        result.exit_code == 1
        and (
            'Error: --outdir=runs with --nosubdir holds a run with --lr=0.01, this one has --lr=0.02; '
            'give the options of that run, or another folder'
        )
        in result.output
    )


def test_earlier_state_by_name_leaves_the_later_ones_aside(command):
    """Going back explicitly starts a new branch: its states are the newest from then on."""
    command(40)
    result = command(24, f'--resume=runs/{RUN}/training-state-000024.pt')
    assert 'training-state-000040.pt lies beyond the position of this run' in result.output
    assert 'Going on at 0.024 kimg' in command(32).output


def test_folder_in_use(command):
    command(16)
    with training_state.lock(f'runs/{RUN}'):
        result = command(32)
    assert result.exit_code == 1 and f'Error: runs/{RUN} is in use by another process' in result.output


def test_states_need_no_code(command):
    command(16)
    state = torch.load(f'runs/{RUN}/training-state-000016.pt', weights_only=True)
    assert set(training_state.STATE_TYPES) <= set(state)
