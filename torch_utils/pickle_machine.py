# Copyright 2026 The GDD-1S authors.
# SPDX-License-Identifier: Apache-2.0
"""Carry out the operations of a pickle on plain data, without unpickling.

The standard unpickler calls what a file names, and even when that is restricted a file can set
attributes on the allowed functions, ask for huge allocations, hash nested tuples or nest without end. The
few operations that our files need are therefore carried out here: a name is only a name, and each operation
accepts only what such files put there. Nothing is imported and no constructor runs.

Every operation costs a bounded amount of time and memory, and their number is bounded, so that no
file can keep the reader busy or fill the memory. Bytes are not copied.

Read are protocols 2 to 5, as written by Python 2 and 3. What a name makes is up to the caller: values, arrays
and tensors stand in `pickle_values`.
"""

import io
import pickletools
import struct
from collections.abc import Callable, Container
from typing import Any

from dnnlib.errors import ArgumentError

MAX_OPERATIONS = 2_000_000  # a 256 x 256 ADM snapshot has about 90 000
MAX_RECORDS = 100_000  # ... and about 10 000 of these
MAX_INT_BITS = 80  # the magic number of torch's storages has as many; all else fits into 64
KEY_TYPES = (str, int, float, bool, type(None))

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
    'SHORT_BINSTRING',  # str of Python 2
    'BINSTRING',
}
PUSH_VIEW = {'BINBYTES': 4, 'BINBYTES8': 8, 'BYTEARRAY8': 8}  # bytes of the length that follows
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


class PickleError(ArgumentError):
    """A pickle cannot be read; the message is one line for the user."""


class PickleFormatError(PickleError):
    """The file is damaged, or of another kind."""


class UnsafePickleError(PickleError):
    """The file asks for something that its kind has no use for."""


def shown(value: Any) -> str:
    """Write a value of the file for a message: short, printable, and never a container's content."""
    if isinstance(value, str):
        return value if len(value) <= 80 and value.isprintable() else ascii(value[:80]).strip("'")
    return str(value) if isinstance(value, (int, float, type(None))) else f'a {type(value).__name__}'


def checked_key(key: Any) -> Any:
    """Return a dictionary key of the file; PickleFormatError if it is not a name or a number.

    The hash of other things, such as nested tuples, may never end.
    """
    if not isinstance(key, KEY_TYPES):
        raise PickleFormatError(f'a {type(key).__name__} is used as a key; only names and numbers may be')
    return key


class Name:
    """An allowed name: what a call of it makes, and what may be made without a call."""

    __slots__ = ('call', 'new')

    def __init__(self, call: Callable | None = None, new: Callable | None = None) -> None:
        self.call = call
        self.new = new


class Budget:
    """What reading one file may cost, by its size.

    Args:
        file_size: In bytes.
    """

    def __init__(self, file_size: int) -> None:
        self.file_size = file_size
        self._operations_left = MAX_OPERATIONS
        self._records_left = MAX_RECORDS
        self._bytes = {}

    def count_operation(self, cost: int = 1) -> None:
        """Count an operation of the pickle, or several, towards the limit."""
        self._operations_left -= cost
        if self._operations_left < 0:
            raise PickleFormatError(f'the file takes more than {MAX_OPERATIONS} operations to read')

    def count_record(self) -> None:
        """Count an object."""
        self._records_left -= 1
        if self._records_left < 0:
            raise PickleFormatError(f'the file holds more than {MAX_RECORDS} objects')

    def count_bytes(self, kind: str, number: int) -> None:
        """Count memory: all of one kind, such as 'tensors', may not be larger than the file."""
        self._bytes[kind] = self._bytes.get(kind, 0) + number
        if self._bytes[kind] > self.file_size:
            raise PickleFormatError(f'the {kind} together are larger than the file')


