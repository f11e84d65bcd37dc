# Copyright 2026 The GDD-1S authors.
# SPDX-License-Identifier: Apache-2.0

"""Read the Inception-2015 weights from any of the files that circulate.

They all hold the same numbers under different names: TensorFlow's frozen graph (`.pb`, OpenAI's
classify_image_graph_def.pb), torchvision's names (`.pth`, pytorch-fid and torch-fidelity),
NVIDIA's names as TorchScript (`.pt`), as a state dict (`.pt`, OpenAI's consistency models) or as
a pickled network (`.pkl`). The kind is told by content, not by file name, and nothing in a file
is executed.

The 94 convolution units of the graph have a name in each family of files: TensorFlow's graph is the
origin; torchvision's names are used by pytorch-fid and torch-fidelity, the third spelling by NVIDIA's
and OpenAI's PyTorch ports.
"""

import typing
from collections.abc import Collection

import numpy as np
import torch

from dnnlib.errors import ArgumentError
from dnnlib.zips import ZipError
from evaluations.detectors.graphdef import GraphDefError, read_constants
from evaluations.detectors.inception import empty_inception
from evaluations.detectors.torchscript_reader import TorchScriptError, is_torchscript, read_torchscript
from torch_utils.persistence import LEGACY_MAGIC
from torch_utils.pickle_machine import PickleError
from torch_utils.pickle_values import TensorRecord
from torch_utils.torch_files import read_weight_file
from training.snapshots.pickle_reader import read_pickled_module


class UnitNames(typing.NamedTuple):
    """One unit: convolution, batch normalisation and ReLU."""

    torch: str  # 'Mixed_5b.branch5x5_1'
    graph: str  # 'mixed/tower/conv'
    nvidia: str  # 'layers.mixed.tower.conv'


_STEM = {
    'Conv2d_1a_3x3': 'conv',
    'Conv2d_2a_3x3': 'conv_1',
    'Conv2d_2b_3x3': 'conv_2',
    'Conv2d_3b_1x1': 'conv_3',
    'Conv2d_4a_3x3': 'conv_4',
}
_SMALL = {  # 35 x 35 pixels
    'branch1x1': 'conv',
    'branch5x5_1': 'tower/conv',
    'branch5x5_2': 'tower/conv_1',
    'branch3x3dbl_1': 'tower_1/conv',
    'branch3x3dbl_2': 'tower_1/conv_1',
    'branch3x3dbl_3': 'tower_1/conv_2',
    'branch_pool': 'tower_2/conv',
}
_SMALL_TO_MIDDLE = {
    'branch3x3': 'conv',
    'branch3x3dbl_1': 'tower/conv',
    'branch3x3dbl_2': 'tower/conv_1',
    'branch3x3dbl_3': 'tower/conv_2',
}
_MIDDLE = {  # 17 x 17 pixels
    'branch1x1': 'conv',
    'branch7x7_1': 'tower/conv',
    'branch7x7_2': 'tower/conv_1',
    'branch7x7_3': 'tower/conv_2',
    'branch7x7dbl_1': 'tower_1/conv',
    'branch7x7dbl_2': 'tower_1/conv_1',
    'branch7x7dbl_3': 'tower_1/conv_2',
    'branch7x7dbl_4': 'tower_1/conv_3',
    'branch7x7dbl_5': 'tower_1/conv_4',
    'branch_pool': 'tower_2/conv',
}
_MIDDLE_TO_LAST = {
    'branch3x3_1': 'tower/conv',
    'branch3x3_2': 'tower/conv_1',
    'branch7x7x3_1': 'tower_1/conv',
    'branch7x7x3_2': 'tower_1/conv_1',
    'branch7x7x3_3': 'tower_1/conv_2',
    'branch7x7x3_4': 'tower_1/conv_3',
}
_LAST = {  # 8 x 8 pixels
    'branch1x1': 'conv',
    'branch3x3_1': 'tower/conv',
    'branch3x3_2a': 'tower/mixed/conv',
    'branch3x3_2b': 'tower/mixed/conv_1',
    'branch3x3dbl_1': 'tower_1/conv',
    'branch3x3dbl_2': 'tower_1/conv_1',
    'branch3x3dbl_3a': 'tower_1/mixed/conv',
    'branch3x3dbl_3b': 'tower_1/mixed/conv_1',
    'branch_pool': 'tower_2/conv',
}
_BLOCKS = {  # torchvision's name: (name in the graph, its units)
    'Mixed_5b': ('mixed', _SMALL),
    'Mixed_5c': ('mixed_1', _SMALL),
    'Mixed_5d': ('mixed_2', _SMALL),
    'Mixed_6a': ('mixed_3', _SMALL_TO_MIDDLE),
    'Mixed_6b': ('mixed_4', _MIDDLE),
    'Mixed_6c': ('mixed_5', _MIDDLE),
    'Mixed_6d': ('mixed_6', _MIDDLE),
    'Mixed_6e': ('mixed_7', _MIDDLE),
    'Mixed_7a': ('mixed_8', _MIDDLE_TO_LAST),
    'Mixed_7b': ('mixed_9', _LAST),
    'Mixed_7c': ('mixed_10', _LAST),
}


