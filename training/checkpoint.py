# Copyright 2026 The GDD-1S authors.
# SPDX-License-Identifier: Apache-2.0
"""Save and load snapshots, the network files that EDM, GDD and this project share.

A snapshot is a pickle in EDM's format (`network-snapshot-KKKKKK.pkl`). Loading never runs
anything from the file, whoever made it; see `pickle_reader`, then `network_builder`.
"""

import hashlib
import logging
import os

import torch

from dnnlib.util import EasyDict, atomic_write, is_url, open_url
from torch_utils import misc, persistence
from training.network_builder import build_network, describe_names
from training.pickle_reader import read_snapshot
from training.pickle_records import PersistentRecord, SnapshotError, TensorRecord, shown

__all__ = ['SnapshotError', 'atomic_write', 'copy_params_and_buffers', 'load_network', 'save_snapshot']

MAX_FILE_BYTES = 32 << 30       # the largest published snapshot has about 1.2 GB
MAX_VALUES = 10_000             # items of dataset_kwargs or metadata
MAX_DEPTH = 16
DESCRIBED_CLASSES = ('EDMLoss', 'VPLoss', 'VELoss', 'AugmentPipe')

_log = logging.getLogger(__name__)


def save_snapshot(path, *, ema, net=None, augment_pipe=None, dataset_kwargs=None, metadata=None):
    """Write networks as a snapshot that EDM, GDD and this project can load.

    The networks in the file are on the CPU, float32, in eval mode and without gradients; those
    given are not changed. The file appears under its name only when it is complete. Absolute
    paths among the texts of `dataset_kwargs` and `metadata` are cut to their last part.

    Args:
        path:           File to write; its folder must exist.
        ema:            Network with moving-average weights, not wrapped for data parallelism.
        net:            Network with the raw weights, or None to leave it out.
        augment_pipe:   None, or a persistent object.
        dataset_kwargs: Arguments of the training set: nested dict of primitives.
        metadata:       Anything to keep beside the networks: nested dict of primitives.
    Raises:
        ValueError: something given cannot be part of a snapshot.
    """
    for name, value in (('ema', ema), ('net', net), ('augment_pipe', augment_pipe)):
        if value is not None and not persistence.is_persistent(value):
            raise ValueError(f'{name} is a {type(value).__name__}, which a snapshot cannot hold; '
                             'give the network itself, such as a GDDPrecond, without a wrapper')
    if ema is None:
        raise ValueError('ema=None: a snapshot needs a network')
    # The order of upstream's files: GDD writes net first, EDM has no net.
    content = {} if net is None else {'net': net}
    content.update(ema=ema, augment_pipe=augment_pipe, dataset_kwargs=_portable(dataset_kwargs or {}))
    if metadata is not None:
        content['metadata'] = _portable(metadata)
    with atomic_write(path) as file:
        persistence.dump(content, file)


def load_network(path_or_url, key='ema', *, option='--network'):
    """Load one network of a snapshot made by EDM, GDD or this project, without running its code.

    The random state of torch is not touched.

    Args:
        path_or_url: Local file, or URL (kept in the download cache).
        key:         'ema' for the averaged weights, 'net' for the raw ones (GDD, this project).
        option:      Command-line option the path came from, for error messages.
    Returns:
        (net, info). net: class of `training.networks`, float32, CPU, eval mode, no gradients.
        info: EasyDict with path, sha256 (of the file), class_name, flavour ('edm' or 'gdd'),
        init_kwargs, entries (the names in the file), dataset_kwargs, metadata ({} where absent),
        extras (name -> description of other entries) and source_sha256 (of the embedded text).
    Raises:
        SnapshotError: one line naming option, file, the rule and a way out.
    """
    name = f'{option}={path_or_url}'
    path, data = _read_file(path_or_url, name)
    digest = hashlib.sha256(data).hexdigest()
    try:
        top = read_snapshot(data)
        del data        # the records have their own copies: no need for both while building
        if key not in top:
            raise SnapshotError(f'has no entry {key!r} (it holds {", ".join(map(shown, top)) or "nothing"}); '
                                'give a snapshot that has one, such as a network-snapshot-KKKKKK.pkl')
        record = top[key]
        net, flavour = build_network(record)
    except SnapshotError as error:
        raise type(error)(f'{name}: {error}') from error
    extras = {entry: _description(entry, value) for entry, value in top.items()
              if entry not in ('ema', 'net', 'dataset_kwargs', 'metadata')}
    info = EasyDict(
        path=path, sha256=digest, class_name=record.class_name, flavour=flavour,
        init_kwargs=dict(net._init_kwargs), entries=list(top), dataset_kwargs=_primitives(top, 'dataset_kwargs'),
        metadata=_primitives(top, 'metadata'), extras=extras, source_sha256=record.src_sha256)
    return net, info


