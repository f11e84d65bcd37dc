# Copyright 2026 The GDD-1S authors.
# SPDX-License-Identifier: Apache-2.0

"""Statistics of a data set, and our reference files; EDM's and OpenAI's have the same layout.

Legend: N M images, D features, S spatial features.
"""

import dataclasses
import os
import typing

import numpy as np

from dnnlib.errors import Arg, ArgumentError, arg
from dnnlib.util import atomic_write, file_sha256, open_url
from evaluations.inputs.npz_file import NpzError, NpzFile

FORMAT_VERSION = 2  # 1 had no version, preprocessing, spatial statistics and features
_TEXTS = ('detector', 'detector_sha256', 'preprocessing', 'dataset', 'dataset_sha256', 'heldout', 'software')
_NUMBERS = ('num_images', 'features_seed', 'heldout_num_images', 'format_version')
_OTHERS = dict(
    features=np.float32, heldout_features=np.float32, features_rows=np.int64, heldout_distance=np.float64
)
_FEATURES = ('features', 'heldout_features')
_ARRAYS = ('mu', 'sigma', 'mu_s', 'sigma_s')
_MAKE = 'fid.py ref makes one'
_LARGEST = 1e100  # of a value in statistics; the products of larger ones would overflow
_ROUNDING = (
    1e-6  # negative variances up to this fraction of the largest are rounding, as in metrics/frechet.py
)
# References of published numbers, by file name.
_PUBLISHED_FOLDER = 'https://nvlabs-fi-cdn.nvidia.com/edm/fid-refs'
_PUBLISHED = (
    'cifar10-32x32.npz',
    'ffhq-64x64.npz',
    'afhqv2-64x64.npz',
    'imagenet-64x64.npz',
    'imagenet-64x64-baseline.npz',
)


class Measuring(typing.Protocol):
    """What a reference asks of a detector; see `evaluations/detectors/registry.py`."""

    name: str
    feature_dim: int
    sha256: str
    preprocessing: str


@dataclasses.dataclass
class Reference:
    """Statistics of a data set and what they were made from.

    Fields other than `mu` and `sigma` are None when the file does not tell them,
    as in the files published with EDM.
    """

    mu: np.ndarray  # float64 [D]
    sigma: np.ndarray  # float64 [D, D]
    num_images: int | None = None
    image_shape: tuple | None = None  # (C, H, W)
    detector: str | None = None
    detector_sha256: str | None = None
    dataset: str | None = None  # base name of the folder or zip
    dataset_sha256: str | None = None  # see `hash_dataset` in evaluations/inputs/image_sources.py
    preprocessing: str | None = None  # resize rule and normalisation of the detector
    mu_s: np.ndarray | None = None  # spatial statistics (sFID), float64 [S]
    sigma_s: np.ndarray | None = None  # float64 [S, S]
    features: np.ndarray | None = None  # of a random subset of the images, float32 [M, D]
    features_seed: int | None = None  # seed of that choice
    features_rows: np.ndarray | None = (
        None  # numbers of these images in the data set, int64 [M], where it was split
    )
    heldout: str | None = None  # which real images were held out
    heldout_num_images: int | None = None
    heldout_distance: float | None = None  # Frechet distance of all of them to mu and sigma
    heldout_features: np.ndarray | None = None  # of a random subset of them, float32 [P, D]
    software: str | None = None  # what made the file
    format_version: int | None = None
    num_stored_images: int = 0  # images in the file (arr_0), as in OpenAI's; not stored
    path: str | None = None  # where it was read from; not stored
    sha256: str | None = None  # of the file it was read from; not stored

    @property
    def has_images(self) -> bool:
        """Whether the file holds images as well."""
        return self.num_stored_images > 0

    @property
    def num_features(self) -> int:
        """Single reference images whose features are stored or can be measured."""
        return self.num_stored_images if self.features is None else len(self.features)

    def check(self, detector: Measuring, image_shape: typing.Sequence[int]) -> list[str]:
        """Refuse to compare images against statistics of another kind.

        Args:
            detector: What measures the images.
            image_shape: (C, H, W) of the images.
        Returns:
            Remarks worth printing, one line each.
        Raises:
            ArgumentError: Made with another detector, or from images of another shape.
        """
        self._check_detector(detector)
        if self.detector_sha256 is None:
            what = 'images' if self.detector else 'detector and images'
            return [
                f'{self.path} does not say which {what} it was made from; its {len(self.mu)} features are '
                f'taken for those of {detector.name}'
            ]
        if self.detector_sha256 != detector.sha256:
            raise ArgumentError(
                self._arg(),
                f' was made with other weights of detector {self.detector} ({self.detector_sha256[:12]}, '
                f'here {detector.sha256[:12]}); make it again ({_MAKE})',
            )
        if self.preprocessing is not None and self.preprocessing != detector.preprocessing:
            raise ArgumentError(
                self._arg(),
                f' was made with the preprocessing "{self.preprocessing}", but detector {detector.name} now '
                f'has "{detector.preprocessing}"; make it again ({_MAKE})',
            )
        if self.image_shape != tuple(image_shape):
            raise ArgumentError(
                self._arg(),
                f' was made from images of shape {self.image_shape} (channels, height, width), but these '
                f'have {tuple(image_shape)}; use a reference of the same resolution ({_MAKE})',
            )
        return []

    def _arg(self) -> Arg:
        return arg('ref', self.path)

    def _check_detector(self, detector: Measuring) -> None:
        if self.detector is not None and self.detector != detector.name:
            raise ArgumentError(
                self._arg(),
                f' was made with detector {self.detector}, but ',
                arg('detector', detector.name),
                '; leave out ',
                arg('detector'),
                f' to measure with that of the reference, or use another reference ({_MAKE})',
            )
        if len(self.mu) != detector.feature_dim:
            raise ArgumentError(
                self._arg(),
                f' holds {len(self.mu)} features, but detector {detector.name} gives {detector.feature_dim}; '
                f'the reference was made with another detector ({_MAKE})',
            )