def _unit_names() -> tuple[UnitNames, ...]:
    """List the names in the order of the graph."""
    units = [UnitNames(torch, graph, f'layers.{graph}') for torch, graph in _STEM.items()]
    for torch_block, (graph_block, parts) in _BLOCKS.items():
        # NVIDIA's port flattens the two last blocks, and only these.
        joint = '_' if parts is _LAST else '.'
        units += [
            UnitNames(
                f'{torch_block}.{torch}',
                f'{graph_block}/{graph}',
                f'layers.{graph_block}.{graph.replace("/", joint)}',
            )
            for torch, graph in parts.items()
        ]
    return tuple(units)


UNITS = _unit_names()
# Parts of a unit: torchvision's name, the graph's, NVIDIA's (which has no scale, since it is 1).
_PARTS = (
    ('conv.weight', 'conv2d_params', 'weight'),
    ('bn.weight', 'batchnorm/gamma', None),
    ('bn.bias', 'batchnorm/beta', 'beta'),
    ('bn.running_mean', 'batchnorm/moving_mean', 'mean'),
    ('bn.running_var', 'batchnorm/moving_variance', 'var'),
)
_GRAPH_INPUT = {'Sub/y': 128.0, 'Mul/y': 1 / 128}  # the normalisation inside the graph
_LEGACY_START = b'\x80\x02\x8a\x0a' + LEGACY_MAGIC.to_bytes(10, 'little')  # torch.save before torch 1.6
_MAX_MODULES = 2000  # in a pickled network; Inception has about 400


class InceptionWeightsError(ArgumentError):
    """A file does not hold the Inception-2015 weights; the message is one line for the user."""


def read_inception_weights(path: str) -> tuple[dict[str, torch.Tensor], list[str]]:
    """Read complete weights from a file of any of the five kinds.

    Args:
        path: Weights file.
    Returns:
        (state, notes): dict of float32 tensors under torchvision's names, without step counters, for
        `evaluations.detectors.inception.build_inception`; list of one-line remarks, usually empty.
    Raises:
        InceptionWeightsError: Unreadable, incomplete, or another network.
    """
    try:
        state = _read_any(path)
        state = {name: tensor.to(torch.float32) for name, tensor in state.items()}
        _check_state(state)
    except (InceptionWeightsError, GraphDefError, TorchScriptError, PickleError) as err:
        raise InceptionWeightsError(
            f'{path} does not hold the Inception-2015 weights: {err}; '
            'fetch the file again, see pretrained/README.md'
        ) from err
    except OSError as err:
        raise InceptionWeightsError(f'{path} cannot be read: {err.strerror or err}') from err
    scaled = [unit.torch for unit in UNITS if not bool((state[f'{unit.torch}.bn.weight'] == 1).all())]
    notes = (
        [
            f'{path}: the batch norm scale (gamma) of {scaled[0]} and {len(scaled) - 1} other units '
            'is not 1 as published; it is applied'
        ]
        if scaled
        else []
    )
    return state, notes


def _read_any(path: str) -> dict[str, torch.Tensor]:
    """Return the state of a file, whatever its kind."""
    with open(path, 'rb') as f:
        start = f.read(14)
    if start[:2] == b'PK' and is_torchscript(path):
        return from_nvidia(_weights_only(read_torchscript(path)))
    if start[:2] == b'PK' or start == _LEGACY_START:
        return _from_state_dict(_read_state_dict(path))
    if start[:1] == b'\x80':
        with open(path, 'rb') as f:
            return from_nvidia(_weights_only(_tensors_below(read_pickled_module(f.read()))))
    with open(path, 'rb') as f:
        return from_graph(read_constants(f.read()))


def _read_state_dict(path: str) -> dict[str, torch.Tensor]:
    try:
        state = read_weight_file(path, 'a state dict')
    except (ZipError, PickleError) as err:
        raise InceptionWeightsError(str(err)) from err
    if not isinstance(state, dict) or not all(isinstance(t, torch.Tensor) for t in state.values()):
        raise InceptionWeightsError('it is no state dict (names -> tensors)')
    return state


