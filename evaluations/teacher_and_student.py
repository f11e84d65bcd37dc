# Copyright 2026 The GDD-1S authors.
# SPDX-License-Identifier: Apache-2.0

"""Compare a distilled generator with its teacher on the same seeds and classes.

    python -m evaluations.teacher_and_student --teacher=teacher.pkl --student=network-snapshot-000100.pkl \\
        --ref=datasets/mnist-32x32-train-ref-mnist-classifier.npz --outdir=training-runs/00000

Three rows: the teacher with its own sampler, the teacher forced to one step (what
distillation has to beat), and the student. Writes comparison.json, comparison.md and
comparison.png into --outdir.

The teacher's own sampler takes most of the time, so its row is taken from TEACHER.comparison.json
beside the teacher where that was measured under the same conditions, and is named so; --remeasure
measures it anew. Without --student the teacher alone is measured, which makes such a file:

    python -m evaluations.teacher_and_student --teacher=teacher.pkl --remeasure --ref=REF.npz --outdir=DIR
    cp DIR/comparison.json teacher.comparison.json

Legend: N images, C channels, H W pixels.
"""

import json
import os
from collections.abc import Sequence
from typing import Any

import click
import numpy as np
import torch

from dnnlib.cli import one_line_errors, run_script
from dnnlib.errors import ArgumentError, arg
from dnnlib.util import atomic_write
from evaluations.detectors.registry import Detector, detector_names, get_detector
from evaluations.inputs.image_sources import ChosenImages, FolderImages, GeneratedImages, open_images
from evaluations.inputs.reference import Reference, load_reference
from evaluations.inputs.stored_measurement import stored_row, this_command
from evaluations.measure import Meter, measure_dataset, measure_images
from evaluations.metrics.names import metric_name
from evaluations.reviewing.closing import Sets, closing_lines
from evaluations.reviewing.overlap import read_training
from evaluations.sampler_table import Row, format_table, make_row, measure_sampler, save_table
from torch_utils import distributed as dist
from training.dataset import ImageFolderDataset
from training.images.png import make_grid, save_grid
from training.sampling.options import build_sampler
from training.sampling.samplers import check_finite, sample_batch, to_uint8
from training.snapshots.snapshot import load_network

_BLOCK = 8  # the picture shows _BLOCK x _BLOCK images of each sampler
_FEWEST, _MOST = (
    60,
    6000,
)  # real images behind the lines below the table, two thirds of them as training images
_MARGIN = 4  # white pixels around each block


class PictureSampler:
    """Sample uint8 images by seed, and keep the first ones for the picture.

    Args:
        name: How the sampler is called in table and picture.
        nfe: Network calls per image.
        net: Network on its device.
        options: Arguments of `training.sampling.samplers.sample_batch`.
    """

    def __init__(self, name: str, nfe: int, net: torch.nn.Module, **options: Any) -> None:
        self.name = name
        self.nfe = nfe
        self._net = net
        self._options = options
        self._kept = []

    def __call__(self, seeds: Sequence[int]) -> tuple[torch.Tensor, torch.Tensor | None]:
        """Return (images uint8 [N, C, H, W]; classes int64 [N], or None without classes)."""
        device = next(self._net.parameters()).device
        images, classes = sample_batch(self._net, seeds, device=device, **self._options)
        check_finite(images, seeds)
        pixels = to_uint8(images)  # [N, H, W, C]
        missing = _BLOCK**2 - sum(len(part) for part in self._kept)
        self._kept.append(pixels[: max(missing, 0)])
        return torch.from_numpy(pixels.transpose(0, 3, 1, 2)), classes  # [N, C, H, W], [N]

    def block(self) -> np.ndarray:
        """Return the first images as one square with a margin, uint8 [H, W, C]."""
        square = make_grid(np.concatenate(self._kept), columns=_BLOCK)
        return np.pad(square, [(_MARGIN, _MARGIN), (_MARGIN, _MARGIN), (0, 0)], constant_values=255)


def load_pair(teacher: str, student: str | None, device: torch.device) -> list[tuple[torch.nn.Module, Any]]:
    """Load both networks, and make sure that they draw the same kind of images.

    Args:
        teacher, student: Snapshot files; None for no student.
        device: Where to put the networks.
    Returns:
        ((teacher network, its info), (student network, its info)), the latter only if there is one.
    Raises:
        ArgumentError: Unusable files, or networks for different images or classes.
    """
    pairs = [
        load_network(path, option=option)
        for path, option in ((teacher, 'teacher'), (student, 'student'))
        if path is not None
    ]
    kinds = [(net.img_channels, net.img_resolution, net.label_dim) for net, _ in pairs]
    if kinds[0] != kinds[-1]:
        raise ArgumentError(
            arg('teacher', teacher),
            f' makes images of (channels, resolution, classes) {kinds[0]}, but ',
            arg('student', student),
            f' {kinds[-1]}; both must be the same, so give the teacher that the student was distilled from',
        )
    return [(net.to(device, memory_format=torch.channels_last), info) for net, info in pairs]


