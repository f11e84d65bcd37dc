# Copyright 2026 The GDD-1S authors.
# SPDX-License-Identifier: Apache-2.0
"""Image dataset (folder or zip, optional labels), and the loader and endless sampler that feed training.

Legend: N images, C channels, H W pixels, K classes. Images are uint8 [C, H, W], 0..255.
The rules follow EDM, so archives made for EDM load unchanged; see datasets/README.md.
"""

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch

from dnnlib.errors import ArgumentError, arg
from torch_utils import loader
from training.images.decoding import decode_image
from training.images.files import LABEL_FILE, DatasetError, FileTree, is_image_name
from training.images.labels import label_array, match_labels, refuse_labels_elsewhere, unused_classes

_MODES = ('L', 'RGB')  # what the networks can eat; everything else needs an explicit conversion
_REPLAY_CHUNK = 1 << 16  # exchanges replayed per NumPy call when a sampler resumes


# ------------------------------------------------------------------------------------------------
# Dataset.


class ImageFolderDataset(torch.utils.data.Dataset):
    """Load equally sized images, and optionally labels, from a folder or a zip archive.

    Images are sorted by relative path (code points). Safe in any number of worker processes.

    Args:
        path:        Folder or `.zip` file, PNG, JPEG and whatever else Pillow opens, mode L or RGB.
        resolution:  Side in pixels that the images must have, or None for any.
        max_size:    Keep a random subset of this many images, chosen before mirroring; None keeps all.
        use_labels:  Read labels from dataset.json; without such labels the dataset is unlabelled.
        xflip:       Append a horizontally mirrored copy of every image, which doubles the length.
        random_seed: Seed of the subset.
        cache:       Keep decoded images in memory, per process.
    Attributes:
        remarks: What a user should know about the files and labels, a line each.
    Raises:
        DatasetError: the path, the first image, or the labels cannot be used.
    """

    def __init__(
        self,
        path: str,
        resolution: int | None = None,
        max_size: int | None = None,
        use_labels: bool = False,
        xflip: bool = False,
        random_seed: int = 0,
        cache: bool = False,
    ) -> None:
        self._files = FileTree(path)
        self._names = [name for name in self._files.names if is_image_name(name)]
        self.remarks = self._files.remarks()
        self._check_names()
        if max_size is not None and max_size < 1:
            raise DatasetError(
                arg('max_size', max_size), ' must be at least 1; leave it out to use every image'
            )
        self._cached = {} if cache else None
        self._shape = None
        self._shape = self._load(0).shape
        if resolution is not None and self._shape[1:] != (resolution, resolution):
            raise DatasetError(
                self._files.arg,
                f' has images of {_size_text(self._shape)}, but resolution '
                f'{resolution} is asked for; convert with dataset_tool.py ',
                arg('resolution', f'{resolution}x{resolution}'),
            )
        self._labels = self._load_labels() if use_labels else None
        self._label_dim = self._count_classes()
        self._raw_idx = _choose_subset(len(self._names), max_size, random_seed)
        self._flip = np.zeros(len(self._raw_idx), dtype=bool)
        if xflip:
            self._flip = np.concatenate([self._flip, ~self._flip])
            self._raw_idx = np.tile(self._raw_idx, 2)

    def _check_names(self) -> None:
        if not self._names:
            others = ''.join(f'; {remark}' for remark in self.remarks)
            raise DatasetError(
                self._files.arg, f' contains no images; dataset_tool.py makes a usable archive{others}'
            )
        if self._files.repeated:
            raise DatasetError(
                self._files.arg,
                f' stores {len(self._files.repeated)} names twice, the first is '
                f'{self._files.repeated[0]}; make the archive again',
            )

    def __len__(self) -> int:
        return len(self._raw_idx)

    def __getitem__(self, idx: int) -> tuple[np.ndarray, np.ndarray]:
        """Return (image uint8 [C, H, W], label float32 [label_dim]) as fresh arrays."""
        image = self._load(int(self._raw_idx[idx]))  # [C, H, W]
        if self._flip[idx]:
            image = image[:, :, ::-1]  # [C, H, W]
        return image.copy(), self.labels_onehot(idx)

    def _load(self, raw_idx: int) -> np.ndarray:
        if self._cached is not None and raw_idx in self._cached:
            return self._cached[raw_idx]
        name = self._names[raw_idx]
        where = self._files.where(name)
        image = decode_image(self._files.read(name), where)
        if image.mode not in _MODES:
            raise DatasetError(
                *where,
                f' has mode {image.mode} ({image.width}x{image.height}), but must be 8-bit '
                'grayscale (L) or RGB; convert it with dataset_tool.py',
            )
        pixels = np.asarray(image)  # [H, W] or [H, W, C]
        pixels = pixels[np.newaxis] if pixels.ndim == 2 else pixels.transpose(2, 0, 1)  # [C, H, W]
        if self._shape is not None and pixels.shape != self._shape:
            raise DatasetError(
                *where,
                f' is {_size_text(pixels.shape)}, but the first image ({self._names[0]}) is '
                f'{_size_text(self._shape)}; make all alike with dataset_tool.py ',
                arg('resolution'),
            )
        if self._cached is not None:
            self._cached[raw_idx] = pixels
        return pixels

    def _load_labels(self) -> np.ndarray | None:
        ways_out = ('or train without labels',)
        mapping = self._files.read_label_map()
        if mapping is None:
            refuse_labels_elsewhere(self._files, self._names, ways_out)
            return None
        matched = match_labels(self._files, self._names, mapping, ways_out)
        if matched.missing:
            strangers = f'; it has {matched.absent[0]}, which is no image here' if matched.absent else ''
            raise DatasetError(
                *self._files.where(LABEL_FILE),
                f' has no label for {len(matched.missing)} of '
                f'{len(self._names)} images, the first are {", ".join(matched.missing[:3])}{strangers}; '
                'add them, or train without labels',
            )
        array = label_array(matched.labels, self._files.where(LABEL_FILE), self._names.__getitem__)
        unused = unused_classes(array)
        self.remarks += matched.remarks() + ([unused] if unused else [])
        return array

    def _count_classes(self) -> int:
        if self._labels is None:
            return 0
        return int(self._labels.max()) + 1 if self.has_onehot_labels else self._labels.shape[1]

    @property
    def name(self) -> str:
        """Base name of the path without extension."""
        return Path(self._files.path).stem

    @property
    def image_shape(self) -> list[int]:
        """Shape of every image as a list [C, H, W]."""
        return list(self._shape)

    @property
    def num_channels(self) -> int:
        """Number of channels, 1 or 3."""
        return self._shape[0]

    @property
    def resolution(self) -> int:
        """Side of the square images in pixels; raise DatasetError when they are not square."""
        if self._shape[1] != self._shape[2]:
            raise DatasetError(
                self._files.arg,
                f' has images of {_size_text(self._shape)}, but they must be square; '
                'convert with dataset_tool.py ',
                arg('transform', 'center-crop'),
                ' ',
                arg('resolution', '64x64'),
            )
        return self._shape[1]

    @property
    def label_dim(self) -> int:
        """Number of classes K (int labels: highest label + 1 of all images), or 0 without labels."""
        return self._label_dim

    @property
    def has_labels(self) -> bool:
        """Whether labels were asked for and exist."""
        return self.label_dim > 0

    @property
    def has_onehot_labels(self) -> bool:
        """Whether labels are class numbers, returned as one-hot vectors."""
        return self._labels is not None and self._labels.dtype == np.int64

    def get_details(self, idx: int) -> tuple[int, bool, int | list[float] | None]:
        """Return where item `idx` comes from: (index of stored image, mirrored, label as stored or None)."""
        raw_idx = int(self._raw_idx[idx])
        label = None if self._labels is None else self._labels[raw_idx].tolist()
        return raw_idx, bool(self._flip[idx]), label

    def labels_onehot(self, idx: int | Sequence[int] | np.ndarray) -> np.ndarray:
        """Return labels without loading images.

        Args:
            idx: One index, or a sequence or array of N indices, into this dataset.
        Returns:
            float32 [label_dim] for one index, otherwise [N, label_dim]; a fresh array.
        """
        raw_idx = self._raw_idx[idx]
        if self._labels is None:
            return np.zeros([*np.shape(raw_idx), 0], dtype=np.float32)
        labels = self._labels[raw_idx]
        if not self.has_onehot_labels:
            return labels.copy()
        return (labels[..., np.newaxis] == np.arange(self.label_dim)).astype(np.float32)


