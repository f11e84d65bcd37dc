# Copyright 2026 The GDD-1S authors.
# SPDX-License-Identifier: Apache-2.0

"""Measure the averaged network of a run at its snapshots, in memory, and keep the best snapshot.

`train.py` makes the object from its options and hands it to the training loop, which evaluation builds
upon and which does not import it. All processes sample and measure their share. The numbers are those of
`fid.py gen` on the snapshot with seeds 0..N-1 and the same --batch.
"""

import contextlib
import json
import os
import shutil
import time
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np
import torch
from tqdm import tqdm

from dnnlib.cli import one_line
from dnnlib.errors import ArgumentError, FailedElsewhere, arg
from dnnlib.util import atomic_write
from evaluations.comparison import Comparison, add_reference_features, check_fit, load_comparisons
from evaluations.inputs.image_sources import GeneratedImages
from evaluations.measure import measure_images
from evaluations.metrics.names import metric_name, split_live_metric
from evaluations.remarks import describe_choice
from evaluations.results import Result, compute_results, make_meters
from torch_utils import distributed as dist
from torch_utils import training_stats
from torch_utils.misc import full_precision

# Kinds of numbers that each metric gives, and those of which more is better.
KINDS = {'fd': ('fid',), 'pr': ('precision', 'recall'), 'dc': ('density', 'coverage')}
# What these messages speak of -> what the options of a training run call it.
_NAMES = dict(
    ref='metrics_ref',
    detector='metrics_detector',
    detector_path='metrics_detector_path',
    batch='metrics_batch',
)
HIGHER_IS_BETTER = ('is', 'precision', 'recall', 'density', 'coverage', 'class-accuracy')


class LiveMetrics:
    """The metrics of a run, with everything that they need; unusable settings are refused at once.

    Args:
        metrics:       Names that `parse_live_metrics` has accepted.
        ref:           Reference statistics, path or URL.
        detector:      Feature network; None for that of `ref`.
        detector_path: Its weights, or their folder; None to look in the usual places.
        batch:         Images per batch and process.
        image_shape:   (C, H, W) of the images of the run.
        device:        Where to measure.
    Raises:
        ArgumentError: Missing weights, or a reference that does not fit; named as train.py's options are.
    Attributes:
        notes: Remarks worth printing, one line each.
    """

    def __init__(
        self,
        metrics: Sequence[str],
        ref: str,
        detector: str | None,
        detector_path: str | None,
        batch: int,
        image_shape: Sequence[int],
        device: torch.device,
    ) -> None:
        self.batch, self.device = batch, device
        with _guarded(device), _renamed_arguments():
            kinds = [_comparison_metric(name) for name in metrics]
            found = load_comparisons([ref], list(dict.fromkeys(kinds)), detector, detector_path, device)
            dist.rank0_first(lambda: _check_names(metrics, found, ref))
            self.groups = [_Group(text, names, found) for text, names in _by_count(metrics).items()]
            self.notes = dist.rank0_first(lambda: _check_images(self.groups, image_shape))
            add_reference_features(found, batch)
        for group in self.groups:
            for own, loaded in zip(group.comparisons, found):
                own.features = loaded.features

    def measure(
        self,
        net: torch.nn.Module,
        sampler: str,
        arguments: dict[str, Any],
        nimg: int,
        run_dir: str,
        snapshot: str | None,
    ) -> None:
        """Measure a network; all processes call this together. Random state is left as it was.

        Writes metric-NAME.jsonl, best-NAME.json and best-NAME.pkl (rank 0) and reports Metrics/NAME.

        Args:
            net:       Averaged network in eval mode, the same on every process.
            sampler:   Name in `training.sampling.samplers.SAMPLERS`.
            arguments: Its arguments.
            nimg:      Images seen.
            run_dir:   Folder of the run.
            snapshot:  Path of the network as saved (used on rank 0).
        """
        lines, start = [], time.perf_counter()
        for group in self.groups:
            with _guarded(self.device):
                found = self._measure_group(group, net, sampler, arguments, nimg)
            facts = dict(
                kimg=nimg / 1e3,
                nimg=nimg,
                count=group.count,
                seed=0,
                seeds=f'0-{group.count - 1}',
                sampler=sampler,
                batch=self.batch,
                snapshot=os.path.basename(snapshot or ''),
            )
            for name in group.short_names:
                # Every rank names every number, in the same order, also where there is none.
                training_stats.report0(f'Metrics/{name}', found[name]['value'] if name in found else [])
                if dist.get_rank() == 0 and name in found:
                    lines.append(record(run_dir, name, dict(metric=name, **found[name], **facts), snapshot))
        seconds = training_stats.report0('Timing/metrics_sec', time.perf_counter() - start)
        if lines:
            tqdm.write(f'metrics at {nimg / 1e3:g} kimg: {", ".join(lines)} ({seconds:.1f} s)')

    def _measure_group(
        self, group: '_Group', net: torch.nn.Module, sampler: str, arguments: dict[str, Any], nimg: int
    ) -> dict[str, Result]:
        """Measure all metrics of one number of images.

        Returns:
            Short name -> result; {} on other ranks than 0, and after a failure.
        """
        meters = make_meters(group.comparisons)
        source = GeneratedImages(
            net,
            np.arange(group.count),
            sampler,
            arguments,
            name=f'{group.count} images of {nimg / 1e3:g} kimg',
        )
        try:
            measure_images(source, list(meters.values()), self.batch)
        except (ValueError, FailedElsewhere) as error:  # on all ranks alike: rank 0 has the message
            if dist.get_rank() == 0:
                tqdm.write(f'metrics at {nimg / 1e3:g} kimg: not measured, {one_line(error, **_NAMES)}')
            return {}
        if dist.get_rank() != 0:
            return {}
        results = {}
        for comparison in group.comparisons:
            for result in compute_results(comparison, meters[comparison.detector]):
                facts = {key: value for key, value in result.items() if key not in ('metric', 'ref')}
                results[group.short_names_of[result['metric']]] = dict(
                    name=result['metric'],
                    **facts,
                    detector_sha256=comparison.detector.sha256,
                    reference=comparison.reference.path,
                    reference_sha256=comparison.reference.sha256,
                )
        return results