def save_reference(path: str | os.PathLike, ref: Reference) -> None:
    """Write a reference file, atomically.

    The arrays are named as in the files of EDM and OpenAI, so programs of that family read it too.

    Args:
        path: The `.npz` file to write; its folder must exist.
        ref: The `Reference`; fields that are None are left out.
    """
    content = {
        name: np.asarray(getattr(ref, name), dtype=np.float64)
        for name in _ARRAYS
        if getattr(ref, name) is not None
    }
    for name, dtype in _OTHERS.items():
        if getattr(ref, name) is not None:
            content[name] = np.asarray(getattr(ref, name), dtype=dtype)
    content['image_shape'] = np.array(ref.image_shape, dtype=np.int64)
    content.update({name: np.str_(getattr(ref, name)) for name in _TEXTS if getattr(ref, name) is not None})
    content.update(
        {name: np.int64(getattr(ref, name)) for name in _NUMBERS if getattr(ref, name) is not None}
    )
    with atomic_write(path) as f:
        np.savez(f, **content)


def load_reference(path: str | os.PathLike) -> Reference:
    """Read a reference file of ours, of EDM or of OpenAI; nothing in it is executed.

    Args:
        path: `.npz` file or URL with `mu` and `sigma`.
    Raises:
        ArgumentError: Missing, unreadable, or not holding a mean and a covariance.
    """
    try:
        local = open_url(path, return_filename=True)
        sha256 = file_sha256(local)
    except OSError as error:
        raise ArgumentError(
            arg('path', path), f' cannot be read: {error.strerror or error}; {_origin(path)}'
        ) from error
    try:
        facts = _read_facts(NpzFile(local))
    except NpzError as error:
        raise ArgumentError(
            arg('path', path), f' is not a reference file, an .npz with mu and sigma ({error}); {_MAKE}'
        ) from error
    ref = Reference(path=os.fspath(path), sha256=sha256, **facts)
    check_statistics(ref, arg('path', path))
    return ref


def _origin(path: str | os.PathLike) -> str:
    """Say where a missing reference can be had."""
    folder, name = os.path.split(os.fspath(path))
    return f'fetch it from {_PUBLISHED_FOLDER}/{name} into {folder or "."}' if name in _PUBLISHED else _MAKE


