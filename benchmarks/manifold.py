# Copyright 2026 The GDD-1S authors.
# SPDX-License-Identifier: Apache-2.0
"""Time and memory of precision and recall, and how much of the time goes into matrix products.

    python -m benchmarks.manifold      # 50,000 samples, 10,000 reference images
    python -m benchmarks.manifold --samples=10000 --reference=5000 --baseline

The share is what PyTorch's profiler counts as matrix products; the rest is subtraction of norms, the search
for neighbours and comparisons. CPU seconds, unlike seconds, hardly depend on what else the machine does.
`--baseline` also runs torch-fidelity's implementation on the same features, in alternation, and prints the
ratio.
"""

import resource
import statistics
import sys
import time

import click
import torch
from torch.profiler import ProfilerActivity, profile

from evaluations.metrics.manifold import BLOCK, MODES, precision_recall

_PRODUCTS = ('aten::mm', 'aten::addmm')


def make_features(count: int, dim: int, seed: int, device: str) -> torch.Tensor:
    """Return features like those of Inception: not negative, correlated; float32 [count, dim]."""
    generator = torch.Generator().manual_seed(seed)
    mix = torch.randn([32, dim], generator=torch.Generator().manual_seed(0)) / 8
    parts = [
        (torch.randn([min(5000, count - i), 32], generator=generator) @ mix + 0.3)
        .clamp_(min=0)
        .add_(torch.rand([min(5000, count - i), dim], generator=generator) * 0.3)
        for i in range(0, count, 5000)
    ]
    return torch.cat(parts).to(device)


def run_ours(samples: torch.Tensor, reference: torch.Tensor, mode: str, block: int) -> tuple:
    """Return (seconds, CPU seconds, share of matrix products, further peak memory in MB, result)."""
    device = samples.device.type
    activities = [ProfilerActivity.CPU] + [ProfilerActivity.CUDA] * (device == 'cuda')
    before = peak_mb(device)
    start, start_cpu = time.perf_counter(), time.process_time()
    with profile(activities=activities) as trace:
        result = precision_recall(samples=samples, reference=reference, mode=mode, block=block)
    seconds, cpu_seconds = time.perf_counter() - start, time.process_time() - start_cpu
    times = {
        event.key: event.self_device_time_total if device == 'cuda' else event.self_cpu_time_total
        for event in trace.key_averages()
    }
    share = sum(times.get(name, 0) for name in _PRODUCTS) / sum(times.values())
    return seconds, cpu_seconds, share, peak_mb(device) - before, result


def peak_mb(device: str) -> float:
    """Largest memory so far: of the process on a CPU, of tensors on a GPU."""
    if device == 'cuda':
        return torch.cuda.max_memory_allocated() / 1e6
    unit = 1 if sys.platform == 'darwin' else 1024  # ru_maxrss is in bytes there, in KiB elsewhere
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit / 1e6


def run_baseline(samples: torch.Tensor, reference: torch.Tensor) -> tuple:
    """Return (seconds, CPU seconds, (precision, recall)) of torch-fidelity, in its memory-saving form."""
    from torch_fidelity.metric_prc import prc_features_to_metric

    start, start_cpu = time.perf_counter(), time.process_time()
    result = prc_features_to_metric(samples, reference, prc_neighborhood=3, save_cpu_ram=True, verbose=False)
    return (
        time.perf_counter() - start,
        time.process_time() - start_cpu,
        (result['precision'], result['recall']),
    )


# fmt: off
@click.command()
@click.option('--samples',   help='Number of samples',            metavar='INT', type=click.IntRange(min=4),
              default=50000, show_default=True)
@click.option('--reference', help='Number of reference images',   metavar='INT', type=click.IntRange(min=4),
              default=10000, show_default=True)
@click.option('--dim',       help='Number of features',           metavar='INT', type=click.IntRange(min=1),
              default=2048, show_default=True)
@click.option('--mode',      help='Arithmetic',                   type=click.Choice(MODES),
              default='exact', show_default=True)
@click.option('--block',     help='Rows and columns of a tile',   metavar='INT', type=click.IntRange(min=1),
              default=BLOCK, show_default=True)
@click.option('--threads',   help='CPU threads',                  metavar='INT', type=click.IntRange(min=1),
              default=1, show_default=True)
@click.option('--repeats',   help='Measurements of each',         metavar='INT', type=click.IntRange(min=1),
              default=1, show_default=True)
@click.option('--device',    help='Where to compute',             metavar='DEVICE', type=str,
              default='cpu', show_default=True)
@click.option('--baseline',  help='Compare with torch-fidelity',  is_flag=True)
def main(samples: int, reference: int, dim: int, mode: str, block: int, threads: int, repeats: int,
         device: str, baseline: bool) -> None:
    """Measure evaluations.metrics.manifold.precision_recall on random features."""
    torch.set_num_threads(threads)
    sets = [make_features(count, dim, seed, device) for seed, count in ((1, samples), (2, reference))]
    print(f'{samples} samples, {reference} reference images, {dim} features '
          f'({sum(s.nbytes for s in sets) / 1e6:.0f} MB), {mode}, {device}, {threads} threads, '
          f'torch {torch.__version__}, median of {repeats}')
    runs, baselines = [], []
    for _ in range(repeats):
        runs.append(run_ours(*sets, mode, block))
        if baseline:
            baselines.append(run_baseline(*sets))
    seconds, cpu_seconds, share = (statistics.median(run[i] for run in runs) for i in range(3))
    _, _, _, memory, result = runs[0]
    print('| | seconds | CPU seconds | matrix products | memory | precision, recall |\n'
          '|---|---:|---:|---:|---:|---|')
    print(f'| this repository | {seconds:.1f} | {cpu_seconds:.1f} | {100 * share:.0f} % | {memory:.0f} MB '
          f'| {result.precision:.4f}, {result.recall:.4f} |')
    if baseline:
        theirs, their_cpu = (statistics.median(run[i] for run in baselines) for i in range(2))
        precision, recall = baselines[0][2]
        print(f'| torch-fidelity | {theirs:.1f} | {their_cpu:.1f} | - | - | {precision:.4f}, {recall:.4f} |')
        print(f'ratio {theirs / seconds:.2f}, of CPU seconds {their_cpu / cpu_seconds:.2f}')
# fmt: on


if __name__ == '__main__':
    main()
