# Copyright 2026 The GDD-1S authors.
# SPDX-License-Identifier: Apache-2.0

"""Take the teacher's rows of a comparison from an earlier one, where it measured the same.

Sampling the demo's teacher in 18 steps takes ten times as long as all other rows of its table, and
gives the same numbers each time: the same weights, seeds, detector and reference. The file beside
the teacher, NAME.comparison.json, is an ordinary comparison.json, made without a student.
"""

import json
import os
import shlex
import sys
from collections.abc import Mapping
from typing import Any

from dnnlib.errors import ArgumentError, arg

# What two measurements of a teacher must share; digests, not names, tell files apart.
CONDITIONS = ('metric', 'seeds', 'steps', 'teacher_sha256', 'detector_sha256', 'ref_sha256')


def stored_path(teacher: str) -> str:
    """Return where the measurement of a teacher is kept: beside it, as NAME.comparison.json."""
    return f'{os.path.splitext(teacher)[0]}.comparison.json'


def stored_row(teacher: str, facts: Mapping[str, Any], name: str) -> tuple[dict[str, Any], str] | None:
    """Return a row that was measured before under the same conditions.

    Args:
        teacher: File of the teacher.
        facts:   What the comparison at hand depends on, as in its comparison.json; CONDITIONS are looked at.
        name:    Name of the row.
    Returns:
        The fields of the row (evaluations/sampler_table.py), named as stored and without a speed, which is
        another machine's; and the command that made it. None where there is no file, where it is about
        something else, or has no such row.
    Raises:
        ArgumentError: The file is damaged.
    """
    path = stored_path(teacher)
    if not os.path.isfile(path):
        return None
    try:
        with open(path, encoding='utf-8') as file:
            content = json.load(file)
        if any(content[key] != facts[key] for key in CONDITIONS):
            return None
        rows = {row['name']: dict(row) for row in content['rows']}
        command = str(content['command'])
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise ArgumentError(
            f'{path}: not a stored comparison ({type(error).__name__}: {error}); delete it, or measure with ',
            arg('remeasure', True),
        ) from error
    if name not in rows:
        return None
    return dict(rows[name], name=f'{name} (stored)', images_per_sec=None), command


def this_command() -> str:
    """Return the command line of this process, for the record."""
    return shlex.join(['python', '-m', 'evaluations.teacher_and_student', *sys.argv[1:]])
