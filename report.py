# Copyright 2026 The GDD-1S authors.
# SPDX-License-Identifier: Apache-2.0
"""Write the page of a run, report.html: one file with curves, samples, metrics, options and the command.

    python report.py training-runs/00000-mnist-32x32-...

Training writes it at its end; this command does at any time, also while the run goes on (docs/reports.md).
"""

import click

from dnnlib.cli import one_line_errors, run_script
from reports.page import write_page


# fmt: off
@click.command()
@click.argument('run_dirs', metavar='RUN_DIR...', nargs=-1, required=True)
def cmdline(run_dirs: tuple[str, ...]) -> None:
    """Write RUN_DIR/report.html, a page that needs no other file and asks nothing of the network."""
    with one_line_errors():
        for run_dir in run_dirs:
            click.echo(f'wrote {write_page(run_dir)}')
# fmt: on


if __name__ == '__main__':
    run_script(cmdline)
