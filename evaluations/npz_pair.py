# Copyright 2026 The GDD-1S authors.
# SPDX-License-Identifier: Apache-2.0
"""The two .npz files of evaluator.py: what each holds, and what can be computed of both."""

from collections.abc import Collection

import torch

from dnnlib.errors import Arg, ArgumentError, arg, as_option, shown
from dnnlib.util import file_sha256, is_url, open_url
from evaluations.detectors.registry import Detector
from evaluations.inputs.image_sources import PackedImages
from evaluations.inputs.npz_images import Moments, NpzImages
from evaluations.measure import Meter, measure_images
from evaluations.metrics.inception_score import SPLIT_SIZE, seems_sorted
from evaluations.metrics.manifold import DC_NEIGHBOURS, PR_NEIGHBOURS
from evaluations.metrics.names import PROTOCOL_IMAGES

LINES = {  # result -> name in the printed lines; the first five are those of OpenAI's program
    'is': 'Inception Score',
    'fid': 'FID',
    'sfid': 'sFID',
    'precision': 'Precision',
    'recall': 'Recall',
    'kid': 'KID',
    'density': 'Density',
    'coverage': 'Coverage',
}


class Side:
    """One of the two files: what it holds, and what is measured of it.

    Args:
        path: File or URL.
        place: 'SAMPLE' or 'REF', for messages.
    Raises:
        ArgumentError: The file cannot be used.
    """

    def __init__(self, path: str, place: str) -> None:
        self.path, self.place = path, place
        local = open_url(path, return_filename=True) if is_url(path) else path
        try:
            self.npz = NpzImages(local)
            self.sha256 = file_sha256(local)
            # Read now: a file that is no good must not be found out after the long part.
            self._moments = {'fid': self.npz.statistics(), 'sfid': self.npz.spatial_statistics()}
            self.labels = self.npz.labels if self.npz.has_images else None
        except ArgumentError as error:
            raise ArgumentError(error.spell(self._spelled)) from error
        self.meter = None

    def _spelled(self, part: Arg) -> str:
        """Spell the argument of the readers as the place on the command line."""
        return f'{self.place}={shown(part.value)}' if part.name == 'path' else as_option(part)

    def has_moments(self, kind: str) -> bool:
        """Tell whether the file itself holds the statistics of 'fid' or 'sfid'."""
        return self._moments[kind] is not None

    def can(self, kind: str) -> bool:
        """Tell whether the statistics of 'fid' or 'sfid' are stored or can be measured."""
        return self.has_moments(kind) or self.npz.has_images

    def check(self, detector: Detector) -> None:
        """Raise ArgumentError if stored statistics are not those of the detector's features."""
        for kind, dim in (('fid', detector.feature_dim), ('sfid', detector.spatial_dim)):
            if self.has_moments(kind) and len(self._moments[kind].mu) != dim:
                raise ArgumentError(
                    f'{self.place}={self.path} holds statistics of {len(self._moments[kind].mu)} features, '
                    f'but {detector.name} gives {dim} for {LINES[kind]}; '
                    'they were made with another detector, for which there is fid.py'
                )

    def measure(self, detector: Detector, batch: int, **kept: bool) -> None:
        """Run the detector over the images; `kept` are options of `Meter`."""
        self.meter = Meter(detector, **kept)
        measure_images(PackedImages(self.npz), [self.meter], batch)

    def moments(self, kind: str) -> Moments:
        """Return the statistics of 'fid' or 'sfid' as `Moments`: those stored, or else those measured."""
        if self.has_moments(kind):
            return self._moments[kind]
        stats = self.meter.stats if kind == 'fid' else self.meter.spatial_stats
        return Moments(stats.mean(), stats.cov())

    def features(self) -> torch.Tensor:
        """Return the features of all images, float32 [N, D], on the device of the detector."""
        return self.meter.features.to(self.meter.detector.device)


