# Copyright 2026 The GDD-1S authors.
# SPDX-License-Identifier: Apache-2.0
"""Where the time of an iteration goes: kernels by their time, and gaps in which the device does nothing.

python -m benchmarks.profile_step --recipe=gdd-i-cifar10 --perf=fast --out=profile.txt
"""

import json
from collections.abc import Iterable
from typing import Any

import click
from torch.autograd import DeviceType
from torch.profiler import ProfilerActivity, profile

from benchmarks import throughput
from benchmarks.instruments import seconds_of
from dnnlib.cli import one_line_errors
from torch_utils import distributed
from training.choices import PERF_MODES

KernelTime = tuple[float, int, str]  # milliseconds, calls, name


def kernel_times(events: Iterable[Any], on_gpu: bool) -> list[KernelTime]:
    """Return [(milliseconds, calls, name)], the longest first.

    Args:
        events: `profile.key_averages()`.
        on_gpu: Whether times of the device count, or those of the CPU's operations.
    """
    kind = 'self_device_time_total' if on_gpu else 'self_cpu_time_total'
    if on_gpu:  # the operations that launch a kernel, and annotations around it, have its time once more
        events = [e for e in events if e.device_type == DeviceType.CUDA and not e.is_user_annotation]
    rows = [(getattr(event, kind) / 1000, event.count, event.key) for event in events]
    return sorted((row for row in rows if row[0] > 0), reverse=True)


def profile_iterations(bench: throughput.Measurement, count: int) -> tuple[list[KernelTime], float]:
    """Run iterations under the profiler; returns (kernel times, wall milliseconds of all)."""
    on_gpu = bench.device.type == 'cuda'

    def iterations() -> None:
        for _ in range(count):
            bench.iterate()

    activities = [ProfilerActivity.CPU] + ([ProfilerActivity.CUDA] if on_gpu else [])
    with profile(activities=activities) as profiler:
        wall = 1000 * seconds_of(iterations, bench.device)
    return kernel_times(profiler.key_averages(), on_gpu), wall


def report(rows: list[KernelTime], wall: float, count: int, top: int) -> list[str]:
    """Return the lines of the report."""
    busy = sum(row[0] for row in rows)
    lines = [
        f'{wall / count:.2f} ms per iteration, {busy / count:.2f} ms of them busy, '
        f'{100 * max(0, 1 - busy / wall):.1f} % gaps, {sum(row[1] for row in rows) // count} launches'
    ]
    return lines + [
        f'{ms / count:9.3f} ms  {calls // count:5d}x  {name[:90]}' for ms, calls, name in rows[:top]
    ]


@click.command(help=__doc__, context_settings=dict(show_default=True))
@click.option('--recipe', help='Recipe of train.sh', default='gdd-i-cifar10')
@click.option('--perf', help='Arithmetic', type=click.Choice(PERF_MODES), default='fast')
@click.option(
    '--batch', help='Images per iteration  [default: the share of the recipe]', type=click.IntRange(1)
)
@click.option('--device', help='Where to train', type=click.Choice(['auto', 'cpu', 'cuda']), default='auto')
@click.option('--iterations', help='Iterations under the profiler', type=click.IntRange(1), default=5)
@click.option('--top', help='Kernels to show', type=click.IntRange(1), default=40)
@click.option('--out', help='Also write the report', metavar='FILE', type=str)
def main(
    recipe: str, perf: str, batch: int | None, device: str, iterations: int, top: int, out: str | None
) -> None:
    with one_line_errors():
        distributed.init(None if device == 'auto' else device)
        options = json.loads(throughput.run_script(recipe, f'--perf={perf}', '--dry-run'))
        config = throughput.synthetic_config(
            options, throughput.list_recipes()[recipe], batch=batch, device=device
        )
        bench = throughput.Measurement(config)
    for _ in range(3 if bench.device.type == 'cuda' else 1):
        bench.iterate()
    lines = report(*profile_iterations(bench, iterations), iterations, top)
    lines[0] = f'{recipe}, {perf}, {throughput.describe_device(bench.device)}: {lines[0]}'
    if out:
        throughput.write(out, '\n'.join(lines) + '\n')
    print('\n'.join([*lines[1:], lines[0]]))


if __name__ == '__main__':
    main()
