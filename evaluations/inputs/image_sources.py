# Copyright 2026 The GDD-1S authors.
# SPDX-License-Identifier: Apache-2.0

"""Images to measure, from a folder, a zip, an image pack (.npz) or a network, under one interface.

A source has `name`, `image_shape` [C, H, W], `has_labels`, a length, and

    batches(positions, workers) -> iterator of (images uint8 [N, C, H, W], labels int64 [N] or None)

on the CPU, or on the device that made them, where `positions` lists ascending int arrays of image numbers
0..len - 1, one per batch.

Legend: N images, C channels, H W pixels.
"""

import hashlib
import os
from collections.abc import Iterator
from typing import Any

import numpy as np
import torch

from dnnlib.errors import ArgumentError, arg, as_python, shown
from evaluations.inputs.npz_images import NpzImages
from torch_utils.host_copy import HostCopy
from torch_utils.loader import load_batches
from training.dataset import DatasetError, FileTree, ImageFolderDataset
from training.sampling.batches import start_batch
from training.sampling.samplers import refuse_not_finite

_NPZ_READ = 256  # images read at a time from a pack
_WORKER_BATCHES = 4  # batches that each decoding process prepares ahead
QUANTISATION = 'floor(127.5 x + 128), limited to 0..255'  # of generated images, EDM's rule; see quantise


def choose_subset(count: int, num: int | None, seed: int) -> np.ndarray:
    """Choose images at random by EDM's rule (NumPy's legacy generator), ascending, int [min(num, count)]."""
    indices = np.arange(count)
    if num is not None and num < count:
        np.random.RandomState(seed % (1 << 31)).shuffle(indices)
        indices = np.sort(indices[:num])
    return indices


def open_images(
    path: str | os.PathLike, num: int | None = None, seed: int = 0, num_classes: int = 0
) -> tuple['FolderImages | PackedImages', str | None]:
    """Open a folder, a zip or an image pack.

    Args:
        path: Folder, `.zip`, or `.npz` with images in `arr_0`.
        num: Use a random subset of this many images; None uses all.
        seed: Seed of the subset.
        num_classes: Classes to compare labels with; 0 leaves labels alone.
    Returns:
        (source; why there are no labels, or None if there are).
    Raises:
        ArgumentError: Unusable, or fewer images than `num`, or fewer than 2.
    """
    if str(path).lower().endswith('.npz'):
        source, reason = _open_pack(path, num, seed, num_classes)
    else:
        source, reason = _open_dataset(path, num, seed, num_classes)
    if len(source) < 2:
        raise ArgumentError(arg('path', path), f' holds {len(source)} image; statistics need at least 2')
    if num is not None and len(source) < num:
        raise ArgumentError(
            arg('path', path),
            f' holds {len(source)} images, but ',
            arg('num', num),
            '; try ',
            arg('num', len(source)),
        )
    return source, reason


def _open_dataset(
    path: str | os.PathLike, num: int | None, seed: int, num_classes: int
) -> tuple['FolderImages', str | None]:
    """Open a folder or zip, with its labels if they can be compared; return (source, reason or None)."""
    plain = FolderImages(ImageFolderDataset(path, max_size=num, random_seed=seed))
    if not num_classes:
        return plain, 'the detector does not know the classes of the images'
    try:
        dataset = ImageFolderDataset(path, max_size=num, random_seed=seed, use_labels=True)
    except DatasetError as error:  # images without usable labels are images all the same
        return plain, error.spell(lambda part: shown(part.value) if part.name == 'path' else as_python(part))
    if not dataset.has_labels:
        return plain, 'the images have no dataset.json with labels'
    if not dataset.has_onehot_labels or dataset.label_dim > num_classes:
        return plain, f'the labels are not class numbers 0..{num_classes - 1}'
    return FolderImages(dataset), None


Batch = tuple[torch.Tensor, torch.Tensor | None]


class FolderImages:
    """Images of a folder or zip.

    Args:
        dataset: An `ImageFolderDataset`; its labels, if it has any, are class numbers.
    """

    def __init__(self, dataset: ImageFolderDataset) -> None:
        self._dataset = dataset
        self.name = dataset.name
        self.image_shape = list(dataset.image_shape)
        self.has_labels = dataset.has_labels
        self.remarks = list(dataset.remarks)  # what was listed otherwise than a user may think

    def __len__(self) -> int:
        return len(self._dataset)

    def batches(self, positions: list[np.ndarray], workers: int = 0) -> Iterator[Batch]:
        """Decode batches in `workers` processes besides this one; 0 decodes here."""
        extra = dict(prefetch_factor=_WORKER_BATCHES) if workers else {}
        whole = _WholeBatches(self._dataset, positions)
        yield from load_batches(whole, batch_size=None, num_workers=workers, **extra)


