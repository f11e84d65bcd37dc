# Copyright 2026 The GDD-1S authors.
# SPDX-License-Identifier: Apache-2.0
"""One row for each recipe of train.sh: what is published, what we have measured, what a run costs.

    python -m benchmarks.expected_results count      # operations per image -> docs/curves/operations.json
    python -m benchmarks.expected_results table      # the table of docs/results.md

Costs are estimates: operations of products, convolutions and attention, counted in one iteration with R1 and
one without on random weights (weighted 1 : 15), times the images of the recipe, over a rate that a GPU is
assumed to keep up. The rate is what EDM's statement "about 2 days on 8 V100" comes to for its
CIFAR-10 teacher, rounded down; it lies above the peak of that card, since fast convolutions do less than what
is counted. Newer GPUs and bfloat16 are faster. Nothing here was timed on a GPU.
"""

import dataclasses
import json
import os
import pathlib
import tempfile
from collections.abc import Callable

import click
import torch
from click.testing import CliRunner

import train
from benchmarks.claims import OPERATIONS, ROOT
from benchmarks.operations import OperationCounter
from benchmarks.synthetic_data import SyntheticDataset
from benchmarks.throughput import Measurement, synthetic_config
from dnnlib.util import atomic_write
from training import networks
from training.adversarial.builders import build_discriminator, build_features
from training.adversarial.stages import GDDLoss
from training.recipes import RECIPES, Recipe
from training.snapshots.snapshot import save_snapshot
from training.student.freeze import freeze_layers

OURS = ROOT / 'docs' / 'curves' / 'ours.json'
GPU_TFLOPS = 15.0  # operations that one GPU is assumed to do per second, in 10^12
SMALL_BATCH = 8  # images counted together for small networks, where draws decide the work


def with_results() -> dict[str, Recipe]:
    """Return the recipes whose images are known: what one's own cost depends on these (train.py --check)."""
    return {name: recipe for name, recipe in RECIPES.items() if recipe.data != 'own'}


def resolved(name: str) -> dict:
    """Return the resolved options of a recipe, as its dry run prints them."""
    result = CliRunner().invoke(
        train.main, [f'--recipe={name}', '--dry-run'], env=dict(DATA=None, TEACHER=None)
    )
    return json.loads(result.output)


def count(name: str) -> float:
    """Return the operations of one training image of a recipe in GFLOP, of 10^9 each.

    The published recipes are counted without computing anything, ours as they run. A recipe whose teacher is
    not in the repository gets one of the same size with random weights.
    """
    recipe, config = RECIPES[name], resolved(name)
    if recipe.processes > 1:
        config = synthetic_config(config, recipe.processes, batch=1, device='cpu')
        return count_without_computing(config) / 1e9
    config = synthetic_config(config, recipe.processes, batch=SMALL_BATCH, device='cpu')
    config['dataset_kwargs']['max_size'] = 64
    if config['loss'] == 'fd':
        config['fd_queue'] = 2 * SMALL_BATCH
    with tempfile.TemporaryDirectory() as folder:
        if recipe.made_by and not os.path.exists(config['transfer']):
            config['transfer'] = write_teacher(folder, recipe)
        bench = Measurement(config)
        if config['loss'] == 'fd':
            bench.iterate()  # the first one measures the data
        counts = [sum(bench.count(with_r1).flops.values()) for with_r1 in (False, True)]
    return weighted(*counts, bench.r1_interval) / SMALL_BATCH / 1e9


def weighted(plain: float, with_r1: float, interval: int) -> float:
    """Return the mean of iterations of which one in `interval` has R1; 0 = none has."""
    return plain + (with_r1 - plain) / interval if interval else plain


def count_without_computing(config: dict) -> float:
    """Return the operations of one image of a distillation or of a teacher, on tensors without contents."""
    data, device = SyntheticDataset(**config['dataset_kwargs']), torch.device('meta')
    shape = dict(img_resolution=data.resolution, img_channels=data.num_channels, label_dim=data.label_dim)
    precond = networks.GDDPrecond if config['loss'] == 'gdd' else networks.EDMPrecond
    with device:
        net = precond(**config['network_kwargs'], **shape)
        images, labels = torch.zeros([1, *data.image_shape]), torch.zeros([1, data.label_dim])
        if config['loss'] != 'gdd':
            return flops_of(lambda: net(images, torch.ones([1], device=device), labels).sum().backward())
        freeze_layers(net, config['freeze'])
        F = build_features(config['feature_kwargs'], data.resolution, device, 0, 'clean')
    D = build_discriminator(config['discriminator_kwargs'], F, data, device, 0, 'clean')
    loss, parameters = GDDLoss(net, D, F), list(D.parameters())
    stages = [
        flops_of(lambda: loss.generator_loss(images, labels, images).backward()),
        flops_of(lambda: loss.discriminator_loss(images, labels, images).backward()),
        flops_of(lambda: loss.r1_loss(images, labels).backward(inputs=parameters)),
    ]
    return weighted(sum(stages[:2]), sum(stages), config['r1_interval'])


