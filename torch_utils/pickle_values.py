# Copyright 2026 The GDD-1S authors.
# SPDX-License-Identifier: Apache-2.0
"""Numbers, arrays, tensors and modules of a pickle as inert records, within limits set by its size.

    content = read_plain(data, what='a reference file')     # dict, list, str, int, float, ... and ArrayRecord
    mu = content['fid']['mu'].to_array()

What a file announces is compared with the bytes that are there before memory is taken: all storages together,
and all tensors together, may not be larger than the file they came from. A few bytes of a pickle can ask for
the same large thing again and again, so lengths are checked first, and copies are counted.
"""

import math
import re
import struct
from typing import Any

import numpy as np
import torch

from torch_utils.persistence import LEGACY_MAGIC, LEGACY_PROTOCOL, STORAGE_CLASSES
from torch_utils.pickle_machine import (
    Budget,
    Name,
    PickleFormatError,
    PickleMachine,
    UnsafePickleError,
    checked_key,
    shown,
)

MAX_TENSOR_DIMS = 8
STORAGE_DTYPES = {name: dtype for dtype, name in STORAGE_CLASSES.items()}
STORAGE_PREFIX = bytes.fromhex('80028a0a6cfc9c46f9206aa850192e')  # the pickled magic number
STORAGE_HEADER_BYTES = 1024  # the five pickles before the elements take about 250
# Where the tensor was when it was saved. The elements are in the file anyway.
STORAGE_LOCATION = re.compile(r'cpu|mps|(cuda|xpu)(:\d{1,4})?')
NUMPY_CODES = ('f8', 'f4', 'f2', 'i8', 'i4', 'i2', 'i1', 'u8', 'u4', 'u2', 'u1', 'b1')


def read_plain(data: bytes, what: str, embedding: bool = False) -> Any:
    """Read a pickle of plain values, NumPy numbers and arrays of numbers; nothing in it can be executed.

    Args:
        data: The whole pickle; its memory is shared by the result.
        what: What the file is, for messages: 'a reference file'.
        embedding: Allow tensors (`TensorRecord`) and torch.nn.Embedding (`ModuleRecord`) as well.
    Returns:
        None, bool, int, float, str, bytes or memoryview, `ArrayRecord`, or dict, list, tuple, set of them.
        Parts may occur several times, even inside themselves: do not walk them without a limit.
    Raises:
        PickleFormatError: damaged, truncated, oversized, or of another kind.
        UnsafePickleError: it refers to something else.
    """
    if data[:1] != b'\x80':
        raise PickleFormatError(f'this is no pickle of protocol 2 to 5, so it is not {what}')
    factory = ValueFactory(Budget(len(data)), what)
    names = value_names(factory) | array_names(factory)
    if embedding:
        names |= tensor_names(factory)
        names['torch.nn.modules.sparse', 'Embedding'] = Name(new=lambda: factory.module('Embedding'))
        names['dill._dill', '_load_type'] = names['dill.dill', '_load_type'] = Name(call=factory.dill_type)
    return PickleMachine(data, names, factory.budget, what).run()


def value_names(factory: 'ValueFactory') -> dict:
    """Return the names by which pickles refer to containers, bytes and NumPy's numbers."""
    scalar = Name(call=factory.numpy_scalar)
    plain_set = Name(call=factory.plain_set)
    return {
        ('collections', 'OrderedDict'): Name(call=factory.plain_dict),
        ('builtins', 'set'): plain_set,
        ('__builtin__', 'set'): plain_set,
        ('_codecs', 'encode'): Name(call=factory.latin1_bytes),
        ('numpy.core.multiarray', 'scalar'): scalar,
        ('numpy._core.multiarray', 'scalar'): scalar,
        ('numpy', 'dtype'): Name(call=DtypeRecord),
    }


def array_names(factory: 'ValueFactory') -> dict:
    """Return the names by which pickles refer to arrays, of NumPy 1 and 2."""
    names = {('numpy', 'ndarray'): Name()}
    names['__builtin__', 'bytes'] = Name(call=lambda: b'')  # of empty arrays in protocol 2
    for core in ('numpy.core', 'numpy._core'):
        names[f'{core}.multiarray', '_reconstruct'] = Name(call=factory.empty_array)
        names[f'{core}.numeric', '_frombuffer'] = Name(call=factory.array_of_buffer)
    return names


def tensor_names(factory: 'ValueFactory') -> dict:
    """Return the names by which pickles refer to tensors and parameters that are stored inside them."""
    return {
        ('torch._utils', '_rebuild_parameter'): Name(call=factory.parameter),
        ('torch._utils', '_rebuild_parameter_with_state'): Name(call=factory.parameter),
        ('torch._utils', '_rebuild_tensor_v2'): Name(call=factory.tensor),
        ('torch._utils', '_rebuild_tensor'): Name(call=factory.old_tensor),
        ('torch.storage', '_load_from_bytes'): Name(call=factory.legacy_storage),
    }


