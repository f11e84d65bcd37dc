# Copyright 2026 The GDD-1S authors.
# SPDX-License-Identifier: Apache-2.0
"""Generate images from a network snapshot: a seed fixes noise and class, whatever batch and processes.

python generate.py --network=network-snapshot-001000.pkl --outdir=out --seeds=0-63
torchrun --standalone --nproc_per_node=4 generate.py --network=... --outdir=out --seeds=0-49999 --subdirs
"""

import collections
import contextlib
import math
import os
from collections.abc import Iterator
from typing import Any, NamedTuple

import click
import numpy as np
import torch

from dnnlib.cli import cause_for_user, one_line_errors, run_script
from dnnlib.errors import ArgumentError, arg
from dnnlib.files import claim
from dnnlib.os_errors import is_memory_error
from dnnlib.parallel import Background, available_cores
from dnnlib.progress import ProgressBar
from dnnlib.util import EasyDict
from torch_utils import distributed as dist
from torch_utils.allocator import keep_freed_memory
from torch_utils.host_copy import HostCopy
from torch_utils.misc import full_precision
from training.images.output import (
    PACK_FILE,
    ImagePack,
    claim_folder,
    png_name,
    read_images,
    save_images,
    write_labels,
)
from training.images.png import save_grid
from training.sampling import samplers
from training.sampling.batches import start_batch
from training.sampling.options import add_key_options, add_sampler_options, build_sampler
from training.sampling.seeds import find_repeats, parse_seeds, split_positions
from training.snapshots.entries import choose_key
from training.snapshots.snapshot import load_network

MAX_GRID_IMAGES = 256
WRITTEN_TOGETHER = 64  # images per message to a process that writes them
MOST_WRITERS, IMAGES_PER_WRITER = 8, 256  # more processes, or for fewer images, would gain nothing


@contextlib.contextmanager
def together() -> Iterator[None]:
    """Run a block on every process; where it fails in any of them, all end: `distributed.raise_together`."""
    error = None
    try:
        yield
    except (ValueError, OSError, MemoryError, RuntimeError) as problem:
        error = cause_for_user(problem) or problem
        if is_memory_error(error):
            error = ArgumentError(arg('batch'), ': the batch does not fit into memory; use a smaller number')
        elif not isinstance(error, (ValueError, OSError)):
            raise  # a bug of ours, or a process that was lost
    dist.raise_together(error)


def load_everywhere(opts: EasyDict, device: torch.device) -> tuple[torch.nn.Module, Any]:
    """Load the network on every process, rank 0 first as it may be a download; return (net, info)."""
    net = info = None
    for turn in ('first', 'others'):
        with together():
            if (turn == 'first') == (dist.get_rank() == 0):
                net, info = load_network(opts.network, key=opts.key, trust=opts.trust_pickle)
    return net.to(device, memory_format=torch.channels_last), info


def check_grid(path: str | None) -> None:
    """Raise ArgumentError if the grid cannot be written there."""
    if path is None:
        return
    if not path.lower().endswith('.png') or not os.path.isdir(os.path.dirname(path) or '.'):
        rule = ': must end in .png and lie in an existing folder; for example grid.png'
        raise ArgumentError(arg('grid', path), rule)


def prepare_output(opts: EasyDict, record: dict[str, Any], stack: contextlib.ExitStack) -> None:
    """Create the output folder on rank 0, hold it, prove that it can be written, and leave the record there.

    Args:
        opts:   Options of `cmdline`.
        record: What the images are made from: `settings_record`.
        stack:  contextlib.ExitStack that gives the folder back.
    """
    if dist.get_rank() != 0:
        return
    check_grid(opts.grid)
    try:
        os.makedirs(opts.outdir, exist_ok=True)
        stack.enter_context(claim(opts.outdir, 'outdir'))
        claim_folder(opts.outdir, record, opts.overwrite)
    except OSError as error:
        reason = f': cannot be written ({error.strerror}); choose a folder of your own'
        raise ArgumentError(arg('outdir', opts.outdir), reason) from error
    if opts.pack and os.path.exists(os.path.join(opts.outdir, PACK_FILE)):
        click.echo(f'{PACK_FILE} of an earlier call in {opts.outdir} will be replaced')


