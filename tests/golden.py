# Copyright 2026 The GDD-1S authors.
# SPDX-License-Identifier: Apache-2.0
"""Hold networks, samplers and the GDD loss to numbers of the original code.

    python tests/golden.py --dir ../shared/golden --seed public

checks every file of a directory in the golden format and prints the relative error ||a - b|| / ||b|| of each entry.
Exit status 0: everything agrees; 1: something does not, or a file is missing. Shapes, widths and batch sizes come from
the files, so any directory in the same format works.
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
from training.samplers import StackedRandomGenerator, sample_batch, to_uint8

TOLERANCE = 1e-5            # float32 outputs on the CPU, as the golden format states it
GRADIENT_TOLERANCE = 1e-4   # gradients, likewise
PIXEL_TOLERANCE = 1e-3      # share of bytes that may differ by one level, where a value lies on a rounding boundary
PARTS = ('networks', 'samplers', 'gdd')
FILES = {'networks': ('networks_edm', 'networks_gdd'), 'samplers': ('samplers_edm', 'samplers_gdd'), 'gdd': ('gdd',)}

# `tolerance` decides in the tests; `stated` is that of the golden format, where a test uses a wider one (None: the same).
Check = namedtuple('Check', 'entry error tolerance note stated', defaults=['', None])


class GoldenFileError(ValueError):
    """Raised when a golden file is missing or cannot be read."""


def rnd(name, shape):
    """Return the standard normal float32 array that belongs to a name."""
    state = np.random.RandomState(zlib.crc32(name.encode()) & 0xffffffff)
    return state.standard_normal(shape).astype(np.float32)


def value(name, shape):
    """Return the float32 filling of a tensor, by its name and shape (table of the golden format)."""
    z = rnd(name, shape)  # float32 arithmetic where NumPy has it, as in the original: ulps matter near a ReLU's kink.
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
    """Return ||ours - theirs|| / ||theirs|| in float64; infinite for different shapes or non-finite values."""
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
            raise GoldenFileError(f'--dir={directory} --seed={seed}: {path.name} is missing; give a directory that '
                                  f'holds {stem}_{seed}.json and {stem}_{seed}.npz')
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
            yield Check(f"{entry['key']} {name}", float(abs(ours - entry[name])), 0.0, f'{ours} of {entry[name]}')


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
            output = net(torch.from_numpy(rnd(f'x:{seed}', stored.shape)) * sigma.reshape(-1, 1, 1, 1), sigma, labels)
        yield Check(entry['key'], relative_error(output.numpy(), stored), TOLERANCE)


def check_pixels(key, ours, theirs):
    """Return the check of a uint8 batch: the share of bytes that differ, infinite if any differs by more than 1."""
    if ours.shape != theirs.shape:
        return Check(key, float('inf'), PIXEL_TOLERANCE, f'shape {ours.shape} instead of {theirs.shape}')
    difference = np.abs(ours.astype(np.int64) - theirs.astype(np.int64))
    share = float((difference > 0).mean())
    note = f'{int((difference > 0).sum())} of {difference.size} bytes differ by 1 level' if share else ''
    return Check(key, share if difference.max() <= 1 else float('inf'), PIXEL_TOLERANCE, note)


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
            yield Check(f'{key}/labels', wrong, 0.0, f'{wrong:.0f} labels differ' if wrong else '')
        yield Check(key, relative_error(images.numpy(), arrays[key]), TOLERANCE)
        if f'{key}/uint8' in arrays:
            yield check_pixels(f'{key}/uint8', to_uint8(images), arrays[f'{key}/uint8'])


def check_gdd_file(directory, seed, stem):
    """Yield the checks of the features, losses and gradients of GDD (see golden_gdd.py)."""
    load(directory, stem, seed)  # A missing file is reported here, in one line, like the others.
    sys.path.insert(0, str(Path(__file__).resolve().parent))
    try:
        from golden_gdd import check_gdd  # Needs timm and the discriminators, which the other parts do not.
    finally:
        sys.path.pop(0)
    for entry, error, tolerance in check_gdd(directory, seed):
        yield Check(entry, error, tolerance, stated=TOLERANCE if '/Loss/' in entry else GRADIENT_TOLERANCE)


CHECKERS = {'networks': check_networks, 'samplers': check_samplers, 'gdd': check_gdd_file}


def passed(check):
    """Tell whether a check is within its tolerance (NaN never is)."""
    return check.error <= check.tolerance


def only_widened(check):
    """Tell whether a check passes under a tolerance wider than the stated one, and would fail under that."""
    return passed(check) and check.stated is not None and check.error > check.stated


def check_file(part, directory, seed, stem):
    """Print every check of one file and the worst; return (worst check, failed checks, widened checks)."""
    checks = []
    for check in CHECKERS[part](directory, seed, stem):
        checks.append(check)
        mark = 'WIDE' if only_widened(check) else 'ok  ' if passed(check) else 'FAIL'
        note = f' ({check.note})' if check.note else ''
        click.echo(f'{mark} {check.error:9.2e} <= {check.tolerance:7.1e}  {check.entry}{note}')
    failures, widened = [c for c in checks if not passed(c)], [c for c in checks if only_widened(c)]
    worst = max(checks, key=lambda check: check.error if check.error == check.error else float('inf'), default=None)
    if worst is None:
        raise GoldenFileError(f'{stem}_{seed}.json: holds no entries; get the file again')
    click.echo(f'---- {stem}_{seed}: {len(checks)} checks, {len(failures)} failed, '
               f'{len(widened)} above the stated tolerance but within a widened one, worst {worst.error:.2e} {worst.entry}\n')
    return worst, failures, widened


@click.command()
@click.option('--dir', 'directory', help='Directory with the golden files', metavar='DIR', required=True,
              type=click.Path(exists=True, file_okay=False))
@click.option('--seed',             help='Suffix of the file names and prefix of tensor names', metavar='NAME',
              default='public', show_default=True)
@click.option('--only',             help='Check this part alone; repeat for several  [default: all]', multiple=True,
              type=click.Choice(PARTS))
def main(directory, seed, only):
    """Compare this code with golden numbers of the original code."""
    results, missing = [], []
    for part in only or PARTS:
        for stem in FILES[part]:
            try:
                results.append(check_file(part, directory, seed, stem))
            except GoldenFileError as error:
                missing.append(str(error))
                click.echo(f'FAIL {error}\n')
    failed, widened = (sum(len(result[i]) for result in results) for i in (1, 2))
    if results:
        worst = max((worst for worst, _, _ in results), key=lambda check: check.error)
        click.echo(f'overall: worst relative error {worst.error:.2e} ({worst.entry}), {failed} failed, {widened} widened')
    if failed or missing or widened:  # The stated tolerance decides here, whatever the tests allow.
        raise click.ClickException(f'{failed} checks failed, {widened} exceed the stated tolerance (marked WIDE), '
                                   f'{len(missing)} files missing or unreadable')


if __name__ == '__main__':
    main()
