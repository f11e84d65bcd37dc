# Copyright 2026 The GDD-1S authors.
# SPDX-License-Identifier: Apache-2.0
"""Read a snapshot pickle into inert records, without unpickling.

The standard unpickler calls what a file names, and even when that is restricted a file can set
attributes on the allowed functions, ask for huge allocations or nest without end. The few
operations that snapshots need are therefore carried out here, on plain data: a `_Global` is only
a name, and each operation accepts only what a snapshot puts there. Nothing is imported, no
constructor runs, and the source text inside the file is never looked at but for its digest.

Every operation costs a bounded amount of time and memory, and their number is bounded, so that no
file can keep the reader busy or fill the memory. Tensor data is not copied.

Read are protocols 2 to 5, as written by Python 3 with old and new NumPy and torch.
"""

import io
import pickletools
import re
import struct

from torch_utils.persistence import LEGACY_MAGIC, LEGACY_PROTOCOL
from training.snapshots.pickle_records import (
    STORAGE_DTYPES,
    DtypeRecord,
    ModuleDictRecord,
    PersistentRecord,
    RecordFactory,
    SnapshotError,
    SnapshotFormatError,
    UnsafePickleError,
    checked_key,
    shown,
)

MAX_INT_BITS = 64
STORAGE_PREFIX = bytes.fromhex('80028a0a6cfc9c46f9206aa850192e')  # the pickled magic number
STORAGE_HEADER_BYTES = 1024  # the five pickles before the elements take about 250
# Where the tensor was when it was saved. The elements are in the file anyway.
STORAGE_LOCATION = re.compile(r'cpu|mps|(cuda|xpu)(:\d{1,4})?')

PUSH_ARGUMENT = {
    'BININT',
    'BININT1',
    'BININT2',
    'LONG1',
    'BINFLOAT',
    'BINUNICODE',
    'SHORT_BINUNICODE',
    'BINUNICODE8',
    'SHORT_BINBYTES',
}
PUSH_VIEW = {'BINBYTES': 4, 'BINBYTES8': 8}  # bytes of the length that follows
PUSH_CONSTANT = {'NONE': None, 'NEWTRUE': True, 'NEWFALSE': False, 'EMPTY_TUPLE': ()}
PUSH_EMPTY = {'EMPTY_LIST': list, 'EMPTY_DICT': dict, 'EMPTY_SET': set}
TUPLE_LENGTH = {'TUPLE1': 1, 'TUPLE2': 2, 'TUPLE3': 3}
MALFORMED = (
    ValueError,
    TypeError,
    IndexError,
    KeyError,
    OverflowError,
    MemoryError,
    struct.error,
    RecursionError,
)


def read_snapshot(data):
    """Turn the bytes of a snapshot into its top-level dictionary of inert records.

    Args:
        data: The whole file, bytes.
    Returns:
        dict with str keys; values are primitives, containers and records of `pickle_records`.
    Raises:
        SnapshotFormatError: damaged, truncated, oversized or not a snapshot.
        UnsafePickleError: refers to something a snapshot has no use for.
    """
    if data[:2] == b'PK':
        raise SnapshotFormatError(
            'this is a torch zip checkpoint (torch.save), not a snapshot pickle; '
            'give a network-snapshot-KKKKKK.pkl'
        )
    if data[:1] != b'\x80':
        raise SnapshotFormatError(
            'this is no pickle of protocol 2 to 5 (damaged, too old, or another kind of file); '
            'give a network-snapshot-KKKKKK.pkl'
        )
    factory = RecordFactory(len(data))
    top = _Machine(data, _snapshot_globals(factory), factory).run()
    if not isinstance(top, dict) or not all(isinstance(key, str) for key in top):
        raise SnapshotFormatError(
            f'the file holds a {type(top).__name__}, but a snapshot is a dict with names as keys'
        )
    return top


def read_pickled_module(data):
    """Turn the bytes of a pickled network, not inside a snapshot, into its inert record.

    Besides what snapshots hold, any module class of torch.nn may occur; it becomes a record as well.

    Args:
        data: The whole file, bytes.
    Returns:
        Record of `pickle_records` with the attributes of the outermost module in `state`.
    Raises:
        SnapshotFormatError: damaged, truncated, oversized or not a module.
        UnsafePickleError: refers to something a network has no use for.
    """
    factory = RecordFactory(len(data))
    top = _Machine(data, _ModuleNames(_snapshot_globals(factory)), factory).run()
    if not isinstance(top, (PersistentRecord, ModuleDictRecord)):
        raise SnapshotFormatError(f'the file holds a {type(top).__name__}, not a network')
    return top


