# Copyright 2026 The GDD-1S authors.
# SPDX-License-Identifier: Apache-2.0

"""Mean and covariance of features, and the reference files that hold them.

Legend: N images, D features.
"""

import dataclasses
import hashlib
import io
import zipfile

import numpy as np
import torch

from dnnlib.util import atomic_write, open_url
from torch_utils import distributed as dist

_TEXTS = ('detector', 'detector_sha256', 'dataset', 'dataset_sha256')
_MAKE = 'fid.py ref makes one'


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

    def append(self, features):
        """Add the features of a batch, float [N, D]; N may be 0."""
        x = features.detach().to(self._sum)         # [N, D]
        self._sum += x.sum(dim=0)                   # [D]
        self._outer += x.T @ x                      # [D, D]
        self.num_images += len(x)

    def reduce(self):
        """Add up the parts of all processes, in place, on every process."""
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
            raise ValueError(f'{what} needs at least {minimum} images, but there are {self.num_images}; give more images')


@dataclasses.dataclass
class Reference:
    """Statistics of a data set and what they were made from.

    Fields other than `mu` and `sigma` are None when the file does not tell them,
    as in the files published with EDM.
    """

    mu: np.ndarray                      # float64 [D]
    sigma: np.ndarray                   # float64 [D, D]
    num_images: int | None = None
    image_shape: tuple | None = None    # (C, H, W)
    detector: str | None = None
    detector_sha256: str | None = None
    dataset: str | None = None          # base name of the folder or zip
    dataset_sha256: str | None = None   # see `hash_dataset` in evaluations/measure.py
    path: str | None = None             # where it was read from; not stored
    sha256: str | None = None           # of the file it was read from; not stored

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
            raise ValueError(f'--ref={self.path} was made with detector {self.detector}, but --detector={detector.name}; '
                             f'use --detector={self.detector} or another reference ({_MAKE})')
        if dim != detector.feature_dim:
            raise ValueError(f'--ref={self.path} holds {dim} features, but detector {detector.name} gives '
                             f'{detector.feature_dim}; the reference was made with another detector ({_MAKE})')
        if self.detector is None:
            return [f'{self.path} does not say which detector and images it was made from; assuming they fit']
        if self.detector_sha256 != detector.sha256:
            raise ValueError(f'--ref={self.path} was made with other weights of detector {self.detector} '
                             f'({self.detector_sha256[:12]}, here {detector.sha256[:12]}); make it again ({_MAKE})')
        if self.image_shape != tuple(image_shape):
            raise ValueError(f'--ref={self.path} was made from images of shape {self.image_shape} (channels, height, width), '
                             f'but these have {tuple(image_shape)}; use a reference of the same resolution ({_MAKE})')
        return []


def save_reference(path, ref):
    """Write a reference file, atomically.

    The arrays are named as in EDM's files, so programs of that family read it too.

    Args:
        path: The `.npz` file to write; its folder must exist.
        ref: The `Reference`; every stored field must be set.
    """
    content = io.BytesIO()
    np.savez(content, mu=ref.mu, sigma=ref.sigma, num_images=np.int64(ref.num_images),
             image_shape=np.array(ref.image_shape, dtype=np.int64), **{k: np.str_(getattr(ref, k)) for k in _TEXTS})
    with atomic_write(path) as f:
        f.write(content.getvalue())


def load_reference(path, option='--ref'):
    """Read a reference file of ours or of EDM; nothing in it is executed.

    Args:
        path: `.npz` file or URL with `mu` and `sigma`.
        option: Command-line option that gave it, for messages.
    Returns:
        The `Reference`.
    Raises:
        ValueError: Missing, unreadable, or not holding a mean and a covariance.
    """
    try:
        with open_url(path) as f:
            data = f.read()
    except OSError as err:
        raise ValueError(f'{option}={path} cannot be read: {err.strerror or err}; {_MAKE}') from err
    try:
        with np.load(io.BytesIO(data), allow_pickle=False) as npz:
            mu, sigma = (np.asarray(npz[name], dtype=np.float64) for name in ('mu', 'sigma'))
            facts = {name: str(npz[name]) for name in _TEXTS if name in npz}
            if 'num_images' in npz:
                facts['num_images'] = int(npz['num_images'])
            if 'image_shape' in npz:
                facts['image_shape'] = tuple(int(v) for v in npz['image_shape'])
    except (ValueError, KeyError, TypeError, OSError, EOFError, zipfile.BadZipFile) as err:
        raise ValueError(f'{option}={path} is not a reference file, an .npz with mu and sigma ({err}); {_MAKE}') from err
    if mu.ndim != 1 or sigma.shape != (mu.size, mu.size):
        raise ValueError(f'{option}={path} holds mu {mu.shape} and sigma {sigma.shape}; they must be [D] and [D, D]; {_MAKE}')
    return Reference(mu=mu, sigma=sigma, path=str(path), sha256=hashlib.sha256(data).hexdigest(), **facts)
