# Copyright 2026 The GDD-1S authors.
# SPDX-License-Identifier: Apache-2.0
"""Tests of training/run/resume.py and of --resume=auto in train.py: which run goes on, what is refused, what
its folder holds."""

import json
import os

import pytest
import torch
from click.testing import CliRunner

import train
from dnnlib.errors import ArgumentError, arg, as_option
from tests.support import ROOT, tiny_runs
from torch_utils import training_stats
from training.options import OPTIONS
from training.run import resume
from training.run import state as training_state

RUN = '00000-data-cond-ncsnpp-edm-edm-gpus1-batch8-fp32'


def config_of(*args, images=20, teacher=None):
    config = tiny_runs.make_config(*tiny_runs.TEACHER_ARGS, '--data=a/data.zip', '--cond=1', *args)
    config = dict(config, dataset_kwargs=dict(config['dataset_kwargs'], max_size=images))
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
    assert not resume.UNCOMPARED & set(one['options'])


def test_every_option_says_how_a_resumed_run_may_differ():
    kinds = {name: {o.name for o in OPTIONS if o.resume == name} for name in ('free', 'file')}
    assert kinds['file'] == {'data', 'transfer', 'target', 'max_size'}
    assert kinds['free'] == set(
        'resume duration device batch_gpu workers cache bench channels_last trust_pickle tick snap dump '
        'dump_min keep grid nan_limit tensorboard metrics metrics_ref metrics_detector '
        'metrics_detector_path metrics_batch perf reduce wandb'.split()
    )
    assert {o.resume for o in OPTIONS} == {'fixed', 'free', 'file', 'spelling', None}


def test_the_document_lists_what_may_change():
    text = (ROOT / 'docs/training.md').read_text().split('### What may change')[1].split('###')[0]
    for option in OPTIONS:
        if option.resume in ('free', 'file') and option.name not in ('resume', 'max_size'):
            name = 'metrics-*' if option.name.startswith('metrics_') else option.name.replace('_', '-')
            assert f'`--{name}`' in text, option.name


def spelled(side):
    return ArgumentError(*side).spell(as_option)


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
    assert tuple(map(spelled, resume.compare(stored, own)[0])) == expected
    with pytest.raises(training_state.StateError) as caught:
        resume.require_same_run(arg('resume', 'x.pt'), stored, own)
    assert caught.value.spell(as_option).startswith(
        f'--resume=x.pt was written with {expected[0]}, this run has {expected[1]}'
    )


@pytest.mark.parametrize(
    'stored', [{}, dict(options=3), dict(options={}, files=[], processes=1), dict(options=[1])]
)
def test_state_that_does_not_say_which_run_it_is(stored):
    with pytest.raises(training_state.StateError) as caught:
        resume.require_same_run(arg('resume', 'x.pt'), stored, resume.identity(config_of(), 1))
    line = caught.value.spell(as_option)
    assert line.startswith('--resume=x.pt does not say which run it belongs to (') and line.endswith(
        'without --resume'
    )


def test_spelling_does_not_count():
    runs = [
        resume.identity(
            tiny_runs.make_config('--data=d.zip', *args)
            | dict(dataset_kwargs=dict(path='d.zip', max_size=1)),
            1,
        )
        for args in (
            ('--loss=edm', '--fp16=1'),
            ('--loss=edm', '--precision=fp16', '--precond=edm'),
            ('--loss=edm', '--precision=bf16'),
        )
    ]
    assert runs[0] == runs[1] != runs[2]


@pytest.mark.parametrize(
    'option, kept, changed',
    [
        ('--r1-gamma=0.01', {}, []),
        ('--use-gp=0', dict(use_gp=False), []),
        ('--interp224=0', dict(interp224=False), []),
        ('--r1-gamma=0.01', dict(use_gp=False), ['--r1-type=empty']),
    ],
)
def test_runs_of_earlier_versions_go_on(option, kept, changed):
    """Their files hold the second spellings beside the options."""
    config = tiny_runs.make_config('--data=d.zip', '--transfer=t.pkl', option)
    old = dict(use_gp=True, interp224=True, d_type='xl', persistent_workers=True, lpips=None) | kept
    old_options = config['options'] | dict(r1_type='r1', d_resolution=224) | old
    stored = dict(resume.identity(config, 1), options=old_options)
    found = resume.compare(stored, resume.identity(config, 1))
    named = [spelled(side) for side, _ in found if 'not given' not in spelled(side)]
    assert [text for text in named if text.startswith('--r1') or text.startswith('--d-')] == changed


def test_number_of_processes_may_change_in_clean_only():
    for compat, expected in (('clean', []), ('official', [('2 processes under --compat=official', '4')])):
        config = config_of(f'--compat={compat}')
        found = resume.compare(resume.identity(config, 2), resume.identity(config, 4))
        assert [tuple(map(spelled, pair)) for pair in found] == expected


