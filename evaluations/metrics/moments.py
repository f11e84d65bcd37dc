# Copyright 2026 The GDD-1S authors.
# SPDX-License-Identifier: Apache-2.0

"""Mean and covariance of features, and the reference files that hold them.

Files of other programs are read by evaluations/inputs/references.py.

Legend: N M images, D features, S spatial features.
"""

import dataclasses
import os
import zipfile

import numpy as np
import torch

from dnnlib.util import atomic_write, file_sha256, open_url
from torch_utils import distributed as dist

FORMAT_VERSION = 2  # 1 had no version, preprocessing, spatial statistics and features
_TEXTS = ('detector', 'detector_sha256', 'preprocessing', 'dataset', 'dataset_sha256', 'software')
_NUMBERS = ('num_images', 'features_seed', 'format_version')
_ARRAYS = ('mu', 'sigma', 'mu_s', 'sigma_s')
_MAKE = 'fid.py ref makes one'
# References of published numbers, by file name.
_PUBLISHED_FOLDER = 'https://nvlabs-fi-cdn.nvidia.com/edm/fid-refs'
_PUBLISHED = (
    'cifar10-32x32.npz',
    'ffhq-64x64.npz',
    'afhqv2-64x64.npz',
    'imagenet-64x64.npz',
    'imagenet-64x64-baseline.npz',
)
_BLOCK_ROWS = 1024  # features per matrix product: products of single batches would wait for memory


class FeatureStats:
    """Accumulate mean and covariance of features in one pass, in float64.

    Raw sums are kept (as EDM does), so the parts of several processes add up to
    the same statistics as one process.

    Args:
        dim: Number of features D.
        device: Where to accumulate; the device of the features avoids copies.
    """

    def __init__(self, dim, device='cpu'):
        self.num_images = 0
        self._sum = torch.zeros([dim], dtype=torch.float64, device=device)
        self._outer = torch.zeros([dim, dim], dtype=torch.float64, device=device)
        self._waiting = []  # batches that do not fill a block yet
        self._num_waiting = 0

    def append(self, features):
        """Add the features of a batch, float [N, D]; N may be 0."""
        self._waiting.append(features.detach())
        self._num_waiting += len(features)
        self.num_images += len(features)
        if self._num_waiting >= _BLOCK_ROWS:
            self._add_waiting()

    def _add_waiting(self):
        if self._waiting:
            x = torch.cat(self._waiting).to(self._sum)  # [block, D]
            self._sum += x.sum(dim=0)  # [D]
            self._outer.addmm_(x.T, x)  # [D, D]
            self._waiting, self._num_waiting = [], 0

    def reduce(self):
        """Add up the parts of all processes, in place, on every process."""
        self._add_waiting()
        count = torch.tensor([self.num_images], dtype=torch.float64, device=self._sum.device)
        for part in (self._sum, self._outer, count):
            dist.all_reduce_sum_(part)
        self.num_images = int(count)

    def mean(self):
        """Return the mean, float64 array [D].

        Raises:
            ValueError: No images were added.
        """
        self._require(1, 'a mean')
        return (self._sum / self.num_images).cpu().numpy()

    def cov(self):
        """Return the unbiased covariance (divided by N - 1), float64 array [D, D].

        Raises:
            ValueError: Fewer than 2 images were added.
        """
        self._require(2, 'a covariance')
        mu = self._sum / self.num_images
        return ((self._outer - self.num_images * torch.outer(mu, mu)) / (self.num_images - 1)).cpu().numpy()

    def _require(self, minimum, what):
        if self.num_images < minimum:
            raise ValueError(
                f'{what} needs at least {minimum} images, but there are {self.num_images}; give more images'
            )
        self._add_waiting()


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
    software: str | None = None  # what made the file
    format_version: int | None = None
    has_images: bool = False  # the file holds images as well (arr_0), as OpenAI's do; not stored
    path: str | None = None  # where it was read from; not stored
    sha256: str | None = None  # of the file it was read from; not stored

    def check(self, detector, image_shape):
        """Refuse to compare images against statistics of another kind.

        Args:
            detector: The `Detector` that measures the images.
            image_shape: (C, H, W) of the images.
        Returns:
            Remarks worth printing, list of lines.
        Raises:
            ValueError: Made with another detector, or from images of another shape.
        """
        dim = len(self.mu)
        if self.detector is not None and self.detector != detector.name:
            raise ValueError(
                f'--ref={self.path} was made with detector {self.detector}, but --detector={detector.name}; '
                f'use --detector={self.detector} or another reference ({_MAKE})'
            )
        if dim != detector.feature_dim:
            raise ValueError(
                f'--ref={self.path} holds {dim} features, but detector {detector.name} gives '
                f'{detector.feature_dim}; the reference was made with another detector ({_MAKE})'
            )
        if self.detector_sha256 is None:
            what = 'images' if self.detector else 'detector and images'
            return [
                f'{self.path} does not say which {what} it was made from; its {dim} features are taken for those of '
                f'{detector.name}'
            ]
        if self.detector_sha256 != detector.sha256:
            raise ValueError(
                f'--ref={self.path} was made with other weights of detector {self.detector} '
                f'({self.detector_sha256[:12]}, here {detector.sha256[:12]}); make it again ({_MAKE})'
            )
        if self.preprocessing is not None and self.preprocessing != detector.preprocessing:
            raise ValueError(
                f'--ref={self.path} was made with the preprocessing "{self.preprocessing}", but detector '
                f'{detector.name} now has "{detector.preprocessing}"; make it again ({_MAKE})'
            )
        if self.image_shape != tuple(image_shape):
            raise ValueError(
                f'--ref={self.path} was made from images of shape {self.image_shape} (channels, height, width), '
                f'but these have {tuple(image_shape)}; use a reference of the same resolution ({_MAKE})'
            )
        return []


