# Copyright 2026 The GDD-1S authors.
# SPDX-License-Identifier: Apache-2.0
"""How fast a recipe of train.sh trains: its real networks, losses and loop; random weights, random images.

\b
  python -m benchmarks.throughput --recipe=gdd-i-cifar10 --seconds=30
  torchrun --standalone --nproc_per_node=4 -m benchmarks.throughput --recipe=gdd-i-cifar10
  python -m benchmarks.throughput --recipe='gdd-*' --out=throughput   # throughput.md, .json
  python -m benchmarks.throughput --recipe=demo --mode=reference,faithful,fast   # side by side
  python -m benchmarks.throughput --all

Modes: faithful and fast are those of train.py --perf; reference is GDD written down the straightforward way
(benchmarks/reference_loop.py). Several modes are measured one after the other, and compared with the first.

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
    StageTimer,
    copy_rate,
    matmul_peak,
    peak_memory_gib,
    seconds_of,
    synchronize,
)
from benchmarks.operations import OperationCounter
from benchmarks.reference_loop import ReferenceLoop
from benchmarks.synthetic_data import SyntheticDataset
from benchmarks.throughput_report import STAGES, describe, table
from dnnlib.cli import one_line_errors
from dnnlib.parallel import available_cores
from dnnlib.util import atomic_write
from torch_utils import distributed
from training.adversarial.precision import Arithmetic
from training.choices import DISTILLATION_LOSSES, RANDOM_TEACHER
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
MODES = ('reference', 'faithful', 'fast', 'fast-16bit')
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
    """Return name -> number of processes that the recipe is meant for; without those of own images."""
    lines = [line.split() for line in run_script('--list').splitlines() if line.startswith('  ')]
    return {words[0]: int(words[1]) for words in lines if not words[0].startswith('own-')}


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
        config:    Resolved options, from `synthetic_config`.
        reference: Whether the straightforward loop takes the place of ours.
    """

    def __init__(self, config: dict[str, Any], reference: bool = False) -> None:
        torch.manual_seed(0)
        loop = ReferenceLoop if reference else TrainingRun
        self.run = loop(config, SyntheticDataset(**config['dataset_kwargs']))
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

    def count(self, with_r1: bool = False) -> OperationCounter:
        """Count the operations of one iteration by stage; returns an `OperationCounter`."""
        timer = StageTimer(self.device)
        with timer.around(self.timed_methods()), OperationCounter(lambda: timer.current) as counter:
            with torch.compiler.set_stance('force_eager'):
                self.iterate(with_r1)
        return counter

    def seconds_per_iteration(self, seconds: float, with_r1: bool = False) -> tuple[float, int]:
        """Run iterations for so long, at least one; returns their mean time and their number."""
        count, start = 0, time.perf_counter()

        def loop() -> None:
            nonlocal count
            while count == 0 or time.perf_counter() - start < seconds:
                self.iterate(with_r1)
                count += 1

        distributed.barrier()
        return seconds_of(loop, self.device) / count, count

    def timed_methods(self) -> list[tuple[object, str, str]]:
        """List (object, name of its method, stage) of all that an iteration calls."""
        task, methods = self.run.task, [(self, 'next_batch', 'data'), (self.run.ema, 'update', 'EMA')]
        methods += [(self, 'iterate', 'other'), (distributed, 'all_reduce_sum_', 'all-reduce')]
        if not hasattr(task, 'g_optimizer'):  # a teacher: one network, forward and backward
            return [*methods, (task, 'step', 'G'), (task.optimizer, 'step', 'optimizer')]
        return methods + [
            (task, 'generator_step', 'G'),
            (task, 'discriminator_step', 'D'),
            (task, 'r1_step', 'R1'),
            (task.g_optimizer, 'step', 'optimizer'),
            (task.d_optimizer, 'step', 'optimizer'),
        ]

    def profile(self, iterations: int, with_r1: bool = False) -> dict[str, float]:
        """Return the mean milliseconds of every stage, {stage: ms}."""
        timer = StageTimer(self.device)
        with timer.around(self.timed_methods()):
            for _ in range(iterations):
                self.iterate(with_r1)
        return {name: 1000 * seconds / iterations for name, seconds in timer.seconds.items()}


