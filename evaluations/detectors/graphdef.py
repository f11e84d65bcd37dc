# Copyright 2026 The GDD-1S authors.
# SPDX-License-Identifier: Apache-2.0

"""Read the constants of a frozen TensorFlow graph (GraphDef, `.pb`) without TensorFlow.

A GraphDef is a protocol-buffer message: fields of (number, wire type, value), where messages
are nested as byte strings. Field numbers are those of TensorFlow's graph.proto,
node_def.proto, attr_value.proto, tensor.proto and tensor_shape.proto. Only what constants need
is decoded; the rest is skipped by its wire type. Nothing in the file is run, every length is
checked against what is there, and memory is bounded by the size of the file.
"""

import math
from collections.abc import Iterator

import numpy as np

from dnnlib.errors import ArgumentError

_VARINT, _FIXED64, _BYTES, _FIXED32 = 0, 1, 2, 5
_MAX_VARINT_BYTES = 10  # 64 bits in groups of 7
_MAX_DIMS = 8
_MAX_NODES = 100_000  # the Inception graph has about 1000
_MAX_LISTED_VALUES = 1 << 20  # of a tensor whose values are listed one by one, or filled with a repeated one
_DTYPES = {1: np.dtype('<f4'), 3: np.dtype('<i4')}  # DT_FLOAT, DT_INT32
_VALUE_FIELDS = {1: 5, 3: 7}  # DT_FLOAT: float_val, DT_INT32: int_val


class GraphDefError(ArgumentError):
    """The bytes are no GraphDef, or a damaged one; the message is one line for the user."""


def read_constants(data: bytes) -> dict[str, np.ndarray]:
    """Return the float and integer constants of a graph.

    Args:
        data: The whole file, bytes.
    Returns:
        dict node name -> float32 or int32 array, read-only. Constants of other types (text) are left out.
    Raises:
        GraphDefError: Truncated, or not a GraphDef.
    """
    constants = {}
    nodes = 0
    for number, wire, value in _fields(memoryview(data)):
        if number != 1:  # versions, library
            continue
        nodes += 1
        if nodes > _MAX_NODES:
            raise GraphDefError(f'more than {_MAX_NODES} nodes; this is not a frozen network')
        name, array = _read_node(_message(wire, value))
        if array is None:
            continue
        if name in constants:
            raise GraphDefError(f'two constants are called {name!r}; the file is damaged')
        constants[name] = array
    if not nodes:
        raise GraphDefError('no graph nodes in it; this is not a TensorFlow GraphDef')
    return constants


def _read_varint(view: memoryview, position: int) -> tuple[int, int]:
    """Return (unsigned value, position behind it)."""
    value = 0
    for count in range(_MAX_VARINT_BYTES):
        if position + count >= len(view):
            raise GraphDefError('truncated inside a number')
        byte = view[position + count]
        value |= (byte & 0x7F) << (7 * count)
        if byte < 0x80:
            if value >> 64:
                break
            return value, position + count + 1
    raise GraphDefError('a number has more than 64 bits; this is not a TensorFlow GraphDef')


def _fields(view: memoryview) -> Iterator[tuple[int, int, int | memoryview]]:
    """Yield (field number, wire type, value) of a message; values are ints or memoryviews."""
    position = 0
    while position < len(view):
        key, position = _read_varint(view, position)
        number, wire = key >> 3, key & 7
        if number == 0 or number >= 1 << 29:
            raise GraphDefError(f'field number {number} does not exist; this is not a TensorFlow GraphDef')
        if wire == _VARINT:
            value, position = _read_varint(view, position)
        else:
            if wire == _BYTES:
                length, position = _read_varint(view, position)
            elif wire in (_FIXED64, _FIXED32):
                length = 8 if wire == _FIXED64 else 4
            else:
                raise GraphDefError(f'wire type {wire} does not exist; this is not a TensorFlow GraphDef')
            if length > len(view) - position:
                raise GraphDefError(
                    f'truncated: {length} bytes are announced where {len(view) - position} are left'
                )
            value, position = view[position : position + length], position + length
        yield number, wire, value


def _message(wire: int, value: int | memoryview) -> memoryview:
    """Return the value, making sure that it is a byte string."""
    if wire != _BYTES:
        raise GraphDefError('a number stands where a message should be; this is not a TensorFlow GraphDef')
    return value


def _text(wire: int, value: int | memoryview) -> str:
    try:
        return str(_message(wire, value), 'utf-8')
    except UnicodeDecodeError:
        raise GraphDefError('a name is not text; this is not a TensorFlow GraphDef') from None


def _integer(wire: int, value: int | memoryview) -> int:
    """Return a varint as the signed number it stands for (two's complement of 64 bits)."""
    if wire != _VARINT:
        raise GraphDefError('bytes stand where a number should be; this is not a TensorFlow GraphDef')
    return value - (1 << 64) if value >> 63 else value


