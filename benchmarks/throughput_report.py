# Copyright 2026 The GDD-1S authors.
# SPDX-License-Identifier: Apache-2.0
"""What benchmarks/throughput.py prints: a result as lines, results as a Markdown table."""

from typing import Any

from training.choices import R1_INTERVAL

STAGES = ('data', 'G', 'D', 'R1', 'all-reduce', 'optimizer', 'EMA', 'other')


def describe(name: str, result: dict[str, Any]) -> list[str]:
    """Return the lines that show one result."""
    stages = '  '.join(f'{stage} {result["stage_ms"][stage]:.1f}' for stage in STAGES)
    each = (
        f' (every {result["r1_interval"]}th: {result["with_r1_ms"]:.1f} ms)' if result['r1_interval'] else ''
    )
    flops = ', '.join(f'{kind} {value:.3g}' for kind, value in result['tflop_per_iteration'].items())
    peaks = ', '.join(f'{kind} {value:.3g}' for kind, value in result['peak_tflops'].items())
    return [
        f'{name}: {result["mode"]}, batch {result["batch_size"]} on {result["processes"]} process(es), '
        f'{result["precision"]}, {result["device"]}, torch {result["torch"]}',
        f'  images/s          {result["images_per_second"]:.2f}, '
        f'from {" + ".join(map(str, result["iterations"]))} iterations',
        f'  iteration         {result["iteration_ms"]:.1f} ms; without R1 {result["plain_ms"]:.1f} ms{each}',
        f'  ms per stage      {stages}',
        f'  peak memory       {result["peak_memory_gib"]:.2f} GiB',
        f'  matrix products   {flops} TFLOP per iteration; '
        f'{100 * result["share_of_peak"]:.1f} % of a peak of {peaks} TFLOP/s',
        f'  other work        {result["launches_per_iteration"]:.0f} launches, '
        f'{result["gb_per_iteration"]:.2f} GB read and written per iteration; a copy makes '
        f'{result["copy_gb_per_second"]:.3g} GB/s',
        '  roofline          ' + roofline(result),
    ]


def roofline(result: dict[str, Any]) -> str:
    """Return GFLOP and MB per image, launches, and the least milliseconds of products + memory, by stage."""
    return '; '.join(
        f'{stage} {part["gflop_per_image"]:.2f} GFLOP {part["mb_per_image"]:.0f} MB {part["launches"]}x '
        f'{part["products_ms"]:.1f}+{part["memory_ms"]:.1f} ms'
        for stage, part in result['roofline'].items()
    )


def table(results: dict[str, dict[str, Any]]) -> str:
    """Return a Markdown table of results, {name: result or {'error': text}}.

    A row is compared with the first one of its recipe: the word before the first space of its name.
    """
    columns = ['recipe', 'batch', 'precision', 'images/s', 'against the first', 'ms per iteration', *STAGES,
               'memory, GiB', 'of peak', 'launches', 'GB']  # fmt: skip
    lines = [f'| {" | ".join(columns)} |', '|---|---:|---|' + '---:|' * (len(columns) - 3)]
    first = {}
    for name, result in results.items():
        if 'error' in result:
            lines.append(f'| {name} | not measured: {result["error"]} |' + ' |' * (len(columns) - 2))
            continue
        base = first.setdefault(name.split(' ')[0], result)
        lines.append(f'| {" | ".join(cells(name, result, base))} |')
    done = [result for result in results.values() if 'error' not in result]
    if done:
        lines += [
            '',
            f'{done[0]["device"]}, torch {done[0]["torch"]}, {done[0]["processes"]} process(es). '
            'Stages in milliseconds: '
            f'R1 of one call, of which there is one in {R1_INTERVAL} iterations; '
            'the others, launches and gigabytes of one iteration.',
        ]
    return '\n'.join(lines) + '\n'


def cells(name: str, result: dict[str, Any], base: dict[str, Any]) -> list[str]:
    """Return the texts of one row; `base` is the result that it is compared with."""
    return [
        name,
        str(result['batch_size']),
        result['precision'],
        f'{result["images_per_second"]:.2f}',
        '-' if result is base else f'{result["images_per_second"] / base["images_per_second"]:.2f} x',
        f'{result["iteration_ms"]:.1f}',
        *(f'{result["stage_ms"][stage]:.1f}' for stage in STAGES),
        f'{result["peak_memory_gib"]:.2f}',
        f'{100 * result["share_of_peak"]:.1f} %',
        f'{result["launches_per_iteration"]:.0f}',
        f'{result["gb_per_iteration"]:.2f}',
    ]
