# Copyright 2026 The GDD-1S authors.
# SPDX-License-Identifier: Apache-2.0
"""Inert records that stand for the objects of a snapshot pickle, and the checks on them.

A record holds plain data of the file; making one never imports, constructs or runs anything the
file asks for. Sizes are checked before memory is used: all storages together, and all tensors
together, may not be larger than the file they came from. A few bytes of a pickle can ask for the
same large thing again and again, so lengths are checked first, and copies are counted.
"""

import hashlib
import math

import numpy as np
import torch

from torch_utils.persistence import PERSISTENCE_VERSION, STORAGE_CLASSES

MAX_OPERATIONS = 2_000_000  # a 256 x 256 ADM snapshot has about 90 000
MAX_RECORDS = 100_000  # ... and about 10 000 of these
MAX_TENSOR_DIMS = 8
META_KEYS = {'type', 'version', 'module_src', 'class_name', 'state'}
STORAGE_DTYPES = {name: dtype for dtype, name in STORAGE_CLASSES.items()}
KEY_TYPES = (str, int, float, bool, type(None))
NUMPY_CODES = ('f8', 'f4', 'f2', 'i8', 'i4', 'i2', 'i1', 'u1', 'b1')


class SnapshotError(ValueError):
    """A snapshot cannot be read or used; the message is one line for the user."""


class SnapshotFormatError(SnapshotError):
    """The file is damaged, or is not a snapshot pickle."""


class UnsafePickleError(SnapshotError):
    """The file asks for something that a snapshot has no use for."""


class UnknownClassError(SnapshotError):
    """The network has a class, an option or a structure that this project does not have."""


def shown(value):
    """Write a value of the file for a message: short, printable, and never a container's content."""
    if isinstance(value, str):
        return value if len(value) <= 80 and value.isprintable() else ascii(value[:80]).strip("'")
    return str(value) if isinstance(value, (int, float, type(None))) else f'a {type(value).__name__}'


def checked_key(key):
    """Return a dictionary key of the file, or raise SnapshotFormatError if it is not a name or a number."""
    if not isinstance(key, KEY_TYPES):
        raise SnapshotFormatError(
            f'a {type(key).__name__} is used as a key; a snapshot has names and numbers only'
        )
    return key


class PersistentRecord:
    """A persistent object: class name, attributes, and the digest of the source text beside it."""

    __slots__ = ('class_name', 'state', 'src_sha256')

    def __init__(self, class_name, state, src_sha256):
        self.class_name = class_name
        self.state = state
        self.src_sha256 = src_sha256


class ModuleDictRecord:
    """A torch.nn.ModuleDict, whose attributes arrive after its creation."""

    __slots__ = ('state',)
    class_name = 'ModuleDict'

    def __init__(self):
        self.state = {}

    def build(self, state):
        """Take the attribute dictionary."""
        if not isinstance(state, dict):
            raise SnapshotFormatError('the state of a ModuleDict is not a dict')
        self.state = state


class DtypeRecord:
    """A numpy.dtype of a number type."""

    __slots__ = ('code', 'order')

    def __init__(self, code, *flags):
        if code not in NUMPY_CODES or len(flags) != 2 or not all(isinstance(f, (bool, int)) for f in flags):
            raise SnapshotFormatError(f'numpy type {shown(code)} is not one of {", ".join(NUMPY_CODES)}')
        self.code = code
        self.order = '<'

    def build(self, state):
        """Take the byte order out of numpy's state tuple."""
        if (
            not isinstance(state, tuple)
            or len(state) != 8
            or state[0] != 3
            or state[1] not in ('<', '>', '=', '|')
            or state[2:] != (None, None, None, -1, -1, 0)
        ):
            raise SnapshotFormatError('the state of a numpy type is not that of a plain number type')
        self.order = state[1]

    def number(self, data):
        """Decode one number from its bytes into a Python float, int or bool."""
        dtype = np.dtype(self.order + self.code)
        if not isinstance(data, (bytes, memoryview)) or len(data) != dtype.itemsize:
            raise SnapshotFormatError(f'a numpy scalar of type {self.code} needs {dtype.itemsize} bytes')
        return np.frombuffer(data, dtype=dtype)[0].item()


