# Copyright 2026 The GDD-1S authors.
# SPDX-License-Identifier: Apache-2.0

"""Images to measure, from a folder, a zip, an image pack (.npz) or a network, under one interface.

A source has `name`, `image_shape` [C, H, W], `has_labels`, a length, and

    batches(positions, workers) -> iterator of (images uint8 tensor [N, C, H, W], labels int64 tensor [N] or None)

where `positions` lists ascending int arrays of image numbers 0..len - 1, one per batch.

Legend: N images, C channels, H W pixels.
"""

import hashlib
import os

import numpy as np
import torch

from evaluations.inputs.npz_images import NpzImages
from evaluations.metrics.inception_score import seems_sorted
from torch_utils.loader import load_batches
from training.dataset import DatasetError, ImageFolderDataset
from training.images.files import FileTree
from training.sampling.samplers import check_finite, sample_batch, to_uint8

_NPZ_READ = 256  # images read at a time from a pack
_WORKER_BATCHES = 4  # batches that each decoding process prepares ahead
QUANTISATION = 'floor(127.5 x + 128), limited to 0..255'  # of generated images, EDM's rule; see to_uint8


def choose_subset(count, num, seed):
    """Choose images at random by EDM's rule (NumPy's legacy generator), ascending int array [min(num, count)]."""
    indices = np.arange(count)
    if num is not None and num < count:
        np.random.RandomState(seed % (1 << 31)).shuffle(indices)
        indices = np.sort(indices[:num])
    return indices


def open_images(path, option, num=None, seed=0, num_classes=0):
    """Open a folder, a zip or an image pack.

    Args:
        path: Folder, `.zip`, or `.npz` with images in `arr_0`.
        option: Command-line option that gave it, for messages.
        num: Use a random subset of this many images; None uses all.
        seed: Seed of the subset.
        num_classes: Classes to compare labels with; 0 leaves labels alone.
    Returns:
        (source; why there are no labels, or None if there are).
    Raises:
        ValueError: Unusable, or fewer images than `num`, or fewer than 2.
    """
    if str(path).lower().endswith('.npz'):
        source, reason = _open_pack(path, option, num, seed, num_classes)
    else:
        try:
            source, reason = _open_dataset(path, num, seed, num_classes)
        except DatasetError as err:  # the data set calls its path --data
            raise ValueError(str(err).replace('--data=', f'{option}=')) from err
    if num is not None and len(source) < num:
        raise ValueError(
            f'{option}={path} holds {len(source)} images, but --num={num}; try --num={len(source)}'
        )
    if len(source) < 2:
        raise ValueError(f'{option}={path} holds {len(source)} image; statistics need at least 2')
    source.option = option
    return source, reason


def _open_dataset(path, num, seed, num_classes):
    """Open a folder or zip, with its labels if they can be compared; return (source, reason or None)."""
    plain = FolderImages(ImageFolderDataset(path, max_size=num, random_seed=seed))
    if not num_classes:
        return plain, 'the detector does not know the classes of the images'
    try:
        dataset = ImageFolderDataset(path, max_size=num, random_seed=seed, use_labels=True)
    except DatasetError as err:  # images without usable labels are images all the same
        return plain, str(err)
    if not dataset.has_labels:
        return plain, 'the images have no dataset.json with labels'
    if not dataset.has_onehot_labels or dataset.label_dim > num_classes:
        return plain, f'the labels are not class numbers 0..{num_classes - 1}'
    return FolderImages(dataset), None


class FolderImages:
    """Images of a folder or zip.

    Args:
        dataset: An `ImageFolderDataset`; its labels, if it has any, are class numbers.
    """

    option = '--data'

    def __init__(self, dataset):
        self._dataset = dataset
        self.name = dataset.name
        self.image_shape = list(dataset.image_shape)
        self.has_labels = dataset.has_labels

    def __len__(self):
        return len(self._dataset)

    def batches(self, positions, workers=0):
        """Decode batches in `workers` processes besides this one; 0 decodes here."""
        extra = dict(prefetch_factor=_WORKER_BATCHES) if workers else {}
        whole = _WholeBatches(self._dataset, positions)
        try:
            yield from load_batches(whole, batch_size=None, num_workers=workers, **extra)
        except DatasetError as error:
            raise DatasetError(str(error).replace('--data=', f'{self.option}=')) from error


class _WholeBatches(torch.utils.data.Dataset):
    """Whole batches of a data set as items: one message between processes per batch, not per image."""

    def __init__(self, dataset, positions):
        self._dataset = dataset
        self._positions = positions

    def __len__(self):
        return len(self._positions)

    def __getitem__(self, i):
        pairs = [self._dataset[idx] for idx in self._positions[i]]
        images = np.stack([image for image, _ in pairs])  # [N, C, H, W]
        if not self._dataset.has_labels:
            return images, None
        return images, np.array([int(onehot.argmax()) for _, onehot in pairs])


def _open_pack(path, option, num, seed, num_classes):
    """Open an image pack; return (source, why it has no labels or None)."""
    pack = NpzImages(path, option)
    if not pack.has_images:
        raise ValueError(
            f'{option}={path} holds statistics, but no images (arr_0); give it as --ref, or a file with images'
        )
    labels, reason = None, 'the detector does not know the classes of the images'
    if num_classes:
        labels, reason = pack.labels, None
        if labels is None:
            reason = 'the pack has no labels (arr_1)'
        elif labels.min() < 0 or labels.max() >= num_classes:
            labels, reason = None, f'the labels are not class numbers 0..{num_classes - 1}'
    return PackedImages(pack, choose_subset(len(pack), num, seed), labels), reason


