# Copyright 2026 The GDD-1S authors.
# SPDX-License-Identifier: Apache-2.0
"""Rebuild a network of this project from the inert records of a snapshot.

The recorded constructor arguments are validated, the network is constructed on the meta device
(no memory, no random numbers), the loaded tensors are attached under their names, and attributes
that were edited after construction are taken over. Whatever does not fit is an error.
"""

import logging
from typing import Any

import torch

from torch_utils import misc
from torch_utils.pickle_machine import UnsafePickleError, shown
from torch_utils.pickle_values import ModuleRecord, TensorRecord
from training import networks
from training.snapshots.network_arguments import ANY_NUMBER, RULES, check_arguments
from training.snapshots.pickle_records import PersistentRecord, SnapshotError, UnknownClassError

PRECONDITIONERS = {
    cls.__name__: cls
    for cls in (
        networks.EDMPrecond,
        networks.GDDPrecond,
        networks.VPPrecond,
        networks.VEPrecond,
        networks.iDDPMPrecond,
    )
}
# The newer official repository calls the method D2O, and changed nothing else in the network.
OFFICIAL_NAMES = {'D2OPrecond': 'GDDPrecond'}
PARTS = (
    'SongUNet',
    'DhariwalUNet',
    'UNetBlock',
    'Conv2d',
    'Linear',
    'GroupNorm',
    'PositionalEmbedding',
    'FourierEmbedding',
    'ModuleDict',
)
MAX_DEPTH = 16  # real networks: 4
MAX_ENTRIES = 300_000  # attributes, tensors and children of all parts; real networks have < 50 000
MAX_NAME_LENGTH = 100
NUM_SHOWN = 10  # differences of each kind in an error message

# Attributes that decide what the tensors mean: a file that disagrees with its own constructor
# arguments cannot be trusted to compute anything.
FIXED_ATTRIBUTES = (
    'num_heads',
    'num_groups',
    'in_channels',
    'out_channels',
    'emb_channels',
    'up',
    'down',
    'fused_resample',
    'adaptive_scale',
    'endpoint',
    'in_features',
    'out_features',
    'num_channels',
    'img_channels',
    'label_dim',
)
# Attributes that users edit on a finished network; EDM's loader uses the edited value.
EDITABLE_ATTRIBUTES = (
    'img_resolution',
    'use_fp16',
    'sigma_min',
    'sigma_max',
    'sigma_data',
    'dropout',
    'label_dropout',
    'skip_scale',
    'eps',
    'max_positions',
    'beta_d',
    'beta_min',
    'epsilon_t',
    'M',
    'C_1',
    'C_2',
)

# Attributes without an effect that only GDD's classes have.
GDD_ATTRIBUTES = ('groups', 'augment_dim')

_log = logging.getLogger(__name__)


def build_network(record: Any) -> tuple[torch.nn.Module, str]:
    """Build the network that a record describes.

    Args:
        record: Value of a snapshot's entry, which must be the PersistentRecord of a preconditioner.
    Returns:
        (net, flavour): the network in eval mode, float32, CPU, without gradients, and 'gdd' or
        'edm'. Flavours compute the same in float32 and differ in reduced precision.
    Raises:
        SnapshotError: something is unknown or does not fit; the message names it.
    """
    if isinstance(record, PersistentRecord):
        record = PersistentRecord(name_here(record.class_name), record.state, record.src_sha256)
    if not isinstance(record, PersistentRecord) or record.class_name not in PRECONDITIONERS:
        found = record.class_name if isinstance(record, PersistentRecord) else type(record).__name__
        raise UnknownClassError(
            f'holds {shown(found)} where a network is expected; known are {", ".join(PRECONDITIONERS)}'
        )
    parts, tensors = _flatten(record)
    arguments = _recorded_arguments(record, parts)
    net = _construct(PRECONDITIONERS[record.class_name], arguments)
    _require_same_tensors(net, tensors, arguments)
    _require_same_parts(net, parts)
    _attach(net, tensors)
    for name, module in net.named_modules():
        _take_over_attributes(name, module, parts[name].state)
    _warn_of_unknown_attributes(net, parts)
    return net.eval().requires_grad_(False), flavour_of(parts)


