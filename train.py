# Copyright 2026 The GDD-1S authors.
# SPDX-License-Identifier: Apache-2.0
"""Distil an EDM teacher into a one-step generator, or train a teacher.

\b
Examples:
  # Distil the MNIST teacher of this repository: about 10 minutes on 2 CPU cores
  python train.py --recipe=demo --outdir=training-runs
\b
  # Distil a teacher of your own (sh train.sh --list names the published recipes)
  torchrun --standalone --nproc_per_node=4 train.py --outdir=training-runs --data=images.zip \\
      --transfer=teacher.pkl --freeze=1 --batch=256 --duration=5
\b
  # Train a teacher on 8 GPUs (sh train.sh --list names EDM's nine published configurations)
  torchrun --standalone --nproc_per_node=8 train.py --precond=edm --arch=ncsnpp \\
      --outdir=training-runs --data=datasets/cifar10-32x32.zip --cond=1
"""

import json
import os
import shlex
import sys
from collections.abc import Callable
from shlex import quote
from typing import Any

import click

from dnnlib.cli import fail, one_line, one_line_errors, run_script
from dnnlib.errors import ArgumentError, FailedElsewhere, ProcessLost, arg, as_option
from dnnlib.parallel import spare_other_work
from evaluations.metrics.names import parse_live_metrics
from training.choices import OFFICIAL_CLASS_TABLE
from training.config import build_config, check_teacher_given
from training.options import OPTIONS, GroupedCommand, refuse_recipe, refuse_unused
from training.recipes import RECIPES, VARIABLES, Recipe, missing_file
from training.run import folder
from training.second_spellings import choose_loss, translate

# Options that say where a run goes; all others but these and the recipe say what it is.
PLACE = ('outdir', 'desc', 'nosubdir')
NO_RUN = ('recipe', 'dry_run', 'check', 'json')
NAMES = dict(path='data')  # arguments of the library that have another name as options
DEFAULT, DEFAULT_MAP = click.core.ParameterSource.DEFAULT, click.core.ParameterSource.DEFAULT_MAP


@click.command(
    cls=GroupedCommand, help=__doc__, params=list(OPTIONS), context_settings=dict(max_content_width=110)
)
@click.pass_context
def main(ctx: click.Context, **_options: Any) -> None:
    with one_line_errors(**NAMES):
        config = resolve(ctx)
        if ctx.params['check']:
            sys.exit(show_check(ctx, config))
        if ctx.params['dry_run']:
            click.echo(json.dumps(config, indent=2))
            return
        check_files(ctx, config)
        note = spare_other_work()  # before torch is imported
        if note:
            click.echo(note)
        run, run_dir = prepare(config, **{name: ctx.params[name] for name in PLACE})
    launch(run, run_dir)


def resolve(ctx: click.Context) -> dict[str, Any]:
    """Turn the options of a command line into the config of a run.

    Raises:
        ArgumentError: Options that exclude or need each other, or that the run would not read.
        click.BadParameter: A malformed list of metrics.
    """
    opts = {name: value for name, value in ctx.params.items() if name not in (*PLACE, *NO_RUN)}
    sources = {name: ctx.get_parameter_source(name) for name in opts}
    of_recipe = {name for name, source in sources.items() if source is DEFAULT_MAP}
    if ctx.params['json'] and not ctx.params['check']:
        raise ArgumentError(arg('json'), ' shows what ', arg('check'), ' finds; add ', arg('check'))
    opts['metrics'] = parse_metrics(ctx, opts['metrics'])
    opts['loss'] = choose_loss(opts, of_recipe)
    check_teacher_given(opts)
    given = [name for name, source in sources.items() if source is not DEFAULT]
    refuse_unused(opts, given, weak=of_recipe)
    return build_config(translate(opts, weak=of_recipe))


