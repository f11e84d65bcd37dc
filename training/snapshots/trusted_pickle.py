# Copyright 2026 The GDD-1S authors.
# SPDX-License-Identifier: Apache-2.0
"""Run a snapshot as EDM does, for files that the safe reader refuses, if the user trusts them.

Everything in this file EXECUTES what the snapshot says: Python's own unpickler imports and calls
whatever the stream names, and the program text inside is run to get its classes. It is reached
only from `load_network(..., trust=True)`, after the safe reader met something outside its list.
"""

import hashlib
import io
import pickle
import sys
import types
import uuid
from typing import Any, BinaryIO

import torch

from dnnlib.errors import arg, as_option
from torch_utils import persistence
from torch_utils.pickle_machine import shown
from training.snapshots.network_builder import flavour_of, name_here
from training.snapshots.pickle_records import META_KEYS, PersistentRecord, SnapshotError

# What samplers, metrics and the distillation touch.
NETWORK_INTERFACE = ('img_resolution', 'img_channels', 'label_dim', 'sigma_min', 'sigma_max', 'round_sigma')

_source_modules = {}  # SHA-256 of a program text -> the module it was run in


def run_snapshot(data: bytes, key: str, name: str) -> tuple[torch.nn.Module, dict, dict]:
    """Unpickle a snapshot with everything it executes, and take one network out of it.

    Prints to stderr that code of the file runs, with the digests of the file and of each text.

    Args:
        data: The whole file.
        key:  Entry that holds the network.
        name: How to call the file in messages, "option=value".
    Returns:
        (net, top, facts). net: module of a class out of the file, CPU, float32, eval mode, no gradients.
        top: the top-level dict. facts: dict of class_name, flavour, init_kwargs (with resolution, channels
        and classes even if the class does not record them), source_sha256 (text of the network, '' if it is
        of an installed module) and executed (SHA-256 of each text that was run).
    Raises:
        SnapshotError: running failed, or the result is not a network; one line.
    """
    _warn(
        f'{name}: CODE OF THIS FILE RUNS NOW, as {as_option(arg("trust_pickle"))} asks; '
        f'SHA-256 {hashlib.sha256(data).hexdigest()}'
    )
    runner = _RunningUnpickler(io.BytesIO(data), name)
    try:
        top = runner.load()
    except ModuleNotFoundError as error:
        raise SnapshotError(
            f'the code of the file needs the module {error.name}, which is neither installed nor part of '
            'this project; install it, or put its folder on PYTHONPATH'
        ) from error
    except SnapshotError:
        raise
    except (Exception, SystemExit) as error:  # the code is not ours: anything may come out of it
        text = str(error).splitlines() or ['no message']
        raise SnapshotError(
            f'running the file failed with {type(error).__name__}: {text[0][:200]}'
        ) from error
    net = _network(top, key)
    parts = {
        part: PersistentRecord(type(module).__name__, module.__dict__, '')
        for part, module in net.named_modules()
    }
    source = next(
        (digest for digest, module in runner.modules.items() if module.__name__ == type(net).__module__), ''
    )
    init_kwargs = {name: getattr(net, name) for name in ('img_resolution', 'img_channels', 'label_dim')}
    init_kwargs.update(getattr(net, '_init_kwargs', None) or {})
    return (
        net,
        top,
        dict(
            class_name=name_here(type(net).__name__),
            flavour=flavour_of(parts),
            init_kwargs=init_kwargs,
            source_sha256=source,
            executed=list(runner.modules),
        ),
    )


class _RunningUnpickler(pickle.Unpickler):
    """The standard unpickler, with EDM's way of reviving persistent objects.

    Args:
        file: Binary file object.
        name: How to call the file in the warnings.
    """

    def __init__(self, file: BinaryIO, name: str) -> None:
        super().__init__(file)
        self.name = name
        self.modules = {}  # SHA-256 of a text -> the module it was run in

    def find_class(self, module: str, name: str) -> Any:
        if (module, name) == ('torch_utils.persistence', '_reconstruct_persistent_obj'):
            return self._revive
        if (module, name) == ('torch.storage', '_load_from_bytes'):
            return _load_storage
        return super().find_class(module, name)

    def _revive(self, meta: Any) -> Any:
        if not isinstance(meta, dict) or not META_KEYS <= set(meta):
            raise SnapshotError(f'a persistent object must come with {", ".join(sorted(META_KEYS))}')
        if meta['type'] != 'class' or meta['version'] != persistence.PERSISTENCE_VERSION:
            raise SnapshotError(
                f'persistence version {shown(meta["version"])} is not supported '
                f'({persistence.PERSISTENCE_VERSION} of type class expected)'
            )
        cls = getattr(self._module(meta['module_src']), meta['class_name'])
        obj = cls.__new__(cls)
        if hasattr(obj, '__setstate__'):
            obj.__setstate__(meta['state'])
        else:
            obj.__dict__.update(meta['state'])
        return obj

    def _module(self, source: str) -> types.ModuleType:
        # The same text always means the same module: classes of one text must know each other.
        digest = hashlib.sha256(source.encode('utf-8', errors='surrogatepass')).hexdigest()
        if digest not in self.modules:
            _warn(f'{self.name}: running its program text of {len(source)} characters; SHA-256 {digest}')
            if digest not in _source_modules:
                _source_modules[digest] = _run_source(source, digest)
            self.modules[digest] = _source_modules[digest]
        return self.modules[digest]


def _run_source(source: str, digest: str) -> types.ModuleType:
    module = types.ModuleType('_imported_module_' + uuid.uuid4().hex)
    sys.modules[module.__name__] = module
    # The text is kept, so that such a network can be written into a snapshot again.
    persistence.register_source(module.__name__, source)
    try:
        exec(compile(source, f'<program text {digest[:8]} of a snapshot>', 'exec'), module.__dict__)
    except BaseException:
        del sys.modules[module.__name__]
        raise
    return module


def _load_storage(data: bytes) -> Any:
    # torch's own function of this name cannot bring a CUDA storage to a machine without CUDA.
    return torch.load(io.BytesIO(data), map_location='cpu', weights_only=False)


def _network(top: Any, key: str) -> torch.nn.Module:
    if not isinstance(top, dict) or key not in top:
        found = ', '.join(map(shown, top)) if isinstance(top, dict) else f'a {type(top).__name__}'
        raise SnapshotError(f'has no entry {key!r} (it holds {found or "nothing"})')
    net = top[key]
    if not isinstance(net, torch.nn.Module):
        raise SnapshotError(f'its entry {key!r} has the type {type(net).__name__}, but a network is expected')
    missing = [attribute for attribute in NETWORK_INTERFACE if not hasattr(net, attribute)]
    if missing:
        raise SnapshotError(
            f'its {type(net).__name__} lacks {", ".join(missing)}, so it cannot be used as an EDM network'
        )
    return net.cpu().float().eval().requires_grad_(False)


def _warn(text: str) -> None:
    print(f'WARNING: {text}', file=sys.stderr, flush=True)
