# Copyright 2026 The GDD-1S authors.
# SPDX-License-Identifier: Apache-2.0
"""How many images does a metric need? Its value against the number of images, real and generated ones.

    python fid.py ref --data=datasets/mnist-32x32.zip --split --features=5000 --detector=mnist-classifier \\
        --dest=ref.npz
    python -m benchmarks.sample_sizes --ref=ref.npz --network=network-snapshot-000028.pkl --outdir=sizes

Real images are those that the reference holds out, generated ones those of the first seeds. Per number of
images, mean and standard deviation over random subsets are written to sizes.json and drawn in sizes.png.
Wanted is a value that stays where it is when there are fewer images, and a distance between the two kinds
that is larger than the spread.
"""

import json
import os
from collections.abc import Callable

import click
import numpy as np

from benchmarks.figures import new_figure, save_and_close
from dnnlib.cli import one_line_errors, run_script
from dnnlib.errors import ArgumentError, arg
from dnnlib.util import atomic_write
from evaluations.detectors.registry import get_detector
from evaluations.inputs.image_sources import GeneratedImages
from evaluations.inputs.reference import Reference, load_reference
from evaluations.measure import Meter, measure_images
from evaluations.metrics.cmmd import cmmd
from evaluations.metrics.extrapolation import extrapolate_frechet
from evaluations.metrics.frechet import frechet_distance
from evaluations.metrics.kid import kernel_distance
from evaluations.metrics.sliced_wasserstein import mind, sliced_wasserstein
from torch_utils import distributed as dist
from training.sampling.options import build_sampler
from training.snapshots.snapshot import load_network

FRACTIONS = (0.1, 0.2, 0.4, 0.6, 0.8, 1.0)
SUBSETS = 5


def metrics_of(reference: Reference) -> dict[str, Callable[[np.ndarray], float]]:
    """Return metric -> function of features [N, D] of samples."""
    mu, sigma, features = reference.mu, reference.sigma, reference.features
    return {
        'frechet': lambda x: frechet_distance(x.mean(axis=0), np.cov(x, rowvar=False), mu, sigma),
        'frechet-inf': lambda x: extrapolate_frechet(x, mu, sigma, num_orders=1).value,
        'kid': lambda x: kernel_distance(samples=x, reference=features).mean,
        'mind': lambda x: mind(x, features),
        'sw': lambda x: sliced_wasserstein(x, features),
        'cmmd': lambda x: cmmd(x, features),
    }


def measure_sizes(
    samples: np.ndarray, reference: Reference, seed: int = 0
) -> dict[str, list[tuple[int, float, float]]]:
    """Return metric -> [(number of images, mean, standard deviation over random subsets)].

    Numbers too small for a metric are left out. The largest number is all samples, which have no spread.

    Args:
        samples: Features [N, D].
        reference: With features of single images.
        seed: Of the subsets.
    """
    found, rng = {}, np.random.RandomState(seed)
    sizes = [max(2, int(fraction * len(samples))) for fraction in FRACTIONS]
    for name, formula in metrics_of(reference).items():
        for size in sizes:
            subsets = [
                rng.permutation(len(samples))[:size] for _ in range(SUBSETS if size < len(samples) else 1)
            ]
            try:
                values = [formula(samples[subset].astype(np.float64)) for subset in subsets]
            except ValueError:  # too few images for the extrapolation
                continue
            found.setdefault(name, []).append((size, float(np.mean(values)), float(np.std(values))))
    return found


def sample_features(network: str, reference: Reference, count: int, batch: int) -> np.ndarray:
    """Return features [N, D] of the first seeds of a network, with the detector of a reference."""
    device = dist.get_device()
    detector = get_detector(reference.detector, device)
    net, info = load_network(network)
    steps = (info.metadata or {}).get('num_steps', 1)
    plan = build_sampler(net, {'sampler': None if steps > 1 else 'one_step'}, info.metadata)
    meter = Meter(detector, keep_features=True)
    source = GeneratedImages(net.to(device), np.arange(count), *plan)
    measure_images(source, [meter], batch)
    return meter.features.numpy()


def save_figure(path: str, curves: dict[str, dict[str, list[tuple[int, float, float]]]]) -> None:
    """Draw a panel per metric, with a curve per kind of images."""
    names = list(next(iter(curves.values())))
    figure, axes = new_figure(1, len(names), figsize=(2.6 * len(names), 2.8))
    for axis, name in zip(np.atleast_1d(axes), names):
        for kind, found in curves.items():
            sizes, means, spreads = zip(*found.get(name, [(0, np.nan, 0)]))
            axis.errorbar(sizes, means, spreads, marker='.', label=kind)
        axis.set_title(name, fontsize=9)
        axis.set_xlabel('images', fontsize=8)
    np.atleast_1d(axes)[0].legend(fontsize=8)
    save_and_close(figure, path)


# fmt: off
@click.command()
@click.option('--ref', help='From `fid.py ref --split --features=N`', metavar='NPZ', required=True)
@click.option('--network', help='Snapshot of a generator', metavar='PKL', required=True)
@click.option('--outdir', help='Where to write sizes.json and sizes.png', metavar='DIR', required=True)
@click.option('--batch', help='Images per batch', metavar='INT', type=click.IntRange(min=1), default=100,
              show_default=True)
def main(ref: str, network: str, outdir: str, batch: int) -> None:
    """Measure real and generated images in growing numbers."""
    with one_line_errors(path='ref'):
        reference = load_reference(ref)
        if reference.heldout_features is None or reference.features is None:
            raise ArgumentError(arg('ref', ref), ' has no features of held-out images; ',
                                'make it with `fid.py ref ',
                                arg('split'), ' ', arg('features', 10000), '`')
        real = reference.heldout_features
        samples = sample_features(network, reference, len(real), batch)
        curves = {kind: measure_sizes(x, reference) for kind, x in (('real', real), ('generated', samples))}
        os.makedirs(outdir, exist_ok=True)
        with atomic_write(os.path.join(outdir, 'sizes.json')) as file:
            file.write((json.dumps(curves, indent=2) + '\n').encode())
        save_figure(os.path.join(outdir, 'sizes.png'), curves)
    for name in curves['real']:
        for kind, found in curves.items():
            text = ', '.join(f'{size}: {mean:.4g} ± {spread:.2g}' for size, mean, spread in found[name])
            click.echo(f'{name:12s} {kind:9s} {text}')
# fmt: on


if __name__ == '__main__':
    run_script(main)
