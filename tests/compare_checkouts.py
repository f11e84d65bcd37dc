# Copyright 2026 The GDD-1S authors.
# SPDX-License-Identifier: Apache-2.0
"""Prove that two checkouts of this code train alike, bit for bit.

    python tests/compare_checkouts.py OTHER_CHECKOUT

trains the same tiny teachers and students with `train.py` of OTHER_CHECKOUT and of the checkout that this
file lies in, on one and on two processes, and compares what they leave: stats.jsonl without clock and memory,
training states (all tensors and values), snapshots, and sample grids. Only the command line is used, and
nothing of either checkout is imported, so the layout of the code does not matter. Snapshots are compared byte
by byte; where they differ, instruction by instruction of the pickle, and then the program texts in them
(training/networks.py and the like) may differ, which is said. So may the list of options that a state names
as those of its run, but not their values.

Exit status 0: everything is equal; 1: something differs, or a run failed. It takes about five CPU minutes, on
the CPU only. `--keep=DIR` keeps the runs of OTHER_CHECKOUT there and takes them from there the next time,
which halves that (remove DIR when OTHER_CHECKOUT changes); `--only=gdd,ctm` picks cases.
"""

import io
import json
import os
import pathlib
import pickletools
import shutil
import subprocess
import sys
import tempfile
import time
import zipfile
from typing import Any, NamedTuple

import click
import numpy as np
import PIL.Image
import torch

ROOT = pathlib.Path(__file__).resolve().parents[1]
FOLDER = click.Path(exists=True, file_okay=False, path_type=pathlib.Path)
NEW_FOLDER = click.Path(file_okay=False, path_type=pathlib.Path)
TIME_LIMIT = 300  # seconds, for one command
CLOCK = ('Timing/', 'Resources/')  # prefixes of statistics that the machine decides
ONE_SIDED = ' (on one side only)'
CLOCK_KEYS = ('timestamp', 'total_sec', 'tick_sec')

COMMON = '--data={data} --cond=1 --seed=3 --device=cpu --grid=2x3 --workers=0'.split()
NETWORK = '--arch=ncsnpp --cbase=8 --cres=1,1 --num-blocks=1 --attn-res=4'.split()
EDM = [*COMMON, *NETWORK, *'--loss=edm --batch=8 --lr=0.01 --lr-rampup=0 --augment=0'.split()]
VP = [*COMMON, *NETWORK, *'--loss=vp --batch=8 --lr=0.01 --lr-rampup=0 --augment=0'.split()]
STUDENT = [*COMMON, '--transfer={teacher}', '--freeze=1', '--lr=1e-3']
D = '--backbone=3 --d-pretrained=0 --d-resolution=32 --d-channel-max=16 --dlr=1e-3'.split()
ADA = '--diffaug=1 --ada-target=0.6 --augment-p=0.3 --r1-gamma=0.1'.split()
# The published table of classes is no part of a checkout.
OFFICIAL = ['--compat=official', '--class-embed=random']
GDD = [*STUDENT, *D, '--batch=4', '--batch-gpu=2']
GDD_TWO = [*STUDENT, *D, '--batch=8', '--batch-gpu=2']
DISTANCE = [*STUDENT, '--batch=4', '--batch-gpu=2', '--max-steps=8', '--distance=huber']
FRECHET = [*STUDENT, *'--loss=fd --fd-features=teacher --fd-queue=40 --batch=4 --batch-gpu=2'.split()]


class Case(NamedTuple):
    """A run: options of train.py, iterations (several numbers: the run is resumed), processes."""

    options: list
    iterations: tuple
    processes: int = 1


