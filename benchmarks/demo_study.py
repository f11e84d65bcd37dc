# Copyright 2026 The GDD-1S authors.
# SPDX-License-Identifier: Apache-2.0
"""Studies on the demo: several settings, several seeds, one number each, with mean and spread.

    python -m benchmarks.demo_study run freeze --kimg=8 --seeds=0-2      # freeze levels 0..3
    python -m benchmarks.demo_study run methods --kimg=12                # all methods
    python -m benchmarks.demo_study report freeze                        # table and figure

Each cell of a study is a recipe of train.sh with a few options on top. A cell is trained in a folder of its
own, its last snapshot is measured on the 2,000 seeds of the closing table of `sh train.sh`, and cell.json
is written. `run` skips cells that have one, so an interrupted study goes on where it was. Cost is CPU time of
the training process and its children (start included), which other work on the machine changes little.
"""

import dataclasses
import json
import os
import pathlib
import resource
import shutil
import statistics
import subprocess
import sys

import click

from benchmarks.figures import new_figure, save_and_close
from dnnlib.util import atomic_write
from training.sampling.seeds import parse_seeds

ROOT = pathlib.Path(__file__).resolve().parent.parent
REFERENCE = 'datasets/mnist-32x32-train-ref-mnist-classifier.npz'
NUM_IMAGES = 2000

# Study -> {name of a row: (recipe of train.sh, options on top)}.
STUDIES = {
    'freeze': {f'freeze {level}': ('demo', [f'--freeze={level}']) for level in range(4)},
    'methods': {
        'GDD-I (freeze 1)': ('demo', []),
        'GDD (freeze 0)': ('demo-gdd', []),
        'GDD-I, two steps': ('demo-two-step', []),
        'CD': ('demo-cd', []),
        'CTM-style': ('demo-ctm', []),
        'PD': ('demo-pd', []),
        'RCD': ('demo-rcd', []),
    },
}


@dataclasses.dataclass(frozen=True)
class Cell:
    """One trained and measured setting."""

    row: str  # name of the setting
    seed: int
    kimg: float  # thousand training images
    frechet: float  # Frechet distance to the reference
    accuracy: float  # share of samples that are the digit they were asked to be, 0..1
    cpu_sec: float  # CPU time of training, all threads and children


@dataclasses.dataclass(frozen=True)
class Summary:
    """Mean and sample standard deviation over the seeds of a setting; no spread (None) for a single seed."""

    row: str
    seeds: int
    kimg: float
    frechet: tuple
    accuracy: tuple
    cpu_sec_per_kimg: tuple


def mean_and_spread(values: list[float]) -> tuple[float, float | None]:
    """Return (mean, sample standard deviation with n - 1, or None for one value)."""
    return statistics.fmean(values), statistics.stdev(values) if len(values) > 1 else None


def summarise(cells: list[Cell]) -> list[Summary]:
    """Group cells by row, in the order of first appearance.

    Args:
        cells: `Cell` objects.
    Returns:
        List of `Summary`.
    Raises:
        ValueError: cells of one study were trained on different numbers of images.
    """
    if len({cell.kimg for cell in cells}) > 1:
        lengths = ', '.join(f'{kimg:g}' for kimg in sorted({cell.kimg for cell in cells}))
        raise ValueError(
            f'cells with {lengths} kimg are not comparable; run each length in an --outdir of its own'
        )
    rows = {}
    for cell in cells:
        rows.setdefault(cell.row, []).append(cell)
    return [
        Summary(
            row,
            len(group),
            group[0].kimg,
            mean_and_spread([cell.frechet for cell in group]),
            mean_and_spread([cell.accuracy for cell in group]),
            mean_and_spread([cell.cpu_sec / cell.kimg for cell in group]),
        )
        for row, group in rows.items()
    ]


