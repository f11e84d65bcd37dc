# Copyright 2026 The GDD-1S authors.
# SPDX-License-Identifier: Apache-2.0
"""Tests of train.py as a command: bad input ends in one line and writes nothing; good input trains and
resumes."""

import json
import os
import pickle
import subprocess
import sys
import zipfile

import pytest
import torch
from click.testing import CliRunner

import train
from dnnlib import cli
from tests.support import ROOT, tiny_runs
from torch_utils import training_stats
from training import networks, options
from training.snapshots.snapshot import load_network


class Foreign:
    def __reduce__(self):
        return os.system, ('touch hacked',)


@pytest.fixture(scope='module')
def files(tmp_path_factory):
    """Data sets and teachers, good and bad, by name."""
    folder = tmp_path_factory.mktemp('files')
    made = dict(
        data=tiny_runs.write_zip(folder / 'data.zip'),
        teacher=tiny_runs.write_teacher(folder / 'teacher.pkl'),
        unlabelled=tiny_runs.write_zip(folder / 'unlabelled.zip', classes=0),
        large=tiny_runs.write_zip(folder / 'large.zip', resolution=16),
        grey=tiny_runs.write_zip(folder / 'grey.zip', channels=1),
        five=tiny_runs.write_zip(folder / 'five.zip', classes=5),
        unconditional=tiny_runs.write_teacher(folder / 'unconditional.pkl', classes=0),
        vp=tiny_runs.write_teacher(folder / 'vp.pkl', cls=networks.VPPrecond),
    )
    made['ref'] = os.path.join(ROOT, 'datasets', 'mnist-32x32-train-ref-mnist-classifier.npz')
    for name in ('missing', 'foreign', 'damaged', 'text', 'folder', 'empty_zip', 'no_zip'):
        made[name] = str(folder / f'{name}.{"zip" if name.endswith("zip") else "pkl"}')
    with open(made['foreign'], 'wb') as file:
        pickle.dump(dict(ema=Foreign()), file)
    with open(made['teacher'], 'rb') as source, open(made['damaged'], 'wb') as file:
        file.write(source.read()[:5000])
    for name in ('text', 'no_zip'):
        with open(made[name], 'w', encoding='utf-8') as file:
            file.write('nothing of the kind\n')
    os.mkdir(made['folder'])
    zipfile.ZipFile(made['empty_zip'], 'w').close()
    return made


@pytest.fixture
def command(tmp_path, monkeypatch):
    """Run train.py in an empty folder, in this process; bugs surface as exceptions, which invoke() keeps."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(training_stats, '_counters', {})
    tiny_runs.use_random_backbones(monkeypatch.setattr)
    for name in ('RANK', 'WORLD_SIZE', 'LOCAL_RANK'):
        monkeypatch.delenv(name, raising=False)
    return lambda *args: CliRunner().invoke(train.main, ['--outdir=runs', *args])


def error_line(result):
    """The one line that says what is wrong; nothing else but click's hint at --help may surround it."""
    assert result.exit_code in (1, 2) and isinstance(result.exception, SystemExit), result.exception
    assert 'Traceback' not in result.output
    lines = [line for line in result.output.splitlines() if line.startswith('Error: ')]
    assert len(lines) == 1 and result.output.endswith(lines[0] + '\n')
    assert result.output.count('\n') == 1 or result.exit_code == 2
    return lines[0]