def _read_node(view: memoryview) -> tuple[str, np.ndarray | None]:
    """Return (name, array) of a NodeDef; the array is None unless it is a numeric constant."""
    name, op, tensor = '', '', None
    for number, wire, value in _fields(view):
        if number == 1:
            name = _text(wire, value)
        elif number == 2:
            op = _text(wire, value)
        elif number == 5:
            key, found = _read_attribute(_message(wire, value))
            tensor = found if key == 'value' else tensor
    if op != 'Const':
        return name, None
    if tensor is None:
        raise GraphDefError(f'constant {name!r} has no value')
    try:
        return name, _read_tensor(tensor)
    except GraphDefError as err:
        raise GraphDefError(f'constant {name!r}: {err}') from None


def _read_attribute(view: memoryview) -> tuple[str, memoryview | None]:
    """Return (key, bytes of the tensor or None) of an entry of a node's attributes."""
    key, tensor = '', None
    for number, wire, value in _fields(view):
        if number == 1:
            key = _text(wire, value)
        elif number == 2:
            for inner_number, inner_wire, inner in _fields(_message(wire, value)):
                if inner_number == 8:
                    tensor = _message(inner_wire, inner)
    return key, tensor


def _read_shape(view: memoryview) -> tuple[int, ...]:
    """Return the sizes of a TensorShapeProto as a tuple of ints."""
    sizes = []
    for number, wire, value in _fields(view):
        if number != 2:
            continue
        size = 0
        for inner_number, inner_wire, inner in _fields(_message(wire, value)):
            if inner_number == 1:
                size = _integer(inner_wire, inner)
        sizes.append(size)
    if len(sizes) > _MAX_DIMS or min(sizes, default=0) < 0:
        raise GraphDefError(f'shape {sizes[:_MAX_DIMS]} is not one of a constant')
    return tuple(sizes)


def _read_tensor(view: memoryview) -> np.ndarray | None:
    """Return the array of a TensorProto, or None if it does not hold float32 or int32."""
    code, shape, content, values = 0, (), None, []
    for number, wire, value in _fields(view):
        if number == 1:
            code = _integer(wire, value)
        elif number == 2:
            shape = _read_shape(_message(wire, value))
        elif number == 4:
            content = _message(wire, value)
        elif number in _VALUE_FIELDS.values():
            values.append((number, wire, value))
            if len(values) > _MAX_LISTED_VALUES:
                raise GraphDefError('too many values are listed one by one')
    if code not in _DTYPES:
        return None
    dtype, elements = _DTYPES[code], math.prod(shape)
    if content is not None and len(content):
        if len(content) != elements * dtype.itemsize:
            raise GraphDefError(f'{len(content)} bytes do not fill shape {shape}')
        return np.frombuffer(content, dtype=dtype).reshape(shape)
    return _fill(_read_values(values, code), shape)


def _fill(array: np.ndarray, shape: tuple[int, ...]) -> np.ndarray:
    elements = math.prod(shape)
    if array.size == elements:
        return array.reshape(shape)
    # TensorFlow's short form: the last value stands for all that follow.
    if not 0 < array.size < elements or elements > _MAX_LISTED_VALUES:
        raise GraphDefError(f'{array.size} values do not fill shape {shape}')
    return np.concatenate([array, np.full(elements - array.size, array[-1], array.dtype)]).reshape(shape)


def _read_values(values: list[tuple[int, int, int | memoryview]], code: int) -> np.ndarray:
    """Return the array that float_val or int_val lists, packed or one by one."""
    parts = []
    for number, wire, value in values:
        if number != _VALUE_FIELDS[code]:
            raise GraphDefError('its values are of another type than it says')
        if code == 1:
            if wire not in (_BYTES, _FIXED32) or len(value) % 4:
                raise GraphDefError('a float value does not have 4 bytes')
            parts.append(np.frombuffer(value, dtype='<f4'))
        else:
            parts.append(
                np.array(
                    _packed_integers(value) if wire == _BYTES else [_integer(wire, value)], dtype=np.int64
                )
            )
    array = np.concatenate(parts) if parts else np.zeros(0)
    if code != 1 and array.size and not -(1 << 31) <= array.min() <= array.max() < 1 << 31:
        raise GraphDefError('an integer value has more than 32 bits')
    return array.astype(_DTYPES[code])


def _packed_integers(view: memoryview) -> list[int]:
    """Return the varints of a byte string as signed ints."""
    if len(view) > _MAX_LISTED_VALUES:
        raise GraphDefError('too many values are listed one by one')
    numbers, position = [], 0
    while position < len(view):
        number, position = _read_varint(view, position)
        numbers.append(_integer(_VARINT, number))
    return numbers
