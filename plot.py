# Copyright 2026 The GDD-1S authors.
# SPDX-License-Identifier: Apache-2.0
"""Draw the curves of one run or several, and strips of their samples over time, as PNG files.

    python plot.py training-runs/00000-mnist-32x32-...
    python plot.py --outdir=plots training-runs/00000-... training-runs/00001-...

Everything comes from files in the folders: stats.jsonl, metric-*.jsonl, fakes-*.png (docs/reports.md).
"""

import os

import click

from dnnlib.cli import one_line_errors, run_script
from reports.figures import save_figure
from reports.panels import make_panels
from reports.run_folder import RunFolder, read_run
from reports.strips import save_strips

CURVES, SAMPLES = 'curves.png', 'samples.png'


def names_of(runs: list[RunFolder]) -> list[str]:
    """Return a name for every run: of its folder, or the whole path where two folders are called the same."""
    names = [run.name for run in runs]
    names = names if len(set(names)) == len(names) else [run.path for run in runs]
    return [name.encode('utf-8', 'backslashreplace').decode() for name in names]


def draw(run_dirs: list[str], outdir: str | None, rows: int, columns: int, dpi: int) -> None:
    """Do what the command says; see its options."""
    runs = [read_run(path) for path in run_dirs]
    outdir = outdir or (run_dirs[0] if len(runs) == 1 else '.')
    os.makedirs(outdir, exist_ok=True)
    curves, samples = os.path.join(outdir, CURVES), os.path.join(outdir, SAMPLES)
    save_figure(curves, make_panels(runs), names_of(runs), dpi)
    click.echo(f'wrote {curves}')
    if any(run.grids for run in runs):
        save_strips(samples, runs, rows, columns)
        click.echo(f'wrote {samples}')


# fmt: off
@click.command()
@click.argument('run_dirs', metavar='RUN_DIR...', nargs=-1, required=True)
@click.option('--outdir',  help='Where to write  [default: the run\'s folder; of several: .]', metavar='DIR')
@click.option('--rows',    help='Most snapshots of a run in the strip', metavar='INT',
              type=click.IntRange(min=1), default=8, show_default=True)
@click.option('--columns', help='Most images of a snapshot in the strip', metavar='INT',
              type=click.IntRange(min=1), default=10, show_default=True)
@click.option('--dpi',     help='Pixels per inch of the curves', metavar='INT',
              type=click.IntRange(min=20, max=1000), default=110, show_default=True)
def cmdline(run_dirs: tuple[str, ...], outdir: str | None, rows: int, columns: int, dpi: int) -> None:
    """Draw curves of runs to curves.png, and their samples over time to samples.png.

    Losses, logits, sign rate, R1, gradient norms, non-finite steps, metrics and speed over thousands of
    training images; several runs share the axes. In a strip every column has one seed.
    """
    with one_line_errors():
        draw(list(run_dirs), outdir, rows, columns, dpi)
# fmt: on


if __name__ == '__main__':
    run_script(cmdline)
