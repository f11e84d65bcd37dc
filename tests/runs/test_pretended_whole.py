# Copyright 2026 The GDD-1S authors.
# SPDX-License-Identifier: Apache-2.0
"""Tests of whole programs on a pretended GPU: runs with loader processes and resume, generation, metrics.
They leave what they leave on the CPU, bit for bit.
"""

import contextlib
import itertools

import numpy as np
import pytest
import torch
from click.testing import CliRunner

import fid
import generate
import train
from evaluations.detectors import registry
from evaluations.inputs.image_sources import GeneratedImages, open_images
from evaluations.measure import Meter, measure_images
from evaluations.metrics import manifold, moments
from tests.golden import fill
from tests.support import tiny_runs
from tests.support.generated_images import TINY
from tests.support.pretended_runs import NOT_DEVICE, TEACHER, differing, on_device, pad_as_on_cuda
from torch_utils.host_copy import HostCopy
from training import networks
from training.sampling import samplers
from training.snapshots.snapshot import save_snapshot

COMMON = [option for option in tiny_runs.COMMON_ARGS if not option.startswith('--device')]


@pytest.fixture(autouse=True)
def tiny(monkeypatch):
    tiny_runs.use_random_backbones(monkeypatch.setattr)
    tiny_runs.use_small_steps(monkeypatch.setattr)
    pad_as_on_cuda(monkeypatch.setattr)


def let_no_iteration_wait(started, gpu):
    """Let a run fail where the host waits for the GPU between ticks, after the first iteration."""
    step, batches, count = started.train_step, started.batches, itertools.count()

    def watched(function):
        with gpu.hot_loop() if next(count) > 2 else contextlib.nullcontext():
            return function()

    def watched_batches():
        source = batches()
        while (batch := watched(lambda: next(source, None))) is not None:
            yield batch

    started.batches = watched_batches
    started.train_step = lambda images, labels: watched(lambda: step(images, labels))


def run(device, folder, material, *options):
    """Train to the end; returns the state in the last file."""
    data, teacher = material
    options = [option.format(teacher=teacher) for option in options]
    with on_device(device) as gpu:
        config = tiny_runs.make_config(f'--data={data}', '--cond=1', f'--device={device}', *options)
        started = train.build_run(config)
        if gpu is not None:
            let_no_iteration_wait(started, gpu)
        folder.mkdir(exist_ok=True)
        started.run(str(folder))
    return torch.load(sorted(folder.glob('*.pt'))[-1], map_location='cpu', weights_only=True)


GDD = [*NOT_DEVICE, '--transfer={teacher}', '--freeze=1', '--snap=1', '--dump=1', '--ada-target=0.6']


def test_run_with_loader_processes_stops_resumes_and_ends_as_on_the_cpu(material, tmp_path):
    on_gpu, on_cpu = tmp_path / 'gpu', tmp_path / 'cpu'
    run('cuda', on_gpu, material, *GDD, '--workers=2', tiny_runs.duration(32))
    (state_file,) = on_gpu.glob('training-state-000032.pt')
    state = run('cuda', on_gpu, material, *GDD, f'--resume={state_file}', tiny_runs.duration(48))
    reference = run('cpu', on_cpu, material, *GDD, tiny_runs.duration(48))
    found = differing(state, reference)
    assert [name for name in found if not name.startswith(('/run/', '/statistics/', '/progress/'))] == []


@pytest.mark.parametrize('options', [
    [*COMMON, '--transfer={teacher}', '--teacher-type=ctm', '--teacher-only=1', '--max-steps=8',
     '--distance=huber', '--snap=1', '--dump=1', tiny_runs.duration(24)],
    [*NOT_DEVICE, '--transfer={teacher}', '--teacher-type=cd', '--max-steps=8', '--distance=l2',
     '--class-embed=computed', '--snap=1', '--dump=1', tiny_runs.duration(16)],
    [*TEACHER, '--augment=0.5', '--ema=0.5,0.05', '--snap=1', '--dump=1', tiny_runs.duration(24)],
], ids=['ctm alone', 'gdd + cd', 'teacher'])  # fmt: skip
def test_run_ends_as_on_the_cpu(options, material, tmp_path):
    state = run('cuda', tmp_path / 'gpu', material, *options)
    reference = run('cpu', tmp_path / 'cpu', material, *options)
    assert [name for name in differing(state, reference) if not name.startswith('/run/')] == []


@pytest.mark.parametrize('options', [
    ['--steps=4'], ['--steps=3', '--solver=heun', '--S_churn=5'], ['--steps=3', '--rng-device=cpu']],
    ids=['edm', 'stochastic', 'cpu noise'])  # fmt: skip