class _ModuleNames(dict):
    # The names of snapshots, and every class below torch.nn.modules as an empty record.
    def __contains__(self, key):
        return super().__contains__(key) or key[0].startswith('torch.nn.modules.')

    def __missing__(self, key):
        return self['torch.nn.modules.container', 'ModuleDict']


class _Global:
    """An allowed name: what a call of it makes, and whether it may be made without a call."""

    __slots__ = ('call', 'new')

    def __init__(self, call=None, new=None):
        self.call = call
        self.new = new


def _snapshot_globals(factory):
    # The complete list of names that snapshots refer to, and nothing else.
    scalar = _Global(call=_numpy_scalar)
    plain_set = _Global(call=factory.plain_set)
    return {
        ('torch_utils.persistence', '_reconstruct_persistent_obj'): _Global(call=factory.persistent),
        ('collections', 'OrderedDict'): _Global(call=factory.plain_dict),
        ('torch._utils', '_rebuild_parameter'): _Global(call=factory.parameter),
        ('torch._utils', '_rebuild_parameter_with_state'): _Global(call=factory.parameter),
        ('torch._utils', '_rebuild_tensor_v2'): _Global(call=factory.tensor),
        ('torch._utils', '_rebuild_tensor'): _Global(call=factory.old_tensor),
        ('torch.storage', '_load_from_bytes'): _Global(call=lambda data: _read_storage(data, factory)),
        ('torch.nn.modules.container', 'ModuleDict'): _Global(new=factory.module_dict),
        ('numpy.core.multiarray', 'scalar'): scalar,
        ('numpy._core.multiarray', 'scalar'): scalar,
        ('numpy', 'dtype'): _Global(call=DtypeRecord),
        ('dnnlib.util', 'EasyDict'): _Global(new=dict),
        ('builtins', 'set'): plain_set,
        ('__builtin__', 'set'): plain_set,
        ('_codecs', 'encode'): _Global(call=factory.latin1_bytes),
    }


def _numpy_scalar(dtype, data):
    if not isinstance(dtype, DtypeRecord):
        raise SnapshotFormatError('a numpy scalar has no number type')
    return dtype.number(data)


def _read_storage(data, factory):
    # torch's legacy format: five small pickles, then the element count and the elements. torch
    # itself is not asked, since it allocates what the header claims before looking at the data.
    if not isinstance(data, (bytes, memoryview)) or data[: len(STORAGE_PREFIX)] != STORAGE_PREFIX:
        raise SnapshotFormatError('a storage is not in the legacy format of torch')
    names = {('torch', name): _Global() for name in STORAGE_DTYPES}
    dtypes = {names['torch', name]: dtype for name, dtype in STORAGE_DTYPES.items()}
    data = memoryview(data)
    position, heads = 0, []
    for _ in range(5):
        machine = _Machine(
            data[:STORAGE_HEADER_BYTES].tobytes(), names, factory, position, persistent_ids=True
        )
        heads.append(machine.run())
        position = machine.position
    dtype, count = _storage_facts(heads, dtypes)
    if data[position : position + 8] != struct.pack('<q', count):
        raise SnapshotFormatError('a storage has two different element counts')
    return factory.storage(dtype, count, data[position + 8 :])


def _storage_facts(heads, dtypes):
    # Check what stands before the elements; returns their type and count.
    magic, protocol, facts, reference, keys = heads
    if magic != LEGACY_MAGIC or protocol != LEGACY_PROTOCOL:
        raise SnapshotFormatError('a storage has an unknown header')
    if not isinstance(facts, dict) or facts.get('little_endian') is not True:
        raise SnapshotFormatError('a storage was not written on a little-endian machine')
    if not isinstance(reference, _PersistentId) or len(reference.value) != 6:
        raise SnapshotFormatError('a storage has no reference')
    kind, storage_class, key, location, count, view = reference.value
    if kind != 'storage' or not isinstance(storage_class, _Global) or type(count) is not int or count < 0:
        raise SnapshotFormatError('a storage has a malformed reference')
    if not isinstance(key, str) or keys != [key] or view is not None:
        raise SnapshotFormatError('a storage is a view of another one, which is not supported')
    if not isinstance(location, str) or not STORAGE_LOCATION.fullmatch(location):
        raise SnapshotFormatError(f'a storage is on the unknown device {shown(location)}')
    return dtypes[storage_class], count


