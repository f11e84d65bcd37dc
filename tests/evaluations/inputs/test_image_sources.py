# Copyright 2026 The GDD-1S authors.
# SPDX-License-Identifier: Apache-2.0

"""Images to measure: folder, zip, pack and network give the same images; what is refused."""

import io
import os
import zipfile

import numpy as np
import PIL.Image
import pytest
import torch

from evaluations.inputs.image_sources import (
    GeneratedImages,
    PackedImages,
    choose_subset,
    hash_dataset,
    open_images,
)
from evaluations.inputs.npz_images import NpzImages
from evaluations.measure import split_batches
from evaluations.remarks import describe_images
from tests.support.image_files import colour, write_files
from tests.support.toy_images import IMAGES, LABELS, write_sources
from training.sampling.samplers import sample_batch, to_uint8


@pytest.fixture(scope='module')
def paths(tmp_path_factory):
    return write_sources(tmp_path_factory.mktemp('images'))


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
        source, reason = open_images(path, num, seed, num_classes=3)
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
            source, reason = open_images(path, num_classes=classes)
            assert (
                words in reason and not source.has_labels and next(source.batches([np.arange(2)]))[1] is None
            )


def test_unusable_sources(paths, tmp_path):
    np.savez(tmp_path / 'stats.npz', mu=np.zeros(2), sigma=np.eye(2))
    np.savez(tmp_path / 'floats.npz', arr_0=np.zeros([3, 4, 4, 3]))
    np.savez(tmp_path / 'one.npz', arr_0=IMAGES[:1])
    for path, words in (
        (tmp_path / 'stats.npz', 'give it as ref'),
        (tmp_path / 'floats.npz', 'uint8 images'),
        (tmp_path / 'one.npz', 'at least 2'),
        (tmp_path / 'none.npz', 'cannot be read'),
        (tmp_path, 'contains no images'),
        (tmp_path / 'none.zip', 'does not exist'),
    ):
        with pytest.raises(ValueError, match=words) as info:
            open_images(str(path))
        assert f'path={path}' in str(info.value)
    with pytest.raises(ValueError, match='holds 50 images, but num=51; try num=50'):
        open_images(paths[2], num=51)


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


def test_advice_is_never_refused_itself(tmp_path):
    """One image: no number of images can be asked for, since statistics need two."""
    np.savez(tmp_path / 'one.npz', arr_0=IMAGES[:1])
    with pytest.raises(ValueError) as caught:
        open_images(str(tmp_path / 'one.npz'), num=50)
    assert 'at least 2' in str(caught.value) and 'try' not in str(caught.value)


def test_names_that_are_not_utf8_and_files_that_never_end(tmp_path):
    folder = os.fsencode(tmp_path) + b'/caf\xe9'
    os.mkdir(folder)
    for i in range(3):
        PIL.Image.fromarray(IMAGES[i]).save(os.fsdecode(folder + b'/\xe9%d.png' % i))
    source, _ = open_images(os.fsdecode(folder))
    images, _ = next(source.batches([np.arange(3)]))
    assert np.array_equal(images.permute(0, 2, 3, 1), IMAGES[:3])
    before = hash_dataset(os.fsdecode(folder))
    os.mkfifo(folder + b'/pipe')
    assert hash_dataset(os.fsdecode(folder)) == before
    with pytest.raises(ValueError, match='is a pipe, not a file'):
        os.mkfifo(tmp_path / 'pipe.npz')
        open_images(str(tmp_path / 'pipe.npz'))


def test_damaged_packs_are_found_before_measuring(paths, tmp_path):
    """The last image as well."""
    np.savez(tmp_path / 'pack.npz', arr_0=IMAGES)
    data = bytearray((tmp_path / 'pack.npz').read_bytes())
    data[data.index(IMAGES[49].tobytes()) + 7] ^= 1
    (tmp_path / 'pack.npz').write_bytes(data)
    with pytest.raises(ValueError, match='Bad CRC-32'):
        open_images(str(tmp_path / 'pack.npz'))


def test_announced_images_are_not_believed(tmp_path):
    """A file of 40 KB with one image of 200 MB."""
    content = io.BytesIO()
    header = dict(descr='|u1', fortran_order=False, shape=(2, 10_000, 10_000, 1))
    np.lib.format.write_array_header_1_0(content, header)
    with zipfile.ZipFile(tmp_path / 'x.npz', 'w', zipfile.ZIP_DEFLATED) as archive:
        with archive.open('arr_0.npy', 'w') as member:
            member.write(content.getvalue())
            for _ in range(200):
                member.write(bytes(1_000_000))
    with pytest.raises(ValueError, match='announces images of 10000x10000 pixels in'):
        open_images(str(tmp_path / 'x.npz'))


def test_files_of_services_are_left_out_and_named(tmp_path):
    """Also of the hash that tells whether two folders are the same data set."""
    files = {f'{k}.png': colour(k) for k in range(3)}
    plain = write_files(tmp_path / 'plain', files)
    littered = write_files(tmp_path / 'littered', {**files, '.ipynb_checkpoints/0.png': b'', '._1.png': b'x'})
    source, _reason = open_images(littered)
    assert len(source) == 3
    words = 'left out as files of services or hidden: ._1.png, .ipynb_checkpoints'
    assert f'{littered}: {words}' in describe_images(littered, source)
    assert not describe_images(plain, open_images(plain)[0])
    assert hash_dataset(plain) == hash_dataset(littered)
    write_files(littered, {'3.png': colour(3)})
    assert hash_dataset(plain) != hash_dataset(littered)
