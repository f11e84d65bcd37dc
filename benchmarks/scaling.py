# Copyright 2026 The GDD-1S authors.
# SPDX-License-Identifier: Apache-2.0
"""The expected cost of more GPUs, COMPUTED, not measured: bytes of gradients over published link speeds.

    python -m benchmarks.scaling --recipe=gdd-i-cifar10 --iteration-ms=60

A ring all-reduce of B bytes over P processes sends 2 (P - 1) / P B bytes over the slowest link. Nothing
overlaps with it: one all-reduce of all gradients stands before each optimizer step. What is measured stands
in the column all-reduce of `torchrun ... -m benchmarks.throughput`.
"""

import json
from collections.abc import Sequence
from typing import Any

import click

from benchmarks import throughput
from dnnlib.cli import one_line_errors
from torch_utils import distributed

# Bytes per second and direction of one GPU, as published.
LINKS = {
    'NVLink 4 (H100, H200: 900 GB/s in both directions)': 450e9,
    'InfiniBand NDR (400 Gb/s per GPU)': 50e9,
}
PROCESSES = (1, 2, 4, 8, 64)
GPUS_PER_NODE = 8


def gradient_bytes(task: Any, interval: int, element: int = 4) -> float:
    """Return the bytes that one process averages in a mean iteration: G, D, and R1 once in `interval`.

    Args:
        task:     `DistillationTask`.
        interval: Iterations from one R1 to the next; 0 for none.
        element:  Bytes of a number on its way.
    """
    g, d = (sum(p.numel() for p in params) for params in (task.g_params, task.d_params))
    return element * (g + d * (1 + (1 / interval if interval else 0)))


def ring_seconds(count: int, moved: float, links: Sequence[float] = tuple(LINKS.values())) -> float:
    """Return the least time of an all-reduce over `count` GPUs: NVLink within a node, InfiniBand beyond."""
    link = links[0] if count <= GPUS_PER_NODE else links[1]
    return 2 * (count - 1) / count * moved / link


def curve(iteration_ms: float, moved: float) -> list[tuple[int, float, float, float]]:
    """Return [(processes, milliseconds of the all-reduce, share of the time, speed-up)], computed."""
    rows = []
    for count in PROCESSES:
        added = 1000 * ring_seconds(count, moved)
        rows.append(
            (count, added, added / (iteration_ms + added), count * iteration_ms / (iteration_ms + added))
        )
    return rows


@click.command(help=__doc__, context_settings=dict(show_default=True))
@click.option('--recipe', help='Recipe of train.sh', default='gdd-i-cifar10')
@click.option('--iteration-ms', help='Measured time of an iteration of one process', required=True,
              type=click.FloatRange(min=0, min_open=True))  # fmt: skip
def main(recipe: str, iteration_ms: float) -> None:
    with one_line_errors():
        distributed.init('cpu')
        options = json.loads(throughput.run_script(recipe, '--dry-run'))
        config = throughput.synthetic_config(options, 1, batch=1, device='cpu')
        run = throughput.Measurement(config).run
    print('| number type | MB per iteration | processes | all-reduce, ms | share | speed-up |')
    print('|---|---:|---:|---:|---:|---:|')
    for kind, element in (('fp32', 4), ('bf16', 2)):
        moved = gradient_bytes(run.task, config['r1_interval'], element)
        for count, added, share, speed in curve(iteration_ms, moved):
            print(
                f'| {kind} | {moved / 1e6:.1f} | {count} | {added:.2f} | {100 * share:.1f} % | {speed:.2f} |'
            )
    print(f'Computed for an iteration of {iteration_ms:g} ms, over {"; ".join(LINKS)}; not measured.')


if __name__ == '__main__':
    main()