def format_summary(summaries: list[Summary]) -> str:
    """Return a Markdown table of `Summary` objects."""

    def cell(value: tuple[float, float | None], digits: int, factor: float = 1, unit: str = '') -> str:
        mean, spread = value
        return f'{factor * mean:.{digits}f}{unit}' + (
            '' if spread is None else f' ± {factor * spread:.{digits}f}'
        )

    lines = [
        '| setting | seeds | kimg | Frechet distance | class accuracy | CPU s / kimg |',
        '|---|---:|---:|---:|---:|---:|',
    ]
    for s in summaries:
        lines.append(
            f'| {s.row} | {s.seeds} | {s.kimg:g} | {cell(s.frechet, 3)} | {cell(s.accuracy, 2, 100, " %")} | '
            f'{cell(s.cpu_sec_per_kimg, 1)} |'
        )
    return '\n'.join(lines)


def save_figure(path: pathlib.Path, cells: list[Cell], title: str) -> None:
    """Draw distance and accuracy of every cell, with the mean of each row.

    Args:
        path:  PNG file.
        cells: `Cell` objects.
        title: Above the figure.
    """
    summaries = summarise(cells)
    names = [s.row for s in summaries]
    figure, axes = new_figure(1, 2, figsize=(9, 3.4))
    panels = (
        ('Frechet distance', lambda c: c.frechet, lambda s: s.frechet[0]),
        ('class accuracy in %', lambda c: 100 * c.accuracy, lambda s: 100 * s.accuracy[0]),
    )
    for axis, (label, of_cell, of_summary) in zip(axes, panels):
        axis.scatter(
            [names.index(c.row) for c in cells], [of_cell(c) for c in cells], s=22, color='tab:blue', zorder=3
        )
        axis.hlines(
            [of_summary(s) for s in summaries],
            [i - 0.25 for i in range(len(names))],
            [i + 0.25 for i in range(len(names))],
            color='black',
            linewidth=1.2,
        )
        axis.set_xticks(range(len(names)), names, rotation=0 if len(names) < 5 else 20)
        axis.set_ylabel(label)
        axis.grid(axis='y', alpha=0.3)
    distances = [c.frechet for c in cells]
    if max(distances) > 10 * min(distances):
        axes[0].set_yscale('log')
    figure.suptitle(title, fontsize=10)
    save_and_close(figure, path)


def train_cell(folder: pathlib.Path, recipe: str, options: list[str], seed: int, kimg: float) -> float:
    """Train one cell from scratch and return its CPU time in seconds.

    Raises:
        RuntimeError: train.sh failed; its last lines are in the message.
    """
    shutil.rmtree(folder, ignore_errors=True)
    command = [
        'sh',
        'train.sh',
        recipe,
        f'--outdir={folder}',
        '--nosubdir',
        f'--seed={seed}',
        f'--duration={kimg / 1000:g}',
        '--snap=1000',
        '--dump=1000',
        *options,
    ]
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    result = subprocess.run(
        command,
        cwd=ROOT,
        capture_output=True,
        text=True,
        env=dict(os.environ, COMPARE='0', VENV='none', PYTHON=sys.executable),
    )
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    if result.returncode != 0:
        raise RuntimeError(f'{" ".join(command)} failed: {result.stderr.strip()[-600:]}')
    return after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime


def measure_cell(folder: pathlib.Path) -> tuple[float, float]:
    """Measure the last snapshot in a folder; return (Frechet distance, class accuracy 0..1)."""
    snapshot = max(folder.glob('network-snapshot-*.pkl'))
    measured = folder / 'measured.json'
    command = [sys.executable, 'fid.py', 'gen', f'--network={snapshot}', f'--ref={REFERENCE}', '--batch=100']
    command += [f'--seeds=0-{NUM_IMAGES - 1}', f'--json={measured}']
    result = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
    if result.returncode != 0:
        raise RuntimeError(f'fid.py gen of {snapshot} failed: {result.stderr.strip()[-600:]}')
    values = {entry['metric']: entry['value'] for entry in json.loads(measured.read_text())['results']}
    distance, accuracy = (f'{name}-mnist-classifier-{NUM_IMAGES}' for name in ('frechet', 'class-accuracy'))
    return values[distance], values[accuracy]


