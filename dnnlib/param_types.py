# Copyright 2026 The GDD-1S authors.
# SPDX-License-Identifier: Apache-2.0
"""Types of command-line options: finite numbers in a range that makes sense, and lists of them.

Click's own ranges let `nan` pass, and `inf` where no end is given.
"""

import math
import re

import click

MAX_INT = 2**31 - 1


class Number(click.ParamType):
    """A number from `least` to `most`.

    Args:
        least, most: Ends of the range.
        above:       Leave out `least` itself.
        below:       Leave out `most` itself.
        whole:       Take whole numbers only.
    """

    def __init__(
        self, least: float, most: float, above: bool = False, below: bool = False, whole: bool = False
    ) -> None:
        self.least, self.most, self.above, self.below, self.whole = least, most, above, below, whole
        self.name = 'int' if whole else 'float'

    def convert(self, value: object, param: click.Parameter | None, ctx: click.Context | None) -> float | int:
        """Return the number that a text, or a number of a recipe, stands for."""
        try:
            number = int(str(value)) if self.whole else float(str(value))
        except ValueError:
            kind = 'whole number' if self.whole else 'number'
            self.fail(f'{value!r} is not a {kind}; {self._rule()}', param, ctx)
        if not math.isfinite(number):
            self.fail(f'{value} is not a finite number; {self._rule()}', param, ctx)
        low = number > self.least if self.above else number >= self.least
        high = number < self.most if self.below else number <= self.most
        if not (low and high):
            self.fail(f'{value} is not in the range {self._range()}.', param, ctx)
        return number

    def _range(self) -> str:
        signs = '<' if self.above else '<=', '<' if self.below else '<='
        return f'{_short(self.least)}{signs[0]}x{signs[1]}{_short(self.most)}'

    def _rule(self) -> str:
        return f'give one in the range {self._range()}'


def whole(least: int, most: int = MAX_INT) -> Number:
    """Return the type of whole numbers from `least` to `most`."""
    return Number(least, most, whole=True)


class IntList(click.ParamType):
    """Whole numbers from 1 and ranges such as '1,2,2' or '1-3', as a list of ints.

    Args:
        most:    Largest number.
        entries: Largest number of entries.
    """

    name = 'list'

    def __init__(self, most: int, entries: int = 64) -> None:
        self.most, self.entries = most, entries

    def convert(self, value: object, param: click.Parameter | None, ctx: click.Context | None) -> list[int]:
        """Return the list that a text stands for."""
        if isinstance(value, list):
            return value
        values: list[int] = []
        for part in str(value).split(','):
            match = re.fullmatch(r'\s*(\d{1,9})(?:-(\d{1,9}))?\s*', part)
            first, last = (int(match[1]), int(match[2] or match[1])) if match else (1, 0)
            if first < 1 or last < first or last > self.most or len(values) + last - first >= self.entries:
                self.fail(
                    f'{value!r} must be a list of integers or ranges, such as 1,2,2 or 1-3, '
                    f'of at most {self.entries} numbers up to {self.most}',
                    param,
                    ctx,
                )
            values += range(first, last + 1)
        return values


def _short(number: float) -> str:
    return str(number) if isinstance(number, int) else f'{number:g}'
