# Copyright 2026 The GDD-1S authors.
# SPDX-License-Identifier: Apache-2.0

"""fid.py from the command line: its numbers, its choice of images, every option, its refusals."""

import errno
import json
import os
import shutil
import subprocess
import sys
import zipfile

import numpy as np
import PIL.Image
import pytest
import torch
from click.testing import CliRunner

import fid
import generate
from dnnlib.errors import ArgumentError
from evaluations import comparison, network_samples
from evaluations.detectors.registry import Detector, Measured, get_detector
from evaluations.inputs.reference import load_reference
from evaluations.metrics.frechet import frechet_distance
from tests.support import ROOT
from training.networks import EDMPrecond, GDDPrecond
from training.sampling.options import SAMPLER_PARAMETERS
from training.snapshots.snapshot import save_snapshot

FAST = '--workers=0'


def make_images(count, seed=0, channels=1, size=32):
    """Blocky random images, uint8 [N, H, W] or [N, H, W, 3]."""
    shape = [count, size // 4, size // 4] + ([3] if channels == 3 else [])
    return (
        np.random.RandomState(seed)
        .randint(0, 256, shape)
        .astype(np.uint8)
        .repeat(4, axis=1)
        .repeat(4, axis=2)
    )


def write_zip(path, images, labels=None):
    with zipfile.ZipFile(path, 'w') as z:
        for i, image in enumerate(images):
            with z.open(f'{i:03d}.png', 'w') as f:
                PIL.Image.fromarray(image).save(f, format='png')
        if labels is not None:
            z.writestr('dataset.json', json.dumps({'labels': labels}))
    return str(path)


def run(*args, ok=True):
    result = CliRunner().invoke(fid.main, [str(a) for a in args], catch_exceptions=ok is False)
    assert (result.exit_code == 0) == ok, result.output
    assert ok or ('Traceback' not in result.output and isinstance(result.exception, SystemExit)), (
        result.output
    )
    return result.output


def detected(images):
    return get_detector('mnist-classifier').measure(torch.from_numpy(images[:, np.newaxis]))


@pytest.fixture(scope='module')
def data(tmp_path_factory):
    """Two sets of images, and the reference of the first."""
    folder = tmp_path_factory.mktemp('fid')
    a, b = make_images(40, seed=0), make_images(10, seed=1)
    classes = detected(b)[1].argmax(dim=1).tolist()
    classes[:3] = [(c + 1) % 10 for c in classes[:3]]  # the detector is to be right 7 times of 10
    paths = {
        'a': write_zip(folder / 'a.zip', a),
        'b': write_zip(folder / 'b.zip', b, [[f'{i:03d}.png', c] for i, c in enumerate(classes)]),
        'ref': str(folder / 'made' / 'ref.npz'),  # in a folder that does not exist yet
    }
    run(
        'ref',
        f'--data={paths["a"]}',
        f'--dest={paths["ref"]}',
        '--detector=mnist-classifier',
        '--batch=7',
        FAST,
    )
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


def test_ref_of_random_images_follows_the_published_rule(data, tmp_path):
    run('ref', f'--data={data["a"]}', f'--dest={tmp_path / "r.npz"}', '--detector=mnist-classifier',
        '--num=15', '--seed=3', FAST)  # fmt: skip
    order = np.arange(40)
    np.random.RandomState(3).shuffle(order)
    mu, sigma = moments(data['images_a'][np.sort(order[:15])])
    with np.load(tmp_path / 'r.npz', allow_pickle=False) as npz:
        assert np.abs(npz['mu'] - mu).max() < 1e-5 and np.abs(npz['sigma'] - sigma).max() < 1e-5
        assert int(npz['num_images']) == 15
    options = (f'--data={data["a"]}', f'--dest={tmp_path / "s.npz"}', '--detector=mnist-classifier', FAST)
    assert 'holds 40 images, but --num=41; try --num=40' in run('ref', *options, '--num=41', ok=False)


def test_calc_prints_and_writes_the_distance(data, tmp_path):
    path = tmp_path / 'sub' / 'result.json'
    output = run(
        'calc',
        f'--images={data["b"]}',
        f'--ref={data["ref"]}',
        '--num=10',
        '--batch=4',
        f'--json={path}',
        FAST,
    )
    result = json.loads(path.read_text())
    expected = frechet_distance(*moments(data['images_b']), *moments(data['images_a']))
    assert result['value'] == pytest.approx(expected, rel=1e-4)
    accuracy, distance = result['results']
    assert distance['value'] == result['value'] == distance['mean_term'] + distance['cov_term']
    assert (accuracy['metric'], accuracy['value']) == (
        'class-accuracy-mnist-classifier-10',
        pytest.approx(0.7),
    )
    assert (
        output.splitlines()[-1] == f'frechet-mnist-classifier-10: {result["value"]:g}'
    )  # as EDM: %g, last line
    assert 'class-accuracy-mnist-classifier-10: 70.00 %' in output
    assert '40 images of a' in output and 'dominated by chance' in output
    assert 'FID' not in output  # that name belongs to Inception and 50000 images
    again = run(
        'calc',
        f'--images={data["b"]}',
        f'--ref={data["ref"]}',
        '--num=10',
        '--detector=mnist-classifier',
        '--workers=1',
    )
    assert float(again.split()[-1]) == pytest.approx(result['value'], rel=1e-4)


def test_subset_follows_the_published_rule(data, tmp_path):
    def value(seed):
        path = tmp_path / 'r.json'
        run(
            'calc',
            f'--images={data["b"]}',
            f'--ref={data["ref"]}',
            '--num=4',
            f'--seed={seed}',
            f'--json={path}',
            FAST,
        )
        return json.loads(path.read_text())['value']

    for seed, chosen in ((0, [2, 4, 8, 9]), (1, [2, 4, 6, 9])):
        expected = frechet_distance(*moments(data['images_b'][chosen]), *moments(data['images_a']))
        assert value(seed) == pytest.approx(expected, rel=1e-4)
    first = frechet_distance(*moments(data['images_b'][:4]), *moments(data['images_a']))
    assert value(0) != pytest.approx(first, rel=1e-3)  # taking the first four is the wrong version


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
    expected = float(
        run('calc', f'--images={data["b"]}', f'--ref={data["ref"]}', '--num=10', FAST).split()[-1]
    )
    for labels, words in (
        (None, 'no dataset.json with labels'),
        ([[names[0], 1]], 'no label for 9'),
        ([[n, 12] for n in names], 'not class numbers 0..9'),
        ([[n, [0.5, 1]] for n in names], 'not class numbers'),
    ):
        assert check(labels, words) == pytest.approx(expected, rel=1e-4)


def test_plain_edm_reference_needs_the_detector(data):
    path = data['folder'] / 'edm.npz'
    with np.load(data['ref']) as npz:
        np.savez(path, mu=npz['mu'], sigma=npz['sigma'])
    args = ['calc', f'--images={data["b"]}', f'--ref={path}', '--num=10', FAST]
    assert 'give --detector, one of inception' in run(*args, ok=False)
    output = run(*args, '--detector=mnist-classifier')
    assert 'does not say which detector' in output and 'origin unknown' in output


@pytest.mark.parametrize(
    'changes, words',
    [
        (dict(ref='missing.npz'), '--ref=missing.npz cannot be read'),
        (dict(images='missing.zip'), '--images=missing.zip does not exist'),
        (dict(num=11), 'holds 10 images, but --num=11; try --num=10'),
        (dict(json='result.txt'), '--json=result.txt must name a file ending in .json'),
    ],
)
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
    for path, words in (
        (colour, 'shape (3, 32, 32)'),
        (small, 'shape (1, 16, 16)'),
        (mixed, '002.png'),
        (one, 'at least 2'),
    ):
        dest = tmp_path / 'new.npz'
        output = run('ref', f'--data={path}', f'--dest={dest}', '--detector=mnist-classifier', FAST, ok=False)
        assert words in output and not dest.exists()
        if path != one:
            for workers in (0, 1):
                output = run(
                    'calc',
                    f'--images={path}',
                    f'--ref={data["ref"]}',
                    '--num=3',
                    f'--workers={workers}',
                    ok=False,
                )
                assert words in output and f'--images={path}' in output and output.count('Error: ') == 1


def test_ref_never_writes_over_something_else(data, tmp_path):
    for dest in (data['a'], tmp_path):
        before = os.path.getmtime(dest)
        output = run(
            'ref', f'--data={data["a"]}', f'--dest={dest}', '--detector=mnist-classifier', FAST, ok=False
        )
        assert 'must name a file ending in .npz' in output and os.path.getmtime(dest) == before


# ------------------------------------------------------------------------------------------------
# Several metrics, detectors and references.


def run_stub(images, spatial):
    """Stand-in for Inception: means of image quarters."""
    features = torch.nn.functional.adaptive_avg_pool2d(images.float(), 2).flatten(1)  # [N, 4 C]
    return Measured(features, features[:, :3] / 50, features[:, 1:3] if spatial else None)


@pytest.fixture
def stub(monkeypatch):
    """Let the name inception stand for the stub; the other detectors stay."""

    def get(name, device, path=None):
        if name != 'inception':
            return get_detector(name, device, path=path)
        return Detector(
            'inception',
            run_stub,
            4,
            (path or '') + 'ab' * 32,
            device,
            num_classes=3,
            spatial_dim=2,
            preprocessing='quarters',
        )

    monkeypatch.setattr(comparison, 'get_detector', get)
    monkeypatch.setattr(comparison, 'find_missing', lambda names, path: [])


def numbers(path):
    content = json.loads(path.read_text())
    return {result['metric']: result['value'] for result in content['results']}, content


def test_all_metrics_from_one_pass(data, tmp_path, stub, monkeypatch):
    ref = tmp_path / 'ref.npz'
    run(
        'ref', f'--data={data["a"]}', f'--dest={ref}', '--features=30', '--seed=1', '--spatial', FAST
    )  # inception is the default
    stored = load_reference(ref)
    assert (
        stored.detector,
        stored.features.shape,
        stored.features_seed,
        stored.mu_s.shape,
        stored.num_images,
    ) == ('inception', (30, 4), 1, (2,), 40)
    assert stored.format_version == 2 and stored.preprocessing == 'quarters' and 'torch' in stored.software
    calls = []
    monkeypatch.setattr(
        f'{__name__}.run_stub',
        lambda images, spatial, original=run_stub: calls.append(len(images)) or original(images, spatial),
    )
    output = run(
        'calc',
        f'--images={data["b"]}',
        f'--ref={ref}',
        '--metrics=fid,sfid,is,kid,pr,dc',
        '--num=10',
        f'--json={tmp_path}/r.json',
        FAST,
    )
    values, content = numbers(tmp_path / 'r.json')
    assert list(values) == [
        'sfid10',
        'is10',
        'kid10',
        'precision10',
        'recall10',
        'density10',
        'coverage10',
        'fid10',
    ]
    assert sum(calls) == 10  # each image once
    assert (
        content['metric'] == 'fid10'
        and content['value'] == values['fid10']
        and output.splitlines()[-1] == f'fid10: {values["fid10"]:g}'
    )
    assert all(f'{name}: {value:g}' in output for name, value in values.items())
    assert 'called fid10' in output and content['comparisons'][0]['ref_features_seed'] == 1
    assert content['software']['processes'] == 1 and content['num_images'] == 10 and content['seed'] == 0
    features = run_stub(torch.from_numpy(data['images_b'][:, np.newaxis]), False).features.double().numpy()
    assert values['fid10'] == pytest.approx(
        frechet_distance(features.mean(axis=0), np.cov(features.T), stored.mu, stored.sigma), rel=1e-6
    )
    assert run('inspect', ref).count('\n') > 10


def test_two_detectors_share_the_pass(data, tmp_path, stub):
    ref = tmp_path / 'ref.npz'
    run('ref', f'--data={data["a"]}', f'--dest={ref}', FAST)
    output = run(
        'calc',
        f'--images={data["b"]}',
        f'--ref={ref}',
        f'--ref={data["ref"]}',
        '--num=10',
        '--metrics=fid,is',
        f'--json={tmp_path}/r.json',
        FAST,
    )
    values, content = numbers(tmp_path / 'r.json')
    assert list(values) == [
        'is10',
        'fid10',
        'class-accuracy-mnist-classifier-10',
        'is-mnist-classifier-10',
        'frechet-mnist-classifier-10',
    ]
    assert [c['detector'] for c in content['comparisons']] == [
        'inception',
        'mnist-classifier',
    ] and output.count('Reference: ') == 2
    assert (
        run('calc', f'--images={data["b"]}', f'--ref={data["ref"]}', '--num=10', FAST).splitlines()[-1]
        == output.splitlines()[-1]
    )


def test_edm2_file_gives_the_detector_that_is_asked_for(data, tmp_path, stub):
    import pickle

    mu, sigma = np.zeros(4), np.eye(4)
    (tmp_path / 'x.pkl').write_bytes(
        pickle.dumps(
            {'num_images': 9, 'fid': {'mu': mu, 'sigma': sigma}, 'fd_dinov2': {'mu': mu, 'sigma': sigma}}
        )
    )
    args = ['calc', f'--images={data["b"]}', f'--ref={tmp_path}/x.pkl', '--num=10', FAST]
    assert 'does not say which images' in run(*args, '--detector=inception')
    assert 'no statistics for --detector=mnist-classifier' in run(
        *args, '--detector=mnist-classifier', ok=False
    )


def test_weights_can_be_given(data, tmp_path, stub):
    for path in ('a', 'b'):
        run('ref', f'--data={data["a"]}', f'--dest={tmp_path}/{path}.npz', f'--detector-path={path}', FAST)
    args = ['calc', f'--images={data["b"]}', f'--ref={tmp_path}/a.npz', '--num=10', FAST]
    assert 'fid10: ' in run(*args, '--detector-path=a')
    assert 'made with other weights of detector inception' in run(*args, '--detector-path=b', ok=False)


def test_missing_weights_are_listed_before_any_work(data, tmp_path, monkeypatch):
    monkeypatch.setattr(
        comparison,
        'find_missing',
        lambda names, path: [ArgumentError(f'detector {name}: nothing at {path}') for name in names],
    )
    output = run(
        'ref', f'--data={data["a"]}', f'--dest={tmp_path}/new/x.npz', '--detector-path=here', FAST, ok=False
    )
    assert (
        output.strip() == 'Error: detector inception: nothing at here'
        and not (tmp_path / 'new' / 'x.npz').exists()
    )


def test_image_pack_equals_its_images(data, tmp_path):
    np.savez(
        tmp_path / 'image_pack.npz',
        arr_0=data['images_b'][..., np.newaxis],
        arr_1=detected(data['images_b'])[1].argmax(dim=1).numpy(),
    )
    args = [f'--ref={data["ref"]}', '--num=10', FAST]
    output = run('calc', f'--images={tmp_path}/image_pack.npz', *args)
    assert output.splitlines()[-1] == run('calc', f'--images={data["b"]}', *args).splitlines()[-1]
    assert 'class-accuracy-mnist-classifier-10: 100.00 %' in output
    run(
        'ref',
        f'--data={tmp_path}/image_pack.npz',
        f'--dest={tmp_path}/ref.npz',
        '--detector=mnist-classifier',
    )
    assert 'are the images that' in run(
        'calc', f'--images={tmp_path}/image_pack.npz', f'--ref={tmp_path}/ref.npz', '--num=10'
    )
    assert 'made from 10 images' not in output and 'image_pack' in run('inspect', tmp_path / 'image_pack.npz')


@pytest.mark.parametrize(
    'command, changes, words',
    [
        (
            'calc',
            dict(metrics='fid,fd'),
            "--metrics=fid,fd: 'fd' is not known; write some of fid,sfid,is,kid,pr,dc",
        ),
        ('calc', dict(metrics='sfid'), 'detector mnist-classifier has no spatial features'),
        (
            'calc',
            dict(metrics='pr'),
            'it has no features of single images; fid.py ref --features=10000 stores them',
        ),
        ('calc', dict(detector='tf_efficientnet_lite0'), 'made with detector mnist-classifier, but'),
        ('gen', dict(seeds='5'), '--seeds=5 is one image'),
        ('gen', dict(seeds='9-2'), 'the range 9-2 is reversed'),
        ('gen', {'class': '10'}, '--class=10: the network has 10 classes'),
        ('gen', dict(network='none.pkl'), '--network=none.pkl: there is no such file'),
        ('gen', {'rng-device': 'cuda'}, '--rng-device=cuda: there is no GPU'),
        ('gen', dict(json='x.txt'), '--json=x.txt must name a file ending in .json'),
        ('gen', dict(network='COLOUR'), 'images of --network='),
        ('ref', dict(spatial=None), '--spatial: detector mnist-classifier has no spatial features'),
    ],
)
def test_refusals(data, snapshots, tmp_path, monkeypatch, command, changes, words):
    if changes.get('detector') == 'tf_efficientnet_lite0':
        monkeypatch.setattr(comparison, 'find_missing', lambda names, path: [])
        monkeypatch.setattr(
            comparison, 'get_detector', lambda name, device, path: Detector(name, None, 64, 'ab', device)
        )
    monkeypatch.setattr(torch.cuda, 'is_available', lambda: False)
    args = {
        'calc': dict(images=data['b'], ref=data['ref'], num=10, workers=0),
        'gen': dict(network=snapshots['gdd'], ref=data['ref'], seeds='0-3'),
        'ref': dict(data=data['a'], dest=tmp_path / 'x.npz', detector='mnist-classifier'),
    }[command]
    args.update(
        {name: snapshots['colour'] if value == 'COLOUR' else value for name, value in changes.items()}
    )
    output = run(
        command,
        *[f'--{name}' if value is None else f'--{name}={value}' for name, value in args.items()],
        ok=False,
    )
    assert words in output and output.count('\n') == 1 and not (tmp_path / 'x.npz').exists()


def test_inspect_refuses(tmp_path):
    assert 'Error: FILE=none.npz cannot be read' in run('inspect', 'none.npz', ok=False)


# ------------------------------------------------------------------------------------------------
# Measuring a network.


@pytest.fixture(scope='module')
def snapshots(tmp_path_factory):
    """Tiny networks for 32x32 digits, and one for colour."""
    folder, paths = tmp_path_factory.mktemp('snapshots'), {}
    for name, cls, changes in (
        ('gdd', GDDPrecond, {}),
        ('edm', EDMPrecond, {}),
        ('colour', GDDPrecond, dict(img_channels=3)),
    ):
        nets = []
        for seed in (0, 1):
            torch.manual_seed(seed)
            net = cls(
                **{
                    **dict(
                        img_resolution=32,
                        img_channels=1,
                        label_dim=10,
                        model_type='SongUNet',
                        model_channels=8,
                        channel_mult=[1],
                        num_blocks=1,
                        attn_resolutions=[],
                    ),
                    **changes,
                }
            ).eval()
            for key, parameter in net.named_parameters():
                if key.endswith('weight'):  # some layers start at zero
                    torch.nn.init.normal_(parameter, std=0.1)
            nets.append(net)
        paths[name] = str(folder / f'{name}.pkl')
        save_snapshot(paths[name], ema=nets[0], net=nets[1], extra={'ema-0.05': nets[1]})
    return paths


def generated(snapshots, ref, path, *args, name='gdd'):
    output = run('gen', f'--network={snapshots[name]}', f'--ref={ref}', f'--json={path}', *args)
    return output, json.loads(path.read_text())


def test_gen_equals_generate_and_calc(data, snapshots, tmp_path):
    """The same images, in the same batches: the same bytes reach the detector, so nothing differs at all."""
    options = ['--seeds=5-30', '--batch=8']
    output, content = generated(snapshots, data['ref'], tmp_path / 'gen.json', *options)
    result = CliRunner().invoke(
        generate.cmdline, [f'--network={snapshots["gdd"]}', f'--outdir={tmp_path}/out', '--subdirs', *options]
    )
    assert result.exit_code == 0, result.output
    for images in ('out', 'out/image_pack.npz'):
        written = run(
            'calc',
            f'--images={tmp_path}/{images}',
            f'--ref={data["ref"]}',
            '--num=26',
            '--batch=8',
            f'--json={tmp_path}/calc.json',
            FAST,
        )
        values = [
            {r['metric']: r['value'] for r in c['results']}
            for c in (content, json.loads((tmp_path / 'calc.json').read_text()))
        ]
        assert values[0] == values[1] and len(values[0]) == 2  # distance and class accuracy
        assert written.splitlines()[-1] == output.splitlines()[-1]
    assert (
        content['quantisation'].startswith('floor(127.5 x + 128)')
        and content['sampler'] == 'one_step'
        and content['seeds'] == ['5-30']
    )
    assert (
        content['network'] == 'gdd.pkl'
        and len(content['network_sha256']) == 64
        and content['class_name'] == 'GDDPrecond'
    )
    assert not [
        p for p in tmp_path.rglob('*') if 'out' not in p.parts and p.suffix not in ('.json', '')
    ]  # gen writes no image


def test_blocks_of_seeds(data, snapshots, tmp_path):
    output, content = generated(
        snapshots, data['ref'], tmp_path / 'r.json', '--seeds=10-15', '--repeats=3', '--metrics=is,fid'
    )
    assert content['seeds'] == ['10-15', '16-21', '22-27'] and [r['seeds'] for r in content['results']] == [
        s for s in content['seeds'] for _ in range(3)
    ]
    single = generated(snapshots, data['ref'], tmp_path / 's.json', '--seeds=16-21')[1]['value']
    values = [r['value'] for r in content['results'] if r['metric'] == 'frechet-mnist-classifier-6']
    assert values[1] == single and len(set(values)) == 3
    summary = {line['metric']: line for line in content['summary']}['frechet-mnist-classifier-6']
    assert (
        summary['min'] == min(values)
        and summary['mean'] == pytest.approx(np.mean(values))
        and summary['std'] == pytest.approx(np.std(values, ddof=1))
    )
    assert (
        output.splitlines()[-1].startswith('frechet-mnist-classifier-6 over 3 blocks of seeds: min ')
        and output.count('Seeds: ') == 3
    )


@pytest.mark.parametrize(
    'name, setting, option',
    [
        ('gdd', [], '--ema=False'),
        ('gdd', [], '--key=ema-0.05'),
        ('gdd', [], '--class=3'),
        ('gdd', [], '--sigma_max=40'),
        ('gdd', [], '--sampler=multi_step'),
        ('edm', ['--steps=3'], '--steps=2'),
        ('edm', ['--steps=3'], '--S_churn=40'),
        ('edm', ['--steps=3'], '--solver=euler'),
    ],
)
def test_options_change_the_number(data, snapshots, tmp_path, name, setting, option):
    plain, changed = (
        generated(snapshots, data['ref'], tmp_path / 'r.json', '--seeds=0-3', *args, name=name)[1]
        for args in (setting, [*setting, option])
    )
    assert abs(plain['value'] / changed['value'] - 1) > 1e-4
    assert changed['key'] == {'--ema=False': 'net', '--key=ema-0.05': 'ema-0.05'}.get(
        option, 'ema'
    ) and changed['class_idx'] == (3 if 'class' in option else None)


def test_trust_and_noise_reach_their_users(data, snapshots, tmp_path, monkeypatch):
    trusted, devices = [], []
    load = network_samples.load_network
    monkeypatch.setattr(
        network_samples,
        'load_network',
        lambda *args, trust, **kwargs: trusted.append(trust) or load(*args, trust=trust, **kwargs),
    )
    source = fid.GeneratedImages
    monkeypatch.setattr(
        fid, 'GeneratedImages', lambda *args, **kwargs: devices.append(args[5]) or source(*args, **kwargs)
    )
    generated(
        snapshots, data['ref'], tmp_path / 'r.json', '--seeds=0-1', '--trust-pickle', '--rng-device=cpu'
    )
    generated(snapshots, data['ref'], tmp_path / 'r.json', '--seeds=0-1')
    assert trusted == [True, False] and devices == ['cpu', None]


def test_list_of_options_is_deliberate():
    """EDM's options keep their names; every option has a help text, a default or a unit."""
    options = {
        name: {opt for param in command.params for opt in param.opts}
        for name, command in fid.main.commands.items()
    }
    assert options['calc'] >= {'--images', '--ref', '--num', '--seed', '--batch'} and options['ref'] >= {
        '--data',
        '--dest',
        '--batch',
    }
    names = {name: {param.name for param in command.params} for name, command in fid.main.commands.items()}
    measuring = {'refs', 'metrics', 'detector', 'json_path', 'detector_path', 'batch'}
    measuring |= {'markdown', 'neighbours', 'train_data'}
    assert names['calc'] == measuring | {'images', 'num', 'seed', 'workers'}
    assert names['ref'] == {
        'data',
        'dest',
        'detector',
        'detector_path',
        'num',
        'features',
        'seed',
        'spatial',
        'split',
        'heldout',
        'batch',
        'workers',
    }
    assert names['gen'] == measuring | set(SAMPLER_PARAMETERS) | {
        'network',
        'seeds',
        'repeats',
        'class_idx',
        'ema',
        'key',
        'trust_pickle',
        'rng_device',
    }
    for command in fid.main.commands.values():
        for param in command.params:
            if param.opts != ['file']:
                assert (
                    param.help
                    and len(param.help) <= 62
                    and (param.metavar or param.is_flag or hasattr(param.type, 'choices'))
                ), param.name


# ------------------------------------------------------------------------------------------------
# Full disks, odd names, files of services.


@pytest.mark.parametrize('command', ['ref', 'calc'])
def test_full_disk_names_the_file_and_leaves_nothing(data, tmp_path, monkeypatch, command):
    def full(_descriptor):
        raise OSError(errno.ENOSPC, 'No space left on device')

    monkeypatch.setattr(os, 'fsync', full)
    args = {
        'ref': [f'--data={data["a"]}', f'--dest={tmp_path}/x.npz', '--detector=mnist-classifier'],
        'calc': [f'--images={data["b"]}', f'--ref={data["ref"]}', '--num=10', f'--json={tmp_path}/x.json'],
    }[command]
    output = run(command, *args, FAST, ok=False)
    path = args[-2 if command == 'ref' else -1].split('=')[1]
    assert f'{path}: no space left on device; free some' in output.replace('No space', 'no space')
    assert os.listdir(tmp_path) == []
    assert command == 'ref' or 'frechet-mnist-classifier-10: ' in output  # the number is not lost


def test_paths_that_are_not_utf8(data, tmp_path):
    """In a process of its own, whose standard output is prepared for them."""
    folder = os.fsencode(tmp_path) + b'/caf\xe9'
    os.mkdir(folder)
    for i, image in enumerate(data['images_b']):
        PIL.Image.fromarray(image).save(os.fsdecode(folder + b'/%d.png' % i))
    ref, result = folder + b'.npz', folder + b'.json'
    shutil.copy(data['ref'], os.fsdecode(ref))
    options = [b'--images=' + folder, b'--ref=' + ref, b'--json=' + result, b'--num=10', b'--workers=0']
    command = [sys.executable, 'fid.py', 'calc', *options]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, timeout=300)
    assert done.returncode == 0 and b'frechet-mnist-classifier-10: ' in done.stdout, done.stderr
    with open(os.fsdecode(result)) as file:
        assert os.fsencode(json.load(file)['images']) == folder


def test_files_of_services_are_left_out_and_named(data, tmp_path):
    for i, image in enumerate(data['images_b']):
        PIL.Image.fromarray(image).save(tmp_path / f'{i}.png')
    (tmp_path / '.ipynb_checkpoints').mkdir()
    PIL.Image.fromarray(data['images_a'][0]).save(tmp_path / '.ipynb_checkpoints' / '0.png')
    (tmp_path / '._1.png').write_bytes(b'AppleDouble')
    output = run('calc', f'--images={tmp_path}', f'--ref={data["ref"]}', '--num=10', FAST)
    plain = run('calc', f'--images={data["b"]}', f'--ref={data["ref"]}', '--num=10', FAST)
    assert output.splitlines()[-1] == plain.splitlines()[-1]
    assert '.ipynb_checkpoints' in output and '._1.png' in output