class DtypeRecord:
    """A numpy.dtype of a number type."""

    __slots__ = ('code', 'order')

    def __init__(self, code: Any, *flags: Any) -> None:
        if code not in NUMPY_CODES or len(flags) != 2 or not all(isinstance(f, (bool, int)) for f in flags):
            raise PickleFormatError(f'numpy type {shown(code)} is not one of {", ".join(NUMPY_CODES)}')
        self.code = code
        self.order = '<'

    def build(self, state: Any) -> None:
        """Take the byte order out of numpy's state tuple."""
        if (
            not isinstance(state, tuple)
            or len(state) != 8
            or state[0] != 3
            or state[1] not in ('<', '>', '=', '|')
            or state[2:] != (None, None, None, -1, -1, 0)
        ):
            raise PickleFormatError('the state of a numpy type is not that of a plain number type')
        self.order = state[1]

    def number_type(self) -> np.dtype:
        """Return the numpy.dtype."""
        return np.dtype(self.order + self.code)


class ArrayRecord:
    """A NumPy array of numbers; its state arrives after its creation."""

    __slots__ = ('_factory', '_data', '_dtype', 'shape', '_fortran')

    def __init__(self, factory: 'ValueFactory') -> None:
        self._factory = factory
        self._data, self._dtype, self.shape, self._fortran = b'', np.dtype('f8'), (0,), False

    @property
    def dtype(self) -> np.dtype:
        """The numpy.dtype of the elements."""
        return self._dtype

    def build(self, state: Any) -> None:
        """Take (version, shape, type, Fortran order, bytes)."""
        if not isinstance(state, tuple) or len(state) != 5:
            raise PickleFormatError('the state of an array is malformed')
        _version, shape, dtype, fortran, data = state
        self.fill(data, dtype, shape, fortran)

    def fill(self, data: Any, dtype: Any, shape: Any, fortran: Any) -> None:
        """Take shape, type and bytes, which must fit each other."""
        if isinstance(data, str):  # str of Python 2
            data = self._factory.latin1_bytes(data, 'latin1')
        if not isinstance(dtype, DtypeRecord) or not isinstance(data, (bytes, memoryview)):
            raise PickleFormatError('an array needs a number type and bytes')
        limit = self._factory.budget.file_size
        if (
            not isinstance(shape, tuple)
            or len(shape) > MAX_TENSOR_DIMS
            or not all(type(n) is int and 0 <= n <= limit for n in shape)
        ):
            raise PickleFormatError(f'the shape of an array must be at most {MAX_TENSOR_DIMS} ints')
        self._dtype = dtype.number_type()
        if math.prod(shape) * self._dtype.itemsize != len(data):
            raise PickleFormatError(f'an array of shape {list(shape)} comes with {len(data)} bytes')
        self._data, self.shape, self._fortran = data, shape, bool(fortran)

    def to_array(self) -> np.ndarray:
        """Return the array; it is read-only and shares the memory of the file."""
        flat = np.frombuffer(self._data, self._dtype)
        return flat.reshape(self.shape, order='F' if self._fortran else 'C')


class ModuleRecord:
    """A torch module of a class that pickles refer to by name; its attributes arrive after its creation."""

    __slots__ = ('class_name', 'state')

    def __init__(self, class_name: str) -> None:
        self.class_name = class_name
        self.state = {}

    def build(self, state: Any) -> None:
        """Take the attribute dictionary."""
        if not isinstance(state, dict):
            raise PickleFormatError(f'the state of a {self.class_name} is not a dict')
        self.state = state


class StorageRecord:
    """The memory of tensors: type, element count and raw little-endian bytes."""

    __slots__ = ('dtype', 'count', 'data')

    def __init__(self, dtype: torch.dtype, count: int, data: bytes | memoryview | torch.Tensor) -> None:
        self.dtype = dtype
        self.count = count
        self.data = data


class TensorRecord:
    """A tensor as a view of a storage."""

    __slots__ = ('storage', 'offset', 'size', 'stride')

    def __init__(
        self, storage: StorageRecord, offset: int, size: tuple[int, ...], stride: tuple[int, ...]
    ) -> None:
        self.storage = storage
        self.offset = offset
        self.size = size
        self.stride = stride

    @property
    def dtype(self) -> torch.dtype:
        """The torch type of the elements."""
        return self.storage.dtype

    @property
    def span(self) -> int:
        """Number of storage elements from the first to the last one used."""
        if math.prod(self.size) == 0:
            return 0
        return 1 + sum((n - 1) * step for n, step in zip(self.size, self.stride))

    def to_tensor(self) -> torch.Tensor:
        """Copy the values into a contiguous CPU tensor with memory of its own."""
        if math.prod(self.size) == 0:
            return torch.empty(self.size, dtype=self.dtype, device='cpu')
        start = self.offset * self.dtype.itemsize
        stop = start + self.span * self.dtype.itemsize
        elements = np.frombuffer(self.storage.data[start:stop], dtype=np.uint8).copy()
        tensor = torch.from_numpy(elements).view(self.dtype).as_strided(self.size, self.stride)
        return tensor if tensor.is_contiguous() else tensor.contiguous()