def parse_metrics(ctx: click.Context, text: str | None) -> list[str] | None:
    """Parse 'fd10k,is50k' into a list of names; evaluations/ knows them, which training/ does not import."""
    try:
        return None if text is None else parse_live_metrics(text)
    except ValueError as error:
        raise click.BadParameter(one_line(error), ctx, param_hint="'--metrics'") from error


def show_check(ctx: click.Context, config: dict[str, Any]) -> int:
    """Print what a run would need; returns the exit code: 2 where something is missing."""
    note = spare_other_work()  # before torch is imported
    if note and not ctx.params['json']:
        click.echo(note)
    from workflow.check import check, lines

    name, missing = ctx.params['recipe'], missing_files(ctx, config)
    rest = [word for word in sys.argv[1:] if not word.startswith(('--check', '--json', '--recipe'))]
    given = [f'{key}={os.environ[key]}' for key in (*VARIABLES, 'NPROC') if os.environ.get(key)]
    command = shlex.join(['sh', 'train.sh', name, *given, *rest] if name else ['python', 'train.py', *rest])
    processes = int(os.environ.get('NPROC', '1'))
    found = check(config, ctx.params['outdir'], [missing] if missing else [], command, processes)
    click.echo(json.dumps(found._asdict(), indent=2) if ctx.params['json'] else '\n'.join(lines(found)))
    return 2 if found.missing else 0


def missing_files(ctx: click.Context, config: dict[str, Any]) -> str | None:
    """Say which file that a recipe, or the official code, brings in is missing; None if none is."""
    recipe, missing = RECIPES.get(ctx.params['recipe']), missing_class_table(config)
    if recipe is None:
        return missing
    of_recipe = [
        ctx.params[name] if ctx.get_parameter_source(name) is DEFAULT_MAP else None
        for name in ('data', 'transfer')
    ]
    return missing_file(recipe, *of_recipe) or missing


def check_files(ctx: click.Context, config: dict[str, Any]) -> None:
    """Say which file that a recipe, or the official code, brings in is missing, and where it comes from.

    Raises:
        click.ClickException: A file is missing; exit code 2 with a recipe.
    """
    recipe, missing = RECIPES.get(ctx.params['recipe']), missing_files(ctx, config)
    if missing and recipe is not None:
        refuse_recipe(missing)
    if missing:
        fail(ArgumentError(missing))
    if recipe is not None:
        note_processes(ctx.params['recipe'], recipe)


def missing_class_table(config: dict[str, Any]) -> str | None:
    """Say where the official class table comes from if the run needs it and it is missing."""
    table = config.get('discriminator_kwargs', {}).get('class_embed')
    if table != OFFICIAL_CLASS_TABLE or config['teacher_only'] or os.path.exists(table):
        return None
    return (
        f'{table} is missing; pretrained/README.md says how to make it (ImageNet class embeddings, '
        '1000 x 320), or give --class-embed=FILE.npy, random or computed'
    )


def note_processes(name: str, recipe: Recipe) -> None:
    """Tell, once, that a recipe was published with more processes than this run has."""
    processes = int(os.environ.get('WORLD_SIZE', '1'))
    if recipe.processes > processes and os.environ.get('RANK', '0') == '0':
        click.echo(
            f'Note: {name} was published with {recipe.processes} processes, this run has NPROC={processes}; '
            '--batch-gpu=N limits its memory',
            err=True,
        )


def prepare(config: dict[str, Any], outdir: str, desc: str | None, nosubdir: bool) -> tuple[Any, str]:
    """Join the processes, build every part of the run, and only then take a folder for it.

    Returns:
        TrainingRun, run folder.
    """
    from torch_utils import distributed

    require_resume(config)
    distributed.init(None if config['device'] == 'auto' else config['device'])
    description = folder.run_description(config, distributed.get_world_size(), desc)
    run_dir = folder.choose_run_dir(outdir, description, nosubdir, config['resume'])
    distributed.barrier()  # no process may create the folder before all have looked at it
    run = build_run(config)
    if config['resume'] == 'auto':
        run_dir = find_and_resume(run, outdir, description, nosubdir)
    if not config['resume'] or run_dir is None:
        options = json.dumps(run.config, indent=2).encode() + b'\n'
        run_dir = on_rank0(lambda: folder.claim_run_dir(outdir, description, nosubdir, options))
    return run, run_dir