# R1 runs every 16 iterations, after the iteration of that number.
CASES = {
    'teacher edm': Case([*EDM, '--batch-gpu=4', '--label-dropout=0.1', '--workers=1'], (5,)),
    'teacher vp': Case(VP, (3,)),
    'teacher augmented': Case([*EDM, '--augment=0.5', '--ema=0.5,0.05'], (3,)),
    'gdd clean': Case([*GDD, *ADA], (17,)),
    'gdd official': Case([*GDD, *ADA, *OFFICIAL], (17,)),
    'gdd bf16, two steps, hinge': Case(
        [*GDD, '--precision=bf16', '--multi-step-g=2', '--loss-type=hinge'], (2, 4)
    ),
    'gdd + cd': Case([*GDD, '--teacher-type=cd', '--max-steps=8', '--distance=l2'], (2,)),
    'gdd + rcd, bf16, resumed': Case(
        [*GDD, '--teacher-type=rcd', '--max-steps=8', '--distance=huber', '--precision=bf16'], (2, 4)
    ),
    'pd': Case([*DISTANCE, '--teacher-type=pd', '--teacher-only=1'], (3,)),
    'ctm, bf16': Case([*DISTANCE, '--teacher-type=ctm', '--teacher-only=1', '--precision=bf16'], (3,)),
    'fd': Case(FRECHET, (3,)),
    'teacher edm, 2': Case([*EDM, '--augment=0.5', '--batch-gpu=2'], (3,), processes=2),
    'gdd clean, 2': Case([*GDD_TWO, *ADA, '--teacher-type=cd', '--distance=huber'], (17,), processes=2),
    'gdd official, 2': Case([*GDD_TWO, *ADA, *OFFICIAL], (17,), processes=2),
    'gdd sync-bn, 2': Case([*GDD_TWO, '--sync-bn=1'], (2,), processes=2),
    'ctm, 2': Case(
        [*STUDENT, *'--batch=8 --teacher-type=ctm --teacher-only=1 --max-steps=8 --distance=l2'.split()],
        (3,),
        processes=2,
    ),
}


class RunError(Exception):
    """A command ended with an error; the text is its last line."""


# ------------------------------------------------------------------------------------------------
# Running.


def write_data(path: pathlib.Path, count: int = 20, classes: int = 3) -> None:
    """Write a data set of random images of 8x8 pixels, as dataset_tool.py would."""
    rng = np.random.RandomState(0)
    labels = []
    with zipfile.ZipFile(path, 'w') as archive:
        for k in range(count):
            buffer = io.BytesIO()
            PIL.Image.fromarray(rng.randint(256, size=[8, 8, 3]).astype(np.uint8)).save(buffer, format='png')
            labels.append([f'00000/img{k:08d}.png', k % classes])
            archive.writestr(labels[-1][0], buffer.getvalue())
        archive.writestr('dataset.json', json.dumps({'labels': labels}))


def train(checkout: pathlib.Path, case: Case, folder: pathlib.Path, material: dict) -> None:
    """Run a case with train.py of a checkout.

    Raises:
        RunError: It ended with an error, or not at all.
    """
    batch = int(next(text for text in case.options if text.startswith('--batch=')).partition('=')[2])
    options = [text.format(**material) for text in case.options]
    launcher = ['-m', 'torch_utils.launch', '--standalone', f'--nproc_per_node={case.processes}']
    environment = dict(os.environ, OMP_NUM_THREADS='1', PYTHONPATH='', PYTHONDONTWRITEBYTECODE='1')
    shutil.rmtree(folder, ignore_errors=True)
    for iterations in case.iterations:
        length = [f'--duration={iterations * batch / 1e6:.7f}', '--resume=auto']
        command = [sys.executable, *(launcher if case.processes > 1 else []), 'train.py', *options, *length]
        try:
            ended = subprocess.run(
                [*command, f'--outdir={folder}', '--nosubdir'],
                cwd=checkout,
                env=environment,
                text=True,
                capture_output=True,
                timeout=TIME_LIMIT,
            )
        except subprocess.TimeoutExpired as error:
            raise RunError(f'no end within {TIME_LIMIT} s') from error
        if ended.returncode:
            lines = (ended.stderr.strip() or ended.stdout.strip() or 'without a word').splitlines()
            raise RunError(f'exit status {ended.returncode}: {lines[-1]}')


def finished(folder: pathlib.Path, case: Case) -> bool:
    """Tell whether a folder holds the whole run already; the mark is written last."""
    mark = folder / 'finished.json'
    return mark.exists() and mark.read_text(encoding='utf-8') == json.dumps(case)


# ------------------------------------------------------------------------------------------------
# Comparing. Each function returns differences, as texts; none of them executes what a file holds.


