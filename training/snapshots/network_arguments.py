# Copyright 2026 The GDD-1S authors.
# SPDX-License-Identifier: Apache-2.0
"""Validate the constructor arguments of a network that come out of a file.

The limits are far beyond every published configuration. They keep a damaged or hostile file from
building millions of layers or from reaching code that expects sane numbers.
"""

import inspect
import math
from collections.abc import Callable
from typing import Any

from torch_utils.pickle_machine import shown
from training import networks
from training.snapshots.pickle_records import SnapshotError, UnknownClassError

UNETS = {'SongUNet': networks.SongUNet, 'DhariwalUNet': networks.DhariwalUNet}
MAX_CHANNELS = 16384
MAX_LEVELS = 12
MAX_BLOCKS = 64


def _integer(low: int, high: int) -> tuple[Callable[[Any], bool], str]:
    return lambda value: type(value) is int and low <= value <= high, f'an integer in {low}..{high}'


def _number(
    low: float = -math.inf, high: float = math.inf, infinite: bool = False
) -> tuple[Callable[[Any], bool], str]:
    def accepts(value: Any) -> bool:
        return type(value) in (int, float) and low <= value <= high and (infinite or math.isfinite(value))

    return accepts, f'a number in {low:g}..{high:g}'


def _choice(*names: str) -> tuple[Callable[[Any], bool], str]:
    return lambda value: isinstance(value, str) and value in names, f'one of {", ".join(names)}'


def _sequence(rule: tuple[Callable[[Any], bool], str], max_length: int) -> tuple[Callable[[Any], bool], str]:
    accepts_item, text = rule

    def accepts(value: Any) -> bool:
        return isinstance(value, (list, tuple)) and len(value) <= max_length and all(map(accepts_item, value))

    return accepts, f'a list of at most {max_length} items, each {text}'


ANY_NUMBER = _number(-1e30, 1e30)
RULES = {
    'img_resolution': _integer(4, 4096),
    'img_channels': _integer(1, MAX_CHANNELS),
    'label_dim': _integer(0, 1_000_000),
    'use_fp16': (lambda value: isinstance(value, bool), 'True or False'),
    'sigma_min': _number(low=0),
    'sigma_max': _number(low=0, infinite=True),
    'sigma_data': _number(low=0),
    'beta_d': _number(low=0),
    'beta_min': _number(low=0),
    'epsilon_t': _number(low=0, high=1),
    'C_1': _number(low=0, high=1),
    'C_2': _number(low=0, high=1),
    'M': _integer(1, 100_000),
    'model_type': _choice(*UNETS),
    'augment_dim': _integer(0, MAX_CHANNELS),
    'model_channels': _integer(1, MAX_CHANNELS),
    'channel_mult': _sequence(_integer(1, MAX_BLOCKS), MAX_LEVELS),
    'channel_mult_emb': _integer(1, MAX_BLOCKS),
    'channel_mult_noise': _integer(1, MAX_BLOCKS),
    'num_blocks': _integer(0, MAX_BLOCKS),
    'attn_resolutions': _sequence(_integer(1, 4096), MAX_BLOCKS),
    'dropout': _number(low=0, high=1),
    'label_dropout': _number(low=0, high=1),
    'embedding_type': _choice('positional', 'fourier'),
    'encoder_type': _choice('standard', 'skip', 'residual'),
    'decoder_type': _choice('standard', 'skip'),
    'resample_filter': _sequence(_number(low=-1e6, high=1e6), 16),
}


def check_arguments(cls: type, arguments: dict) -> None:
    """Check the keywords and values with which a preconditioner shall be constructed.

    Args:
        cls:       Preconditioner class of `training.networks`.
        arguments: Keyword arguments.
    Raises:
        SnapshotError: missing keyword, or a value outside its range.
        UnknownClassError: keyword or U-Net that this project does not have.
    """
    signature = inspect.signature(cls.__init__).parameters
    model_type = arguments.get('model_type', signature['model_type'].default)
    if not isinstance(model_type, str) or model_type not in UNETS:
        raise UnknownClassError(f'model_type={shown(model_type)} must be one of {", ".join(UNETS)}')
    # The preconditioner itself passes these four on to the U-Net.
    given = {'img_resolution', 'in_channels', 'out_channels', 'label_dim'}
    known = set(signature) | set(inspect.signature(UNETS[model_type].__init__).parameters) - given
    known &= set(RULES)
    for name, value in arguments.items():
        if name not in known:
            raise UnknownClassError(
                f'argument {shown(name)} of {cls.__name__} is unknown; known are {", ".join(sorted(known))}'
            )
        accepts, rule = RULES[name]
        if not accepts(value):
            raise SnapshotError(f'argument {name}={shown(value)} of {cls.__name__} must be {rule}')
    for name in ('img_resolution', 'img_channels'):
        if name not in arguments:
            raise SnapshotError(f'argument {name} of {cls.__name__} is missing')
