# Copyright 2026 The GDD-1S authors.
# SPDX-License-Identifier: Apache-2.0
"""fid.py: metrics beside a single distance, from the command line; what is printed, stored and refused."""

import json

import numpy as np
import PIL.Image
import pytest

from evaluations.inputs.reference import load_reference
from evaluations.metrics.cmmd import cmmd
from evaluations.metrics.sliced_wasserstein import mind, sliced_wasserstein
from evaluations.metrics.vendi import vendi_score
from tests.scripts.test_fid import FAST, detected, make_images, run, write_zip
from training.networks import GDDPrecond
from training.snapshots.snapshot import save_snapshot

ALL = 'fid,mind,sw,cmmd,fdr,memorization'


@pytest.fixture(scope='module')
def data(tmp_path_factory):
    """Training, held-out and fresh images, and references with two encoders."""
    folder = tmp_path_factory.mktemp('reviewing')
    images = make_images(110, seed=0)
    paths = {'folder': folder, 'images': images}
    for name, part in (('train', images[:60]), ('held', images[60:90]), ('new', images[80:])):
        paths[name] = write_zip(folder / f'{name}.zip', part)
    for detector in ('mnist-classifier', 'random-conv'):
        paths[detector] = str(folder / f'{detector}.npz')
        run('ref', f'--data={paths["train"]}', f'--heldout={paths["held"]}', f'--detector={detector}',
            f'--dest={paths[detector]}', '--features=100', FAST)  # fmt: skip
    return paths


def calc(data, *options, images='new', ok=True, refs=('mnist-classifier', 'random-conv')):
    return run('calc', f'--images={data[images]}', '--num=30', *(f'--ref={data[ref]}' for ref in refs),
               *options, FAST, ok=ok)  # fmt: skip


def values(path):
    return {result['metric']: result for result in json.loads(path.read_text())['results']}


def test_all_from_one_pass(data, tmp_path):
    path = tmp_path / 'o.json'
    output = calc(data, f'--metrics={ALL}', f'--json={path}', '--markdown')
    found, features = values(path), detected(data['images'])[0]
    train, held, new = features[:60], features[60:90], features[80:]
    name = 'mnist-classifier-30'
    assert found[f'mind-{name}']['value'] == pytest.approx(mind(new, train), rel=1e-3)
    assert found[f'sw-{name}']['value'] == pytest.approx(sliced_wasserstein(new, train), rel=1e-3)
    assert found[f'cmmd-{name}']['value'] == pytest.approx(cmmd(new, train), rel=1e-3)
    assert found[f'vendi-{name}']['value'] == pytest.approx(vendi_score(new), rel=1e-3)
    assert found[f'vendi-{name}']['floor'] == pytest.approx(vendi_score(held), rel=1e-3)
    ratios = [result for result in found.values() if 'heldout_distance' in result]
    assert [result['detector'] for result in ratios] == ['mnist-classifier', 'random-conv']
    mean = np.mean([result['distance'] / result['heldout_distance'] for result in ratios])
    assert found['fdr2-30']['value'] == pytest.approx(mean)
    assert ratios[0]['distance'] == pytest.approx(found[f'frechet-{name}']['value'])
    lines = output.splitlines()
    assert (
        f'frechet-{name}: {found[f"frechet-{name}"]["value"]:g}' in lines
    )  # the line of a metric is unchanged
    assert sum(line.startswith('Overlap:   unknown; there is no') for line in lines) == 2
    assert f'| fdr2-30 | {mean:.4g} | - | mnist-classifier, random-conv | unknown |' in output
    assert {c['overlap'] for c in json.loads(path.read_text())['comparisons']} == {'unknown'}


def test_copies_are_flagged(data, tmp_path):
    path = tmp_path / 'o.json'
    output = calc(data, '--metrics=memorization', f'--json={path}', images='train', refs=['mnist-classifier'])
    found = values(path)
    assert found['authpct-mnist-classifier-30']['value'] == 0
    assert found['authpct-mnist-classifier-30']['copies'] == 30
    assert found['authpct-mnist-classifier-30']['floor'] > 0.2
    assert found['nearer-to-train-mnist-classifier-30']['value'] == 1
    # Too few images for the cells of C_T: said, and the other numbers are kept.
    assert 'Note: no ct: no cell has training images' in output