class _Group:
    """Metrics with the same number of images, which share one pass.

    Args:
        count_text: The number of images as the user wrote it, such as '2k'.
        names: Metrics.
        comparisons: References and detectors.
    """

    def __init__(self, count_text: str, names: Sequence[str], comparisons: Sequence[Comparison]) -> None:
        kinds = [split_live_metric(name)[0] for name in names]
        self.count = split_live_metric(names[0])[1]
        wanted = list(dict.fromkeys(_comparison_metric(name) for name in names))
        self.comparisons = [Comparison(c.reference, c.detector, wanted) for c in comparisons]
        detector = comparisons[0].detector
        self.short_names_of = {}  # name of the number, such as frechet-mnist-classifier-2000 -> fd2k
        if detector.labels_comparable:
            self.short_names_of[metric_name(detector.name, 'class-accuracy', self.count)] = (
                f'class-accuracy{count_text}'
            )
        for kind in kinds:
            for part in KINDS.get(kind, (kind,)):
                short = f'{kind if kind == "fd" else part}{count_text}'
                self.short_names_of[metric_name(detector.name, part, self.count)] = short
        self.short_names = list(self.short_names_of.values())


def record(run_dir: str, name: str, entry: Mapping[str, Any], snapshot: str) -> str:
    """Append a number to metric-NAME.jsonl, and keep its snapshot if it is the best so far.

    The best snapshot gets a name of its own, best-NAME.pkl: a hard link, or a copy where there are none, so
    whatever happens to the numbered files, it stays.

    Args:
        run_dir:  Folder of the run.
        name:     Short name, such as 'fd2k'.
        entry:    What to write, with `value`.
        snapshot: Path of the snapshot that was measured.
    Returns:
        Words for a status line.
    """
    _append_line(os.path.join(run_dir, f'metric-{name}.jsonl'), dict(entry, timestamp=time.time()))
    value = entry['value']
    text = f'{name} {100 * value:.2f} %' if name.startswith('class-accuracy') else f'{name} {value:g}'
    best_path = os.path.join(run_dir, f'best-{name}.json')
    best = read_best(best_path)
    if best is not None and not _is_better(name, value, best['value']):
        return f'{text} (best {best["value"]:g} at {best["kimg"]:g} kimg)'
    kept = f'best-{name}.pkl'
    _keep_file(snapshot, os.path.join(run_dir, kept))
    with atomic_write(best_path) as file:
        file.write((json.dumps(dict(entry, file=kept), indent=2) + '\n').encode())
    return f'{text} (best so far: {kept})'


