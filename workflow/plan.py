# Copyright 2026 The GDD-1S authors.
# SPDX-License-Identifier: Apache-2.0
"""Decide how long teacher and student of one's own images are trained: what fits the machine and the time.

    python -m workflow.plan --data=photos-32x32.zip --minutes=30 --dest=plan.json

Networks and options are those of the recipes own-* (training/recipes.py); this finds out how fast they
train here, for some seconds each, and divides the time.
"""

import json
import math
from typing import Any

import click
import torch

import train
from dnnlib.cli import one_line_errors, run_script
from dnnlib.files import atomic_write
from dnnlib.util import format_time
from training.dataset import ImageFolderDataset
from workflow.estimate import Estimate, estimate

MEASURE_SECONDS = 8
# Shares of the time; the rest goes into reading, measuring and the report.
TEACHER_SHARE, STUDENT_SHARE = 0.55, 0.33
# Thousands of images that make no sense to go below.
LEAST_TEACHER, LEAST_STUDENT = 2, 1
# Status lines of a run, and snapshots of them.
TICKS, SNAPSHOTS = 40, 4


def recipes() -> tuple[str, str]:
    """Return the recipes of teacher and student that suit the machine."""
    suffix = '-gpu' if torch.cuda.is_available() else ''
    return f'own-teacher{suffix}', f'own-student{suffix}'


def run_options(kimg: float) -> list[str]:
    """Return the options that depend on the length of a run, in thousands of images."""
    tick = max(round(kimg / TICKS), 1)
    snap = math.ceil(kimg / tick / SNAPSHOTS)  # the last is written at the end in any case
    length = [f'--duration={kimg / 1000:g}', f'--tick={tick}']
    return [*length, f'--snap={snap}', f'--dump={snap}', '--dump-min=5']


def divide(
    minutes: float, teacher: Estimate | None, student: Estimate, processes: int = 1
) -> tuple[int, int]:
    """Divide the time between the two runs.

    Args:
        minutes:   Time for everything.
        teacher:   How fast the teacher trains, or None where there is one already.
        student:   How fast the student trains.
        processes: Number of processes, each of which is as fast.
    Returns:
        Thousands of images for the teacher (0 without), and for the student.
    """
    share = STUDENT_SHARE if teacher else TEACHER_SHARE + STUDENT_SHARE
    of_student = 0.06 * minutes * share * student.images_per_second * processes
    of_teacher = 0.06 * minutes * TEACHER_SHARE * teacher.images_per_second * processes if teacher else 0
    return (max(round(of_teacher), LEAST_TEACHER) if teacher else 0, max(round(of_student), LEAST_STUDENT))


def measure(recipe: str, data: str, dataset: ImageFolderDataset, *options: str) -> Estimate:
    """Measure how fast a recipe trains on images like these."""
    arguments = ['--outdir=none', f'--recipe={recipe}', f'--data={data}', *options]
    config = train.resolve(train.main.make_context('train.py', arguments))
    return estimate(config, tuple(dataset.image_shape), dataset.label_dim, MEASURE_SECONDS)


def make_plan(data: str, teacher: str | None, minutes: float, processes: int) -> dict[str, Any]:
    """Measure and divide; returns what plan.json holds: above all options of train.py for both runs."""
    dataset = ImageFolderDataset(data, use_labels=True)
    of_teacher, of_student = recipes()
    cond = [f'--cond={int(dataset.label_dim > 0)}']
    distil = [*cond, *(['--class-embed=computed'] if dataset.label_dim else [])]
    slow = None if teacher else measure(of_teacher, data, dataset, *cond)
    # Without a teacher at hand its architecture tells how fast its student is.
    shape = [f'--transfer={teacher}'] if teacher else ['--transfer=random', *architecture(of_teacher)]
    fast = measure(of_student, data, dataset, *distil, *shape)
    kimg_teacher, kimg_student = divide(minutes, slow, fast, processes)
    rampdown = [f'--lr-rampdown={max(kimg_teacher // 5, 1)}']
    return dict(
        images=len(dataset),
        image_shape=list(dataset.image_shape),
        classes=dataset.label_dim,
        images_per_second=[slow and round(slow.images_per_second, 1), round(fast.images_per_second, 1)],
        thousands_of_images=[kimg_teacher, kimg_student],
        teacher=None if teacher else [f'--recipe={of_teacher}', *cond, *run_options(kimg_teacher), *rampdown],
        student=[f'--recipe={of_student}', *distil, *run_options(kimg_student)],
    )


def architecture(recipe: str) -> list[str]:
    """Return the options of a teacher's recipe that make its network."""
    names = ('arch', 'cbase', 'cres', 'num_blocks', 'attn_res')
    options = train.RECIPES[recipe].options
    return [f'--{name.replace("_", "-")}={options[name]}' for name in names if name in options]


def describe(plan: dict[str, Any], minutes: float, processes: int) -> list[str]:
    """Say what a plan means: images and time of both runs, and whether that is more time than was given."""
    lines, total = [], 0.0
    for role, speed, kimg in zip(
        ('teacher', 'student'), plan['images_per_second'], plan['thousands_of_images']
    ):
        if plan[role]:
            spent = 1000 * kimg / max(speed * processes, 0.1)
            total += spent
            lines.append(f'{role}: {kimg},000 images at {speed * processes:g} images/s, {format_time(spent)}')
    if total > 60 * minutes:
        lines.append(f'Note: this is the least that makes sense, and takes longer than {minutes:g} minutes')
    return lines


# fmt: off
@click.command()
@click.option('--data', help='Training images, as train.py takes them', metavar='ZIP|DIR', required=True)
@click.option('--teacher', help='A teacher that is there already', metavar='PKL|URL')
@click.option('--minutes', help='Time for teacher, student and measurement', metavar='FLOAT',
              type=click.FloatRange(min=0, min_open=True), required=True)
@click.option('--processes', help='Processes that will train', metavar='INT', type=click.IntRange(min=1),
              default=1, show_default=True)
@click.option('--dest', help='Where to write the plan', metavar='JSON', required=True)
# fmt: on
def main(data: str, teacher: str | None, minutes: float, processes: int, dest: str) -> None:
    """Write which options of train.py suit these images on this machine."""
    with one_line_errors(path='data'):
        plan = make_plan(data, teacher, minutes, processes)
        with atomic_write(dest) as file:
            file.write(json.dumps(plan, indent=2).encode() + b'\n')
    click.echo('\n'.join(describe(plan, minutes, processes)))


if __name__ == '__main__':
    run_script(main)
