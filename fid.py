# Copyright 2026 The GDD-1S authors.
# SPDX-License-Identifier: Apache-2.0

"""Measure images, from files or straight from a network: FID and its relatives; make and explain references.

    python fid.py calc --images=out --ref=fid-refs/cifar10-32x32.npz
    python fid.py gen --network=network-snapshot-005000.pkl --ref=fid-refs/cifar10-32x32.npz --seeds=0-49999
    python fid.py ref --data=datasets/cifar10-32x32.zip --dest=cifar10-32x32.npz
    python -m torch_utils.launch --standalone --nproc_per_node=2 fid.py calc ...

`calc` and `ref` take the options of EDM's program of this name. The work is done in evaluations/;
docs/metrics.md explains the numbers.
"""

import contextlib
import json
import os
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import click
import torch

from dnnlib.cli import one_line_errors, run_script
from dnnlib.errors import ArgumentError, arg
from dnnlib.util import atomic_write
from evaluations.comparison import (
    Comparison,
    add_reference_features,
    check_fit,
    load_comparisons,
    load_detectors,
)
from evaluations.detectors.registry import detector_names
from evaluations.inputs.image_sources import (
    QUANTISATION,
    FolderImages,
    GeneratedImages,
    PackedImages,
    hash_dataset,
    open_images,
)
from evaluations.inputs.inspection import describe_file
from evaluations.inputs.reference import save_reference
from evaluations.measure import measure_images
from evaluations.metrics.names import METRICS, parse_metrics
from evaluations.network_samples import choose_rng_device, load_sampled, plan_text, seed_blocks
from evaluations.programs.reference_making import make_reference
from evaluations.remarks import describe_choice, describe_images
from evaluations.results import (
    Result,
    add_mean_ratio,
    compute_results,
    describe_comparison,
    describe_software,
    make_meters,
    print_comparison,
    print_results,
    print_summary,
    summarise,
)
from evaluations.reviewing.markdown import format_results
from evaluations.reviewing.neighbours import open_training_images, save_neighbours
from evaluations.reviewing.overlap import Overlap, Training, find_overlap, read_training
from torch_utils import distributed as dist
from torch_utils.allocator import keep_freed_memory
from torch_utils.misc import full_precision
from training.sampling.options import add_key_options, add_sampler_options
from training.snapshots.entries import choose_key

# ------------------------------------------------------------------------------------------------
# Steps of the commands. What can fail runs on rank 0 first, so that a message appears once.


@contextlib.contextmanager
def _processes(**names: str) -> Iterator[torch.device]:
    """Join the other processes for one command, and turn bad input into a one-line error.

    Args:
        names: Argument -> option name, where they differ: path='images'.
    """
    with one_line_errors(**names):
        dist.init()
        keep_freed_memory()
        with full_precision():
            yield dist.get_device()
        dist.destroy()


def _check_output(path: str | None, name: str, extension: str) -> None:
    """Make the parent folder of an output file, before any long work; refuse an unsuitable name."""
    if path is None:
        return
    if not path.lower().endswith(extension) or os.path.isdir(path):
        raise ArgumentError(
            arg(name, path), f' must name a file ending in {extension}; try ', arg(name, f'result{extension}')
        )
    os.makedirs(os.path.dirname(os.path.abspath(path)), exist_ok=True)


def _load_comparisons(opts: dict[str, Any], device: torch.device) -> list[Comparison]:
    """Load references and detectors, and decide which metrics are computed against which reference."""

    def check_first() -> list[str]:
        _check_output(opts['json_path'], 'json', '.json')
        _check_output(opts['neighbours'], 'neighbours', '.png')
        return parse_metrics(opts['metrics'])

    metrics = dist.rank0_first(check_first)
    comparisons = load_comparisons(opts['refs'], metrics, opts['detector'], opts['detector_path'], device)
    if opts['neighbours'] is not None:
        dist.rank0_first(lambda: _neighbours_comparison(comparisons, opts) and None)
    return comparisons


def _open_samples(
    comparisons: Sequence[Comparison], images: str, num: int, seed: int
) -> tuple[FolderImages | PackedImages, list[str]]:
    """Open the images of `calc`; return (source, remarks)."""
    labelling = [c.detector for c in comparisons if c.detector.labels_comparable]
    source, unlabelled = open_images(images, num, seed, labelling[0].num_classes if labelling else 0)
    notes = check_fit(comparisons, num, source.image_shape, ('images of ', arg('images', images)))
    notes += describe_choice(comparisons, num, source.image_shape)
    notes += describe_images(images, source, {metric for c in comparisons for metric in c.metrics})
    if labelling and unlabelled:
        notes.append(f'no class accuracy: {unlabelled}')
    for comparison in comparisons:
        reference = comparison.reference
        if len(source) == reference.num_images and reference.dataset_sha256 == hash_dataset(images):
            notes.append(f'{images} are the images that {reference.path} was made from')
    return source, notes