class PickleMachine:
    """Carry out the operations of one pickle.

    Args:
        data:            Bytes that hold the pickle.
        names:           {(module, name): Name} that the pickle may refer to, or anything with `in` and [].
        budget:          Counts the operations.
        what:            What the file is, for messages.
        position:        Where the pickle starts; after `run`, where it ended.
        persistent_load: What stands for a reference to data outside the pickle; None refuses it.
    """

    def __init__(
        self,
        data: bytes | memoryview,
        names: Container,
        budget: Budget,
        what: str,
        position: int = 0,
        persistent_load: Callable[[Any], Any] | None = None,
    ) -> None:
        self._data = memoryview(data)
        self._file = io.BytesIO(data)
        self.position = position
        self._names = names
        self._budget = budget
        self._what = what
        self._persistent_load = persistent_load
        self._stack = []
        self._marks = []  # stack heights at the open marks
        self._memo = {}

    def run(self) -> Any:
        """Read the pickle and return its value.

        Raises:
            PickleFormatError: damaged, truncated, oversized, or of another kind.
            UnsafePickleError: refers to something that is not among the names.
        """
        try:
            self._file.seek(self.position)
            while True:
                name, argument = self._next_operation()
                if name == 'STOP':
                    break
                self._budget.count_operation()
                self._step(name, argument)
                self.position = self._file.tell()
            if len(self._stack) != 1 or self._marks:
                raise PickleFormatError('the pickle ends in the middle of an object')
        except PickleError as error:
            raise type(error)(*error.args, f' (byte {self.position})') from error
        except MALFORMED as error:
            raise PickleFormatError(
                f'damaged or truncated, or not {self._what} (byte {self.position}); '
                'fetch or copy the file again'
            ) from error
        self.position = self._file.tell()
        return self._stack[0]

    def _next_operation(self) -> tuple[str, Any]:
        # Arguments of operations that are not allowed are not decoded: some cost much.
        code = self._file.read(1)
        if not code:
            raise PickleFormatError('truncated; fetch or copy the file again')
        if code not in _OPCODES:
            raise PickleFormatError(f'damaged, or not {self._what}: there is no such pickle operation')
        name, read = _OPCODES[code]
        if name in PUSH_VIEW:
            return name, self._read_view(PUSH_VIEW[name])
        if name in _ALLOWED:
            return name, read(self._file) if read else None
        raise UnsafePickleError(f'the operation {name} has no place in {self._what}')

    def _read_view(self, length_bytes: int) -> memoryview:
        length = int.from_bytes(self._file.read(length_bytes), 'little')
        start = self._file.tell()
        if length > len(self._data) - start:
            raise PickleFormatError('truncated; fetch or copy the file again')
        self._file.seek(start + length)
        return self._data[start : start + length]

    def _step(self, name: str, argument: Any) -> None:
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

    def _push_argument(self, argument: int | float | str | bytes) -> None:
        if type(argument) is int and argument.bit_length() > MAX_INT_BITS:
            raise PickleFormatError('an integer is too large')
        self._stack.append(argument)

    def _take(self, count: int) -> list[Any]:
        # Pops never reach below the last mark.
        bottom = self._marks[-1] if self._marks else 0
        if len(self._stack) - count < bottom:
            raise PickleFormatError('an operation lacks its operands')
        items = self._stack[len(self._stack) - count :]
        del self._stack[len(self._stack) - count :]
        return items

    def _take_to_mark(self) -> list[Any]:
        bottom = self._marks.pop()
        items = self._stack[bottom:]
        del self._stack[bottom:]
        return items

    def _top(self, kind: type) -> Any:
        if not self._stack or not isinstance(self._stack[-1], kind):
            raise PickleFormatError(f'items are added to something that is no {kind.__name__}')
        return self._stack[-1]

    def _protocol(self, argument: int) -> None:
        if not 2 <= argument <= 5:
            raise PickleFormatError(f'pickle protocol {argument} is not supported (2 to 5)')

    def _nothing(self, _argument: int) -> None:
        """Ignore a frame: it only tells readers how much to fetch at once."""

    def _mark(self, _argument: None) -> None:
        self._marks.append(len(self._stack))

    def _pop(self, _argument: None) -> None:
        self._take(1)

    def _pop_mark(self, _argument: None) -> None:
        self._take_to_mark()

    def _memoize(self, _argument: None) -> None:
        self._put(len(self._memo))

    def _put(self, index: int) -> None:
        self._memo[index] = self._stack[-1]

    def _get(self, index: int) -> None:
        self._stack.append(self._memo[index])

    def _tuple(self, _argument: None) -> None:
        self._stack.append(tuple(self._take_to_mark()))

    def _append(self, _argument: None) -> None:
        items = self._take(1)
        self._top(list).extend(items)

    def _appends(self, _argument: None) -> None:
        items = self._take_to_mark()
        self._top(list).extend(items)

    def _set_item(self, _argument: None) -> None:
        self._update(self._take(2))

    def _set_items(self, _argument: None) -> None:
        self._update(self._take_to_mark())

    def _update(self, items: list[Any]) -> None:
        target = self._top(dict)
        for key, value in zip(items[::2], items[1::2], strict=True):
            target[checked_key(key)] = value

    def _add_items(self, _argument: None) -> None:
        items = self._take_to_mark()
        self._top(set).update(map(checked_key, items))

    def _global(self, argument: str) -> None:
        self._push_global(*argument.split(' ', 1))

    def _stack_global(self, _argument: None) -> None:
        self._push_global(*self._take(2))

    def _push_global(self, module: Any, name: Any) -> None:
        if not isinstance(module, str) or not isinstance(name, str):
            raise PickleFormatError('a reference to a name is malformed')
        if (module, name) not in self._names:
            raise UnsafePickleError(
                f'refers to {shown(module)}.{shown(name)}, which {self._what} has no use for'
            )
        self._stack.append(self._names[module, name])

    def _reduce(self, _argument: None) -> None:
        target, arguments = self._take(2)
        if not isinstance(target, Name) or target.call is None or not isinstance(arguments, tuple):
            raise UnsafePickleError(f'calls something that {self._what} does not call')
        self._stack.append(target.call(*arguments))

    def _new_object(self, _argument: None) -> None:
        target, arguments = self._take(2)
        if not isinstance(target, Name) or target.new is None or arguments != ():
            raise UnsafePickleError(f'makes an object that {self._what} does not hold')
        self._stack.append(target.new())

    def _build(self, _argument: None) -> None:
        (state,) = self._take(1)
        # Only records of ours have a method of this name; values of the file are of Python's own types.
        build = getattr(self._stack[-1], 'build', None) if self._stack else None
        if build is None:
            raise UnsafePickleError(f'sets attributes of something that has none in {self._what}')
        build(state)

    def _persistent_id(self, _argument: None) -> None:
        if self._persistent_load is None:
            raise UnsafePickleError('refers to data outside the file')
        self._stack.append(self._persistent_load(self._take(1)[0]))