def measure(config: dict[str, Any], seconds: float, mode: str = 'faithful') -> dict[str, Any]:
    """Measure one run.

    Args:
        config:  Resolved options, from `synthetic_config`.
        seconds: Time for images/s, apart from preparation and the stages.
        mode:    One of MODES, for the record; 'reference' takes the straightforward loop.
    Returns:
        Dict of plain values; on every process.
    """
    bench = Measurement(config, mode == 'reference')
    device, interval = bench.device, bench.r1_interval
    kinds = (False, True) if interval else (False,)
    counters = [bench.count(with_r1) for with_r1 in kinds]
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
    iteration = weighted(times[0][0], times[-1][0], interval)
    arithmetic = getattr(bench.run.task, 'arithmetic', Arithmetic())  # peaks in the numbers that the run has
    with arithmetic.tf32_setting():
        work = work_of(counters, interval, config['batch_size'] // distributed.get_world_size(), device)
    synchronize(device)
    return dict(
        mode=mode,
        images_per_second=config['batch_size'] / iteration,
        batch_size=config['batch_size'],
        batch_gpu=config['batch_gpu'],
        processes=distributed.get_world_size(),
        precision='fp32' if mode == 'reference' else config['precision'],
        device=describe_device(device),
        torch=torch.__version__,
        iterations=[count for _seconds, count in times],
        iteration_ms=1000 * iteration,
        plain_ms=1000 * times[0][0],
        with_r1_ms=1000 * times[-1][0],
        r1_interval=interval,
        stage_ms=stages,
        peak_memory_gib=memory,
        share_of_peak=work['products_at_peak_s'] / iteration,
        **work,
    )


def weighted(plain: float, with_r1: float, interval: int) -> float:
    """Return the mean over iterations, of which one in `interval` has R1; 0: none has."""
    return plain + (with_r1 - plain) / interval if interval else plain


def work_of(
    counters: list[OperationCounter], interval: int, images: int, device: torch.device
) -> dict[str, Any]:
    """Turn counts into plain values: totals of a mean iteration, and the least time of each stage.

    Args:
        counters: `OperationCounter` of an iteration without R1, and of one with R1 if there are such.
        interval: Iterations from one R1 to the next, or 0.
        images:   Images of an iteration.
        device:   Where peaks are measured.
    """
    plain, with_r1 = counters[0], counters[-1]
    per_type = {
        dtype: weighted(count, with_r1.flops[dtype], interval) for dtype, count in plain.flops.items()
    }
    peaks = {dtype: matmul_peak(dtype, device) for dtype in with_r1.flops}
    bandwidth = copy_rate(device)
    parts = dict(plain.stages) | ({'R1': with_r1.stages['R1']} if interval else {})
    roofline = {}
    for name in (name for name in STAGES if name in parts):
        products, memory = parts[name].floor(peaks, bandwidth)
        roofline[name] = dict(
            gflop_per_image=sum(parts[name].flops.values()) / images / 1e9,
            mb_per_image=parts[name].bytes / images / 1e6,
            launches=parts[name].launches,
            products_ms=1000 * products,
            memory_ms=1000 * memory,
        )
    totals = [
        [sum(getattr(part, kind) for part in counter.stages.values()) for counter in (plain, with_r1)]
        for kind in ('launches', 'bytes')
    ]
    return dict(
        tflop_per_iteration={TYPE_NAMES[t]: n / 1e12 for t, n in per_type.items()},
        peak_tflops={TYPE_NAMES[t]: peaks[t] / 1e12 for t in per_type},
        products_at_peak_s=sum(n / peaks[t] for t, n in per_type.items()),
        copy_gb_per_second=bandwidth / 1e9,
        launches_per_iteration=weighted(*totals[0], interval),
        gb_per_iteration=weighted(*totals[1], interval) / 1e9,
        roofline=roofline,
    )


def describe_device(device: torch.device) -> str:
    """Name the hardware."""
    if device.type == 'cuda':
        return torch.cuda.get_device_name(device)
    return f'CPU, {torch.get_num_threads()} threads'


# ------------------------------------------------------------------------------------------------
# Command.


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
            print(done.stderr, file=sys.stderr, flush=True)  # the compiler's errors have many lines
            lines = [line for line in done.stderr.splitlines() if line.strip() and 'TORCHDYNAMO' not in line]
            reason = lines[-1] if lines else f'ended with status {done.returncode}'
            return dict(error=reason.removeprefix('Error: ')[:200])
        with open(path, encoding='utf-8') as file:
            return json.load(file)


def measure_all(names: list[str], modes: list[str], options: list[str], out: str) -> None:
    """Measure recipes in all modes, each in a process of its own, and write the table as it grows.

    Args:
        names:   Recipes.
        modes:   Of MODES.
        options: Further options of this command.
        out:     Where to write: OUT.md and OUT.json.
    Raises:
        click.ClickException: At the end, if one of them failed.
    """
    results = {}
    for name in names:
        for mode in modes:
            key = name if len(modes) == 1 else f'{name} {mode}'
            given = options if mode == 'faithful' else [*options, f'--mode={mode}']
            results[key] = result = measure_in_process(name, given)
            lines = [f'{key}: {result["error"]}'] if 'error' in result else describe(key, result)
            print('\n'.join(lines), flush=True)
            write(f'{out}.md', table(results))
            write(f'{out}.json', json.dumps(results, indent=2) + '\n')
    print(f'\n{table(results)}\nWritten to {out}.md and {out}.json')
    failed = [key for key, result in results.items() if 'error' in result]
    if failed:
        raise click.ClickException(f'{", ".join(failed)} could not be measured; the reasons stand above')


def write(path: str, text: str) -> None:
    """Write a text file atomically."""
    with atomic_write(path) as file:
        file.write(text.encode())


def parse_modes(_ctx: click.Context, _param: click.Parameter, text: str) -> list[str]:
    """Parse 'reference,fast' into a list of MODES."""
    modes = text.split(',')
    wrong = [mode for mode in modes if mode not in MODES]
    if wrong or len(set(modes)) < len(modes):
        raise click.BadParameter(
            f'{text!r} must be one or several of {", ".join(MODES)}, such as reference,fast'
        )
    return modes


Positive = click.IntRange(min=1)


# fmt: off
@click.command(help=__doc__, context_settings=dict(show_default=True, max_content_width=110))
@click.option('--recipe',    help='Recipe of train.sh; gdd-* makes a table', metavar='NAME|PATTERN', type=str)
@click.option('--all',       'everything', help='A table of all recipes', is_flag=True)
@click.option('--mode',      'modes', help='Modes, the first of which others are compared with',
              metavar='MODE,...', default='faithful', callback=parse_modes)
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
def main(recipe: str | None, everything: bool, modes: list[str], seconds: float, batch: int | None,
         batch_gpu: int | None, device: str, threads: int | None, json_path: str | None, out: str) -> None:
    recipes = list_recipes()
    names = fnmatch.filter(recipes, '*' if everything else recipe or '')
    if not names:
        raise click.ClickException(
            f'--recipe={recipe} is none of {", ".join(recipes)}; try --recipe=demo, or --all')
    if everything or recipe not in recipes or len(modes) > 1:
        given = dict(seconds=seconds, batch=batch, batch_gpu=batch_gpu, device=device, threads=threads)
        options = [f'--{key.replace("_", "-")}={value}' for key, value in given.items() if value is not None]
        measure_all(names, modes, options, out)
        return
    if threads:
        torch.set_num_threads(threads)
    mode, = modes
    perf = [f'--perf={mode}'] if mode.startswith('fast') else []
    with one_line_errors():
        distributed.init(None if device == 'auto' else device)
        options = json.loads(run_script(recipe, *perf, '--dry-run'))
        config = synthetic_config(options, recipes[recipe], distributed.get_world_size(), batch, batch_gpu,
                                  device)
        result = measure(config, seconds, mode)
    if distributed.get_rank() == 0:
        print('\n'.join(describe(recipe, result)))
        if json_path:
            write(json_path, json.dumps(result, indent=2) + '\n')
    distributed.destroy()
# fmt: on


if __name__ == '__main__':
    main()
