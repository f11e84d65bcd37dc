# Copyright 2026 The GDD-1S authors.
# SPDX-License-Identifier: Apache-2.0

"""From names to what measures: references, the detectors that fit them, and whether images fit both.

Everything that can be wrong is found here, before any image is made or read. All processes call
these functions together; what can fail runs on rank 0 first, so that a message appears once.
"""

from evaluations.detectors.registry import detector_names, find_missing, get_detector
from evaluations.inputs.references import load_references
from evaluations.metrics.names import DETECTOR_OF_WIDTH
from evaluations.results import Comparison, describe_choice, require_any
from torch_utils import distributed as dist


def load_comparisons(refs, metrics, detector, detector_path, device):
    """Load references and detectors, and decide which metrics are computed against which reference.

    Args:
        refs: Reference files, paths or URLs (--ref).
        metrics: Names out of METRICS.
        detector: Name of the feature network (--detector), or None for that of each reference.
        detector_path: Weights of the detector, or their folder (--detector-path), or None.
        device: Where to measure.
    Returns:
        list of `Comparison`.
    Raises:
        ValueError: Unusable references, missing weights, or nothing to compare.
    """

    def load_references_first():
        pairs = [(ref, choose_detector(ref, detector)) for path in refs for ref in load_references(path)]
        pairs = [(ref, name) for ref, name in pairs if name is not None]
        return pairs or _fail(f'--ref={refs[0]} holds no statistics for --detector={detector}')

    pairs = dist.rank0_first(load_references_first)
    detectors = load_detectors(list(dict.fromkeys(name for _, name in pairs)), detector_path, device)
    return [Comparison(ref, detectors[name], metrics) for ref, name in pairs]


def load_detectors(names, path, device):
    """Return name -> `Detector`; all missing weights are reported together, before any is loaded.

    Raises:
        ValueError: Missing or broken weights.
    """
    missing = find_missing(names, path)
    if missing:
        dist.rank0_first(lambda: _fail('\n'.join(missing)))
    return dist.rank0_first(lambda: {name: get_detector(name, device, path=path) for name in names})


def choose_detector(reference, detector):
    """Return the name of the detector for a reference, None if the reference is not asked for.

    Raises:
        ValueError: Neither --detector nor the file says which.
    """
    if (
        detector is not None
        and reference.detector is not None
        and str(reference.path).lower().endswith('.pkl')
    ):
        return detector if detector == reference.detector else None  # EDM2: one of several in the file
    name = detector or reference.detector or DETECTOR_OF_WIDTH.get(reference.mu.size)
    if name is None:
        raise ValueError(
            f'--ref={reference.path} does not say which detector made it; '
            f'give --detector, one of {", ".join(detector_names())}'
        )
    return name


def check_fit(comparisons, num_images, image_shape, what):
    """Refuse images that do not fit detectors and references.

    Args:
        comparisons: The `Comparison` objects.
        num_images: Images that will be measured.
        image_shape: Their (C, H, W).
        what: Words for the images.
    Returns:
        Remarks worth printing, list of lines.
    Raises:
        ValueError: They do not fit, or a metric is not possible against any reference.
    """
    notes = []
    for comparison in comparisons:
        comparison.detector.check_shape(image_shape, what=what)
        notes += comparison.reference.check(comparison.detector, image_shape)
    return [*notes, *require_any(comparisons), *describe_choice(comparisons, num_images, image_shape)]


def _fail(message):
    raise ValueError(message)
