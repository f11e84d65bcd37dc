# Copyright 2026 The GDD-1S authors.
# SPDX-License-Identifier: Apache-2.0
"""Generate images from a network snapshot: a seed fixes noise and class on any batch size and number of processes.

    python generate.py --network=network-snapshot-001000.pkl --outdir=out --seeds=0-63
    torchrun --standalone --nproc_per_node=4 generate.py --network=... --outdir=out --seeds=0-49999 --subdirs
"""

import contextlib
import math
import os
import re
import sys
import time

import click
import numpy as np
import torch
from tqdm import tqdm

from dnnlib.util import EasyDict, format_time
from torch_utils import distributed as dist
from training import samplers
from training.checkpoint import load_network
from training.image_grid import save_grid, save_png
from training.image_output import PACK_FILE, RECORD_FILE, ImagePack, png_name, read_labels, write_json, write_labels
from training.noise_levels import DISCRETIZATIONS, SCALINGS, SCHEDULES, SIGMA_MAX, SIGMA_MIN, check_steps, noise_range

MAX_SEEDS = 100_000_000
MAX_GRID_IMAGES = 256
STATUS_SEC = 10     # between progress lines where there is no terminal

# Parameter of the command line -> argument of the samplers, in the order of --help.
SAMPLER_ARGUMENTS = {
    'steps': 'num_steps', 'sigma_min': 'sigma_min', 'sigma_max': 'sigma_max', 'rho': 'rho', 'S_churn': 'S_churn',
    'S_min': 'S_min', 'S_max': 'S_max', 'S_noise': 'S_noise', 'middle_sigma': 'middle_sigma', 'solver': 'solver',
    'disc': 'discretization', 'schedule': 'schedule', 'scaling': 'scaling',
}
ABLATION_OPTIONS = {'solver', 'disc', 'schedule', 'scaling'}
EDM_OPTIONS = {'steps', 'sigma_min', 'sigma_max', 'rho', 'S_churn', 'S_min', 'S_max', 'S_noise'}


def parse_seeds(text):
    """Return the seeds of a comma-separated list of integers and inclusive ranges, in the given order.

    Raises:
        ValueError: An empty list, a reversed range, or something that is no number.
    """
    seeds = []
    for part in text.split(','):
        match = re.fullmatch(r'\s*(\d+)(?:\s*-\s*(\d+))?\s*', part)
        if match is None:
            raise ValueError(f'--seeds={text}: {part.strip()!r} is neither a number nor a range; '
                             'write for example 0-63 or 1,5,10-20')
        first, last = int(match[1]), int(match[2] or match[1])
        if last < first:
            raise ValueError(f'--seeds={text}: the range {part.strip()} is reversed; write {last}-{first}')
        if len(seeds) + last - first >= MAX_SEEDS:
            raise ValueError(f'--seeds={text}: more than {MAX_SEEDS} seeds; split them over several calls')
        seeds.extend(range(first, last + 1))
    return seeds


