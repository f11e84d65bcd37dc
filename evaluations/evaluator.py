# Copyright 2026 The GDD-1S authors.
# SPDX-License-Identifier: Apache-2.0

"""Inception Score, FID, sFID, precision and recall of .npz files, as OpenAI's evaluator prints them.

    python evaluations/evaluator.py SAMPLE.npz REF.npz
    python evaluations/evaluator.py SAMPLE.npz none

SAMPLE is an image pack such as generate.py writes; REF one of OpenAI's reference batches, any
statistics with mu and sigma, or another image pack. The order of the two is that of GDD's
scripts; OpenAI's program takes the reference first. Works in PyTorch; `--backend=tensorflow`
runs the published frozen graph instead. fid.py measures folders and zips, and other detectors.

Legend: N images, C channels, H W pixels.
"""

import os
import sys

if not __package__:  # run by its path: this folder would hide the standard library's `statistics`
    _HERE = os.path.dirname(os.path.abspath(__file__))
    sys.path[:] = [os.path.dirname(_HERE), *(path for path in sys.path if os.path.abspath(path) != _HERE)]

import json
from collections.abc import Collection, Iterator
from typing import Any

import click
import torch

from dnnlib.cli import one_line_errors, run_script
from dnnlib.errors import ArgumentError, arg
from dnnlib.progress import with_progress
from dnnlib.util import atomic_write
from evaluations.detectors.registry import Detector, find_missing, get_detector
from evaluations.metrics.frechet import frechet_distance
from evaluations.metrics.inception_score import SPLIT_SIZE, inception_score
from evaluations.metrics.kid import kernel_distance
from evaluations.metrics.manifold import (
    DC_NEIGHBOURS,
    MODES,
    PR_NEIGHBOURS,
    density_coverage,
    precision_recall,
)
from evaluations.metrics.names import metric_name
from evaluations.npz_pair import LINES, Side, image_size, plan
from evaluations.results import describe_software
from torch_utils.misc import full_precision


def run_detector(
    sample: Side, reference: Side | None, detector: Detector, kinds: Collection[str], batch: int
) -> None:
    """Measure the images of both sides with the lines that OpenAI's program prints meanwhile."""
    spatial, features = 'sfid' in kinds, 'features' in kinds
    for side, name, logits in ((reference, 'reference', False), (sample, 'sample', True)):
        if side is None:
            continue
        if side.npz.has_images:
            click.echo(f'computing {name} batch activations...')
            side.measure(
                detector,
                batch,
                spatial=spatial and not side.has_moments('sfid'),
                keep_logits=logits,
                keep_features=features,
            )
        if spatial or 'fid' in kinds:
            click.echo(f'computing/reading {name} batch statistics...')


def compute(
    sample: Side,
    reference: Side | None,
    kinds: Collection[str],
    mode: str,
    kid: bool = False,
    dense: bool = False,
) -> Iterator[dict[str, Any]]:
    """Yield results in the order of OpenAI's lines: `kind`, `value` and what the value depends on."""
    score = inception_score(sample.meter.logits)
    yield dict(kind='is', value=score.mean, groups=score.groups, split_size=SPLIT_SIZE)
    for kind in ('fid', 'sfid'):
        if kind in kinds:
            stored = {side.place.lower(): side.has_moments(kind) for side in (sample, reference)}
            value = frechet_distance(*sample.moments(kind), *reference.moments(kind))
            yield dict(kind=kind, value=value, stored_statistics=stored)
    if 'features' not in kinds:
        return
    sets = dict(samples=sample.features(), reference=reference.features())
    manifold = precision_recall(**sets, mode=mode, progress=with_progress)
    yield dict(kind='precision', value=manifold.precision, k=PR_NEIGHBOURS, mode=mode)
    yield dict(kind='recall', value=manifold.recall, k=PR_NEIGHBOURS, mode=mode)
    if kid:
        distance = kernel_distance(**sets)
        yield dict(
            kind='kid',
            value=distance.mean,
            std=distance.std,
            num_subsets=distance.num_subsets,
            subset_size=distance.subset_size,
            seed=distance.seed,
        )
    if dense:
        quality = density_coverage(**sets, progress=with_progress)
        yield dict(kind='density', value=quality.density, k=DC_NEIGHBOURS)
        yield dict(kind='coverage', value=quality.coverage, k=DC_NEIGHBOURS)


def _check_json(path: str | None) -> None:
    """Refuse an output that cannot be written, before any long work."""
    if path is None:
        return
    if (
        not path.lower().endswith('.json')
        or os.path.isdir(path)
        or not os.path.isdir(os.path.dirname(os.path.abspath(path)))
    ):
        raise ArgumentError(
            arg('json', path),
            ' must name a file ending in .json in a folder that exists; try ',
            arg('json', 'result.json'),
        )


def _choose_device(text: str | None) -> torch.device:
    """Return the device of --device, which may be None."""
    if text is None:
        return torch.device('cuda' if torch.cuda.is_available() else 'cpu')
    try:
        device = torch.device(text)
        torch.zeros([], dtype=torch.float64, device=device).item()  # statistics are kept in float64
    except (RuntimeError, TypeError, AssertionError) as err:
        raise ArgumentError(
            arg('device', text), f' cannot be used: {str(err).splitlines()[0]}; try ', arg('device', 'cpu')
        ) from err
    return device


