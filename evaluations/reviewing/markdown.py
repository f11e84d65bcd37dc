# Copyright 2026 The GDD-1S authors.
# SPDX-License-Identifier: Apache-2.0

"""Numbers as a table for a paper."""

from collections.abc import Mapping, Sequence
from typing import Any

_HEAD = ('metric and images', 'value', 'held-out images', 'encoder', 'overlap with training', 'reference')
SHARES = ('class-accuracy', 'authpct', 'nearer-share', 'nearer-to-train')


def format_results(results: Sequence[Mapping[str, Any]], overlaps: Mapping[str, str]) -> str:
    """Return results as a Markdown table, one row per number.

    Args:
        results: As `evaluations.results.compute_results` returns them.
        overlaps: Detector -> relation, see evaluations/reviewing/overlap.py.
    """
    rows = [_HEAD, ('---', '---:', '---:', '---', '---', '---')]
    for result in results:
        names = result['detector'].split(', ')
        relation = ', '.join(dict.fromkeys(overlaps[name] for name in names))
        floor = _format(result['metric'], result['floor']) if 'floor' in result else '-'
        value = _format(result['metric'], result['value'])
        value += f' ± {result["std"]:.2g}' if 'std' in result else ''
        rows.append((result['metric'], value, floor, result['detector'], relation, result['ref']))
    return '\n'.join(f'| {" | ".join(row)} |' for row in rows)


def _format(metric: str, value: float) -> str:
    return f'{100 * value:.2f} %' if metric.startswith(SHARES) else f'{value:.4g}'