GDD = ('--data={data}', '--cond=1', '--transfer={teacher}', *tiny_runs.GAN_ARGS)
EDM = ('--data={data}', '--cond=1', *tiny_runs.TEACHER_ARGS)
# Base, options that spoil it, and what the message must contain: option with value, rule, way out.
BAD_INPUT = {
    'teacher missing': (
        GDD,
        '--transfer={missing}',
        '--transfer={missing}: there is no such file',
        'network-snapshot-',
    ),
    'teacher is a folder': (
        GDD,
        '--transfer={folder}',
        '--transfer={folder}: this is not a file',
        'give the path or URL',
    ),
    'teacher damaged': (GDD, '--transfer={damaged}', '--transfer={damaged}: ', 'damaged'),
    'teacher is text': (GDD, '--transfer={text}', '--transfer={text}: ', ''),
    'teacher with foreign globals': (GDD, '--transfer={foreign}', '--transfer={foreign}: ', 'system'),
    'teacher of another kind': (GDD, '--transfer={vp}', '--transfer={vp} is a VPPrecond', '--precond=edm'),
    'teacher not given': (GDD[:2], '', '--transfer is missing', '--transfer=pretrained/'),
    'resolution': (
        GDD,
        '--data={large}',
        '--data={large} has resolution 16, but the teacher --transfer={teacher} has 8',
        'to resolution 8',
    ),
    'channels': (
        GDD,
        '--data={grey}',
        '--data={grey} has channels 1, but the teacher --transfer={teacher} has 3',
        'to channels 3',
    ),
    'label count': (
        GDD,
        '--data={five}',
        '--data={five} with --cond=True gives 5 classes, but the teacher --transfer={teacher} has 3',
        'use --cond=True with data of 3 classes',
    ),
    'teacher unconditional': (
        GDD,
        '--transfer={unconditional}',
        '--cond=True gives 3 classes',
        'use --cond=False',
    ),
    'teacher conditional': (GDD, '--cond=0', '--cond=False gives 0 classes', 'use --cond=True'),
    'labels missing': (
        EDM,
        '--data={unlabelled}',
        '--cond=True needs labels, but --data={unlabelled} has no dataset.json',
        'use --cond=False',
    ),
    'labels missing, gdd': (
        GDD,
        '--data={unlabelled}',
        '--cond=True needs labels, but --data={unlabelled}',
        'dataset_tool.py',
    ),
    'data missing': (
        EDM,
        '--data={missing}',
        '--data={missing} does not exist',
        'give an existing folder or .zip',
    ),
    'data is text': (EDM, '--data={no_zip}', '--data={no_zip}', 'zip'),
    'data empty': (EDM, '--data={empty_zip}', '--data={empty_zip} contains no images', 'dataset_tool.py'),
    'batch': (EDM, '--batch-gpu=3', '--batch=8 must be a multiple of 1 processes x 3', 'try --batch=9'),
    'network': (
        EDM,
        '--cbase=9',
        '--cbase=9 --cres=1,1 give no working network for 8x8 images',
        'try --cbase=32',
    ),
    'state missing': (
        EDM,
        '--resume={missing}',
        '--resume={missing} does not exist',
        'give a training-state-*.pt',
    ),
    'state foreign': (
        EDM,
        '--resume={foreign}',
        '--resume={foreign} is not a training state of this code',
        'training-state-*.pt',
    ),
    'freeze level': (GDD, '--freeze=4', "'--freeze': 4 is not in the range 0<=x<=3", ''),
    'class table of the official code': (
        GDD[:3],
        '--compat=official',
        'pretrained/imagenet-class-embeddings-tf_efficientnet_lite0.npy is missing; pretrained/README.md '
        'says how',
        'or give --class-embed=FILE.npy, random or computed',
    ),
    'option unknown': (GDD, '--lpips=1', '--lpips', ''),
    'option of the other loss': (EDM, '--dlr=0.1', '--dlr=0.1 needs --loss=gdd', 'leave it out'),
    'option of teachers': (GDD, '--ls=10', '--ls=10 needs --loss=edm', 'leave it out'),
    'two losses': (EDM, '--precond=vp', '--precond=vp does not go with --loss=edm', 'use --precond=edm'),
    'precision of the CPU': (
        EDM,
        '--fp16=1',
        '--precision=fp16 (or --fp16=True) needs a GPU',
        'use --precision=fp32 or bf16',
    ),
    'continuing another kind': (
        EDM,
        '--transfer={vp}',
        '--transfer={vp} is a VPPrecond',
        'trained with --precond=edm',
    ),
    'continuing a smaller one': (
        (*EDM, '--cbase=16'),
        '--transfer={teacher}',
        '--transfer={teacher}: the weights do not fit',
        'leave out --arch',
    ),
    'backbone': (GDD, '--backbone=resnet', '--backbone=resnet', 'did you mean resnet'),
    'backbone size': (GDD, '--d-resolution=100', '--d-resolution=100', 'try 96'),
    'class table': (GDD, '--class-embed=none.npy', '--class-embed=none.npy', 'cannot be read'),
    'metric name': (
        GDD,
        '--metrics=fid',
        "'--metrics': --metrics=fid: 'fid' is not known",
        'such as fd10k or fid50k',
    ),
    'metrics without reference': (
        EDM,
        '--metrics=fd2k',
        '--metrics=fd2k needs --metrics-ref',
        'fid.py ref makes such files',
    ),
    'metrics reference missing': (
        (*GDD, '--metrics=fd2k'),
        '--metrics-ref=none.npz',
        '--metrics-ref=none.npz cannot be read',
        'fid.py ref',
    ),
    'metrics reference of other images': (
        (*GDD, '--metrics=fd2k'),
        '--metrics-ref={ref}',
        'images of --data of shape (3, 8, 8)',
        'detector mnist-classifier, which takes (1, 32, 32)',
    ),
    'detector weights missing': (
        (*GDD, '--metrics=fd2k', '--metrics-ref={ref}'),
        '--metrics-detector-path={missing}',
        'detector mnist-classifier: there is no file {missing}',
        '',
    ),
    'no GPU': (EDM, '--device=cuda', 'GPU number 0, but this machine shows 0', 'use the CPU'),
}