def lasting(tree: Any) -> Any:
    """Leave out of nested dicts and lists what the clock and the memory of the machine decide."""
    if isinstance(tree, dict):
        return {
            key: lasting(value)
            for key, value in tree.items()
            if not (isinstance(key, str) and (key.startswith(CLOCK) or key in CLOCK_KEYS))
        }
    return [lasting(value) for value in tree] if isinstance(tree, (list, tuple)) else tree


def flatten(tree: Any, prefix: str = '') -> dict:
    """Return name -> leaf of nested dicts and lists; an empty one is a leaf."""
    if not isinstance(tree, (dict, list, tuple)) or not tree:
        return {prefix: tree}
    items = tree.items() if isinstance(tree, dict) else enumerate(tree)
    return {name: leaf for key, value in items for name, leaf in flatten(value, f'{prefix}/{key}').items()}


def same(a: Any, b: Any) -> bool:
    """Compare two leaves bit for bit: NaN equals NaN, -0.0 does not equal 0.0, 1 does not equal 1.0."""
    if isinstance(a, torch.Tensor) and isinstance(b, torch.Tensor):
        facts = [(x.dtype, x.shape, x.stride()) for x in (a, b)]
        return facts[0] == facts[1] and torch.equal(*(x.reshape(-1).view(torch.uint8) for x in (a, b)))
    return type(a) is type(b) and repr(a) == repr(b)


def compare_trees(a: Any, b: Any) -> list[str]:
    """Name the leaves that differ between two nested states."""
    left, right = flatten(lasting(a)), flatten(lasting(b))
    names = [f'{name}{ONE_SIDED}' for name in sorted(left.keys() ^ right.keys())]
    return names + [name for name in left if name in right and not same(left[name], right[name])]


def compare_stats(a: bytes, b: bytes) -> list[str]:
    """Compare two stats.jsonl."""
    return compare_trees(*([json.loads(line) for line in text.splitlines()] for text in (a, b)))


def compare_states(a: bytes, b: bytes) -> tuple[list[str], int]:
    """Compare two training states; returns the differences, and how many names of options one side lacks."""
    found = compare_trees(
        *(torch.load(io.BytesIO(data), map_location='cpu', weights_only=True) for data in (a, b))
    )
    names = [text for text in found if text.startswith('/run/options/') and text.endswith(ONE_SIDED)]
    return [text for text in found if text not in names], len(names)


def instructions(data: bytes) -> list[tuple]:
    """List the instructions of a pickle, without its frames, which only depend on lengths."""
    return [(code.name, value) for code, value, _ in pickletools.genops(data) if code.name != 'FRAME']


def is_program(value: Any) -> bool:
    """Tell whether a text of a pickle is a Python module."""
    return isinstance(value, str) and '\nimport ' in value and '\nclass ' in value


def compare_snapshots(a: bytes, b: bytes) -> tuple[list[str], int]:
    """Compare two snapshots; returns the differences, and how many program texts in them differ."""
    left, right = instructions(a), instructions(b)
    found, programs, entry = [], 0, 'start'
    for (code, x), (other, y) in zip(left, right):
        if isinstance(x, str) and x.isprintable():
            entry = x
        if code == other and is_program(x) and is_program(y):
            programs += x != y
        elif (code, x) != (other, y):
            found.append(f'after {entry!r}: {code} {str(x)[:30]!r} against {other} {str(y)[:30]!r}')
    if len(left) != len(right):
        found.append(f'{len(left)} against {len(right)} instructions')
    return found, programs


def compare_files(name: str, a: bytes, b: bytes) -> tuple[list[str], str]:
    """Compare two files of one name; returns the differences, and a remark."""
    if a == b:
        return [], ''
    if name == 'stats.jsonl':
        return compare_stats(a, b), ''
    if name.endswith('.pt'):
        found, names = compare_states(a, b)
        return found, f'but {names} name(s) of options' if names else ''
    if name.endswith('.pkl'):
        found, programs = compare_snapshots(a, b)
        return found, f'but {programs} program text(s)' if programs else ''
    return ['other bytes'], ''


GROUPS = {'statistics': 'stats.jsonl', 'states': '*.pt', 'snapshots': '*.pkl', 'grids': '*.png'}


