# Copyright 2026 The GDD-1S authors.
# SPDX-License-Identifier: Apache-2.0
"""Look at a run before it starts: machine, versions, files, disk, memory, time, and what is missing.

    sh train.sh --check NAME              python train.py --check --recipe=NAME

Nothing is written or downloaded. Operations, weights and activations are counted; speed is measured for ten
seconds with random images and weights.
"""

import importlib.metadata
import math
import os
import platform
import shutil
from collections.abc import Iterator
from typing import Any, NamedTuple

import psutil
import torch

from benchmarks.throughput import SHAPES
from dnnlib.errors import ArgumentError, as_option
from dnnlib.files import file_sha256
from dnnlib.parallel import available_cores
from dnnlib.terminal import paint
from dnnlib.util import format_time, is_url
from training.backbones.stages import get_spec
from training.backbones.weights import packaged_file
from training.choices import OFFICIAL_CLASS_TABLE, RANDOM_TEACHER
from training.dataset import ImageFolderDataset
from training.run.folder import dataset_name
from workflow.estimate import Estimate, estimate

SECONDS = 10
PACKAGES = ('torch', 'torchvision', 'timm', 'numpy', 'pillow', 'click')
PROGRAM_BYTES = 600 * 2**20  # of Python with torch and timm, before a run begins
PRETRAINED = 'pretrained'
MIB, GIB = 2**20, 2**30


class Checked(NamedTuple):
    """What was found; plain values, as `--json` shows them."""

    machine: dict[str, Any]
    versions: dict[str, str]
    files: dict[str, Any]
    missing: list[str]
    disk: dict[str, Any]
    cost: dict[str, Any]
    run: str