class _PersistentId:
    """A reference to a storage inside the storage format."""

    __slots__ = ('value',)

    def __init__(self, value):
        if not isinstance(value, tuple):
            raise SnapshotFormatError('a storage reference is not a tuple')
        self.value = value


class _Machine:
    """Carry out the operations of one pickle on plain data.

    Args:
        data:           Bytes that hold the pickle.
        names:          {(module, name): _Global} that the pickle may refer to.
        factory:        Counts the operations.
        position:       Where the pickle starts; after `run`, where it ended.
        persistent_ids: Accept references to storages.
    """

    def __init__(self, data, names, factory, position=0, persistent_ids=False):
        self._data = memoryview(data)
        self._file = io.BytesIO(data)
        self.position = position
        self._names = names
        self._factory = factory
        self._persistent_ids = persistent_ids
        self._stack = []
        self._marks = []  # stack heights at the open marks
        self._memo = {}

    def run(self):
        """Read the pickle and return its value."""
        try:
            self._file.seek(self.position)
            while True:
                name, argument = self._next_operation()
                if name == 'STOP':
                    break
                self._factory.count_operation()
                self._step(name, argument)
                self.position = self._file.tell()
            if len(self._stack) != 1 or self._marks:
                raise SnapshotFormatError('the pickle ends in the middle of an object')
        except SnapshotError as error:
            raise type(error)(f'{error} (byte {self.position})') from error
        except MALFORMED as error:
            raise SnapshotFormatError(
                f'damaged or truncated, or not a snapshot (byte {self.position}); '
                'fetch or copy the file again'
            ) from error
        self.position = self._file.tell()
        return self._stack[0]

    def _next_operation(self):
        # Arguments of operations that are not allowed are not decoded: some cost much.
        code = self._file.read(1)
        if not code:
            raise SnapshotFormatError('truncated; fetch or copy the file again')
        if code not in _OPCODES:
            raise SnapshotFormatError('damaged, or not a snapshot: there is no such pickle operation')
        name, read = _OPCODES[code]
        if name in PUSH_VIEW:
            return name, self._read_view(PUSH_VIEW[name])
        if name in _ALLOWED:
            return name, read(self._file) if read else None
        raise UnsafePickleError(f'the operation {name} has no place in a snapshot')

    def _read_view(self, length_bytes):
        length = int.from_bytes(self._file.read(length_bytes), 'little')
        start = self._file.tell()
        if length > len(self._data) - start:
            raise SnapshotFormatError('truncated; fetch or copy the file again')
        self._file.seek(start + length)
        return self._data[start : start + length]

    def _step(self, name, argument):
        if name in PUSH_ARGUMENT:
            self._push_argument(argument)
        elif name in PUSH_VIEW:
            self._stack.append(argument)
        elif name in PUSH_CONSTANT:
            self._stack.append(PUSH_CONSTANT[name])
        elif name in PUSH_EMPTY:
            self._stack.append(PUSH_EMPTY[name]())
        elif name in TUPLE_LENGTH:
            self._stack.append(tuple(self._take(TUPLE_LENGTH[name])))
        else:
            _OPERATIONS[name](self, argument)

    def _push_argument(self, argument):
        # The legacy magic number has 80 bits; everything else fits into a machine word.
        if type(argument) is int and argument.bit_length() > MAX_INT_BITS and argument != LEGACY_MAGIC:
            raise SnapshotFormatError('an integer is too large')
        self._stack.append(argument)

    def _take(self, count):
        # Pops never reach below the last mark.
        bottom = self._marks[-1] if self._marks else 0
        if len(self._stack) - count < bottom:
            raise SnapshotFormatError('an operation lacks its operands')
        items = self._stack[len(self._stack) - count :]
        del self._stack[len(self._stack) - count :]
        return items

    def _take_to_mark(self):
        bottom = self._marks.pop()
        items = self._stack[bottom:]
        del self._stack[bottom:]
        return items

    def _top(self, kind):
        if not self._stack or type(self._stack[-1]) is not kind:
            raise SnapshotFormatError(f'items are added to something that is no {kind.__name__}')
        return self._stack[-1]

    def _protocol(self, argument):
        if not 2 <= argument <= 5:
            raise SnapshotFormatError(f'pickle protocol {argument} is not supported (2 to 5)')

    def _nothing(self, _argument):
        """Ignore a frame: it only tells readers how much to fetch at once."""

    def _mark(self, _argument):
        self._marks.append(len(self._stack))

    def _pop(self, _argument):
        self._take(1)

    def _pop_mark(self, _argument):
        self._take_to_mark()

    def _memoize(self, _argument):
        self._put(len(self._memo))

    def _put(self, index):
        self._memo[index] = self._stack[-1]

    def _get(self, index):
        self._stack.append(self._memo[index])

    def _tuple(self, _argument):
        self._stack.append(tuple(self._take_to_mark()))

    def _append(self, _argument):
        items = self._take(1)
        self._top(list).extend(items)

    def _appends(self, _argument):
        items = self._take_to_mark()
        self._top(list).extend(items)

    def _set_item(self, _argument):
        self._update(self._take(2))

    def _set_items(self, _argument):
        self._update(self._take_to_mark())

    def _update(self, items):
        target = self._top(dict)
        for key, value in zip(items[::2], items[1::2], strict=True):
            target[checked_key(key)] = value

    def _add_items(self, _argument):
        items = self._take_to_mark()
        self._top(set).update(map(checked_key, items))

    def _global(self, argument):
        self._push_global(*argument.split(' ', 1))

    def _stack_global(self, _argument):
        self._push_global(*self._take(2))

    def _push_global(self, module, name):
        if not isinstance(module, str) or not isinstance(name, str):
            raise SnapshotFormatError('a reference to a name is malformed')
        if (module, name) not in self._names:
            raise UnsafePickleError(
                f'refers to {shown(module)}.{shown(name)}, which a snapshot has no use for'
            )
        self._stack.append(self._names[module, name])

    def _reduce(self, _argument):
        target, arguments = self._take(2)
        if not isinstance(target, _Global) or target.call is None or not isinstance(arguments, tuple):
            raise UnsafePickleError('calls something that a snapshot does not call')
        self._stack.append(target.call(*arguments))

    def _new_object(self, _argument):
        target, arguments = self._take(2)
        if not isinstance(target, _Global) or target.new is None or arguments != ():
            raise UnsafePickleError('makes an object that a snapshot does not hold')
        self._stack.append(target.new())

    def _build(self, _argument):
        (state,) = self._take(1)
        if not self._stack or not isinstance(self._stack[-1], (ModuleDictRecord, DtypeRecord)):
            raise UnsafePickleError('sets attributes of something that has none in a snapshot')
        self._stack[-1].build(state)

    def _persistent_id(self, _argument):
        if not self._persistent_ids:
            raise UnsafePickleError('refers to data outside the file')
        self._stack.append(_PersistentId(self._take(1)[0]))