def compare_runs(a: pathlib.Path, b: pathlib.Path) -> dict[str, tuple[str, list[str]]]:
    """Compare two run folders: group of files -> (verdict, differences)."""
    results = {}
    for group, pattern in GROUPS.items():
        names = sorted({path.name for folder in (a, b) for path in folder.glob(pattern)})
        found, remarks = [] if names else [f'no {pattern} on either side'], set()
        for name in names:
            if not (a / name).exists() or not (b / name).exists():
                found.append(f'{name}{ONE_SIDED}')
                continue
            differences, remark = compare_files(name, (a / name).read_bytes(), (b / name).read_bytes())
            found += [f'{name}: {text}' for text in differences]
            remarks.add(remark)
        verdict = f'{len(found)} DIFFER' if found else ' '.join(['equal', *sorted(remarks - {''})])
        results[group] = (verdict, found)
    return results


# ------------------------------------------------------------------------------------------------


def prepare(other: pathlib.Path, folder: pathlib.Path) -> dict:
    """Write data, and a teacher by the other checkout, unless they are there; returns the paths."""
    folder.mkdir(parents=True, exist_ok=True)
    material = dict(
        data=str(folder / 'data.zip'), teacher=str(folder / 'teacher' / 'network-snapshot-000000.pkl')
    )
    case = Case(EDM, (4,))
    if not finished(folder / 'teacher', case):
        write_data(folder / 'data.zip')
        train(other, case, folder / 'teacher', material)
        (folder / 'teacher' / 'finished.json').write_text(json.dumps(case), encoding='utf-8')
    return material


def run_case(
    name: str, other: pathlib.Path, here: pathlib.Path, kept: pathlib.Path, new: pathlib.Path
) -> dict:
    """Run a case in both checkouts, the other's in folder `kept` unless it is there, and compare."""
    case, slug = CASES[name], '-'.join(name.replace(',', '').split())
    theirs, ours = kept / slug, new / slug
    try:
        material = prepare(other, kept)
        if not finished(theirs, case):
            train(other, case, theirs, material)
            (theirs / 'finished.json').write_text(json.dumps(case), encoding='utf-8')
        train(here, case, ours, material)
    except RunError as error:
        return {'run': ('FAILED', [str(error)])}
    return compare_runs(theirs, ours)


def describe(name: str, results: dict, seconds: float) -> str:
    """Return the line of a case in the table, and lines about its first differences."""
    differences = [text for _, found in results.values() for text in found]
    if len(differences) > 20:
        differences[20:] = [f'and {len(differences) - 20} more']
    row = ''.join(f'{verdict:<32}' for verdict, _ in results.values())
    return '\n    '.join([f'{name:<32}{row}{seconds:.0f}', *differences])


@click.command(help=__doc__.split('\n\n')[0])
@click.argument('other', type=FOLDER)
@click.option('--here', help='The checkout to compare with it', default=ROOT, type=FOLDER)
@click.option('--only', help='Cases whose names contain one of these texts', metavar='TEXT,...')
@click.option('--keep', help='Keep the runs of OTHER there, and use those that are there', type=NEW_FOLDER)
def main(other, here, only, keep):
    names = [name for name in CASES if not only or any(text in name for text in only.split(','))]
    if not names:
        raise click.ClickException(f'--only={only} names no case; the cases are {"; ".join(CASES)}')
    for checkout in (other, here):
        if not (checkout / 'train.py').exists():
            raise click.ClickException(f'{checkout} has no train.py; give the root of a checkout')
    click.echo(f'{"case":<32}' + ''.join(f'{group:<32}' for group in GROUPS) + 'seconds')
    failed = 0
    with tempfile.TemporaryDirectory() as temporary:
        for name in names:
            begin, new = time.monotonic(), pathlib.Path(temporary)
            results = run_case(name, other.resolve(), here.resolve(), (keep or new / 'other').resolve(), new)
            failed += any(found for _, found in results.values())
            click.echo(describe(name, results, time.monotonic() - begin))
    click.echo(f'{len(names) - failed} of {len(names)} cases are equal')
    sys.exit(1 if failed else 0)


if __name__ == '__main__':
    main()
