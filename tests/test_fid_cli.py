# Copyright 2026 The GDD-1S authors.
# SPDX-License-Identifier: Apache-2.0

"""fid.py from the command line: its numbers, its choice of images, its refusals, several processes."""

import json
import os
import subprocess
import sys
import zipfile

import numpy as np
import PIL.Image
import pytest
import torch
from click.testing import CliRunner

import fid
from evaluations.detectors import get_detector
from evaluations.metrics import frechet_distance

ROOT = os.path.dirname(os.path.abspath(fid.__file__))
FAST = '--workers=0'


def make_images(count, seed=0, channels=1, size=32):
    """Blocky random images, uint8 [N, H, W] or [N, H, W, 3]."""
    shape = [count, size // 4, size // 4] + ([3] if channels == 3 else [])
    return np.random.RandomState(seed).randint(0, 256, shape).astype(np.uint8).repeat(4, axis=1).repeat(4, axis=2)


def write_zip(path, images, labels=None):
    with zipfile.ZipFile(path, 'w') as z:
        for i, image in enumerate(images):
            with z.open(f'{i:03d}.png', 'w') as f:
                PIL.Image.fromarray(image).save(f, format='png')
        if labels is not None:
            z.writestr('dataset.json', json.dumps({'labels': labels}))
    return str(path)


def run(*args, ok=True):
    result = CliRunner().invoke(fid.main, [str(a) for a in args])
    assert (result.exit_code == 0) == ok, result.output
    assert ok or ('Traceback' not in result.output and isinstance(result.exception, SystemExit)), result.output
    return result.output


def detected(images):
    return get_detector('mnist-classifier').measure(torch.from_numpy(images[:, np.newaxis]))


@pytest.fixture(scope='module')
def data(tmp_path_factory):
    """Two sets of images, and the reference of the first."""
    folder = tmp_path_factory.mktemp('fid')
    a, b = make_images(40, seed=0), make_images(10, seed=1)
    classes = detected(b)[1].argmax(dim=1).tolist()
    classes[:3] = [(c + 1) % 10 for c in classes[:3]]       # the detector is to be right 7 times of 10
    paths = {
        'a': write_zip(folder / 'a.zip', a),
        'b': write_zip(folder / 'b.zip', b, [[f'{i:03d}.png', c] for i, c in enumerate(classes)]),
        'ref': str(folder / 'made' / 'ref.npz'),            # in a folder that does not exist yet
    }
    run('ref', f'--data={paths["a"]}', f'--dest={paths["ref"]}', '--detector=mnist-classifier', '--batch=7', FAST)
    return {**paths, 'folder': folder, 'images_a': a, 'images_b': b}


def moments(images):
    features = detected(images)[0].double().numpy()
    return features.mean(axis=0), np.cov(features, rowvar=False)


def test_ref_holds_the_statistics_of_all_images(data):
    mu, sigma = moments(data['images_a'])
    with np.load(data['ref'], allow_pickle=False) as npz:
        assert np.abs(npz['mu'] - mu).max() < 1e-5 and np.abs(npz['sigma'] - sigma).max() < 1e-5
        assert int(npz['num_images']) == 40 and npz['image_shape'].tolist() == [1, 32, 32]
        assert str(npz['detector']) == 'mnist-classifier' and str(npz['dataset']) == 'a'


def test_calc_prints_and_writes_the_distance(data, tmp_path):
    path = tmp_path / 'sub' / 'result.json'
    output = run('calc', f'--images={data["b"]}', f'--ref={data["ref"]}', '--num=10', '--batch=4', f'--json={path}', FAST)
    result = json.loads(path.read_text())
    expected = frechet_distance(*moments(data['images_b']), *moments(data['images_a']))
    assert result['value'] == pytest.approx(expected, rel=1e-4)
    assert result['value'] == result['mean_term'] + result['cov_term']
    assert result['class_accuracy'] == pytest.approx(0.7)
    assert output.splitlines()[-1] == f'frechet-mnist-classifier-10: {result["value"]:g}'   # as EDM: %g, last line
    assert 'class-accuracy-mnist-classifier-10: 70.00 %' in output
    assert '40 images of a' in output and 'dominated by chance' in output
    assert 'FID' not in output      # that name belongs to Inception and 50000 images
    again = run('calc', f'--images={data["b"]}', f'--ref={data["ref"]}', '--num=10', '--detector=mnist-classifier', '--workers=1')
    assert float(again.split()[-1]) == pytest.approx(result['value'], rel=1e-4)


def test_subset_follows_the_published_rule(data, tmp_path):
    def value(seed):
        path = tmp_path / 'r.json'
        run('calc', f'--images={data["b"]}', f'--ref={data["ref"]}', '--num=4', f'--seed={seed}', f'--json={path}', FAST)
        return json.loads(path.read_text())['value']

    for seed, chosen in ((0, [2, 4, 8, 9]), (1, [2, 4, 6, 9])):
        expected = frechet_distance(*moments(data['images_b'][chosen]), *moments(data['images_a']))
        assert value(seed) == pytest.approx(expected, rel=1e-4)
    first = frechet_distance(*moments(data['images_b'][:4]), *moments(data['images_a']))
    assert value(0) != pytest.approx(first, rel=1e-3)       # taking the first four is the wrong version


def test_set_against_itself_is_near_zero(data):
    output = run('calc', f'--images={data["a"]}', f'--ref={data["ref"]}', '--num=40', FAST)
    assert abs(float(output.split()[-1])) < 1e-4
    assert 'no class accuracy: the images have no dataset.json' in output


def test_folder_and_zip_agree_and_unusable_labels_are_skipped(data, tmp_path):
    for i, image in enumerate(data['images_b']):
        (tmp_path / str(i % 2)).mkdir(exist_ok=True)
        PIL.Image.fromarray(image).save(tmp_path / str(i % 2) / f'{i}.png')

    def check(labels, words):
        (tmp_path / 'dataset.json').write_text(json.dumps({'labels': labels}))
        output = run('calc', f'--images={tmp_path}', f'--ref={data["ref"]}', '--num=10', FAST)
        assert words in output and 'class-accuracy' not in output
        return float(output.split()[-1])

    names = [f'{i % 2}/{i}.png' for i in range(10)]
    expected = float(run('calc', f'--images={data["b"]}', f'--ref={data["ref"]}', '--num=10', FAST).split()[-1])
    for labels, words in ((None, 'no dataset.json with labels'), ([[names[0], 1]], 'no label for 9'),
                          ([[n, 12] for n in names], 'not class numbers 0..9'), ([[n, [0.5, 1]] for n in names], 'not class numbers')):
        assert check(labels, words) == pytest.approx(expected, rel=1e-4)


def test_plain_edm_reference_needs_the_detector(data):
    path = data['folder'] / 'edm.npz'
    with np.load(data['ref']) as npz:
        np.savez(path, mu=npz['mu'], sigma=npz['sigma'])
    args = ['calc', f'--images={data["b"]}', f'--ref={path}', '--num=10', FAST]
    assert 'give --detector, one of mnist-classifier' in run(*args, ok=False)
    output = run(*args, '--detector=mnist-classifier')
    assert 'does not say which detector' in output and 'origin unknown' in output


@pytest.mark.parametrize('changes, words', [
    (dict(ref='missing.npz'), '--ref=missing.npz cannot be read'),
    (dict(images='missing.zip'), '--images=missing.zip does not exist'),
    (dict(num=11), 'holds 10 images, but --num=11; try --num=10'),
    (dict(json='result.txt'), '--json=result.txt must name a file ending in .json'),
])
def test_calc_refuses(data, changes, words, monkeypatch, tmp_path):
    monkeypatch.chdir(tmp_path)
    args = {'images': data['b'], 'ref': data['ref'], 'num': 10, **changes}
    assert words in run('calc', *[f'--{k}={v}' for k, v in args.items()], FAST, ok=False)
    assert os.listdir(tmp_path) == []


def test_images_of_another_kind_are_refused(data, tmp_path):
    colour = write_zip(tmp_path / 'c.zip', make_images(3, channels=3))
    small = write_zip(tmp_path / 's.zip', make_images(3, size=16))
    one = write_zip(tmp_path / 'one.zip', make_images(1))
    mixed = write_zip(tmp_path / 'mixed.zip', [*make_images(2), *make_images(1, size=16)])
    for path, words in ((colour, 'shape (3, 32, 32)'), (small, 'shape (1, 16, 16)'), (mixed, '002.png'), (one, 'at least 2')):
        dest = tmp_path / 'new.npz'
        output = run('ref', f'--data={path}', f'--dest={dest}', '--detector=mnist-classifier', FAST, ok=False)
        assert words in output and not dest.exists()
        if path != one:
            for workers in (0, 1):
                output = run('calc', f'--images={path}', f'--ref={data["ref"]}', '--num=3', f'--workers={workers}', ok=False)
                assert words in output and f'--images={path}' in output and output.count('\n') == 1


def test_ref_never_writes_over_something_else(data, tmp_path):
    for dest in (data['a'], tmp_path):
        before = os.path.getmtime(dest)
        output = run('ref', f'--data={data["a"]}', f'--dest={dest}', '--detector=mnist-classifier', FAST, ok=False)
        assert 'must name a file ending in .npz' in output and os.path.getmtime(dest) == before


def test_help_shows_every_option():
    for command in ('calc', 'ref'):
        output = run(command, '--help')
        assert '--batch INT' in output and 'default: 64' in output and 'mnist-classifier' in output


def test_two_processes_give_the_same_statistics(data, tmp_path):
    env = {**os.environ, 'OMP_NUM_THREADS': '1', 'CUDA_VISIBLE_DEVICES': ''}
    dest = tmp_path / 'two.npz'     # 40 images in batches of 9 on 2 processes: 6 pieces of 7 and 6 images
    subprocess.run([sys.executable, '-m', 'torch.distributed.run', '--standalone', '--nproc_per_node=2', 'fid.py', 'ref',
                    f'--data={data["a"]}', f'--dest={dest}', '--detector=mnist-classifier', '--batch=9', FAST],
                   cwd=ROOT, env=env, check=True, timeout=120)
    with np.load(dest) as two, np.load(data['ref']) as one:
        assert int(two['num_images']) == 40
        # Another batch size changes float32 features in their last bits, nothing more.
        assert np.abs(two['mu'] - one['mu']).max() < 1e-5 and np.abs(two['sigma'] - one['sigma']).max() < 1e-5
        assert {k: str(one[k]) for k in one if one[k].ndim == 0} == {k: str(two[k]) for k in two if two[k].ndim == 0}
