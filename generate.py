# Copyright 2026 The GDD-1S authors.
# SPDX-License-Identifier: Apache-2.0
"""Generate images from a network snapshot: a seed fixes noise and class, whatever batch and processes.

python generate.py --network=network-snapshot-001000.pkl --outdir=out --seeds=0-63
torchrun --standalone --nproc_per_node=4 generate.py --network=... --outdir=out --seeds=0-49999 --subdirs
"""

import contextlib
import math
import os
from collections.abc import Iterator
from typing import Any

import click
import numpy as np
import torch

from dnnlib.cli import cause_for_user, one_line_errors, run_script
from dnnlib.errors import ArgumentError, arg
from dnnlib.files import claim
from dnnlib.os_errors import is_memory_error
from dnnlib.progress import ProgressBar
from dnnlib.util import EasyDict
from torch_utils import distributed as dist
from training.images.output import PACK_FILE, ImagePack, claim_folder, png_name, read_images, write_labels
from training.images.png import save_grid, save_png
from training.sampling import samplers
from training.sampling.options import add_key_options, add_sampler_options, build_sampler
from training.sampling.seeds import find_repeats, parse_seeds, split_positions
from training.snapshots.entries import choose_key
from training.snapshots.snapshot import load_network

MAX_GRID_IMAGES = 256


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


def make_part(
    net: torch.nn.Module, opts: EasyDict, plan: EasyDict, positions: np.ndarray, device: torch.device
) -> tuple[np.ndarray, np.ndarray | None]:
    """Make the images at some positions of the seed list and write their PNG files.

    Returns:
        (uint8 [n, H, W, C], class indices int64 [n] or None), as ndarrays.
    """
    seeds = opts.seeds[positions].tolist()
    shape = [net.img_resolution, net.img_resolution, net.img_channels]
    if not seeds:
        return np.zeros([0, *shape], np.uint8), np.zeros(0, np.int64) if net.label_dim else None
    names = [png_name(seed, opts.subdirs) for seed in seeds]
    pixels = read_images(opts.outdir, names, shape) if opts.skip_existing else None
    if pixels is not None:
        labels = samplers.draw_inputs(net, seeds, opts.class_idx, device, opts.rng_device)[2]
        return pixels, None if labels is None else labels.cpu().numpy()
    images, labels = samplers.sample_batch(
        net, seeds, plan.sampler, opts.class_idx, device, opts.rng_device, **plan.kwargs
    )
    samplers.check_finite(images, seeds)
    pixels = samplers.to_uint8(images)  # [n, H, W, C]
    write_pngs(opts, plan, positions, names, pixels)
    return pixels, None if labels is None else labels.cpu().numpy()


def write_pngs(
    opts: EasyDict, plan: EasyDict, positions: np.ndarray, names: list[str], pixels: np.ndarray
) -> None:
    """Write the images of these positions, but those of a repeated seed only once."""
    for position, name, image in zip(positions, names, pixels):
        if position not in plan.repeats:  # One writer per file.
            path = os.path.join(opts.outdir, name)
            os.makedirs(os.path.dirname(path), exist_ok=True)
            save_png(path, image)


def generate(net: torch.nn.Module, opts: EasyDict, plan: EasyDict, device: torch.device) -> None:
    """Make all images: every process writes its PNG files, rank 0 also the pack, the grid and the labels."""
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
        for begin in range(0, len(parts), world_size):
            pixels = classes = None
            with together():
                pixels, classes = make_part(net, opts, plan, parts[begin + rank], device)
            if not opts.pack:  # Only what rank 0 needs travels.
                pixels = pixels[parts[begin + rank] < shown]
            gathered = dist.gather_objects((pixels, classes)) or []
            with together():
                for pixels, classes in gathered:  # In rank order, which is the order of the seeds.
                    labels.append(classes)
                    grid.extend(pixels[: shown - len(grid)].copy())  # A view would keep the whole batch.
                    if pack is not None:
                        pack.append(pixels)
            progress.advance(sum(map(len, parts[begin : begin + world_size])))
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


def run(opts: EasyDict) -> None:
    """Generate images as the command line says; see the options of `cmdline`."""
    dist.init({'auto': None}.get(opts.device, opts.device))
    device = dist.get_device()
    opts.rng_device = {'auto': None, 'cuda': device}.get(opts.rng_device, opts.rng_device)
    # The official code samples in float32; TensorFloat-32 convolutions would keep only 10 bits of it.
    torch.backends.cudnn.allow_tf32 = False
    net, info = load_everywhere(opts, device)
    plan = EasyDict()
    with contextlib.ExitStack() as stack:
        with together():
            samplers.check_class(net.label_dim, opts.class_idx)
            plan.sampler, plan.kwargs = build_sampler(net, opts, info.metadata)
            prepare_output(opts, settings_record(opts, plan, info, device), stack)
        print_plan(opts, plan, info, device)
        generate(net, opts, plan, device)
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
