# Copyright 2026 The GDD-1S authors.
# SPDX-License-Identifier: Apache-2.0
"""Distil your own images: convert them, look at them, train a teacher, distil it, measure, report.

\b
    sh train.sh own DATA=photos.zip              # a folder, a zip, or anything dataset_tool.py reads
    DATA=photos TEACHER=teacher.pkl sh train.sh own --minutes=60

Every step is a command of this project, which is shown before it runs. Steps whose result is there are
skipped, and training goes on where it was interrupted: after a kill, give the same command again.
docs/tuning.md says what to change when the images do not please.
"""

import glob
import json
import os
import shlex
import shutil
import sys
from collections.abc import Callable, Iterator

import click
import torch

from dnnlib.cli import one_line_errors, run_script
from dnnlib.errors import ArgumentError, arg
from dnnlib.files import claim
from dnnlib.parallel import spare_other_work
from dnnlib.util import is_url
from training.choices import backbone_names
from training.dataset import ImageFolderDataset
from training.images.files import DatasetError
from training.recipes import OUTDIR, RECIPES
from training.run.folder import dataset_name
from workflow.steps import Step, StepFailed, Steps, spell

ROOT = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
# The feature network that measures: not the one D is trained on, but of the same pretraining.
MEASURED_WITH = 'tf_efficientnet_lite1'
SMALL, LARGE = 32, 64  # pixels that suit a CPU, and a GPU
CPU_MINUTES, GPU_MINUTES = 30, 24 * 60
STEPS = ('convert', 'look', 'plan', 'teacher', 'distil', 'reference', 'measure', 'report')


class OwnImages:
    """The steps from images to a table, in a folder.

    Args:
        data:       Images, as dataset_tool.py reads them, or an archive that it has made.
        teacher:    Snapshot of a teacher to start from, or None to train one.
        folder:     Where everything is written.
        resolution: Side of the images in pixels, or None for what suits the machine.
        minutes:    Time for everything, or None likewise.
        processes:  Number of training processes.
        images:     Number of generated images that are measured, or None likewise.
        extra:      Further options of train.py, by 'teacher' and 'student'.
    """

    def __init__(
        self,
        data: str,
        teacher: str | None,
        folder: str,
        resolution: int | None,
        minutes: float | None,
        processes: int,
        images: int | None,
        extra: dict[str, list[str]],
    ) -> None:
        self.on_gpu = torch.cuda.is_available()
        self.source, self.teacher, self.folder, self.extra = data, teacher, folder, extra
        self.minutes = minutes or (GPU_MINUTES if self.on_gpu else CPU_MINUTES)
        self.processes, self.images = processes, images or (10_000 if self.on_gpu else 1000)
        self.data, self.student = data, ''
        ready = ready_resolution(data)
        self.convert = ready is None or resolution not in (None, ready)
        self.resolution = resolution or ready or (LARGE if self.on_gpu else SMALL)

    def steps(self) -> Iterator[Step]:
        """Yield the steps; what one finds is known to the next through the attributes."""
        if self.convert:
            self.data = self._path(f'{dataset_name(self.source)}-{self.resolution}x{self.resolution}.zip')
            yield self._convert()
        yield self._look()
        yield self._plan()
        with open(self._path('plan.json'), encoding='utf-8') as file:
            plan = json.load(file)
        if self.teacher is None:
            yield self._train('teacher', 'train a teacher', plan['teacher'])
            self.teacher = newest_snapshot(self._path('teacher'))
        arguments = [f'--transfer={self.teacher}', *plan['student']]
        yield self._train('distil', 'distil it into one step', arguments)
        self.student = newest_snapshot(self._path('student')) or ''
        yield self._reference()
        yield self._measure()
        if os.path.exists(os.path.join(ROOT, 'report.py')):
            yield self._report()

    def _path(self, name: str) -> str:
        return os.path.join(self.folder, name)

    def _convert(self) -> Step:
        size = f'{self.resolution}x{self.resolution}'
        command = ['dataset_tool.py', 'convert', f'--source={self.source}', f'--dest={self.data}']
        command += ['--transform=center-crop', f'--resolution={size}', '--exif=apply', '--skip-bad']
        return Step('convert', f'cut and resize to {size}', command, [self.source], exists(self.data))

    def _look(self) -> Step:
        picture = self._path('samples.png')
        command = ['dataset_tool.py', 'inspect', f'--source={self.data}', f'--grid={picture}']
        return Step('look', 'count them, and show some', command, [self.data], exists(picture))

    def _plan(self) -> Step:
        plan = self._path('plan.json')
        command = ['-m', 'workflow.plan', f'--data={self.data}', f'--dest={plan}']
        command += [f'--minutes={self.minutes:g}', f'--processes={self.processes}']
        command += [f'--teacher={self.teacher}'] if self.teacher else []
        about = f'find out what is fast here, for a minute, and divide {self.minutes:g} minutes by it'
        return Step('plan', about, command, [self.data], exists(plan))

    def _train(self, name: str, about: str, options: list[str]) -> Step:
        role = 'teacher' if name == 'teacher' else 'student'
        folder = self._path(role)
        command = ['-m', 'torch_utils.launch', '--standalone', f'--nproc_per_node={self.processes}']
        command += ['train.py', f'--data={self.data}', f'--outdir={folder}', '--resume=auto', *options]
        command += self.extra[role]
        inputs = [self.data, *([self.teacher] if name == 'distil' and self.teacher else [])]
        return Step(name, about, command, inputs, lambda: newest_snapshot(folder))

    def _reference(self) -> Step:
        path = self._path('reference.npz')
        command = ['fid.py', 'ref', f'--data={self.data}', f'--dest={path}', f'--detector={MEASURED_WITH}']
        return Step('reference', 'statistics of your images', command, [self.data], exists(path))

    def _measure(self) -> Step:
        folder, reference = os.path.dirname(self.student), self._path('reference.npz')
        command = ['-m', 'evaluations.teacher_and_student', f'--teacher={self.teacher}']
        command += [f'--student={self.student}', f'--ref={reference}', f'--detector={MEASURED_WITH}']
        command += [f'--num={self.images}', f'--outdir={folder}']
        inputs = [str(self.teacher), self.student, reference]
        table = os.path.join(folder, 'comparison.md')
        return Step('measure', 'teacher and student side by side', command, inputs, exists(table))

    def _report(self) -> Step:
        folder = os.path.dirname(self.student)
        page = os.path.join(folder, 'report.html')
        inputs = [os.path.join(folder, name) for name in ('stats.jsonl', 'comparison.md')]
        return Step('report', 'a page with all of it', ['report.py', folder], inputs, exists(page))


