# Copyright 2026 The GDD-1S authors.
# SPDX-License-Identifier: Apache-2.0
"""How fast a recipe of train.sh trains: its real networks, losses and loop; random weights, random images.

\b
  python -m benchmarks.throughput --recipe=gdd-i-cifar10 --seconds=30
  torchrun --standalone --nproc_per_node=4 -m benchmarks.throughput --recipe=gdd-i-cifar10
  python -m benchmarks.throughput --recipe='gdd-*' --out=throughput   # throughput.md, .json
  python -m benchmarks.throughput --all

Needs no teacher, no data set and no download. One process gets the share of one process of the recipe, so
that the figures are those of one of its GPUs. images/s is measured without any waiting inside the loop; the
stages then in a second pass that waits for the device around each. A table measures every recipe in a
process of its own.
"""

import fnmatch
import json
import os
import subprocess
import sys
import tempfile
import time
from typing import Any

import click
import torch

from benchmarks.instruments import (
    FlopCounter,
    StageTimer,
    matmul_peak,
    peak_memory_gib,
    seconds_of,
    synchronize,
)
from benchmarks.synthetic_data import SyntheticDataset
from dnnlib.parallel import available_cores
from dnnlib.util import atomic_write
from torch_utils import distributed
from training.choices import DISTILLATION_LOSSES, R1_INTERVAL, RANDOM_TEACHER
from training.run import folder
from training.training_loop import TrainingRun

ROOT = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
# Data set -> resolution, channels, classes, images.
SHAPES = {
    'mnist-32x32': (32, 1, 10, 10_000),
    'mnist-train-32x32': (32, 1, 10, 60_000),
    'cifar10-16x16': (16, 3, 10, 50_000),
    'cifar10-32x32': (32, 3, 10, 50_000),
    'ffhq-64x64': (64, 3, 0, 70_000),
    'afhqv2-64x64': (64, 3, 0, 15_803),
    'imagenet-64x64': (64, 3, 1000, 1_281_167),
}
STAGES = ('data', 'G', 'D', 'R1', 'optimizer', 'EMA', 'other')
TYPE_NAMES = {torch.float32: 'fp32', torch.float16: 'fp16', torch.bfloat16: 'bf16'}
WARM_UP = 3  # iterations on a GPU, beside those of the counter
PROFILED = 5  # iterations of the second pass, at most


# ------------------------------------------------------------------------------------------------
# Recipes.


def run_script(*args: str) -> str:
    """Return what train.sh prints."""
    environment = dict(os.environ, VENV='none', PYTHON=sys.executable)
    result = subprocess.run(
        ['sh', os.path.join(ROOT, 'train.sh'), *args], capture_output=True, text=True, env=environment
    )
    if result.returncode:
        raise click.ClickException(result.stderr.strip().removeprefix('Error: '))
    return result.stdout


def list_recipes() -> dict[str, int]:
    """Return name -> number of processes that the recipe is meant for."""
    lines = [line.split() for line in run_script('--list').splitlines() if line.startswith('  ')]
    return {words[0]: int(words[1]) for words in lines}


