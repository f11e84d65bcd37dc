# Copyright 2026 The GDD-1S authors.
# SPDX-License-Identifier: Apache-2.0

"""One pass over images: sources, batches, meters, and the numbers made from them, against doing it all at once."""

import types
import zipfile

import numpy as np
import PIL.Image
import pytest
import torch

from evaluations import results
from evaluations.detectors.registry import Detector, Measured
from evaluations.inputs.image_sources import (
    FolderImages,
    GeneratedImages,
    PackedImages,
    choose_subset,
    describe_oddities,
    hash_dataset,
    open_images,
)
from evaluations.inputs.npz_images import NpzImages
from evaluations.measure import Meter, _gather_rows, measure_dataset, measure_images, progress, split_batches
from evaluations.metrics.frechet import frechet_distance
from evaluations.metrics.inception_score import inception_score
from evaluations.metrics.kid import kernel_distance
from evaluations.metrics.manifold import density_coverage, precision_recall
from evaluations.metrics.moments import Reference
from evaluations.metrics.names import metric_name, parse_metrics
from evaluations.results import Comparison
from torch_utils import distributed
from training.dataset import ImageFolderDataset
from training.sampling.samplers import sample_batch, to_uint8

IMAGES = np.random.RandomState(0).randint(0, 256, [50, 4, 4, 3]).astype(np.uint8)
LABELS = np.random.RandomState(1).randint(0, 3, 50)
WEIGHTS = torch.randn(48, 6, generator=torch.Generator().manual_seed(0))
FEATURES = torch.from_numpy(IMAGES.transpose(0, 3, 1, 2)).flatten(1).float() @ WEIGHTS / 255  # [50, 6]


def run_toy(images, spatial):
    features = images.flatten(1).float() @ WEIGHTS / 255
    return Measured(features, features[:, :3], features[:, :2] * 2 if spatial else None)


def toy(**changes):
    facts = dict(
        name='toy',
        run=run_toy,
        feature_dim=6,
        sha256='ab' * 32,
        device='cpu',
        num_classes=3,
        spatial_dim=2,
        labels_comparable=True,
    )
    return Detector(**{**facts, **changes})


@pytest.fixture(scope='module')
def paths(tmp_path_factory):
    """The same images as folder, zip and pack."""
    folder = tmp_path_factory.mktemp('images')
    pairs = [[f'{i:03d}.png', int(label)] for i, label in enumerate(LABELS)]
    (folder / 'dir').mkdir()
    for (name, _), image in zip(pairs, IMAGES):
        PIL.Image.fromarray(image).save(folder / 'dir' / name)
    (folder / 'dir' / 'dataset.json').write_text(str({'labels': pairs}).replace("'", '"'))
    with zipfile.ZipFile(folder / 'z.zip', 'w') as archive:
        for path in (folder / 'dir').iterdir():
            archive.write(path, path.name)
    np.savez_compressed(folder / 'p.npz', arr_0=IMAGES, arr_1=LABELS)
    return [str(folder / name) for name in ('dir', 'z.zip', 'p.npz')]


# ------------------------------------------------------------------------------------------------
# Batches and sources.