def require_resume(config: dict[str, Any]) -> None:
    """Refuse a launcher's restarts of a run that would begin anew each time.

    Raises:
        ArgumentError: Without --resume=auto.
    """
    restarts = os.environ.get('TORCHELASTIC_MAX_RESTARTS', '0')
    if restarts != '0' and config['resume'] != 'auto':
        raise ArgumentError(
            arg('max_restarts', restarts),
            ' of the launcher needs ',
            arg('resume', 'auto'),
            ', or processes that are started again would not go on with their run; add it, or use ',
            arg('max_restarts', 0),
        )


def build_run(config: dict[str, Any]) -> Any:
    """Open the data, build what measures, and the run with them."""
    from torch_utils import distributed
    from training.dataset import ImageFolderDataset
    from training.training_loop import TrainingRun

    # `class_name` is there for EDM, whose files have it.
    arguments = {name: value for name, value in config['dataset_kwargs'].items() if name != 'class_name'}
    dataset, metrics = ImageFolderDataset(**arguments), None
    if config['metrics_kwargs'] is not None:
        from evaluations.live_metrics import LiveMetrics

        shape = (dataset.num_channels, dataset.resolution, dataset.resolution)
        metrics = LiveMetrics(**config['metrics_kwargs'], image_shape=shape, device=distributed.get_device())
    return TrainingRun(config, dataset, metrics)


def find_and_resume(run: Any, outdir: str, description: str, nosubdir: bool) -> str | None:
    """Let a run go on from what the same command has left; only now do its parts tell what makes it the same.

    Returns:
        Folder of that run, or None if there is none.
    """
    from torch_utils import distributed
    from training.run import resume

    found = on_rank0(lambda: resume.find_run(run.config, run.world_size, outdir, description, nosubdir))
    for note in found.notes:
        distributed.print0(ArgumentError(*note).spell(as_option))
    run.resume_from(found.state)
    return found.run_dir


def on_rank0(function: Callable[[], Any]) -> Any:
    """Call a function on rank 0 and give all processes its result; where it fails, all end."""
    from torch_utils import distributed

    return distributed.broadcast_object(distributed.rank0_only(function))


def launch(run: Any, run_dir: str) -> None:
    """Print the options and train."""
    from torch_utils import distributed
    from training.images.files import DatasetError
    from training.run.preemption import Preempted
    from training.training_loop import run_training
    from training.update.gradients import NonFiniteError

    distributed.print0(f'Training options:\n{json.dumps(run.config, indent=2)}\n\nRun folder: {run_dir}')
    for remark in run.dataset.remarks:
        distributed.print0(f'Note: {run.config["dataset_kwargs"]["path"]}: {remark}')
    path = None
    try:
        path = run_training(run, run_dir)
    except Preempted as error:
        distributed.print0(f'Preempted: {error}', flush=True)
        distributed.destroy()
        sys.exit(error.exit_code)
    # A damaged image comes up when its turn comes, a full disk with a snapshot, the end of another process
    # at any time.
    except (ArgumentError, DatasetError, NonFiniteError, OSError, ProcessLost) as error:
        fail(error, **NAMES)
    except FailedElsewhere:
        sys.exit(1)
    distributed.destroy()
    if path:
        write_report(run_dir)


def write_report(run_dir: str) -> None:
    """Write report.html; a run that is complete does not fail for the sake of its page."""
    try:
        from reports.page import write_page

        click.echo(f'Report: {write_page(run_dir)}')
    except Exception as error:
        click.echo(
            f'Note: no report ({one_line(error)}); python report.py {quote(run_dir)} tries again', err=True
        )


if __name__ == '__main__':
    run_script(main)