class StorageRecord:
    """The memory of tensors: type, element count and raw little-endian bytes."""

    __slots__ = ('dtype', 'count', 'data')

    def __init__(self, dtype, count, data):
        self.dtype = dtype
        self.count = count
        self.data = data


class TensorRecord:
    """A tensor as a view of a storage."""

    __slots__ = ('storage', 'offset', 'size', 'stride')

    def __init__(self, storage, offset, size, stride):
        self.storage = storage
        self.offset = offset
        self.size = size
        self.stride = stride

    @property
    def dtype(self):
        """The torch type of the elements."""
        return self.storage.dtype

    @property
    def span(self):
        """Number of storage elements from the first to the last one used."""
        if math.prod(self.size) == 0:
            return 0
        return 1 + sum((n - 1) * step for n, step in zip(self.size, self.stride))

    def to_tensor(self):
        """Copy the values into a contiguous CPU tensor with memory of its own."""
        if math.prod(self.size) == 0:
            return torch.empty(self.size, dtype=self.dtype, device='cpu')
        start = self.offset * self.dtype.itemsize
        stop = start + self.span * self.dtype.itemsize
        elements = np.frombuffer(self.storage.data[start:stop], dtype=np.uint8).copy()
        tensor = torch.from_numpy(elements).view(self.dtype).as_strided(self.size, self.stride)
        return tensor if tensor.is_contiguous() else tensor.contiguous()


