# Copyright 2026 The GDD-1S authors.
# SPDX-License-Identifier: Apache-2.0

"""Run detectors over images: batches, processes and progress.

One pass over the images serves all metrics of all detectors. Which images share a batch does not
depend on the number of processes, so neither does the rounding of features: one process and eight
give the same statistics.

Legend: N images, C channels, H W pixels, D features, K classes.
"""

import itertools
from collections.abc import Iterator, Sequence

import numpy as np
import torch

from dnnlib.errors import ArgumentError, arg
from dnnlib.progress import ProgressBar
from evaluations.detectors.registry import Detector, Measured
from evaluations.inputs.image_sources import Batch, FolderImages, GeneratedImages, PackedImages
from evaluations.metrics.moments import FeatureStats
from torch_utils import distributed as dist
from torch_utils.host_copy import HostCopy
from torch_utils.randomness import to_device

_AGREE_EVERY = 8  # rounds between two looks at whether another process has failed
_CPU_PART = 16  # images per call of a detector on a CPU: the maps of more would not stay in its caches


class _Rows:
    """Rows of all batches, on the host; those of the last batch may still be on their way."""

    def __init__(self) -> None:
        self._parts = []
        self._coming = None  # (copy that was started, which of its rows to keep)

    def append(self, rows: torch.Tensor, kept: torch.Tensor | None = None) -> None:
        """Add the rows of a batch, [N, D] on any device; `kept`, bool [N] on the CPU, chooses some."""
        coming = HostCopy(rows), kept
        self._arrive()  # the rows before them: their batch is done when this one is at work
        self._coming = coming

    def _arrive(self) -> None:
        if self._coming is not None:
            copy, kept = self._coming
            (rows,) = copy.wait()
            # Not kept in pinned memory, of which there is little.
            self._parts.append(rows.clone() if kept is None else rows[kept])
            self._coming = None

    def parts(self) -> list[torch.Tensor]:
        """Return the rows batch by batch."""
        self._arrive()
        return self._parts


class Meter:
    """Collect what one pass over images tells through one detector.

    Args:
        detector: What measures.
        spatial: Also collect mean and covariance of the spatial features.
        keep_logits: Keep the class scores of all images.
        keep_features: Keep features: True for those of all images, or a bool array by image number.
    """

    def __init__(
        self,
        detector: Detector,
        spatial: bool = False,
        keep_logits: bool = False,
        keep_features: bool | np.ndarray = False,
    ) -> None:
        self.detector = detector
        self.stats = FeatureStats(detector.feature_dim, device=detector.device)
        self.spatial_stats = FeatureStats(detector.spatial_dim, device=detector.device) if spatial else None
        self.logits = _Rows() if keep_logits else None  # after reduce(): [N, K] on rank 0, elsewhere None
        # After reduce(): [N or fewer, D] on rank 0.
        self.features = None if keep_features is False else _Rows()
        self._kept = None if isinstance(keep_features, bool) else torch.as_tensor(keep_features)
        self._votes = torch.zeros([2], dtype=torch.float64, device=detector.device)  # hits, labelled images

    def append(
        self, images: torch.Tensor, labels: torch.Tensor | None = None, positions: np.ndarray | None = None
    ) -> None:
        """Add a batch.

        Args:
            images: uint8 [N, C, H, W], 0..255; N may be 0.
            labels: Class indices, int [N].
            positions: Image numbers, int [N]; needed to keep the features of a part of the images.
        """
        if len(images) == 0:
            return
        measured = self._measure(images)
        self.stats.append(measured.features)
        if self.spatial_stats is not None:
            self.spatial_stats.append(measured.spatial)
        if self.logits is not None:
            self.logits.append(measured.logits)
        if self.features is not None:
            self.features.append(measured.features, None if self._kept is None else self._kept[positions])
        if labels is not None and self.detector.labels_comparable:
            hits = measured.logits.argmax(dim=1) == to_device(labels, measured.logits.device)
            self._votes[0] += hits.sum()
            self._votes[1] += len(hits)

    def _measure(self, images: torch.Tensor) -> Measured:
        """Return what the detector says of a batch."""
        parts = images.split(_CPU_PART) if self.detector.device.type == 'cpu' else [images]
        # Detectors without spatial features need not know of them.
        options = dict(spatial=True) if self.spatial_stats is not None else {}
        measured = [self.detector.measure(part, **options) for part in parts]
        return type(measured[0])(
            *(None if column[0] is None else torch.cat(column) for column in zip(*measured))
        )

    def reduce(self) -> None:
        """Add up the parts of all processes: statistics on every process, kept rows on rank 0."""
        self.stats.reduce()
        if self.spatial_stats is not None:
            self.spatial_stats.reduce()
        dist.all_reduce_sum_(self._votes)
        self.logits, self.features = (
            None if rows is None else _gather_rows(rows.parts()) for rows in (self.logits, self.features)
        )

    @property
    def accuracy(self) -> float | None:
        """Fraction of labelled images whose class was recognised, 0..1, or None without any."""
        hits, count = self._votes.tolist()
        return hits / count if count else None