def test_options_of_other_versions():
    """One that an earlier version did not have had its default; one that only a later one has is unknown."""
    stored, own = resume.identity(config_of(), 1), resume.identity(config_of(), 1)
    del stored['options']['lr_rampup'], stored['options']['fd_queue']
    found = resume.compare(stored, own)
    assert [tuple(map(spelled, pair)) for pair in found] == [('--lr-rampup=10000', '--lr-rampup=0')]
    later = dict(own, options=dict(own['options'], novelty=1))
    found = resume.compare(later, own)
    assert [tuple(map(spelled, pair)) for pair in found] == [('--novelty=1', '--novelty=unknown')]


def test_options_that_the_loss_does_not_read_are_no_difference():
    """A teacher goes on although the default of an option of distillation has changed meanwhile."""
    teacher = resume.identity(tiny_runs.make_config('--data=d.zip', '--loss=edm'), 1)
    changed = dict(teacher, options=dict(teacher['options'], r1_gamma=0.5, freeze=3))
    assert [pair[0][0].name for pair in resume.compare(changed, teacher)] == ['freeze']
    student = resume.identity(tiny_runs.make_config('--data=d.zip', '--transfer=t.pkl'), 1)
    changed = dict(student, options=dict(student['options'], r1_gamma=0.5))
    assert [pair[0][0].name for pair in resume.compare(changed, student)] == ['r1_gamma']


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
        f'Error: --resume=auto: none of the {len(states)} states in runs/{RUN} can be read; delete them to '
        'start that run from '
        f'its beginning, or move the folder away (Skipping {states[-1]}: damaged or incomplete (ZipError))'
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


# ------------------------------------------------------------------------------------------------
# Damaged options, and what a kill leaves.

DAMAGES = {
    'empty': b'',
    'cut': b'{"loss": "edm", "opti',
    'no text': b'\xff\xfe\x00{}',
    'another type': b'[1, 2]',
    'nothing in it': b'{}',
    'options of another type': b'{"options": 3, "processes": 1, "dataset_kwargs": {}}',
    'deeply nested': b'[' * 100_000,
    'no processes': b'{"options": {}, "dataset_kwargs": {"path": "a", "max_size": 1}}',
}


@pytest.mark.parametrize('name', DAMAGES)
def test_damaged_options_are_named(name, tmp_path):
    path = tmp_path / 'training_options.json'
    path.write_bytes(DAMAGES[name])
    with pytest.raises(ArgumentError) as caught:
        resume.read_identity(str(tmp_path))
    line = caught.value.spell(as_option)
    assert (
        line.startswith(f'--resume=auto: {path} cannot tell which run this is: it is damaged (')
        and '\n' not in line
    )


@pytest.mark.parametrize('make', [os.mkdir, os.mkfifo])
def test_options_that_are_no_file_are_not_waited_for(make, tmp_path):
    make(tmp_path / 'training_options.json')
    with pytest.raises(ArgumentError, match='cannot tell which run this is'):
        resume.read_identity(str(tmp_path))


@pytest.mark.parametrize('content', [None, b''])
@pytest.mark.parametrize('nosubdir', [(), ('--nosubdir',)])
def test_damaged_options_end_the_command_and_nothing_is_written(content, nosubdir, command):
    command(8, *nosubdir)
    run_dir = 'runs' if nosubdir else f'runs/{RUN}'
    path = f'{run_dir}/training_options.json'
    os.remove(path)
    if content is not None:
        with open(path, 'wb') as file:
            file.write(content)
    before = {entry: os.path.getmtime(f'{run_dir}/{entry}') for entry in os.listdir(run_dir)}
    result = command(24, *nosubdir, '--seed=9')
    line = result.output.splitlines()[-1]
    assert result.exit_code == 1 and line.startswith(
        f'Error: --resume=auto: {path} cannot tell which run this is: '
    )
    state = line.split('--resume=')[-1]  # advice that can be followed
    assert os.path.isfile(state) and os.path.dirname(state) == run_dir
    assert before == {entry: os.path.getmtime(f'{run_dir}/{entry}') for entry in os.listdir(run_dir)}
    assert nosubdir or os.listdir('runs') == [RUN]


def test_run_of_the_official_code_is_passed_over(command):
    os.makedirs(f'runs/{RUN}')
    with open(f'runs/{RUN}/training_options.json', 'w', encoding='utf-8') as file:
        json.dump(dict(dataset_kwargs=dict(path='data.zip'), network_kwargs={}), file)
    assert command(8).exit_code == 0 and len(os.listdir('runs')) == 2


@pytest.mark.parametrize('args', [(), ('--resume=',)])
def test_folder_of_a_start_that_was_killed_is_taken_over(args, command):
    os.makedirs(f'runs/{RUN}')
    open(f'runs/{RUN}/.tmp-12-0123456789ab', 'w').close()
    result = command(8, *args)
    assert result.exit_code == 0 and os.listdir('runs') == [RUN], result.output
    assert os.path.exists(f'runs/{RUN}/stats.jsonl') and not os.path.exists(
        f'runs/{RUN}/.tmp-12-0123456789ab'
    )