def _tensors_below(record: typing.Any) -> dict[str, torch.Tensor]:
    """Collect parameters and buffers of a pickled module and its children, by dotted name."""
    found, waiting, seen = {}, [('', record)], 0
    while waiting:
        prefix, module = waiting.pop()
        seen += 1
        state = getattr(module, 'state', None)
        parts = (
            [state.get(kind) or {} for kind in ('_parameters', '_buffers', '_modules')]
            if isinstance(state, dict)
            else [None]
        )
        if seen > _MAX_MODULES or not all(isinstance(part, dict) for part in parts):
            raise InceptionWeightsError('it is not made of modules, parameters and buffers')
        parameters, buffers, children = parts
        found.update(
            {
                f'{prefix}{name}': tensor.to_tensor()
                for name, tensor in {**parameters, **buffers}.items()
                if isinstance(tensor, TensorRecord)
            }
        )
        waiting += [(f'{prefix}{name}.', child) for name, child in children.items()]
    return found


def _weights_only(tensors: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    """Leave out constants that a whole network may hold beside its layers."""
    return {name: tensor for name, tensor in tensors.items() if name.startswith(('layers.', 'output.'))}


def _from_state_dict(state: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    """Tell the two spellings of state dicts apart."""
    if 'output.weight' in state:
        return from_nvidia(state)
    return {name: tensor for name, tensor in state.items() if not name.endswith('num_batches_tracked')}


def from_nvidia(tensors: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    """Rename the tensors of NVIDIA's port.

    Args:
        tensors: dict name -> tensor; exactly 94 * 4 + 2 tensors.
    Returns:
        State under torchvision's names.
    Raises:
        InceptionWeightsError: Tensors are missing, or unknown ones present.
    """
    names = {
        f'{unit.nvidia}.{part}': f'{unit.torch}.{torch_part}'
        for unit in UNITS
        for torch_part, _graph_part, part in _PARTS
        if part
    }
    names.update({'output.weight': 'fc.weight', 'output.bias': 'fc.bias'})
    _compare_names(names, tensors)
    state = {names[name]: tensor for name, tensor in tensors.items()}
    for unit in UNITS:
        state[f'{unit.torch}.bn.weight'] = torch.ones_like(state[f'{unit.torch}.bn.bias'])
    return state


def from_graph(constants: dict[str, np.ndarray]) -> dict[str, torch.Tensor]:
    """Rename and transpose the constants of the frozen graph.

    Args:
        constants: dict node name -> array, from `evaluations.detectors.graphdef.read_constants`.
    Returns:
        State under torchvision's names.
    Raises:
        InceptionWeightsError: Not exactly the published 94 * 5 + 2 weights, or another input normalisation.
    """
    for name, value in _GRAPH_INPUT.items():
        if name in constants and constants[name].tolist() != value:
            raise InceptionWeightsError(
                f'its node {name} holds {constants[name]}, where the published graph has {value}'
            )
    names = {
        f'{unit.graph}/{part}': f'{unit.torch}.{torch_part}'
        for unit in UNITS
        for torch_part, part, _nvidia_part in _PARTS
    }
    names.update({'softmax/weights': 'fc.weight', 'softmax/biases': 'fc.bias'})
    endings = tuple(part for _torch_part, part, _nvidia_part in _PARTS) + (
        'softmax/weights',
        'softmax/biases',
    )
    weights = {name: array for name, array in constants.items() if name.endswith(endings)}
    _compare_names(names, weights)
    state = {}
    for name, array in weights.items():
        tensor = torch.from_numpy(array.copy())
        if tensor.ndim == 4:
            tensor = tensor.permute(3, 2, 0, 1)  # [kh, kw, in, out] -> [out, in, kh, kw]
        elif tensor.ndim == 2:
            tensor = tensor.T  # [2048, 1008] -> [1008, 2048]
        state[names[name]] = tensor.contiguous()
    return state


def _compare_names(expected: Collection[str], found: Collection[str]) -> None:
    """Raise InceptionWeightsError unless two sets of names are the same."""
    missing, unknown = [n for n in expected if n not in found], [n for n in found if n not in expected]
    if missing or unknown:
        parts = [
            f'{kind} {", ".join(names[:3])} ({len(names)} in all)'
            for kind, names in (('missing', missing), ('unknown', unknown))
            if names
        ]
        raise InceptionWeightsError('; '.join(parts))


def _check_state(state: dict[str, torch.Tensor]) -> None:
    """Raise InceptionWeightsError unless names, shapes and values are possible."""
    expected = {
        name: tensor.shape
        for name, tensor in empty_inception().state_dict().items()
        if not name.endswith('num_batches_tracked')
    }
    _compare_names(expected, state)
    for name, shape in expected.items():
        if state[name].shape != shape:
            raise InceptionWeightsError(
                f'{name} has shape {tuple(state[name].shape)} where {tuple(shape)} is expected'
            )
        if not bool(torch.isfinite(state[name]).all()):
            raise InceptionWeightsError(f'{name} holds values that are not finite')
        if name.endswith('running_var') and bool((state[name] < 0).any()):
            raise InceptionWeightsError(f'{name} holds negative variances')
