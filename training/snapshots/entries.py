# Copyright 2026 The GDD-1S authors.
# SPDX-License-Identifier: Apache-2.0
"""What a snapshot holds beside its networks: plain values, losses and augmentation pipes.

These entries are information. No path in them is opened, no class named in them is imported, and
nothing unknown in them keeps the network from loading.
"""

import logging
import os
from typing import Any

import torch

from dnnlib.errors import ArgumentError, arg
from dnnlib.util import EasyDict
from torch_utils.pickle_machine import shown
from torch_utils.pickle_values import TensorRecord
from training.snapshots.pickle_records import PersistentRecord

MAX_VALUES = 10_000  # items of dataset_kwargs or metadata
CHARACTERS_PER_VALUE = 100  # texts may have as many on average
MAX_DEPTH = 16
DESCRIBED_CLASSES = ('EDMLoss', 'VPLoss', 'VELoss', 'AugmentPipe')

_log = logging.getLogger(__name__)


def is_network_entry(entry: str) -> bool:
    """Tell from its name whether an entry holds a network: ema, net, or an average such as ema-0.05."""
    return entry in ('ema', 'net') or entry.startswith('ema-')


def choose_key(ema: bool | None, key: str | None) -> str:
    """Settle the arguments ema and key, of which the first is the official spelling for two of the keys.

    Args:
        ema: Whether averaged weights are wanted, or None where not said.
        key: Entry of the snapshot, or None.
    Returns:
        Name of an entry.
    Raises:
        ArgumentError: they contradict each other, or the key is none of a network.
    """
    if key is None:
        return 'net' if ema is False else 'ema'
    if not is_network_entry(key):
        raise ArgumentError(
            arg('key', key),
            ' names no network of a snapshot; use ema, net, or a further average such as ema-0.05',
        )
    if ema is not None and ema == (key == 'net'):
        raise ArgumentError(
            arg('ema', ema), ' does not go with ', arg('key', key), '; leave ', arg('ema'), ' out'
        )
    return key


def plain_entry(top: dict, entry: str) -> dict:
    """Return a dict entry of a snapshot if it is made of plain values only, else {} with a warning.

    Args:
        top:   Top-level dict of the snapshot.
        entry: 'dataset_kwargs' or 'metadata'.
    Returns:
        Nested dict of str, int, float, bool, None, lists and tuples; {} where absent.
    """
    value = top.get(entry)
    if value is None:
        return {}
    left = _budget_left(value, MAX_VALUES, MAX_DEPTH) if isinstance(value, dict) else None
    if left is not None and left >= 0:
        return value
    _log.warning('the entry %s of the snapshot is not made of plain values; ignored', entry)
    return {}


def _budget_left(value: Any, budget: int, depth: int) -> int | None:
    # What is left of the budget, or None if there is anything but primitives, or too much of it:
    # a few bytes of a pickle can describe a structure without end.
    if budget <= 0 or depth < 0:
        return None
    if isinstance(value, str):
        return budget - 1 - len(value) // CHARACTERS_PER_VALUE
    if isinstance(value, (int, float, bool, type(None))):
        return budget - 1
    if not isinstance(value, (dict, list, tuple)):
        return None
    for item in [*value, *value.values()] if isinstance(value, dict) else value:
        budget = _budget_left(item, budget, depth - 1)
        if budget is None:
            return None
    return budget - 1


def portable(value: Any) -> Any:
    """Cut absolute paths in nested plain values to their last part: the folders of a machine stay at home.

    Args:
        value: Nested dict, list or tuple of str, int, float, bool, None.
    Returns:
        A copy; tuples become lists.
    """
    if isinstance(value, str) and os.path.isabs(value):
        return os.path.basename(os.path.normpath(value))
    if isinstance(value, dict):
        return {key: portable(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [portable(item) for item in value]
    return value


def describe_entry(entry: str, value: Any) -> Any:
    """Say what can be said about an entry that is not a network: its class and its plain attributes.

    Args:
        entry: Name of the entry.
        value: Primitive, record of the safe reader, or object of a trusted file.
    Returns:
        The primitive itself, or EasyDict(class_name=..., attribute=value, ...), with the names of its
        tensors under `buffers` if it is a torch module.
    """
    if value is None or isinstance(value, (str, int, float, bool)):
        return value
    if (
        isinstance(value, dict)
        and 'class_name' in value
        and _budget_left(value, MAX_VALUES, MAX_DEPTH) is not None
    ):
        return EasyDict(value)  # the description that this project stores for augmentation of a student
    class_name, state = _class_and_state(value)
    if state is None:
        return EasyDict(class_name=class_name)
    if class_name not in DESCRIBED_CLASSES:
        _log.warning(
            'the entry %s of the snapshot has the unknown class %s; ignored', shown(entry), shown(class_name)
        )
    attributes = {
        key: item
        for key, item in state.items()
        if isinstance(key, str) and isinstance(item, (str, int, float))
    }
    buffers = state.get('_buffers')
    if isinstance(buffers, dict):
        attributes['buffers'] = [
            key for key, item in buffers.items() if isinstance(item, (TensorRecord, torch.Tensor))
        ]
    return EasyDict(attributes, class_name=class_name)


def _class_and_state(value: Any) -> tuple[str, dict[Any, Any] | None]:
    if isinstance(value, PersistentRecord):
        return value.class_name, value.state
    is_container = isinstance(value, (dict, list, tuple, set))
    return type(value).__name__, None if is_container else getattr(value, '__dict__', None)
