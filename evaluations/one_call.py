# Copyright 2026 The GDD-1S authors.
# SPDX-License-Identifier: Apache-2.0

"""All metrics of any images in one call, for notebooks and other programs.

    compute_metrics('photos.zip', ref='cifar10-32x32.npz', metrics='fid,is')    # {'fid50k': ..., ...}
    compute_metrics(load_generator('student.pkl'), ref='cifar10-32x32.npz', num=10000)

The numbers, and their names, are those of `fid.py calc` and `fid.py gen`.
Legend: N images, C channels, H W pixels.
"""

import os
import warnings
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
import torch

from dnnlib.errors import ArgumentError, arg
from evaluations.comparison import Comparison, add_reference_features, check_fit, load_comparisons
from evaluations.inputs.image_sources import Batch, GeneratedImages, open_images
from evaluations.measure import measure_images
from evaluations.metrics.names import PROTOCOL_IMAGES, parse_metrics
from evaluations.remarks import describe_choice, describe_images
from evaluations.results import compute_results, make_meters
from torch_utils import distributed as dist
from torch_utils.misc import full_precision
from training.image_generator import ImageGenerator

Images = ImageGenerator | torch.Tensor | np.ndarray | str | os.PathLike


def compute_metrics(
    images: Images,
    ref: str | os.PathLike,
    metrics: str = 'fid',
    num: int | None = None,
    *,
    seed: int = 0,
    detector: str | None = None,
    detector_path: str | os.PathLike | None = None,
    batch: int = 64,
    workers: int = 0,
    device: torch.device | str | None = None,
) -> dict[str, float]:
    """Measure images against reference statistics. What makes the numbers misleading is a warning.

    Args:
        images:        What `load_generator` returned; a folder, zip or image pack; or pixels, uint8
                       [N, C, H, W] with 1 or 3 channels.
        ref:           Reference statistics, from `fid.py ref` or elsewhere; path or URL.
        metrics:       Some of fid,sfid,is,kid,pr,dc; `fid` is the Frechet distance of any detector.
        num:           Images to measure; None for all that there are, or 50000 of a generator.
        seed:          First seed of a generator; or the choice of images if there are more than `num`.
        detector:      Feature network; None for that of `ref`.
        detector_path: Its weights, or their folder; None to look in the usual places.
        batch:         Images at a time.
        workers:       Processes that decode image files; 0 decodes here.
        device:        Where to measure; None for a GPU if there is one.
    Returns:
        Name -> value, such as {'fid50k': 1.5, 'class-accuracy-...': 0.97}. Numbers of different names cannot
        be compared.
    Raises:
        ArgumentError: Unusable images or references, missing weights, or a metric that is not possible.
    """
    device = dist.get_device() if device is None else torch.device(device)
    wanted = parse_metrics(metrics)
    comparisons = load_comparisons([os.fspath(ref)], wanted, detector, detector_path, device)
    with full_precision():
        source, notes = _open_source(images, num, seed, comparisons)
        notes += check_fit(comparisons, len(source), source.image_shape, ('the images',))
        for note in notes + describe_choice(comparisons, len(source), source.image_shape):
            warnings.warn(note, stacklevel=2)
        add_reference_features(comparisons, batch)
        meters = make_meters(comparisons)
        measure_images(source, list(meters.values()), batch, workers)
        results = [r for c in comparisons for r in compute_results(c, meters[c.detector])]
    return {result['metric']: result['value'] for result in results}


class ArrayImages:
    """Pixels in memory as a source of images (evaluations/inputs/image_sources.py).

    Args:
        pixels: uint8 [N, C, H, W].
    Raises:
        ArgumentError: Another type or shape.
    """

    name, has_labels = 'images', False

    def __init__(self, pixels: torch.Tensor | np.ndarray) -> None:
        self._pixels = torch.as_tensor(pixels)
        if self._pixels.dtype != torch.uint8 or self._pixels.ndim != 4 or self._pixels.shape[1] not in (1, 3):
            raise ArgumentError(
                arg('images'),
                f': {self._pixels.dtype} {list(self._pixels.shape)} must be torch.uint8 [N, C, H, W], '
                '1 or 3 channels; a generator gives that with ',
                arg('dtype', 'torch.uint8'),
            )
        self.image_shape = list(self._pixels.shape[1:])

    def __len__(self) -> int:
        return len(self._pixels)

    def batches(self, positions: list[np.ndarray], workers: int = 0) -> Iterator[Batch]:
        """Yield (uint8 [N, C, H, W], None); `workers` is not used."""
        for part in positions:
            yield self._pixels[torch.from_numpy(part)].contiguous(), None


def _open_source(
    images: Images, num: int | None, seed: int, comparisons: Sequence[Comparison]
) -> tuple[Any, list[str]]:
    """Return (source, remarks)."""
    if isinstance(images, ImageGenerator):
        sampler, arguments = images.plan()
        seeds = np.arange(seed, seed + (PROTOCOL_IMAGES if num is None else num))
        return GeneratedImages(images.net, seeds, sampler, arguments, name=f'{len(seeds)} samples'), []
    if isinstance(images, (str, os.PathLike)):
        labelling = [c.detector for c in comparisons if c.detector.labels_comparable]
        classes = labelling[0].num_classes if labelling else 0
        source, _why_unlabelled = open_images(images, num, seed, classes)
        metrics = {metric for comparison in comparisons for metric in comparison.metrics}
        return source, describe_images(images, source, metrics)
    if num is not None and num > len(images):
        raise ArgumentError(arg('num', num), f': there are {len(images)} images; leave it out')
    return ArrayImages(images[:num]), []