def _gather_rows(parts: list[torch.Tensor] | None) -> torch.Tensor | None:
    """Bring the batches of all processes together in their order; a tensor on rank 0, None elsewhere."""
    if parts is None:
        return None
    gathered = dist.gather_objects(parts)
    if gathered is None:
        return None
    # Processes took turns, so their batches alternate.
    rows = [part for turn in itertools.zip_longest(*gathered) for part in turn if part is not None]
    return torch.cat(rows)


def split_batches(num_images: int, batch: int, rank: int = 0, world_size: int = 1) -> list[np.ndarray]:
    """Split image numbers into batches, and return those of one process.

    Consecutive images, `batch` each, as generate.py groups them; the processes take turns. EDM makes
    the batches a little smaller for some numbers of processes, which changes the last bits of features.

    Args:
        num_images: Number of images.
        batch: Images per batch, at least 1; the last batch may be smaller.
        rank, world_size: This process and the number of processes.
    Returns:
        List of int arrays; other processes may have one more or one fewer.
    """
    return np.array_split(np.arange(num_images), range(batch, num_images, batch))[rank::world_size]


def measure_images(
    source: FolderImages | PackedImages | GeneratedImages,
    meters: Sequence[Meter],
    batch: int = 64,
    workers: int = 0,
) -> None:
    """Send all images of a source to all meters; the processes share the work.

    Args:
        source: See evaluations/inputs/image_sources.py.
        meters: The same on every process; reduced when this returns.
        batch: Images per batch.
        workers: Processes that decode images, besides this one; 0 decodes here.
    Raises:
        ArgumentError: On rank 0, an image cannot be used, by this or another process.
        FailedElsewhere: On the other ranks then.
    """
    world_size = dist.get_world_size()
    positions = split_batches(len(source), batch, dist.get_rank(), world_size)
    rounds = -(-len(source) // (batch * world_size))
    batches, error = iter(source.batches(positions, workers)), None
    with ProgressBar(f'Measuring {source.name}', len(source), visible=dist.get_rank() == 0) as bar:
        for i in range(rounds):
            if error is None and i < len(positions):
                error = _measure_batch(batches, meters, positions[i], batch)
            if i % _AGREE_EVERY == 0 or i + 1 == rounds:
                dist.raise_together(error)
            bar.advance(min(batch * world_size, len(source) - bar.done))
    for meter in meters:
        meter.reduce()


def _measure_batch(
    batches: Iterator[Batch], meters: Sequence[Meter], positions: np.ndarray, batch: int
) -> Exception | None:
    """Send the next batch to all meters; return what went wrong, for the processes to agree on."""
    try:
        images, labels = next(batches)
        for meter in meters:
            meter.append(images, labels, positions)
    except torch.cuda.OutOfMemoryError:
        advice = (
            ['try ', arg('batch', batch // 2)] if batch > 1 else ['choose a smaller detector, or the CPU']
        )
        return ArgumentError(arg('batch', batch), ' does not fit into the memory of the GPU; ', *advice)
    except (ValueError, OSError) as error:
        return error
    return None


def measure_dataset(
    source: FolderImages | PackedImages, detector: Detector, batch: int = 64, workers: int = 0
) -> Meter:
    """Measure all images of a source with one detector; return the reduced `Meter`."""
    meter = Meter(detector)
    measure_images(source, [meter], batch, workers)
    return meter
