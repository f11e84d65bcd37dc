# Copyright 2026 The GDD-1S authors.
# SPDX-License-Identifier: Apache-2.0
"""Networks as safetensors files: the weights, and one JSON text with all that is needed to rebuild them.

The text stands under the key `config` of the file's metadata. It names a class of this project and its
constructor arguments, and passes the same checks as a snapshot (`network_builder`, `network_arguments`):
nothing in the file is run.
"""

import json
import math
import os
from collections.abc import Callable, Mapping
from typing import Any

import torch

from dnnlib.errors import ArgumentError, arg
from dnnlib.util import EasyDict, atomic_write, file_sha256
from torch_utils.pickle_machine import shown
from training.snapshots.entries import is_network_entry, plain_entry, portable
from training.snapshots.network_builder import PRECONDITIONERS, build_from_tensors, edited_attributes
from training.snapshots.pickle_records import SnapshotError

SUFFIX = '.safetensors'
FORMAT_NAME, FORMAT_VERSION = 'gdd-network', 1
INSTALL_HINT = "pip install 'safetensors>=0.4.3'"
FLAVOURS = ('edm', 'gdd')
# Facts that are in the constructor arguments too, repeated for readers that know nothing of this project.
REPEATED = ('img_resolution', 'img_channels', 'label_dim')
INFINITY = 'Infinity'  # JSON has no such number


def is_safetensors(path: str | os.PathLike) -> bool:
    """Tell from the name of a file whether it is a safetensors file."""
    return os.fspath(path).lower().endswith(SUFFIX)


def is_own_class(net: torch.nn.Module) -> bool:
    """Tell whether a network is of a class of this project rather than of a class out of a trusted pickle."""
    return type(net) is PRECONDITIONERS.get(type(net).__name__)


def require_own_class(net: torch.nn.Module) -> None:
    """Raise ArgumentError unless `is_own_class`."""
    if not is_own_class(net):
        raise ArgumentError(
            f'{type(net).__name__} is a class out of the pickle, which only the code in there can rebuild; ',
            'use ',
            arg('format', 'onnx'),
            ' or torchscript',
        )


def describe_network(net: torch.nn.Module, info: EasyDict, **more: Any) -> dict:
    """Return the configuration of a network: plain values from which it can be rebuilt, given its tensors.

    Args:
        net:  Network of a class of `training.networks`.
        info: What `load_network` told about it.
        more: Further plain values.
    Returns:
        Dict that JSON can hold. A class out of a trusted pickle comes without init_kwargs and attributes.
    """
    own = is_own_class(net)
    config = dict(
        format=FORMAT_NAME,
        format_version=FORMAT_VERSION,
        class_name=type(net).__name__,
        init_kwargs=net.init_kwargs if own else {},
        attributes=edited_attributes(net) if own else {},
        flavour=info.flavour,
        **{name: getattr(net, name) for name in REPEATED},
        dataset_kwargs=info.dataset_kwargs,
        metadata=info.metadata,
        **more,
    )
    return _map_leaves(portable(config), lambda value: INFINITY if value == math.inf else value)


def save_safetensors(path: str, net: torch.nn.Module, config: dict) -> None:
    """Write a network as a safetensors file, atomically.

    Args:
        path:   File to write; its folder must exist.
        net:    Network of a class of `training.networks`.
        config: Its configuration, see `describe_network`; needs the entry `key`, such as 'ema'.
    Raises:
        ArgumentError: the class is not ours, or the package safetensors is missing.
    """
    require_own_class(net)
    save_tensors(path, net.state_dict(), config)


def save_tensors(path: str, tensors: Mapping[str, torch.Tensor], config: dict) -> None:
    """Write tensors as a safetensors file, float32, atomically; `config` is its metadata.

    Raises:
        ArgumentError: The package safetensors is missing.
    """
    tensors = {
        name: tensor.detach().to('cpu', torch.float32).contiguous() for name, tensor in tensors.items()
    }
    # 'pt' is what other programs expect of files with torch's tensor names.
    data = _library().torch.save(tensors, metadata={'format': 'pt', 'config': dump_config(config)})
    with atomic_write(path) as file:
        file.write(data)


def dump_config(config: dict) -> str:
    """Write a configuration as JSON text.

    Raises:
        ArgumentError: something in it, such as NaN, has no place in JSON.
    """
    try:
        return json.dumps(config, allow_nan=False)
    except (TypeError, ValueError) as error:
        raise ArgumentError(
            f'metadata of the network cannot be written as JSON ({error}); use ', arg('format', 'pkl')
        ) from error