def _measure(
    source: FolderImages | PackedImages | GeneratedImages,
    comparisons: Sequence[Comparison],
    opts: dict[str, Any],
    batch: int,
    workers: int = 0,
) -> list[list[Result]] | None:
    """Measure a source; return one list of results per comparison, None on other processes than rank 0."""
    meters = make_meters(comparisons)
    measure_images(source, list(meters.values()), batch, workers)
    if dist.get_rank() != 0:
        return None
    results = [compute_results(comparison, meters[comparison.detector]) for comparison in comparisons]
    add_mean_ratio(results, len(source))
    if opts['neighbours'] is not None:
        comparison = _neighbours_comparison(comparisons, opts)
        training = open_training_images(opts['train_data'], comparison.reference)
        nearest = save_neighbours(
            opts['neighbours'], source, meters[comparison.detector].features, training, comparison.features
        )
        click.echo(
            f'Neighbours: {opts["neighbours"]}, the {len(nearest)} images of {len(source)} nearest to one of '
            f'{len(training)} training images with {comparison.detector.name}'
        )
    return results


def _neighbours_comparison(comparisons: Sequence[Comparison], opts: dict[str, Any]) -> Comparison:
    """Return the first comparison whose reference can give the picture; refuse what it is not made from."""
    path = opts['neighbours']
    if opts['train_data'] is None:
        raise ArgumentError(
            arg('neighbours', path),
            ' needs the training images of the reference; add ',
            arg('train_data', 'FILE.zip'),
        )
    for comparison in comparisons:
        if 'memorization' in comparison.metrics and comparison.reference.features is not None:
            open_training_images(opts['train_data'], comparison.reference)
            return comparison
    raise ArgumentError(
        arg('neighbours', path),
        ' goes with ',
        arg('metrics', 'memorization'),
        ' and a reference with features; add that',
    )


def _print_blocks(
    comparisons: Sequence[Comparison],
    results: Sequence[list[Result]],
    overlaps: dict[str, Overlap],
    markdown: bool,
) -> None:
    """Print the numbers under the detector and reference that they belong to, with its overlap."""
    for comparison, part in zip(comparisons, results):
        print_comparison(comparison)
        overlap = overlaps[comparison.detector.name]
        click.echo(f'Overlap:   {overlap.relation}; {overlap.reason}')
        print_results(part)
    if markdown:
        relations = {name: overlap.relation for name, overlap in overlaps.items()}
        click.echo(format_results(sum(results, []), relations))


def _find_overlaps(comparisons: Sequence[Comparison], training: Training | None) -> dict[str, Overlap]:
    """Return detector -> how it relates to what trained the network, for all that measure."""
    return {c.detector.name: find_overlap(c.detector.name, training) for c in comparisons}


def _write_json(
    path: str | None,
    comparisons: Sequence[Comparison],
    results: Sequence[Result],
    device: torch.device,
    overlaps: dict[str, Overlap],
    **facts: Any,
) -> None:
    """Write everything worth keeping; `metric` and `value` repeat the last number printed."""
    if path is not None:
        content = dict(
            metric=results[-1]['metric'],
            value=results[-1]['value'],
            **facts,
            results=results,
            comparisons=[
                dict(describe_comparison(c), **overlaps[c.detector.name].facts()) for c in comparisons
            ],
            software=describe_software(device),
        )
        with atomic_write(path) as f:
            f.write((json.dumps(content, indent=2) + '\n').encode())


def _echo_notes(notes: Sequence[str]) -> None:
    for note in notes:
        click.echo(f'Note: {note}')


# ------------------------------------------------------------------------------------------------
# Options that several commands have.


# fmt: off
def _measuring_options(command: Callable) -> Callable:
    """Add the options of `calc` and `gen`."""
    for option in reversed((
        click.option('--ref', 'refs', help='Reference statistics; several: give it again',
                     metavar='NPZ|PKL|URL', type=str, required=True, multiple=True),
        click.option('--metrics', help=','.join(METRICS), metavar='LIST', type=str,
                     default='fid', show_default=True),
        click.option('--detector', help='Feature network  [default: that of --ref]',
                     type=click.Choice(detector_names())),
        click.option('--json', 'json_path', help='Also write the results here', metavar='JSON', type=str),
        click.option('--markdown', help='Also print the results as a table for a paper', is_flag=True),
        click.option('--neighbours', help='With memorization: images and their nearest training images',
                     metavar='PNG', type=str),
        click.option('--train-data', help='For --neighbours: the images of --ref', metavar='DIR|ZIP|NPZ',
                     type=str),
    )):
        command = option(command)
    return command


