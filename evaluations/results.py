# Copyright 2026 The GDD-1S authors.
# SPDX-License-Identifier: Apache-2.0

"""From finished meters and references to named numbers: which metrics are possible, their values, their report.

Legend: N M images, D features.
"""

import platform

import click
import numpy as np
import torch

from dnnlib.util import open_url
from evaluations.inputs.image_sources import PackedImages
from evaluations.inputs.npz_images import NpzImages
from evaluations.inputs.references import resolution_in_name
from evaluations.measure import Meter, measure_images, progress
from evaluations.metrics.frechet import frechet_parts
from evaluations.metrics.inception_score import SPLIT_SIZE, inception_score
from evaluations.metrics.kid import kernel_distance
from evaluations.metrics.manifold import DC_NEIGHBOURS, PR_NEIGHBOURS, density_coverage, precision_recall
from evaluations.metrics.names import PROTOCOL_IMAGES, is_published_protocol, metric_name
from torch_utils import distributed as dist

NEED_FEATURES = {'kid', 'pr', 'dc'}  # metrics that need features of single reference images


class Comparison:
    """One reference, the detector that fits it, and the metrics that the two allow.

    Args:
        reference: The `Reference`.
        detector: The `Detector`.
        metrics: Metrics asked for, in order.
    Attributes:
        metrics: Those that are possible.
        skipped: One line for each of the others.
        features: Features of reference images, float32 [M, D], once `add_reference_features` has run; rank 0 only.
    """

    def __init__(self, reference, detector, metrics):
        self.reference = reference
        self.detector = detector
        self.features = None
        reasons = {metric: why_impossible(metric, detector, reference) for metric in metrics}
        self.metrics = [metric for metric, reason in reasons.items() if reason is None]
        self.skipped = [
            f'no {metric} against {reference.path}: {reason}' for metric, reason in reasons.items() if reason
        ]


def why_impossible(metric, detector, reference):
    """Return why a metric cannot be computed, in words, or None if it can."""
    if metric == 'is' and not detector.num_classes:
        return f'detector {detector.name} has no class scores'
    if metric == 'sfid' and not detector.spatial_dim:
        return f'detector {detector.name} has no spatial features'
    if metric == 'sfid' and reference.mu_s is None:
        return 'it has no spatial statistics; fid.py ref --spatial stores them'
    if metric in NEED_FEATURES and reference.features is None and not reference.has_images:
        return 'it has no features of single images; fid.py ref --features=10000 stores them'
    return None


def require_any(comparisons):
    """Raise ValueError unless each metric asked for is possible against some reference; return remarks about the others."""
    possible = {metric for comparison in comparisons for metric in comparison.metrics}
    remarks = [line for comparison in comparisons for line in comparison.skipped]
    for line in remarks:
        if line.split()[1] not in possible:
            raise ValueError(f'--metrics: {line}')
    return remarks


def make_meters(comparisons):
    """Return one `Meter` per detector that collects what its comparisons need: detector -> meter."""
    wanted = {}
    for comparison in comparisons:
        wanted.setdefault(comparison.detector, set()).update(comparison.metrics)
    return {
        detector: Meter(
            detector,
            spatial='sfid' in metrics,
            keep_logits='is' in metrics,
            keep_features=bool(NEED_FEATURES & metrics),
        )
        for detector, metrics in wanted.items()
    }


def add_reference_features(comparisons, batch=64):
    """Provide the features of reference images: those stored, or else those of the images in the file.

    All processes must call it.
    """
    for comparison in comparisons:
        reference = comparison.reference
        if not NEED_FEATURES & set(comparison.metrics):
            continue
        if reference.features is not None:
            comparison.features = torch.from_numpy(reference.features)
            continue
        meter = Meter(comparison.detector, keep_features=True)
        source = PackedImages(NpzImages(open_url(reference.path, return_filename=True), '--ref'))
        comparison.detector.check_shape(source.image_shape, what=f'images inside --ref={reference.path}')
        measure_images(source, [meter], batch)
        comparison.features = meter.features


