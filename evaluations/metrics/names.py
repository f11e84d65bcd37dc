# Copyright 2026 The GDD-1S authors.
# SPDX-License-Identifier: Apache-2.0

"""Which metrics there are, and how a number is called.

A name says what was measured, with which detector, on how many images. The names of the literature
are kept for its protocol: only the Frechet distance of Inception features is called FID, and only
50,000 images make it fid50k.
"""

import re

from dnnlib.errors import ArgumentError, arg

_CLASSIC = ('fid', 'sfid', 'is', 'kid', 'pr', 'dc')
METRICS = (*_CLASSIC, 'fid-inf', 'mind', 'sw', 'cmmd', 'fdr', 'memorization')
LIVE_METRICS = ('fd', *_CLASSIC)  # while training, a number of images follows
_LIVE_NAME = re.compile(rf'({"|".join(LIVE_METRICS)})(\d{{1,9}})(k?)')
# Widths of features by which statistics without a detector name are recognised.
DETECTOR_OF_WIDTH = {2048: 'inception', 1024: 'dinov2-vit-l-14', 512: 'clip-vit-b-32'}
PROTOCOL_IMAGES = 50000  # images behind published numbers
_FRECHET_NAMES = {'inception': 'fid', 'clip-vit-b-32': 'clip-fid', 'dinov2-vit-l-14': 'fd-dinov2-'}


def parse_metrics(text: str) -> list[str]:
    """Return the metrics of a comma-separated list, in the given order.

    Args:
        text: For instance 'fid,is,pr'. `fid` is the Frechet distance of any detector.
    Raises:
        ArgumentError: An unknown or repeated name, or none.
    """
    names = [name.strip().lower() for name in text.split(',')]
    wrong = [name for name in names if name not in METRICS]
    if wrong:
        raise ArgumentError(
            arg('metrics', text), f': {wrong[0]!r} is not known; write some of {",".join(METRICS)}'
        )
    if len(set(names)) < len(names):
        raise ArgumentError(
            arg('metrics', text), f' holds a metric twice; write {",".join(dict.fromkeys(names))}'
        )
    return names


def parse_live_metrics(text: str) -> list[str]:
    """Return the metrics to measure while training, such as ['fd2k', 'is50k'], from a comma-separated list.

    A name is one of METRICS, or `fd` for the Frechet distance of any detector, and a number of images.

    Args:
        text: For instance 'fid10k,fd2000'.
    Raises:
        ArgumentError: An unknown or repeated name, fewer than 2 images, or no name.
    """
    names = [name.strip().lower() for name in text.split(',')]
    for name in names:
        match = _LIVE_NAME.fullmatch(name)
        if not match or split_live_metric(name)[1] < 2:
            raise ArgumentError(
                arg('metrics', text),
                f': {name!r} is not known; write one of {",".join(LIVE_METRICS)} and a number of '
                'images, at least 2, such as fd10k or fid50k',
            )
    kept = {}
    for name in names:
        kept.setdefault(split_live_metric(name), name)
    if len(kept) < len(names):
        raise ArgumentError(arg('metrics', text), f' holds a metric twice; write {",".join(kept.values())}')
    return names


def split_live_metric(name: str) -> tuple[str, int]:
    """Return (kind, number of images) of a name that was accepted: ('fd', 2000) for 'fd2k'."""
    kind, count, thousands = _LIVE_NAME.fullmatch(name).groups()
    return kind, int(count) * (1000 if thousands else 1)


def is_published_protocol(detector_name: str) -> bool:
    """Tell whether papers report distances of this detector's features."""
    return detector_name in _FRECHET_NAMES


def metric_name(detector_name: str, kind: str, num_images: int) -> str:
    """Return the name under which a number is reported.

    Args:
        detector_name: Name of the detector.
        kind: 'fid', 'sfid', 'is', 'kid', 'precision', 'recall', 'density', 'coverage', 'class-accuracy',
            or another of the names in docs/metrics.md.
        num_images: Images that were measured.
    Returns:
        For instance 'fid50k', 'clip-fid50k', 'fd-dinov2-50k', 'is50k', 'frechet-mnist-classifier-2000'.
    """
    count = f'{num_images // 1000}k' if num_images % 1000 == 0 else str(num_images)
    if kind == 'fid' and detector_name in _FRECHET_NAMES:
        return f'{_FRECHET_NAMES[detector_name]}{count}'
    if detector_name == 'inception' and kind != 'cmmd':  # CMMD is published of CLIP features only
        return f'{kind}{count}'
    return f'{kind if kind == "sfid" else kind.replace("fid", "frechet")}-{detector_name}-{num_images}'