def _student_sampler(net: torch.nn.Module, metadata: dict[str, Any] | None) -> tuple[str, dict[str, Any]]:
    """Return the sampler that a student was trained for, and its arguments."""
    steps = (metadata or {}).get('num_steps', 1)
    return build_sampler(net, {'sampler': None if steps > 1 else 'one_step'}, metadata)


def make_samplers(
    teacher: torch.nn.Module,
    student: torch.nn.Module | None,
    steps: int,
    metadata: dict[str, Any] | None = None,
) -> list[PictureSampler]:
    """Return the three samplers of the comparison; `metadata` of the student's snapshot tells its steps.

    Without a student there are two.
    """
    of_teacher = [
        PictureSampler(f'teacher, {steps} steps', 2 * steps - 1, teacher, sampler='edm', num_steps=steps),
        PictureSampler('teacher, one step', 1, teacher, sampler='one_step'),
    ]
    if student is None:
        return of_teacher
    sampler, arguments = _student_sampler(student, metadata)
    count = arguments.get('num_steps', 1)
    return [
        *of_teacher,
        PictureSampler(
            'student, one step' if count == 1 else f'student, {count} steps',
            count,
            student,
            sampler=sampler,
            **arguments,
        ),
    ]


def measure_real(path: str, num: int, detector: Detector, reference: Reference, batch: int) -> Row:
    """Measure real images, the best that a generator could be expected to reach."""
    with one_line_errors(path='data'):
        dataset = ImageFolderDataset(path, max_size=num, use_labels=True)
        detector.check_shape(dataset.image_shape, 'images of ', arg('data', path))
        reference.check(detector, dataset.image_shape)
        return make_row('real images', measure_dataset(FolderImages(dataset), detector, batch), reference)


def save_picture(path: str, samplers: Sequence[PictureSampler]) -> None:
    """Write the blocks of all samplers side by side, each with its name below."""
    blocks = np.stack([sampler.block() for sampler in samplers])  # [N, H, W, C]
    save_grid(path, blocks, columns=len(samplers), captions=[sampler.name for sampler in samplers])


def measure_row(
    sampler: PictureSampler,
    seeds: Sequence[int],
    detector: Detector,
    reference: Reference,
    batch: int,
    stored: tuple[dict[str, Any], str] | None,
) -> Row:
    """Measure one sampler, or make only the picture's images where its row is stored.

    Args:
        sampler, seeds, detector, reference, batch: As for `measure_sampler`.
        stored: The fields of the row and the command that made it, or None.
    """
    if stored is None:
        return measure_sampler(sampler, seeds, detector, reference, batch, sampler.name, sampler.nfe)
    fields, command = stored
    click.echo(f'Note: the row "{fields["name"]}" comes from: {command}; --remeasure makes it here')
    sampler(seeds[: _BLOCK**2])
    return Row(**fields)


def comparison_facts(
    options: dict[str, Any], infos: Sequence[Any], detector: Detector, reference: Reference
) -> dict[str, Any]:
    """Return what the numbers of a comparison depend on, as plain values.

    Args:
        options:   Those of the command.
        infos:     What was learnt about the teacher's file, and about the student's if there is one.
        detector:  What measures.
        reference: What is compared with.
    """
    start, num, student = options['seeds_start'], options['num'], options['student']
    return dict(
        metric=metric_name(detector.name, 'fid', num),
        seeds=[start, start + num - 1],
        steps=options['steps'],
        batch=options['batch'],
        device=detector.device.type,
        data=options['data'],
        teacher=str(options['teacher']),
        teacher_sha256=infos[0].sha256,
        student=None if student is None else str(student),
        student_sha256=None if student is None else infos[1].sha256,
        detector_sha256=detector.sha256,
        ref=reference.path,
        ref_sha256=reference.sha256,
        command=this_command(),
    )


def run_comparison(**options: Any) -> str:
    """Do what the command says.

    Args:
        options: Those of the command, all of them.
    Returns:
        The table as text.
    Raises:
        ValueError: Input that cannot be used.
    """
    teacher, data, batch, outdir = (options[name] for name in ('teacher', 'data', 'batch', 'outdir'))
    device = dist.get_device()
    with one_line_errors(path='ref'):
        reference = load_reference(options['ref'])
    detector = get_detector(options['detector'], device)
    nets, infos = zip(*load_pair(teacher, options['student'], device))
    shape = (nets[0].img_channels, nets[0].img_resolution, nets[0].img_resolution)
    detector.check_shape(shape, 'images of ', arg('teacher', teacher))
    for note in reference.check(detector, shape):
        click.echo(f'Note: {note}')
    facts = comparison_facts(options, infos, detector, reference)
    own, *others = samplers = make_samplers(
        nets[0], nets[1] if len(nets) > 1 else None, options['steps'], infos[-1].metadata
    )
    stored = None if options['remeasure'] else stored_row(teacher, facts, own.name)
    os.makedirs(outdir, exist_ok=True)

    first, last = facts['seeds']
    seeds = list(range(first, last + 1))
    rows = [] if data is None else [measure_real(data, options['num'], detector, reference, batch)]
    rows.append(measure_row(own, seeds, detector, reference, batch, stored))
    rows += [measure_row(sampler, seeds, detector, reference, batch, None) for sampler in others]
    title = f'{facts["metric"]}, seeds {first} to {last}, device {device.type}'
    save_table(os.path.join(outdir, 'comparison.json'), rows, **facts)
    with atomic_write(os.path.join(outdir, 'comparison.md')) as f:
        f.write(f'{title}\n\n{format_table(rows, markdown=True)}\n'.encode())
    save_picture(os.path.join(outdir, 'comparison.png'), samplers)
    return f'{title}\n\n{format_table(rows)}'


