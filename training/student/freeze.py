# Copyright 2026 The GDD-1S authors.
# SPDX-License-Identifier: Apache-2.0
"""Which layers of the generator stay at the teacher's weights (GDD-I), by an exact rule.

The official code matches substrings of parameter names, in two places that disagree about the
up and down blocks. Here one rule on the parsed name decides: a parameter is frozen when it lies
inside a residual block (`block*`, `in*`, `up`, `down`) and its layer belongs to the level. This
equals the official rule that chooses the optimizer's parameters, so results are the same. The
other official rule, of the loss, misses the up and down blocks and only wastes gradients on them.
"""

import re

import torch

from dnnlib.errors import ArgumentError, arg, as_option

LEVEL_LAYERS = {
    0: (),
    1: ('conv0', 'conv1', 'proj'),
    2: ('conv0', 'conv1', 'proj', 'qkv'),
    3: ('conv0', 'conv1', 'proj', 'qkv', 'skip'),
}
BLOCK_PATTERN = re.compile(r'model\.(?:enc|dec)\.\d+x\d+_(block\d+|in\d+|up|down)\.(\w+)\.(?:weight|bias)')


def layer_kind(name: str) -> tuple[str, bool]:
    """Describe where a parameter lies: 'conv0' ... inside a block, else the layer's own name.

    Args:
        name: Full parameter name, 'model....'.
    Returns:
        (layer, inside a block).
    """
    match = BLOCK_PATTERN.fullmatch(name)
    if match:
        return match.group(2), True
    layer = name.split('.')[-2]
    return re.sub(r'^\d+x\d+_', '', layer), False


def is_frozen(name: str, level: int) -> bool:
    """Tell whether a parameter is frozen at a level.

    Args:
        name:  Full parameter name, 'model....'.
        level: 0..3.
    Raises:
        ArgumentError: Unknown level.
    """
    if level not in LEVEL_LAYERS:
        raise ArgumentError(
            arg('freeze', level), ' is unknown; levels are 0 (nothing) to 3, GDD-I uses ', arg('freeze', 1)
        )
    layer, inside = layer_kind(name)
    return inside and layer in LEVEL_LAYERS[level]


def freeze_layers(net: torch.nn.Module, level: int) -> list[torch.nn.Parameter]:
    """Switch off gradients of the frozen parameters, on for all others.

    Returns:
        List of the trained parameters.
    """
    for name, param in net.named_parameters():
        param.requires_grad_(not is_frozen(name, level))
    return [param for param in net.parameters() if param.requires_grad]


def block_kind(name: str) -> str:
    """Name the row of a parameter in the table: 'block: conv0', 'up/down: conv0', or a layer outside.

    Args:
        name: Full parameter name, 'model....'.
    """
    match = BLOCK_PATTERN.fullmatch(name)
    if not match:
        return layer_kind(name)[0]
    return f'{"up/down" if match.group(1) in ("up", "down") else "block"}: {match.group(2)}'


def count_by_kind(net: torch.nn.Module, level: int) -> dict[str, list[int]]:
    """Count parameters.

    Returns:
        Dict of block_kind -> [frozen, trained], in the order of the network.
    """
    counts = {}
    for name, param in net.named_parameters():
        counts.setdefault(block_kind(name), [0, 0])[0 if is_frozen(name, level) else 1] += param.numel()
    return counts


def freeze_table(net: torch.nn.Module, level: int) -> list[str]:
    """Return lines with the number of frozen and trained parameters by kind of block and layer."""
    counts = count_by_kind(net, level)
    frozen, trained = (sum(row[i] for row in counts.values()) for i in (0, 1))
    lines = [
        f'Generator at {as_option(arg("freeze", level))}: {frozen:,} of {frozen + trained:,} parameters '
        f'frozen ({100 * frozen / (frozen + trained):.3f} %)',
        f'  {"layer":<24s}{"frozen":>14s}{"trained":>14s}',
    ]
    return lines + [f'  {name:<24s}{row[0]:>14,d}{row[1]:>14,d}' for name, row in counts.items()]
