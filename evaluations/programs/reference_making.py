# Copyright 2026 The GDD-1S authors.
# SPDX-License-Identifier: Apache-2.0

"""Make reference statistics of a data set, with held-out images beside them.

Legend: N images, D features.
"""

import numpy as np
import torch

from dnnlib.errors import ArgumentError, arg
from evaluations.detectors.registry import Detector
from evaluations.inputs.image_sources import (
    ChosenImages,
    FolderImages,
    PackedImages,
    choose_subset,
    hash_dataset,
    open_images,
)
from evaluations.inputs.reference import FORMAT_VERSION, Reference
from evaluations.measure import Meter, measure_images
from evaluations.metrics.frechet import frechet_distance
from torch_utils import distributed as dist

Source = FolderImages | PackedImages | ChosenImages


def open_reference_images(
    data: str, network: Detector, spatial: bool, num: int | None = None, seed: int = 0
) -> FolderImages | PackedImages:
    """Open the images of a data set, or so many random ones; refuse what the detector cannot measure.

    Raises:
        ArgumentError: Unusable images, or no spatial features.
    """
    source, _ = open_images(data, num, seed)
    network.check_shape(source.image_shape, 'images of ', arg('data', data))
    if spatial and not network.spatial_dim:
        raise ArgumentError(
            arg('spatial'),
            f': detector {network.name} has no spatial features; leave it out, or use ',
            arg('detector', 'inception'),
        )
    return source


def open_heldout(
    source: FolderImages | PackedImages, heldout: str | None, split: bool, seed: int
) -> tuple[Source, Source | None, str | None]:
    """Return (training images, held-out images or None, which these are in words).

    The training half of a split is the subset that `train.py` takes with the size of the half as its
    maximal number of images and the same seed, so a network can be trained without the held-out ones.

    Args:
        source: All images of the data set.
        heldout: Real images that were not trained on, or None.
        split: Hold out a half of the data set instead.
        seed: Of the choice of that half.
    Raises:
        ArgumentError: Both, images of another shape, or too few.
    """
    if heldout is not None and split:
        raise ArgumentError(
            arg('split'), ' and ', arg('heldout', heldout), ' both hold images out; leave one out'
        )
    if heldout is not None:
        try:
            other, _ = open_images(heldout)
        except ArgumentError as error:
            raise error.renamed(path='heldout') from error
        if list(other.image_shape) != list(source.image_shape):
            raise ArgumentError(
                arg('heldout', heldout),
                f' has images of shape {tuple(other.image_shape)}, but the data set '
                f'{tuple(source.image_shape)}; '
                'give images of the same shape',
            )
        return source, other, other.name
    if not split:
        return source, None, None
    if len(source) < 4:
        raise ArgumentError(
            arg('split'), f' of {len(source)} images leaves fewer than 2; give at least 4 images'
        )
    first = choose_subset(len(source), len(source) // 2, seed)
    rest = np.setdiff1d(np.arange(len(source)), first)[: len(first)]
    return (
        ChosenImages(source, first),
        ChosenImages(source, rest),
        f'the other half of {source.name}, seed {seed}',
    )


def make_reference(
    data: str,
    network: Detector,
    features: int,
    seed: int,
    spatial: bool = False,
    heldout: str | None = None,
    split: bool = False,
    batch: int = 64,
    workers: int = 0,
    num: int | None = None,
) -> Reference | None:
    """Measure a data set. All processes must call it.

    Args:
        data: Folder, zip or pack with the images.
        network: What measures them.
        features: Also keep the features of so many random images, and of as many held-out ones.
        seed: Of these choices.
        spatial: Also spatial statistics.
        heldout, split: See `open_heldout`.
        batch: Images per batch and process.
        workers: Decoding processes.
        num: Use so many random images; None uses all.
    Returns:
        The `Reference` on rank 0, None elsewhere.
    Raises:
        ArgumentError: Images that cannot be used.
    """

    def open_first() -> tuple[Source, Source | None, str | None]:
        return open_heldout(open_reference_images(data, network, spatial, num, seed), heldout, split, seed)

    source, others, words = dist.rank0_first(open_first)
    chosen = choose_subset(len(source), features, seed)
    meter = _measure(source, network, chosen if features else None, batch, workers, spatial)
    held = None
    if others is not None:
        rows = choose_subset(len(others), features, seed) if features else None
        held = _measure(others, network, rows, batch, workers)
    if dist.get_rank() != 0:
        return None
    result = _reference_of(meter, source, hash_dataset(data), seed)
    if held is not None:
        _add_heldout(result, held, words)
        if split and features:
            result.features_rows = source.rows[chosen]
    return result


def _measure(
    source: Source,
    network: Detector,
    rows: np.ndarray | None,
    batch: int,
    workers: int,
    spatial: bool = False,
) -> Meter:
    """Measure a source, and keep the features of some rows."""
    kept = np.zeros(len(source), dtype=bool)
    kept[[] if rows is None else rows] = True
    meter = Meter(network, spatial=spatial, keep_features=False if rows is None else kept)
    measure_images(source, [meter], batch, workers)
    return meter


def _reference_of(meter: Meter, source: Source, dataset_sha256: str, features_seed: int) -> Reference:
    """Return the statistics that a meter has collected of a data set, with what they were made from."""
    detector = meter.detector
    result = Reference(
        mu=meter.stats.mean(),
        sigma=meter.stats.cov(),
        num_images=len(source),
        image_shape=tuple(source.image_shape),
        detector=detector.name,
        detector_sha256=detector.sha256,
        preprocessing=detector.preprocessing,
        dataset=source.name,
        dataset_sha256=dataset_sha256,
        software=f'torch {torch.__version__}, numpy {np.__version__}, {detector.device.type}',
        format_version=FORMAT_VERSION,
    )
    if meter.spatial_stats is not None:
        result.mu_s, result.sigma_s = meter.spatial_stats.mean(), meter.spatial_stats.cov()
    if meter.features is not None:
        result.features, result.features_seed = meter.features.numpy(), features_seed
    return result


def _add_heldout(reference: Reference, meter: Meter, words: str) -> None:
    """Add what was measured of held-out images."""
    reference.heldout, reference.heldout_num_images = words, meter.stats.num_images
    reference.heldout_distance = frechet_distance(
        meter.stats.mean(), meter.stats.cov(), reference.mu, reference.sigma
    )
    if meter.features is not None:
        reference.heldout_features = meter.features.numpy()