class PackedImages:
    """Images of an .npz file (arr_0), read in order so that memory stays bounded; the file is `pack`.

    Args:
        pack: An `NpzImages`.
        rows: Images to use, ascending int array; None for all.
        labels: Class numbers, int array, of all images in the file, or None.
    """

    def __init__(self, pack, rows=None, labels=None):
        self.pack = pack
        self._rows = np.arange(len(pack)) if rows is None else rows
        self._labels = labels
        self.name = os.path.splitext(os.path.basename(pack.path))[0]
        self.image_shape = [pack.shape[3], *pack.shape[1:3]]
        self.has_labels = labels is not None

    def __len__(self):
        return len(self._rows)

    def batches(self, positions, workers=0):
        """Read batches; `workers` is not used, since nothing has to be decoded."""
        blocks, block, start = self.pack.batches(_NPZ_READ), [], 0
        for part in positions:
            rows, filled = self._rows[part], 0
            images = np.empty([len(rows), *self.pack.shape[1:]], dtype=np.uint8)  # [N, H, W, C]
            while filled < len(rows):
                count = np.searchsorted(rows[filled:], start + len(block))
                if count:
                    images[filled : filled + count] = block[rows[filled : filled + count] - start]
                    filled += count
                else:
                    start, block = start + len(block), next(blocks)
            labels = None if self._labels is None else torch.from_numpy(self._labels[rows].astype(np.int64))
            yield _to_nchw(images), labels


class GeneratedImages:
    """Images that a network makes on demand, one per seed, with the bytes that generate.py would write.

    Args:
        net: Network on its device, in eval mode.
        seeds: Seeds, int array [N].
        sampler: Name in `training.samplers.SAMPLERS`.
        kwargs: Its arguments.
        class_idx: Class of all images; None draws one per seed.
        rng_device: Where to draw noise; None for the device of the network.
        name: How the images are called in progress lines.
    """

    def __init__(self, net, seeds, sampler, kwargs, class_idx=None, rng_device=None, name='images'):
        self._net = net
        self._seeds = seeds
        self._options = dict(kwargs, sampler=sampler, class_idx=class_idx, rng_device=rng_device)
        self.name = name
        self.image_shape = [net.img_channels, net.img_resolution, net.img_resolution]
        self.has_labels = net.label_dim > 0

    def __len__(self):
        return len(self._seeds)

    def batches(self, positions, workers=0):
        """Generate batches; `workers` is not used."""
        device = next(self._net.parameters()).device
        for part in positions:
            seeds = self._seeds[part].tolist()
            images, labels = sample_batch(self._net, seeds, device=device, **self._options)
            check_finite(images, seeds)
            yield _to_nchw(to_uint8(images)), None if labels is None else labels.cpu()


def _to_nchw(images):
    """Return uint8 [N, H, W, C] as a tensor [N, C, H, W] with the strides of decoded files: they steer kernels, and so rounding."""
    return torch.from_numpy(images).permute(0, 3, 1, 2).clone(memory_format=torch.contiguous_format)


def describe_oddities(path, source, metrics=()):
    """Return remarks about images that make a number misleading, list of lines.

    Args:
        path: Where the images come from.
        source: The source opened from it.
        metrics: Metrics to be computed; the Inception Score depends on the order of the images.
    """
    notes = []
    if isinstance(source, PackedImages):
        if source.pack.statistics() is not None:
            notes.append(
                f'{path} holds reference statistics as well; are these real images meant as samples?'
            )
        labels = [] if 'is' not in metrics or source.pack.labels is None else source.pack.labels
    else:
        tree = FileTree(path, source.option)
        jpegs = sum(name.lower().endswith(('.jpg', '.jpeg')) for name in tree.names)
        if jpegs:
            notes.append(
                f'{jpegs} files of {path} are JPEG; compression moves features, and published numbers use PNG'
            )
        labels = list((tree.read_label_map() or {}).values()) if 'is' in metrics else []
    if (
        'is' in metrics
        and all(isinstance(label, (int, np.integer)) for label in labels)
        and seems_sorted(labels)
    ):
        notes.append(
            f'{path} is sorted by class; the Inception Score of consecutive groups is then far too low'
        )
    return notes


def hash_dataset(path):
    """Return a hash that tells whether two data sets are the same files.

    Args:
        path: A file (hash of its bytes) or a folder (names and bytes of its files, in order).
    Returns:
        sha256, hexadecimal.
    """
    digest = hashlib.sha256()
    if os.path.isfile(path):
        _update_from_file(digest, path)
        return digest.hexdigest()
    names = [
        os.path.relpath(os.path.join(root, name), path) for root, _, files in os.walk(path) for name in files
    ]
    for name in sorted(names):
        digest.update(name.replace(os.sep, '/').encode() + b'\0')
        _update_from_file(digest, os.path.join(path, name))
    return digest.hexdigest()


def _update_from_file(digest, path):
    with open(path, 'rb') as f:
        while block := f.read(1 << 20):
            digest.update(block)