def flops_of(function: Callable[[], None]) -> int:
    """Return the operations of a call."""
    with OperationCounter() as counter:
        function()
    return sum(counter.flops.values())


def write_teacher(folder: str, recipe: Recipe) -> str:
    """Write a teacher of the architecture that a recipe's own has, with random weights; return its path."""
    config = resolved(recipe.made_by)
    side = 16 if '16x16' in recipe.data else 32
    net = networks.EDMPrecond(img_resolution=side, img_channels=3, label_dim=10, **config['network_kwargs'])
    path = os.path.join(folder, 'teacher.pkl')
    save_snapshot(path, ema=net.eval())
    return path


@dataclasses.dataclass(frozen=True)
class Expected:
    """A row of the table.

    Attributes:
        name:      Recipe.
        published: FID and its source, or ''.
        ours:      What we have measured, or 'not run'.
        kimg:      Thousand training images.
        gflop:     Operations per image.
        hours:     GPU hours, estimated.
    """

    name: str
    published: str
    ours: str
    kimg: float
    gflop: float
    hours: float


def gpu_hours(kimg: float, gflop: float) -> float:
    """Return hours: kimg 10^3 images, gflop 10^9 operations each, GPU_TFLOPS 10^12 operations per second."""
    return kimg * 1e3 * gflop * 1e9 / (GPU_TFLOPS * 1e12) / 3600


def expected_rows() -> list[Expected]:
    """Return a row for each recipe, in the order of `sh train.sh --list`."""
    counted = json.loads(OPERATIONS.read_text(encoding='utf-8'))['gflop_per_image']
    ours = json.loads(OURS.read_text(encoding='utf-8')) if OURS.exists() else {}
    found = []
    for name, recipe in with_results().items():
        kimg = round(resolved(name)['total_nimg'] / 1000, 3)
        published = '' if recipe.fid is None else f'FID {recipe.fid} ({recipe.source})'
        measured = ours.get(name, 'not run')
        found.append(Expected(name, published, measured, kimg, counted[name], gpu_hours(kimg, counted[name])))
    return found


def format_table(found: list[Expected]) -> str:
    """Return the Markdown table."""
    lines = [
        '| recipe, command | published | ours | kimg | GFLOP per image | GPU hours, estimated |',
        '|---|---|---|---:|---:|---:|',
    ]
    for row in found:
        lines.append(
            f'| `sh train.sh {row.name}` | {row.published or "-"} | {row.ours} | {row.kimg:,.10g} '
            f'| {row.gflop:.4g} | {float(f"{row.hours:.2g}"):,.10g} |'
        )
    return '\n'.join(lines)


@click.group()
def main() -> None:
    """Expected results and costs of the recipes; see the head of this file."""


@main.command('count')
@click.option(
    '--recipe', 'only', help='Count this one again  [default: those that are missing]', metavar='NAME'
)
def count_missing(only: str | None) -> None:
    """Count what is missing, a second or a minute each, and keep it in docs/curves/operations.json."""
    known = (
        json.loads(OPERATIONS.read_text(encoding='utf-8'))
        if OPERATIONS.exists()
        else dict(gflop_per_image={})
    )
    for name in with_results():
        if name != only and (only or name in known['gflop_per_image']):
            continue
        torch.manual_seed(0)
        known['gflop_per_image'][name] = float(f'{count(name):.4g}')
        click.echo(f'{name}: {known["gflop_per_image"][name]:g} GFLOP per image')
        write_json(OPERATIONS, known)


def write_json(path: pathlib.Path, value: object) -> None:
    """Write a JSON file."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with atomic_write(path) as file:
        file.write((json.dumps(value, indent=1) + '\n').encode())


@main.command()
def table() -> None:
    """Print the table."""
    click.echo(format_table(expected_rows()))


if __name__ == '__main__':
    main()