def test_batches_do_not_depend_on_the_number_of_processes():
    one = split_batches(103, 16)
    assert [len(part) for part in one] == [16] * 6 + [7] and np.concatenate(one).tolist() == list(range(103))
    for world_size in (2, 3, 8, 20):
        shared = [split_batches(103, 16, rank, world_size) for rank in range(world_size)]
        for i, part in enumerate(one):
            assert np.array_equal(shared[i % world_size][i // world_size], part)
        assert sum(map(len, shared)) == 7
    assert [len(split_batches(3, 64, rank, 8)) for rank in range(8)] == [1] + [0] * 7  # upstream crashes here


def test_subsets_follow_the_published_rule():
    assert choose_subset(10, 4, 0).tolist() == [2, 4, 8, 9] and choose_subset(10, 4, 1).tolist() == [
        2,
        4,
        6,
        9,
    ]
    chosen = choose_subset(60000, 50000, 0)
    assert (
        chosen[:8].tolist() == list(range(8))
        and chosen[-3:].tolist() == [59997, 59998, 59999]
        and chosen.sum() == 1500336389
    )
    assert choose_subset(5, None, 0).tolist() == choose_subset(5, 9, 3).tolist() == list(range(5))


@pytest.mark.parametrize('num, seed', [(None, 0), (50, 0), (17, 3)])
def test_sources_give_the_same_images_and_labels(paths, num, seed):
    rows = choose_subset(50, num, seed)
    for path in paths:
        source, reason = open_images(path, '--images', num, seed, num_classes=3)
        assert reason is None and len(source) == len(rows) and source.image_shape == [3, 4, 4]
        for rank in range(2):
            positions = split_batches(len(source), 5, rank, 2)
            found = list(source.batches(positions))
            assert len(found) == len(positions)
            for part, (images, labels) in zip(positions, found):
                assert images.stride() == torch.empty(images.shape).stride() and np.array_equal(
                    images.permute(0, 2, 3, 1), IMAGES[rows[part]]
                )
                assert labels.tolist() == LABELS[rows[part]].tolist()


def test_layout_of_grey_images_is_that_of_files(tmp_path):
    """One channel: its stride does not show in is_contiguous(), but decides which kernels run."""
    np.savez(tmp_path / 'grey.npz', arr_0=IMAGES[..., :1])
    images = next(PackedImages(NpzImages(tmp_path / 'grey.npz')).batches([np.arange(4)]))[0]
    assert images.stride() == (16, 16, 4, 1)


def test_unusable_labels_are_left_alone(paths):
    for path in paths:
        for classes, words in ((0, 'does not know the classes'), (2, 'not class numbers 0..1')):
            source, reason = open_images(path, '--images', num_classes=classes)
            assert (
                words in reason and not source.has_labels and next(source.batches([np.arange(2)]))[1] is None
            )


def test_unusable_sources(paths, tmp_path):
    np.savez(tmp_path / 'stats.npz', mu=np.zeros(2), sigma=np.eye(2))
    np.savez(tmp_path / 'floats.npz', arr_0=np.zeros([3, 4, 4, 3]))
    np.savez(tmp_path / 'one.npz', arr_0=IMAGES[:1])
    for path, words in (
        (tmp_path / 'stats.npz', 'give it as --ref'),
        (tmp_path / 'floats.npz', 'uint8 images'),
        (tmp_path / 'one.npz', 'at least 2'),
        (tmp_path / 'none.npz', 'cannot be read'),
        (tmp_path, 'contains no images'),
        (tmp_path / 'none.zip', 'does not exist'),
    ):
        with pytest.raises(ValueError, match=words) as info:
            open_images(str(path), '--images')
        assert f'--images={path}' in str(info.value)
    with pytest.raises(ValueError, match='holds 50 images, but --num=51; try --num=50'):
        open_images(paths[2], '--images', num=51)


def test_oddities_are_noticed(paths, tmp_path):
    def notes(path, *metrics):
        return ' '.join(describe_oddities(str(path), open_images(str(path), '--images')[0], metrics))

    assert [notes(path, 'is') for path in paths] == ['', '', '']
    np.savez(tmp_path / 'both.npz', arr_0=IMAGES, mu=np.zeros(2), sigma=np.eye(2))
    assert 'are these real images meant as samples?' in notes(tmp_path / 'both.npz')
    PIL.Image.fromarray(IMAGES[0]).save(tmp_path / 'a.jpg')
    PIL.Image.fromarray(IMAGES[0]).save(tmp_path / 'b.png')
    assert '1 files of' in notes(tmp_path) and 'are JPEG' in notes(tmp_path)
    many = np.zeros([5002, 1, 1, 1], dtype=np.uint8)
    np.savez(tmp_path / 'sorted.npz', arr_0=many, arr_1=np.arange(5002) // 1000)
    assert 'sorted by class' in notes(tmp_path / 'sorted.npz', 'is') and not notes(
        tmp_path / 'sorted.npz', 'fid'
    )


def test_generated_images_are_those_of_the_sampler():
    class Net(torch.nn.Module):  # blurs noise, tinted by class
        img_channels, img_resolution, label_dim = 3, 4, 5

        def __init__(self):
            super().__init__()
            self.scale = torch.nn.Parameter(torch.tensor(0.4))

        def forward(self, x, sigma, class_labels=None, force_fp32=False):
            return (x / 80 * self.scale + class_labels.argmax(dim=1)[:, None, None, None] / 10).float()

    net, seeds = Net(), np.array([3, 9, 4, 4, 100])
    source = GeneratedImages(net, seeds, 'one_step', {'sigma_max': 40.0}, rng_device='cpu')
    assert (source.image_shape, source.has_labels, len(source)) == ([3, 4, 4], True, 5)
    batches = list(source.batches(split_batches(5, 2)))
    expected, classes = sample_batch(net, seeds.tolist(), sigma_max=40.0)
    assert np.array_equal(
        torch.cat([images for images, _ in batches]).permute(0, 2, 3, 1), to_uint8(expected)
    )
    assert torch.equal(torch.cat([labels for _, labels in batches]), classes)
    assert all(images.stride() == torch.empty(images.shape).stride() for images, _ in batches)
    assert set(
        torch.cat(
            [
                labels
                for _, labels in GeneratedImages(net, seeds, 'one_step', {}, class_idx=2).batches(
                    [np.arange(5)]
                )
            ]
        ).tolist()
    ) == {2}
    net.scale.data.fill_(float('nan'))
    with pytest.raises(ValueError, match='seed 3, 9'):
        next(source.batches([np.arange(2)]))


def test_dataset_hash_tells_contents_and_names_apart(tmp_path):
    def folder(name, **files):
        for key, text in files.items():
            path = tmp_path / name / 'sub' / key
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(text)
        return hash_dataset(tmp_path / name)

    same = folder('a', x='1', y='2')
    assert folder('b', y='2', x='1') == same
    assert folder('c', x='1', y='3') != same and folder('d', x='1', z='2') != same
    (tmp_path / 'a.zip').write_bytes(b'abc')
    assert hash_dataset(tmp_path / 'a.zip').startswith('ba7816bf8f01cfea')  # sha256 of "abc"


# ------------------------------------------------------------------------------------------------
# Meters.


def test_meter_collects_what_it_was_asked_for(paths):
    kept = np.zeros(50, dtype=bool)
    kept[[3, 20, 49]] = True
    meters = [
        Meter(toy(), spatial=True, keep_logits=True, keep_features=True),
        Meter(toy(), keep_features=kept),
        Meter(toy(labels_comparable=False)),
    ]
    for path in paths[1:]:
        source = open_images(path, '--images', num_classes=3)[0]
        everything, part, plain = [
            Meter(
                m.detector,
                m.spatial_stats is not None,
                m.logits is not None,
                False if m.features is None else True if m._kept is None else kept,
            )
            for m in meters
        ]
        measure_images(
            source, [everything, part, plain], batch=20
        )  # 50 images: parts of 16 and 4 per call of the detector
        assert torch.allclose(everything.features, FEATURES, atol=1e-5) and torch.allclose(
            everything.logits, FEATURES[:, :3], atol=1e-5
        )
        assert (
            torch.allclose(part.features, FEATURES[[3, 20, 49]], atol=1e-5)
            and part.logits is None
            and plain.features is None
        )
        assert np.allclose(
            everything.spatial_stats.mean(), 2 * FEATURES[:, :2].double().mean(dim=0), atol=1e-6
        )
        for meter in (everything, part, plain):
            assert (
                np.allclose(meter.stats.cov(), np.cov(FEATURES.double().T), atol=1e-6)
                and meter.stats.num_images == 50
            )
        assert everything.accuracy == pytest.approx((FEATURES[:, :3].argmax(dim=1).numpy() == LABELS).mean())
        assert plain.accuracy is None


def test_batch_size_and_source_do_not_matter(paths):
    dataset = FolderImages(ImageFolderDataset(paths[0]))
    one, two = (
        measure_dataset(dataset, toy(), batch=7),
        measure_dataset(PackedImages(NpzImages(paths[2])), toy(), batch=50),
    )
    assert np.allclose(one.stats.cov(), two.stats.cov(), rtol=1e-5) and one.accuracy is None


def test_rows_of_several_processes_keep_their_order(monkeypatch):
    rows = torch.arange(7.0)[:, None]
    parts = rows.split(1)
    monkeypatch.setattr(
        distributed, 'gather_objects', lambda mine: [list(parts[rank::3]) for rank in range(3)]
    )
    assert torch.equal(_gather_rows([]), rows)
    assert not torch.equal(
        torch.cat([row for rank in range(3) for row in parts[rank::3]]), rows
    )  # the wrong order
    monkeypatch.setattr(distributed, 'gather_objects', lambda mine: None)
    assert _gather_rows([]) is None and _gather_rows(None) is None


def test_progress_lines(capsys, monkeypatch):
    assert list(progress(range(3), 'Counting', [4, 4, 2])) == [0, 1, 2]
    assert list(progress(['a', 'b'], 'Listing')) == ['a', 'b']
    lines = capsys.readouterr().err.splitlines()
    assert lines[0].startswith('Counting: 10/10 images, ') and lines[1].startswith('Listing: 2/2 batches, ')
    monkeypatch.setattr(distributed, 'get_rank', lambda: 1)
    assert list(progress(range(3), 'Silent')) == [0, 1, 2] and not capsys.readouterr().err


def test_failing_images_are_named(tmp_path):
    for i in range(40):
        PIL.Image.fromarray(IMAGES[i] if i != 30 else IMAGES[i][:2]).save(tmp_path / f'{i:02d}.png')
    for workers in (0, 1):
        source = open_images(str(tmp_path), '--images')[0]
        with pytest.raises(ValueError, match=f'file 30.png in --images={tmp_path}'):
            measure_images(source, [Meter(toy())], batch=2, workers=workers)


# ------------------------------------------------------------------------------------------------
# Names and numbers.


@pytest.mark.parametrize(
    'detector, kind, num, name',
    [
        ('inception', 'fid', 50000, 'fid50k'),
        ('inception', 'fid', 10000, 'fid10k'),
        ('inception', 'fid', 49999, 'fid49999'),
        ('inception', 'is', 50000, 'is50k'),
        ('inception', 'sfid', 50000, 'sfid50k'),
        ('inception', 'precision', 2000, 'precision2k'),
        ('clip-vit-b-32', 'fid', 50000, 'clip-fid50k'),
        ('dinov2-vit-l-14', 'fid', 50000, 'fd-dinov2-50k'),
        ('clip-vit-b-32', 'kid', 50000, 'kid-clip-vit-b-32-50000'),
        ('mnist-classifier', 'fid', 2000, 'frechet-mnist-classifier-2000'),
        (
            'inception-0123abcd',
            'fid',
            50000,
            'frechet-inception-0123abcd-50000',
        ),  # other weights than the published ones
    ],
)
def test_names(detector, kind, num, name):
    assert metric_name(detector, kind, num) == name


def test_lists_of_metrics():
    assert parse_metrics('pr, FID') == ['pr', 'fid']
    for text, words in (
        ('fid,fd', "'fd' is not known; write some of fid,sfid,is,kid,pr,dc"),
        ('', "'' is not known"),
        ('is,is', 'twice'),
    ):
        with pytest.raises(ValueError, match=words):
            parse_metrics(text)


def reference(**changes):
    other = FEATURES.double().numpy()[::-1] * 0.9 + 0.1
    spatial = other[:, :2] * 2
    facts = dict(
        mu=other.mean(axis=0),
        sigma=np.cov(other.T),
        num_images=50,
        image_shape=(3, 4, 4),
        detector='toy',
        detector_sha256='ab' * 32,
        mu_s=spatial.mean(axis=0),
        sigma_s=np.cov(spatial.T),
        features=other[:30].astype(np.float32),
        path='ref.npz',
        sha256='ef' * 32,
    )
    return Reference(**{**facts, **changes})


def test_all_numbers_of_one_pass(paths):
    detector = toy()
    comparison = Comparison(reference(), detector, ['fid', 'sfid', 'is', 'kid', 'pr', 'dc'])
    assert comparison.skipped == []
    meters = results.make_meters([comparison])
    results.add_reference_features([comparison])
    measure_images(open_images(paths[0], '--images', num_classes=3)[0], list(meters.values()), batch=20)
    found = {entry['metric']: entry for entry in results.compute_results(comparison, meters[detector])}
    names = ['class-accuracy', 'sfid', 'is', 'kid', 'precision', 'recall', 'density', 'coverage', 'frechet']
    assert list(found) == [f'{name}-toy-50' for name in names]  # the Frechet distance comes last

    def distance(mine, mu, sigma):
        return frechet_distance(mine.mean(axis=0), np.cov(mine.T), mu, sigma)

    mine, ref = FEATURES.double().numpy(), comparison.reference
    pr = precision_recall(samples=FEATURES, reference=torch.from_numpy(ref.features), k=3)
    dc = density_coverage(samples=FEATURES, reference=torch.from_numpy(ref.features), k=5)
    expected = [
        (FEATURES[:, :3].argmax(dim=1).numpy() == LABELS).mean(),
        distance(mine[:, :2] * 2, ref.mu_s, ref.sigma_s),
        inception_score(FEATURES[:, :3]).mean,
        kernel_distance(samples=FEATURES, reference=ref.features).mean,
        *pr,
        *dc,
        distance(mine, ref.mu, ref.sigma),
    ]
    assert [entry['value'] for entry in found.values()] == pytest.approx(expected, rel=1e-4)
    assert (
        found['frechet-toy-50']['mean_term'] + found['frechet-toy-50']['cov_term']
        == found['frechet-toy-50']['value']
    )
    # A mode collapse: precise, but without recall; swapped arguments would show the opposite.
    assert (
        found['recall-toy-50']['k'],
        found['recall-toy-50']['num_reference'],
        found['density-toy-50']['k'],
    ) == (3, 30, 5)


def test_precision_and_recall_are_not_swapped(tmp_path):
    pack = tmp_path / 'collapsed.npz'
    rng = np.random.RandomState(2)
    spread = rng.randint(0, 256, [40, 4, 4, 3]).astype(np.uint8)
    np.savez(
        pack,
        arr_0=np.clip(spread[:1].astype(int) + rng.randint(-2, 3, [40, 4, 4, 3]), 0, 255).astype(np.uint8),
    )
    detector = toy()
    features = run_toy(torch.from_numpy(spread.transpose(0, 3, 1, 2)), False).features.numpy()
    comparison = Comparison(reference(features=features), detector, ['pr'])
    meters = results.make_meters([comparison])
    results.add_reference_features([comparison])
    measure_images(open_images(str(pack), '--images')[0], list(meters.values()))
    precision, recall = (entry['value'] for entry in results.compute_results(comparison, meters[detector]))
    assert precision > 0.9 and recall < 0.2


def test_images_inside_a_reference_are_measured(tmp_path):
    path = str(tmp_path / 'virtual.npz')
    np.savez(path, arr_0=IMAGES[:30])
    comparison = Comparison(reference(features=None, has_images=True, path=path), toy(), ['pr'])
    results.add_reference_features([comparison], batch=7)
    assert torch.allclose(comparison.features, FEATURES[:30], atol=1e-5)


@pytest.mark.parametrize(
    'metric, changes, words',
    [
        ('is', dict(detector=toy(num_classes=0)), 'detector toy has no class scores'),
        ('sfid', dict(detector=toy(spatial_dim=0)), 'detector toy has no spatial features'),
        ('sfid', dict(reference=reference(mu_s=None, sigma_s=None)), 'fid.py ref --spatial stores them'),
        ('kid', dict(reference=reference(features=None)), 'fid.py ref --features=10000 stores them'),
    ],
)
def test_impossible_metrics(metric, changes, words):
    possible = Comparison(reference(), toy(), [metric])
    impossible = Comparison(
        **{'reference': reference(), 'detector': toy(), 'metrics': ['fid', metric], **changes}
    )
    assert impossible.metrics == ['fid']
    assert words in results.require_any([possible, impossible])[0]  # skipped here, computed there
    with pytest.raises(ValueError, match=words):
        results.require_any([impossible])


def test_remarks_about_comparability():
    def notes(name, num, path='ref.npz', shape=(3, 32, 32), **changes):
        return ' '.join(
            results.describe_choice(
                [Comparison(reference(path=path), toy(name=name, **changes), ['fid'])], num, shape
            )
        )

    assert notes('toy', 50) == '' and notes('inception', 50000) == ''
    assert 'called fid10k' in notes('inception', 10000) and 'called clip-fid60k' in notes(
        'clip-vit-b-32', 60000
    )
    assert 'dominated by chance' in notes('toy', 6)
    assert 'speaks of 64x64 pixels, but the images have 32x32' in notes('toy', 50, 'ffhq-64x64.npz')
    assert (
        notes('toy', 50, 'ffhq-64x64.npz', (3, 64, 64)) == ''
        and notes('toy', 50, notes=['gamma is odd']) == 'gamma is odd'
    )


def test_summary_of_blocks(capsys):
    blocks = [[dict(metric='fid50k', value=value, ref='r.npz')] for value in (2.0, 1.5, 2.5)]
    [line] = results.summarise(blocks)
    assert (line['min'], line['mean'], line['max'], line['values']) == (1.5, 2.0, 2.5, [2.0, 1.5, 2.5])
    assert line['std'] == pytest.approx(0.5)  # divided by n - 1; by n it would be 0.41
    results.print_summary([line])
    assert capsys.readouterr().out == 'fid50k over 3 blocks of seeds: min 1.5, mean 2, max 2.5, std 0.5\n'


def test_printed_numbers(capsys):
    results.print_results(
        [
            dict(metric='kid50k', value=1 / 3, std=0.5, num_subsets=100, num_reference=7),
            dict(metric='is50k', value=9, std=1, groups=10, split_size=5000),
            dict(metric='recall50k', value=0.25, k=3, num_reference=7),
            dict(metric='fid50k', value=-1e-6, mean_term=0, cov_term=-1e-6),
        ]
    )
    lines = capsys.readouterr().out.splitlines()
    assert lines[0] == 'kid50k: 0.333333  (std 0.5 over 100 subsets, 7 reference images)' and lines[
        1
    ].startswith('is50k: 9  (std 1 over 10 groups')
    assert lines[2] == 'recall50k: 0.25  (k 3, 7 reference images)'
    assert 'below 0 by rounding' in lines[4] and lines[5] == 'fid50k: -1e-06'


def test_facts_about_the_software():
    facts = results.describe_software(types.SimpleNamespace(type='cpu'))
    assert facts['torch'] == torch.__version__ and facts['processes'] == 1 and facts['tf32'] is False
