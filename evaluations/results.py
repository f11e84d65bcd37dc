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
from evaluations.metrics.cmmd import cmmd
from evaluations.metrics.extrapolation import extrapolate_frechet
from evaluations.metrics.frechet import frechet_distance, frechet_parts
from evaluations.metrics.inception_score import SPLIT_SIZE, inception_score
from evaluations.metrics.kid import kernel_distance
from evaluations.metrics.manifold import DC_NEIGHBOURS, PR_NEIGHBOURS, density_coverage, precision_recall
from evaluations.metrics.memorization import authenticity, compare_distances, data_copying, nearer_share
from evaluations.metrics.names import metric_name
from evaluations.metrics.nearest import nearest_neighbours, nearest_others
from evaluations.metrics.sliced_wasserstein import mind, sliced_wasserstein
from evaluations.metrics.vendi import vendi_score
from evaluations.reviewing.markdown import SHARES
from evaluations.reviewing.ratio import heldout_distance, mean_ratio
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
            keep_features=bool({'fid-inf', *NEED_FEATURES} & metrics),
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

    def entry(kind: str, value: float, **facts: Any) -> Result:
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


def _extrapolated(comparison: Comparison, meter: Meter, entry: Callable[..., Result]) -> list[Result]:
    reference = comparison.reference
    found = extrapolate_frechet(meter.features.to(comparison.detector.device), reference.mu, reference.sigma)
    return [entry('fid-inf', found.value, std=found.std, slope=found.slope, sizes=found.sizes)]


def _mind(comparison: Comparison, meter: Meter, entry: Callable[..., Result]) -> list[Result]:
    return [_of_pair('mind', mind, comparison, meter, entry)]


def _sliced(comparison: Comparison, meter: Meter, entry: Callable[..., Result]) -> list[Result]:
    return [_of_pair('sw', sliced_wasserstein, comparison, meter, entry)]


def _cmmd(comparison: Comparison, meter: Meter, entry: Callable[..., Result]) -> list[Result]:
    return [_of_pair('cmmd', cmmd, comparison, meter, entry)]


def _of_pair(
    kind: str, formula: Callable, comparison: Comparison, meter: Meter, entry: Callable[..., Result]
) -> Result:
    """Compute a distance of two sets of features, and its floor, that of held-out images, if any."""
    samples, reference = meter.features.to(comparison.detector.device), comparison.features
    heldout = comparison.reference.heldout_features
    floor = (
        {}
        if heldout is None
        else dict(floor=formula(_as_many(torch.from_numpy(heldout), len(samples)), reference))
    )
    return entry(kind, formula(samples, reference), num_reference=len(reference), **floor)


def _as_many(features: torch.Tensor, count: int) -> torch.Tensor:
    """Return a random choice of so many rows, or all if there are not more."""
    return features[np.random.RandomState(0).permutation(len(features))[:count]]


def _ratio(comparison: Comparison, meter: Meter, entry: Callable[..., Result]) -> list[Result]:
    reference, stats = comparison.reference, meter.stats
    distance = frechet_distance(stats.mean(), stats.cov(), reference.mu, reference.sigma)
    floor = heldout_distance(reference, stats.num_images)
    return [entry('ratio', mean_ratio([distance], [floor]), distance=distance, heldout_distance=floor)]


def add_mean_ratio(blocks: Sequence[list[Result]], num_images: int) -> None:
    """Append the mean of the ratios of all blocks to the last block, if there are any."""
    ratios = [result for block in blocks for result in block if 'heldout_distance' in result]
    if ratios:
        blocks[-1].append(
            dict(
                metric=metric_name('inception', f'fdr{len(ratios)}-', num_images),
                value=mean_ratio(*([r[key] for r in ratios] for key in ('distance', 'heldout_distance'))),
                detector=', '.join(result['detector'] for result in ratios),
                ref=', '.join(result['ref'] for result in ratios),
            )
        )


def _memorization(comparison: Comparison, meter: Meter, entry: Callable[..., Result]) -> list[Result]:
    """How near samples are to training images, beside what real images that were held out give."""
    samples, training = meter.features.to(comparison.detector.device), comparison.features
    heldout = comparison.reference.heldout_features
    heldout = None if heldout is None else torch.from_numpy(heldout)
    among = nearest_others(training, progress=with_progress)
    near = nearest_neighbours(samples, training, progress=with_progress)
    floors = [{}] * 3
    if heldout is not None:
        fresh = nearest_neighbours(heldout, training, progress=with_progress)
        floors = [
            dict(floor=authenticity(fresh, among)),
            dict(floor=nearer_share(fresh, among)),
            dict(floor=vendi_score(_as_many(heldout, len(samples)))),
        ]
    facts = dict(num_reference=len(training), copies=int((near.distances == 0).sum()))
    return [
        entry('authpct', authenticity(near, among), **facts, **floors[0]),
        entry('nearer-share', nearer_share(near, among), **facts, **floors[1]),
        entry('vendi', vendi_score(samples), **floors[2]),
        *([] if heldout is None else _against_heldout(samples, training, heldout, entry)),
    ]


def _against_heldout(
    samples: torch.Tensor, training: torch.Tensor, heldout: torch.Tensor, entry: Callable[..., Result]
) -> list[Result]:
    found = []
    try:
        copying = data_copying(samples, training, heldout)
        cells = [cell._asdict() for cell in copying.cells]
        found.append(entry('ct', copying.value, cells=cells, seed=copying.seed, num_heldout=len(heldout)))
    except ValueError as error:  # too few or too equal images; the other numbers are worth keeping
        click.echo(f'Note: no ct: {error}')
    distances = compare_distances(samples, training, heldout, progress=with_progress)
    facts = dict(train=distances.train, heldout=distances.heldout, num_reference=distances.num_images)
    return [*found, entry('nearer-to-train', distances.nearer_to_train, **facts)]


_COMPUTE = {
    'fid-inf': _extrapolated,
    'mind': _mind,
    'sw': _sliced,
    'cmmd': _cmmd,
    'fdr': _ratio,
    'memorization': _memorization,
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
        if result['metric'].startswith(SHARES):
            click.echo(f'{result["metric"]}: {100 * value:.2f} %{_describe_facts(result)}')
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
        else:
            details = _describe_facts(result)
        click.echo(f'{result["metric"]}: {value:g}{details}')


# What stands in brackets behind a number, by the key of its result.
_FACTS = {
    'heldout_distance': 'distance of as many held-out images {:g}',
    'copies': '{} exact copies',
    'train': 'median distance to training images {:g}',
    'heldout': 'to held-out images {:g}',
    'num_reference': '{} reference images',
    'num_heldout': '{} held-out images',
}


def _describe_facts(result: Result) -> str:
    facts = [text.format(result[key]) for key, text in _FACTS.items() if key in result]
    if 'floor' in result:
        share = result['metric'].startswith(SHARES)
        facts.insert(
            0, 'held-out images ' + (f'{100 * result["floor"]:.2f} %' if share else f'{result["floor"]:g}')
        )
    if 'cells' in result:
        facts += [
            f'{len(result["cells"])} cells, z '
            + ' '.join(
                'left out' if cell['score'] is None else f'{cell["score"]:.2f}' for cell in result['cells']
            )
        ]
    if 'slope' in result:
        facts.insert(0, f'std {result["std"]:g} over orders of the images')
    return f'  ({", ".join(facts)})' if facts else ''


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