def test_extrapolation(data, tmp_path):
    path = tmp_path / 'o.json'
    ref = run('calc', f'--images={data["train"]}', '--num=60', f'--ref={data["mnist-classifier"]}',
              '--metrics=fid-inf', FAST, ok=False)  # fmt: skip
    assert 'it needs at least 130 images' in ref and '--metrics=fid-inf' in ref
    many = write_zip(tmp_path / 'many.zip', make_images(140, seed=3))
    run('calc', f'--images={many}', '--num=140', f'--ref={data["mnist-classifier"]}', '--metrics=fid,fid-inf',
        f'--json={path}', FAST)  # fmt: skip
    found = values(path)
    assert found['frechet-inf-mnist-classifier-140']['value'] < found['frechet-mnist-classifier-140']['value']


def test_neighbours(data, tmp_path):
    picture = tmp_path / 'n.png'
    options = ['--metrics=memorization', f'--neighbours={picture}', f'--train-data={data["train"]}']
    output = calc(data, *options, images='train', refs=['mnist-classifier'])
    assert f'Neighbours: {picture}, the 12 images of 30 nearest' in output
    pixels = np.asarray(PIL.Image.open(picture))
    assert pixels.shape[:2] == (12 * 32, 6 * 32)
    assert np.array_equal(pixels[:, :32], pixels[:, 32:64])  # copies stand beside their originals


def test_overlap_of_a_network(data, tmp_path):
    net = GDDPrecond(img_resolution=32, img_channels=1, label_dim=0, model_type='SongUNet', model_channels=8,
                     channel_mult=[1], num_blocks=1, attn_resolutions=[])  # fmt: skip
    save_snapshot(tmp_path / 'network-snapshot-000001.pkl', ema=net)
    options = dict(
        feature_kwargs=dict(names=['tf_efficientnet_lite0']), dataset_kwargs=dict(path='mnist.zip')
    )
    (tmp_path / 'training_options.json').write_text(json.dumps(options))
    path = tmp_path / 'o.json'
    output = run('gen', f'--network={tmp_path}/network-snapshot-000001.pkl', '--seeds=0-5',
                 f'--ref={data["random-conv"]}', f'--json={path}')  # fmt: skip
    assert 'Overlap:   independent; tf_efficientnet_lite0 trained it' in output
    assert json.loads(path.read_text())['comparisons'][0]['overlap'] == 'independent'


@pytest.mark.parametrize(
    'options, refs, words',
    [
        (['--metrics=fdr'], ['plain'], 'no distance of held-out images; fid.py ref --split stores it'),
        (['--metrics=mind'], ['plain'], 'fid.py ref --features=10000'),
        (['--metrics=memorization'], ['plain'], 'fid.py ref --features=10000'),
        (['--metrics=fdr'], ['mnist-classifier', 'mnist-classifier'], 'second reference with detector'),
        (['--metrics=fdr', '--num=20'], ['few'], '`fid.py ref --split --features=20`'),
        (['--neighbours=n.png'], ['mnist-classifier'], 'add --train-data=FILE.zip'),
        (['--neighbours=n.png', '--train-data=TRAIN'], ['mnist-classifier'], '--metrics=memorization'),
        (
            ['--neighbours=n.png', '--train-data=NEW', '--metrics=memorization'],
            ['mnist-classifier'],
            'is not what',
        ),
        (['--neighbours=n.txt'], ['mnist-classifier'], '--neighbours=n.txt must name a file ending in .png'),
    ],
)
def test_refusals(data, tmp_path, monkeypatch, options, refs, words):
    monkeypatch.chdir(tmp_path)
    made = dict(data)
    for name, more in (('plain', []), ('few', ['--split', '--features=4'])):
        if name in refs:
            made[name] = str(tmp_path / f'{name}.npz')
            run(
                'ref',
                f'--data={data["train"]}',
                '--detector=mnist-classifier',
                f'--dest={made[name]}',
                *more,
                FAST,
            )
    options = [option.replace('TRAIN', data['train']).replace('NEW', data['new']) for option in options]
    output = calc(made, *options, ok=False, refs=refs)
    assert words in output and len(output.strip().splitlines()) <= 4, output


def test_split_says_what_it_held_out(data, tmp_path):
    dest = f'--dest={tmp_path}/r.npz'
    output = run(
        'ref', f'--data={data["train"]}', '--detector=random-conv', dest, '--split', '--seed=2', FAST
    )
    ref = load_reference(tmp_path / 'r.npz')
    assert (
        f'Held out:  30 images, the other half of train, seed 2; their distance: {ref.heldout_distance:g}'
        in output
    )
