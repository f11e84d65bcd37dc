# Copyright 2026 The GDD-1S authors.
# SPDX-License-Identifier: Apache-2.0
"""The CIFAR-10 python archive: a tar.gz with five pickled batches, read without unpickling.

Python's unpickler calls what a file names, and even with names forbidden a file of a few bytes can make it
take gigabytes (a memo index, an announced length) or never end (the hash of nested tuples). So the operations
that a batch needs are carried out here on plain data. Their number is bounded by the size of the file, each
costs a bounded amount, and nothing but text is a key.
"""

import io
import pickletools
import tarfile
from collections.abc import Callable
from typing import Any

import numpy as np

from dnnlib.errors import arg
from training.images.files import DatasetError, read_regular_file
from training.images.items import Source, array_source
from training.images.mnist import read_gzip

CIFAR10_ARCHIVE = 'cifar-10-python.tar.gz'
CIFAR10_CLASSES = ('airplane', 'automobile', 'bird', 'cat', 'deer', 'dog', 'frog', 'horse', 'ship', 'truck')
_MAX_BYTES = 1 << 29  # of the tar; the original has 186 MB

_ARRAY_NAMES = {
    ('numpy.core.multiarray', '_reconstruct'),
    ('numpy._core.multiarray', '_reconstruct'),
    ('numpy', 'ndarray'),
    ('numpy', 'dtype'),
    ('_codecs', 'encode'),
}


def open_cifar10(path: str) -> Source:
    """Read the five training batches, 50,000 images.

    Raises:
        DatasetError: it is another file, or damaged.
    """
    images, labels = [], []
    try:
        content = read_gzip(read_regular_file(path), _MAX_BYTES)
        with tarfile.open(fileobj=io.BytesIO(content), mode='r:') as archive:
            for number in range(1, 6):
                batch = _read_batch(archive.extractfile(f'cifar-10-batches-py/data_batch_{number}').read())
                images.append(batch[0])
                labels += batch[1]
    except Exception as error:  # tar, gzip and pickle raise many kinds for damaged or foreign content
        reason = str(error.args[0]) if error.args else type(error).__name__
        raise DatasetError(
            arg('source', path),
            f' is not the CIFAR-10 python archive ({reason}); download {CIFAR10_ARCHIVE} again',
        ) from error
    pixels = np.concatenate(images).reshape(-1, 3, 32, 32).transpose(0, 2, 3, 1)  # [N, 32, 32, 3]
    return array_source(f'CIFAR-10 archive {path}', path, pixels, labels, list(CIFAR10_CLASSES))


def _read_batch(data: bytes) -> tuple[np.ndarray, list[int]]:
    """(uint8 [N, 3072], list of N class numbers) of one batch file; ValueError when it is anything else."""
    batch = read_plain_pickle(data, _ARRAY_NAMES)
    pixels = _read_pixels(batch['data'])
    labels = batch['labels']
    if not isinstance(labels, list) or len(labels) != len(pixels):
        raise ValueError(f'a batch has {len(pixels)} images, but not as many labels')
    if any(type(label) is not int or not 0 <= label <= 9 for label in labels):
        raise ValueError('a batch has labels outside 0..9')
    return pixels, labels


def _read_pixels(record: 'Inert') -> np.ndarray:
    """Rebuild uint8 [N, 3072] from the recorded state (version, shape, dtype, fortran order, bytes)."""
    _version, shape, dtype, fortran, data = record.state
    if not (type(shape) is tuple and all(type(extent) is int for extent in shape)):
        raise ValueError('a batch holds an array without a shape')
    if isinstance(data, Inert):  # protocol 2 written by Python 3: _codecs.encode(text, 'latin1')
        data = data.args[0]
    if isinstance(data, str):  # protocol 2 written by Python 2: bytes decoded as latin1 text
        data = data.encode('latin1')
    kind = dtype.args[0] if type(dtype.args[0]) is str else 'unknown'
    if kind != 'u1' or fortran or shape != (shape[0], 3072):
        raise ValueError(f'a batch holds an array of type {kind[:20]} and shape {shape}, not uint8 [N, 3072]')
    return np.frombuffer(data, dtype=np.uint8).reshape(shape)


# ------------------------------------------------------------------------------------------------
# Pickles of plain data.


class Inert:
    """What a call in the pickle becomes: it records and never does anything."""

    def __init__(self, args: tuple) -> None:
        self.args = args
        self.state = None


