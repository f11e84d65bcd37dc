# Copyright 2026 The GDD-1S authors.
# SPDX-License-Identifier: Apache-2.0

"""Read the tensors of a TorchScript archive without running anything in it.

`torch.jit.load` compiles the program in the archive and runs parts of it; only the weights are
needed. They stand in `data.pkl`, a pickle of the module tree, and in one stored file per tensor
memory. The pickle is read with a list of allowed operations and names; module classes become
empty records, and no other object than those of this file is made.
"""

import io
import math
import pickle
import pickletools
import zipfile

import numpy as np
import torch

from dnnlib.errors import ArgumentError

_MAX_PICKLE_BYTES = 64 << 20
_MAX_MEMO = 1 << 20  # a larger index would make the unpickler allocate a table of that length
_MAX_MODULES = 20_000  # CLIP has about 400
_OPCODES = frozenset(
    (
        'PROTO',
        'STOP',
        'MARK',
        'GLOBAL',
        'REDUCE',
        'NEWOBJ',
        'BUILD',
        'BINPERSID',
        'NONE',
        'NEWTRUE',
        'NEWFALSE',
        'BININT',
        'BININT1',
        'BININT2',
        'LONG1',
        'BINFLOAT',
        'BINUNICODE',
        'SHORT_BINUNICODE',
        'BINPUT',
        'LONG_BINPUT',
        'BINGET',
        'LONG_BINGET',
        'EMPTY_TUPLE',
        'TUPLE',
        'TUPLE1',
        'TUPLE2',
        'TUPLE3',
        'EMPTY_LIST',
        'APPEND',
        'APPENDS',
        'EMPTY_DICT',
        'SETITEM',
        'SETITEMS',
    )
)
_STORAGE_DTYPES = {
    'FloatStorage': torch.float32,
    'HalfStorage': torch.float16,
    'BFloat16Storage': torch.bfloat16,
    'DoubleStorage': torch.float64,
    'LongStorage': torch.int64,
    'IntStorage': torch.int32,
    'ShortStorage': torch.int16,
    'CharStorage': torch.int8,
    'ByteStorage': torch.uint8,
    'BoolStorage': torch.bool,
}


class TorchScriptError(ArgumentError):
    """The file is no TorchScript archive, or not one that only holds modules and tensors."""


class _Module:
    """A module of the archive: whatever attributes the pickle gives it."""


class _Storage:
    """The memory of tensors."""

    def __init__(self, dtype, count, data):
        self.dtype, self.count, self.data = dtype, count, data


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


def _read_tree(archive):
    """Return the record of the outermost module."""
    members = {info.filename: info for info in archive.infolist()}
    roots = [name[: -len('data.pkl')] for name in members if name.endswith('/data.pkl')]
    if len(roots) != 1 or members[roots[0] + 'data.pkl'].file_size > _MAX_PICKLE_BYTES:
        raise TorchScriptError('there must be exactly one data.pkl of ordinary size in it')
    data = archive.read(roots[0] + 'data.pkl')
    _check_operations(data)

    def read_storage(key):
        info = members[f'{roots[0]}data/{key}']
        if info.compress_type != zipfile.ZIP_STORED:  # so sizes cannot exceed that of the file
            raise TorchScriptError('its tensors are compressed, which TorchScript never does')
        return archive.read(info)

    stored_bytes = sum(
        info.file_size for info in members.values() if info.compress_type == zipfile.ZIP_STORED
    )
    return _Unpickler(data, read_storage, max_tensor_bytes=2 * stored_bytes).load()


def _check_operations(data):
    """Raise TorchScriptError unless a pickle consists of operations that module trees need."""
    for opcode, argument, _ in pickletools.genops(data):
        if opcode.name not in _OPCODES:
            raise TorchScriptError(
                f'the operation {opcode.name} has no place in a module tree; the file is refused'
            )
        if opcode.name.endswith('BINPUT') and argument > _MAX_MEMO:
            raise TorchScriptError('it counts more objects than a module tree has')


class _Unpickler(pickle.Unpickler):
    """Make records of module classes, and tensors of storages; refuse every other name."""

    def __init__(self, data, read_storage, max_tensor_bytes):
        super().__init__(io.BytesIO(data))
        self._read_storage = read_storage
        self._storages = {}
        self._tensor_bytes_left = max_tensor_bytes

    def find_class(self, module, name):
        if module == '__torch__' or module.startswith('__torch__.'):
            return type('_ArchiveModule', (_Module,), {})  # a new class each time: nothing in it is shared
        if (module, name) == ('torch._utils', '_rebuild_tensor_v2'):
            return lambda *arguments: self._tensor(*arguments)
        if module == 'torch' and name in _STORAGE_DTYPES:
            return name
        if module == 'torch.jit._pickle' and name.startswith('build_'):
            return lambda values: values  # typed lists of numbers or tensors
        if (module, name) == ('torch.jit._pickle', 'restore_type_tag'):
            return lambda value, _type: value
        if (module, name) == ('collections', 'OrderedDict'):
            return dict
        raise TorchScriptError(
            f'refers to {module}.{name}, which weights have no use for; the file is refused'
        )

    def persistent_load(self, pid):
        kind, storage_class, key, _location, count = pid
        if (
            kind != 'storage'
            or storage_class not in _STORAGE_DTYPES
            or not isinstance(key, str)
            or type(count) is not int
        ):
            raise TorchScriptError('a storage has a malformed reference')
        if key not in self._storages:
            dtype, data = _STORAGE_DTYPES[storage_class], self._read_storage(key)
            if len(data) != count * dtype.itemsize:
                raise TorchScriptError(
                    f'a storage of {count} elements of {dtype.itemsize} bytes comes with {len(data)} bytes'
                )
            self._storages[key] = _Storage(dtype, count, data)
        return self._storages[key]

    def _tensor(self, storage, offset, size, stride, _requires_grad, _hooks):
        if not all(type(n) is int and n >= 0 for n in (offset, *size, *stride)) or len(size) != len(stride):
            raise TorchScriptError('offset, sizes and strides of a tensor must be ints >= 0')
        elements = math.prod(size)
        span = 1 + sum((n - 1) * step for n, step in zip(size, stride)) if elements else 0
        # A stride of 0 would repeat elements, so that a small file could fill the memory.
        if offset + span > storage.count or elements > span:
            raise TorchScriptError(
                f'a tensor of {elements} elements does not fit into its storage of {storage.count}'
            )
        if not elements:
            return torch.zeros(tuple(size), dtype=storage.dtype)
        item = storage.dtype.itemsize
        self._tensor_bytes_left -= span * item
        if self._tensor_bytes_left < 0:  # tensors may share memory, but not without end
            raise TorchScriptError('its tensors together are larger than the file')
        raw = np.frombuffer(storage.data, dtype=np.uint8, count=span * item, offset=offset * item).copy()
        return torch.from_numpy(raw).view(storage.dtype).as_strided(tuple(size), tuple(stride)).contiguous()


def _tensors_below(module):
    """Collect the tensors of a module and its children, by dotted name."""
    if not isinstance(module, _Module):
        raise TorchScriptError('it does not hold a module')
    found, waiting, seen = {}, [('', module)], 0
    while waiting:
        prefix, module = waiting.pop()
        seen += 1
        if seen > _MAX_MODULES:
            raise TorchScriptError('its modules are nested without end')
        for name, value in vars(module).items():
            if isinstance(value, torch.Tensor):
                found[prefix + name] = value
            elif isinstance(value, _Module):
                waiting.append((f'{prefix}{name}.', value))
    return found
