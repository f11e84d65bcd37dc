# Copyright 2026 The GDD-1S authors.
# SPDX-License-Identifier: Apache-2.0
"""How much faster generate.py makes one-step images, and fid.py measures them, than straightforward loops.

    python -m benchmarks.sampling --num=2000                    # the demo's network
    python -m benchmarks.sampling --network=STUDENT.pkl --device=cuda --num=20000 --batch=256

The straightforward way, as one would write it first: images of a batch come to the CPU, Pillow saves each of
them, one after the other; for measuring, Pillow decodes each file in the loop and features are added up in
float64 after every batch. The network is as it was loaded (NCHW). Both ways compute in float32 without TF32.

Each way runs in a process of its own, which measures itself after one batch to warm up: start and loading do
not count, neither for CPU seconds, in which the processes that write or decode are included. The images of
both ways are compared, and so are the means of their features.
"""

import contextlib
import json
import os
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator

import click
import numpy as np
import PIL.Image
import psutil
import torch

import generate
from benchmarks import fid_calc
from dnnlib.parallel import Background, available_cores
from dnnlib.util import EasyDict
from evaluations.detectors.registry import get_detector
from evaluations.inputs.image_sources import open_images
from evaluations.measure import measure_dataset
from torch_utils import distributed as dist
from torch_utils.allocator import keep_freed_memory
from torch_utils.misc import full_precision
from training.images.output import PACK_FILE, png_name
from training.sampling import samplers
from training.sampling.seeds import split_positions
from training.snapshots.snapshot import load_network

TASKS = ('PNG', 'PNG and NPZ', 'evaluation')
DECODERS = 2  # fid.py's default of --workers


def cpu_seconds() -> float:
    """Return the CPU time of this process and of all that it has started, ended or not."""
    total = sum(os.times()[:4])
    for child in psutil.Process().children(recursive=True):
        with contextlib.suppress(psutil.Error):
            total += sum(child.cpu_times()[:2])
    return total


def timed(function: Callable[..., object], *arguments: object) -> tuple[list[float], object]:
    """Call a function that ends with its results on the host.

    Returns:
        ([seconds, CPU seconds, memory pages that the system had to give to this process], result)
    """
    before = time.perf_counter(), cpu_seconds(), page_faults()
    result = function(*arguments)
    after = time.perf_counter(), cpu_seconds(), page_faults()
    return [end - begin for begin, end in zip(before, after)], result


def page_faults() -> int:
    return resource.getrusage(resource.RUSAGE_SELF).ru_minflt


# ------------------------------------------------------------------------------------------------
# The straightforward way.


class Straightforward:
    """Loops as one would write them first. `sample` makes seeds 0..count - 1, `mean` that of features [D]."""

    def __init__(self, opts: EasyDict, device: torch.device, _writers: Background) -> None:
        self._net = load_network(opts.network)[0].to(device)
        self._batch, self._device = opts.batch, device
        lite0 = opts.detector == fid_calc.DETECTORS[0]
        self._features = (fid_calc.build_lite0 if lite0 else fid_calc.build_mnist_classifier)(device)

    def sample(self, folder: str, count: int, pack: bool) -> None:
        kept = []
        for part in split_positions(count, self._batch):
            images, _labels = samplers.sample_batch(self._net, part.tolist(), 'one_step', device=self._device)
            pixels = samplers.to_uint8(images)  # [N, H, W, C]
            for seed, image in zip(part, pixels):
                image = image[:, :, 0] if image.shape[2] == 1 else image
                PIL.Image.fromarray(image).save(os.path.join(folder, png_name(seed, False)))
            kept.append(pixels)
        if pack:
            np.savez(os.path.join(folder, PACK_FILE), arr_0=np.concatenate(kept))

    def mean(self, folder: str, count: int) -> np.ndarray:
        return fid_calc.accumulate(folder, self._features, count, self._batch, self._device)[0]


# ------------------------------------------------------------------------------------------------
# Ours.


class Ours:
    """The loops of generate.py and `fid.py calc`, with the same methods."""

    def __init__(self, opts: EasyDict, device: torch.device, writers: Background) -> None:
        keep_freed_memory()
        self._net = load_network(opts.network)[0].to(device, memory_format=torch.channels_last)
        self._batch, self._device, self._writers = opts.batch, device, writers
        self._detector = get_detector(opts.detector, device)

    def sample(self, folder: str, count: int, pack: bool) -> None:
        opts = EasyDict(seeds=np.arange(count), batch=self._batch, outdir=folder, pack=pack, grid=None)
        opts.update(subdirs=False, skip_existing=False, class_idx=None, rng_device=None)
        plan = EasyDict(sampler='one_step', kwargs={})
        generate.generate(self._net, opts, plan, self._device, self._writers)

    def mean(self, folder: str, count: int) -> np.ndarray:
        source, _reason = open_images(folder, count)
        return measure_dataset(source, self._detector, self._batch, DECODERS).stats.mean()


# ------------------------------------------------------------------------------------------------
# One way, in a process of its own.

WAYS = {'straightforward': Straightforward, 'ours': Ours}