_NAME = Inert(())  # every name that a pickle may refer to
_MARK = object()
_PUSHED = {
    'BININT',
    'BININT1',
    'BININT2',
    'LONG1',
    'BINFLOAT',
    'BINSTRING',
    'SHORT_BINSTRING',
    'BINUNICODE',
    'SHORT_BINUNICODE',
    'BINUNICODE8',
    'BINBYTES',
    'SHORT_BINBYTES',
    'BINBYTES8',
}
_CONSTANTS: dict[str, Callable[[], Any]] = {
    'NONE': lambda: None,
    'NEWTRUE': lambda: True,
    'NEWFALSE': lambda: False,
    'EMPTY_TUPLE': tuple,
    'EMPTY_LIST': list,
    'EMPTY_DICT': dict,
    'MARK': lambda: _MARK,
}
_TUPLES = {'TUPLE1': 1, 'TUPLE2': 2, 'TUPLE3': 3}
_OPCODES = {opcode.code: opcode for opcode in pickletools.opcodes}


def read_plain_pickle(data: bytes, names: set[tuple[str, str]]) -> Any:
    """Carry out the operations of a pickle on plain data; text of Python 2 is read as Latin-1.

    Args:
        data:  The pickle, protocol 2 to 5.
        names: (module, name) that it may refer to; a call of one becomes an `Inert`.
    Returns:
        Primitives, lists, dicts with text as keys, and `Inert` records.
    Raises:
        ValueError, IndexError, KeyError, TypeError: damaged, or anything else is in it.
    """
    file, stack, memo = io.BytesIO(data), [], {}
    while True:
        opcode = _OPCODES[file.read(1).decode('latin1')]
        argument = opcode.arg.reader(file) if opcode.arg else None
        name = opcode.name
        if name == 'STOP':
            return stack.pop()
        if name in _PUSHED:
            stack.append(argument)
        elif name in _CONSTANTS:
            stack.append(_CONSTANTS[name]())
        elif name in ('MEMOIZE', 'BINPUT', 'LONG_BINPUT'):
            memo[len(memo) if argument is None else argument] = stack[-1]
        elif name in ('BINGET', 'LONG_BINGET'):
            stack.append(memo[argument])
        elif name in ('GLOBAL', 'STACK_GLOBAL'):
            _push_name(stack, argument, names)
        elif name not in ('PROTO', 'FRAME'):
            _combine(name, stack)


def _push_name(stack: list, argument: str | None, names: set[tuple[str, str]]) -> None:
    pair = tuple(argument.split(' ', 1)) if argument is not None else tuple(_take(stack, 2))
    if not all(type(part) is str for part in pair):  # hashing or printing others may never end
        raise ValueError('it refers to something by no name')
    if pair not in names:
        raise ValueError(f'it refers to {".".join(pair)[:100]}, which no CIFAR-10 batch needs')
    stack.append(_NAME)


def _combine(name: str, stack: list) -> None:
    """Operations that take values from the stack."""
    if name in _TUPLES:
        stack.append(tuple(_take(stack, _TUPLES[name])))
    elif name == 'TUPLE':
        stack.append(tuple(_take_to_mark(stack)))
    elif name in ('APPEND', 'APPENDS'):
        items = _take(stack, 1) if name == 'APPEND' else _take_to_mark(stack)
        _top(stack, list).extend(items)
    elif name in ('SETITEM', 'SETITEMS'):
        items = _take(stack, 2) if name == 'SETITEM' else _take_to_mark(stack)
        if not all(type(key) is str for key in items[::2]):
            raise ValueError('a key is no text')
        _top(stack, dict).update(zip(items[::2], items[1::2], strict=True))
    elif name == 'REDUCE':
        target, args = _take(stack, 2)
        if target is not _NAME or type(args) is not tuple:
            raise ValueError('it calls something that no CIFAR-10 batch calls')
        stack.append(Inert(args))
    elif name == 'BUILD':
        (state,) = _take(stack, 1)
        _top(stack, Inert).state = state
    else:
        raise ValueError(f'the operation {name} has no place in a CIFAR-10 batch')


def _take(stack: list, count: int) -> list:
    items = stack[len(stack) - count :]
    if len(items) != count or any(item is _MARK for item in items):
        raise ValueError('an operation lacks its operands')
    del stack[len(stack) - count :]
    return items


def _take_to_mark(stack: list) -> list:
    bottom = len(stack)
    while stack[bottom - 1] is not _MARK:
        bottom -= 1
        if not bottom:
            raise ValueError('an operation lacks its operands')
    items = stack[bottom:]
    del stack[bottom - 1 :]
    return items


def _top(stack: list, kind: type) -> Any:
    if not stack or type(stack[-1]) is not kind or stack[-1] is _NAME:
        raise ValueError(f'items are added to something that is no {kind.__name__}')
    return stack[-1]
