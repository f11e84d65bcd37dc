# Copyright 2026 The GDD-1S authors.
# SPDX-License-Identifier: Apache-2.0
"""Test of the random images that stand in for a data set."""

from benchmarks.synthetic_data import SyntheticDataset


def test_synthetic_images():
    data = SyntheticDataset('x', 8, 3, 5, use_labels=True, max_size=5000)
    image, label = data[4321]
    assert image.shape == (3, 8, 8) and image.dtype.name == 'uint8' and label.tolist() == [0, 1, 0, 0, 0]
    assert len(data) == 5000 and data.label_dim == 5 and data.has_labels
    assert data.labels_onehot([0, 4]).tolist() == [[1, 0, 0, 0, 0], [0, 0, 0, 0, 1]]
    plain = SyntheticDataset('x', 8, 1, 5, use_labels=False, max_size=10)
    assert plain[0][1].shape == (0,) and plain.label_dim == 0 and not plain.has_labels