def exists(path: str) -> Callable[[], str | None]:
    """Return a function that gives the path if it exists, else None."""
    return lambda: path if os.path.exists(path) else None


def ready_resolution(data: str) -> int | None:
    """Return the side of the images of an archive or folder that needs no conversion; None if it does."""
    try:
        dataset = ImageFolderDataset(data, use_labels=True)
    except (DatasetError, OSError):
        return None
    side = dataset.image_shape[-1]
    # In a folder without dataset.json dataset_tool.py takes classes from the folders below.
    labels_known = dataset.has_labels or not any(entry.is_dir() for entry in folder_entries(data))
    square = dataset.image_shape[1] == side and side & (side - 1) == 0
    return side if square and labels_known else None


def folder_entries(path: str) -> list[os.DirEntry]:
    """List a folder; a file has no entries."""
    if not os.path.isdir(path):
        return []
    with os.scandir(path) as entries:
        return list(entries)


def newest_snapshot(outdir: str) -> str | None:
    """Return the last snapshot of the run in `outdir` that was trained last, or None."""
    logs = glob.glob(os.path.join(glob.escape(outdir), '*', 'log.txt'))
    if not logs:
        return None
    run_dir = os.path.dirname(max(logs, key=os.path.getmtime))
    return max(glob.glob(os.path.join(glob.escape(run_dir), 'network-snapshot-*.pkl')), default=None)


def run_steps(work: OwnImages, until: str | None, dry_run: bool) -> None:
    """Run the steps, or show what they would be.

    Raises:
        StepFailed: One has failed.
    """
    os.makedirs(work.folder, exist_ok=True)
    with claim(work.folder):
        steps = Steps(work.folder, click.echo)
        for step in work.steps():
            if not dry_run:
                steps.run(step)
            elif steps.result(step) is None:
                click.echo(f'{step.name}: {spell(step.command)}\n... and what depends on its result')
                return
            if step.name == until:
                return


