# Copyright 2026 The GDD-1S authors.
# SPDX-License-Identifier: Apache-2.0
"""Write Inception weights in every format that circulates, for the tests of the readers."""

import io
import struct
import warnings

import numpy as np
import torch

from evaluations.detectors.inception_weights import UNITS
from tests.support.upstream_files import UpstreamPickler
from torch_utils import persistence

GRAPH_PARTS = {
    'conv.weight': 'conv2d_params',
    'bn.weight': 'batchnorm/gamma',
    'bn.bias': 'batchnorm/beta',
    'bn.running_mean': 'batchnorm/moving_mean',
    'bn.running_var': 'batchnorm/moving_variance',
}
NVIDIA_PARTS = {
    'conv.weight': 'weight',
    'bn.bias': 'beta',
    'bn.running_mean': 'mean',
    'bn.running_var': 'var',
}


def varint(value):
    """Encode an integer as a protocol-buffer varint; negative ones as 64-bit two's complement."""
    value &= (1 << 64) - 1
    out = bytearray()
    while value >= 0x80:
        out.append(value & 0x7F | 0x80)
        value >>= 7
    return bytes(out) + bytes([value])


def field(number, content):
    """Encode one field: an int as varint, bytes or text as a byte string."""
    if isinstance(content, int):
        return varint(number << 3) + varint(content)
    content = content.encode() if isinstance(content, str) else content
    return varint(number << 3 | 2) + varint(len(content)) + content


def node(name, op, *inputs, **attributes):
    """Encode a graph node; attributes are encoded AttrValues."""
    entries = b''.join(field(5, field(1, key) + field(2, value)) for key, value in attributes.items())
    return field(1, field(1, name) + field(2, op) + b''.join(field(3, i) for i in inputs) + entries)


def tensor_proto(dtype, shape, *values):
    """Encode a TensorProto from its already encoded value fields."""
    return field(1, dtype) + field(2, b''.join(field(2, field(1, size)) for size in shape)) + b''.join(values)


def constant(name, array):
    """Encode a Const node holding a float32 or int32 array."""
    array = np.asarray(array)
    code = {'f': 1, 'i': 3}[array.dtype.kind]
    content = array.astype('<f4' if code == 1 else '<i4').tobytes()
    return node(
        name,
        'Const',
        dtype=field(6, code),
        value=field(8, tensor_proto(code, array.shape, field(4, content))),
    )


def graph_bytes(state, **more):
    """Encode the weights as OpenAI's frozen graph holds them, without the operations between them."""
    nodes = [
        node(
            'DecodeJpeg/contents',
            'Const',
            dtype=field(6, 7),
            value=field(8, tensor_proto(7, (), field(8, 'text'))),
        ),
        constant('ExpandDims/dim', np.int32(0)),
        constant('Sub/y', np.float32(128)),
        constant('Mul/y', np.float32(1 / 128)),
    ]
    for unit in UNITS:
        for part, graph_part in GRAPH_PARTS.items():
            array = state[f'{unit.torch}.{part}'].numpy()
            nodes.append(
                constant(
                    f'{unit.graph}/{graph_part}', array.transpose(2, 3, 1, 0) if array.ndim == 4 else array
                )
            )
        nodes.append(node(f'{unit.graph}/Conv2D', 'Conv2D', f'{unit.graph}/conv2d_params', T=field(6, 1)))
    nodes += [
        constant('softmax/weights', state['fc.weight'].numpy().T),
        constant('softmax/biases', state['fc.bias'].numpy()),
    ]
    return b''.join(nodes + [constant(name, array) for name, array in more.items()]) + field(4, field(1, 8))


def torch_state(state):
    """Return the 566 entries of pytorch-fid's and torch-fidelity's file."""
    counters = {f'{unit.torch}.bn.num_batches_tracked': torch.zeros([], dtype=torch.int64) for unit in UNITS}
    return {**state, **counters}


def nvidia_state(state):
    """Return the 378 entries of NVIDIA's port, in OpenAI's spelling as a state dict."""
    tensors = {
        f'{unit.nvidia}.{new}': state[f'{unit.torch}.{part}']
        for unit in UNITS
        for part, new in NVIDIA_PARTS.items()
    }
    return {**tensors, 'output.weight': state['fc.weight'], 'output.bias': state['fc.bias']}


class Part(torch.nn.Module):
    """A module that holds whatever is put into it."""

    def forward(self, x):
        return x


@persistence.persistent_class
class PickledPart(torch.nn.Module):
    """The same, as a persistent class."""


def module_tree(tensors, part, parameters=False):
    """Build nested modules, of the class `part` and of torch.nn in turn,
    that hold tensors under dotted names.
    """
    root = part()
    for name, tensor in tensors.items():
        *path, last = name.split('.')
        module = root
        for step in path:
            if step not in module._modules:
                module.add_module(step, part() if len(module._modules) % 2 else torch.nn.Sequential())
            module = module._modules[step]
        if parameters:
            module.register_parameter(last, torch.nn.Parameter(tensor, requires_grad=False))
        else:
            module.register_buffer(last, tensor)
    return root


def save_torchscript(tensors, path):
    """Write a TorchScript archive whose modules hold the tensors."""
    with warnings.catch_warnings():
        warnings.simplefilter('ignore', FutureWarning)  # newer torch announces the end of TorchScript
        torch.jit.script(module_tree(tensors, Part)).save(str(path))


def pickle_bytes(tensors):
    """Pickle a network that holds the tensors as NVIDIA's programs do, with its program text beside it."""
    file = io.BytesIO()
    UpstreamPickler(file, containers=dict).dump(module_tree(tensors, PickledPart, parameters=True))
    return file.getvalue()


def float_bits(*values):
    """Encode float32 values, little-endian."""
    return struct.pack(f'<{len(values)}f', *values)