@pytest.mark.parametrize('name', BAD_INPUT)
def test_bad_input_is_one_line_and_writes_nothing(name, command, files):
    if name == 'no GPU' and torch.cuda.is_available():
        pytest.skip('this machine has a GPU')
    base, spoil, *texts = BAD_INPUT[name]
    args = [arg.format(**files) for arg in (*base, spoil) if arg]
    line = error_line(command(*args))
    for text in texts:
        assert text.format(**files) in line
    assert os.listdir('.') == []


def test_outdir_that_cannot_be_written(command, files, tmp_path):
    (tmp_path / 'file').touch()
    for outdir in ('file', 'file/below'):
        line = error_line(command(*[arg.format(**files) for arg in EDM], f'--outdir={outdir}'))
        assert (
            f'--outdir: {outdir}/00000-' in line
            and 'is not a writable folder' in line
            and '--outdir=training-runs' in line
        )
    assert os.listdir('.') == ['file']


def test_restarts_of_the_launcher_need_resume(command, files, monkeypatch):
    monkeypatch.setenv('TORCHELASTIC_MAX_RESTARTS', '2')
    line = error_line(command(*[arg.format(**files) for arg in EDM]))
    assert line.startswith('Error: --max-restarts=2 of the launcher needs --resume=auto') and not os.listdir(
        '.'
    )
    config = dict(resume='auto')
    train.require_resume(config)
    monkeypatch.setenv('TORCHELASTIC_MAX_RESTARTS', '0')
    train.require_resume(dict(resume=None))


def test_nosubdir_never_writes_over_a_run(command, files, tmp_path):
    (tmp_path / 'runs').mkdir()
    (tmp_path / 'runs' / 'training_options.json').write_text('precious')
    line = error_line(command(*[arg.format(**files) for arg in EDM], '--nosubdir'))
    assert '--outdir=runs with --nosubdir already holds a run; choose an empty folder' in line
    assert (tmp_path / 'runs' / 'training_options.json').read_text() == 'precious' and len(
        os.listdir('runs')
    ) == 1


def test_messages_reach_a_real_terminal(files, tmp_path):
    """As a command of its own: nothing on stdout, one line on stderr, exit code 1."""
    args = [arg.format(**files) for arg in (*GDD, '--transfer={missing}')]
    run = subprocess.run(
        [sys.executable, os.path.join(ROOT, 'train.py'), '--outdir=runs', *args],
        cwd=tmp_path,
        text=True,
        capture_output=True,
        timeout=120,
        env=dict(os.environ, OMP_NUM_THREADS='1'),
    )
    assert run.returncode == 1 and run.stdout == '' and not os.listdir(tmp_path)
    assert run.stderr == (
        f'Error: --transfer={files["missing"]}: there is no such file; give the path or URL of a '
        'network-snapshot-KKKKKK.pkl\n'
    )


# ------------------------------------------------------------------------------------------------
# Good input.


def test_teacher_then_student_from_the_command_line(command, files):
    """A teacher, then a student of that teacher; run folders count on, and nothing but them appears."""
    args = [arg.format(**files) for arg in EDM]
    result = command(*args, tiny_runs.duration(16), '--desc=first', '--workers=1')
    assert result.exit_code == 0 and result.exception is None, result.output
    folder = 'runs/00000-data-cond-ncsnpp-edm-edm-gpus1-batch8-fp32-first'
    assert os.listdir('runs') == [os.path.basename(folder)]
    assert {
        'training_options.json',
        'log.txt',
        'stats.jsonl',
        'network-snapshot-000000.pkl',
        'fakes-000000.png',
        'launches.jsonl',
        'report.html',
    } <= set(os.listdir(folder))
    with open(f'{folder}/training_options.json', encoding='utf-8') as file:
        options = json.load(file)
    assert f'Run folder: {folder}' in result.output and json.dumps(options, indent=2) in result.output

    student = [arg.format(data=files['data'], teacher=f'{folder}/network-snapshot-000000.pkl') for arg in GDD]
    result = command(*student, tiny_runs.duration(16))
    assert result.exit_code == 0 and result.exception is None, result.output
    assert sorted(os.listdir('runs'))[1] == '00001-data-cond-teacher-gdd-gdd-gpus1-batch8-fp32'
    assert 'Finished after 0.016 kimg: runs/00001-' in result.output