def check(config: dict[str, Any], outdir: str, missing: list[str], command: str, processes: int) -> Checked:
    """Look at everything that a run needs.

    Args:
        config:    Resolved options.
        outdir:    Where the run folder would be made.
        missing:   What is known to be missing already, with its source.
        command:   What starts the run.
        processes: Number of processes it would have.
    """
    files, lost, shape = find_files(config)
    missing = [*missing, *(text for text in lost if text.split(' ')[0] not in ' '.join(missing))]
    cost, disk = dict(note='not measured: the size of the images is not known'), {}
    if shape is not None:
        try:
            found = estimate(
                dict(config, batch_size=max(config['batch_size'] // processes, 1)), *shape, SECONDS
            )
            cost = describe_cost(config, found, processes)
            disk = describe_disk(config, found, outdir)
        except ArgumentError as error:
            cost = dict(note=f'not measured: {error.spell(as_option)}')
    return Checked(machine(), versions(), files, missing, disk, cost, command)


def machine() -> dict[str, Any]:
    """Return cores, memory in GiB and GPUs."""
    memory = psutil.virtual_memory()
    gpus = [torch.cuda.get_device_properties(index) for index in range(torch.cuda.device_count())]
    return dict(
        system=f'{platform.system()} {platform.machine()}',
        cores=available_cores(),
        memory_gib=round(memory.total / GIB, 1),
        free_memory_gib=round(memory.available / GIB, 1),
        gpus=[f'{gpu.name}, {gpu.total_memory / GIB:.0f} GiB' for gpu in gpus],
    )


def versions() -> dict[str, str]:
    """Return the versions of Python and of what training needs."""
    found = dict(python=platform.python_version())
    for name in PACKAGES:
        try:
            found[name] = importlib.metadata.version(name)
        except importlib.metadata.PackageNotFoundError:
            found[name] = 'missing'
    return found | (dict(cuda=torch.version.cuda) if torch.cuda.is_available() else {})


def find_files(config: dict[str, Any]) -> tuple[dict[str, Any], list[str], tuple | None]:
    """Look for every file that a run reads; nothing is downloaded.

    Returns:
        What was found by role; what is missing, with its source; ((C, H, W), classes) of the images.
    """
    files, missing = {}, []
    data, shape = config['dataset_kwargs']['path'], None
    if os.path.exists(data):
        dataset = ImageFolderDataset(data, use_labels=config['dataset_kwargs']['use_labels'])
        shape = (tuple(dataset.image_shape), dataset.label_dim)
        files['data'] = describe_file(data)
        files['data'].update(images=len(dataset), shape=dataset.image_shape, classes=dataset.label_dim)
    else:
        missing.append(f'{data} is missing; dataset_tool.py makes such archives')
        known = SHAPES.get(dataset_name(data))
        if known:
            side, channels, classes, _ = known
            shape = ((channels, side, side), classes if config['dataset_kwargs']['use_labels'] else 0)
    networks = dict(teacher=config['transfer'], target=config.get('target'))
    metrics = (config['metrics_kwargs'] or {}).get('ref')
    table = config.get('discriminator_kwargs', {}).get('class_embed')
    named = (
        {'class table': table}
        if table not in ('random', 'computed') and not config.get('teacher_only')
        else {}
    )
    for role, path in {**networks, 'metrics reference': metrics, **named}.items():
        if not path or path == RANDOM_TEACHER:
            continue
        if is_url(path):
            files[role] = dict(path=path, note='fetched when the run starts')
        elif os.path.exists(path):
            files[role] = describe_file(path)
        else:
            source = (
                'pretrained/README.md says how to make it'
                if path == OFFICIAL_CLASS_TABLE
                else 'check the path'
            )
            missing.append(f'{path} is missing; {source}')
    for role, found in find_backbones(config):
        files[role] = found
    return files, missing, shape


def find_backbones(config: dict[str, Any]) -> Iterator[tuple[str, dict[str, Any]]]:
    """Yield the weights of the feature networks, as far as they are on this machine."""
    features = config.get('feature_kwargs') or {}
    if features.get('weights') != 'pretrained' or config.get('teacher_only'):
        return
    for name in features.get('names', ()):
        try:
            spec = get_spec(name)
        except ValueError:  # no timm model: made of the teacher
            continue
        places = [os.path.join(PRETRAINED, file) for file in spec.files]
        path = next((place for place in places if os.path.isfile(place)), packaged_file(spec))
        note = dict(path=name, note='not on this machine; fetched by timm or torchvision when the run starts')
        yield f'backbone {name}', describe_file(path) if path else note


def describe_file(path: str) -> dict[str, Any]:
    """Return path, size in bytes and SHA-256; a folder has its path only."""
    if not os.path.isfile(path):
        return dict(path=path)
    return dict(path=path, bytes=os.path.getsize(path), sha256=file_sha256(path))


def describe_cost(config: dict[str, Any], found: Estimate, processes: int) -> dict[str, Any]:
    """Return operations, speed, time and memory of a run."""
    local = config['batch_size'] // processes
    forward = min(config['batch_gpu'] or local, local)
    memory = PROGRAM_BYTES + found.fixed_bytes + forward * found.bytes_per_image
    rate = found.images_per_second * processes
    return dict(
        gflop_per_image=round(found.operations / 1e9, 3),
        images_per_second=round(rate, 2),
        measured_batch=found.batch,
        processes=processes,
        images=config['total_nimg'],
        seconds=round(config['total_nimg'] / rate),
        memory_gib_per_process=round(memory / GIB, 2),
    )


def describe_disk(config: dict[str, Any], found: Estimate, outdir: str) -> dict[str, Any]:
    """Return what snapshots and states come to, and the free space where they are written; bytes."""
    ticks = math.ceil(config['total_nimg'] / max(config['tick_nimg'], config['batch_size'])) + 1
    snapshots = ticks // config['snapshot_ticks'] + 2
    states = (config['keep_states'] or ticks // config['state_ticks'] + 1) + 1  # one more while it is written
    place = os.path.abspath(outdir)
    while not os.path.exists(place):
        place = os.path.dirname(place)
    return dict(
        snapshots=snapshots,
        bytes_per_snapshot=found.snapshot_bytes,
        states=states,
        bytes_per_state=found.state_bytes,
        needed=snapshots * found.snapshot_bytes + states * found.state_bytes,
        free=shutil.disk_usage(place).free,
        place=outdir,
    )


def lines(found: Checked) -> Iterator[str]:
    """Yield the lines for the screen."""
    own = found.machine
    gpus = ', '.join(own['gpus']) or 'no GPU'
    memory = f'{own["memory_gib"]:g} GiB memory ({own["free_memory_gib"]:g} free)'
    yield f'Machine    {own["system"]}, {own["cores"]} cores, {memory}, {gpus}'
    yield 'Versions   ' + ', '.join(f'{name} {version}' for name, version in found.versions.items())
    for role, file in found.files.items():
        parts = [file['path'], *([f'sha256 {file["sha256"][:16]}'] if 'sha256' in file else [])]
        if 'images' in file:
            parts.append(f'{file["images"]} images of {file["shape"]}, {file["classes"]} classes')
        yield f'Found      {role}: ' + ', '.join([*parts, *([file['note']] if 'note' in file else [])])
    yield from (paint(f'Missing    {text}', 'red') for text in found.missing)
    yield from _cost_lines(found.cost, found.disk, own)
    enough = not found.disk or found.disk['needed'] < found.disk['free']
    if not enough:
        yield paint(
            'Missing    space on the disk; choose another --outdir, or fewer snapshots (--snap)', 'red'
        )
    words = 'first bring what is missing, then ' if found.missing else ''
    yield paint(f'Run        {words}{found.run}', 'green')


def _cost_lines(cost: dict[str, Any], disk: dict[str, Any], own: dict[str, Any]) -> Iterator[str]:
    if 'note' in cost:
        yield f'Cost       {cost["note"]}'
        return
    yield (
        f'Disk       {disk["snapshots"]} snapshots of {disk["bytes_per_snapshot"] / MIB:.1f} MiB, '
        f'{disk["states"]} states of {disk["bytes_per_state"] / MIB:.1f} MiB: {disk["needed"] / MIB:.0f} MiB '
        f'in {disk["place"]}, where {disk["free"] / MIB:.0f} MiB are free'
    )
    memory = cost['memory_gib_per_process']
    yield f'Memory     about {memory:.1f} GiB for each of {cost["processes"]} process(es)'
    if not own['gpus'] and memory * cost['processes'] > own['memory_gib']:
        yield paint('Missing    memory; a smaller --batch-gpu needs less', 'red')
    yield (
        f'Time       {cost["images"]:,} images of {cost["gflop_per_image"]:g} GFLOP at '
        f'{cost["images_per_second"]:.3g} images/s (measured with batches of {cost["measured_batch"]}): '
        f'{format_time(cost["seconds"])}'
    )