def load_safetensors(path: str, key: str) -> tuple[torch.nn.Module, EasyDict]:
    """Rebuild the network of a safetensors file.

    Args:
        path: Local file.
        key:  'ema', 'net' or a further average: the weights that are expected.
    Returns:
        (net, info) as `training.snapshots.snapshot.load_network` returns them.
    Raises:
        SnapshotError: not a file of ours, or something in it is unknown or does not fit.
    """
    try:
        library = _library()
    except ValueError as error:
        raise SnapshotError(str(error)) from error
    try:
        with library.safe_open(path, framework='pt', device='cpu') as file:
            config = _parse_config((file.metadata() or {}).get('config'))
            tensors = {name: _FileTensor(file.get_tensor(name)) for name in file.keys()}
    except (library.SafetensorError, OSError, MemoryError) as error:
        raise SnapshotError(
            f'the safetensors file is damaged ({shown(str(error))}); write it again with export.py'
        ) from error
    if config['key'] != key:
        raise SnapshotError(
            f'has no entry {key!r} (it holds {config["key"]}); export the other weights of the snapshot ',
            'with ',
            arg('key'),
        )
    net = build_from_tensors(config['class_name'], config['init_kwargs'], tensors, config['attributes'])
    for name in REPEATED:
        if type(config[name]) is not int or config[name] != getattr(net, name):
            raise SnapshotError(
                f'{name} is {shown(config[name])} in the configuration, but {getattr(net, name)} according '
                'to the recorded arguments'
            )
    return net, EasyDict(
        path=path,
        sha256=file_sha256(path),
        class_name=config['class_name'],
        flavour=config['flavour'],
        source_sha256='',
        executed=[],
        init_kwargs=net.init_kwargs,
        entries=[config['key']],
        dataset_kwargs=plain_entry(config, 'dataset_kwargs'),
        metadata=plain_entry(config, 'metadata'),
        extras={},
    )


class _FileTensor:
    # A tensor of the file as network_builder wants it.

    def __init__(self, tensor: torch.Tensor) -> None:
        self.tensor, self.size, self.dtype = tensor, tuple(tensor.shape), tensor.dtype

    def to_tensor(self) -> torch.Tensor:
        return self.tensor


def _library() -> EasyDict:
    # Imported late: only those who use such files need the package.
    try:
        import safetensors.torch
    except ImportError as error:
        raise ArgumentError(f'safetensors files need the package safetensors; {INSTALL_HINT}') from error
    return EasyDict(
        torch=safetensors.torch, safe_open=safetensors.safe_open, SafetensorError=safetensors.SafetensorError
    )


def _parse_config(text: str | None) -> dict[str, Any]:
    # The configuration as a dict whose entries exist and have the right types; values are checked later.
    if text is None:
        raise SnapshotError(
            'the file has weights but no configuration, so it is no network of this project; '
            'give a file written by export.py with ',
            arg('format', 'safetensors'),
        )
    try:
        config = _map_leaves(json.loads(text), lambda value: math.inf if value == INFINITY else value)
    except (ValueError, RecursionError) as error:
        raise SnapshotError(
            f'the configuration is no JSON text ({error}); write the file again with export.py'
        ) from error
    if (
        not isinstance(config, dict)
        or config.get('format') != FORMAT_NAME
        or config.get('format_version') != FORMAT_VERSION
    ):
        found = shown(config.get('format_version')) if isinstance(config, dict) else shown(config)
        raise SnapshotError(
            f'the configuration is not of the format {FORMAT_NAME} version {FORMAT_VERSION} (found {found}); '
            'write the file again with this version of export.py'
        )
    missing = [
        name
        for name in ('class_name', 'init_kwargs', 'attributes', 'flavour', 'key', *REPEATED)
        if name not in config
    ]
    if missing:
        raise SnapshotError(f'the configuration lacks {", ".join(missing)}')
    if config['flavour'] not in FLAVOURS:
        raise SnapshotError(
            f'flavour is {shown(config["flavour"])} in the configuration, but must be one of '
            f'{", ".join(FLAVOURS)}'
        )
    if not isinstance(config['key'], str) or not is_network_entry(config['key']):
        raise SnapshotError(
            f'key is {shown(config["key"])} in the configuration, but must be ema, net or a further average'
        )
    if not isinstance(config['init_kwargs'], dict) or not isinstance(config['attributes'], dict):
        raise SnapshotError('init_kwargs and attributes of the configuration must be objects')
    if not all(isinstance(values, dict) for values in config['attributes'].values()):
        raise SnapshotError('attributes of the configuration must hold one object per module')
    return config


def _map_leaves(value: Any, function: Callable[[Any], Any]) -> Any:
    if isinstance(value, dict):
        return {key: _map_leaves(item, function) for key, item in value.items()}
    if isinstance(value, list):
        return [_map_leaves(item, function) for item in value]
    return function(value)