class Part(NamedTuple):
    """A batch that is being made.

    Attributes:
        positions: Where its images stand in the list of seeds.
        made:      Copies of uint8 [n, H, W, C], classes int64 [n] or None, and bool [n] for images that are
                   not finite.
        is_new:    The PNG files are still to be written.
    """

    positions: np.ndarray
    made: HostCopy
    is_new: bool


def start_part(
    net: torch.nn.Module, opts: EasyDict, plan: EasyDict, positions: np.ndarray, device: torch.device
) -> Part:
    """Start making the images at some positions of the seed list, or read those that are there."""
    seeds = opts.seeds[positions].tolist()
    shape = [net.img_resolution, net.img_resolution, net.img_channels]
    if not seeds:
        labels = torch.zeros(0, dtype=torch.int64) if net.label_dim else None
        return Part(positions, HostCopy(torch.zeros([0, *shape], dtype=torch.uint8), labels), False)
    names = [png_name(seed, opts.subdirs) for seed in seeds]
    pixels = read_images(opts.outdir, names, shape) if opts.skip_existing else None
    if pixels is not None:
        labels = samplers.draw_inputs(net, seeds, opts.class_idx, device, opts.rng_device)[2]
        return Part(positions, HostCopy(torch.from_numpy(pixels), labels), False)
    where = dict(class_idx=opts.class_idx, device=device, rng_device=opts.rng_device)
    batch = start_batch(net, seeds, sampler=plan.sampler, **where, **plan.kwargs)
    pixels = batch.pixels.permute(0, 2, 3, 1)  # [n, H, W, C]
    return Part(positions, HostCopy(pixels, batch.labels, batch.not_finite), True)


def finish_part(
    opts: EasyDict, plan: EasyDict, part: Part, writers: Background
) -> tuple[np.ndarray, np.ndarray | None]:
    """Wait for a batch and have its PNG files written.

    Returns:
        (uint8 [n, H, W, C], class indices int64 [n] or None), as ndarrays.
    """
    pixels, labels, *not_finite = part.made.wait()
    pixels = pixels.numpy()
    if part.is_new:
        samplers.refuse_not_finite(*not_finite, opts.seeds[part.positions].tolist())
        # One writer per file: of a repeated seed only the first image.
        chosen = [i for i, position in enumerate(part.positions) if position not in plan.repeats]
        for begin in range(0, len(chosen), WRITTEN_TOGETHER):
            rows = chosen[begin : begin + WRITTEN_TOGETHER]
            names = [png_name(seed, opts.subdirs) for seed in opts.seeds[part.positions[rows]].tolist()]
            writers.submit(save_images, opts.outdir, names, pixels[rows])
    return pixels, None if labels is None else labels.numpy().copy()  # pinned memory is for the next batch


def started_parts(
    net: torch.nn.Module, opts: EasyDict, plan: EasyDict, shares: list[np.ndarray], device: torch.device
) -> Iterator[Part]:
    """Yield the batches of this process; a GPU is at work on the next one when the last is yielded."""
    ahead, waiting = 1 if device.type == 'cuda' else 0, collections.deque()
    for positions in shares:
        with together():
            waiting.append(start_part(net, opts, plan, positions, device))
        if len(waiting) > ahead:
            yield waiting.popleft()
    yield from waiting


