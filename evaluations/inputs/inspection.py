# Copyright 2026 The GDD-1S authors.
# SPDX-License-Identifier: Apache-2.0

"""What a reference file or an image pack holds, in words.

Legend: N images, D features.
"""

import os
from typing import Any

import numpy as np

from dnnlib.errors import ArgumentError, arg
from dnnlib.util import open_url
from evaluations.inputs.npz_file import Header, NpzError, NpzFile
from evaluations.inputs.reference import Reference, load_reference
from evaluations.inputs.references import load_references
from evaluations.metrics.names import DETECTOR_OF_WIDTH, metric_name

_MAX_NAMES = 16
# What is known about members of an .npz, by name.
_MEANINGS = {
    'mu': 'mean of the features',
    'sigma': 'covariance of the features',
    'mu_s': 'mean of the spatial features (sFID)',
    'sigma_s': 'covariance of the spatial features (sFID)',
    'features': 'features of a random subset of the images (KID, precision/recall, density/coverage)',
    'arr_0': 'images',
    'arr_1': 'class numbers of the images',
    'mu_clip': 'mean of CLIP features before the projection (not those of CLIP-FID; unused)',
    'sigma_clip': 'covariance of CLIP features before the projection (not those of CLIP-FID; unused)',
}


def describe_file(path: str | os.PathLike) -> list[str]:
    """Explain a reference file or an image pack, in lines.

    Args:
        path: `.npz` or `.pkl` file, or URL.
    Raises:
        ArgumentError: Unreadable, or of another kind.
    """
    if str(path).lower().endswith('.pkl'):
        references = load_references(path)
        lines = [f'{path}: statistics of EDM2, sha256 {references[0].sha256}']
        for ref in references:
            lines += _describe_statistics(ref)
        return lines
    headers = _read_headers(path)
    if not {'mu', 'sigma'} <= headers.keys() and 'arr_0' not in headers:
        raise ArgumentError(
            arg('path', path),
            ' holds neither statistics (mu, sigma) nor images (arr_0), but '
            f'{", ".join(list(headers)[:_MAX_NAMES]) or "nothing"}; give a reference file or an image pack',
        )
    lines = [f'{path}: {_kind(headers)}']
    for name, header in headers.items():
        if header.shape or name in _MEANINGS:
            meaning = _MEANINGS.get(name, 'unused' if name != 'image_shape' else 'see below')
            lines.append(f'  {name:<12s} {header.dtype} {list(header.shape)}: {meaning}')
    if 'mu' in headers:
        lines += _describe_statistics(load_reference(path))
    if 'arr_0' in headers and headers['arr_0'].shape:
        use = ', and as the reference of kid, pr and dc' if 'mu' in headers else ', and evaluations.evaluator'
        lines.append(f'  its {headers["arr_0"].shape[0]} images serve fid.py calc --images={use}')
    return lines


def _kind(members: dict[str, Header]) -> str:
    if 'format_version' in members or 'detector' in members:
        return 'reference statistics of this project'
    if 'arr_0' not in members:
        return (
            'statistics as EDM, GDD and pytorch-fid write them; '
            'the file does not say of which images and detector'
        )
    return (
        'reference batch as OpenAI publishes it' if 'mu' in members else 'image pack (samples, no statistics)'
    )


def _read_headers(path: str | os.PathLike) -> dict[str, Header]:
    """Return what the arrays in an .npz file say of themselves, by name."""
    try:
        local = open_url(path, return_filename=True)
        os.stat(local)
    except OSError as error:
        raise ArgumentError(
            arg('path', path),
            f' cannot be read: {error.strerror or error}; give a reference file or an image pack',
        ) from error
    try:
        return NpzFile(local).headers
    except NpzError as error:
        raise ArgumentError(
            arg('path', path), f' is not an .npz file ({error}); give a reference file or an image pack'
        ) from error


def _describe_statistics(ref: Reference) -> list[str]:
    """Lines about one `Reference`."""
    detector = ref.detector or DETECTOR_OF_WIDTH.get(ref.mu.size)
    named = ref.detector or (
        f'not named; {ref.mu.size} features suggest {detector}' if detector else 'not named'
    )
    lines = [f'  {name + ":":<15s} {value}' for name, value in _facts(ref, named) if value is not None]
    return lines + (
        [f'  {"serves for:":<15s} {metric_name(detector, "fid", 50000)} and the like'] if detector else []
    )


def _facts(ref: Reference, detector: str) -> list[tuple[str, Any]]:
    """What a reference says of itself, by heading; None where it says nothing."""
    return [
        ('detector', detector),
        ('weights', ref.detector_sha256 and f'sha256 {ref.detector_sha256}'),
        ('preprocessing', ref.preprocessing),
        (
            'features',
            f'{ref.mu.size}, |mean| {np.linalg.norm(ref.mu):g}, trace of covariance {np.trace(ref.sigma):g}',
        ),
        ('images', ref.num_images),
        ('image shape', ref.image_shape and '{} channels, {} x {} pixels'.format(*ref.image_shape)),
        ('data set', ref.dataset and f'{ref.dataset}, sha256 {ref.dataset_sha256}'),
        (
            'subset',
            None if ref.features is None else f'{len(ref.features)} features, seed {ref.features_seed}',
        ),
        ('made with', ref.software),
        ('format', ref.format_version),
        ('file', f'sha256 {ref.sha256}'),
    ]
