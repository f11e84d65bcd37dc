# Copyright 2026 The GDD-1S authors.
# SPDX-License-Identifier: Apache-2.0
"""Read files of torch.save, checked against their checksums, without unpickling.

torch.load compares no checksum, so that a changed bit goes unnoticed, and believes the sizes in the file.
"""

import collections
import os
import zipfile
from typing import Any, BinaryIO

import numpy as np
import torch

from dnnlib.zips import ZipError, verify_zip
from torch_utils.pickle_machine import Budget, Name, PickleFormatError, PickleMachine
from torch_utils.pickle_values import STORAGE_DTYPES, StorageRecord, ValueFactory, checked_tensor, value_names

CHUNK_BYTES = 1 << 20
MAX_PICKLE_BYTES = 256 << 20  # of the structure, without the elements of the tensors


def read_torch_file(file: str | os.PathLike | BinaryIO, what: str) -> Any:
    """Read a zip file of torch.save that holds tensors and plain values.

    Args:
        file: Path, or binary file object that can seek.
        what: What the file is, for messages: 'a training state'.
    Returns:
        What was saved: None, bool, int, float, str, bytes, dict, OrderedDict, list, tuple, set, and tensors
        on the CPU, which share memory where those that were saved did. Parts may occur several times.
    Raises:
        ZipError: Damaged, incomplete, or no zip.
        PickleError: It holds other things, or sizes that do not fit.
        OSError: It cannot be read.
    """
    verify_zip(file)
    with zipfile.ZipFile(file) as archive:
        members = {member.filename: member for member in archive.infolist()}
        roots = [name.removesuffix('data.pkl') for name in members if name.endswith('/data.pkl')]
        if len(roots) != 1 or members[roots[0] + 'data.pkl'].file_size > MAX_PICKLE_BYTES:
            raise PickleFormatError(f'there is not one data.pkl of ordinary size in it, so it is not {what}')
        if members.get(roots[0] + 'byteorder') and archive.read(roots[0] + 'byteorder') != b'little':
            raise PickleFormatError('it was not written on a little-endian machine')
        data = archive.read(roots[0] + 'data.pkl')
        budget = Budget(sum(member.file_size for member in members.values()))
        storages = _Storages(archive, roots[0])
        return PickleMachine(data, _names(budget, what), budget, what, persistent_load=storages.load).run()


def read_weight_file(path: str | os.PathLike, what: str) -> Any:
    """Read tensors and plain values that torch.save has written in either of its two formats.

    The zip format is read by `read_torch_file`, checksums and all; that of torch before 1.6, which has no
    checksums, by torch's own restricted reader.

    Raises:
        ZipError: Damaged, or incomplete.
        PickleError: It holds other things, or sizes that do not fit.
        OSError: It cannot be read.
    """
    if zipfile.is_zipfile(path) or _begins_as_zip(path):
        return read_torch_file(path, what)
    try:
        return torch.load(path, map_location='cpu', weights_only=True)
    except OSError:
        raise
    except Exception as error:  # torch.load raises half a dozen unrelated types
        raise PickleFormatError(f'torch.load refuses it ({type(error).__name__})') from error


def _begins_as_zip(path: str | os.PathLike) -> bool:
    with open(path, 'rb') as file:
        return file.read(2) == b'PK'  # the end of the zip may be cut off


def _names(budget: Budget, what: str) -> dict[tuple[str, str], Name]:
    parameter = Name(call=lambda tensor, _requires_grad, _hooks, _state=None: tensor)
    return {
        **value_names(ValueFactory(budget, what)),
        **{('torch', name): _StorageName(dtype) for name, dtype in STORAGE_DTYPES.items()},
        ('collections', 'OrderedDict'): Name(call=_StateDict),
        ('torch._utils', '_rebuild_tensor_v2'): Name(call=lambda *args: _tensor(budget, *args)),
        ('torch._utils', '_rebuild_parameter'): parameter,
        ('torch._utils', '_rebuild_parameter_with_state'): parameter,
    }


class _StorageName(Name):
    """The name of a class of storages."""

    __slots__ = ('dtype',)

    def __init__(self, dtype: torch.dtype) -> None:
        super().__init__()
        self.dtype = dtype


class _StateDict(collections.OrderedDict):
    """An OrderedDict, which as the state dict of a module has one attribute: the versions of its parts."""

    def __init__(self) -> None:
        super().__init__()

    def build(self, state: Any) -> None:
        """Take the attributes."""
        if (
            not isinstance(state, dict)
            or set(state) != {'_metadata'}
            or not isinstance(state['_metadata'], dict)
        ):
            raise PickleFormatError('an OrderedDict has other attributes than _metadata')
        self._metadata = state['_metadata']

    def __reduce__(self) -> tuple[Any, ...]:
        # It is written as what it was: a state can be changed and saved again.
        return collections.OrderedDict, (), vars(self) or None, None, iter(self.items())


class _Storages:
    """The memory of the tensors, read when it is first referred to."""

    def __init__(self, archive: zipfile.ZipFile, root: str) -> None:
        self._archive = archive
        self._root = root
        self._loaded = {}

    def load(self, reference: Any) -> StorageRecord:
        """Return the storage of a persistent id: ('storage', class, key, device, number of elements)."""
        if not isinstance(reference, tuple) or len(reference) != 5:
            raise PickleFormatError('a storage has a malformed reference')
        kind, storage_class, key, _location, count = reference
        if (
            kind != 'storage'
            or not isinstance(storage_class, _StorageName)
            or not isinstance(key, str)
            or type(count) is not int
        ):
            raise PickleFormatError('a storage has a malformed reference')
        if key not in self._loaded:
            self._loaded[key] = self._read(f'{self._root}data/{key}', storage_class.dtype, count)
        found = self._loaded[key]
        if (found.dtype, found.count) != (storage_class.dtype, count):
            raise PickleFormatError('a storage is referred to in two ways')
        return found

    def _read(self, name: str, dtype: torch.dtype, count: int) -> StorageRecord:
        try:
            member = self._archive.getinfo(name)
        except KeyError:
            raise PickleFormatError('a storage is missing') from None
        # Compressed ones could be larger than the file; torch writes none.
        if member.compress_type != zipfile.ZIP_STORED or member.file_size != count * dtype.itemsize:
            raise PickleFormatError(
                f'a storage of {count} elements of {dtype.itemsize} bytes comes with {member.file_size} bytes'
            )
        data = torch.empty([member.file_size], dtype=torch.uint8)
        position, target = 0, data.numpy()
        with self._archive.open(member) as part:
            while chunk := part.read(CHUNK_BYTES):
                target[position : position + len(chunk)] = np.frombuffer(chunk, np.uint8)
                position += len(chunk)
        if position != member.file_size:
            raise ZipError('a storage is incomplete')
        return StorageRecord(dtype, count, data)


def _tensor(budget: Budget, *args: Any) -> torch.Tensor:
    budget.count_record()
    record = checked_tensor(*args)
    if max(record.size, default=0) > budget.file_size:
        raise PickleFormatError('a tensor is larger than the file')
    return record.storage.data.view(record.dtype).as_strided(record.size, record.stride, record.offset)