_OPERATIONS = {
    'PROTO': PickleMachine._protocol,
    'FRAME': PickleMachine._nothing,
    'MARK': PickleMachine._mark,
    'POP': PickleMachine._pop,
    'POP_MARK': PickleMachine._pop_mark,
    'MEMOIZE': PickleMachine._memoize,
    'BINPUT': PickleMachine._put,
    'LONG_BINPUT': PickleMachine._put,
    'BINGET': PickleMachine._get,
    'LONG_BINGET': PickleMachine._get,
    'TUPLE': PickleMachine._tuple,
    'APPEND': PickleMachine._append,
    'APPENDS': PickleMachine._appends,
    'SETITEM': PickleMachine._set_item,
    'SETITEMS': PickleMachine._set_items,
    'ADDITEMS': PickleMachine._add_items,
    'GLOBAL': PickleMachine._global,
    'STACK_GLOBAL': PickleMachine._stack_global,
    'REDUCE': PickleMachine._reduce,
    'NEWOBJ': PickleMachine._new_object,
    'BUILD': PickleMachine._build,
    'BINPERSID': PickleMachine._persistent_id,
}
_ALLOWED = {'STOP', *PUSH_ARGUMENT, *PUSH_VIEW, *PUSH_CONSTANT, *PUSH_EMPTY, *TUPLE_LENGTH, *_OPERATIONS}
_OPCODES = {
    opcode.code.encode('latin1'): (opcode.name, opcode.arg.reader if opcode.arg else None)
    for opcode in pickletools.opcodes
}