_detector_path = click.option('--detector-path', help='Weights of the detector, or their folder',
                              metavar='FILE|DIR', type=str)
_batch = click.option('--batch', help='Images per batch and process', metavar='INT',
                      type=click.IntRange(min=1), default=64, show_default=True)
_workers = click.option('--workers', help='Decoding processes, 0 for none', metavar='INT',
                        type=click.IntRange(min=0), default=2, show_default=True)
# fmt: on


@click.group()
def main() -> None:
    """Measure images, or a network's samples, against reference statistics.

    Each number is named after what was measured: fid50k is the FID of the literature (Inception,
    50,000 images), fid10k has 10,000 images, clip-fid50k and fd-dinov2-50k have other detectors,
    frechet-mnist-classifier-2000 is the demo's. Numbers of different names cannot be compared.
    """


# ------------------------------------------------------------------------------------------------
# Commands.


# fmt: off
@main.command()
@click.option('--images', help='Folder, zip, or image_pack.npz', metavar='DIR|ZIP|NPZ', type=str,
              required=True)
@_measuring_options
@_detector_path
@click.option('--num', help='Images to use', metavar='INT', type=click.IntRange(min=2), default=50000,
              show_default=True)
@click.option('--seed', help='Choice of images if there are more', metavar='INT', type=int, default=0,
              show_default=True)
@_batch
@_workers
def calc(images: str, num: int, seed: int, batch: int, workers: int, **opts: Any) -> None:
    """Measure the images of a folder, zip or image pack.

    `fid` is the Frechet distance of any detector; `is`, `sfid`, `kid`, `pr` (precision, recall) and `dc`
    (density, coverage) come from the same pass. kid, pr and dc need single reference images: those
    of `fid.py ref --features=10000`, or those inside an OpenAI reference, as do mind, sw, cmmd and
    memorization. fdr needs held-out images: `fid.py ref --split` or --heldout. docs/metrics.md explains all.
    """
    with _processes(path='images') as device:
        comparisons = _load_comparisons(opts, device)
        source, notes = dist.rank0_first(lambda: _open_samples(comparisons, images, num, seed))
        if dist.get_rank() == 0:
            _echo_notes(notes)
        add_reference_features(comparisons, batch)
        results = _measure(source, comparisons, opts, batch, workers)
        if dist.get_rank() == 0:
            overlaps = _find_overlaps(comparisons, None)
            click.echo(f'Images:    {len(source)} of {images}, seed {seed}')
            _print_blocks(comparisons, results, overlaps, opts['markdown'])
            _write_json(opts['json_path'], comparisons, sum(results, []), device, overlaps, images=images,
                        seed=seed, num_images=len(source), image_shape=source.image_shape, batch=batch,
                        notes=notes)
# fmt: on


# fmt: off
@main.command()
@click.option('--data', help='Images of the data set', metavar='DIR|ZIP|NPZ', type=str, required=True)
@click.option('--dest', help='Where to write the statistics', metavar='NPZ', type=str, required=True)
@click.option('--detector', help='Feature network', type=click.Choice(detector_names()),
              default='inception', show_default=True)
@_detector_path
@click.option('--num', help='So many random images  [default: all]', metavar='INT',
              type=click.IntRange(min=2))
@click.option('--features', help='Also features of so many random images', metavar='INT',
              type=click.IntRange(min=0), default=0,
              show_default=True)
@click.option('--seed', help='Choice of these images', metavar='INT', type=int, default=0, show_default=True)
@click.option('--spatial', help='Also spatial statistics, for sfid', is_flag=True)
@click.option('--split', help='Hold out a half of the images, for fdr', is_flag=True)
@click.option('--heldout', help='Real images that are not in --data, for fdr and memorization',
              metavar='DIR|ZIP|NPZ', type=str)
