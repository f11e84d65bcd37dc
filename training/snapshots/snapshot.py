# Copyright 2026 The GDD-1S authors.
# SPDX-License-Identifier: Apache-2.0
"""Save and load snapshots, the network files that EDM, GDD and this project share.

A snapshot is a pickle in EDM's format (`network-snapshot-KKKKKK.pkl`). Loading never runs
anything from the file, whoever made it; see `pickle_reader`, then `network_builder`. Only the
opt-in `trust=True` does; see `trusted_pickle`.
"""

import hashlib
import os
import sys
from typing import Any

import torch

from dnnlib.errors import Arg, ArgumentError, arg, as_option
from dnnlib.util import EasyDict, atomic_write, is_url, open_url
from torch_utils import misc, persistence
from torch_utils.pickle_machine import PickleError, UnsafePickleError, shown
from training.snapshots.entries import describe_entry, is_network_entry, plain_entry, portable
from training.snapshots.network_builder import build_network, describe_names
from training.snapshots.pickle_reader import read_snapshot
from training.snapshots.pickle_records import SnapshotError, UnknownClassError
from training.snapshots.safetensors_file import is_safetensors, load_safetensors
from training.snapshots.trusted_pickle import run_snapshot

__all__ = ['SnapshotError', 'atomic_write', 'copy_params_and_buffers', 'load_network', 'save_snapshot']

MAX_FILE_BYTES = 32 << 30  # the largest published snapshot has about 1.2 GB
REFUSAL = (
    '; the file is refused and nothing in it was run; only if you trust whoever made it, use ',
    arg('trust_pickle'),
    ', which runs the code in it as EDM does',
)
WAY_OUT = '; give the path or URL of a network-snapshot-KKKKKK.pkl'


def save_snapshot(
    path: str,
    *,
    ema: torch.nn.Module,
    net: torch.nn.Module | None = None,
    loss_fn: Any = None,
    augment_pipe: Any = None,
    dataset_kwargs: dict | None = None,
    metadata: dict | None = None,
    extra: dict[str, torch.nn.Module] | None = None,
) -> None:
    """Write networks as a snapshot that EDM, GDD and this project can load.

    The networks in the file are on the CPU, float32, in eval mode and without gradients; those
    given are not changed. The file appears under its name only when it is complete. Absolute
    paths among the texts of `dataset_kwargs` and `metadata` are cut to their last part.

    Args:
        path:           File to write; its folder must exist.
        ema:            Network with moving-average weights, not wrapped for data parallelism.
        net:            Network with the raw weights, or None to leave it out.
        loss_fn:        Loss of a teacher, a persistent object; None to leave it out.
        augment_pipe:   Augmentation: of a teacher a persistent object, of a student a dict of primitives.
        dataset_kwargs: Arguments of the training set: nested dict of primitives.
        metadata:       Anything to keep beside the networks: nested dict of primitives.
        extra:          Further averages by key, such as {'ema-0.05': network}; EDM's programs pass over them.
    Raises:
        ValueError: something given cannot be part of a snapshot.
    """
    if ema is None:
        raise ArgumentError(arg('ema', None), ': a snapshot needs a network')
    extra = extra or {}
    for name, value in (
        ('ema', ema),
        ('net', net),
        ('loss_fn', loss_fn),
        ('augment_pipe', augment_pipe),
        *extra.items(),
    ):
        described = name == 'augment_pipe' and isinstance(value, dict)
        if value is not None and not described and not persistence.is_persistent(value):
            raise ArgumentError(
                f'{name} is a {type(value).__name__}, which a snapshot cannot hold; '
                'give an object of a persistent class, such as a GDDPrecond, without a wrapper'
            )
    # The order of upstream's files: EDM writes ema, loss_fn, ...; GDD net, ema, ...
    content = {} if net is None else {'net': net}
    content['ema'] = ema
    content.update(extra)
    if loss_fn is not None:
        content['loss_fn'] = loss_fn
    content.update(
        augment_pipe=portable(augment_pipe) if isinstance(augment_pipe, dict) else augment_pipe,
        dataset_kwargs=portable(dataset_kwargs or {}),
    )
    if metadata is not None:
        content['metadata'] = portable(metadata)
    with atomic_write(path) as file:
        persistence.dump(content, file)