def plan(sample: Side, reference: Side | None, extras: Collection[str] = ()) -> tuple[set[str], list[str]]:
    """Decide what can be computed, before anything is.

    Args:
        sample, reference: The two `Side` objects; no reference is None.
        extras: Metrics besides OpenAI's, which need reference images: 'kid', 'density_coverage'.
    Returns:
        (kinds, notes): subset of {'is', 'fid', 'sfid', 'features'}, where 'features' stands for what
        compares single images; list of one-line remarks.
    Raises:
        ArgumentError: The samples are no images, or too few; or reference images are missing for `extras`.
    """
    if not sample.npz.has_images:
        raise ArgumentError(
            f'SAMPLE={sample.path} holds statistics, but no images (arr_0); '
            'the order of arguments is SAMPLE REF'
        )
    for name in extras:
        if reference is None or not reference.npz.has_images:
            raise ArgumentError(
                arg(name),
                ' needs a REF with images (arr_0), such as VIRTUAL_*.npz or another image pack; leave ',
                arg(name),
                ' out',
            )
    kinds, notes = {'is'}, []
    if sample.labels is not None and seems_sorted(sample.labels):
        notes.append(
            f'{sample.path} is sorted by class; the Inception Score of consecutive groups of '
            f'{SPLIT_SIZE} images is then far too low; shuffle the images'
        )
    if reference is None:
        return kinds, notes
    kinds |= {kind for kind in ('fid', 'sfid') if reference.can(kind)}
    if reference.npz.has_images:
        kinds.add('features')
    _require_images(sample, PR_NEIGHBOURS)
    _require_images(reference, DC_NEIGHBOURS if 'density_coverage' in extras else PR_NEIGHBOURS)
    return kinds, notes + _remarks(sample, reference, kinds)


def _require_images(side: Side, neighbours: int) -> None:
    if side.npz.has_images and len(side.npz) <= neighbours:
        raise ArgumentError(
            f'{side.place}={side.path} holds {len(side.npz)} images; '
            f'give at least {neighbours + 1}, better {PROTOCOL_IMAGES}'
        )


def _remarks(sample: Side, reference: Side, kinds: Collection[str]) -> list[str]:
    """Return what makes the numbers of two files less comparable, one line each."""
    notes, count = [], len(sample.npz)
    if sample.sha256 == reference.sha256:
        notes.append('SAMPLE and REF are the same file')
    if sample.has_moments('fid'):
        notes.append(
            f'{sample.path} holds statistics, which OpenAI makes of whole data sets; '
            'they are used as those of the samples'
        )
    if count != PROTOCOL_IMAGES:
        notes.append(
            f'{count} samples; published numbers have {PROTOCOL_IMAGES}, '
            'and all but the Inception Score change with it'
        )
    if reference.npz.has_images and reference.npz.shape[1:] != sample.npz.shape[1:]:
        notes.append(
            f'the samples are {image_size(sample)}, but the reference images {image_size(reference)}'
        )
    return notes + _remarks_on_reference(reference, kinds)


def _remarks_on_reference(reference: Side, kinds: Collection[str]) -> list[str]:
    """Return what the reference lacks, one line each."""
    notes = []
    if 'features' in kinds and reference.has_moments('fid') and not reference.has_moments('sfid'):
        notes.append(
            f'{reference.path} has no mu_s: sFID is relative to its {len(reference.npz)} images, unlike FID'
        )
    if 'features' not in kinds:
        notes.append(f'no precision and recall: {reference.path} has no images (arr_0)')
        if 'sfid' not in kinds:
            notes.append(f'no sFID: {reference.path} has no spatial statistics (mu_s, sigma_s)')
    return notes


def image_size(side: Side) -> str:
    """Return '32x32 pixels, 3 channels' of a file that holds images."""
    _count, height, width, channels = side.npz.shape
    return f'{width}x{height} pixels, {channels} channels'
