# Copyright 2026 The GDD-1S authors.
# SPDX-License-Identifier: Apache-2.0
"""Which run goes on, whether its options allow it, and what its folder must look like then (docs/training.md)."""

import json
import os
import re

from dnnlib.util import atomic_write
from training.config import ConfigError, dataset_name, next_run_dir, run_description
from training.run import state as training_state

# Options of train.py that a resumed run may change: how long, where and how it runs, what it leaves behind.
FREE_OPTIONS = (
    'resume',
    'duration',
    'device',
    'batch_gpu',
    'workers',
    'persistent_workers',
    'cache',
    'bench',
    'channels_last',
    'trust_pickle',
    'tick',
    'snap',
    'dump',
    'dump_min',
    'keep',
    'grid',
    'nan_limit',
    'tensorboard',
    'metrics',
    'metrics_ref',
    'metrics_detector',
    'metrics_detector_path',
    'metrics_batch',
)
# Files may lie elsewhere: their contents are compared instead, see `identity`.
FILE_OPTIONS = ('data', 'transfer', 'target', 'max_size')
TEMPORARY_PATTERN = re.compile(r'\.tmp-\d+-[0-9a-f]{12}')


def identity(config, processes):
    """Return what makes two runs the same one: plain values by option name, and the files behind them.

    Args:
        config:    Resolved options, completed by the run.
        processes: Number of processes.
    """
    fixed = {
        name: value for name, value in config['options'].items() if name not in FREE_OPTIONS + FILE_OPTIONS
    }
    data = config['dataset_kwargs']
    files = dict(
        data=dataset_name(data['path']),
        images=data['max_size'],
        teacher=(config.get('teacher') or {}).get('sha256'),
        target=config.get('target_sha256'),
    )
    return json.loads(json.dumps(dict(options=fixed, files=files, processes=processes)))


def compare(stored, own):
    """Compare two identities.

    Args:
        stored: That of the run to go on with.
        own:    That of this command.
    Returns:
        List of (text about the stored run, text about this one) for each difference that changes results.
    """
    differences = []
    for name in {**stored['options'], **own['options']}:
        old, new = (side['options'].get(name, 'unknown') for side in (stored, own))
        if old != new:
            differences.append((_option(name, old), _option(name, new)))
    for name, option in (
        ('data', '--data'),
        ('images', 'images of --data'),
        ('teacher', 'SHA-256 of --transfer'),
        ('target', 'SHA-256 of --target'),
    ):
        old, new = stored['files'].get(name), own['files'].get(name)
        if old != new:
            differences.append((f'{option}={str(old)[:32]}', str(new)[:32]))
    if own['options'].get('compat') == 'official' and stored['processes'] != own['processes']:
        differences.append(
            (f'{stored["processes"]} processes under --compat=official', str(own['processes']))
        )
    return differences


def _option(name, value):
    text = (
        ','.join(map(str, value))
        if isinstance(value, list)
        else f'{value:g}'
        if isinstance(value, float)
        else str(value)
    )
    return (
        f'--{name.replace("_", "-")}={text}' if value is not None else f'--{name.replace("_", "-")} not given'
    )


def require_same_run(where, stored, own):
    """Refuse to go on with a run that was another one.

    Args:
        where:  What the stored identity was read from, for the message.
        stored, own: Identities.
    Raises:
        StateError: One line for the user, with the first difference.
    """
    differences = compare(stored, own)
    if differences:
        old, new = differences[0]
        more = f' (and {len(differences) - 1} more)' if len(differences) > 1 else ''
        raise training_state.StateError(
            f'{where} was written with {old}, this run has {new}{more}; give the options of the '
            'interrupted run, or start a new one without --resume'
        )


# ------------------------------------------------------------------------------------------------
# --resume=auto.


