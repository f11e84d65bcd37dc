# Copyright 2026 The GDD-1S authors.
# SPDX-License-Identifier: Apache-2.0
"""Begin and end of every figure of the studies: matplotlib without a screen, and a file written at once."""

import os
from typing import Any

from dnnlib.util import atomic_write


def new_figure(rows: int = 1, columns: int = 1, **options: Any) -> tuple[Any, Any]:
    """Return (figure, axes) of matplotlib; `options` are those of pyplot.subplots.

    Raises:
        ImportError: matplotlib is not installed.
    """
    import matplotlib

    matplotlib.use('Agg')
    from matplotlib import pyplot

    return pyplot.subplots(rows, columns, layout='constrained', **options)


def save_and_close(figure: Any, path: str | os.PathLike, dpi: int = 110) -> None:
    """Write a figure as PNG, and let go of it."""
    from matplotlib import pyplot

    with atomic_write(path) as file:
        figure.savefig(file, format='png', dpi=dpi)
    pyplot.close(figure)