def _read_facts(npz: NpzFile) -> dict[str, typing.Any]:
    """Return the fields of a `Reference` that an npz file holds."""
    facts = {
        name: _numbers(npz, name, np.float64)
        for name in _ARRAYS
        if name in npz.headers or name in ('mu', 'sigma')
    }
    facts.update({name: _numbers(npz, name, dtype) for name, dtype in _OTHERS.items() if name in npz.headers})
    facts.update({name: _text(npz, name) for name in _TEXTS if name in npz.headers})
    for name in _NUMBERS:
        if name in npz.headers:
            [facts[name]] = _whole_numbers(npz, name, count=1)
    if 'image_shape' in npz.headers:
        facts['image_shape'] = _whole_numbers(npz, 'image_shape', count=3)
    images = npz.headers['arr_0'].shape if 'arr_0' in npz.headers else ()
    return dict(facts, num_stored_images=images[0] if images else 0)


def _numbers(npz: NpzFile, name: str, dtype: type) -> np.ndarray:
    array = npz.load(name)
    if array.dtype.kind not in 'iuf':
        raise NpzError(f'{name} holds {array.dtype}, not numbers')
    return np.asarray(array, dtype=dtype)


def _text(npz: NpzFile, name: str) -> str:
    array = npz.load(name)
    if array.shape != () or array.dtype.kind != 'U':
        raise NpzError(f'{name} is {array.dtype} {array.shape}, not one text')
    return ' '.join(str(array).split())


def _whole_numbers(npz: NpzFile, name: str, count: int) -> tuple[int, ...]:
    array = npz.load(name)
    if array.dtype.kind not in 'iuf' or array.size != count or not np.isfinite(array).all():
        raise NpzError(f'{name} is {array.dtype} {array.shape}, not {count} whole number{"s" * (count > 1)}')
    return tuple(int(value) for value in array.reshape(-1))


def check_statistics(ref: Reference, source: Arg) -> None:
    """Refuse statistics that no images have, before anything is measured against them.

    Args:
        ref: The `Reference`.
        source: Where it comes from, first part of the message.
    Raises:
        ArgumentError: Arrays that do not fit together, values that are not finite, or negative variances.
    """
    _check_shapes(ref, source)
    check_values(source, mu=ref.mu, sigma=ref.sigma)
    check_values(source, **{name: getattr(ref, name) for name in _FEATURES if getattr(ref, name) is not None})
    if ref.mu_s is not None:
        check_values(source, mu_s=ref.mu_s, sigma_s=ref.sigma_s)


def check_values(source: Arg, **arrays: np.ndarray) -> None:
    """Refuse numbers that no images give: not finite, absurd, or covariances with negative variances.

    Args:
        source: Where they come from, first part of the message.
        arrays: By name; `sigma` and `sigma_s` are covariances [D, D].
    Raises:
        ArgumentError: For the first such array.
    """
    for name, values in arrays.items():
        if values.size and not max(abs(float(values.min())), abs(float(values.max()))) <= _LARGEST:
            raise ArgumentError(
                source, f' holds values in {name} that are not finite, or beyond {_LARGEST:g}; {_MAKE}'
            )
        if name.startswith('sigma'):
            variances = np.diagonal(values)
            if variances.size == 0 or variances.min() < -_ROUNDING * max(variances.max(), 1):
                raise ArgumentError(source, f' holds a {name} that is no covariance; {_MAKE}')


def _check_shapes(ref: Reference, source: Arg) -> None:
    for mu, sigma, names in (
        (ref.mu, ref.sigma, 'mu {} and sigma {}; they must be [D] and [D, D]'),
        (ref.mu_s, ref.sigma_s, 'mu_s {} and sigma_s {}; they must be [S] and [S, S]'),
    ):
        if (mu is None) != (sigma is None) or (
            mu is not None and (mu.ndim != 1 or sigma.shape != (mu.size, mu.size))
        ):
            shapes = [None if array is None else array.shape for array in (mu, sigma)]
            raise ArgumentError(source, f' holds {names.format(*shapes)}; {_MAKE}')
    for name in _FEATURES:
        values = getattr(ref, name)
        if values is not None and (values.ndim != 2 or values.shape[1] != ref.mu.size):
            raise ArgumentError(
                source, f' holds {name} {values.shape}; they must be [M, {ref.mu.size}]; {_MAKE}'
            )
    if ref.features_rows is not None and ref.features_rows.shape != (len(ref.features),):
        raise ArgumentError(
            source, f' holds features_rows {ref.features_rows.shape}, one per row of features; {_MAKE}'
        )
