# Copyright 2026 The GDD-1S authors.
# SPDX-License-Identifier: Apache-2.0
"""Put a claim to the test with several seeds, on the demo or on the photographs.

    python -m benchmarks.claim_study list
    python -m benchmarks.claim_study run freezing --on=demo --kimg=12 --seeds=0-2
    python -m benchmarks.claim_study run all --on=photos --kimg=40 --seeds=0-2
    python -m benchmarks.claim_study report all --on=demo --figure=claims-demo.png

Each row of a claim (benchmarks/claims.py) is trained once per seed, also where several claims have it, and
its last snapshot is measured on 2,000 seeds against every --ref. What is worth keeping goes to docs/curves/:
the numbers, the metric over the images seen, and a few lines of stats.jsonl. A result that is there is not
made again, so an interrupted study goes on where it was.
--figure draws means and spreads; `python plot.py --outdir=DIR docs/curves/demo/gdd-i-seed*` single runs.
"""

import dataclasses
import json
import os
import pathlib
import resource
import shutil
import subprocess
import sys
from collections.abc import Callable

import click

from benchmarks.claim_figure import save_figure
from benchmarks.claims import ABOUT, CLAIMS, DATA, ROOT, Row, rows
from benchmarks.demo_study import mean_and_spread
from dnnlib.util import atomic_write
from training.sampling.seeds import parse_seeds

NUM_IMAGES = 2000
POINTS = 6  # of the curve: the metric is measured at so many snapshots, and at the end
CURVE_METRIC = 'fd1k'
KEPT_LINES = 12  # of stats.jsonl
KEPT_NAMES = ('Loss/G/loss', 'Loss/D/loss', 'Loss/signs/real', 'Loss/r1_penalty', 'Grad/G/norm')
KEPT_NAMES += ('Progress/kimg', 'Timing/sec_per_kimg', f'Metrics/{CURVE_METRIC}')


@dataclasses.dataclass(frozen=True)
class Result:
    """One trained and measured row, for one seed.

    Attributes:
        row:     Name of the row.
        seed:    Seed of training, and of nothing else.
        kimg:    Thousand training images; 0 for a network that was only measured.
        cpu_sec: CPU time of training, with its children, in seconds.
        values:  Metric -> value, by the full names of fid.py.
        command: What was run.
    """

    row: str
    seed: int
    kimg: float
    cpu_sec: float
    values: dict[str, float]
    command: str


def slug(row: str) -> str:
    """Return the name of a row as part of a folder's name."""
    return row.replace(',', '').replace(' ', '-').lower()


def train_command(row: Row, folder: pathlib.Path, seed: int, kimg: float, reference: str) -> list[str]:
    """Return the command that trains a row."""
    tick = max(1, round(row.length * kimg / POINTS))
    options = [
        f'--recipe={row.recipe}',
        f'--outdir={folder}',
        '--nosubdir',
        f'--seed={seed}',
        f'--duration={row.length * kimg / 1000:g}',
        f'--tick={tick}',
        '--snap=1',
        '--dump=1000',
        '--grid=0',
        f'--metrics={CURVE_METRIC}',
        f'--metrics-ref={reference}',
        *row.options,
    ]
    program = ['-m', row.module] if row.module else ['train.py']
    if row.processes == 1:
        return [sys.executable, *program, *options]
    launcher = ['-m', 'torch_utils.launch', '--standalone', f'--nproc_per_node={row.processes}']
    return [sys.executable, *launcher, *program, *options]


def run_command(command: list[str]) -> float:
    """Run a command in the root; return the CPU seconds that it took.

    Raises:
        click.ClickException: It failed; its last words.
    """
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    result = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    if result.returncode:
        raise click.ClickException(f'{" ".join(command)} failed: {result.stderr.strip()[-600:]}')
    return after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime


def measure(network: list[str], references: list[str], folder: pathlib.Path) -> dict[str, float]:
    """Measure a network against each reference; return metric -> value.

    Args:
        network:    Options of fid.py gen that say what to measure.
        references: Files of statistics, whose detectors have different names.
        folder:     Where the report goes.
    """
    path = folder / 'measured.json'
    options = [*(f'--ref={reference}' for reference in references), '--batch=100', f'--json={path}']
    run_command([sys.executable, 'fid.py', 'gen', *network, *options, f'--seeds=0-{NUM_IMAGES - 1}'])
    entries = json.loads(path.read_text(encoding='utf-8'))['results']
    return {entry['metric']: entry['value'] for entry in entries}


def make_result(
    name: str, row: Row, seed: int, kimg: float, work: pathlib.Path, references: list[str]
) -> Result:
    """Train a row, unless it is a network that is only measured, and measure it."""
    work.mkdir(parents=True, exist_ok=True)
    if not row.recipe:
        return Result(name, seed, 0, 0, measure(list(row.options), references, work), ' '.join(row.options))
    shutil.rmtree(work)
    command = train_command(row, work, seed, kimg, references[0])
    cpu_sec = run_command(command)
    snapshot = max(work.glob('network-snapshot-*.pkl'))
    values = measure([f'--network={snapshot}'], references, work)
    shown = ' '.join(['python', *command[1:]]).replace(str(work), work.name)
    return Result(name, seed, row.length * kimg, cpu_sec, values, shown)


