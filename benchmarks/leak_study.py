# Copyright 2026 The GDD-1S authors.
# SPDX-License-Identifier: Apache-2.0
"""Does training against ImageNet features lower a distance in such features only?

    python -m benchmarks.leak_study run demo --kimg=20 --seeds=0-2
    python -m benchmarks.leak_study run photos --kimg=20 --seeds=0-2    # after: sh train.sh photos-teacher
    python -m benchmarks.leak_study report demo                         # table and figure of what is finished

GDD-I is trained with EfficientNet-Lite0 as the backbone of the discriminator, with features of the teacher,
and with both. Each last snapshot is measured in Lite0 (seen by the first and the third), Lite1 and Lite2 (the
same pretraining), the random network and, on digits, the MNIST classifier (independent), as the distance over
that of as many held-out real images. The references are made first, from one half of the data set with the
other half held out. Whatever is finished is skipped, so an interrupted study goes on where it was; teacher
and data are those of the recipe, or the variables TEACHER and DATA of train.sh.
"""

import dataclasses
import json
import os
import pathlib
import subprocess
import sys
from collections.abc import Sequence

import click

from benchmarks.demo_study import ROOT, mean_and_spread, train_cell
from dnnlib.util import atomic_write
from training.recipes import RECIPES
from training.sampling.seeds import parse_seeds

# Study -> (recipe, encoders besides those of ENCODERS).
STUDIES = {'demo': ('demo', ('mnist-classifier',)), 'photos': ('photos-gdd-i', ())}
ENCODERS = ('tf_efficientnet_lite0', 'tf_efficientnet_lite1', 'tf_efficientnet_lite2', 'random-conv')
# Row -> options on top of the recipe.
ROWS = {
    'Lite0': ['--backbone=tf_efficientnet_lite0'],
    'teacher': ['--backbone=teacher'],
    'both': ['--backbone=teacher,tf_efficientnet_lite0'],
}


@dataclasses.dataclass(frozen=True)
class Cell:
    """One trained network and its distances."""

    row: str
    seed: int
    kimg: float
    num_images: int
    distances: dict[str, float]  # encoder -> Frechet distance
    heldout: dict[str, float]  # encoder -> that of as many held-out real images
    overlap: dict[str, str]  # encoder -> relation to what trained the network
    cpu_sec: float


def encoders(study: str) -> list[str]:
    """Return the encoders of a study."""
    return [*ENCODERS, *STUDIES[study][1]]


def call(*command: object) -> None:
    """Run a command of this project; its last lines are the error."""
    result = subprocess.run(list(map(str, command)), cwd=ROOT, capture_output=True, text=True)
    if result.returncode != 0:
        text = ' '.join(map(str, command))
        raise RuntimeError(f'{text} failed: {result.stderr.strip()[-600:]}')


def data_of(study: str) -> str:
    """Return the training images of a study: DATA, or those of its recipe."""
    return os.environ.get('DATA') or RECIPES[STUDIES[study][0]].data_path


def make_references(study: str, outdir: pathlib.Path, num_images: int) -> list[pathlib.Path]:
    """Make the references that are missing; return one per encoder."""
    paths = []
    for name in encoders(study):
        path = outdir / 'references' / f'{name}-{num_images}.npz'
        if not path.is_file():
            click.echo(f'Reference of {name} ...')
            options = ['--split', f'--features={num_images}', f'--detector={name}', f'--dest={path}']
            call(sys.executable, 'fid.py', 'ref', f'--data={data_of(study)}', *options)
        paths.append(path)
    return paths


def measure_cell(folder: pathlib.Path, references: Sequence[pathlib.Path], num_images: int) -> dict:
    """Measure the last snapshot in a folder; return the fields of a `Cell` that are measured."""
    snapshot, path = max(folder.glob('network-snapshot-*.pkl')), folder / 'measured.json'
    command = [sys.executable, 'fid.py', 'gen', f'--network={snapshot}', '--metrics=fdr', f'--json={path}']
    command += [f'--seeds=0-{num_images - 1}', *(f'--ref={reference}' for reference in references)]
    call(*command)
    report = json.loads(path.read_text())
    ratios = {r['detector']: r for r in report['results'] if 'heldout_distance' in r}
    return dict(
        distances={name: ratio['distance'] for name, ratio in ratios.items()},
        heldout={name: ratio['heldout_distance'] for name, ratio in ratios.items()},
        overlap={c['detector']: c['overlap'] for c in report['comparisons']},
    )


def read_cells(outdir: pathlib.Path) -> list[Cell]:
    """Return the finished cells, row by row."""
    cells = [Cell(**json.loads(path.read_text())) for path in sorted(outdir.glob('*/cell.json'))]
    return sorted(cells, key=lambda cell: (list(ROWS).index(cell.row), cell.seed))


def ratios_of(cells: Sequence[Cell], row: str, encoder: str) -> list[float]:
    """Return distance / held-out distance of all seeds of a row."""
    return [cell.distances[encoder] / cell.heldout[encoder] for cell in cells if cell.row == row]


def format_cells(cells: Sequence[Cell]) -> str:
    """Return a Markdown table: a line per encoder, a column per row of the study.

    Raises:
        ValueError: Cells of different lengths or numbers of images.
    """
    if len({(cell.kimg, cell.num_images) for cell in cells}) > 1:
        raise ValueError(
            'cells of different lengths or numbers of images; run each in an --outdir of its own'
        )
    rows = [row for row in ROWS if any(cell.row == row for cell in cells)]
    lines = [f'| encoder | {" | ".join(f"D of {row}" for row in rows)} |', f'|---|{"---:|" * len(rows)}']
    for encoder in cells[0].distances:
        texts = []
        for row in rows:
            mean, spread = mean_and_spread(ratios_of(cells, row, encoder))
            relation = next(cell.overlap[encoder] for cell in cells if cell.row == row)
            texts.append(f'{mean:.2f}' + ('' if spread is None else f' ± {spread:.2f}') + f' ({relation})')
        lines.append(f'| {encoder} | {" | ".join(texts)} |')
    return '\n'.join(lines)