def load_network(
    path_or_url: str | os.PathLike, key: str = 'ema', *, option: str = 'network', trust: bool = False
) -> tuple[torch.nn.Module, EasyDict]:
    """Load one network of a snapshot made by EDM, GDD or this project, without running its code.

    A path ending in .safetensors is a file of `export.py`. The random state of torch is not touched.

    Args:
        path_or_url: Local file, or URL (kept in the download cache).
        key:         'ema' for the averaged weights, 'net' for the raw ones (GDD, this project), 'ema-0.05'
                     and the like for further averages (this project).
        option:      Argument the path came from, for error messages.
        trust:       Run the file as EDM does, should it hold something outside the list of the safe
                     reader. This executes code of the file, with a warning.
    Returns:
        (net, info). net: class of `training.networks` (of the file, if it was run), float32, CPU,
        eval mode, no gradients. info: EasyDict with path, sha256 (of the file), class_name, flavour
        ('edm' or 'gdd'), init_kwargs, entries (the names in the file), dataset_kwargs, metadata ({}
        where absent), extras (name -> description of other entries), source_sha256 (of the embedded
        text of the network) and executed (SHA-256 of all texts that were run; [] from the safe reader).
    Raises:
        PickleError: one line naming argument, file, the rule and a way out; SnapshotError where the file
            is read, but cannot be used.
    """
    name = arg(option, os.fspath(path_or_url))
    path, data = _read_file(path_or_url, name)
    try:
        if is_safetensors(path):
            return load_safetensors(path, key)
        net, top, facts = _load_pickle(data, key, name, trust)
    except PickleError as error:
        raise type(error)(name, ': ', *error.args) from error
    extras = {
        entry: describe_entry(entry, value)
        for entry, value in top.items()
        if not is_network_entry(entry) and entry not in ('dataset_kwargs', 'metadata')
    }
    info = EasyDict(
        path=path,
        sha256=hashlib.sha256(data).hexdigest(),
        **facts,
        entries=list(top),
        extras=extras,
        dataset_kwargs=plain_entry(top, 'dataset_kwargs'),
        metadata=plain_entry(top, 'metadata'),
    )
    return net, info


def _load_pickle(
    data: bytes, key: str, name: Arg, trust: bool
) -> tuple[torch.nn.Module, dict[str, Any], dict[str, Any]]:
    # Safely if possible. Damage is no reason to run a file, only content that the reader does not know.
    try:
        top = read_snapshot(data)
        if key not in top:
            raise SnapshotError(
                f'has no entry {key!r} (it holds {", ".join(map(shown, top)) or "nothing"}); '
                'give a snapshot that has one, such as a network-snapshot-KKKKKK.pkl'
            )
        net, flavour = build_network(top[key])
    except (UnsafePickleError, UnknownClassError) as error:
        if not trust:
            raise type(error)(*error.args, *REFUSAL) from error
        print(f'{as_option(name)}: {error}; so it cannot be read without running it', file=sys.stderr)
        return run_snapshot(data, key, as_option(name))
    facts = dict(class_name=type(net).__name__, flavour=flavour, init_kwargs=dict(net._init_kwargs))
    return net, top, dict(facts, source_sha256=top[key].src_sha256, executed=[])


def copy_params_and_buffers(
    src: torch.nn.Module,
    dst: torch.nn.Module,
    *,
    allow_extra: tuple[str, ...] = ('model.map_augment.weight',),
) -> None:
    """Copy all parameters and buffers of a network into another of the same structure.

    Unlike upstream's function of this name nothing is skipped: either everything is copied, or
    nothing and an error.

    Args:
        src:         Module to copy from.
        dst:         Module to overwrite; types and devices of its tensors stay.
        allow_extra: Names that `src` may have although `dst` has not. By default the augmentation
                     layer of published teachers, which a student does not use.
    Raises:
        ValueError: names or shapes differ; the message lists them.
    """
    source = dict(misc.named_params_and_buffers(src))
    target = dict(misc.named_params_and_buffers(dst))
    missing = [f'{name} {list(tensor.shape)}' for name, tensor in target.items() if name not in source]
    extra = [
        f'{name} {list(tensor.shape)}'
        for name, tensor in source.items()
        if name not in target and name not in allow_extra
    ]
    shapes = [
        f'{name} ({list(source[name].shape)} into {list(tensor.shape)})'
        for name, tensor in target.items()
        if name in source and source[name].shape != tensor.shape
    ]
    problems = [
        describe_names(*item)
        for item in (
            ('missing in the source', missing),
            ('unknown in the target', extra),
            ('other shape', shapes),
        )
        if item[1]
    ]
    if problems:
        raise ArgumentError(
            f'the weights do not fit ({"; ".join(problems)}); source and target must be built with the same '
            'architecture options'
        )
    with torch.no_grad():
        for name, tensor in target.items():
            tensor.copy_(source[name])


def _read_file(path_or_url: str | os.PathLike, name: Arg) -> tuple[str, bytes | None]:
    # The local path and the content of a pickle, file or URL; `name` is for messages.
    path = os.fspath(path_or_url)
    try:
        if is_url(path):
            path = open_url(path, return_filename=True)
        if not os.path.exists(path):
            raise SnapshotError(name, ': there is no such file', WAY_OUT)
        if not os.path.isfile(path):
            raise SnapshotError(name, ': this is not a file', WAY_OUT)
        if os.path.getsize(path) > MAX_FILE_BYTES:
            limit = MAX_FILE_BYTES >> 30
            raise SnapshotError(name, f': the file is larger than {limit} GiB, so it is no snapshot', WAY_OUT)
        with open(path, 'rb') as file:  # A safetensors file is read by its own library.
            return path, None if is_safetensors(path) else file.read()
    except OSError as error:
        reason = error.strerror or error
        raise SnapshotError(name, f': the file cannot be read ({reason})', WAY_OUT) from error
    except SnapshotError:
        raise
    except ValueError as error:
        raise SnapshotError(name, f': {error}') from error
