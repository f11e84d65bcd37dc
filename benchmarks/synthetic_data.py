# Copyright 2026 The GDD-1S authors.
# SPDX-License-Identifier: Apache-2.0
"""Random images in place of a data set, with its shape and interface, for measurements of speed."""

import numpy as np
import torch

STORED = 1024  # different images; a data set in memory (--cache) costs no more per image than this one


class SyntheticDataset(torch.utils.data.Dataset):
    """Noise images and labels, drawn once; stands in for training.dataset.ImageFolderDataset.

    Args:
        path:       Name to show; no file is looked at.
        resolution: Side in pixels.
        channels:   1 or 3.
        classes:    Number of classes, 0 for none.
        use_labels: Whether items carry labels.
        max_size:   Number of images.
        xflip, cache: Taken and ignored: neither changes the work per image.
    """

    def __init__(
        self,
        path: str,
        resolution: int,
        channels: int,
        classes: int,
        use_labels: bool,
        max_size: int,
        xflip: bool = False,
        cache: bool = True,
    ) -> None:
        rng = np.random.RandomState(0)
        self._images = rng.randint(256, size=[STORED, channels, resolution, resolution], dtype=np.uint8)
        self.name, self.resolution, self.num_channels = path, resolution, channels
        self.image_shape = [channels, resolution, resolution]
        self.label_dim = classes if use_labels else 0
        self.has_labels = self.has_onehot_labels = self.label_dim > 0
        self._size = max_size

    def __len__(self) -> int:
        return self._size

    def __getitem__(self, idx: int) -> tuple[np.ndarray, np.ndarray]:
        """Return (image uint8 [C, H, W], label float32 [label_dim]) as fresh arrays."""
        return self._images[idx % STORED].copy(), self.labels_onehot(idx)

    def labels_onehot(self, idx: int | list[int] | np.ndarray) -> np.ndarray:
        """Return labels, float32 [label_dim] for one index, else [N, label_dim]."""
        classes = np.asarray(idx) % max(self.label_dim, 1)
        return (classes[..., np.newaxis] == np.arange(self.label_dim)).astype(np.float32)
