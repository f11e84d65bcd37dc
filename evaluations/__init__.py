# Copyright 2026 The GDD-1S authors.
# SPDX-License-Identifier: Apache-2.0

"""Measuring generated images: detectors, statistics, distances and reports.

    from evaluations import compute_metrics

    compute_metrics(G, ref='datasets/mnist-32x32-train-ref-mnist-classifier.npz', num=2000)

See `evaluations.one_call`, which is imported only when it is asked for.
"""

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from evaluations.one_call import compute_metrics

__all__ = ['compute_metrics']


def __getattr__(name: str) -> Any:
    if name in __all__:
        return getattr(importlib.import_module('evaluations.one_call'), name)
    raise AttributeError(f'module {__name__!r} has no attribute {name!r}')