def run_way(name: str, opts: EasyDict) -> dict[str, list[float]]:
    """Do all tasks one way; return task -> what `timed` measures, and `mean`, that of the features.

    The images go to folders in OUTDIR; those that are measured are the straightforward ones.
    """
    workers = generate.choose_writers(None if WAYS[name] is Ours else 0, opts.num)
    with Background(workers) as writers, full_precision():
        dist.init({'auto': None}.get(opts.device, opts.device))  # of CUDA nothing before the processes
        way, found = WAYS[name](opts, dist.get_device(), writers), {}
        way.sample(folder_of(opts, name, 'warm-up'), opts.batch, pack=False)
        way.mean(folder_of(opts, name, 'warm-up'), opts.batch)
        for task in TASKS[:2]:
            found[task] = timed(way.sample, folder_of(opts, name, task), opts.num, task == TASKS[1])[0]
        found[TASKS[2]], mean = timed(way.mean, folder_of(opts, next(iter(WAYS)), TASKS[0]), opts.num)
    dist.destroy()
    return dict(found, mean=mean.tolist())


def folder_of(opts: EasyDict, way: str, task: str) -> str:
    """Return the folder of the images of a task, made if need be."""
    folder = os.path.join(opts.outdir, f'{way}, {task}')
    os.makedirs(folder, exist_ok=True)
    return folder


# ------------------------------------------------------------------------------------------------
# The comparison.


def run_apart(way: str, options: list[str]) -> dict[str, list[float]]:
    """Run one way in a fresh process; return what it found."""
    command = [sys.executable, '-m', 'benchmarks.sampling', f'--way={way}', *options]
    output = subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True).stdout
    return json.loads(output.splitlines()[-1])


def check_equal(found: dict[str, dict], opts: EasyDict) -> float:
    """Return the share of bytes of the packs that differ.

    Raises:
        ClickException: Pixels differ by more than a level, or means of features by more than rounding.
    """
    packs = [os.path.join(folder_of(opts, way, TASKS[1]), PACK_FILE) for way in WAYS]
    first, second = (np.load(pack)['arr_0'] for pack in packs)
    difference = np.abs(first.astype(int) - second.astype(int))
    means = [np.array(result['mean']) for result in found.values()]
    if difference.max() > 1 or not np.allclose(*means, rtol=1e-3, atol=1e-4):
        raise click.ClickException('the two ways give different images or features')
    return float((difference > 0).mean())


def table(runs: list[dict[str, dict]], num: int) -> Iterator[str]:
    """Yield the rows of medians as Markdown, and at last one line with the ratios."""
    yield '| task | way | seconds | CPU seconds | pages per image | images/s | ratio | of CPU seconds |'
    yield '|---|---|---:|---:|---:|---:|---:|---:|'
    ratios = []
    for task in TASKS:
        medians = {way: np.median([run[way][task] for run in runs], axis=0) for way in WAYS}
        medians = {way: np.maximum(values, 1e-3) for way, values in medians.items()}  # clocks tick slowly
        base = next(iter(medians.values()))
        for way, (seconds, cpu, pages) in medians.items():
            ratio = base[:2] / (seconds, cpu)
            yield (
                f'| {task} | {way} | {seconds:.2f} | {cpu:.2f} | {pages / num:.0f} | {num / seconds:.0f} '
                f'| {ratio[0]:.2f} | {ratio[1]:.2f} |'
            )
        ratios.append(f'{task} {ratio[0]:.2f} ({ratio[1]:.2f})')
    yield f'times the straightforward loop (of CPU seconds): {", ".join(ratios)}'


# fmt: off
@click.command()
@click.option('--network',  help='Snapshot of a one-step generator', metavar='PKL', type=str,
              default='pretrained/edm-mnist-32x32-cond-ve.pkl', show_default=True)
@click.option('--device',   help='Where to compute', type=click.Choice(['auto', 'cpu', 'cuda']),
              default='auto', show_default=True)
@click.option('--num',      help='Images', metavar='INT', type=click.IntRange(min=2), default=2000,
              show_default=True)
@click.option('--batch',    help='Images per batch', metavar='INT', type=click.IntRange(min=2), default=64,
              show_default=True)
@click.option('--detector', help='What is measured with', type=click.Choice(fid_calc.DETECTORS),
              default='mnist-classifier', show_default=True)
@click.option('--runs',     help='Runs of each way, in turns; medians count', metavar='INT',
              type=click.IntRange(min=1), default=1, show_default=True)
@click.option('--outdir',   help='Where to leave the images  [default: nowhere]', metavar='DIR', type=str)
@click.option('--way',      hidden=True, type=click.Choice(list(WAYS)))
# fmt: on
def main(runs: int, way: str | None, **options: object) -> None:
    """Compare two ways to make and to measure one-step images, each in processes of its own."""
    opts = EasyDict(options)
    if way is not None:
        click.echo(json.dumps(run_way(way, opts)))
        return
    with tempfile.TemporaryDirectory() as folder:
        opts.outdir = opts.outdir or folder
        given = [f'--{name}={value}' for name, value in opts.items()]
        found = [{name: run_apart(name, given) for name in WAYS} for _ in range(runs)]
        differing = check_equal(found[0], opts)
    click.echo(
        f'{opts.num} images of {opts.network}, batch {opts.batch}, measured with {opts.detector}, '
        f'--device={opts.device}, {available_cores()} cores'
    )
    click.echo(f'bytes that differ, by one level: {differing:.1e}')
    for line in table(found, opts.num):
        click.echo(line)


if __name__ == '__main__':
    main()