def test_generated_files_are_those_of_the_cpu(options, material, tmp_path):
    for device in ('cuda', 'cpu'):
        folder = tmp_path / device
        with on_device(device):
            given = [f'--network={material[1]}', f'--outdir={folder}', '--seeds=0-4', '--batch=3', *options]
            if device == 'cpu':
                given = [option for option in given if option != '--rng-device=cpu']
            result = CliRunner().invoke(generate.cmdline, [*given, f'--device={device}'])
        assert result.exit_code == 0, result.output
    names = sorted(path.name for path in (tmp_path / 'cuda').rglob('*.png'))
    assert len(names) == 5
    for path in (tmp_path / 'cuda').rglob('*.png'):
        assert path.read_bytes() == (tmp_path / 'cpu' / path.relative_to(tmp_path / 'cuda')).read_bytes()


def waits_of(function):
    """How often the host waits for the GPU, and where, while a function runs there."""
    with on_device('cuda') as gpu:
        function()
    return gpu.waits


@pytest.mark.parametrize('options', [[], ['--rng-device=cpu', '--no-pack']], ids=['as it is', 'cpu noise'])
def test_generation_waits_as_often_for_ten_batches_as_for_five(options, tmp_path, monkeypatch):
    path = save_generator(tmp_path)

    def made(count):
        given = [f'--network={path}', f'--outdir={tmp_path / str(count)}', f'--seeds=0-{2 * count - 1}']
        result = CliRunner().invoke(generate.cmdline, [*given, '--batch=2', '--device=cuda', *options])
        assert result.exit_code == 0, result.output

    few, many = (waits_of(lambda count=count: made(count)) for count in (5, 10))
    assert few == many and synchronisations(few) == 1  # for the last batch
    monkeypatch.setattr(generate, 'HostCopy', Waiting)  # a wait per batch would show
    assert synchronisations(waits_of(lambda: made(10))) == 10


def synchronisations(waits):
    return sum(count for (kind, _where), count in waits.items() if kind == 'synchronize')


class Waiting(HostCopy):
    """A copy that is waited for when it is started."""

    def __init__(self, *tensors):
        super().__init__(*tensors)
        self.wait()


def save_generator(folder):
    path = str(folder / 'gdd.pkl')
    save_snapshot(path, ema=fill(networks.GDDPrecond(label_dim=4, **TINY)))
    return path


@pytest.mark.parametrize('source', ['network', 'files'])
def test_measuring_waits_as_often_for_ten_batches_as_for_five(source, tmp_path):
    data = tiny_runs.write_zip(tmp_path / 'data.zip', resolution=32, channels=1)

    def measured(count):
        network = networks.GDDPrecond(label_dim=4, **dict(TINY, img_resolution=32, img_channels=1))
        if source == 'network':
            images = GeneratedImages(network.to('cuda'), np.arange(count), 'one_step', {})
        else:
            images = open_images(data, num=count)[0]
        meter = Meter(registry.get_detector('mnist-classifier', 'cuda'), keep_logits=True, keep_features=True)
        measure_images(images, [meter], batch=1)
        assert meter.features.shape == (count, 64)

    few, many = (waits_of(lambda count=count: measured(count)) for count in (5, 10))
    assert few == many


@pytest.mark.parametrize('damaged', [0, 2])
def test_damaged_images_end_a_measurement_also_in_the_last_batch(damaged, monkeypatch):
    def sample_batch(net, seeds, **_options):
        return torch.full([1, 3, 8, 8], float('nan') if seeds == [damaged] else 0.0, device='cuda'), None

    monkeypatch.setattr(samplers, 'sample_batch', sample_batch)
    with on_device('cuda'):
        network = fill(networks.GDDPrecond(**TINY)).to('cuda')
        source = GeneratedImages(network, np.arange(3), 'one_step', {})
        with pytest.raises(ValueError, match=f'seed {damaged} is not finite'):
            measure_images(source, [Meter(registry.get_detector('random-conv', 'cuda'))], batch=1)


def test_features_moments_and_manifolds_are_those_of_the_cpu():
    images = torch.randint(
        0, 256, [48, 1, 32, 32], dtype=torch.uint8, generator=torch.Generator().manual_seed(0)
    )
    found = {}
    for device in ('cuda', 'cpu'):
        with on_device(device):
            detector = registry.get_detector('mnist-classifier', device=device)
            features = detector.measure(images).features
            stats = moments.FeatureStats(features.shape[1], device=device)
            stats.append(features)
            stats.reduce()
            parts = dict(samples=features, reference=features[:20])
            found[device] = (
                *manifold.precision_recall(**parts), *manifold.density_coverage(**parts),
                float(stats.mean().sum()), float(stats.cov().sum()),
            )  # fmt: skip
    assert found['cuda'] == found['cpu']


def test_reference_statistics_are_those_of_the_cpu(tmp_path):
    data = tiny_runs.write_zip(tmp_path / 'data.zip', resolution=32, channels=1)
    written = []
    for device in ('cuda', 'cpu'):
        path = tmp_path / f'{device}.npz'
        with on_device(device):
            options = [f'--data={data}', f'--dest={path}', '--detector=mnist-classifier', '--workers=0']
            result = CliRunner().invoke(fid.main, ['ref', *options])
        assert result.exit_code == 0, result.output
        written.append(np.load(path))
    assert np.array_equal(written[0]['mu'], written[1]['mu'])
    assert np.array_equal(written[0]['sigma'], written[1]['sigma'])
