# Copyright 2026 The GDD-1S authors.
# SPDX-License-Identifier: Apache-2.0

"""Run a detector over images: batches, processes, progress and data-set hashes.

Legend: N images, C channels, H W pixels, D features, K classes.
"""

import hashlib
import os
import sys
import time

import numpy as np
import torch
import tqdm

from evaluations.statistics import FeatureStats
from torch_utils import distributed as dist
from training.dataset import DatasetError

_LINE_SEC = 10      # seconds between progress lines when the output is not a terminal


def progress(items, desc):
    """Yield the items of a list and show progress on rank 0.

    A bar on a terminal; elsewhere (a log file) one plain line every few seconds.
    """
    if dist.get_rank() != 0:
        yield from items
    elif sys.stderr.isatty():
        yield from tqdm.tqdm(items, desc=desc)
    else:
        begin = shown = time.monotonic()
        for done, item in enumerate(items, start=1):
            yield item
            now = time.monotonic()
            if now - shown >= _LINE_SEC or done == len(items):
                print(f'{desc}: {done}/{len(items)} batches, {now - begin:.0f} sec', file=sys.stderr, flush=True)
                shown = now


class Meter:
    """Collect everything that one pass over images can tell.

    Args:
        detector: The `Detector`.
    """

    def __init__(self, detector):
        self.detector = detector
        self.stats = FeatureStats(detector.feature_dim, device=detector.device)
        self._votes = torch.zeros([2], dtype=torch.float64, device=detector.device)     # hits, labelled images

    def append(self, images, labels=None):
        """Add a batch.

        Args:
            images: uint8 [N, C, H, W], 0..255; N may be 0.
            labels: Class indices, int tensor [N], or None.
        """
        if len(images) == 0:
            return
        features, logits = self.detector.measure(images)
        self.stats.append(features)
        if labels is not None and logits is not None:
            hits = logits.argmax(dim=1) == labels.to(logits.device)
            self._votes += torch.stack([hits.sum(), torch.tensor(len(hits), device=hits.device)])

    def reduce(self):
        """Add up the parts of all processes, in place, on every process."""
        self.stats.reduce()
        dist.all_reduce_sum_(self._votes)

    @property
    def accuracy(self):
        """Fraction of labelled images whose class was recognised, 0..1, or None without any."""
        hits, count = self._votes.tolist()
        return hits / count if count else None


def striped_batches(num_images, batch, rank=0, world_size=1):
    """Split image numbers into the batches of one process.

    EDM's rule: the range is cut into equal consecutive pieces, as many for each process,
    at most `batch` long; the processes take turns. Pieces may be empty when images are few.

    Args:
        num_images: Number of images.
        batch: Largest batch, at least 1.
        rank, world_size: This process and the number of processes.
    Returns:
        List of int arrays, equally many on every process.
    """
    count = ((num_images - 1) // (batch * world_size) + 1) * world_size
    return np.array_split(np.arange(num_images), count)[rank::world_size]


class _BatchedImages(torch.utils.data.Dataset):
    """Whole batches of a data set as items, so that an empty batch is nothing special.

    An unusable image is returned as its error: raised in a worker process it would reach
    the user wrapped in that process's traceback.
    """

    def __init__(self, dataset, batches):
        self.dataset = dataset
        self.batches = batches

    def __len__(self):
        return len(self.batches)

    def __getitem__(self, i):
        try:
            pairs = [self.dataset[idx] for idx in self.batches[i]]
        except DatasetError as err:
            return err, None
        images = np.stack([image for image, _ in pairs]) if pairs else np.zeros([0, *self.dataset.image_shape], dtype=np.uint8)
        if not self.dataset.has_labels:
            return torch.from_numpy(images), None
        labels = np.array([onehot.argmax() for _, onehot in pairs], dtype=np.int64)
        return torch.from_numpy(images), torch.from_numpy(labels)       # [N, C, H, W], [N]


def measure_dataset(dataset, detector, batch=64, workers=0):
    """Measure all images of a data set, shared among the processes.

    Args:
        dataset: An `ImageFolderDataset`; if it has labels, they are compared with the detector's classes.
        detector: The `Detector`, on every process.
        batch: Largest batch per process.
        workers: Processes that decode images, besides this one; 0 decodes here.
    Returns:
        The `Meter`, reduced: the same on every process.
    Raises:
        DatasetError: An image cannot be read, or has another shape than the first.
    """
    meter = Meter(detector)
    batches = striped_batches(len(dataset), batch, dist.get_rank(), dist.get_world_size())
    loader = torch.utils.data.DataLoader(_BatchedImages(dataset, batches), batch_size=None, num_workers=workers)
    for images, labels in progress(loader, f'Measuring {dataset.name}'):
        if isinstance(images, DatasetError):
            raise images
        meter.append(images, labels)
    meter.reduce()
    return meter


def hash_dataset(path):
    """Return a hash that tells whether two data sets are the same files.

    Args:
        path: A zip file (hash of its bytes) or a folder (names and bytes of its files, in order).
    Returns:
        sha256, hexadecimal.
    """
    digest = hashlib.sha256()
    if os.path.isfile(path):
        _update_from_file(digest, path)
        return digest.hexdigest()
    names = [os.path.relpath(os.path.join(root, name), path) for root, _, files in os.walk(path) for name in files]
    for name in sorted(names):
        digest.update(name.replace(os.sep, '/').encode() + b'\0')
        _update_from_file(digest, os.path.join(path, name))
    return digest.hexdigest()


def _update_from_file(digest, path):
    with open(path, 'rb') as f:
        while block := f.read(1 << 20):
            digest.update(block)
