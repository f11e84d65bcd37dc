# Copyright 2026 The GDD-1S authors.
# SPDX-License-Identifier: Apache-2.0
"""Hold networks, samplers and the GDD loss to numbers of the original code.

    python tests/golden.py --dir ../shared/golden --seed public

checks every file of a directory in the golden format and prints the relative error ||a - b|| / ||b|| of each
entry and the stated tolerance. Gradients that exceed it, but by no more than rounding is measured to move
them (golden_gdd.py), are marked ROUND and show the measured allowance. Exit status 0: everything agrees; 1:
something does not (with --strict: or needs an allowance), or a file is missing. Shapes, widths and batch
sizes come from the files, so any directory in the same format works.
"""

import json
import sys
import zipfile
import zlib
from collections import namedtuple
from pathlib import Path

import click
import numpy as np
import torch

if __name__ == '__main__':  # Started as a script: the repository root is not on the path yet.
    sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from training import networks
from training.sampling.samplers import sample_batch, to_uint8
from training.sampling.seeds import StackedRandomGenerator

TOLERANCE = 1e-5  # float32 outputs on the CPU, as the golden format states it
GRADIENT_TOLERANCE = 1e-4  # gradients, likewise
PIXEL_TOLERANCE = (
    1e-3  # share of bytes that may differ by one level, where a value lies on a rounding boundary
)
PARTS = ('networks', 'samplers', 'gdd')
FILES = {
    'networks': ('networks_edm', 'networks_gdd'),
    'samplers': ('samplers_edm', 'samplers_gdd'),
    'gdd': ('gdd',),
}

# `tolerance` is that of the golden format; `allowance` is how far rounding alone may move the entry, where it
# was measured.
Check = namedtuple('Check', 'entry error tolerance allowance note', defaults=[0.0, ''])


class GoldenFileError(ValueError):
    """Raised when a golden file is missing or cannot be read."""


def rnd(name, shape):
    """Return the standard normal float32 array that belongs to a name."""
    state = np.random.RandomState(zlib.crc32(name.encode()) & 0xFFFFFFFF)
    return state.standard_normal(shape).astype(np.float32)


def value(name, shape):
    """Return the float32 filling of a tensor, by its name and shape (table of the golden format)."""
    z = rnd(
        name, shape
    )  # float32 arithmetic where NumPy has it, as in the original: ulps matter near a ReLU's kink.
    if name.endswith('running_var'):
        z = 1 + 0.1 * np.abs(z)
    elif name.endswith('running_mean'):
        z = 0.1 * z
    elif len(shape) >= 2:
        z = z.astype(np.float64) / np.sqrt(np.prod(shape[1:]))
    elif name.endswith('weight'):
        z = 1 + 0.1 * z
    else:
        z = 0.1 * z
    return z.astype(np.float32)


def fill(module, prefix=''):
    """Fill parameters and buffers of a module by their state-dict names, in place."""
    with torch.no_grad():
        for name, tensor in module.state_dict().items():
            if name.endswith('resample_filter') or not tensor.is_floating_point():
                continue
            make = rnd if name.endswith('freqs') else value
            tensor.copy_(torch.from_numpy(make(prefix + name, tuple(tensor.shape))))
    return module


def relative_error(ours, theirs):
    """Return ||ours - theirs|| / ||theirs|| in float64; infinite for other shapes or non-finite values."""
    ours, theirs = np.asarray(ours, dtype=np.float64), np.asarray(theirs, dtype=np.float64)
    if ours.shape != theirs.shape or not np.isfinite(ours).all():
        return float('inf')
    return float(np.linalg.norm(ours - theirs) / max(np.linalg.norm(theirs), 1e-300))


def load(directory, stem, seed):
    """Return (entries of the .json, arrays of the .npz) of one golden file.

    Raises:
        GoldenFileError: One of the two files is missing or damaged.
    """
    base = Path(directory) / f'{stem}_{seed}'
    for path in (base.with_name(base.name + '.json'), base.with_name(base.name + '.npz')):
        if not path.is_file():
            raise GoldenFileError(
                f'--dir={directory} --seed={seed}: {path.name} is missing; give a directory that '
                f'holds {stem}_{seed}.json and {stem}_{seed}.npz'
            )
    try:
        entries = json.loads((base.with_name(base.name + '.json')).read_text())
        with np.load(base.with_name(base.name + '.npz')) as archive:
            return entries, dict(archive)
    except (ValueError, OSError, zipfile.BadZipFile) as error:
        raise GoldenFileError(f'{base.name}: cannot be read ({error}); get the two files again') from error


def build(entry):
    """Return the filled network of a golden entry, in eval mode."""
    net = getattr(networks, entry['precond'])(**entry['init'])
    return fill(net).eval().requires_grad_(False)


def check_counts(entry, net):
    """Yield one check per count (parameters, tensors) that the entry states; the error is the difference."""
    counts = {'params': sum(p.numel() for p in net.parameters()), 'n_tensors': len(net.state_dict())}
    for name, ours in counts.items():
        if name in entry:
            yield Check(
                f'{entry["key"]} {name}', float(abs(ours - entry[name])), 0.0, note=f'{ours} of {entry[name]}'
            )


def check_networks(directory, seed, stem):
    """Yield the checks of one networks file: counts and the output at several noise levels."""
    entries, arrays = load(directory, stem, seed)
    for entry in entries:
        net = build(entry)
        yield from check_counts(entry, net)
        stored = arrays[entry['key']]
        n = len(stored)
        sigma = torch.tensor([80, 1, 0.002][:n])
        labels = torch.eye(net.label_dim)[:n] if net.label_dim else None
        with torch.no_grad():
            output = net(
                torch.from_numpy(rnd(f'x:{seed}', stored.shape)) * sigma.reshape(-1, 1, 1, 1), sigma, labels
            )
        yield Check(entry['key'], relative_error(output.numpy(), stored), TOLERANCE)