def load_detector(backend: str, device: torch.device, path: str | None) -> Detector:
    """Return the Inception `Detector` of a backend.

    Args:
        backend: 'torch' or 'tensorflow'.
        device: Where to run it.
        path: Weights file, or None for those in pretrained/, in caches, or downloaded.
    Raises:
        ArgumentError: Weights missing or broken, or TensorFlow not installed.
    """
    if backend == 'tensorflow':
        from evaluations.detectors.tensorflow_backend import load_frozen_graph

        click.echo('warming up TensorFlow...')
        return load_frozen_graph(device, path)
    missing = find_missing(['inception'], path)
    if missing:
        raise missing[0]
    return get_detector('inception', device, path=path)


def _print_setting(
    sample: Side, reference: Side | None, detector: Detector, notes: list[str], mode: str | None
) -> None:
    """Print what the numbers depend on, and remarks; `mode` is None without precision and recall."""
    click.echo(f'Detector:  {detector.name}, sha256 {detector.sha256[:12]}; {detector.preprocessing}')
    for name, side in (('Samples:', sample), ('Reference:', reference)):
        if side is not None:
            content = (
                f'{len(side.npz)} images, {image_size(side)}' if side.npz.has_images else 'statistics only'
            )
            click.echo(f'{name:<10s} {side.path} ({content}), sha256 {side.sha256[:12]}')
    if mode is not None:
        click.echo(f'Distances: {mode} arithmetic for precision and recall')
    for note in (*detector.notes, *notes):
        click.echo(f'Note: {note}')


def _print_result(kind: str, result: dict[str, Any]) -> None:
    spread = ''
    if 'std' in result:
        spread = f' (standard deviation {result["std"]!r} over {result["num_subsets"]} subsets)'
    click.echo(f'{LINES[kind]}: {result["value"]!r}{spread}')


def _facts(side: Side | None) -> dict[str, Any] | None:
    """Return what identifies one file, for the JSON output."""
    return (
        None
        if side is None
        else dict(
            path=str(side.path), sha256=side.sha256, num_images=len(side.npz), shape=list(side.npz.shape[1:])
        )
    )


def evaluate(
    sample: str,
    ref: str,
    backend: str = 'torch',
    detector_path: str | None = None,
    device: str | None = None,
    batch: int = 64,
    precision_mode: str = 'exact',
    kid: bool = False,
    dense: bool = False,
    json_path: str | None = None,
) -> dict[str, Any]:
    """Do what the command says; see its options.

    Returns:
        dict that `--json` writes: `results` by kind, and what they depend on.
    Raises:
        ValueError: Input that cannot be used.
    """
    _check_json(json_path)
    device = _choose_device(device)
    samples, reference = Side(sample, 'SAMPLE'), None if ref.lower() == 'none' else Side(ref, 'REF')
    kinds, notes = plan(samples, reference, ['kid'] * kid + ['density_coverage'] * dense)
    detector = load_detector(backend, device, detector_path)
    for side in filter(None, (samples, reference)):
        side.check(detector)
    _print_setting(samples, reference, detector, notes, precision_mode if 'features' in kinds else None)
    results = {}
    with full_precision():
        run_detector(samples, reference, detector, kinds, batch)
        click.echo('Computing evaluations...')
        for result in compute(samples, reference, kinds, precision_mode, kid, dense):
            kind = result.pop('kind')
            results[kind] = dict(name=metric_name(detector.name, kind, len(samples.npz)), **result)
            _print_result(kind, result)
    content = dict(
        results=results,
        samples=_facts(samples),
        reference=_facts(reference),
        backend=backend,
        detector=detector.name,
        detector_sha256=detector.sha256,
        detector_file=detector.weights_path,
        detector_file_sha256=detector.file_sha256,
        preprocessing=detector.preprocessing,
        batch=batch,
        notes=[*detector.notes, *notes],
        software=describe_software(device),
    )
    if json_path is not None:
        with atomic_write(json_path) as f:
            f.write((json.dumps(content, indent=2) + '\n').encode())
    return content


@click.command()
@click.argument('sample', metavar='SAMPLE.npz')
@click.argument('ref', metavar='REF.npz|none')
# Detector.
@click.option(
    '--backend',
    help='What runs the Inception network',
    type=click.Choice(['torch', 'tensorflow']),
    default='torch',
    show_default=True,
)
@click.option(
    '--detector-path',
    help='Its weights  [default: pretrained/, caches, download]',
    metavar='FILE|DIR',
    type=str,
)
# Metrics.
@click.option(
    '--precision-mode',
    help='Arithmetic of precision and recall',
    type=click.Choice(MODES),
    default='exact',
    show_default=True,
)
@click.option('--kid', help='Also print KID', is_flag=True)
@click.option('--density-coverage', 'dense', help='Also print density and coverage', is_flag=True)
# Performance and output.
@click.option(
    '--device', help='Such as cpu or cuda:0  [default: a GPU, or else cpu]', metavar='DEVICE', type=str
)
@click.option(
    '--batch',
    help='Images per batch',
    metavar='INT',
    type=click.IntRange(min=1),
    default=64,
    show_default=True,
)
@click.option('--json', 'json_path', help='Also write numbers and facts here', metavar='JSON', type=str)
def main(**options: Any) -> None:
    """Print Inception Score, FID, sFID, precision and recall of the images in SAMPLE.npz.

    With `none` in the place of the reference, only the Inception Score. Published numbers have
    50,000 samples, and OpenAI's VIRTUAL_*.npz of the data set as reference: statistics of all
    images for FID and sFID, 10,000 images for precision and recall. Published precision and
    recall were rounded to 16 bits; --precision-mode=openai-fp16 does the same.
    """
    with one_line_errors():
        evaluate(**options)


if __name__ == '__main__':
    run_script(main)