def find_run(config, processes, outdir, desc, nosubdir):
    """Find the run that the same command has begun earlier, for --resume=auto; call on rank 0.

    Args:
        config:    Resolved options, completed by the run.
        processes: Number of processes.
        outdir, desc, nosubdir: Options of train.py.
    Returns:
        Run folder (a new one if there is none to go on with), path of its newest complete state or None, lines to print.
    Raises:
        ConfigError: With `nosubdir`, the folder holds another run; or none of the run's states can be read.
    """
    own, notes = identity(config, processes), []
    description = run_description(config, processes, desc)
    for run_dir in [outdir] if nosubdir else _run_folders(outdir, description, config['compat']):
        try:
            with open(os.path.join(run_dir, 'training_options.json'), encoding='utf-8') as file:
                options = json.load(file)
            differences = compare(identity(options, options['processes']), own)
        except (OSError, ValueError, KeyError, TypeError):
            continue  # no run of ours
        if not differences:
            return run_dir, *_usable_state(run_dir)
        old, new = differences[0]
        if nosubdir:
            raise ConfigError(
                f'--outdir={run_dir} with --nosubdir holds a run with {old}, this one has {new}; give the '
                'options of that run, or another folder'
            )
        notes.append(f'Not going on with {run_dir}: it has {old}, this run {new}')
    return (outdir if nosubdir else next_run_dir(outdir, description)), None, notes[:1]


def _usable_state(run_dir):
    path, notes = training_state.newest_complete_state(run_dir)
    if path is None and notes:
        raise ConfigError(
            f'--resume=auto: none of the {len(notes)} states in {run_dir} can be read; delete them to start '
            'that run from its beginning, or move the folder away'
        )
    return path, notes if path else [*notes, f'{run_dir} has no state yet: its run starts again']


def _run_folders(outdir, description, compat):
    """List the run folders of a description, newest first; in `clean` the number of processes may differ."""
    pattern = re.escape(description)
    if compat == 'clean':
        pattern = re.sub(r'gpus\d+', r'gpus\\d+', pattern)
    names = (
        [name for name in os.listdir(outdir) if re.fullmatch(r'\d{5}-' + pattern, name)]
        if os.path.isdir(outdir)
        else []
    )
    return [os.path.join(outdir, name) for name in sorted(names, reverse=True)]


# ------------------------------------------------------------------------------------------------
# The folder of a run that goes on.


def tidy_run_dir(run_dir, nimg):
    """Make the files of a folder agree with a run that goes on at `nimg` images.

    Nothing is deleted but the half-written temporary files of a killed process: lines and states beyond the
    position move to files named *.discarded.

    Returns:
        Lines that say what was done.
    """
    notes = []
    for name in os.listdir(run_dir):
        if TEMPORARY_PATTERN.fullmatch(name):
            os.remove(os.path.join(run_dir, name))
            notes.append(f'Removed {name}, left half-written by a process that was killed')
    notes += [
        f'{name} lies beyond the position of this run and is called {name}.discarded now'
        for name in training_state.set_aside_states(run_dir, nimg)
    ]
    count = discard_lines(
        os.path.join(run_dir, 'stats.jsonl'), lambda line: line['Progress/kimg']['mean'] * 1000 > nimg + 0.5
    )
    if count:
        notes.append(
            f'stats.jsonl: {count} line(s) beyond {nimg / 1000:g} kimg moved to stats.jsonl.discarded'
        )
    return notes


def discard_lines(path, beyond):
    """Move lines of a JSON-lines file to PATH.discarded.

    Args:
        path:   File; may be missing.
        beyond: Function of a line's value; tells whether the line goes. Lines that cannot be read go as well.
    Returns:
        Number of lines moved.
    """
    if not os.path.exists(path):
        return 0
    with open(path, 'rb') as file:
        lines = file.read().splitlines()
    kept, discarded = [], []
    for line in lines:
        (discarded if _is_beyond(line, beyond) else kept).append(line + b'\n')
    if discarded:
        with open(path + '.discarded', 'ab') as file:
            file.writelines(discarded)
        with atomic_write(path) as file:
            file.writelines(kept)
    return len(discarded)


def _is_beyond(line, beyond):
    try:
        return beyond(json.loads(line))
    except (ValueError, KeyError, TypeError):
        return True
