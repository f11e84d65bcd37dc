# Copyright 2026 The GDD-1S authors.
# SPDX-License-Identifier: Apache-2.0
"""Training: networks, data, losses, distillation loop, samplers and checkpoints.

    from training import load_generator

    G = load_generator('network-snapshot-001000.pkl')
    images = G(64, seed=0)                # float32 [64, C, H, W], -1..1

See `training.image_generator`, which is imported only when it is asked for: `import training` costs nothing.
"""

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from training.image_generator import ImageGenerator, load_generator

__all__ = ['ImageGenerator', 'load_generator']


def __getattr__(name: str) -> Any:
    if name in __all__:
        return getattr(importlib.import_module('training.image_generator'), name)
    raise AttributeError(f'module {__name__!r} has no attribute {name!r}')