def keep(result: Result, work: pathlib.Path, folder: pathlib.Path) -> None:
    """Write what is worth keeping of a run; result.json last, which makes it complete."""
    folder.mkdir(parents=True, exist_ok=True)
    stats = work / 'stats.jsonl'
    if stats.exists():
        with atomic_write(folder / stats.name) as file:
            file.write(thinned(stats.read_text(encoding='utf-8')).encode())
    for path in work.glob('metric-*.jsonl'):
        shutil.copy(path, folder / path.name)
    with atomic_write(folder / 'result.json') as file:
        file.write((json.dumps(dataclasses.asdict(result), indent=1) + '\n').encode())


def thinned(text: str) -> str:
    """Return a few evenly spaced lines of stats.jsonl, with the last one and the names worth keeping."""
    lines = [json.loads(line) for line in text.splitlines()]
    count = min(KEPT_LINES, len(lines))
    chosen = [lines[(k + 1) * len(lines) // count - 1] for k in range(count)]
    kept = [{name: line[name] for name in (*KEPT_NAMES, 'timestamp') if name in line} for line in chosen]
    return ''.join(json.dumps(line) + '\n' for line in kept)


def read_results(folder: pathlib.Path, names: tuple[str, ...]) -> list[Result]:
    """Return the results of some rows, in the order of the names and of their seeds."""
    found = [Result(**json.loads(path.read_text(encoding='utf-8'))) for path in folder.glob('*/result.json')]
    return sorted((r for r in found if r.row in names), key=lambda r: (names.index(r.row), r.seed))


def curve(folder: pathlib.Path, result: Result) -> list[tuple[float, float]]:
    """Return (kimg, value) of the metric that was measured during training."""
    path = folder / f'{slug(result.row)}-seed{result.seed}' / f'metric-{CURVE_METRIC}.jsonl'
    if not path.exists():
        return []
    lines = [json.loads(line) for line in path.read_text(encoding='utf-8').splitlines()]
    return [(line['kimg'], line['value']) for line in lines if line['value'] is not None]


def format_number(values: list[float]) -> str:
    """Return mean and sample standard deviation."""
    mean, spread = mean_and_spread(values)
    return f'{mean:.4g}' if spread is None else f'{mean:.4g} ± {spread:.2g}'


def format_results(results: list[Result]) -> str:
    """Return a Markdown table: a line for each row, a column for each metric."""
    metrics = sorted({metric for result in results for metric in result.values})
    head = ['row', 'seeds', 'kimg', 'CPU s', *metrics]
    lines = [f'| {" | ".join(head)} |', f'|---|{"---:|" * (len(head) - 1)}']
    for name in dict.fromkeys(result.row for result in results):
        group = [result for result in results if result.row == name]
        cells = [name, str(len(group)), format_number([r.kimg for r in group]).split(' ')[0]]
        cells.append(format_number([r.cpu_sec for r in group]))
        for metric in metrics:
            values = [r.values[metric] for r in group if metric in r.values]
            cells.append(format_number(values) if values else '-')
        lines.append(f'| {" | ".join(cells)} |')
    return '\n'.join(lines)


def format_curves(folder: pathlib.Path, results: list[Result]) -> str:
    """Return a Markdown table of the metric over the images seen, mean and spread; a line for each row."""
    lines = [f'{CURVE_METRIC} over thousand images:', '']
    for name in dict.fromkeys(result.row for result in results):
        curves = [curve(folder, result) for result in results if result.row == name]
        points = list(zip(*(c for c in curves if c), strict=False))
        if points:
            shown = [
                f'{point[0][0]:.3g}: {format_number([value for _kimg, value in point])}' for point in points
            ]
            lines.append(f'- {name}: {"; ".join(shown)}')
    return '\n'.join(lines) if len(lines) > 2 else ''


# ------------------------------------------------------------------------------------------------
# Commands.


def common(function: Callable) -> Callable:
    """Add the options that both commands have."""
    for decorate in (
        click.argument('claim', type=click.Choice([*CLAIMS, 'all'])),
        click.option('--on', 'where', type=click.Choice(list(DATA)), default='demo', show_default=True,
                     help='Data set'),
        click.option('--curves', metavar='DIR', help='Where results are kept  [default: docs/curves]'),
    ):  # fmt: skip
        function = decorate(function)
    return function


@click.group()
def main() -> None:
    """Test the claims; see the head of this file."""


@main.command('list')
def list_claims() -> None:
    """Print the claims and their rows."""
    for claim, names in CLAIMS.items():
        click.echo(f'{claim}: {ABOUT[claim]}\n    {" | ".join(names)}')


@main.command()
@common
@click.option('--kimg', metavar='KIMG', type=click.FloatRange(min=1), required=True, help='Training length')
@click.option('--seeds', metavar='LIST', type=parse_seeds, default='0', show_default=True, help='Such as 0-2')
@click.option('--ref', 'references', metavar='NPZ,...', help='Reference statistics, the first for the curves')
@click.option('--work', metavar='DIR', help='Where runs are trained  [default: training-runs/claims]')
def run(
    claim: str,
    where: str,
    curves: str | None,
    kimg: float,
    seeds: list[int],
    references: str | None,
    work: str | None,
) -> None:
    """Train and measure what is missing, seed after seed, then report."""
    data, folder = DATA[where], folder_of(curves, where)
    files = references.split(',') if references else [data.reference]
    for file in [*files, data.teacher]:
        if not (ROOT / file).is_file() and not os.path.isfile(file):
            raise click.ClickException(f'{file} is missing; see datasets/README.md and docs/recipes.md')
    work = pathlib.Path(work or ROOT / 'training-runs' / 'claims').absolute() / where
    todo = [(int(seed), name) for seed in seeds for name in chosen_rows(claim)]
    for number, (seed, name) in enumerate(todo, start=1):
        row, part = rows(data)[name], f'{slug(name)}-seed{seed}'
        if not row.recipe and seed != int(seeds[0]):
            continue  # nothing random but the fixed seeds of the samples
        path = folder / part / 'result.json'
        if path.is_file():
            refuse_other_length(path, row, kimg)
            continue
        click.echo(f'{number} of {len(todo)}: {name}, seed {seed} ...')
        result = make_result(name, row, seed, kimg, work / part, files)
        keep(result, work / part, folder / part)
        click.echo('    ' + ', '.join(f'{metric} {value:.4g}' for metric, value in result.values.items()))
    write_report(claim, where, folder)


def refuse_other_length(path: pathlib.Path, row: Row, kimg: float) -> None:
    """Raise click.ClickException if a result was made with other images than this command asks for."""
    done = Result(**json.loads(path.read_text(encoding='utf-8')))
    if row.recipe and done.kimg != row.length * kimg:
        raise click.ClickException(
            f'{path} was made with --kimg={done.kimg / row.length:g}, not --kimg={kimg:g}; give that, or '
            'another --curves=DIR'
        )


@main.command()
@common
@click.option('--figure', metavar='PNG', help='Draw the curves, a panel for each claim')
def report(claim: str, where: str, curves: str | None, figure: str | None) -> None:
    """Print the tables of what is finished."""
    folder = folder_of(curves, where)
    write_report(claim, where, folder)
    if figure:
        draw_report(claim, folder, pathlib.Path(figure))


def chosen_claims(claim: str) -> dict[str, tuple[str, ...]]:
    """Return the rows of one claim, or of all, by the claim's name."""
    return CLAIMS if claim == 'all' else {claim: CLAIMS[claim]}


def chosen_rows(claim: str) -> tuple[str, ...]:
    """Return the names of the rows of a claim, or of all claims."""
    return tuple(dict.fromkeys(name for names in chosen_claims(claim).values() for name in names))


def folder_of(curves: str | None, where: str) -> pathlib.Path:
    """Return the folder of the results on a data set."""
    return pathlib.Path(curves or ROOT / 'docs' / 'curves').absolute() / where


def write_report(claim: str, where: str, folder: pathlib.Path) -> None:
    """Print the table and the curves of each claim that has results."""
    for key, names in chosen_claims(claim).items():
        results = read_results(folder, names)
        if results:
            click.echo(f'\n{key}, {where}: {ABOUT[key]}\n\n{format_results(results)}\n')
            click.echo(format_curves(folder, results))
    if not list(folder.glob('*/result.json')):
        raise click.ClickException(
            f'{folder} has no finished result; start with: python -m benchmarks.claim_study run {claim} '
            f'--on={where} --kimg=8'
        )


def draw_report(claim: str, folder: pathlib.Path, path: pathlib.Path) -> None:
    """Draw the curves of each claim that has at least two rows with one."""
    panels = {}
    for key, names in chosen_claims(claim).items():
        lines: dict[str, list] = {}
        for result in read_results(folder, names):
            points = curve(folder, result)
            if points:
                lines.setdefault(result.row, []).append(points)
        if len(lines) > 1:
            panels[key] = lines
    if not panels:
        raise click.ClickException(f'{folder} has curves of fewer than two rows of {claim}; run them first')
    try:
        save_figure(path, panels, f'Fréchet distance, {CURVE_METRIC}')
    except ImportError as error:
        raise click.ClickException(f'--figure={path}: {error}; pip install matplotlib') from error
    click.echo(f'Figure: {path}')


if __name__ == '__main__':
    main()