def read_cells(outdir: pathlib.Path) -> list[Cell]:
    """Return the finished cells of a study, in the order of rows and seeds in which they were planned."""
    cells = [
        Cell(**json.loads(path.read_text())) for path in sorted(pathlib.Path(outdir).glob('*/cell.json'))
    ]
    order = {row: i for study in STUDIES.values() for i, row in enumerate(study)}
    return sorted(cells, key=lambda cell: (order[cell.row], cell.seed))


@click.group()
def main() -> None:
    """Studies on the demo; see the head of this file."""


@main.command()
@click.argument('study', type=click.Choice(list(STUDIES)))
@click.option(
    '--kimg',
    help='Training length of every cell',
    metavar='KIMG',
    type=click.FloatRange(min=1),
    required=True,
)
@click.option(
    '--seeds', help='Seeds, such as 0-2', metavar='LIST', type=parse_seeds, default='0', show_default=True
)
@click.option('--rows', help='Only rows whose name contains this', metavar='TEXT', default='')
@click.option('--outdir', help='Folder of the study  [default: training-runs/study-NAME]', metavar='DIR')
def run(study: str, kimg: float, seeds: list[int], rows: str, outdir: str | None) -> None:
    """Train and measure what is missing, seed after seed, then report."""
    outdir = pathlib.Path(outdir or ROOT / 'training-runs' / f'study-{study}').absolute()
    todo = [(int(seed), row) for seed in seeds for row in STUDIES[study] if rows in row]
    for number, (seed, row) in enumerate(todo, start=1):
        recipe, options = STUDIES[study][row]
        folder = outdir / f'{row.split(" (")[0].replace(",", "").replace(" ", "-").lower()}-seed{seed}'
        if (folder / 'cell.json').is_file():
            continue
        click.echo(f'{number} of {len(todo)}: {row}, seed {seed} ...')
        try:
            cpu_sec = train_cell(folder, recipe, options, seed, kimg)
            frechet, accuracy = measure_cell(folder)
        except RuntimeError as error:
            raise click.ClickException(str(error)) from error
        cell = Cell(row, seed, kimg, frechet, accuracy, cpu_sec)
        with atomic_write(folder / 'cell.json') as file:
            file.write((json.dumps(dataclasses.asdict(cell), indent=2) + '\n').encode())
        click.echo(
            f'    distance {frechet:.3f}, class accuracy {100 * accuracy:.2f} %, {cpu_sec:.0f} CPU seconds'
        )
    write_report(study, outdir)


@main.command()
@click.argument('study', type=click.Choice(list(STUDIES)))
@click.option('--outdir', help='Folder of the study  [default: training-runs/study-NAME]', metavar='DIR')
def report(study: str, outdir: str | None) -> None:
    """Print the table of the finished cells; write study.md and study.png."""
    write_report(study, pathlib.Path(outdir or ROOT / 'training-runs' / f'study-{study}'))


def write_report(study: str, outdir: pathlib.Path) -> None:
    """Write study.md and study.png into the folder of a study, and print the table."""
    cells = read_cells(outdir)
    if not cells:
        raise click.ClickException(
            f'--outdir={outdir} has no finished cell; start with: '
            f'python -m benchmarks.demo_study run {study} --kimg=8'
        )
    try:
        table = format_summary(summarise(cells))
    except ValueError as error:
        raise click.ClickException(f'--outdir={outdir}: {error}') from error
    with atomic_write(outdir / 'study.md') as file:
        file.write(f'{table}\n'.encode())
    draw_report(study, outdir, cells)
    click.echo(f'{table}\n\nTable and figure: {outdir}/study.*')


def draw_report(study: str, outdir: pathlib.Path, cells: list[Cell]) -> None:
    """Write study.png, or say what it needs."""
    title = (
        f'{study}: MNIST demo after {cells[0].kimg:g} kimg; dots are seeds, lines their means; '
        f'distance on {NUM_IMAGES} samples'
    )
    try:
        save_figure(outdir / 'study.png', cells, title)
    except ImportError as error:
        click.echo(
            f'No figure: {error}; pip install matplotlib, then: '
            f'python -m benchmarks.demo_study report {study}',
            err=True,
        )


if __name__ == '__main__':
    main()
