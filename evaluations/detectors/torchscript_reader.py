# Copyright 2026 The GDD-1S authors.
# SPDX-License-Identifier: Apache-2.0

"""Read the tensors of a TorchScript archive without running anything in it.

`torch.jit.load` compiles the program in the archive and runs parts of it; only the weights are
needed. They stand in `data.pkl`, a pickle of the module tree, and in one stored file per tensor
memory. The pickle is read by `torch_utils.pickle_machine` with a list of allowed names; module
classes become empty records, and no other object than those of this project is made.
"""

import zipfile
from typing import Any

import torch

from dnnlib.errors import ArgumentError
from torch_utils.pickle_machine import Budget, Name, PickleError, PickleFormatError, PickleMachine
from torch_utils.pickle_values import (
    STORAGE_DTYPES,
    ModuleRecord,
    StorageRecord,
    TensorRecord,
    ValueFactory,
    tensor_names,
)

_WHAT = 'a module tree'
_MAX_PICKLE_BYTES = 64 << 20
_MAX_MODULES = 20_000  # CLIP has about 400


class TorchScriptError(ArgumentError):
    """The file is no TorchScript archive, or not one that only holds modules and tensors."""


def is_torchscript(path: str) -> bool:
    """Tell whether a file is a TorchScript archive (and not a state dict in the same container)."""
    if not zipfile.is_zipfile(path):
        return False
    with zipfile.ZipFile(path) as archive:
        return any(name.endswith('/constants.pkl') or '/code/' in name for name in archive.namelist())


def read_torchscript(path: str) -> dict[str, torch.Tensor]:
    """Return all tensors of the modules in an archive.

    Args:
        path: File that `torch.jit.save` wrote.
    Returns:
        dict dotted name -> tensor of its own memory on the CPU, named as in the module's state dict.
    Raises:
        TorchScriptError: Damaged, or it holds other things than modules, numbers and tensors.
    """
    try:
        with zipfile.ZipFile(path) as archive:
            return _tensors_below(_read_tree(archive))
    except TorchScriptError:
        raise
    except Exception as err:  # damaged archives raise half a dozen unrelated types
        raise TorchScriptError(f'damaged TorchScript archive ({type(err).__name__}: {err})'[:200]) from err


def _read_tree(archive: zipfile.ZipFile) -> Any:
    """Return the record of the outermost module."""
    members = {info.filename: info for info in archive.infolist()}
    roots = [name[: -len('data.pkl')] for name in members if name.endswith('/data.pkl')]
    if len(roots) != 1 or members[roots[0] + 'data.pkl'].file_size > _MAX_PICKLE_BYTES:
        raise TorchScriptError('there must be exactly one data.pkl of ordinary size in it')
    data = archive.read(roots[0] + 'data.pkl')
    stored_bytes = sum(
        info.file_size for info in members.values() if info.compress_type == zipfile.ZIP_STORED
    )
    # Tensors may share memory, but not without end.
    factory = ValueFactory(Budget(max(2 * stored_bytes, len(data))), _WHAT)
    names = _ArchiveNames(factory)
    storages = {}

    def load_storage(reference: Any) -> StorageRecord:
        dtype, key, count = names.storage_facts(reference)
        if key not in storages:
            info = members[f'{roots[0]}data/{key}']
            if info.compress_type != zipfile.ZIP_STORED:  # so sizes cannot exceed that of the file
                raise PickleFormatError('its tensors are compressed, which TorchScript never does')
            storages[key] = factory.storage(dtype, count, archive.read(info))
        return storages[key]

    try:
        return PickleMachine(data, names, factory.budget, _WHAT, persistent_load=load_storage).run()
    except PickleError as error:
        raise TorchScriptError(*error.args) from error


class _ArchiveNames(dict):
    """The names that module trees refer to; every class of the archive's own program is an empty module."""

    def __init__(self, factory: ValueFactory) -> None:
        self._dtypes = {}
        for name, dtype in STORAGE_DTYPES.items():
            self['torch', name] = storage_class = Name()
            self._dtypes[storage_class] = dtype
        self['torch._utils', '_rebuild_tensor_v2'] = tensor_names(factory)[
            'torch._utils', '_rebuild_tensor_v2'
        ]
        self['torch.jit._pickle', 'restore_type_tag'] = Name(call=lambda value, _type: value)
        self['collections', 'OrderedDict'] = Name(call=factory.plain_dict)
        self._module = Name(new=lambda: factory.module('module'))

    def __contains__(self, key: tuple[str, str]) -> bool:
        return super().__contains__(key) or key[0].split('.')[0] == '__torch__' or _is_typed_list(key)

    def __missing__(self, key: tuple[str, str]) -> Name:
        return Name(call=lambda values: values) if _is_typed_list(key) else self._module

    def storage_facts(self, reference: Any) -> tuple[torch.dtype, str, int]:
        """Return (type, key, element count) of a reference to a storage."""
        if not isinstance(reference, tuple) or len(reference) != 5:
            raise PickleFormatError('a storage has a malformed reference')
        kind, storage_class, key, _location, count = reference
        if (
            kind != 'storage'
            or not isinstance(storage_class, Name)
            or storage_class not in self._dtypes
            or not isinstance(key, str)
            or type(count) is not int
        ):
            raise PickleFormatError('a storage has a malformed reference')
        return self._dtypes[storage_class], key, count


def _is_typed_list(key: tuple[str, str]) -> bool:
    return key[0] == 'torch.jit._pickle' and key[1].startswith('build_')


def _tensors_below(module: Any) -> dict[str, torch.Tensor]:
    """Collect the tensors of a module and its children, by dotted name."""
    if not isinstance(module, ModuleRecord):
        raise TorchScriptError('it does not hold a module')
    found, waiting, seen = {}, [('', module)], 0
    while waiting:
        prefix, module = waiting.pop()
        seen += 1
        if seen > _MAX_MODULES:
            raise TorchScriptError('its modules are nested without end')
        for name, value in module.state.items():
            if isinstance(value, TensorRecord):
                found[f'{prefix}{name}'] = value.to_tensor()
            elif isinstance(value, ModuleRecord):
                waiting.append((f'{prefix}{name}.', value))
    return found
