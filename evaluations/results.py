# Copyright 2026 The GDD-1S authors.
# SPDX-License-Identifier: Apache-2.0

"""From finished meters to named numbers: their values, what they depend on, and how they are printed.

Legend: N M images, D features.
"""

import platform
from collections.abc import Callable, Iterable, Sequence
from typing import Any

import click
import numpy as np
import torch

from dnnlib.progress import with_progress
from evaluations.comparison import NEED_FEATURES, Comparison
from evaluations.detectors.registry import Detector
from evaluations.measure import Meter
from evaluations.metrics.frechet import frechet_parts
from evaluations.metrics.inception_score import SPLIT_SIZE, inception_score
from evaluations.metrics.kid import kernel_distance
from evaluations.metrics.manifold import DC_NEIGHBOURS, PR_NEIGHBOURS, density_coverage, precision_recall
from evaluations.metrics.names import metric_name
from torch_utils import distributed as dist

Result = dict[str, Any]  # `metric`, its name; `value`; and what the value depends on


def make_meters(comparisons: Iterable[Comparison]) -> dict[Detector, Meter]:
    """Return one `Meter` per detector that collects what its comparisons need: detector -> meter."""
    wanted = {}
    for comparison in comparisons:
        wanted.setdefault(comparison.detector, set()).update(comparison.metrics)
    return {
        detector: Meter(
            detector,
            spatial='sfid' in metrics,
            keep_logits='is' in metrics,
            keep_features=bool(NEED_FEATURES.keys() & metrics),
        )
        for detector, metrics in wanted.items()
    }


def compute_results(comparison: Comparison, meter: Meter) -> list[Result]:
    """Compute all metrics of a comparison.

    Args:
        comparison: The `Comparison`.
        meter: The reduced `Meter` of its detector.
    Returns:
        Results in the order asked for; only the Frechet distance comes last.
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


def _frechet(comparison: Comparison, meter: Meter, entry: Callable[..., Result]) -> list[Result]:
    mean_term, cov_term = frechet_parts(
        meter.stats.mean(), meter.stats.cov(), comparison.reference.mu, comparison.reference.sigma
    )
    return [entry('fid', mean_term + cov_term, mean_term=mean_term, cov_term=cov_term)]


def _spatial_frechet(comparison: Comparison, meter: Meter, entry: Callable[..., Result]) -> list[Result]:
    stats, reference = meter.spatial_stats, comparison.reference
    mean_term, cov_term = frechet_parts(stats.mean(), stats.cov(), reference.mu_s, reference.sigma_s)
    return [entry('sfid', mean_term + cov_term, mean_term=mean_term, cov_term=cov_term)]


def _inception_score(_comparison: Comparison, meter: Meter, entry: Callable[..., Result]) -> list[Result]:
    score = inception_score(meter.logits)
    return [
        entry(
            'is', score.mean, std=float(np.std(score.groups)), groups=len(score.groups), split_size=SPLIT_SIZE
        )
    ]


def _kid(comparison: Comparison, meter: Meter, entry: Callable[..., Result]) -> list[Result]:
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


def _precision_recall(comparison: Comparison, meter: Meter, entry: Callable[..., Result]) -> list[Result]:
    result = precision_recall(
        samples=meter.features.to(comparison.detector.device),
        reference=comparison.features,
        progress=with_progress,
    )
    facts = dict(k=PR_NEIGHBOURS, mode='exact', num_reference=len(comparison.features))
    return [entry('precision', result.precision, **facts), entry('recall', result.recall, **facts)]


def _density_coverage(comparison: Comparison, meter: Meter, entry: Callable[..., Result]) -> list[Result]:
    result = density_coverage(
        samples=meter.features.to(comparison.detector.device),
        reference=comparison.features,
        progress=with_progress,
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


def describe_comparison(comparison: Comparison) -> dict[str, Any]:
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


def describe_software(device: torch.device) -> dict[str, Any]:
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


def print_comparison(comparison: Comparison) -> None:
    """Print what the numbers that follow are measured with and against."""
    reference, detector = comparison.reference, comparison.detector
    made_from = (
        f'{reference.num_images} images of {reference.dataset}' if reference.dataset else 'origin unknown'
    )
    click.echo(f'Detector:  {detector.name}, sha256 {detector.sha256[:12]}; {detector.preprocessing}')
    click.echo(f'Reference: {reference.path} ({made_from}), sha256 {reference.sha256[:12]}')


def print_results(results: Iterable[Result]) -> None:
    """Print numbers, one per line: name, colon, value with six digits as EDM does."""
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
            details = (
                f'  (std {result["std"]:g} over {result["num_subsets"]} subsets, '
                f'{result["num_reference"]} reference images)'
            )
        elif 'groups' in result:
            details = (
                f'  (std {result["std"]:g} over {result["groups"]} groups of up to {result["split_size"]})'
            )
        elif 'k' in result:
            details = f'  (k {result["k"]}, {result["num_reference"]} reference images)'
        click.echo(f'{result["metric"]}: {value:g}{details}')


def summarise(blocks: Sequence[Sequence[Result]]) -> list[Result]:
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


def print_summary(summary: Iterable[Result]) -> None:
    """Print the spread over repeated measurements."""
    for line in summary:
        click.echo(
            f'{line["metric"]} over {len(line["values"])} blocks of seeds: min {line["min"]:g}, '
            f'mean {line["mean"]:g}, max {line["max"]:g}, std {line["std"]:g}'
        )
