# Copyright 2026 The GDD-1S authors.
# SPDX-License-Identifier: Apache-2.0
"""Read a snapshot pickle into inert records, without unpickling.

The operations of the pickle are carried out on plain data (`torch_utils.pickle_machine`). Here stands the
complete list of names that snapshots refer to, and nothing else; each makes a record. Nothing is imported, no
constructor runs, and the source text inside the file is never looked at but for its digest.

Read are protocols 2 to 5, as written by Python 3 with old and new NumPy and torch.
"""

from typing import Any

from torch_utils.pickle_machine import Budget, Name, PickleFormatError, PickleMachine
from torch_utils.pickle_values import ModuleRecord, ValueFactory, tensor_names, value_names
from training.snapshots.pickle_records import PersistentFactory, PersistentRecord

WHAT = 'a snapshot'


def read_snapshot(data: bytes) -> dict:
    """Turn the bytes of a snapshot into its top-level dictionary of inert records.

    Args:
        data: The whole file.
    Returns:
        Names as keys; values are primitives, containers and records of `pickle_records` and `pickle_values`.
    Raises:
        PickleFormatError: damaged, truncated, oversized or not a snapshot.
        UnsafePickleError: refers to something a snapshot has no use for.
    """
    if data[:2] == b'PK':
        raise PickleFormatError(
            'this is a torch zip checkpoint (torch.save), not a snapshot pickle; '
            'give a network-snapshot-KKKKKK.pkl'
        )
    if data[:1] != b'\x80':
        raise PickleFormatError(
            'this is no pickle of protocol 2 to 5 (damaged, too old, or another kind of file); '
            'give a network-snapshot-KKKKKK.pkl'
        )
    budget = Budget(len(data))
    top = PickleMachine(data, _snapshot_names(budget), budget, WHAT).run()
    if not isinstance(top, dict) or not all(isinstance(key, str) for key in top):
        raise PickleFormatError(
            f'the file holds a {type(top).__name__}, but a snapshot is a dict with names as keys'
        )
    return top


def read_pickled_module(data: bytes) -> Any:
    """Turn the bytes of a pickled network, not inside a snapshot, into its inert record.

    Besides what snapshots hold, any module class of torch.nn may occur; it becomes a record as well.

    Args:
        data: The whole file.
    Returns:
        Record of `pickle_records` with the attributes of the outermost module in `state`.
    Raises:
        PickleFormatError: damaged, truncated, oversized or not a module.
        UnsafePickleError: refers to something a network has no use for.
    """
    budget = Budget(len(data))
    top = PickleMachine(data, _ModuleNames(_snapshot_names(budget)), budget, WHAT).run()
    if not isinstance(top, (PersistentRecord, ModuleRecord)):
        raise PickleFormatError(f'the file holds a {type(top).__name__}, not a network')
    return top


class _ModuleNames(dict):
    # The names of snapshots, and every class below torch.nn.modules as an empty record.
    def __contains__(self, key: tuple[str, str]) -> bool:
        return super().__contains__(key) or key[0].startswith('torch.nn.modules.')

    def __missing__(self, key: tuple[str, str]) -> Name:
        return self['torch.nn.modules.container', 'ModuleDict']


def _snapshot_names(budget: Budget) -> dict[tuple[str, str], Name]:
    values = ValueFactory(budget, WHAT)
    return {
        **value_names(values),
        **tensor_names(values),
        ('torch_utils.persistence', '_reconstruct_persistent_obj'): Name(call=PersistentFactory(budget).make),
        ('torch.nn.modules.container', 'ModuleDict'): Name(new=lambda: values.module('ModuleDict')),
        ('dnnlib.util', 'EasyDict'): Name(new=dict),
    }