def name_here(class_name: str) -> str:
    """Return the name in this project of a class that the official repositories have under several names."""
    return OFFICIAL_NAMES.get(class_name, class_name)


def build_from_tensors(
    class_name: str, arguments: dict, tensors: dict[str, Any], attributes: dict[str, dict]
) -> torch.nn.Module:
    """Build a network from a file that describes it as a whole, without a record of each part.

    Args:
        class_name: Preconditioner class.
        arguments:  Keyword arguments of its constructor.
        tensors:    {dotted name: tensor}; each has `size`, `dtype` and `to_tensor()`, like TensorRecord.
        attributes: {dotted name of a module: {attribute: value}}, see `edited_attributes`.
    Returns:
        The network in eval mode, float32, CPU, without gradients.
    Raises:
        SnapshotError: something is unknown or does not fit; the message names it.
    """
    if not isinstance(class_name, str) or class_name not in PRECONDITIONERS:
        raise UnknownClassError(
            f'holds {shown(class_name)} where a network is expected; known are {", ".join(PRECONDITIONERS)}'
        )
    check_arguments(PRECONDITIONERS[class_name], arguments)
    net = _construct(PRECONDITIONERS[class_name], arguments)
    _require_same_tensors(net, tensors, arguments)
    modules = dict(net.named_modules())
    for name, values in attributes.items():
        known = modules[name].__dict__ if name in modules else {}
        wrong = [key for key in values if key not in EDITABLE_ATTRIBUTES or key not in known]
        if wrong or name not in modules:
            raise SnapshotError(
                f'{shown(name) or "the network"} has attributes that cannot be set, or is no part of it: '
                f'{", ".join(map(shown, wrong[:NUM_SHOWN]))}'
            )
    _attach(net, tensors)
    for name, values in attributes.items():
        _take_over_attributes(name, modules[name], values)
    return net.eval().requires_grad_(False)


def edited_attributes(net: torch.nn.Module) -> dict[str, dict]:
    """List the attributes that were changed after the construction of a network, which EDM's files keep.

    Args:
        net: Preconditioner of `training.networks`.
    Returns:
        {dotted name of a module: {attribute: number}}, '' for the network itself; changed ones only.
    """
    fresh = dict(_construct(type(net), net.init_kwargs).named_modules())
    edited = {}
    for name, module in net.named_modules():
        own, original = module.__dict__, fresh[name].__dict__
        values = {
            key: own[key]
            for key in EDITABLE_ATTRIBUTES
            if key in own and not _equal(own[key], original.get(key))
        }
        edited.update({name: values} if values else {})
    return edited


def _flatten(
    record: PersistentRecord,
) -> tuple[dict[str, PersistentRecord | ModuleRecord], dict[str, TensorRecord]]:
    # Walk the tree of modules. Returns {dotted name: record} and {dotted name: TensorRecord}, in
    # the order of a state dict.
    parts, tensors = {}, {}
    entries = 0  # a few bytes can describe a tree without end, by using one part many times
    waiting = [('', record, 0)]
    while waiting:
        name, part, depth = waiting.pop()
        _check_part(name, part)
        parts[name] = part
        own, modules = _own_tensors(name, part), _mapping(part, '_modules', name)
        entries += len(part.state) + len(own) + len(modules)
        if depth > MAX_DEPTH or entries > MAX_ENTRIES:
            raise SnapshotError(
                f'the network is nested deeper than {MAX_DEPTH} levels or has over {MAX_ENTRIES} entries'
            )
        tensors.update((_dotted(name, key), tensor) for key, tensor in own.items())
        waiting.extend(
            (_dotted(name, key), child, depth + 1)
            for key, child in reversed(modules.items())
            if child is not None
        )
    return parts, tensors


def _own_tensors(name: str, part: PersistentRecord | ModuleRecord) -> dict[str, TensorRecord]:
    skipped = part.state.get('_non_persistent_buffers_set', set())
    if not isinstance(skipped, set):
        raise SnapshotError(f'{shown(name) or "the network"}: _non_persistent_buffers_set is not a set')
    tensors = {}
    for group in ('_parameters', '_buffers'):
        for key, tensor in _mapping(part, group, name).items():
            if tensor is not None and not isinstance(tensor, TensorRecord):
                raise SnapshotError(f'{shown(_dotted(name, key))} is no tensor')
            if tensor is not None and key not in skipped:
                tensors[key] = tensor
    return tensors