class _WholeBatches(torch.utils.data.Dataset):
    """Whole batches of a data set as items: one message between processes per batch, not per image."""

    def __init__(self, dataset: ImageFolderDataset, positions: list[np.ndarray]) -> None:
        self._dataset = dataset
        self._positions = positions

    def __len__(self) -> int:
        return len(self._positions)

    def __getitem__(self, i: int) -> tuple[np.ndarray, np.ndarray | None]:
        pairs = [self._dataset[idx] for idx in self._positions[i]]
        images = np.stack([image for image, _ in pairs])  # [N, C, H, W]
        if not self._dataset.has_labels:
            return images, None
        return images, np.array([int(onehot.argmax()) for _, onehot in pairs])


def _open_pack(
    path: str | os.PathLike, num: int | None, seed: int, num_classes: int
) -> tuple['PackedImages', str | None]:
    """Open an image pack; return (source, why it has no labels or None)."""
    pack = NpzImages(path)
    if not pack.has_images:
        raise ArgumentError(
            arg('path', path),
            ' holds statistics, but no images (arr_0); give it as ',
            arg('ref'),
            ', or a file with images',
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

    def __init__(
        self, pack: NpzImages, rows: np.ndarray | None = None, labels: np.ndarray | None = None
    ) -> None:
        self.pack = pack
        self._rows = np.arange(len(pack)) if rows is None else rows
        self._labels = labels
        self.name = os.path.splitext(os.path.basename(pack.path))[0]
        self.image_shape = [pack.shape[3], *pack.shape[1:3]]
        self.has_labels = labels is not None

    def __len__(self) -> int:
        return len(self._rows)

    def batches(self, positions: list[np.ndarray], workers: int = 0) -> Iterator[Batch]:
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

    def __init__(
        self,
        net: torch.nn.Module,
        seeds: np.ndarray,
        sampler: str,
        kwargs: dict[str, Any],
        class_idx: int | None = None,
        rng_device: str | None = None,
        name: str = 'images',
    ) -> None:
        self._net = net
        self._seeds = seeds
        self._options = dict(kwargs, sampler=sampler, class_idx=class_idx, rng_device=rng_device)
        self.name = name
        self.image_shape = [net.img_channels, net.img_resolution, net.img_resolution]
        self.has_labels = net.label_dim > 0

    def __len__(self) -> int:
        return len(self._seeds)

    def batches(self, positions: list[np.ndarray], workers: int = 0) -> Iterator[Batch]:
        """Generate batches, which stay on the device of the network; `workers` is not used.

        A GPU is not waited for: damaged images of a batch raise before the next one, or with the last.
        """
        device = next(self._net.parameters()).device
        unchecked = None  # (copy of the marks of damaged images, seeds)
        for number, part in enumerate(positions, start=1):
            seeds = self._seeds[part].tolist()
            batch = start_batch(self._net, seeds, device=device, **self._options)
            checks = [unchecked, (HostCopy(batch.not_finite), seeds)]
            if device.type == 'cuda' and number < len(positions):
                unchecked = checks.pop()
            for copy, those in filter(None, checks):
                refuse_not_finite(*copy.wait(), those)
            # With the strides of decoded files: they steer kernels, and so rounding.
            yield batch.pixels.contiguous(), batch.labels


class ChosenImages:
    """Some images of another source, under the same interface.

    Args:
        source: Where they come from.
        rows: Their numbers there, ascending int array.
    """

    def __init__(self, source: 'FolderImages | PackedImages', rows: np.ndarray) -> None:
        self._source = source
        self.rows = rows
        self.name, self.image_shape, self.has_labels = source.name, source.image_shape, source.has_labels

    def __len__(self) -> int:
        return len(self.rows)

    def batches(self, positions: list[np.ndarray], workers: int = 0) -> Iterator[Batch]:
        """Read batches as the source does."""
        return self._source.batches([self.rows[part] for part in positions], workers)


def _to_nchw(images: np.ndarray) -> torch.Tensor:
    """Return uint8 [N, H, W, C] as a tensor [N, C, H, W].

    It has the strides of decoded files: they steer kernels, and so rounding.
    """
    return torch.from_numpy(images).permute(0, 3, 1, 2).clone(memory_format=torch.contiguous_format)


def hash_dataset(path: str | os.PathLike) -> str:
    """Return a hash that tells whether two data sets are the same files.

    Args:
        path: A file (hash of its bytes) or a folder (names and bytes of its files, but those of services).
    Returns:
        sha256, hexadecimal.
    """
    digest = hashlib.sha256()
    if os.path.isfile(path):
        _update_from_file(digest, path)
        return digest.hexdigest()
    for name in FileTree(path).names:
        file = os.path.join(path, name)
        if os.path.isfile(file):  # a pipe could be read for ever
            digest.update(os.fsencode(name) + b'\0')
            _update_from_file(digest, file)
    return digest.hexdigest()


def _update_from_file(digest: 'hashlib._Hash', path: str | os.PathLike) -> None:
    with open(path, 'rb') as file:
        while block := file.read(1 << 20):
            digest.update(block)
