# Copyright 2026 The GDD-1S authors.
# SPDX-License-Identifier: Apache-2.0
"""What averaging gradients in bfloat16 costs: the error of the mean over processes, beside that of the batch.

    python -m benchmarks.reduction_error --recipe=demo --processes=8 --batch=16

One process plays all: as many batches as there are processes, and their gradients summed in bfloat16 one
after the other, as a ring does.
"""

import json

import click
import torch

from benchmarks import throughput
from dnnlib.cli import one_line_errors
from torch_utils import distributed
from torch_utils.randomness import BatchRandom


def bfloat16_mean(parts: list[torch.Tensor]) -> torch.Tensor:
    """Return the mean as `--reduce=bf16` gives it: divided, rounded, and rounded after each addition."""
    total = (parts[0] / len(parts)).bfloat16()
    for part in parts[1:]:
        total = total + (part / len(parts)).bfloat16()
    return total.float()


def errors(parts: list[torch.Tensor]) -> tuple[float, float]:
    """Return the relative error of the bfloat16 mean, and that of one part in place of the mean."""
    exact = torch.stack(parts).double().mean(dim=0)
    found = [((x.double() - exact).norm() / exact.norm()).item() for x in (bfloat16_mean(parts), parts[0])]
    return found[0], found[1]


def gradients(bench: throughput.Measurement, index: int) -> dict[str, torch.Tensor]:
    """Return the gradients of G and D of one batch as vectors; no step is taken."""
    task, (images, labels) = bench.run.task, bench.next_batch()
    rng = BatchRandom(0, index * len(images), 0, 1, bench.device, 'clean')
    found = {}
    for name, step, params in (
        ('G', task.generator_step, task.g_params),
        ('D', task.discriminator_step, task.d_params),
    ):
        step(task.inputs(name, images, labels, rng))
        found[name] = torch.cat([p.grad.flatten() for p in params])
    return found


@click.command(help=__doc__, context_settings=dict(show_default=True))
@click.option('--recipe', help='Recipe of train.sh', default='demo')
@click.option('--processes', help='How many gradients are averaged', type=click.IntRange(2), default=8)
@click.option('--batch', help='Images of each', type=click.IntRange(1), default=16)
def main(recipe: str, processes: int, batch: int) -> None:
    with one_line_errors():
        distributed.init('cpu')
        options = json.loads(throughput.run_script(recipe, '--dry-run'))
        bench = throughput.Measurement(throughput.synthetic_config(options, 1, batch=batch, device='cpu'))
    bench.iterate()
    bench.run.task.guard.step = lambda *_: None  # all gradients at the same weights
    found = [gradients(bench, index) for index in range(processes)]
    for name in ('G', 'D'):
        parts = [part[name] for part in found]
        rounding, sampling = errors(parts)
        print(
            f'{name}: {len(parts[0])} numbers, relative error of the mean over {processes} processes in bf16 '
            f'{rounding:.2g}; of one batch of {batch} in place of the mean {sampling:.2g}'
        )


if __name__ == '__main__':
    main()
