# Copyright 2026 The GDD-1S authors.
# SPDX-License-Identifier: Apache-2.0

"""All statistics in a reference file of any origin.

Formats: evaluation files of EDM and GDD (mu, sigma), of OpenAI (with mu_s, sigma_s and images), of EDM2
(a pickle with one mu and sigma per metric), and our own.
"""

import os

import numpy as np

from dnnlib.errors import ArgumentError, arg
from dnnlib.util import file_sha256, open_url
from evaluations.inputs.reference import Reference, check_statistics, load_reference
from torch_utils.pickle_machine import PickleError, PickleFormatError
from torch_utils.pickle_values import ArrayRecord, read_plain

_LARGEST_FILE = 1 << 30  # EDM2's have 50 MB
_DETECTOR_OF_METRIC = {'fid': 'inception', 'fd_dinov2': 'dinov2-vit-l-14'}  # EDM2's metric names


def load_references(path: str | os.PathLike) -> list[Reference]:
    """Read all statistics of a reference file, one per detector.

    Args:
        path: `.npz` or EDM2 `.pkl` file, or URL.
    Raises:
        ArgumentError: Missing, unreadable, or not holding statistics.
    """
    if not str(path).lower().endswith('.pkl'):
        return [load_reference(path)]
    try:
        local = open_url(path, return_filename=True)
        sha256 = file_sha256(local)
        with open(local, 'rb') as file:
            data = file.read(_LARGEST_FILE + 1)
    except OSError as error:
        raise ArgumentError(
            arg('path', path), f' cannot be read: {error.strerror or error}; give an .npz or .pkl file'
        ) from error
    try:
        if len(data) > _LARGEST_FILE:
            raise PickleFormatError(f'more than {_LARGEST_FILE} bytes')
        references = _known_statistics(read_plain(data, 'a reference file'), os.fspath(path), sha256)
    except PickleError as error:
        raise ArgumentError(
            arg('path', path),
            f' is not a reference file of EDM2, a dict of arrays ({error}); give an .npz file',
        ) from error
    if not references:
        raise ArgumentError(
            arg('path', path),
            f' holds no statistics with mu and sigma under {" or ".join(_DETECTOR_OF_METRIC)}; '
            'give another file',
        )
    for ref in references:
        check_statistics(ref, arg('path', path))
    return references


def _known_statistics(content: object, path: str, sha256: str) -> list[Reference]:
    """Return the statistics of EDM2's nested dict whose metric names are known."""
    if not isinstance(content, dict):
        return []
    count = _image_count(content.get('num_images'))
    return [
        Reference(
            mu=np.array(part['mu'].to_array(), dtype=np.float64),
            sigma=np.array(part['sigma'].to_array(), dtype=np.float64),
            num_images=count,
            detector=_DETECTOR_OF_METRIC[name],
            path=path,
            sha256=sha256,
        )
        for name, part in content.items()
        if name in _DETECTOR_OF_METRIC
        and isinstance(part, dict)
        and {'mu', 'sigma'} <= part.keys()
        and isinstance(part['mu'], ArrayRecord)
        and isinstance(part['sigma'], ArrayRecord)
    ]


def _image_count(value: object) -> int | None:
    """Return EDM2's number of images, None where the file has none."""
    if value is None:
        return None
    if not isinstance(value, (int, float)) or not 0 <= value < 1e15:
        raise PickleFormatError(f'num_images is {str(value)[:40]}, not a number of images')
    return int(value)