def check_pixels(key, ours, theirs):
    """Return the check of a uint8 batch: the share of bytes that differ,
    infinite if any differs by more than 1.
    """
    if ours.shape != theirs.shape:
        return Check(key, float('inf'), PIXEL_TOLERANCE, note=f'shape {ours.shape} instead of {theirs.shape}')
    difference = np.abs(ours.astype(np.int64) - theirs.astype(np.int64))
    share = float((difference > 0).mean())
    note = f'{int((difference > 0).sum())} of {difference.size} bytes differ by 1 level' if share else ''
    return Check(key, share if difference.max() <= 1 else float('inf'), PIXEL_TOLERANCE, note=note)


def check_samplers(directory, seed, stem):
    """Yield the checks of one samplers file: latents, labels, images and bytes."""
    entries, arrays = load(directory, stem, seed)
    for entry in entries:
        key, net = entry['key'], build(entry)
        yield from check_counts(entry, net)
        if f'{key}/latents' in arrays:
            stored = arrays[f'{key}/latents']
            latents = StackedRandomGenerator('cpu', entry['seeds']).randn(stored.shape)
            yield Check(f'{key}/latents', relative_error(latents.numpy(), stored), 0.0)
        images, labels = sample_batch(net, entry['seeds'], entry['sampler'], **entry['kwargs'])
        if f'{key}/labels' in arrays:
            wrong = float((labels.numpy() != arrays[f'{key}/labels']).sum())
            yield Check(f'{key}/labels', wrong, 0.0, note=f'{wrong:.0f} labels differ' if wrong else '')
        yield Check(key, relative_error(images.numpy(), arrays[key]), TOLERANCE)
        if f'{key}/uint8' in arrays:
            yield check_pixels(f'{key}/uint8', to_uint8(images), arrays[f'{key}/uint8'])


def check_gdd_file(directory, seed, stem):
    """Yield the checks of the features, losses and gradients of GDD (see golden_gdd.py)."""
    load(directory, stem, seed)  # A missing file is reported here, in one line, like the others.
    from tests.golden_gdd import check_gdd  # Needs timm and the discriminators, which the other parts do not.

    yield from check_gdd(directory, seed)


CHECKERS = {'networks': check_networks, 'samplers': check_samplers, 'gdd': check_gdd_file}


def passed(check):
    """Tell whether a check is within its tolerance or its measured allowance (NaN never is)."""
    return check.error <= max(check.tolerance, check.allowance)


def only_rounding(check):
    """Tell whether a check passes by its measured allowance, and would fail under the stated tolerance."""
    return passed(check) and check.error > check.tolerance


def describe(check):
    """Return the line that is printed for a check."""
    mark = 'FAIL ' if not passed(check) else 'ROUND' if only_rounding(check) else 'ok   '
    allowance = f', rounding allows {check.allowance:.1e}' if check.allowance and mark != 'ok   ' else ''
    note = f' ({check.note})' if check.note else ''
    return f'{mark} {check.error:9.2e}  stated {check.tolerance:7.1e}{allowance}  {check.entry}{note}'


def summarize(checks):
    """Return (worst check, number within the stated tolerance, number that need the allowance,
    number failed).
    """
    worst = max(checks, key=lambda check: check.error if check.error == check.error else float('inf'))
    rounding, failures = sum(map(only_rounding, checks)), sum(not passed(check) for check in checks)
    return worst, len(checks) - rounding - failures, rounding, failures


def check_file(part, directory, seed, stem):
    """Print every check of one file and a summary; return the checks."""
    checks = []
    for check in CHECKERS[part](directory, seed, stem):
        checks.append(check)
        click.echo(describe(check))
    if not checks:
        raise GoldenFileError(f'{stem}_{seed}.json: holds no entries; get the file again')
    worst, stated, rounding, failures = summarize(checks)
    click.echo(
        f'----- {stem}_{seed}: {stated} of {len(checks)} within the stated tolerance, {rounding} within '
        f'the measured rounding allowance, {failures} failed, worst {worst.error:.2e} {worst.entry}\n'
    )
    return checks


@click.command()
@click.option(
    '--dir',
    'directory',
    help='Directory with the golden files',
    metavar='DIR',
    required=True,
    type=click.Path(exists=True, file_okay=False),
)
@click.option(
    '--seed',
    help='Suffix of the file names and prefix of tensor names',
    metavar='NAME',
    default='public',
    show_default=True,
)
@click.option(
    '--only',
    help='Check this part alone; repeat for several  [default: all]',
    multiple=True,
    type=click.Choice(PARTS),
)
@click.option('--strict', help='Fail for entries that need the rounding allowance, too', is_flag=True)
def main(directory, seed, only, strict):
    """Compare this code with golden numbers of the original code."""
    checks, missing = [], 0
    for part in only or PARTS:
        for stem in FILES[part]:
            try:
                checks += check_file(part, directory, seed, stem)
            except GoldenFileError as error:
                missing += 1
                click.echo(f'FAIL  {error}\n')
    rounding = failures = 0
    if checks:
        worst, stated, rounding, failures = summarize(checks)
        click.echo(
            f'overall: worst relative error {worst.error:.2e} ({worst.entry}), {stated} within the stated '
            f'tolerance, {rounding} within the measured rounding allowance, {failures} failed'
        )
    if failures or missing or (strict and rounding):
        raise click.ClickException(
            f'{failures} checks failed, {rounding} exceed the stated tolerance (marked ROUND), '
            f'{missing} files missing or unreadable'
        )


if __name__ == '__main__':
    main()