def _dotted(name: str, key: str) -> str:
    return f'{name}.{key}' if name else key


def _check_part(name: str, part: Any) -> None:
    where = shown(name) or 'the network'
    if not isinstance(part, (PersistentRecord, ModuleRecord)):
        raise SnapshotError(f'{where} is no part of a network')
    if part.class_name not in (PARTS if name else PRECONDITIONERS):
        raise UnknownClassError(
            f'{where} has the class {shown(part.class_name)}, which is not one of {", ".join(PARTS)}'
        )
    for key, value in part.state.items():
        if not isinstance(key, str):
            raise SnapshotError(f'{where} has an attribute without a name')
        if key.endswith('_hooks') or '_hooks_' in key:
            # Hooks are functions of the program that wrote the file.
            if not isinstance(value, dict) or value:
                raise UnsafePickleError(f'{where} carries hooks ({shown(key)})')


def _mapping(part: PersistentRecord | ModuleRecord, group: str, name: str) -> dict[str, Any]:
    value = part.state.get(group, {})
    if not isinstance(value, dict):
        raise SnapshotError(f'{shown(name) or "the network"}: {group} is not a dict')
    for key in value:
        if not isinstance(key, str) or '.' in key or len(key) > MAX_NAME_LENGTH:
            raise SnapshotError(
                f'{shown(name) or "the network"}: {group} has an entry with the name {shown(key)}'
            )
    return value


def _recorded_arguments(
    record: PersistentRecord, parts: dict[str, PersistentRecord | ModuleRecord]
) -> dict[str, Any]:
    positional, arguments = record.state.get('_init_args'), record.state.get('_init_kwargs')
    if positional != () or not isinstance(arguments, dict):
        raise UnknownClassError(
            'the file does not record how its network was constructed (_init_kwargs), '
            'so the network cannot be rebuilt'
        )
    arguments = dict(arguments)
    if arguments.get('augment_dim') and 'model' in parts and 'model.map_augment' not in parts:
        # Students are commonly made from a teacher by deleting this layer.
        _log.info('the network was saved without its layer map_augment; using augment_dim=0')
        arguments['augment_dim'] = 0
    check_arguments(PRECONDITIONERS[record.class_name], arguments)
    return arguments


def _construct(cls: type[torch.nn.Module], arguments: dict[str, Any]) -> torch.nn.Module:
    try:
        with misc.without_values():
            return cls(**arguments)
    except (ValueError, TypeError, ArithmeticError, LookupError, RuntimeError) as error:
        raise SnapshotError(
            f'no {cls.__name__} can be built from the recorded arguments {_listed(arguments)}: '
            f'{str(error).splitlines()[0] if str(error) else type(error).__name__}'
        ) from error


def _require_same_tensors(net: torch.nn.Module, tensors: dict[str, Any], arguments: dict[str, Any]) -> None:
    expected = {name: tuple(tensor.shape) for name, tensor in net.state_dict().items()}
    missing = [f'{name} {list(shape)}' for name, shape in expected.items() if name not in tensors]
    unexpected = [f'{name} {list(tensor.size)}' for name, tensor in tensors.items() if name not in expected]
    shapes = [
        f'{name} (file {list(tensors[name].size)}, needed {list(shape)})'
        for name, shape in expected.items()
        if name in tensors and tensors[name].size != shape
    ]
    problems = [
        describe_names(*item)
        for item in (('missing', missing), ('unexpected', unexpected), ('shape', shapes))
        if item[1]
    ]
    if problems:
        raise UnknownClassError(
            f'the tensors do not fit the recorded arguments {_listed(arguments)}: {"; ".join(problems)}'
        )
    for name, tensor in tensors.items():
        if not tensor.dtype.is_floating_point:
            raise SnapshotError(f'{name} has the type {tensor.dtype}, but weights are float32')


