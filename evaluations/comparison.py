# Copyright 2026 The GDD-1S authors.
# SPDX-License-Identifier: Apache-2.0

"""What is compared with what: references, the detectors that fit them, and the metrics that the two allow.

Everything that can be wrong is found here, before any image is made or read. All processes call
these functions together; what can fail runs on rank 0 first, so that a message appears once.

Legend: N M images, D features, C channels, H W pixels.
"""

from collections.abc import Iterable, Sequence
from typing import NoReturn

import torch

from dnnlib.errors import ArgumentError, arg
from dnnlib.util import open_url
from evaluations.detectors.registry import Detector, detector_names, find_missing, get_detector
from evaluations.inputs.image_sources import PackedImages
from evaluations.inputs.npz_images import NpzImages
from evaluations.inputs.reference import Reference
from evaluations.inputs.references import load_references
from evaluations.measure import Meter, measure_images
from evaluations.metrics.extrapolation import subset_sizes
from evaluations.metrics.manifold import DC_NEIGHBOURS, PR_NEIGHBOURS
from evaluations.metrics.memorization import MIN_SAMPLES
from evaluations.metrics.names import DETECTOR_OF_WIDTH
from evaluations.reviewing.ratio import check_encoders, check_heldout
from torch_utils import distributed as dist

# Metrics that need features of single reference images -> the least number of (samples, reference images).
NEED_FEATURES = {
    'kid': (2, 2),
    'pr': (PR_NEIGHBOURS + 1, PR_NEIGHBOURS + 1),
    'dc': (1, DC_NEIGHBOURS + 1),
    'mind': (2, 2),
    'sw': (2, 2),
    'cmmd': (2, 2),
    'memorization': (MIN_SAMPLES + 1, MIN_SAMPLES + 1),
}


class Comparison:
    """One reference, the detector that fits it, and the metrics that the two allow.

    Args:
        reference: The statistics to compare with.
        detector: What measures the images.
        metrics: Metrics asked for, in order.
    Attributes:
        metrics: Those that are possible.
        reasons: Metric -> why not, in words, for the others.
        features: Of reference images, float32 [M, D], on rank 0 once `add_reference_features` has run.
    """

    def __init__(self, reference: Reference, detector: Detector, metrics: Iterable[str]) -> None:
        self.reference = reference
        self.detector = detector
        self.features = None
        reasons = {metric: why_impossible(metric, detector, reference) for metric in metrics}
        self.metrics = [metric for metric, reason in reasons.items() if reason is None]
        self.reasons = {metric: reason for metric, reason in reasons.items() if reason}


def why_impossible(metric: str, detector: Detector, reference: Reference) -> str | None:
    """Return why a metric cannot be computed, in words, or None if it can."""
    if metric == 'is' and not detector.num_classes:
        return f'detector {detector.name} has no class scores'
    if metric == 'sfid' and not detector.spatial_dim:
        return f'detector {detector.name} has no spatial features'
    if metric == 'sfid' and reference.mu_s is None:
        return 'it has no spatial statistics; fid.py ref --spatial stores them'
    if metric == 'fdr' and reference.heldout_distance is None:
        return 'it has no distance of held-out images; fid.py ref --split stores it'
    if metric in NEED_FEATURES and not reference.num_features:
        return 'it has no features of single images; fid.py ref --features=10000 stores them'
    if metric in NEED_FEATURES and reference.num_features < NEED_FEATURES[metric][1]:
        return (
            f'it has the features of {reference.num_features} images, and at least '
            f'{NEED_FEATURES[metric][1]} are needed; fid.py ref --features=10000 stores more'
        )
    return None


def load_comparisons(
    refs: Sequence[str],
    metrics: Sequence[str],
    detector: str | None,
    detector_path: str | None,
    device: torch.device,
) -> list[Comparison]:
    """Load references and detectors, and decide which metrics are computed against which reference.

    Args:
        refs: Reference files, paths or URLs.
        metrics: Names out of METRICS.
        detector: Name of the feature network, or None for that of each reference.
        detector_path: Weights of the detector, or their folder, or None.
        device: Where to measure.
    Raises:
        ArgumentError: Unusable references, missing weights, or nothing to compare.
    """

    def load_references_first() -> list[tuple[Reference, str]]:
        pairs = [(ref, choose_detector(ref, detector)) for path in refs for ref in _load_named(path)]
        pairs = [(ref, name) for ref, name in pairs if name is not None]
        if not pairs:
            raise ArgumentError(arg('ref', refs[0]), ' holds no statistics for ', arg('detector', detector))
        return pairs

    pairs = dist.rank0_first(load_references_first)
    detectors = load_detectors(list(dict.fromkeys(name for _, name in pairs)), detector_path, device)
    return [Comparison(ref, detectors[name], metrics) for ref, name in pairs]


def _load_named(path: str) -> list[Reference]:
    try:
        return load_references(path)
    except ArgumentError as error:
        raise error.renamed(path='ref') from error