def split_positions(count, world_size, max_batch):
    """Split 0..count-1 into consecutive parts, the same number for every process (official rule).

    Returns:
        List of int arrays; process r makes parts r, r + world_size, .... The last ones may be empty.
    """
    num_parts = ((count - 1) // (max_batch * world_size) + 1) * world_size
    return np.array_split(np.arange(count), num_parts)


def spelled(name):
    """Return the command-line spelling of a sampler option."""
    return '--middle-sigma' if name == 'middle_sigma' else f'--{name}'


def used_options(sampler, num_steps):
    """Return the names of the options that a sampler uses."""
    if sampler == 'one_step':
        return {'sigma_max'}
    if sampler == 'multi_step':
        return {'steps', 'sigma_max'} | {1: set(), 2: {'middle_sigma'}}.get(num_steps, {'sigma_min', 'rho'})
    return EDM_OPTIONS | (ABLATION_OPTIONS if sampler == 'ablation' else set())


def choose_sampler(sampler, given, net, metadata):
    """Decide on the sampler and its arguments.

    Args:
        sampler:  Value of --sampler or None.
        given:    Sampler options that the user wrote: name -> value.
        net:      The network; only GDDPrecond is made for one step.
        metadata: Metadata of the snapshot; may hold `middle_sigma`, the value of training.
    Returns:
        (sampler name, keyword arguments, warnings about options without effect).
    Raises:
        ValueError: A value that the sampler cannot work with.
    """
    ablation = bool(ABLATION_OPTIONS & set(given))
    name = sampler or ('one_step' if type(net).__name__ == 'GDDPrecond' and not ablation else 'edm')
    num_steps = given.get('steps', 2 if name in ('multi_step', 'two_step') else 18)
    if name == 'two_step':
        if num_steps != 2:
            raise ValueError(f'--steps={num_steps}: --sampler=two_step has 2 steps; use --sampler=multi_step')
        name = 'multi_step'
    if name == 'edm' and ablation:
        name = 'ablation'
    used = used_options(name, num_steps)
    place = f'{name} and {num_steps} steps' if name == 'multi_step' else name
    warnings = [f'{spelled(option)}={value} has no effect with --sampler={place}; leave it out, or choose another sampler'
                for option, value in given.items() if option not in used]
    kwargs = {SAMPLER_ARGUMENTS[option]: value for option, value in given.items() if option in used}
    if name == 'multi_step':
        kwargs['num_steps'] = num_steps
        if num_steps == 2:
            kwargs.setdefault('middle_sigma', metadata.get('middle_sigma', samplers.MIDDLE_SIGMA))
    check_sampler(name, kwargs, net)
    return name, kwargs, warnings


def check_sampler(name, kwargs, net):
    """Raise ValueError if the arguments of a sampler cannot work, before anything is written."""
    for option, argument in SAMPLER_ARGUMENTS.items():
        value = kwargs.get(argument)
        if isinstance(value, float) and not math.isfinite(value) and not (option == 'S_max' and value > 0):
            raise ValueError(f'{spelled(option)}={value}: a finite number is needed')
    if name == 'multi_step':
        samplers.jump_levels(**kwargs)
    elif name != 'one_step':
        if kwargs.get('num_steps') == 1:
            raise ValueError(f'--steps=1: the {name} sampler needs at least 2 steps; '
                             'use --steps=18, or --sampler=one_step')
        low, high = noise_range(kwargs.get('discretization', 'edm'), epsilon_s=1e-3)
        low, high = samplers.limit_range(net, kwargs.get('sigma_min', low), kwargs.get('sigma_max', high))
        check_steps(kwargs.get('num_steps', 18), low, high)


def agree(error):
    """End all processes if one of them has an error (one line of text, or None); rank 0 shows the first."""
    if not dist.all_reduce_sum_(torch.tensor(float(error is not None))).item():
        return
    errors = dist.gather_objects(error)
    if dist.get_rank() == 0:
        raise click.ClickException(next(text for text in errors if text is not None))
    sys.exit(1)


@contextlib.contextmanager
def together():
    """Run a block on every process; a user error in any of them ends all with one line, without a traceback."""
    error = None
    try:
        yield
    except torch.cuda.OutOfMemoryError:
        error = '--batch: the batch does not fit into the memory of the GPU; use a smaller number'
    except OSError as problem:
        error = (f'{problem.filename or "--outdir"}: cannot be written ({problem.strerror or problem}); '
                 'free some space, or choose another --outdir')
    except ValueError as problem:
        error = str(problem)
    agree(error)


def load_everywhere(opts, device):
    """Load the network on every process, rank 0 first so that a URL is downloaded once; return (net, info)."""
    net = info = None
    for turn in ('first', 'others'):
        with together():
            if (turn == 'first') == (dist.get_rank() == 0):
                net, info = load_network(opts.network, key='ema' if opts.ema else 'net')
    return net.to(device, memory_format=torch.channels_last), info


def prepare_output(opts, record):
    """Create the output folder on rank 0, prove that it can be written, and leave the record of the settings there."""
    if dist.get_rank() != 0:
        return
    if opts.grid is not None:
        folder = os.path.dirname(opts.grid) or '.'
        if not opts.grid.lower().endswith('.png') or not os.path.isdir(folder):
            raise ValueError(f'--grid={opts.grid}: must end in .png and lie in an existing folder; '
                             'for example grid.png')
    try:
        os.makedirs(opts.outdir, exist_ok=True)
        write_json(os.path.join(opts.outdir, RECORD_FILE), record)
    except OSError as error:
        raise ValueError(f'--outdir={opts.outdir}: cannot be written ({error.strerror}); '
                         'choose a folder of your own') from error
    read_labels(opts.outdir)
    if opts.pack and os.path.exists(os.path.join(opts.outdir, PACK_FILE)):
        click.echo(f'{PACK_FILE} of an earlier call in {opts.outdir} will be replaced')


def make_part(net, opts, plan, positions, first_use, device):
    """Make the images at some positions of the seed list and write their PNG files.

    Returns:
        (uint8 [n, H, W, C], class indices int64 [n] or None), as ndarrays.
    """
    seeds = [opts.seeds[i] for i in positions]
    shape = [0, net.img_resolution, net.img_resolution, net.img_channels]
    if not seeds:
        return np.zeros(shape, np.uint8), np.zeros(0, np.int64) if net.label_dim else None
    images, labels = samplers.sample_batch(net, seeds, plan.sampler, opts.class_idx, device, opts.rng_device,
                                           **plan.kwargs)
    samplers.check_finite(images, seeds)
    pixels = samplers.to_uint8(images)                                       # [n, H, W, C]
    for position, seed, image in zip(positions, seeds, pixels):
        if first_use[seed] == position:  # A repeated seed is the same image: one writer per file.
            path = os.path.join(opts.outdir, png_name(seed, opts.subdirs))
            os.makedirs(os.path.dirname(path), exist_ok=True)
            save_png(path, image)
    return pixels, None if labels is None else labels.cpu().numpy()


class Progress:
    """Show how far rank 0 is: a bar on a terminal, a line now and then elsewhere."""

    def __init__(self, total):
        self.visible = dist.get_rank() == 0
        self.bar = tqdm(total=total, unit='img', disable=not (self.visible and sys.stderr.isatty()))
        self.total, self.done, self.start, self.shown = total, 0, time.monotonic(), time.monotonic()

    def advance(self, count):
        """Count images that are finished on all processes."""
        self.bar.update(count)
        self.done += count
        now = time.monotonic()
        if self.visible and self.bar.disable and (self.done == self.total or now - self.shown > STATUS_SEC):
            rate = self.done / max(now - self.start, 1e-9)
            left = format_time((self.total - self.done) / rate)
            click.echo(f'{self.done}/{self.total} images, {rate:.1f} images/s, {left} left')
            self.shown = now


def generate(net, opts, plan, device):
    """Make all images: every process writes its PNG files; rank 0 writes the pack, the grid and the labels."""
    rank, world_size, count = dist.get_rank(), dist.get_world_size(), len(opts.seeds)
    first_use = {seed: i for i, seed in reversed(list(enumerate(opts.seeds)))}
    parts = split_positions(count, world_size, opts.batch)
    shown = min(count, MAX_GRID_IMAGES) if opts.grid is not None else 0
    grid, labels, progress = [], [], Progress(count)
    with contextlib.ExitStack() as stack:
        pack = None
        with together():
            if opts.pack and rank == 0:
                shape = [count, net.img_resolution, net.img_resolution, net.img_channels]
                pack = stack.enter_context(ImagePack(os.path.join(opts.outdir, PACK_FILE), shape))
        for begin in range(0, len(parts), world_size):
            pixels = classes = None
            with together():
                pixels, classes = make_part(net, opts, plan, parts[begin + rank], first_use, device)
            if not opts.pack:  # Only what rank 0 needs travels.
                pixels = pixels[parts[begin + rank] < shown]
            gathered = dist.gather_objects((pixels, classes)) or []
            with together():
                for pixels, classes in gathered:  # In rank order, which is the order of the seeds.
                    labels.append(classes)
                    grid.extend(pixels[: shown - len(grid)].copy())  # A view would keep the whole batch in memory.
                    if pack is not None:
                        pack.append(pixels)
            progress.advance(sum(map(len, parts[begin : begin + world_size])))
        with together():
            if rank == 0:
                labels = np.concatenate(labels) if net.label_dim else None
                if pack is not None:
                    pack.finish(labels)
                write_summary(opts, labels, grid)


def write_summary(opts, labels, grid):
    """Write the labels of all files, and the grid if there is one (rank 0)."""
    write_labels(opts.outdir, [png_name(seed, opts.subdirs) for seed in opts.seeds], labels)
    if opts.grid is not None:
        save_grid(opts.grid, np.stack(grid), columns=math.ceil(math.sqrt(len(grid))))


def settings_record(opts, plan, info, device):
    """Return what is needed to make the same images again, as plain values without machine paths."""
    return dict(
        network=os.path.basename(str(opts.network)), sha256=info.sha256, class_name=info.class_name,
        key='ema' if opts.ema else 'net', sampler=plan.sampler, arguments={k: str(v) for k, v in plan.kwargs.items()},
        seeds=opts.seed_text, class_idx=opts.class_idx, num_images=len(opts.seeds), batch=opts.batch,
        processes=dist.get_world_size(), device=device.type,
        rng_device=torch.device(opts.rng_device or device).type, torch=torch.__version__,
    )


def run(opts, given):
    """Generate images as the command line says; see the options of `cmdline`."""
    dist.init({'auto': None}.get(opts.device, opts.device))
    device = dist.get_device()
    opts.rng_device = {'auto': None, 'cuda': device}.get(opts.rng_device, opts.rng_device)
    # The official code samples in float32; TensorFloat-32 convolutions would keep only 10 bits of it.
    torch.backends.cudnn.allow_tf32 = False
    net, info = load_everywhere(opts, device)
    plan = EasyDict()
    with together():
        samplers.check_class(net.label_dim, opts.class_idx)
        plan.sampler, plan.kwargs, warnings = choose_sampler(opts.sampler, given, net, info.metadata)
        for warning in warnings if dist.get_rank() == 0 else ():
            click.echo(f'Warning: {warning}', err=True)
        prepare_output(opts, settings_record(opts, plan, info, device))
    settings = ', '.join([plan.sampler] + [f'{key}={value}' for key, value in plan.kwargs.items()])
    dist.print0(f'{info.class_name}: {len(opts.seeds)} images to {opts.outdir}, sampler {settings}, '
                f'{dist.get_world_size()} process(es) on {device.type}')
    generate(net, opts, plan, device)
    dist.print0(f'done: {len(set(opts.seeds))} PNG files in {opts.outdir}')
    dist.destroy()


POSITIVE = click.FloatRange(min=0, min_open=True)
NOT_NEGATIVE = click.FloatRange(min=0)
DEVICE = click.Choice(['auto', 'cpu', 'cuda'])


@click.command()
# Main options.
@click.option('--network',          help='Network snapshot', metavar='PATH|URL', required=True)
@click.option('--outdir',           help='Where to save the images', metavar='DIR', required=True)
@click.option('--seeds',            help='Numbers and ranges, e.g. 1,2,5-10', metavar='LIST', default='0-63',
              show_default=True)
@click.option('--class', 'class_idx', help='Class of all images  [default: random]', metavar='INT',
              type=click.IntRange(min=0))
@click.option('--ema',              help='Use averaged weights', metavar='BOOL', type=bool, default=True,
              show_default=True)
# Sampler; options without effect on the chosen sampler are reported.
@click.option('--sampler',          help='[default: one_step for GDD, edm for others]',
              type=click.Choice(['one_step', 'edm', 'multi_step', 'two_step']))
@click.option('--steps',            help='Sampling steps  [default: 18; multi_step 2]', metavar='INT',
              type=click.IntRange(min=1))
@click.option('--sigma_min',        help=f'Lowest noise level  [default: {SIGMA_MIN}]', metavar='FLOAT', type=POSITIVE)
@click.option('--sigma_max',        help=f'Highest noise level  [default: {SIGMA_MAX:g}]', metavar='FLOAT',
              type=POSITIVE)
@click.option('--rho',              help='Exponent of the level spacing  [default: 7]', metavar='FLOAT', type=POSITIVE)
@click.option('--S_churn', 'S_churn', help='Stochasticity strength  [default: 0]', metavar='FLOAT', type=NOT_NEGATIVE)
@click.option('--S_min', 'S_min',   help='Lowest level with noise added  [default: 0]', metavar='FLOAT',
              type=NOT_NEGATIVE)
@click.option('--S_max', 'S_max',   help='Highest level with noise added  [default: inf]', metavar='FLOAT',
              type=NOT_NEGATIVE)
@click.option('--S_noise', 'S_noise', help='Inflation of added noise  [default: 1]', metavar='FLOAT', type=NOT_NEGATIVE)
@click.option('--middle-sigma', '--middle', 'middle_sigma', metavar='FLOAT', type=POSITIVE,
              help='Second level of 2 steps  [default: as trained, or 0.8]')
@click.option('--solver',           help='Ablation: solver  [default: heun]', type=click.Choice(samplers.SOLVERS))
@click.option('--disc',             help='Ablation: time steps  [default: edm]', type=click.Choice(DISCRETIZATIONS))
@click.option('--schedule',         help='Ablation: sigma(t)  [default: linear]', type=click.Choice(SCHEDULES))
@click.option('--scaling',          help='Ablation: s(t)  [default: none]', type=click.Choice(SCALINGS))
# Performance.
@click.option('--batch',            help='Largest batch of a process', metavar='INT', type=click.IntRange(min=1),
              default=64, show_default=True)
@click.option('--device',           help='Where to compute', type=DEVICE, default='auto', show_default=True)
@click.option('--rng-device',       help='Where to draw noise; auto: as --device', type=DEVICE, default='auto',
              show_default=True)
# Output.
@click.option('--subdirs',          help='One folder per 1000 seeds', is_flag=True)
@click.option('--pack/--no-pack',   help=f'Write {PACK_FILE}', default=True, show_default=True)
@click.option('--grid',             help=f'Also a grid of the first {MAX_GRID_IMAGES} images', metavar='PNG')
def cmdline(**options):
    """Generate images from a network snapshot, one per seed.

    Noise from CPU and CUDA generators differs: use --rng-device=cpu for the same images everywhere, and CUDA for
    those of the official scripts.
    """
    given = {name: options.pop(name) for name in SAMPLER_ARGUMENTS}
    given = {name: value for name, value in given.items() if value is not None}
    opts = EasyDict(options)
    try:
        opts.seed_text, opts.seeds = opts.seeds, parse_seeds(opts.seeds)
        if opts.rng_device == 'cuda' and (opts.device == 'cpu' or not torch.cuda.is_available()):
            raise ValueError('--rng-device=cuda: needs a GPU and --device=auto or cuda; use --rng-device=cpu')
        run(opts, given)
    except ValueError as error:
        raise click.ClickException(str(error)) from error


if __name__ == '__main__':
    cmdline()
