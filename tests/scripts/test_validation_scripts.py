# Copyright 2026 The GDD-1S authors.
# SPDX-License-Identifier: Apache-2.0

"""validation_fid.sh and validate_is_pr.sh: which commands they run, what they skip, how they end. Python is a stub here."""

import os
import re
import shlex
import subprocess
import sys

import pytest

import fid
import generate
from evaluations import published
from tests.support import ROOT

CHECKPOINTS = (
    'cifar_uncond_gdd_i.pkl',
    'cifar_cond_gdd_i.pkl',
    'ffhq_gdd_i.pkl',
    'afhqv2_gdd.pkl',
    'imagenet_gdd_i.pkl',
)
REFERENCES = {
    'cifar10-uncond': 'cifar10-32x32.npz',
    'cifar10-cond': 'cifar10-32x32.npz',
    'ffhq': 'ffhq-64x64.npz',
    'afhqv2': 'afhqv2-64x64.npz',
    'imagenet': 'imagenet-64x64.npz',
}


@pytest.fixture
def files(tmp_path):
    """Checkpoints and references by name, empty; and a Python that prints its arguments, and fails on request."""
    for name in (*CHECKPOINTS, *REFERENCES.values(), 'VIRTUAL_imagenet64_labeled.npz', 'mine.pkl'):
        (tmp_path / name).touch()
    stub = tmp_path / 'python'
    stub.write_text(
        '#!/bin/sh\n'
        f'case "$1" in evaluations/published.py) exec {shlex.quote(sys.executable)} "$@" ;; esac\n'
        'echo "$*"\ncase "$*" in *"${FAILING:-nothing}"*) exit 3 ;; esac\n'
    )
    stub.chmod(0o755)
    return tmp_path


def run(script, files, *names, **variables):
    env = {
        **os.environ,
        'VENV': 'none',
        'PYTHON': str(files / 'python'),
        'CHECKPOINTS': str(files),
        'REFS': str(files),
        **variables,
    }
    result = subprocess.run(
        ['sh', script, *names], cwd=ROOT, env=env, capture_output=True, text=True, timeout=60
    )
    return result.returncode, result.stdout, result.stderr


def commands(output, script):
    return [line.split(f'{script} ')[1].split() for line in output.splitlines() if f' {script} ' in line]


def options(words):
    return dict(word[2:].split('=', 1) for word in words if '=' in word)


def test_published_checkpoints_and_their_references(files):
    code, output, error = run('validation_fid.sh', files, *REFERENCES)
    calls = commands(output, 'fid.py')
    assert code == 0 and error == '' and len(calls) == 5
    known = {name for param in fid.main.commands['gen'].params for name in param.opts}
    for call, checkpoint, reference in zip(calls, CHECKPOINTS, REFERENCES.values()):
        found = options(call)
        assert call[0] == 'gen' and {f'--{name}' for name in found} <= known
        assert (found['network'], found['ref']) == (str(files / checkpoint), str(files / reference))
        assert (found['seeds'], found['repeats'], found['metrics'], found['sampler']) == (
            '0-49999',
            '1',
            'fid',
            'one_step',
        )


def test_variables(files):
    code, output, _ = run(
        'validation_fid.sh',
        files,
        'ffhq',
        NETWORK=str(files / 'mine.pkl'),
        NUM='10',
        REPEATS='3',
        METRICS='fid,is',
        NPROC='4',
        OPTIONS='--batch=5 --ema=False',
        REFS='https://example.org/refs',
    )
    [call] = commands(output, 'fid.py')
    found = options(call)
    assert (
        code == 0
        and '--nproc_per_node=4' in output
        and found['network'] == str(files / 'mine.pkl')
        and found['ref'] == 'https://example.org/refs/ffhq-64x64.npz'
    )
    assert (found['seeds'], found['repeats'], found['metrics'], found['batch'], found['ema']) == (
        '0-9',
        '3',
        'fid,is',
        '5',
        'False',
    )


def test_demo_teacher(files):
    code, output, _ = run('validation_fid.sh', files, 'demo-teacher')
    [call] = commands(output, 'fid.py')
    found = options(call)
    assert code == 0 and (found['sampler'], found['seeds']) == ('edm', '0-1999')
    assert all(os.path.isfile(os.path.join(ROOT, found[name])) for name in ('network', 'ref'))


def test_newest_demo_run(tmp_path, monkeypatch):
    # Later runs have larger numbers, whether they are short or long; other recipes do not count.
    for run_dir, kimg in (
        ('00003-mnist-demo', 5),
        ('00010-mnist-demo-long', 1),
        ('00010-mnist-demo-long', 2),
        ('00011-mnist-demo-teacher', 9),
    ):
        (tmp_path / 'training-runs' / run_dir).mkdir(parents=True, exist_ok=True)
        (tmp_path / 'training-runs' / run_dir / f'network-snapshot-{kimg:06d}.pkl').touch()
    monkeypatch.chdir(tmp_path)
    for name in ('NETWORK', 'CHECKPOINTS'):
        monkeypatch.delenv(name, raising=False)
    newest = published.find_checkpoint(published.CHECKPOINTS['demo'])
    assert newest == 'training-runs/00010-mnist-demo-long/network-snapshot-000002.pkl'
    with pytest.raises(
        published.AbsentError, match=r'there is no checkpoint pretrained/ffhq\*.pkl; put it there'
    ):
        published.find_checkpoint(published.CHECKPOINTS['ffhq'])