def synthetic_config(
    config: dict[str, Any],
    processes: int,
    world_size: int = 1,
    batch: int | None = None,
    batch_gpu: int | None = None,
    device: str = 'auto',
) -> dict[str, Any]:
    """Turn the resolved options of a recipe into those of a run that needs no files.

    Args:
        config:     Resolved options, as `train.py --dry-run` prints them.
        processes:  Number of processes that the recipe is meant for.
        world_size: Number of processes of this measurement.
        batch:      Images per process and iteration; None for the recipe's share.
        batch_gpu:  Images of one forward pass; None for no limit.
        device:     'auto', 'cpu' or 'cuda'.
    Returns:
        Resolved options.
    """
    dataset = config['dataset_kwargs']
    resolution, channels, classes, images = SHAPES[folder.dataset_name(dataset['path'])]
    config = dict(
        config,
        batch_size=(batch or config['batch_size'] // processes) * world_size,
        batch_gpu=batch_gpu,
        device=device,
    )
    config['dataset_kwargs'] = dict(
        path='synthetic',
        resolution=resolution,
        channels=channels,
        classes=classes,
        use_labels=dataset['use_labels'],
        max_size=images,
        xflip=dataset['xflip'],
    )
    config['loader_kwargs'] = dict(
        config['loader_kwargs'],
        num_workers=min(config['loader_kwargs']['num_workers'], available_cores() // world_size),
    )
    if config['loss'] in DISTILLATION_LOSSES:
        config['feature_kwargs'] = dict(config['feature_kwargs'], weights='random')
        # Without an architecture it is that of the teacher (the demo's is in the repository).
        if config['arch']:
            config['transfer'] = RANDOM_TEACHER
    if config['loss'] == 'gdd':
        config['discriminator_kwargs'] = dict(config['discriminator_kwargs'], class_embed='random')
    return config


# ------------------------------------------------------------------------------------------------
# Measurement.


class Measurement:
    """A run and the ways to time its iterations.

    Args:
        config: Resolved options, from `synthetic_config`.
    """

    def __init__(self, config):
        torch.manual_seed(0)
        self.run = TrainingRun(config, SyntheticDataset(**config['dataset_kwargs']))
        self.device = self.run.device
        self.r1_interval = config.get('r1_interval', 0)
        self.batches = self.run.batches()

    def iterate(self, with_r1: bool = False) -> None:
        """Run one iteration of the loop, with or without R1."""
        self.run.iteration = self.r1_interval if with_r1 else 1
        images, labels = self.next_batch()
        self.run.train_step(images, labels)

    def next_batch(self) -> tuple[torch.Tensor, torch.Tensor]:
        """Return the next images and labels on the device."""
        return next(self.batches)

    def count_flops(self, with_r1: bool = False) -> dict[torch.dtype, float]:
        """Return the operations of one iteration, {number type: count}."""
        with FlopCounter() as counter:
            self.iterate(with_r1)
        return counter.flops

    def seconds_per_iteration(self, seconds: float, with_r1: bool = False) -> tuple[float, int]:
        """Run iterations for so long, at least one; returns their mean time and their number."""
        count, start = 0, time.perf_counter()

        def loop():
            nonlocal count
            while count == 0 or time.perf_counter() - start < seconds:
                self.iterate(with_r1)
                count += 1

        distributed.barrier()
        return seconds_of(loop, self.device) / count, count

    def profile(self, iterations: int, with_r1: bool = False) -> dict[str, float]:
        """Return the mean milliseconds of every stage, {stage: ms}."""
        timer = StageTimer(self.device)
        task, methods = self.run.task, [(self, 'next_batch', 'data'), (self.run.ema, 'update', 'EMA')]
        if hasattr(task, 'g_optimizer'):
            methods += [
                (self, 'iterate', 'other'),
                (task, 'generator_step', 'G'),
                (task, 'discriminator_step', 'D'),
                (task, 'r1_step', 'R1'),
                (task.g_optimizer, 'step', 'optimizer'),
                (task.d_optimizer, 'step', 'optimizer'),
            ]
        else:  # a teacher: one network, whose forward and backward pass is all the rest of a step
            methods += [
                (self, 'iterate', 'other'),
                (task, 'step', 'G'),
                (task.optimizer, 'step', 'optimizer'),
            ]
        with timer.around(methods):
            for _ in range(iterations):
                self.iterate(with_r1)
        return {name: 1000 * seconds / iterations for name, seconds in timer.seconds.items()}


def measure(config: dict[str, Any], seconds: float) -> dict[str, Any]:
    """Measure one run.

    Args:
        config:  Resolved options, from `synthetic_config`.
        seconds: Time for images/s, apart from preparation and the stages.
    Returns:
        Dict of plain values; on every process.
    """
    bench = Measurement(config)
    device, interval = bench.device, bench.r1_interval
    kinds = (False, True) if interval else (False,)
    flops = [bench.count_flops(with_r1) for with_r1 in kinds]
    for _ in range(WARM_UP if device.type == 'cuda' else 0):
        for with_r1 in kinds:
            bench.iterate(with_r1)
    if device.type == 'cuda':
        torch.cuda.reset_peak_memory_stats(device)
    # One iteration in 16 has R1: both kinds are timed apart, so that a short measurement weighs them right.
    times = [
        bench.seconds_per_iteration(
            seconds * (0.75 if interval and not with_r1 else 0.25 if with_r1 else 1), with_r1
        )
        for with_r1 in kinds
    ]
    memory = peak_memory_gib(device)
    count = min(PROFILED, times[0][1])
    stages = dict.fromkeys(STAGES, 0.0) | bench.profile(count)
    if interval:
        stages['R1'] = bench.profile(1, with_r1=True)['R1']

    def mean(plain, with_r1):
        return plain + (with_r1 - plain) / interval if interval else plain

    iteration = mean(times[0][0], times[-1][0])
    per_type = {dtype: mean(count, flops[-1][dtype]) for dtype, count in flops[0].items()}
    peaks = {dtype: matmul_peak(dtype, device) for dtype in per_type}
    synchronize(device)
    return dict(
        images_per_second=config['batch_size'] / iteration,
        batch_size=config['batch_size'],
        batch_gpu=config['batch_gpu'],
        processes=distributed.get_world_size(),
        precision=config['precision'],
        device=describe_device(device),
        torch=torch.__version__,
        iterations=[count for _seconds, count in times],
        iteration_ms=1000 * iteration,
        plain_ms=1000 * times[0][0],
        with_r1_ms=1000 * times[-1][0],
        r1_interval=interval,
        stage_ms=stages,
        peak_memory_gib=memory,
        tflop_per_iteration={TYPE_NAMES[t]: n / 1e12 for t, n in per_type.items()},
        peak_tflops={TYPE_NAMES[t]: rate / 1e12 for t, rate in peaks.items()},
        share_of_peak=sum(n / peaks[t] for t, n in per_type.items()) / iteration,
    )


def describe_device(device: torch.device) -> str:
    """Name the hardware."""
    if device.type == 'cuda':
        return torch.cuda.get_device_name(device)
    return f'CPU, {torch.get_num_threads()} threads'


# ------------------------------------------------------------------------------------------------
# Reports.


def describe(name: str, result: dict[str, Any]) -> list[str]:
    """Return the lines that show one result."""
    stages = '  '.join(f'{stage} {result["stage_ms"][stage]:.1f}' for stage in STAGES)
    each = (
        f' (every {result["r1_interval"]}th: {result["with_r1_ms"]:.1f} ms)' if result['r1_interval'] else ''
    )
    flops = ', '.join(f'{kind} {value:.3g}' for kind, value in result['tflop_per_iteration'].items())
    peaks = ', '.join(f'{kind} {value:.3g}' for kind, value in result['peak_tflops'].items())
    return [
        f'{name}: batch {result["batch_size"]} on {result["processes"]} process(es), {result["precision"]}, '
        f'{result["device"]}, torch {result["torch"]}',
        f'  images/s          {result["images_per_second"]:.2f}, '
        f'from {" + ".join(map(str, result["iterations"]))} iterations',
        f'  iteration         {result["iteration_ms"]:.1f} ms; without R1 {result["plain_ms"]:.1f} ms{each}',
        f'  ms per stage      {stages}',
        f'  peak memory       {result["peak_memory_gib"]:.2f} GiB',
        f'  matrix products   {flops} TFLOP per iteration; '
        f'{100 * result["share_of_peak"]:.1f} % of a peak of {peaks} TFLOP/s',
    ]


def table_row(name: str, result: dict[str, Any]) -> str:
    """Return one row of the table."""
    stages = ' | '.join(f'{result["stage_ms"][stage]:.1f}' for stage in STAGES)
    return (
        f'| {name} | {result["batch_size"]} | {result["precision"]} | {result["images_per_second"]:.2f} '
        f'| {result["iteration_ms"]:.1f} | {stages} | {result["peak_memory_gib"]:.2f} '
        f'| {100 * result["share_of_peak"]:.1f} % |'
    )


def table(results: dict[str, dict[str, Any]]) -> str:
    """Return a Markdown table of results, {name: result or {'error': text}}."""
    lines = [
        '| recipe | batch | precision | images/s | ms per iteration | '
        + ' | '.join(STAGES)
        + ' | memory, GiB | of peak |',
        '|---|---:|---|---:|---:|' + '---:|' * (len(STAGES) + 2),
    ]
    for name, result in results.items():
        if 'error' in result:
            lines.append(f'| {name} | not measured: {result["error"]} |' + ' |' * (len(STAGES) + 5))
            continue
        lines.append(table_row(name, result))
    done = [result for result in results.values() if 'error' not in result]
    if done:
        lines += [
            '',
            f'{done[0]["device"]}, torch {done[0]["torch"]}, {done[0]["processes"]} process(es). '
            'Stages in milliseconds: '
            f'R1 of one call, of which there is one in {R1_INTERVAL} iterations; '
            'the others of one iteration.',
        ]
    return '\n'.join(lines) + '\n'


def measure_in_process(name: str, options: list[str]) -> dict[str, Any]:
    """Measure a recipe in a process of its own; returns the result, or {'error': text}."""
    with tempfile.TemporaryDirectory() as folder:
        path = os.path.join(folder, 'result.json')
        done = subprocess.run(
            [sys.executable, '-m', 'benchmarks.throughput', f'--recipe={name}', f'--json={path}', *options],
            cwd=ROOT,
            capture_output=True,
            text=True,
        )
        if done.returncode or not os.path.exists(path):
            lines = done.stderr.strip().splitlines() or [f'ended with status {done.returncode}']
            return dict(error=lines[-1].removeprefix('Error: ')[:200])
        with open(path, encoding='utf-8') as file:
            return json.load(file)


def write(path: str, text: str) -> None:
    """Write a text file atomically."""
    with atomic_write(path) as file:
        file.write(text.encode())


def measure_table(names: list[str], options: list[str], out: str) -> None:
    """Measure recipes one by one, and rewrite the files of the table after each."""
    results = {}
    for name in names:
        results[name] = measure_in_process(name, options)
        failed = 'error' in results[name]
        lines = [f'{name}: {results[name]["error"]}'] if failed else describe(name, results[name])
        print('\n'.join(lines), flush=True)
        write(f'{out}.md', table(results))
        write(f'{out}.json', json.dumps(results, indent=2) + '\n')
    print(f'\n{table(results)}\nWritten to {out}.md and {out}.json')


Positive = click.IntRange(min=1)


# fmt: off
@click.command(help=__doc__, context_settings=dict(show_default=True, max_content_width=110))
@click.option('--recipe',    help='Recipe of train.sh; gdd-* makes a table', metavar='NAME|PATTERN', type=str)
@click.option('--all',       'everything', help='A table of all recipes', is_flag=True)
@click.option('--seconds',   help='Time for images/s, per recipe', metavar='FLOAT',
              type=click.FloatRange(min=0), default=30)
@click.option('--batch',     help='Images per process  [default: the share of the recipe]', metavar='INT',
              type=Positive)
@click.option('--batch-gpu', help='Limit of one forward pass', metavar='INT', type=Positive)
@click.option('--device',    help='Where to train', type=click.Choice(['auto', 'cpu', 'cuda']),
              default='auto')
@click.option('--threads',   help='PyTorch threads on the CPU  [default: as torch]', metavar='INT',
              type=Positive)
@click.option('--json',      'json_path', help='Also write the result', metavar='FILE', type=str)
@click.option('--out',       help='Table: write OUT.md and OUT.json', metavar='PREFIX', type=str,
              default='throughput')
def main(recipe: str | None, everything: bool, seconds: float, batch: int | None, batch_gpu: int | None,
         device: str, threads: int | None, json_path: str | None, out: str) -> None:
    recipes = list_recipes()
    names = fnmatch.filter(recipes, '*' if everything else recipe or '')
    if not names:
        raise click.ClickException(
            f'--recipe={recipe} is none of {", ".join(recipes)}; try --recipe=demo, or --all')
    if everything or recipe not in recipes:
        given = dict(seconds=seconds, batch=batch, batch_gpu=batch_gpu, device=device, threads=threads)
        options = [f'--{key.replace("_", "-")}={value}' for key, value in given.items() if value is not None]
        measure_table(names, options, out)
        return
    if threads:
        torch.set_num_threads(threads)
    try:
        distributed.init(None if device == 'auto' else device)
        options = json.loads(run_script(recipe, '--dry-run'))
        config = synthetic_config(options, recipes[recipe], distributed.get_world_size(), batch, batch_gpu,
                                  device)
        result = measure(config, seconds)
    except ValueError as error:
        raise click.ClickException(str(error)) from error
    if distributed.get_rank() == 0:
        print('\n'.join(describe(recipe, result)))
        if json_path:
            write(json_path, json.dumps(result, indent=2) + '\n')
    distributed.destroy()
# fmt: on


if __name__ == '__main__':
    main()