def generate(
    net: torch.nn.Module, opts: EasyDict, plan: EasyDict, device: torch.device, writers: Background
) -> None:
    """Make all images: every process has its PNG files written, rank 0 also writes pack, grid and labels."""
    rank, world_size, count = dist.get_rank(), dist.get_world_size(), len(opts.seeds)
    parts = split_positions(count, opts.batch)
    parts += [np.zeros(0, int)] * (-len(parts) % world_size)  # Every process takes part in every round.
    plan.repeats = find_repeats(opts.seeds)
    shown = min(count, MAX_GRID_IMAGES) if opts.grid is not None else 0
    grid, labels = [], []
    with contextlib.ExitStack() as stack:
        progress = stack.enter_context(ProgressBar('Generating', count, visible=rank == 0))
        pack = None
        with together():
            if opts.pack and rank == 0:
                shape = [count, net.img_resolution, net.img_resolution, net.img_channels]
                pack = stack.enter_context(ImagePack(os.path.join(opts.outdir, PACK_FILE), shape))
        own_parts = started_parts(net, opts, plan, parts[rank::world_size], device)
        for begin, part in zip(range(0, len(parts), world_size), own_parts):
            pixels = classes = None
            with together():
                pixels, classes = finish_part(opts, plan, part, writers)
            if not opts.pack:  # Only what rank 0 needs travels.
                pixels = pixels[part.positions < shown]
            gathered = dist.gather_objects((pixels, classes)) or []
            with together():
                for pixels, classes in gathered:  # In rank order, which is the order of the seeds.
                    labels.append(classes)
                    grid.extend(pixels[: shown - len(grid)].copy())  # A view would keep the whole batch.
                    if pack is not None:
                        pack.append(pixels)
            progress.advance(sum(map(len, parts[begin : begin + world_size])))
        with together():
            writers.finish()
        with together():
            if rank == 0:
                labels = np.concatenate(labels) if net.label_dim else None
                if pack is not None:
                    pack.finish(labels)
                write_summary(opts, labels, grid)


def write_summary(opts: EasyDict, labels: np.ndarray | None, grid: list[np.ndarray]) -> None:
    """Write the labels of all files, and the grid if there is one (rank 0)."""
    write_labels(opts.outdir, [png_name(seed, opts.subdirs) for seed in opts.seeds], labels)
    if opts.grid is not None:
        save_grid(opts.grid, np.stack(grid), columns=math.ceil(math.sqrt(len(grid))))


def settings_record(opts: EasyDict, plan: EasyDict, info: Any, device: torch.device) -> dict[str, Any]:
    """Return what is needed to make the same images again, as plain values without machine paths."""
    return dict(
        network=os.path.basename(str(opts.network)),
        sha256=info.sha256,
        class_name=info.class_name,
        key=opts.key,
        sampler=plan.sampler,
        arguments={k: str(v) for k, v in plan.kwargs.items()},
        seeds=opts.seed_text,
        class_idx=opts.class_idx,
        subdirs=opts.subdirs,
        batch=opts.batch,
        processes=dist.get_world_size(),
        device=device.type,
        rng_device=torch.device(opts.rng_device or device).type,
        torch=torch.__version__,
    )


