# Copyright 2026 The GDD-1S authors.
# SPDX-License-Identifier: Apache-2.0

"""Start values of the discriminator's class embeddings.

The official table has one row per ImageNet class (statistics: mean 0.011, standard deviation
1.078); other data sets take its first rows, which only serve as distinct start values. All
rows are trainable in every head.
"""

import numpy as np
import torch

EMBED_DIM = 320      # width of EfficientNet-Lite0's last stage
TABLE_SCALE = 1.078  # standard deviation of the official table


def make_class_table(label_dim, source, features=None, labels=None):
    """Make the table of class embeddings for `ProjectedDiscriminator`.

    Args:
        label_dim: Number of classes, >= 1.
        source:    Path of an .npy file [rows, 320] (all rows are kept), 'random:SEED', or
                   'computed' for the class means of `features`.
        features:  For 'computed': pooled backbone features [N, 320], `ProjectedFeatures.pooled_features`.
        labels:    For 'computed': one-hot labels [N, label_dim] of the same images.
    Returns:
        float32 [rows, 320], rows >= label_dim.
    Raises:
        ValueError: Unknown source, unreadable file, more classes than rows, or a class without images.
    """
    if source == 'computed':
        return class_means(features, labels, label_dim)
    if source.startswith('random:'):
        return random_table(label_dim, source)
    if not source.endswith('.npy'):
        raise ValueError(f"class table {source!r} is unknown; use a path to an .npy file, 'random:0' or 'computed'")
    return read_table(label_dim, source)


def random_table(label_dim, source):
    """Draw a table with the official standard deviation from 'random:SEED', the same on every machine.

    Raises:
        ValueError: SEED is not a whole number from 0 to 2**32 - 1.
    """
    seed = source.split(':', 1)[1]
    if not seed.isdecimal() or int(seed) >= 2 ** 32:
        raise ValueError(f"class table {source!r}: the seed must be a whole number below 2**32, such as 'random:0'")
    values = np.random.RandomState(int(seed)).standard_normal([label_dim, EMBED_DIM])
    return torch.from_numpy(TABLE_SCALE * values).to(torch.float32)


def read_table(label_dim, path):
    """Read a table [rows, 320] from an .npy file and keep all rows.

    Raises:
        ValueError: The file is missing, unreadable, or does not fit `label_dim`.
    """
    try:
        table = np.load(path, allow_pickle=False)
    except (OSError, ValueError, EOFError) as error:
        raise ValueError(f'class table {path!r} cannot be read: {error}') from error
    if table.ndim != 2 or table.shape[1] != EMBED_DIM or not np.issubdtype(table.dtype, np.floating):
        raise ValueError(f'class table {path!r} holds {table.dtype} {list(table.shape)}; '
                         f'expected floats [rows, {EMBED_DIM}]')
    if table.shape[0] < label_dim:
        raise ValueError(f"class table {path!r} has {table.shape[0]} rows, too few for {label_dim} classes; "
                         "use 'random:0'")
    return torch.from_numpy(table.astype(np.float32))


def class_means(features, labels, label_dim):
    """Compute class means of pooled features, centred over classes and scaled like the official table.

    The mean over classes is removed because images of one data set share most of it, and the
    heads could hardly tell such rows apart. (How the official table was made is not published.)

    Args:
        features:  [N, D].
        labels:    One-hot, [N, label_dim].
        label_dim: Number of classes.
    Returns:
        float32 [label_dim, D] with standard deviation 1.078 (zeros for a single class).
    Raises:
        ValueError: Missing or misshapen arguments, or a class without any image.
    """
    if features is None or labels is None or len(features) != len(labels) or labels.shape[1] != label_dim:
        raise ValueError(f"class table 'computed' needs features [N, {EMBED_DIM}] and one-hot labels [N, {label_dim}]")
    features, labels = features.to(torch.float64), labels.to(torch.float64)
    counts = labels.sum(dim=0)                                  # [K]
    empty = torch.nonzero(counts == 0).flatten().tolist()
    if empty:
        raise ValueError(f"class table 'computed': no image of class {empty[0]} among {len(labels)} "
                         f"({len(empty)} such classes); use more images or 'random:0'")
    means = labels.t() @ features / counts[:, None]             # [K, D]
    means = means - means.mean(dim=0)
    scale = TABLE_SCALE / means.square().mean().sqrt().clamp_min(1e-12)
    return (means * scale).to(torch.float32)