_OPERATIONS = {
    'PROTO': _Machine._protocol,
    'FRAME': _Machine._nothing,
    'MARK': _Machine._mark,
    'POP': _Machine._pop,
    'POP_MARK': _Machine._pop_mark,
    'MEMOIZE': _Machine._memoize,
    'BINPUT': _Machine._put,
    'LONG_BINPUT': _Machine._put,
    'BINGET': _Machine._get,
    'LONG_BINGET': _Machine._get,
    'TUPLE': _Machine._tuple,
    'APPEND': _Machine._append,
    'APPENDS': _Machine._appends,
    'SETITEM': _Machine._set_item,
    'SETITEMS': _Machine._set_items,
    'ADDITEMS': _Machine._add_items,
    'GLOBAL': _Machine._global,
    'STACK_GLOBAL': _Machine._stack_global,
    'REDUCE': _Machine._reduce,
    'NEWOBJ': _Machine._new_object,
    'BUILD': _Machine._build,
    'BINPERSID': _Machine._persistent_id,
}
_ALLOWED = {'STOP', *PUSH_ARGUMENT, *PUSH_VIEW, *PUSH_CONSTANT, *PUSH_EMPTY, *TUPLE_LENGTH, *_OPERATIONS}
_OPCODES = {
    opcode.code.encode('latin1'): (opcode.name, opcode.arg.reader if opcode.arg else None)
    for opcode in pickletools.opcodes
}