def test_vp_teacher_with_augmentation_in_bfloat16_then_a_second_one_from_it(command, files):
    """EDM's spelling of the options; the snapshot holds what EDM's does."""
    args = (
        '--data={data}'.format(**files),
        '--cond=1',
        '--precond=vp',
        '--augment=0.5',
        '--precision=bf16',
        '--xflip=1',
        *tiny_runs.COMMON_ARGS,
        '--lr-rampup=0',
    )
    result = command(*args, *tiny_runs.NETWORK_ARGS, tiny_runs.duration(16))
    assert result.exit_code == 0 and result.exception is None, result.output
    folder = 'runs/00000-data-cond-ncsnpp-vp-vp-gpus1-batch8-bf16'
    net, info = load_network(f'{folder}/network-snapshot-000000.pkl')
    assert info.class_name == 'VPPrecond' and net.model.map_augment is not None and not net.use_fp16
    assert info.entries[:4] == ['ema', 'loss_fn', 'augment_pipe', 'dataset_kwargs']
    loss_fn, pipe = info.extras['loss_fn'], info.extras['augment_pipe']
    assert (loss_fn.class_name, loss_fn.beta_d, loss_fn.beta_min, loss_fn.epsilon_t) == (
        'VPLoss',
        19.9,
        0.1,
        1e-5,
    )
    assert (pipe.class_name, pipe.p, pipe.xflip, pipe.scale, pipe.hue) == ('AugmentPipe', 0.5, 1e8, 1, 0)
    assert info.dataset_kwargs == dict(
        class_name='training.dataset.ImageFolderDataset',
        path='data.zip',
        use_labels=True,
        xflip=True,
        cache=True,
        resolution=8,
        max_size=20,
    )

    result = command(*args, f'--transfer={folder}/network-snapshot-000000.pkl', tiny_runs.duration(8))
    assert result.exit_code == 0 and result.exception is None, result.output
    assert f'Weights: from --transfer={folder}/network-snapshot-000000.pkl sha256 ' in result.output
    assert (
        'Loss: VPLoss (beta_d 19.9, beta_min 0.1, epsilon_t 1e-05); augmentation: --augment=0.5'
        in result.output
    )
    assert os.path.exists('runs/00001-data-cond-teacher-vp-vp-gpus1-batch8-bf16/network-snapshot-000000.pkl')


def test_resume_goes_on_in_the_same_folder(command, files):
    args = [arg.format(**files) for arg in EDM]
    # Two ticks: the first ends after the first iteration and leaves no state, the end does.
    result = command(*args, tiny_runs.duration(16), '--nosubdir', '--seed=9')
    assert result.exit_code == 0, result.output
    before = set(os.listdir('runs'))
    result = command(
        *args, tiny_runs.duration(32), '--resume=runs/training-state-000000.pt', '--seed=9', '--desc=unused'
    )
    assert result.exit_code == 0, result.output
    assert 'Run folder: runs\n' in result.output and set(os.listdir('runs')) == before
    kimg = [line['Progress/kimg']['mean'] for line in tiny_runs.read_stats('runs')]
    assert kimg == pytest.approx([0.008, 0.016, 0.032])
    with open('runs/log.txt', encoding='utf-8') as file:
        assert file.read().count('Finished after') == 2


def test_state_in_the_current_folder_can_be_resumed(command, files, monkeypatch):
    args = [arg.format(**files) for arg in EDM]
    assert command(*args, tiny_runs.duration(16), '--nosubdir').exit_code == 0
    monkeypatch.chdir('runs')
    result = command(*args, tiny_runs.duration(16), '--resume=training-state-000000.pt')
    assert result.exit_code == 0 and result.exception is None, result.output
    assert 'Nothing to do' in result.output and not os.path.exists('runs')


def test_only_rank_0_reports_at_once(files, tmp_path, monkeypatch):
    """Another process waits before it speaks, so that it cannot end the run before rank 0 has said what is
    wrong."""
    waits = []
    monkeypatch.setattr(cli.time, 'sleep', waits.append)
    for rank, prefix, waited in (('0', '', []), ('1', 'process 1: ', [5])):
        monkeypatch.setenv('RANK', rank)
        result = CliRunner().invoke(train.main, ['--outdir=runs', '--data=d.zip'])
        assert error_line(result).startswith(f'Error: {prefix}--transfer is missing') and waits == waited


def test_diverged_run_stops_in_one_line_after_the_options(command, files, monkeypatch):
    """A learning rate beyond what the command line takes: the second step on has NaN gradients."""
    monkeypatch.setattr(options.RATE, 'most', 1e38)
    result = command(
        *[arg.format(**files) for arg in EDM],
        tiny_runs.duration(80),
        '--lr=1e37',
        '--nan-limit=3',
        '--nosubdir',
    )
    lines = [line for line in result.output.splitlines() if line.startswith('Error: ')]
    assert (
        result.exit_code == 1
        and isinstance(result.exception, SystemExit)
        and 'Traceback' not in result.output
    )
    assert len(lines) == 1 and result.output.endswith(lines[0] + '\n')
    assert (
        '--nan-limit=3 is reached: 3 optimizer steps had non-finite gradients by 0.032 kimg; the newest '
        'files in runs are ' in lines[0]
    )
    assert 'network-snapshot-000000.pkl; go on from there with a lower --lr' in lines[0]