def save_figure(path: pathlib.Path, cells: Sequence[Cell], title: str) -> None:
    """Draw a group of bars per encoder, a bar per row of the study, and a dot per seed."""
    import matplotlib

    matplotlib.use('Agg')
    from matplotlib import pyplot

    rows = [row for row in ROWS if any(cell.row == row for cell in cells)]
    names = list(cells[0].distances)
    figure, axis = pyplot.subplots(figsize=(9, 3.6), layout='constrained')
    width = 0.8 / len(rows)
    for i, row in enumerate(rows):
        places = [k - 0.4 + width * (i + 0.5) for k in range(len(names))]
        values = [ratios_of(cells, row, name) for name in names]
        axis.bar(places, [sum(v) / len(v) for v in values], width * 0.9, label=f'D of {row}', alpha=0.6)
        for place, found in zip(places, values):
            axis.scatter([place] * len(found), found, s=14, color='black', zorder=3)
    axis.axhline(1, color='grey', linewidth=0.8)
    axis.set_yscale('log')
    axis.set_xticks(range(len(names)), names, fontsize=8)
    axis.set_ylabel('distance / held-out images')
    axis.legend(fontsize=8)
    figure.suptitle(title, fontsize=10)
    with atomic_write(path) as file:
        figure.savefig(file, format='png', dpi=110)
    pyplot.close(figure)


def write_report(study: str, outdir: pathlib.Path) -> None:
    """Write study.md and study.png, and print the table."""
    cells = read_cells(outdir)
    if not cells:
        raise click.ClickException(
            f'--outdir={outdir} has no finished cell; start with: '
            f'python -m benchmarks.leak_study run {study} --kimg=8'
        )
    try:
        table = format_cells(cells)
    except ValueError as error:
        raise click.ClickException(f'--outdir={outdir}: {error}') from error
    with atomic_write(outdir / 'study.md') as file:
        file.write(f'{table}\n'.encode())
    try:
        title = f'{study} after {cells[0].kimg:g} kimg, {cells[0].num_images} samples; dots are seeds'
        save_figure(outdir / 'study.png', cells, title)
    except ImportError as error:
        click.echo(f'No figure: {error}; pip install matplotlib, then run report again', err=True)
    click.echo(f'{table}\n\nTable and figure: {outdir}/study.*')


def run_cell(study: str, row: str, seed: int, kimg: float, num_images: int, outdir: pathlib.Path) -> Cell:
    """Train and measure one cell; a trained network that was not measured is not trained again."""
    folder = outdir / f'{row.lower()}-seed{seed}'
    trained = folder / 'trained.json'
    if not trained.is_file():
        cpu_sec = train_cell(folder, STUDIES[study][0], ROWS[row], seed, kimg)
        with atomic_write(trained) as file:
            file.write(json.dumps(dict(cpu_sec=cpu_sec)).encode())
    measured = measure_cell(folder, make_references(study, outdir, num_images), num_images)
    cell = Cell(row, seed, kimg, num_images, cpu_sec=json.loads(trained.read_text())['cpu_sec'], **measured)
    with atomic_write(folder / 'cell.json') as file:
        file.write((json.dumps(dataclasses.asdict(cell), indent=2) + '\n').encode())
    return cell


@click.group()
def main() -> None:
    """The leak experiment; see the head of this file."""


_outdir = click.option('--outdir', help='Folder  [default: training-runs/leak-STUDY]', metavar='DIR')


# fmt: off
@main.command()
@click.argument('study', type=click.Choice(list(STUDIES)))
@click.option('--kimg', help='Training length of every cell', metavar='KIMG', type=click.FloatRange(min=1),
              required=True)
@click.option('--seeds', help='Seeds, such as 0-2', metavar='LIST', type=parse_seeds, default='0-2',
              show_default=True)
@click.option('--rows', help='Only rows whose name contains this', metavar='TEXT', default='')
@click.option('--num', 'num_images', help='Samples per network', metavar='INT', type=click.IntRange(min=2),
              default=2000, show_default=True)
@_outdir
def run(study: str, kimg: float, seeds: list[int], rows: str, num_images: int, outdir: str | None) -> None:
    """Train and measure what is missing, seed after seed, then report."""
    folder = pathlib.Path(outdir or ROOT / 'training-runs' / f'leak-{study}').absolute()
    todo = [(int(seed), row) for seed in seeds for row in ROWS if rows in row]
    for number, (seed, row) in enumerate(todo, start=1):
        if (folder / f'{row.lower()}-seed{seed}' / 'cell.json').is_file():
            continue
        click.echo(f'{number} of {len(todo)}: D of {row}, seed {seed} ...')
        try:
            cell = run_cell(study, row, seed, kimg, num_images, folder)
        except RuntimeError as error:
            raise click.ClickException(str(error)) from error
        click.echo('    ' + ', '.join(f'{name} {value:.3g}' for name, value in cell.distances.items()))
    write_report(study, folder)
# fmt: on


@main.command()
@click.argument('study', type=click.Choice(list(STUDIES)))
@_outdir
def report(study: str, outdir: str | None) -> None:
    """Print the table of the finished cells; write study.md and study.png."""
    write_report(study, pathlib.Path(outdir or ROOT / 'training-runs' / f'leak-{study}'))


if __name__ == '__main__':
    main()
