# Copyright 2026 The GDD-1S authors.
# SPDX-License-Identifier: Apache-2.0

"""The published checkpoints and the demo's: where each is looked for, and what it is measured against.

    python evaluations/published.py fid [NAME ...]        for validation_fid.sh
    python evaluations/published.py is_pr [NAME ...]      for validate_is_pr.sh

Prints a line of shell per checkpoint that can be measured, `measure NAME NUM NETWORK REFERENCE SAMPLER`, and
says on stderr what is skipped and why; absent is a failure only for names that were asked for, then
`failed=1` is printed. Variables are those of the two scripts. It runs before anything is installed, so the
standard library has to do.
"""

import glob
import os
import shlex
import sys
from typing import NamedTuple

_DEMO_RUNS = ('training-runs/*-demo', 'training-runs/*-demo-long')
_DEMO_REFERENCE = 'datasets/mnist-32x32-train-ref-mnist-classifier.npz'
_NO_REFERENCE = 'none'  # only the Inception Score is computed then


class Checkpoint(NamedTuple):
    """A checkpoint: file patterns, and how it is measured.

    Patterns and references without a folder lie in the folders of the variables CHECKPOINTS and REFS.
    """

    patterns: tuple
    fid_reference: str
    is_pr_reference: str = _NO_REFERENCE
    num_images: int = 50000
    sampler: str = 'one_step'


CHECKPOINTS = {
    'cifar10-uncond': Checkpoint(('cifar*uncond*.pkl',), 'cifar10-32x32.npz'),
    'cifar10-cond': Checkpoint(('cifar*[!n]cond*.pkl',), 'cifar10-32x32.npz'),
    'ffhq': Checkpoint(('ffhq*.pkl',), 'ffhq-64x64.npz'),
    'afhqv2': Checkpoint(('afhq*.pkl',), 'afhqv2-64x64.npz'),
    # OpenAI's reference batch is the only published one that holds images.
    'imagenet': Checkpoint(('imagenet*.pkl',), 'imagenet-64x64.npz', 'VIRTUAL_imagenet64_labeled.npz'),
    # validate_is_pr.sh makes the reference of the demo: the shipped one holds no features of single images.
    'demo': Checkpoint(
        tuple(f'{folder}/network-snapshot-*.pkl' for folder in _DEMO_RUNS),
        _DEMO_REFERENCE,
        'fid-tmp/demo-reference.npz',
        num_images=2000,
    ),
    'demo-teacher': Checkpoint(
        ('pretrained/edm-mnist-32x32-cond-ve.pkl',), _DEMO_REFERENCE, num_images=2000, sampler='edm'
    ),
}
DEFAULTS = [name for name in CHECKPOINTS if name != 'demo-teacher']
KNOWN = {'fid': list(CHECKPOINTS), 'is_pr': DEFAULTS}


class AbsentError(Exception):
    """A file is not there; the message says where it is looked for."""


def find_checkpoint(checkpoint: Checkpoint) -> str:
    """Return NETWORK, or else the last file by name: runs and snapshots are numbered."""
    found = os.environ.get('NETWORK')
    folder = os.environ.get('CHECKPOINTS') or 'pretrained'
    patterns = [_in_folder(folder, pattern) for pattern in checkpoint.patterns]
    if not found:
        # Only the file name is a pattern where the folder is the user's.
        escaped = [_in_folder(glob.escape(folder), pattern) for pattern in checkpoint.patterns]
        found = max((path for pattern in escaped for path in glob.glob(pattern)), default=None)
    if not found or not os.path.isfile(found):
        raise AbsentError(
            f'there is no checkpoint {found or " ".join(patterns)}; '
            'put it there, or set CHECKPOINTS=folder or NETWORK=snapshot.pkl'
        )
    return found


def find_reference(kind: str, name: str) -> str:
    """Return the reference of a checkpoint for 'fid' or 'is_pr'."""
    checkpoint, given = CHECKPOINTS[name], os.environ.get('REFERENCE')
    is_fid = kind == 'fid'
    if not is_fid and (name == 'demo' or given == _NO_REFERENCE):
        return given or checkpoint.is_pr_reference
    reference = checkpoint.fid_reference if is_fid else checkpoint.is_pr_reference
    if reference != _NO_REFERENCE:
        reference = _in_folder(os.environ.get('REFS') or 'datasets', reference)
    if given and not is_fid:
        reference = given
    if reference != _NO_REFERENCE and '://' not in reference and not os.path.isfile(reference):
        variable = 'REFS=folder or URL' if is_fid else 'REFERENCE=FILE.npz or none'
        raise AbsentError(
            f'there is no reference {reference}; docs/metrics.md says where to get it, or set {variable}'
        )
    return reference


def _in_folder(folder: str, name: str) -> str:
    return name if '/' in name else f'{folder}/{name}'


def list_commands(kind: str, asked: list) -> list:
    """Return the lines of shell for the names asked for, by default all but the demo's teacher."""
    commands, skipped = [], False
    for name in asked or DEFAULTS:
        checkpoint = CHECKPOINTS[name]
        try:
            network = find_checkpoint(checkpoint)
            reference = find_reference(kind, name)
        except AbsentError as reason:
            print(f'{name}: skipped, {reason}', file=sys.stderr)
            skipped = True
            continue
        num = os.environ.get('NUM') or str(checkpoint.num_images)
        commands.append(shlex.join(['measure', name, num, network, reference, checkpoint.sampler]))
    return commands + ['failed=1'] * bool(asked and skipped)


def main(kind: str, *asked: str) -> int:
    """Print the lines; return the exit code, 2 for an unknown name."""
    for name in asked:
        if name not in KNOWN[kind]:
            known = ' '.join(KNOWN[kind])
            print(f"Error: unknown checkpoint '{name}'; use one of: {known}", file=sys.stderr)
            return 2
    print('\n'.join(list_commands(kind, list(asked))))
    return 0


if __name__ == '__main__':
    sys.exit(main(*sys.argv[1:]))