def _require_same_parts(net: torch.nn.Module, parts: dict[str, PersistentRecord | ModuleRecord]) -> None:
    expected = {name: type(module).__name__ for name, module in net.named_modules()}
    found = {name: part.class_name for name, part in parts.items()}
    for name in [*expected, *found]:
        if expected.get(name) != found.get(name):
            raise UnknownClassError(
                f'{shown(name)} is {found.get(name, "absent")} in the file, '
                f'but {expected.get(name, "absent")} according to the recorded arguments'
            )


def _attach(net: torch.nn.Module, tensors: dict[str, Any]) -> None:
    loaded, converted = {}, set()
    for name, record in tensors.items():
        tensor = record.to_tensor()
        if tensor.dtype != torch.float32:
            converted.add(str(tensor.dtype))
        # Sides of length 1 may have any stride in a file, and convolutions choose their kernel by it: with
        # the usual ones the same numbers give the same bits, whatever file they came from.
        loaded[name] = tensor.to(torch.float32).clone(memory_format=torch.contiguous_format)
    if converted:
        _log.warning(
            'the snapshot holds weights of type %s; converted to torch.float32', ', '.join(sorted(converted))
        )
    net.load_state_dict(loaded, strict=True, assign=True)


def _take_over_attributes(name: str, module: torch.nn.Module, state: dict[str, Any]) -> None:
    own = module.__dict__
    where = shown(name) or 'the network'
    if type(state.get('groups', 1)) is not int or state.get('groups', 1) != 1:
        raise UnknownClassError(f'{where} is a grouped convolution, which is not supported')
    for key in FIXED_ATTRIBUTES:
        if key in state and key in own and not _equal(state[key], own[key]):
            raise UnknownClassError(
                f'{where}: {key} is {shown(state[key])} in the file, '
                f'but {own[key]} according to the recorded arguments'
            )
    for key in EDITABLE_ATTRIBUTES:
        if key not in state or key not in own or _equal(state[key], own[key]):
            continue
        accepts, rule = RULES.get(key, ANY_NUMBER)
        if not accepts(state[key]):
            raise SnapshotError(f'{where}: {key} is {shown(state[key])}, but must be {rule}')
        _log.info('%s: %s was edited after construction; using %s', where, key, state[key])
        setattr(module, key, state[key])


def _warn_of_unknown_attributes(
    net: torch.nn.Module, parts: dict[str, PersistentRecord | ModuleRecord]
) -> None:
    # A class of another program may have the names and tensors of ours and still compute something else.
    unknown = []
    for name, module in net.named_modules():
        known = {*module.__dict__, *module._modules, *module._parameters, *module._buffers, *GDD_ATTRIBUTES}
        unknown += [
            f'{type(module).__name__}.{key}'
            for key in parts[name].state
            if not (key in known or key.startswith('_'))
        ]
    if unknown:
        _log.warning(
            'the network in the file has attributes that this project does not know, and may compute '
            'something else; %s',
            describe_names('ignored', list(dict.fromkeys(unknown))),
        )


def _equal(value: Any, expected: Any) -> bool:
    return isinstance(value, (bool, int, float)) and value == expected


def flavour_of(parts: dict[str, Any]) -> str:
    """Tell EDM's classes from GDD's classes of the same names.

    Args:
        parts: {dotted name: record with class_name and state} of a whole network.
    Returns:
        'gdd' or 'edm'.
    """
    gdd = (
        'eps' in parts[''].state  # of the boundary condition, which EDM's preconditioners do not have
        or any('groups' in part.state for part in parts.values())
        or ('model' in parts and 'augment_dim' in parts['model'].state)
    )
    return 'gdd' if gdd else 'edm'


def describe_names(kind: str, names: list[str]) -> str:
    """Write a list of names for an error message, cut after the first few."""
    more = f' and {len(names) - NUM_SHOWN} more' if len(names) > NUM_SHOWN else ''
    return f'{kind}: {", ".join(shown(name) for name in names[:NUM_SHOWN])}{more}'


def _listed(arguments: dict[str, Any]) -> str:
    return '(' + ', '.join(f'{key}={value}' for key, value in arguments.items()) + ')'
