# Copyright 2026 The GDD-1S authors.
# SPDX-License-Identifier: Apache-2.0
"""Does training against ImageNet features lower a distance in such features only?

    python -m benchmarks.claim_study run features --on=demo --kimg=8 --seeds=0-2     # trains the networks
    python -m benchmarks.leak_study run demo                                         # measures them
    python -m benchmarks.leak_study report demo                                      # table and figure again

GDD-I is trained with EfficientNet-Lite0 as the backbone of the discriminator, with features of the teacher,
and with both. Each last snapshot is measured in Lite0 (seen by the first and the third), Lite1 and Lite2 (the
same pretraining), the random network and, on digits, the MNIST classifier (independent), as the distance over
that of as many held-out real images. The references are made first, from one half of some random images with
the other half held out. Numbers are kept beside those of the claim, as docs/curves/STUDY/ROW-seedN/leak.json;
what is measured is not measured again.
"""

import dataclasses
import json
import os
import pathlib
import sys
from collections.abc import Callable, Sequence

import click

from benchmarks.claim_study import Result, folder_of, read_results, run_command, slug
from benchmarks.claims import CLAIMS, DATA, ROOT
from benchmarks.demo_study import mean_and_spread
from benchmarks.figures import new_figure, save_and_close
from dnnlib.util import atomic_write
from training.recipes import RECIPES

# Study -> encoders besides those of ENCODERS.
STUDIES = {'demo': ('mnist-classifier',), 'photos': ()}
ENCODERS = ('tf_efficientnet_lite0', 'tf_efficientnet_lite1', 'tf_efficientnet_lite2', 'random-conv')
# Name of a column -> row of the claim `features`.
ROWS = dict(zip(('Lite0', 'teacher', 'both', 'teacher, less noise'), CLAIMS['features']))


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


def encoders(study: str) -> list[str]:
    """Return the encoders of a study."""
    return [*ENCODERS, *STUDIES[study]]


def data_of(study: str) -> str:
    """Return the training images of a study: DATA, or those of its recipe."""
    return os.environ.get('DATA') or RECIPES[DATA[study].gdd_i].data_path


def make_references(study: str, folder: pathlib.Path, num_real: int, num_images: int) -> list[pathlib.Path]:
    """Make the references that are missing; return one per encoder.

    Args:
        study:      Name of the study.
        folder:     Where they are.
        num_real:   So many random images of the data set: half for the statistics, half held out.
        num_images: How many samples will be measured: as many held-out images are what they are divided by.
    """
    paths = []
    for name in encoders(study):
        path = folder / f'{name}-{num_real}-{num_images}.npz'
        if not path.is_file():
            click.echo(f'Reference of {name} ...')
            options = ['--split', f'--num={num_real}', f'--features={num_images}', f'--detector={name}']
            options += [f'--data={data_of(study)}', f'--dest={path}']
            run_command([sys.executable, 'fid.py', 'ref', *options])
        paths.append(path)
    return paths


def measure_cell(folder: pathlib.Path, references: Sequence[pathlib.Path], num_images: int) -> dict:
    """Measure the last snapshot in a folder; return the fields of a `Cell` that are measured."""
    snapshot, path = max(folder.glob('network-snapshot-*.pkl')), folder / 'leak-report.json'
    command = [sys.executable, 'fid.py', 'gen', f'--network={snapshot}', '--metrics=fdr', f'--json={path}']
    command += [f'--seeds=0-{num_images - 1}', *(f'--ref={reference}' for reference in references)]
    run_command(command)
    report = json.loads(path.read_text())
    ratios = {r['detector']: r for r in report['results'] if 'heldout_distance' in r}
    return dict(
        distances={name: ratio['distance'] for name, ratio in ratios.items()},
        heldout={name: ratio['heldout_distance'] for name, ratio in ratios.items()},
        overlap={c['detector']: c['overlap'] for c in report['comparisons']},
    )


