# Copyright 2026 The GDD-1S authors.
# SPDX-License-Identifier: Apache-2.0
"""train.py --compat=official with one random projection for all processes, for the comparison of the two.

    torchrun --standalone --nproc_per_node=4 -m benchmarks.one_projection --recipe=demo --compat=official

The official code draws a projection in every process, so that each judges by other mixtures of the same
features. Here all draw that of the first process, and nothing else differs.
"""

import sys
from typing import Any

import train
from dnnlib.cli import run_script
from training.adversarial.builders import build_features
from training.tasks import distillation


def build_equal_features(
    feature_kwargs: Any, resolution: int, device: Any, seed: int, compat: str, teacher: Any = None
) -> Any:
    """Build the frozen feature networks with the projection of the first process; arguments as there."""
    return build_features(feature_kwargs, resolution, device, seed, 'clean', teacher)


if __name__ == '__main__':
    sys.argv[0] = 'train.py'
    distillation.build_features = build_equal_features
    run_script(train.main)
