# Copyright 2026 The GDD-1S authors.
# SPDX-License-Identifier: Apache-2.0
"""Which curves of a run are looked at together: one list of panels for figures and pages."""

import dataclasses
from collections.abc import Sequence

from reports.run_folder import RunFolder

LOG_RANGE = 20  # values that differ by more than this factor are drawn on a logarithmic axis


@dataclasses.dataclass(frozen=True)
class Curve:
    """Points (x, y) of a statistic, x in kimg; `run` and `kind` number the runs and the statistics."""

    label: str
    x: list[float]
    y: list[float]
    run: int = 0
    kind: int = 0


@dataclasses.dataclass(frozen=True)
class Panel:
    """Curves that share a picture.

    Attributes:
        title:  What is shown, with its unit.
        about:  One sentence: what to look for.
        curves: At least one, each with at least one point.
        log:    Draw y on a logarithmic axis.
    """

    title: str
    about: str
    curves: list[Curve]
    log: bool = False


# Title, what to look for, (label, statistic) of each curve, whether a wide range is drawn logarithmically.
PANELS = (
    (
        'Adversarial losses, per image',
        'Where D cannot tell, its non-saturating loss is 1.39 (2 ln 2) per backbone.',
        (('G', 'Loss/G/loss'), ('D', 'Loss/D/loss')),
        True,
    ),
    ('Distance to targets', 'Of instance-based distillation.', (('distance', 'Loss/dist/fake'),), True),
    ('Denoising loss', 'Weighted, per element.', (('loss', 'Loss/loss'),), True),
    (
        'Logits of D',
        'Real images above, generated ones below; a gap that keeps growing means that D wins.',
        (('real', 'Loss/logits/real'), ('generated', 'Loss/logits/fake')),
        False,
    ),
    (
        'Sign rate of real logits',
        'Mean sign: 0 where D cannot tell, 1 where it knows all training images.',
        (('real', 'Loss/signs/real'),),
        False,
    ),
    ('R1 penalty', 'Squared gradient of D at real images.', (('penalty', 'Loss/r1_penalty'),), True),
    (
        'Gradient norms',
        'Before the optimizer step.',
        (('all', 'Grad/norm'), ('G', 'Grad/G/norm'), ('D', 'Grad/D/norm'), ('R1', 'Grad/R1/norm')),
        True,
    ),
    (
        'Steps with non-finite gradients',
        'All since the beginning.',
        (('steps', 'Progress/nonfinite_steps'),),
        False,
    ),
    ('Augmentation strength', 'Probability p of ADA.', (('p', 'Progress/augment'),), False),
    ('Images per second', 'Metrics and snapshots not counted.', (('rate', 'Timing/img_per_sec'),), False),
)


def make_panels(runs: Sequence[RunFolder]) -> list[Panel]:
    """Return the panels for which some run has a number; metrics come first, distances before others."""
    panels = _metric_panels(runs)
    for title, about, statistics, log in PANELS:
        curves = []
        for number, run in enumerate(runs):
            for kind, (label, name) in enumerate(statistics):
                x, y = run.curve(name)
                if x:
                    curves.append(Curve(label, x, y, number, kind))
        if curves:
            panels.append(Panel(title, about, curves, log and _is_wide(curves)))
    return panels


def _metric_panels(runs: Sequence[RunFolder]) -> list[Panel]:
    names = dict.fromkeys(item.name for run in runs for item in run.measurements if item.kimg is not None)
    panels = []
    for name in names:
        curves = []
        for number, run in enumerate(runs):
            points = [(m.kimg, m.value) for m in run.measurements if m.name == name and m.kimg is not None]
            if points:
                x, y = map(list, zip(*points))
                curves.append(Curve('value', x, y, number))
        panels.append(Panel(name, 'Of the averaged network, at snapshots.', curves, _is_wide(curves)))
    return panels


def _is_wide(curves: Sequence[Curve]) -> bool:
    values = [value for curve in curves for value in curve.y]
    return min(values) > 0 and max(values) > LOG_RANGE * min(values)