def checked_tensor(
    storage: Any, offset: Any, size: Any, stride: Any, requires_grad: Any, hooks: Any, metadata: Any = None
) -> TensorRecord:
    """Make the record of a tensor, making sure that it stays inside its storage.

    Args: as of torch._utils._rebuild_tensor_v2; `storage` is a StorageRecord.
    Raises:
        PickleFormatError: they do not fit each other, or elements would be repeated.
    """
    if not isinstance(storage, StorageRecord) or not isinstance(size, tuple) or not isinstance(stride, tuple):
        raise PickleFormatError('a tensor needs a storage, a size tuple and a stride tuple')
    if len(size) != len(stride) or len(size) > MAX_TENSOR_DIMS:
        raise PickleFormatError(f'a tensor needs as many strides as sizes, at most {MAX_TENSOR_DIMS}')
    if not all(type(n) is int and n >= 0 for n in (offset, *size, *stride)):
        raise PickleFormatError('offset, sizes and strides of a tensor must be ints >= 0')
    _require_no_extras(requires_grad, hooks)
    if metadata is not None:
        raise PickleFormatError('a tensor carries metadata, which is not supported')
    record = TensorRecord(storage, offset, size, stride)
    elements = math.prod(size)
    # A stride of 0 would repeat elements, so that a small file could fill the memory.
    if offset + record.span > storage.count or elements > record.span:
        raise PickleFormatError(
            f'a tensor of {elements} elements does not fit into its storage of {storage.count}'
        )
    return record