def _append_line(path: str, entry: Mapping[str, Any]) -> None:
    # A resumed run measures some snapshots again: lines from its position on are replaced.
    earlier = []
    if os.path.exists(path):
        with open(path, encoding='utf-8') as file:
            earlier = [line for line in file if line.strip()]
    kept = [line for line in earlier if _images_seen(line) < entry['nimg']]
    with atomic_write(path) as file:
        file.write(''.join([*kept, json.dumps(entry) + '\n']).encode())


def _images_seen(line: str) -> float:
    try:
        return json.loads(line)['nimg']
    except (ValueError, KeyError, TypeError):  # cut off by a killed process
        return float('inf')


def read_best(path: str | os.PathLike) -> dict[str, Any] | None:
    """Return the content of best-NAME.json, or None if there is none that can be read."""
    try:
        with open(path, encoding='utf-8') as file:
            best = json.load(file)
        return (
            best
            if isinstance(best['value'], (int, float)) and isinstance(best['kimg'], (int, float))
            else None
        )
    except (OSError, ValueError, KeyError, TypeError):
        return None


def _is_better(name: str, value: float, best: float) -> bool:
    higher = any(name.startswith(kind) for kind in HIGHER_IS_BETTER)
    return value > best if higher else value < best


def _keep_file(source: str, dest: str) -> None:
    # Under a temporary name first: the name is complete or absent at any time.
    temporary = f'{dest}.tmp{os.getpid()}'
    with contextlib.suppress(FileNotFoundError):
        os.remove(temporary)
    try:
        os.link(source, temporary)
    except OSError:  # a file system without hard links
        shutil.copyfile(source, temporary)
    os.replace(temporary, dest)
    with contextlib.suppress(FileNotFoundError):  # replacing a link by another to the same file leaves both
        os.remove(temporary)


def _by_count(metrics: Sequence[str]) -> dict[str, list[str]]:
    """Group metrics by the number of images: text of the number -> names."""
    groups, texts = {}, {}
    for name in metrics:
        kind, count = split_live_metric(name)
        text = texts.setdefault(count, name[len(kind) :])
        groups.setdefault(text, []).append(name)
    return groups


def _check_names(metrics: Sequence[str], comparisons: Sequence[Comparison], ref: str) -> None:
    """Refuse what cannot be told apart, or would be called by the name of something else."""
    if len(comparisons) > 1:
        names = ', '.join(c.detector.name for c in comparisons)
        raise ArgumentError(
            arg('ref', ref),
            f' holds statistics of several detectors ({names}); choose one with ',
            arg('detector'),
        )
    detector = comparisons[0].detector.name
    for name in metrics:
        kind, _count = split_live_metric(name)
        if kind == 'fid' and not detector.startswith('inception'):
            raise ArgumentError(
                arg('metrics', name),
                f': FID is the distance of Inception features, and {ref} has those of {detector}; use ',
                arg('metrics', f'fd{name[len(kind) :]}'),
            )
    if len(
        {('fd' if kind == 'fid' else kind, count) for kind, count in map(split_live_metric, metrics)}
    ) < len(metrics):
        raise ArgumentError(
            arg('metrics', metrics), ' holds one distance under two names, fd and fid; leave one out'
        )


def _check_images(groups: Sequence[_Group], image_shape: Sequence[int]) -> list[str]:
    notes = []
    for group in groups:
        notes += check_fit(group.comparisons, group.count, image_shape, ('images of ', arg('data')))
        notes += describe_choice(group.comparisons, group.count, image_shape)
    return list(dict.fromkeys(notes))


def _comparison_metric(name: str) -> str:
    """Return the metric of a comparison behind a live one: 'fid', which any detector has, for 'fd2k'."""
    kind = split_live_metric(name)[0]
    return 'fid' if kind == 'fd' else kind


@contextlib.contextmanager
def _guarded(device: torch.device) -> Iterator[None]:
    """Measure in full precision, and leave the random state of training alone."""
    with torch.random.fork_rng(devices=[device] if device.type == 'cuda' else []), full_precision():
        yield


@contextlib.contextmanager
def _renamed_arguments() -> Iterator[None]:
    """Speak of arguments as a training run calls them."""
    try:
        yield
    except ArgumentError as error:
        raise error.renamed(**_NAMES) from error