@_batch
@_workers
def ref(data: str, dest: str, detector: str, detector_path: str | None, num: int | None, features: int,
        seed: int, spatial: bool, split: bool, heldout: str | None, batch: int, workers: int) -> None:
    """Make reference statistics of a data set: all images, so many random ones, or a half of them."""
    with _processes(path='data') as device:
        dist.rank0_first(lambda: _check_output(dest, 'dest', '.npz'))
        network = load_detectors([detector], detector_path, device)[detector]
        made = make_reference(data, network, features, seed, spatial, heldout, split, batch, workers,
                              num)
        if made is not None:
            save_reference(dest, made)
            click.echo(f'Statistics of {made.num_images} images of {made.dataset} with {network.name} '
                       f'are in {dest}')
            if made.heldout is not None:
                click.echo(f'Held out:  {made.heldout_num_images} images, {made.heldout}; '
                           f'their distance: {made.heldout_distance:g}')
# fmt: on


# fmt: off
@main.command()
@click.option('--network', help='Network snapshot: .pkl or .safetensors', metavar='PATH|URL', required=True)
@_measuring_options
@_detector_path
@click.option('--seeds', help='Numbers and ranges, e.g. 1,2,5-10', metavar='LIST', default='0-49999',
              show_default=True)
@click.option('--repeats', help='Blocks of so many further seeds', metavar='INT',
              type=click.IntRange(min=1), default=1,
              show_default=True)
@click.option('--class', 'class_idx', help='Class of all images  [default: random]', metavar='INT',
              type=click.IntRange(min=0))
@add_key_options
@click.option('--trust-pickle', help='Run the code inside --network; for files you trust', is_flag=True)
@add_sampler_options
@_batch
@click.option('--rng-device', help='Where to draw noise; auto: where computed',
              type=click.Choice(['auto', 'cpu', 'cuda']),
              default='auto', show_default=True)
def gen(network: str, seeds: str, repeats: int, class_idx: int | None, batch: int, rng_device: str,
        **opts: Any) -> None:
    """Generate images and measure them in one pass, without writing them.

    The images are those that generate.py writes for the same seeds, options and --batch, so the
    numbers are those of generate.py followed by `fid.py calc`. With --repeats=3 the blocks
    after --seeds=0-49999 are 50000-99999 and 100000-149999, as EDM reports the best of.
    """
    with _processes(path='network') as device:
        blocks = dist.rank0_first(lambda: seed_blocks(seeds, repeats))
        opts['key'] = dist.rank0_first(lambda: choose_key(opts['ema'], opts['key']))
        rng = dist.rank0_first(lambda: choose_rng_device(rng_device, device))
        comparisons = _load_comparisons(opts, device)
        net, info, plan, notes = dist.rank0_first(
            lambda: load_sampled(network, comparisons, class_idx, len(blocks[0][1]), device, opts))
        dist.print0(f'Network:   {network} ({info.class_name}), {plan_text(plan)}, '
                    f'{dist.get_world_size()} process(es) on {device.type}')
        if dist.get_rank() == 0:
            _echo_notes(notes)
        add_reference_features(comparisons, batch)
        measured, overlaps = [], _find_overlaps(comparisons, read_training(network, info.metadata))
        for text, block in blocks:
            source = GeneratedImages(net, block, *plan, class_idx, rng, name=f'seeds {text}')
            results = _measure(source, comparisons, opts, batch)
            if dist.get_rank() == 0:
                click.echo(f'Seeds:     {text}')
                _print_blocks(comparisons, results, overlaps, opts['markdown'])
                measured.append([dict(result, seeds=text) for part in results for result in part])
        if dist.get_rank() == 0:
            summary = summarise(measured) if repeats > 1 else []
            print_summary(summary)
            _write_json(opts['json_path'], comparisons, sum(measured, []), device, overlaps,
                        network=os.path.basename(network), network_sha256=info.sha256,
                        class_name=info.class_name, key=opts['key'], sampler=plan[0],
                        arguments={name: str(value) for name, value in plan[1].items()}, class_idx=class_idx,
                        seeds=[text for text, _ in blocks], rng_device=torch.device(rng or device).type,
                        quantisation=QUANTISATION, num_images=len(blocks[0][1]),
                        image_shape=source.image_shape, batch=batch, notes=notes, summary=summary)
# fmt: on


@main.command()
@click.argument('file', metavar='FILE')
def inspect(file: str) -> None:
    """Explain a reference file or an image pack: what it holds, of which images, made by which detector."""
    with one_line_errors():
        try:
            lines = describe_file(file)
        except ArgumentError as error:  # FILE is no option
            raise ArgumentError(error.spell(lambda part: f'FILE={part.value}')) from error
    click.echo('\n'.join(lines))


if __name__ == '__main__':
    run_script(main)