def measure_closing(
    student: str, data: str, outdir: str, detector: str, num: int, seeds_start: int, batch: int
) -> list[str]:
    """Measure the student beside training images and other real ones, and add the lines to the files.

    Args:
        student, data, outdir, detector, num, seeds_start, batch: Options of the command.
    Returns:
        Lines of `closing_lines`; one line that says why not where there are too few images.
    """
    device = dist.get_device()
    real, _ = open_images(data)
    if len(real) < _FEWEST:
        return [f'Precision, recall and memorisation need at least {_FEWEST} images in {data}']
    rows = np.random.RandomState(0).permutation(len(real))[:_MOST]
    parts = [ChosenImages(real, np.sort(part)) for part in np.split(rows, [2 * len(rows) // 3])]
    net, info = load_network(student, option='student')
    sampler, arguments = _student_sampler(net, info.metadata)
    seeds = np.arange(seeds_start, seeds_start + num)
    samples = GeneratedImages(net.to(device, memory_format=torch.channels_last), seeds, sampler, arguments)
    encoders = [get_detector(name, device) for name in (detector, 'random-conv')]
    found = [_features(source, encoders, batch) for source in (samples, *parts)]
    names = tuple(encoder.name for encoder in encoders)
    lines = closing_lines(*map(Sets._make, zip(*found)), names, read_training(student, info.metadata))
    add_lines(outdir, lines)
    return lines


def _features(
    source: GeneratedImages | ChosenImages, encoders: Sequence[Detector], batch: int
) -> list[torch.Tensor]:
    """Return features of one pass over a source, one tensor [N, D] per encoder."""
    meters = [Meter(encoder, keep_features=True) for encoder in encoders]
    measure_images(source, meters, batch)
    return [meter.features for meter in meters]


def add_lines(outdir: str, lines: Sequence[str]) -> None:
    """Write lines into comparison.json, as `closing`, and below the table of comparison.md."""
    path = os.path.join(outdir, 'comparison.json')
    with open(path, encoding='utf-8') as file:
        content = dict(json.load(file), closing=list(lines))
    with atomic_write(path) as file:
        file.write((json.dumps(content, indent=2) + '\n').encode())
    path = os.path.join(outdir, 'comparison.md')
    with open(path, encoding='utf-8') as file:
        text = file.read()
    with atomic_write(path) as file:
        file.write((text + '\n' + '\n'.join(f'- {line}' for line in lines) + '\n').encode())


# fmt: off
@click.command()
@click.option('--teacher', help='Teacher snapshot', metavar='PKL|URL', type=str, required=True)
@click.option('--student', help='Distilled snapshot; without one the teacher alone is measured',
              metavar='PKL|URL', type=str)
@click.option('--ref', help='Reference statistics, from `fid.py ref`', metavar='NPZ|URL', type=str,
              required=True)
@click.option('--outdir', help='Where to write comparison.*', metavar='DIR', type=str, required=True)
@click.option('--detector', help='Feature network', type=click.Choice(detector_names()),
              default='mnist-classifier', show_default=True)
@click.option('--data', help='Real images for a baseline row', metavar='ZIP|DIR', type=str)
@click.option('--num', help='Images per row', metavar='INT', type=click.IntRange(min=2), default=2000,
              show_default=True)
@click.option('--seeds-start', help='First seed', metavar='INT', type=click.IntRange(min=0), default=0,
              show_default=True)
@click.option('--steps', help='Steps of the teacher\'s sampler', metavar='INT', type=click.IntRange(min=2),
              default=18, show_default=True)
@click.option('--batch', help='Images per batch', metavar='INT', type=click.IntRange(min=1), default=64,
              show_default=True)
@click.option('--remeasure', help='Measure the teacher here, also where its row is stored beside it',
              is_flag=True)
def main(**options: Any) -> None:
    """Measure and time teacher and student on the same seeds and classes."""
    with one_line_errors():
        table = run_comparison(**options)
        names = ('student', 'data', 'outdir', 'detector', 'num', 'seeds_start', 'batch')
        if options['student'] is not None and options['data'] is not None:
            table += '\n\n' + '\n'.join(measure_closing(**{name: options[name] for name in names}))
    click.echo(f'{table}\n\nTable and picture are in {options["outdir"]}/comparison.*')
# fmt: on


if __name__ == '__main__':
    run_script(main)