def load_detectors(
    names: Sequence[str], detector_path: str | None, device: torch.device
) -> dict[str, Detector]:
    """Return name -> `Detector`; all missing weights are reported together, before any is loaded.

    Raises:
        ArgumentError: Missing or broken weights.
    """
    missing = find_missing(names, detector_path)
    if missing:
        dist.rank0_first(lambda: _fail(missing))
    return dist.rank0_first(lambda: {name: get_detector(name, device, path=detector_path) for name in names})


def _fail(errors: Sequence[ArgumentError]) -> NoReturn:
    parts = [part for error in errors for part in ('\n', *error.args)]
    raise ArgumentError(*parts[1:])


def choose_detector(reference: Reference, detector: str | None) -> str | None:
    """Return the name of the detector for a reference, None if the reference is not asked for.

    Raises:
        ArgumentError: Neither `detector` nor the file says which.
    """
    if (
        detector is not None
        and reference.detector is not None
        and str(reference.path).lower().endswith('.pkl')
    ):
        return detector if detector == reference.detector else None  # EDM2: one of several in the file
    name = detector or reference.detector or DETECTOR_OF_WIDTH.get(reference.mu.size)
    if name is None:
        raise ArgumentError(
            arg('ref', reference.path),
            ' does not say which detector made it; give ',
            arg('detector'),
            f', one of {", ".join(detector_names())}',
        )
    return name


def check_fit(
    comparisons: Sequence[Comparison],
    num_images: int,
    image_shape: Sequence[int],
    source: Sequence[str | object],
) -> list[str]:
    """Refuse images that do not fit detectors and references, or are too few for a metric.

    Args:
        comparisons: What will be compared.
        num_images: Images that will be measured.
        image_shape: Their (C, H, W).
        source: Words for the images, parts of a message.
    Returns:
        Remarks worth printing, one line each.
    Raises:
        ArgumentError: They do not fit, or a metric is not possible against any reference.
    """
    notes = []
    for comparison in comparisons:
        comparison.detector.check_shape(image_shape, *source)
        notes += comparison.reference.check(comparison.detector, image_shape)
    _check_number(comparisons, num_images)
    _check_pairs(comparisons, num_images)
    return [*notes, *require_any(comparisons)]


def _check_number(comparisons: Sequence[Comparison], num_images: int) -> None:
    for metric in dict.fromkeys(metric for comparison in comparisons for metric in comparison.metrics):
        least = NEED_FEATURES.get(metric, (2, 0))[0]
        if num_images < least:
            raise ArgumentError(
                arg('metrics', metric),
                f' needs at least {least} images, but there are {num_images}; measure more, or leave it out',
            )


def _check_pairs(comparisons: Sequence[Comparison], num_images: int) -> None:
    """Refuse too few images for the features of a detector, and ratios of sets of different sizes."""
    for comparison in comparisons:
        if 'fid-inf' in comparison.metrics:
            try:
                subset_sizes(num_images, comparison.detector.feature_dim)
            except ValueError as error:
                raise ArgumentError(
                    arg('metrics', 'fid-inf'), f': {error}; measure more, or leave it out'
                ) from error
    pairs = [c for c in comparisons if 'fdr' in c.metrics]
    check_encoders([c.reference for c in pairs], [c.detector.name for c in pairs])
    for comparison in pairs:
        check_heldout(comparison.reference, num_images)


def require_any(comparisons: Sequence[Comparison]) -> list[str]:
    """Refuse a metric that no reference allows; return remarks about those that only some do.

    Raises:
        ArgumentError: There is such a metric.
    """
    possible = {metric for comparison in comparisons for metric in comparison.metrics}
    remarks = []
    for comparison in comparisons:
        for metric, reason in comparison.reasons.items():
            remarks.append(f'no {metric} against {comparison.reference.path}: {reason}')
            if metric not in possible:
                raise ArgumentError(arg('metrics'), f': {remarks[-1]}')
    return remarks


def add_reference_features(comparisons: Sequence[Comparison], batch: int = 64) -> None:
    """Provide the features of reference images: those stored, or else those of the images in the file.

    All processes must call it.
    """
    for comparison in comparisons:
        reference = comparison.reference
        if not NEED_FEATURES.keys() & set(comparison.metrics):
            continue
        if reference.features is not None:
            comparison.features = torch.from_numpy(reference.features)
            continue
        source = _open_stored_images(reference, comparison.detector)
        meter = Meter(comparison.detector, keep_features=True)
        measure_images(source, [meter], batch)
        comparison.features = meter.features


def _open_stored_images(reference: Reference, detector: Detector) -> PackedImages:
    """Open the images inside a reference file."""
    try:
        source = PackedImages(NpzImages(open_url(reference.path, return_filename=True)))
    except ArgumentError as error:
        raise error.renamed(path='ref') from error
    detector.check_shape(source.image_shape, 'images inside ', arg('ref', reference.path))
    return source
