# Copyright 2026 The GDD-1S authors.
# SPDX-License-Identifier: Apache-2.0
"""What stands below the table of teacher and student: precision, recall, another encoder, and copies.

Legend: Q samples, T training images, P other real images, D features.
"""

import typing

import torch

from evaluations.metrics.frechet import frechet_distance
from evaluations.metrics.manifold import PR_NEIGHBOURS, precision_recall
from evaluations.metrics.memorization import authenticity, nearer_share
from evaluations.metrics.moments import FeatureStats
from evaluations.metrics.nearest import nearest_neighbours, nearest_others
from evaluations.metrics.vendi import vendi_score
from evaluations.reviewing.overlap import Training, find_overlap


class Sets(typing.NamedTuple):
    """Features of one encoder, float [Q, D], [T, D] and [P, D]."""

    samples: torch.Tensor
    training: torch.Tensor
    others: torch.Tensor


def closing_lines(own: Sets, other: Sets, names: tuple[str, str], training: Training | None) -> list[str]:
    """Return the lines; in brackets stands what real images give that were treated as samples.

    Args:
        own, other: Features of the table's encoder and of another one.
        names: Of the two encoders.
        training: What trained the student, or None if that is unknown.
    """
    values, real = (
        precision_recall(samples=part, reference=own.training) for part in (own.samples, own.others)
    )
    distance, floor = (_distance(part, other.training) for part in (other.samples, other.others))
    among = nearest_others(own.training)
    near, near_real = (nearest_neighbours(part, own.training) for part in (own.samples, own.others))
    shares = [
        f'{word} {100 * share(near, among):.1f} % ({100 * share(near_real, among):.1f} %)'
        for word, share in (('authentic', authenticity), ('nearer than half', nearer_share))
    ]
    overlaps = ' and '.join(f'{find_overlap(name, training).relation} ({name})' for name in names)
    return [
        f'Student beside {len(own.training)} training images; '
        f'in brackets {len(own.others)} other real images',
        f'precision {values.precision:.3f} ({real.precision:.3f}), '
        f'recall {values.recall:.3f} ({real.recall:.3f}), k {PR_NEIGHBOURS}, {names[0]}',
        f'Frechet distance {distance:.3f} ({floor:.3f}), {names[1]}',
        f'memorisation: {", ".join(shares)}, {int((near.distances == 0).sum())} exact copies, Vendi '
        f'{vendi_score(own.samples):.1f} ({vendi_score(own.others):.1f}), {names[0]}',
        f'overlap of the encoders with training: {overlaps}',
    ]


def _distance(samples: torch.Tensor, training: torch.Tensor) -> float:
    moments = []
    for features in (samples, training):
        stats = FeatureStats(features.shape[1], features.device)
        stats.append(features)
        moments += [stats.mean(), stats.cov()]
    return frechet_distance(*moments)