def _choose_subset(count: int, max_size: int | None, seed: int) -> np.ndarray:
    """Indices kept by `max_size`, ascending; NumPy's legacy generator keeps EDM's choice."""
    indices = np.arange(count, dtype=np.int64)
    if max_size is None or max_size >= count:
        return indices
    np.random.RandomState(seed % (1 << 31)).shuffle(indices)
    return np.sort(indices[:max_size])


def _size_text(shape: Sequence[int]) -> str:
    return f'{shape[2]}x{shape[1]} pixels with {shape[0]} channel{"s" if shape[0] != 1 else ""}'


# ------------------------------------------------------------------------------------------------
# Loader.


def load_batches(
    dataset: ImageFolderDataset, **loader_kwargs: Any
) -> Iterator[tuple[torch.Tensor, torch.Tensor]]:
    """Yield the batches of a DataLoader; errors of its processes are one line.

    Args:
        dataset:       ImageFolderDataset.
        loader_kwargs: Arguments of `torch_utils.loader.load_batches`.
    Yields:
        Tuple of images uint8 [N, C, H, W] and labels float32 [N, label_dim].
    Raises:
        DatasetError: An image of the batch cannot be used.
        LoaderError:  A loader process was ended.
    """
    yield from loader.load_batches(dataset, **loader_kwargs)


