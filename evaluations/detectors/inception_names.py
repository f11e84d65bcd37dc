# Copyright 2026 The GDD-1S authors.
# SPDX-License-Identifier: Apache-2.0

"""The 94 convolution units of the Inception-2015 graph, under the names of each family of files.

TensorFlow's graph is the origin; torchvision's names are used by pytorch-fid and
torch-fidelity, the third spelling by NVIDIA's and OpenAI's PyTorch ports.
"""

import typing


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


def _unit_names():
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