def test_names_with_spaces_and_quotes(files):
    """They cross from Python to the shell and back."""
    odd = files / "a b 'c' $(d).pkl"
    odd.touch()
    code, output, error = run('validation_fid.sh', files, 'ffhq', NETWORK=str(odd))
    assert code == 0 and error == '' and f'--network={odd} --ref=' in output


def test_what_is_absent_is_skipped(files):
    os.remove(files / 'ffhq_gdd_i.pkl')
    os.remove(files / 'imagenet-64x64.npz')
    code, output, error = run('validation_fid.sh', files, NETWORK='')
    lines = error.splitlines()
    assert code == 0 and len(commands(output, 'fid.py')) >= 3
    assert lines[0].startswith(f'ffhq: skipped, there is no checkpoint {files}/ffhq*.pkl; put it there')
    assert lines[1] == (
        f'imagenet: skipped, there is no reference {files}/imagenet-64x64.npz; docs/metrics.md says where to get it, '
        'or set REFS=folder or URL'
    )
    assert run('validation_fid.sh', files, 'ffhq')[0] == 1  # asked for by name
    code, output, error = run('validation_fid.sh', files, 'ffhq', 'imagenet')
    assert code == 1 and commands(output, 'fid.py') == [] and error.endswith('Error: nothing was measured\n')


def test_failures_do_not_stop_the_others(files):
    code, output, _ = run('validation_fid.sh', files, 'ffhq', 'afhqv2', FAILING='ffhq_gdd')
    assert code == 1 and len(commands(output, 'fid.py')) == 2


@pytest.mark.parametrize('script', ['validation_fid.sh', 'validate_is_pr.sh'])
def test_unknown_names_are_refused(files, script):
    code, output, error = run(script, files, 'ffhq', 'cifar')
    assert (
        code == 2
        and output == ''
        and re.fullmatch("Error: unknown checkpoint 'cifar'; use one of: cifar10-uncond .* demo.*\n", error)
    )


def evaluated(output):
    """The pairs (images, reference) that the evaluator was given."""
    return [
        tuple(line.split('evaluations.evaluator ')[1].split())
        for line in output.splitlines()
        if 'evaluations.evaluator ' in line
    ]


def test_inception_score_and_precision(files):
    code, output, error = run('validate_is_pr.sh', files, *REFERENCES, NUM='20')
    calls = commands(output, 'generate.py')
    assert (
        code == 0
        and error == ''
        and [options(call)['network'] for call in calls] == [str(files / name) for name in CHECKPOINTS]
    )
    known = {name for param in generate.cmdline.params for name in (*param.opts, *param.secondary_opts)}
    for call in calls:
        assert (options(call)['seeds'], options(call)['sampler']) == ('0-19', 'one_step')
        assert {word.split('=')[0] for word in call} <= known
    # Only for ImageNet there is a published reference with images.
    assert evaluated(output) == [
        (
            f'fid-tmp/{name}/image_pack.npz',
            'none' if name != 'imagenet' else f'{files}/VIRTUAL_imagenet64_labeled.npz',
        )
        for name in REFERENCES
    ]
    assert evaluated(run('validate_is_pr.sh', files, 'ffhq', REFERENCE=str(files / 'mine.pkl'))[1]) == [
        ('fid-tmp/ffhq/image_pack.npz', str(files / 'mine.pkl'))
    ]


def test_inception_score_and_precision_of_the_demo(files):
    code, output, error = run('validate_is_pr.sh', files, 'demo', NETWORK=str(files / 'mine.pkl'), NUM='30')
    reference, samples = commands(output, 'fid.py')
    assert code == 0 and error == '' and (reference[0], samples[0]) == ('ref', 'gen')
    assert options(samples) == dict(
        network=str(files / 'mine.pkl'),
        ref=options(reference)['dest'],
        seeds='0-29',
        metrics='is,pr',
        sampler='one_step',
    )
    assert options(reference)['features'] == '10000' and os.path.isfile(
        os.path.join(ROOT, options(reference)['data'])
    )
    for call in (reference, samples):
        assert {f'--{name}' for name in options(call)} <= {
            name for param in fid.main.commands[call[0]].params for name in param.opts
        }
    assert (
        run('validate_is_pr.sh', files, 'demo', NETWORK=str(files / 'mine.pkl'), FAILING='fid.py ref')[0] == 1
    )


def test_inception_score_without_files(files):
    os.remove(files / 'VIRTUAL_imagenet64_labeled.npz')
    os.remove(files / 'ffhq_gdd_i.pkl')
    code, output, error = run('validate_is_pr.sh', files)
    assert code == 0 and len(evaluated(output)) == 3  # nobody asked for those that are absent
    assert (
        'ffhq: skipped, there is no checkpoint' in error
        and 'imagenet: skipped, there is no reference' in error
    )
    assert run('validate_is_pr.sh', files, 'imagenet')[0] == 1
    assert run('validate_is_pr.sh', files, 'imagenet', REFERENCE='none')[0] == 0
    code, output, error = run('validate_is_pr.sh', files, 'afhqv2', FAILING='generate.py')
    assert code == 1 and evaluated(output) == []