def closing_words(work: OwnImages) -> str:
    """Return the table, and where everything lies."""
    folder = os.path.dirname(work.student)
    with open(os.path.join(folder, 'comparison.md'), encoding='utf-8') as file:
        lines = [file.read(), f'Pictures   {folder}/comparison.png, {work.folder}/samples.png']
    if MEASURED_WITH in backbone_names(RECIPES['own-student'].options['backbone']):
        lines.append(
            f'Note       D was trained on {MEASURED_WITH} as well, so the distance flatters the student'
        )
    if os.path.exists(os.path.join(folder, 'report.html')):
        lines.append(f'Report     {folder}/report.html')
    lines.append(f'Student    {work.student}')
    first = activation(sys.executable)
    sample = f'python generate.py --network={work.student} --outdir=out --seeds=0-63'
    lines.append(f'Sample it  {first + " && " if first else ""}{sample}')
    return '\n'.join(lines)


def activation(executable: str) -> str | None:
    """Return the command after which `python` is this one; None where it is, or no command makes it so.

    Args:
        executable: Path of the running Python.
    """
    folder, found = os.path.dirname(executable), shutil.which('python')
    script = os.path.join(folder, 'activate')
    active = found is not None and os.path.dirname(os.path.abspath(found)) == folder
    return None if active or not os.path.exists(script) else f'. {shlex.quote(os.path.relpath(script))}'


# fmt: off
@click.command(help=__doc__)
@click.option('--data', help='Images: a folder, a zip, or what dataset_tool.py reads', metavar='PATH',
              envvar='DATA', show_envvar=True)
@click.option('--teacher', help='Start from this teacher instead of training one', metavar='PKL|URL',
              envvar='TEACHER', show_envvar=True)
@click.option('--outdir', help='Folder for the folder own-NAME', metavar='DIR', envvar='OUTDIR',
              show_envvar=True, default=OUTDIR, show_default=True)
@click.option('--resolution', help=f'Side of the images  [default: {SMALL}; {LARGE} with a GPU]',
              metavar='PIXELS', type=click.Choice(['8', '16', '32', '64', '128', '256']))
@click.option('--minutes', help=f'Time for everything  [default: {CPU_MINUTES}; {GPU_MINUTES} with a GPU]',
              metavar='FLOAT', type=click.FloatRange(min=0, min_open=True))
@click.option('--images', help='Generated images to measure  [default: 1000; 10000 with a GPU]',
              metavar='INT', type=click.IntRange(min=2))
@click.option('--processes', help='Training processes  [default: one per GPU]', metavar='INT', envvar='NPROC',
              show_envvar=True, type=click.IntRange(min=1))
@click.option('--teacher-options', help='Further options of train.py for the teacher', metavar='TEXT',
              default='')
@click.option('--student-options', help='Likewise for the student', metavar='TEXT', default='')
@click.option('--until', help='Stop after this step', type=click.Choice(STEPS))
@click.option('-n', '--dry-run', help='Show the next command and stop', is_flag=True)
@click.argument('words', nargs=-1, metavar='')
# fmt: on
def main(words: tuple[str, ...], data: str | None, teacher: str | None, outdir: str, resolution: str | None,
         processes: int | None, teacher_options: str, student_options: str, until: str | None, dry_run: bool,
         **options: float | None) -> None:  # fmt: skip
    with one_line_errors():
        if words:
            raise ArgumentError(f'what is {words[0]}? Images are given as DATA={shlex.quote(words[0])}')
        if not data:
            raise ArgumentError('your images are missing: sh train.sh own DATA=photos.zip, or a folder')
        for variable in ('DATA', 'TEACHER', 'OUTDIR'):  # from here on options say it
            os.environ.pop(variable, None)
        if not os.path.exists(data):
            raise ArgumentError(arg('data', data), ' does not exist; give a folder or a file')
        if teacher and not is_url(teacher) and not os.path.exists(teacher):
            raise ArgumentError(arg('teacher', teacher), ' does not exist; leave it out to train a teacher')
        extra = dict(teacher=shlex.split(teacher_options), student=shlex.split(student_options))
        folder = os.path.join(outdir, f'own-{dataset_name(data)}')
        processes = processes or max(torch.cuda.device_count(), 1)
        side = resolution and int(resolution)
        work = OwnImages(data, teacher, folder, side, processes=processes, extra=extra, **options)
    note = spare_other_work()  # the steps inherit it
    if note:
        click.echo(note)
    with one_line_errors():
        try:
            run_steps(work, until, dry_run)
        except StepFailed as error:
            click.echo(f'Error: {error}', err=True)
            sys.exit(error.code)
    if work.student and not until and not dry_run:
        click.echo(f'\n{closing_words(work)}')


if __name__ == '__main__':
    run_script(main, 'sh train.sh own')
