# Copyright 2026 The GDD-1S authors.
# SPDX-License-Identifier: Apache-2.0
"""GraphDef reader: the test graph of the specification, every form of a constant, and hostile bytes."""

import random

import numpy as np
import pytest

from evaluations.detectors.graphdef import GraphDefError, read_constants
from tests.support.inception_files import constant, field, float_bits, node, tensor_proto, varint

SPEC_GRAPH = bytes.fromhex(
    '0a4c0a03612f621205436f6e73742a0b0a056474797065120230012a310a0576616c7565'
    '122842260801120812020802120208032218000000000000803f000000400000404000008040'
    '0000a0400a170a0172120452656c751a03612f622a070a01541202300122020808'
)


def one_constant(proto, name='c'):
    return read_constants(node(name, 'Const', value=field(8, proto)))[name]


def test_graph_of_the_specification():
    assert len(SPEC_GRAPH) == 107
    constants = read_constants(SPEC_GRAPH)
    assert list(constants) == ['a/b'] and constants['a/b'].dtype == np.float32
    assert constants['a/b'].tolist() == [[0, 1, 2], [3, 4, 5]]
    assert (
        constant('a/b', np.arange(6, dtype=np.float32).reshape(2, 3)) in SPEC_GRAPH
    )  # the writer of the tests agrees


def test_values_listed_one_by_one():
    packed = tensor_proto(1, (3,), field(5, float_bits(1.5, -2, 3)))
    repeated = tensor_proto(1, (3,), *(varint(5 << 3 | 5) + float_bits(v) for v in (1.5, -2, 3)))
    assert one_constant(packed).tolist() == one_constant(repeated).tolist() == [1.5, -2, 3]
    assert one_constant(tensor_proto(3, (2,), field(7, varint(-1) + varint(300)))).tolist() == [-1, 300]
    assert one_constant(tensor_proto(3, (2,), field(7, -1), field(7, 300))).tolist() == [-1, 300]
    assert one_constant(tensor_proto(1, (), field(5, float_bits(128)))).shape == ()


def test_last_value_is_repeated_to_fill_the_shape():
    array = one_constant(tensor_proto(1, (2, 3), field(5, float_bits(7, 8))))
    assert array.tolist() == [[7, 8, 8], [8, 8, 8]] and array.dtype == np.float32
    assert one_constant(tensor_proto(3, (4,), field(7, 9))).dtype == np.int32


def test_text_constants_and_unknown_fields_are_skipped():
    unknown = (
        varint(99 << 3 | 1)
        + b'8 bytes!'
        + varint(98 << 3 | 5)
        + b'four'
        + field(97, 5)
        + field(96, b'anything')
    )
    text = node('text', 'Const', value=field(8, tensor_proto(7, (), field(8, 'abc'))))
    assert list(read_constants(text + unknown + constant('x', np.float32(1)))) == ['x']


@pytest.mark.parametrize(
    'data, words',
    [
        (b'', 'no graph nodes'),
        (b'PK\x03\x04 a zip file', 'not a TensorFlow GraphDef'),
        (b'{"json": "file"}' * 10, 'not a TensorFlow GraphDef|truncated'),
        (b'\x0a' + b'\xff' * 11, 'more than 64 bits'),
        (b'\x0a' + b'\xff' * 9 + b'\x7f', 'more than 64 bits'),  # ten bytes, but 70 bits
        (b'\x0a\xff\xff\xff\xff\x0f' + b'x' * 10, 'truncated: 4294967295 bytes'),
        (b'\x0a\x80', 'truncated inside a number'),
        (field(1, 7), 'a number stands where a message'),
        (node('c', 'Const'), "constant 'c' has no value"),
        (constant('c', np.float32(1)) * 2, "two constants are called 'c'"),
        (
            node('c', 'Const', value=field(8, tensor_proto(1, (2, 2), field(4, float_bits(1, 2, 3))))),
            '12 bytes do not fill shape',
        ),
        (node('c', 'Const', value=field(8, tensor_proto(1, (2,)))), '0 values do not fill'),
        (
            node('c', 'Const', value=field(8, tensor_proto(1, (1,), field(5, float_bits(1, 2))))),
            '2 values do not fill',
        ),
        (
            node('c', 'Const', value=field(8, tensor_proto(1, (1 << 40,), field(5, float_bits(1))))),
            '1 values do not fill',
        ),  # 4 TiB
        (
            node('c', 'Const', value=field(8, tensor_proto(1, (-1,), field(4, float_bits(1))))),
            r'shape \[-1\]',
        ),
        (
            node('c', 'Const', value=field(8, tensor_proto(1, (1,) * 9, field(4, float_bits(1))))),
            'is not one of a constant',
        ),
        (node('c', 'Const', value=field(8, tensor_proto(3, (1,), field(7, 1 << 40)))), 'more than 32 bits'),
        (node('c', 'Const', value=field(8, tensor_proto(1, (1,), field(7, 1)))), 'another type'),
        (node('c', 'Const', value=field(8, tensor_proto(1, (1,), field(5, b'abc')))), '4 bytes'),
    ],
)
def test_unusable_bytes_are_refused(data, words):
    with pytest.raises(GraphDefError, match=words):
        read_constants(data)


def test_every_truncation_is_noticed():
    whole = read_constants(SPEC_GRAPH)
    # Cut between two top-level fields, the rest is a complete message.
    boundaries = {78: 1, 103: 1}
    for length in range(len(SPEC_GRAPH)):
        if length in boundaries:
            assert len(read_constants(SPEC_GRAPH[:length])) == len(whole)
        else:
            with pytest.raises(GraphDefError):
                read_constants(SPEC_GRAPH[:length])


def test_damaged_bytes_raise_nothing_else():
    generator = random.Random(0)
    for _ in range(3000):
        data = bytearray(SPEC_GRAPH)
        for _ in range(generator.randint(1, 4)):
            data[generator.randrange(len(data))] = generator.randrange(256)
        try:
            read_constants(bytes(data))
        except GraphDefError:
            pass