def read_cells(curves: pathlib.Path) -> list[Cell]:
    """Return the finished cells, row by row."""
    cells = [Cell(**json.loads(path.read_text())) for path in sorted(curves.glob('*/leak.json'))]
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
            'cells of different lengths or numbers of images; keep each kind in a --curves of its own'
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
    rows = [row for row in ROWS if any(cell.row == row for cell in cells)]
    names = list(cells[0].distances)
    figure, axis = new_figure(figsize=(9, 3.6))
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
    save_and_close(figure, path)


def write_report(study: str, curves: pathlib.Path, figure: pathlib.Path) -> None:
    """Print the table of the finished cells and draw them."""
    cells = read_cells(curves)
    if not cells:
        raise click.ClickException(
            f'{curves} has no finished cell; start with: python -m benchmarks.leak_study run {study}'
        )
    try:
        table = format_cells(cells)
    except ValueError as error:
        raise click.ClickException(f'{curves}: {error}') from error
    try:
        title = f'{study} after {cells[0].kimg:g} kimg, {cells[0].num_images} samples; dots are seeds'
        save_figure(figure, cells, title)
    except ImportError as error:
        click.echo(f'No figure: {error}; pip install matplotlib, then run report again', err=True)
    click.echo(f'{table}\n\nFigure: {figure}')


def find_networks(study: str, curves: pathlib.Path, work: pathlib.Path) -> list[tuple[str, Result]]:
    """Return (column, trained row) of every network that can be measured.

    Raises:
        click.ClickException: There is none; the command that trains them.
    """
    found = []
    for name, row in ROWS.items():
        for result in read_results(curves, (row,)):
            if list((work / f'{slug(row)}-seed{result.seed}').glob('network-snapshot-*.pkl')):
                found.append((name, result))
    if not found:
        command = f'python -m benchmarks.claim_study run features --on={study} --kimg=8 --seeds=0-2'
        raise click.ClickException(f'{work} has no finished network of the claim; train them with: {command}')
    return found


@click.group()
def main() -> None:
    """The leak experiment; see the head of this file."""


# fmt: off
def common(function: Callable) -> Callable:
    """Add the options that both commands have."""
    for decorate in (
        click.argument('study', type=click.Choice(list(STUDIES))),
        click.option('--curves', metavar='DIR', help='Results of the claim  [default: docs/curves]'),
        click.option('--figure', metavar='PNG', help='Where it goes  [default: docs/leak-STUDY.png]'),
    ):
        function = decorate(function)
    return function


@main.command()
@common
@click.option('--num', 'num_images', help='Samples per network', metavar='INT', type=click.IntRange(min=2),
              default=1000, show_default=True)
@click.option('--real', 'num_real', help='Real images, of which one half is held out', metavar='INT',
              type=click.IntRange(min=4), default=6000, show_default=True)
@click.option('--work', metavar='DIR', help='Where the claim was trained  [default: training-runs/claims]')
def run(study: str, curves: str | None, figure: str | None, num_images: int, num_real: int,
        work: str | None) -> None:
    """Measure the networks that are not measured yet, then report."""
    folder = folder_of(curves, study)
    trained = pathlib.Path(work or ROOT / 'training-runs' / 'claims').absolute() / study
    networks = find_networks(study, folder, trained)
    references = make_references(study, trained / 'references', num_real, num_images)
    for name, result in networks:
        part = f'{slug(result.row)}-seed{result.seed}'
        path = folder / part / 'leak.json'
        if not path.is_file():
            measured = measure_cell(trained / part, references, num_images)
            cell = Cell(name, result.seed, result.kimg, num_images, **measured)
            with atomic_write(path) as file:
                file.write((json.dumps(dataclasses.asdict(cell), indent=1) + '\n').encode())
            shown = ', '.join(f'{encoder} {value:.3g}' for encoder, value in cell.distances.items())
            click.echo(f'D of {name}, seed {result.seed}: {shown}')
    write_report(study, folder, picture(figure, study))


@main.command()
@common
def report(study: str, curves: str | None, figure: str | None) -> None:
    """Print the table of the finished cells and draw them."""
    write_report(study, folder_of(curves, study), picture(figure, study))
# fmt: on


def picture(figure: str | None, study: str) -> pathlib.Path:
    """Return the file of the figure."""
    return pathlib.Path(figure or ROOT / 'docs' / f'leak-{study}.png')


if __name__ == '__main__':
    main()
