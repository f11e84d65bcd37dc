# Copyright 2026 The GDD-1S authors.
# SPDX-License-Identifier: Apache-2.0
"""Second spellings of options, from EDM's and GDD's command lines: translated before a config is built."""

from collections.abc import Iterable
from typing import Any

from dnnlib.errors import ArgumentError, arg
from training.choices import BACKBONE_PIXELS, DISTILLATION_LOSSES

# Option -> its one value here, and why another cannot be had.
ONE_VALUE = {
    'd_type': (
        'xl',
        'the other discriminators of the official command line, its default among them, do not exist',
    ),
    'persistent_workers': (
        True,
        'loader processes live as long as the run, since its one pass over the data never ends',
    ),
}


def choose_loss(opts: dict[str, Any], weak: Iterable[str] = ()) -> str:
    """Settle the loss and its name in EDM's command line, each of which implies the other; gdd without.

    Args:
        opts: Dict with `loss` and perhaps `precond`, each one of LOSSES or None.
        weak: As for `translate`.
    Returns:
        One of LOSSES.
    Raises:
        ArgumentError: They differ.
    """
    loss, precond = opts['loss'], opts.get('precond')
    if precond is not None and 'loss' in weak:
        return precond
    chosen = loss or precond or 'gdd'
    if precond not in (None, chosen):
        raise ArgumentError(
            arg('precond', precond), ' does not go with ', arg('loss', loss), '; use ', arg('precond', loss)
        )
    return chosen


def translate(opts: dict[str, Any], weak: Iterable[str] = ()) -> dict[str, Any]:
    """Replace second spellings by what they mean, and fill the defaults of the options they stand for.

    Args:
        opts: Value by name; spellings may be missing, as in the files of a run.
        weak: Names whose values give way to a spelling that says otherwise, such as those of a recipe.
    Returns:
        The same without second spellings.
    Raises:
        ArgumentError: A spelling contradicts an option, or asks for what does not exist.
    """
    opts, weak = dict(opts), set(weak)
    for name, (value, reason) in ONE_VALUE.items():
        asked = opts.pop(name, value)
        if asked != value:
            raise ArgumentError(
                arg(name, asked), f' is not available: {reason}; use ', arg(name, value), ', or leave it out'
            )
    fp16, lpips = opts.pop('fp16', None), opts.pop('lpips', None)
    opts['loss'] = choose_loss(opts, weak)
    opts.pop('precond', None)
    reduced = 'bf16' if opts['loss'] in DISTILLATION_LOSSES else 'fp16'
    _settle(opts, weak, 'fp16', fp16, 'precision', {True: reduced, False: 'fp32'})
    _settle(opts, weak, 'lpips', lpips, 'distance', {True: 'lpips', False: 'l2'})
    if not opts.pop('use_gp', True) and opts.get('r1_type') != 'none':
        _settle(opts, weak, 'use_gp', False, 'r1_type', {False: 'empty'})
    if not opts.pop('interp224', True):
        size = opts.get('d_resolution')
        if size not in (None, 0, BACKBONE_PIXELS) and 'd_resolution' not in weak:
            raise ArgumentError(
                arg('interp224', False),
                ' says that images are not resized, ',
                arg('d_resolution', size),
                ' to what; leave one of them out',
            )
        opts['d_resolution'] = 0
    return opts


def _settle(
    opts: dict[str, Any], weak: set[str], spelling: str, value: Any, name: str, meanings: dict[Any, Any]
) -> None:
    # Let a spelling set the option that it stands for.
    asked = meanings.get(value)
    if asked is None:
        return
    if opts.get(name) not in (None, asked) and name not in weak:
        told = (' with ', arg('loss', opts['loss'])) if spelling == 'fp16' else ()
        raise ArgumentError(
            arg(spelling, value),
            ' means ',
            arg(name, asked),
            *told,
            ', not ',
            arg(name, opts[name]),
            '; leave ',
            arg(spelling),
            ' out',
        )
    opts[name] = asked