def copy_params_and_buffers(src, dst, *, allow_extra=('model.map_augment.weight',)):
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
    missing = [name for name in target if name not in source]
    extra = [name for name in source if name not in target and name not in allow_extra]
    shapes = [f'{name} ({list(source[name].shape)} into {list(tensor.shape)})' for name, tensor in target.items()
              if name in source and source[name].shape != tensor.shape]
    problems = [describe_names(*item) for item in
                (('missing in the source', missing), ('unknown in the target', extra), ('other shape', shapes)) if item[1]]
    if problems:
        raise ValueError(f'the weights do not fit ({"; ".join(problems)}); source and target must be built with the same '
                         'architecture options')
    with torch.no_grad():
        for name, tensor in target.items():
            tensor.copy_(source[name])


def _read_file(path_or_url, name):
    # The local path and the content of a file or URL; `name` is "option=value" for messages.
    way_out = 'give the path or URL of a network-snapshot-KKKKKK.pkl'
    path = os.fspath(path_or_url)
    try:
        if is_url(path):
            path = open_url(path, return_filename=True)
        if not os.path.exists(path):
            raise SnapshotError(f'{name}: there is no such file; {way_out}')
        if not os.path.isfile(path):
            raise SnapshotError(f'{name}: this is not a file; {way_out}')
        if os.path.getsize(path) > MAX_FILE_BYTES:
            limit = MAX_FILE_BYTES >> 30
            raise SnapshotError(f'{name}: the file is larger than {limit} GiB, so it is no snapshot; {way_out}')
        with open(path, 'rb') as file:
            return path, file.read()
    except OSError as error:
        raise SnapshotError(f'{name}: the file cannot be read ({error.strerror or error}); {way_out}') from error
    except SnapshotError:
        raise
    except ValueError as error:
        raise SnapshotError(f'{name}: {error}') from error


def _portable(value):
    # Snapshots are passed on: the folders of the machine they were made on stay at home.
    if isinstance(value, str) and os.path.isabs(value):
        return os.path.basename(os.path.normpath(value))
    if isinstance(value, dict):
        return {key: _portable(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [_portable(item) for item in value]
    return value


def _primitives(top, entry):
    # A dict entry of the file if it is made of primitives only, else {} with a warning.
    value = top.get(entry)
    if value is None:
        return {}
    if isinstance(value, dict) and _count_primitives(value, MAX_VALUES, MAX_DEPTH) is not None:
        return value
    _log.warning('the entry %s of the snapshot is not made of plain values; ignored', entry)
    return {}


def _count_primitives(value, budget, depth):
    # What is left of the budget, or None if there is anything but primitives, or too much of it:
    # a few bytes of a pickle can describe a structure without end.
    if budget <= 0 or depth < 0:
        return None
    if isinstance(value, (str, int, float, bool, type(None))):
        return budget - 1
    if not isinstance(value, (dict, list, tuple)):
        return None
    for item in (value.values() if isinstance(value, dict) else value):
        budget = _count_primitives(item, budget, depth - 1)
        if budget is None:
            return None
    return budget - 1


def _description(entry, value):
    # What can be said about an entry that is not used: its class and its plain attributes.
    if value is None or isinstance(value, (str, int, float, bool)):
        return value
    if not isinstance(value, PersistentRecord):
        return EasyDict(class_name=type(value).__name__)
    if value.class_name not in DESCRIBED_CLASSES:
        _log.warning('the entry %s of the snapshot has the unknown class %s; ignored', shown(entry), shown(value.class_name))
    attributes = {key: item for key, item in value.state.items() if isinstance(item, (str, int, float, bool))}
    buffers = value.state.get('_buffers')
    if isinstance(buffers, dict):
        attributes['buffers'] = [key for key, item in buffers.items() if isinstance(item, TensorRecord)]
    return EasyDict(attributes, class_name=value.class_name)