def save_reference(path, ref):
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
    if ref.features is not None:
        content['features'] = np.asarray(ref.features, dtype=np.float32)
    content['image_shape'] = np.array(ref.image_shape, dtype=np.int64)
    content.update({name: np.str_(getattr(ref, name)) for name in _TEXTS if getattr(ref, name) is not None})
    content.update(
        {name: np.int64(getattr(ref, name)) for name in _NUMBERS if getattr(ref, name) is not None}
    )
    with atomic_write(path) as f:
        np.savez(f, **content)


def load_reference(path, option='--ref'):
    """Read a reference file of ours, of EDM or of OpenAI; nothing in it is executed.

    Args:
        path: `.npz` file or URL with `mu` and `sigma`.
        option: Command-line option that gave it, for messages.
    Returns:
        The `Reference`.
    Raises:
        ValueError: Missing, unreadable, or not holding a mean and a covariance.
    """
    try:
        local = open_url(path, return_filename=True)
        sha256 = file_sha256(local)
    except OSError as err:
        raise ValueError(f'{option}={path} cannot be read: {err.strerror or err}; {_origin(path)}') from err
    try:
        with np.load(local, allow_pickle=False) as npz:
            facts = _read_facts(npz)
    except (
        ValueError,
        KeyError,
        TypeError,
        AttributeError,
        OSError,
        EOFError,
        MemoryError,
        zipfile.BadZipFile,
    ) as err:
        reason = str(err).splitlines()[0] if str(err) else type(err).__name__
        raise ValueError(
            f'{option}={path} is not a reference file, an .npz with mu and sigma ({reason}); {_MAKE}'
        ) from err
    ref = Reference(path=os.fspath(path), sha256=sha256, **facts)
    check_shapes(ref, f'{option}={path}')
    return ref


def _origin(path):
    """Say where a missing reference can be had."""
    folder, name = os.path.split(os.fspath(path))
    return f'fetch it from {_PUBLISHED_FOLDER}/{name} into {folder or "."}' if name in _PUBLISHED else _MAKE


def _read_facts(npz):
    """Return the fields of a `Reference` that an open npz file holds."""
    names = set(npz.files)
    facts = {
        name: np.asarray(npz[name], dtype=np.float64)
        for name in _ARRAYS
        if name in names or name in ('mu', 'sigma')
    }
    if 'features' in names:
        facts['features'] = np.asarray(npz['features'], dtype=np.float32)
    facts.update({name: str(npz[name]) for name in _TEXTS if name in names})
    facts.update({name: int(npz[name]) for name in _NUMBERS if name in names})
    if 'image_shape' in names:
        facts['image_shape'] = tuple(int(v) for v in npz['image_shape'])
    return dict(facts, has_images='arr_0' in names)


def check_shapes(ref, what):
    """Raise ValueError, beginning with `what`, unless the arrays of a `Reference` fit together."""
    for mu, sigma, names in (
        (ref.mu, ref.sigma, 'mu {} and sigma {}; they must be [D] and [D, D]'),
        (ref.mu_s, ref.sigma_s, 'mu_s {} and sigma_s {}; they must be [S] and [S, S]'),
    ):
        if (mu is None) != (sigma is None) or (
            mu is not None and (mu.ndim != 1 or sigma.shape != (mu.size, mu.size))
        ):
            shapes = [None if array is None else array.shape for array in (mu, sigma)]
            raise ValueError(f'{what} holds {names.format(*shapes)}; {_MAKE}')
    if ref.features is not None and (ref.features.ndim != 2 or ref.features.shape[1] != ref.mu.size):
        raise ValueError(
            f'{what} holds features {ref.features.shape}; they must be [M, {ref.mu.size}]; {_MAKE}'
        )