class RecordFactory:
    """Make records out of the arguments found in one file, within limits set by its size.

    Args:
        file_size: Size of the file in bytes.
    """

    def __init__(self, file_size):
        self._file_size = file_size
        self._operations_left = MAX_OPERATIONS
        self._records_left = MAX_RECORDS
        self._encoded_bytes = 0
        self._storage_bytes = 0
        self._tensor_bytes = 0
        self._source_digests = {}

    def persistent(self, meta):
        """Make the record of a persistent object from its meta dictionary."""
        self._count()
        if not isinstance(meta, dict) or len(meta) != len(META_KEYS) or set(meta) != META_KEYS:
            raise SnapshotFormatError(
                f'a persistent object must come with exactly {", ".join(sorted(META_KEYS))}'
            )
        if (
            meta['type'] != 'class'
            or type(meta['version']) is not int
            or meta['version'] != PERSISTENCE_VERSION
        ):
            raise SnapshotFormatError(
                f'persistence version {shown(meta["version"])} is not supported '
                f'({PERSISTENCE_VERSION} of type class expected)'
            )
        source, name, state = meta['module_src'], meta['class_name'], meta['state']
        if not isinstance(source, str) or not isinstance(name, str) or not isinstance(state, dict):
            raise SnapshotFormatError(
                'source text and class name of a persistent object must be str, its state a dict'
            )
        if source not in self._source_digests:
            digest = hashlib.sha256(source.encode('utf-8', errors='surrogatepass')).hexdigest()
            self._source_digests[source] = digest
        return PersistentRecord(name, state, self._source_digests[source])

    def module_dict(self):
        """Make the record of an empty ModuleDict."""
        self._count()
        return ModuleDictRecord()

    def storage(self, dtype, count, data):
        """Make the record of a storage from its raw bytes."""
        self._count()
        item_size = dtype.itemsize
        if len(data) != count * item_size:
            raise SnapshotFormatError(
                f'a storage of {count} elements of {item_size} bytes comes with {len(data)} bytes'
            )
        self._storage_bytes += len(data)
        if self._storage_bytes > self._file_size:
            raise SnapshotFormatError('the storages together are larger than the file')
        return StorageRecord(dtype, count, data)

    def tensor(self, storage, offset, size, stride, requires_grad, hooks, metadata=None):
        """Make the record of a tensor, making sure that it stays inside its storage."""
        self._count()
        if (
            not isinstance(storage, StorageRecord)
            or not isinstance(size, tuple)
            or not isinstance(stride, tuple)
        ):
            raise SnapshotFormatError('a tensor needs a storage, a size tuple and a stride tuple')
        if len(size) != len(stride) or len(size) > MAX_TENSOR_DIMS:
            raise SnapshotFormatError(f'a tensor needs as many strides as sizes, at most {MAX_TENSOR_DIMS}')
        if not all(type(n) is int and n >= 0 for n in (offset, *size, *stride)):
            raise SnapshotFormatError('offset, sizes and strides of a tensor must be ints >= 0')
        self._require_no_extras(requires_grad, hooks)
        if metadata is not None:
            raise SnapshotFormatError('a tensor carries metadata, which is not supported')
        record = TensorRecord(storage, offset, size, stride)
        elements = math.prod(size)
        # A stride of 0 would repeat elements, so that a small file could fill the memory.
        if offset + record.span > storage.count or elements > record.span:
            raise SnapshotFormatError(
                f'a tensor of {elements} elements does not fit into its storage of {storage.count}'
            )
        self._tensor_bytes += record.span * storage.dtype.itemsize
        if self._tensor_bytes > self._file_size or max(size, default=0) > self._file_size:
            raise SnapshotFormatError('the tensors together are larger than the file')
        return record

    def old_tensor(self, storage, offset, size, stride):
        """Make the record of a tensor as written before torch 0.4."""
        return self.tensor(storage, offset, size, stride, False, {})

    def parameter(self, tensor, requires_grad, hooks, _state=None):
        """Pass on the tensor of a parameter; extra attributes of the parameter are dropped."""
        if not isinstance(tensor, TensorRecord):
            raise SnapshotFormatError('a parameter is not made of a tensor')
        self._require_no_extras(requires_grad, hooks)
        return tensor

    @staticmethod
    def _require_no_extras(requires_grad, hooks):
        if not isinstance(requires_grad, bool):
            raise SnapshotFormatError('requires_grad of a tensor must be a bool')
        if not isinstance(hooks, dict) or hooks:
            raise UnsafePickleError('a tensor carries hooks')

    def plain_dict(self, *pairs):
        """Make the dict that stands for an OrderedDict of nothing or of a list of pairs."""
        if len(pairs) > 1 or not all(isinstance(items, list) for items in pairs):
            raise SnapshotFormatError('OrderedDict must be made of nothing or of one list')
        result = {}
        for items in pairs:
            self.count_operation(len(items))
            for pair in items:
                if not isinstance(pair, (tuple, list)) or len(pair) != 2:
                    raise SnapshotFormatError('OrderedDict must be made of pairs')
                result[checked_key(pair[0])] = pair[1]
        return result

    def plain_set(self, items):
        """Make a set of a list."""
        if not isinstance(items, list):
            raise SnapshotFormatError('set must be made of a list')
        self.count_operation(len(items))
        return set(map(checked_key, items))

    def latin1_bytes(self, text, encoding):
        """Decode bytes as protocol 2 writes them: latin1 text to be encoded again."""
        if not isinstance(text, str) or encoding != 'latin1':
            raise UnsafePickleError('_codecs.encode is allowed for latin1 text only')
        self._encoded_bytes += len(text)
        if self._encoded_bytes > self._file_size:
            raise SnapshotFormatError('the texts of bytes together are larger than the file')
        return text.encode('latin1')

    def count_operation(self, cost=1):
        """Count an operation of the pickle, or several, towards the limit."""
        self._operations_left -= cost
        if self._operations_left < 0:
            raise SnapshotFormatError(f'the file takes more than {MAX_OPERATIONS} operations to read')

    def _count(self):
        self._records_left -= 1
        if self._records_left < 0:
            raise SnapshotFormatError(f'the file holds more than {MAX_RECORDS} objects')