# ------------------------------------------------------------------------------------------------
# Sampler.


class InfiniteSampler(torch.utils.data.Sampler):
    """Yield dataset indices for ever, shuffled by a sliding window as EDM does.

    Position p (counted over all processes) emits `order[p % n]` on rank `p % num_replicas`, and then
    exchanges that entry with one of the `window` entries up to and including it. Iterating starts at
    `start_idx`, after replaying the exchanges before it, so a resumed run sees what an unbroken one sees.

    Args:
        dataset:      Anything with a length >= 1.
        rank:         Number of this process, 0..num_replicas-1.
        num_replicas: Number of processes; their outputs interleave to the same sequence for any number.
        shuffle:      Shuffle, otherwise run through the dataset in order.
        seed:         Seed of all shuffling, the same on all processes.
        window_size:  Window as a fraction of the dataset, 0..1; 0 keeps the first permutation.
        start_idx:    Global position (images seen by all processes together) to start from.
    Raises:
        ArgumentError: an argument is out of range.
    """

    def __init__(
        self,
        dataset: Sequence,
        rank: int = 0,
        num_replicas: int = 1,
        shuffle: bool = True,
        seed: int = 0,
        window_size: float = 0.5,
        start_idx: int = 0,
    ) -> None:
        super().__init__()  # current torch accepts no argument here
        if len(dataset) < 1:
            raise ArgumentError('dataset is empty, but a sampler needs at least 1 image')
        if num_replicas < 1 or not 0 <= rank < num_replicas:
            raise ArgumentError(
                arg('rank', rank),
                ' must lie in 0..num_replicas-1 with ',
                arg('num_replicas', num_replicas),
                ' at least 1; try rank=0, num_replicas=1',
            )
        if not 0 <= window_size <= 1:
            raise ArgumentError(arg('window_size', window_size), ' must lie in 0..1; try 0.5')
        if start_idx < 0:
            raise ArgumentError(
                arg('start_idx', start_idx), ' must be 0 or higher; use the number of images seen'
            )
        self.size = len(dataset)
        self.rank = rank
        self.num_replicas = num_replicas
        self.shuffle = shuffle
        self.seed = seed
        self.window_size = window_size
        self.start_idx = start_idx

    def __iter__(self) -> Iterator[int]:
        order = np.arange(self.size)
        window = 0
        rng = np.random.RandomState(self.seed)
        if self.shuffle:
            rng.shuffle(order)
            window = int(np.rint(self.size * self.window_size))
        order = order.tolist()  # single-element access is faster than in an array
        if window >= 2:
            _replay_exchanges(order, rng, window, self.start_idx)
        idx = self.start_idx
        while True:
            i = idx % self.size
            if idx % self.num_replicas == self.rank:
                yield order[i]
            if window >= 2:
                j = (i - rng.randint(window)) % self.size
                order[i], order[j] = order[j], order[i]
            idx += 1


def _replay_exchanges(order: list[int], rng: np.random.RandomState, window: int, count: int) -> None:
    """Apply the first `count` exchanges to `order`; array draws equal as many single draws."""
    for begin in range(0, count, _REPLAY_CHUNK):
        i = np.arange(begin, min(begin + _REPLAY_CHUNK, count)) % len(order)
        j = (i - rng.randint(window, size=len(i))) % len(order)
        for a, b in zip(i.tolist(), j.tolist()):
            order[a], order[b] = order[b], order[a]