def choose_writers(workers: int | None, count: int) -> int:
    """Return the number of processes of this one that write PNG files.

    Args:
        workers: As the user gave it; None for a share of the cores.
        count:   Images to be made; few are written here before another process is there.
    """
    neighbours = int(os.environ.get('LOCAL_WORLD_SIZE', 1))
    cores = available_cores() // neighbours
    chosen = min(cores if cores > 1 else 0, MOST_WRITERS) if workers is None else workers
    return min(chosen, count // IMAGES_PER_WRITER)


def run(opts: EasyDict) -> None:
    """Generate images as the command line says; see the options of `cmdline`."""
    # Before anything of CUDA, which does not survive a fork.
    with Background(choose_writers(opts.workers, len(opts.seeds))) as writers:
        run_with(opts, writers)


def run_with(opts: EasyDict, writers: Background) -> None:
    """Generate images; `writers` have the PNG files written."""
    dist.init({'auto': None}.get(opts.device, opts.device))
    keep_freed_memory()
    device = dist.get_device()
    opts.rng_device = {'auto': None, 'cuda': device}.get(opts.rng_device, opts.rng_device)
    net, info = load_everywhere(opts, device)
    plan = EasyDict()
    # The official code samples in float32; TensorFloat-32 would keep only 10 bits of it.
    with contextlib.ExitStack() as stack, full_precision():
        with together():
            samplers.check_class(net.label_dim, opts.class_idx)
            plan.sampler, plan.kwargs = build_sampler(net, opts, info.metadata)
            prepare_output(opts, settings_record(opts, plan, info, device), stack)
        print_plan(opts, plan, info, device)
        generate(net, opts, plan, device, writers)
    dist.print0(f'done: {len(opts.seeds) - len(find_repeats(opts.seeds))} PNG files in {opts.outdir}')
    dist.destroy()


def print_plan(opts: EasyDict, plan: EasyDict, info: Any, device: torch.device) -> None:
    """Say what is going to be made, and where processes have nothing to do (rank 0)."""
    settings = ', '.join([plan.sampler] + [f'{key}={value}' for key, value in plan.kwargs.items()])
    dist.print0(
        f'{info.class_name}: {len(opts.seeds)} images to {opts.outdir}, sampler {settings}, '
        f'{dist.get_world_size()} process(es) on {device.type}'
    )
    needed, present = -(-len(opts.seeds) // opts.batch), dist.get_world_size()
    if needed < present:
        dist.print0(
            f'--batch={opts.batch}: {present - needed} of {present} processes have nothing to do; '
            f'--batch={-(-len(opts.seeds) // present)} gives all of them work'
        )


DEVICE = click.Choice(['auto', 'cpu', 'cuda'])


# fmt: off
@click.command()
# Main options.
@click.option('--network',          help='Network snapshot: .pkl or .safetensors', metavar='PATH|URL',
              required=True)
@click.option('--outdir',           help='Where to save the images', metavar='DIR', required=True)
@click.option('--seeds',            help='Numbers and ranges, e.g. 1,2,5-10', metavar='LIST', default='0-63',
              show_default=True)
@click.option('--class', 'class_idx', help='Class of all images  [default: random]', metavar='INT',
              type=click.IntRange(min=0))
@add_key_options
@click.option('--trust-pickle',     help='May run code inside --network; for files you trust', is_flag=True)
# Sampler; options without effect on the chosen sampler are reported.
@add_sampler_options
# Performance.
@click.option('--batch',            help='Images per batch and process', metavar='INT',
              type=click.IntRange(min=1), default=64, show_default=True)
@click.option('--device',           help='Where to compute', type=DEVICE, default='auto', show_default=True)
@click.option('--rng-device',       help='Where to draw noise; auto: as --device', type=DEVICE,
              default='auto', show_default=True)
@click.option('--workers',          help='Processes that write PNG files  [default: by cores]', metavar='INT',
              type=click.IntRange(min=0))
# Output.
@click.option('--subdirs',          help='One folder per 1000 seeds', is_flag=True)
@click.option('--pack/--no-pack',   help=f'Write {PACK_FILE}', default=True, show_default=True)
@click.option('--skip-existing',    help='Continue an interrupted call: keep finished batches', is_flag=True)
@click.option('--overwrite',        help='First delete the images of earlier calls in --outdir', is_flag=True)
@click.option('--grid',             help=f'Also a grid of the first {MAX_GRID_IMAGES} images', metavar='PNG')
def cmdline(**options: Any) -> None:
    """Generate images from a network snapshot, one per seed.

    A folder holds one set of images: calls with the same settings add to it, others are refused without
    --overwrite.
        Noise from CPU and CUDA generators differs: use --rng-device=cpu for the same images everywhere, and
    CUDA for those of the official scripts.
    """
    opts = EasyDict(options)
    with one_line_errors(class_idx='class'):
        opts.key = choose_key(opts.ema, opts.key)
        opts.seed_text, opts.seeds = opts.seeds, parse_seeds(opts.seeds)
        if opts.rng_device == 'cuda' and (opts.device == 'cpu' or not torch.cuda.is_available()):
            raise ValueError('--rng-device=cuda: needs a GPU and --device=auto or cuda; use --rng-device=cpu')
        if opts.skip_existing and opts.overwrite:
            message = '--skip-existing --overwrite: one keeps images, the other deletes them; leave one out'
            raise ValueError(message)
        run(opts)
# fmt: on


if __name__ == '__main__':
    run_script(cmdline)
