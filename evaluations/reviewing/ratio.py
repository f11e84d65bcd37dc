# Copyright 2026 The GDD-1S authors.
# SPDX-License-Identifier: Apache-2.0

"""Relative Frechet distance over several encoders, FDr-k of arXiv 2604.28190 (FD-loss), equations 7 and 8.

The distance of the samples divided by that of held-out real images, averaged over encoders: 1 is as far from
the training images as real images are. The published program uses six encoders that need downloads; this one
takes those of the references, and its name says how many. Both distances are of equally many images, since
fewer give more.

Legend: N M images, D features.
"""

from collections.abc import Sequence

import numpy as np

from dnnlib.errors import ArgumentError, arg
from evaluations.inputs.reference import Reference
from evaluations.metrics.frechet import frechet_distance


def check_heldout(reference: Reference, num_images: int) -> None:
    """Refuse a reference whose held-out images are fewer than the samples, or are the training images.

    Raises:
        ArgumentError: The message has the command that makes one with enough.
    """
    if not reference.heldout_distance > 0:
        raise ArgumentError(
            arg('ref', reference.path),
            f': the distance of its held-out images, {reference.heldout}, is '
            f'{reference.heldout_distance:g}; they are the training images; '
            'make it again with others: `fid.py ref ',
            arg('heldout', 'FILE.zip'),
            '`',
        )
    stored = 0 if reference.heldout_features is None else len(reference.heldout_features)
    if num_images in (reference.heldout_num_images,) or num_images <= stored:
        return
    raise ArgumentError(
        arg('ref', reference.path),
        f' has the features of {stored} held-out images, and the distance of {reference.heldout_num_images}; '
        f'fdr of {num_images} samples needs as many: make it with `fid.py ref ',
        arg('split'),
        ' ',
        arg('features', num_images),
        '`, or measure ',
        arg('num', stored or reference.heldout_num_images),
    )


def check_encoders(references: Sequence[Reference], detectors: Sequence[str]) -> None:
    """Refuse an average that counts an encoder twice.

    Raises:
        ArgumentError: Two references are of one encoder.
    """
    for i, name in enumerate(detectors):
        if name in detectors[:i]:
            raise ArgumentError(
                arg('ref', references[i].path),
                f' is a second reference with detector {name}; fdr is a mean over different '
                'encoders: make one with `fid.py ref ',
                arg('detector', 'random-conv'),
                '`',
            )


def heldout_distance(reference: Reference, num_images: int, seed: int = 0) -> float:
    """Return the Frechet distance of so many held-out images to the training images.

    Args:
        reference: Has passed `check_heldout`.
        num_images: As many as there are samples; a random choice of those stored.
        seed: Of that choice.
    """
    if num_images == reference.heldout_num_images:
        return float(reference.heldout_distance)
    features = np.asarray(reference.heldout_features, dtype=np.float64)
    chosen = features[np.random.RandomState(seed).permutation(len(features))[:num_images]]  # [N, D]
    return frechet_distance(chosen.mean(axis=0), np.cov(chosen, rowvar=False), reference.mu, reference.sigma)


def mean_ratio(distances: Sequence[float], heldout: Sequence[float]) -> float:
    """Return the mean over encoders of distance of samples / distance of held-out images.

    Raises:
        ValueError: A held-out distance is not above 0: held-out images are the training images.
    """
    if not all(value > 0 for value in heldout):
        raise ValueError(
            f'a distance of held-out images is {min(heldout):g}, not above 0; '
            'they must differ from the training images'
        )
    return float(np.mean([value / floor for value, floor in zip(distances, heldout)]))