def compute_results(comparison, meter):
    """Compute all metrics of a comparison.

    Args:
        comparison: The `Comparison`.
        meter: The reduced `Meter` of its detector.
    Returns:
        list of dicts with `metric` (its name), `value`, and what the value depends on. The Frechet distance comes last.
    """
    detector, count = comparison.detector, meter.stats.num_images
    common = dict(detector=detector.name, ref=comparison.reference.path)

    def entry(kind, value, **facts):
        return dict(metric=metric_name(detector.name, kind, count), value=value, **facts, **common)

    results = []
    if meter.accuracy is not None:
        results.append(entry('class-accuracy', meter.accuracy))
    for metric in sorted(
        comparison.metrics, key=lambda name: name == 'fid'
    ):  # stable: the others keep their order
        results += _COMPUTE[metric](comparison, meter, entry)
    return results


def _frechet(comparison, meter, entry):
    mean_term, cov_term = frechet_parts(
        meter.stats.mean(), meter.stats.cov(), comparison.reference.mu, comparison.reference.sigma
    )
    return [entry('fid', mean_term + cov_term, mean_term=mean_term, cov_term=cov_term)]


def _spatial_frechet(comparison, meter, entry):
    stats, reference = meter.spatial_stats, comparison.reference
    mean_term, cov_term = frechet_parts(stats.mean(), stats.cov(), reference.mu_s, reference.sigma_s)
    return [entry('sfid', mean_term + cov_term, mean_term=mean_term, cov_term=cov_term)]


def _inception_score(_comparison, meter, entry):
    score = inception_score(meter.logits)
    return [
        entry(
            'is', score.mean, std=float(np.std(score.groups)), groups=len(score.groups), split_size=SPLIT_SIZE
        )
    ]


def _kid(comparison, meter, entry):
    result = kernel_distance(
        samples=meter.features.to(comparison.detector.device), reference=comparison.features
    )
    return [
        entry(
            'kid',
            result.mean,
            std=result.std,
            num_subsets=result.num_subsets,
            subset_size=result.subset_size,
            subset_seed=result.seed,
            num_reference=len(comparison.features),
        )
    ]


def _precision_recall(comparison, meter, entry):
    result = precision_recall(
        samples=meter.features.to(comparison.detector.device),
        reference=comparison.features,
        progress=progress,
    )
    facts = dict(k=PR_NEIGHBOURS, mode='exact', num_reference=len(comparison.features))
    return [entry('precision', result.precision, **facts), entry('recall', result.recall, **facts)]


def _density_coverage(comparison, meter, entry):
    result = density_coverage(
        samples=meter.features.to(comparison.detector.device),
        reference=comparison.features,
        progress=progress,
    )
    facts = dict(k=DC_NEIGHBOURS, num_reference=len(comparison.features))
    return [entry('density', result.density, **facts), entry('coverage', result.coverage, **facts)]


_COMPUTE = {
    'fid': _frechet,
    'sfid': _spatial_frechet,
    'is': _inception_score,
    'kid': _kid,
    'pr': _precision_recall,
    'dc': _density_coverage,
}


def describe_choice(comparisons, num_images, image_shape):
    """Return remarks about how comparable the numbers will be, list of lines.

    Args:
        comparisons: The `Comparison` objects.
        num_images: Images that will be measured.
        image_shape: Their (C, H, W).
    """
    notes = []
    for detector in dict.fromkeys(comparison.detector for comparison in comparisons):
        notes += detector.notes
        if is_published_protocol(detector.name) and num_images != PROTOCOL_IMAGES:
            notes.append(
                f'{num_images} images: the distance falls with their number, and published numbers have {PROTOCOL_IMAGES}; '
                f'this one is called {metric_name(detector.name, "fid", num_images)}'
            )
        if num_images <= detector.feature_dim:
            notes.append(
                f'{num_images} images are not more than the {detector.feature_dim} features of {detector.name}; '
                'the distance is dominated by chance'
            )
    for path in dict.fromkeys(comparison.reference.path for comparison in comparisons):
        side = resolution_in_name(path)
        if side is not None and side not in image_shape[1:]:
            notes.append(
                f'the name of {path} speaks of {side}x{side} pixels, but the images have {image_shape[2]}x{image_shape[1]}'
            )
    return notes