class ValueFactory:
    """Make values and records out of the arguments found in one file.

    Args:
        budget: What reading the file may cost.
        what:   What the file is, for messages.
    """

    def __init__(self, budget: Budget, what: str) -> None:
        self.budget = budget
        self.what = what

    def plain_dict(self, *pairs: Any) -> dict:
        """Make the dict that stands for an OrderedDict of nothing or of a list of pairs."""
        if len(pairs) > 1 or not all(isinstance(items, list) for items in pairs):
            raise PickleFormatError('OrderedDict must be made of nothing or of one list')
        result = {}
        for items in pairs:
            self.budget.count_operation(len(items))
            for pair in items:
                if not isinstance(pair, (tuple, list)) or len(pair) != 2:
                    raise PickleFormatError('OrderedDict must be made of pairs')
                result[checked_key(pair[0])] = pair[1]
        return result

    def plain_set(self, items: Any) -> set:
        """Make a set of a list."""
        if not isinstance(items, list):
            raise PickleFormatError('set must be made of a list')
        self.budget.count_operation(len(items))
        return set(map(checked_key, items))

    def dill_type(self, name: Any) -> Name:
        """Look up a type of Python by its name, as dill writes it; only that of a set occurs."""
        if name != 'set':
            raise UnsafePickleError(f'asks dill for the type {shown(name)}')
        return Name(call=self.plain_set)

    def latin1_bytes(self, text: Any, encoding: Any) -> bytes:
        """Decode bytes as protocol 2 writes them: latin1 text to be encoded again."""
        if not isinstance(text, str) or encoding != 'latin1':
            raise UnsafePickleError('_codecs.encode is allowed for latin1 text only')
        self.budget.count_bytes('texts of bytes', len(text))
        return text.encode('latin1')

    def numpy_scalar(self, dtype: Any, data: Any) -> float | int | bool:
        """Decode one number from its bytes into a Python float, int or bool."""
        if not isinstance(dtype, DtypeRecord):
            raise PickleFormatError('a numpy scalar has no number type')
        kind = dtype.number_type()
        if isinstance(data, str) and len(data) == kind.itemsize:  # str of Python 2
            data = data.encode('latin1')
        if not isinstance(data, (bytes, memoryview)) or len(data) != kind.itemsize:
            raise PickleFormatError(f'a numpy scalar of type {dtype.code} needs {kind.itemsize} bytes')
        return np.frombuffer(data, dtype=kind)[0].item()

    def empty_array(self, *_arguments: Any) -> ArrayRecord:
        """Make the record of an array whose state follows."""
        self.budget.count_record()
        return ArrayRecord(self)

    def array_of_buffer(self, data: Any, dtype: Any, shape: Any, order: Any) -> ArrayRecord:
        """Make the record of an array as pickle protocol 5 stores it."""
        record = self.empty_array()
        record.fill(data, dtype, shape, order == 'F')
        return record

    def module(self, class_name: str) -> ModuleRecord:
        """Make the record of a module without attributes."""
        self.budget.count_record()
        return ModuleRecord(class_name)

    def storage(self, dtype: torch.dtype, count: int, data: bytes | memoryview) -> StorageRecord:
        """Make the record of a storage from its raw bytes."""
        self.budget.count_record()
        item_size = dtype.itemsize
        if len(data) != count * item_size:
            raise PickleFormatError(
                f'a storage of {count} elements of {item_size} bytes comes with {len(data)} bytes'
            )
        self.budget.count_bytes('storages', len(data))
        return StorageRecord(dtype, count, data)

    def tensor(
        self,
        storage: Any,
        offset: Any,
        size: Any,
        stride: Any,
        requires_grad: Any,
        hooks: Any,
        metadata: Any = None,
    ) -> TensorRecord:
        """Make the record of a tensor, making sure that it stays inside its storage."""
        self.budget.count_record()
        record = checked_tensor(storage, offset, size, stride, requires_grad, hooks, metadata)
        self.budget.count_bytes('tensors', record.span * record.dtype.itemsize)
        if max(size, default=0) > self.budget.file_size:
            raise PickleFormatError('the tensors together are larger than the file')
        return record

    def old_tensor(self, storage: Any, offset: Any, size: Any, stride: Any) -> TensorRecord:
        """Make the record of a tensor as written before torch 0.4."""
        return self.tensor(storage, offset, size, stride, False, {})

    def parameter(self, tensor: Any, requires_grad: Any, hooks: Any, _state: Any = None) -> TensorRecord:
        """Pass on the tensor of a parameter; extra attributes of the parameter are dropped."""
        if not isinstance(tensor, TensorRecord):
            raise PickleFormatError('a parameter is not made of a tensor')
        _require_no_extras(requires_grad, hooks)
        return tensor

    def legacy_storage(self, data: Any) -> StorageRecord:
        """Make the record of a storage in torch's legacy format.

        Five small pickles, then the element count and the elements. torch itself is not asked, since it
        allocates what the header claims before looking at the data.
        """
        if not isinstance(data, (bytes, memoryview)) or data[: len(STORAGE_PREFIX)] != STORAGE_PREFIX:
            raise PickleFormatError('a storage is not in the legacy format of torch')
        names = {('torch', name): Name() for name in STORAGE_DTYPES}
        dtypes = {names['torch', name]: dtype for name, dtype in STORAGE_DTYPES.items()}
        data = memoryview(data)
        position, heads = 0, []
        for _ in range(5):
            machine = PickleMachine(
                data[:STORAGE_HEADER_BYTES].tobytes(), names, self.budget, self.what, position, _PersistentId
            )
            heads.append(machine.run())
            position = machine.position
        dtype, count = _storage_facts(heads, dtypes)
        if data[position : position + 8] != struct.pack('<q', count):
            raise PickleFormatError('a storage has two different element counts')
        return self.storage(dtype, count, data[position + 8 :])


class _PersistentId:
    """A reference to a storage inside the storage format."""

    __slots__ = ('value',)

    def __init__(self, value: Any) -> None:
        if not isinstance(value, tuple):
            raise PickleFormatError('a storage reference is not a tuple')
        self.value = value


def _require_no_extras(requires_grad: Any, hooks: Any) -> None:
    if not isinstance(requires_grad, bool):
        raise PickleFormatError('requires_grad of a tensor must be a bool')
    if not isinstance(hooks, dict) or hooks:
        raise UnsafePickleError('a tensor carries hooks')


def _storage_facts(heads: list[Any], dtypes: dict[Name, torch.dtype]) -> tuple[torch.dtype, int]:
    # Check what stands before the elements; returns their type and count.
    magic, protocol, facts, reference, keys = heads
    if magic != LEGACY_MAGIC or protocol != LEGACY_PROTOCOL:
        raise PickleFormatError('a storage has an unknown header')
    if not isinstance(facts, dict) or facts.get('little_endian') is not True:
        raise PickleFormatError('a storage was not written on a little-endian machine')
    if not isinstance(reference, _PersistentId) or len(reference.value) != 6:
        raise PickleFormatError('a storage has no reference')
    kind, storage_class, key, location, count, view = reference.value
    if kind != 'storage' or not isinstance(storage_class, Name) or type(count) is not int or count < 0:
        raise PickleFormatError('a storage has a malformed reference')
    if not isinstance(key, str) or keys != [key] or view is not None:
        raise PickleFormatError('a storage is a view of another one, which is not supported')
    if not isinstance(location, str) or not STORAGE_LOCATION.fullmatch(location):
        raise PickleFormatError(f'a storage is on the unknown device {shown(location)}')
    return dtypes[storage_class], count