def describe_comparison(comparison):
    """Return the facts behind the numbers of a comparison, for a report that can be checked later."""
    reference, detector = comparison.reference, comparison.detector
    return dict(
        ref=reference.path,
        ref_sha256=reference.sha256,
        ref_dataset=reference.dataset,
        ref_dataset_sha256=reference.dataset_sha256,
        ref_num_images=reference.num_images,
        ref_features_seed=reference.features_seed if comparison.features is not None else None,
        detector=detector.name,
        detector_sha256=detector.sha256,
        detector_file=detector.weights_path,
        detector_file_sha256=detector.file_sha256,
        preprocessing=detector.preprocessing,
    )


def describe_software(device):
    """Return versions and machine facts that can change the last digits."""
    return dict(
        python=platform.python_version(),
        torch=torch.__version__,
        numpy=np.__version__,
        device=device.type,
        device_name=torch.cuda.get_device_name(device) if device.type == 'cuda' else platform.machine(),
        processes=dist.get_world_size(),
        torch_threads=torch.get_num_threads(),
        tf32=False,
    )


def print_comparison(comparison):
    """Print what the numbers that follow are measured with and against."""
    reference, detector = comparison.reference, comparison.detector
    made_from = (
        f'{reference.num_images} images of {reference.dataset}' if reference.dataset else 'origin unknown'
    )
    click.echo(f'Detector:  {detector.name}, sha256 {detector.sha256[:12]}; {detector.preprocessing}')
    click.echo(f'Reference: {reference.path} ({made_from}), sha256 {reference.sha256[:12]}')


def print_results(results):
    """Print numbers, one per line: name, colon, value with six digits as EDM does; the Frechet distance comes last."""
    for result in results:
        value, details = result['value'], ''
        if result['metric'].startswith('class-accuracy'):
            click.echo(f'{result["metric"]}: {100 * value:.2f} %')
            continue
        if 'mean_term' in result:
            click.echo(f'Terms:     means {result["mean_term"]:g}, covariances {result["cov_term"]:g}')
            if value < 0:
                click.echo('Note: below 0 by rounding; the two sets are nearly the same')
        elif 'num_subsets' in result:
            details = f'  (std {result["std"]:g} over {result["num_subsets"]} subsets, {result["num_reference"]} reference images)'
        elif 'groups' in result:
            details = (
                f'  (std {result["std"]:g} over {result["groups"]} groups of up to {result["split_size"]})'
            )
        elif 'k' in result:
            details = f'  (k {result["k"]}, {result["num_reference"]} reference images)'
        click.echo(f'{result["metric"]}: {value:g}{details}')


def summarise(blocks):
    """Summarise repeated measurements.

    Args:
        blocks: One list of results per block of seeds, as `compute_results` returns them, all alike.
    Returns:
        list of dicts with metric, ref, values, min, mean, max and std (of single values, divided by n - 1).
    """
    summary = []
    for entries in zip(*blocks):
        values = [entry['value'] for entry in entries]
        summary.append(
            dict(
                metric=entries[0]['metric'],
                ref=entries[0]['ref'],
                values=values,
                min=min(values),
                mean=float(np.mean(values)),
                max=max(values),
                std=float(np.std(values, ddof=1)),
            )
        )
    return summary


def print_summary(summary):
    """Print the spread over repeated measurements."""
    for line in summary:
        click.echo(
            f'{line["metric"]} over {len(line["values"])} blocks of seeds: min {line["min"]:g}, mean {line["mean"]:g}, '
            f'max {line["max"]:g}, std {line["std"]:g}'
        )
