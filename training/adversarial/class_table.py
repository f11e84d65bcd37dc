# Copyright 2026 The GDD-1S authors.
# SPDX-License-Identifier: Apache-2.0

"""Start values of the discriminator's class embeddings.

The official table has one row per ImageNet class (statistics: mean 0.011, standard deviation
1.078); other data sets take its first rows, which only serve as distinct start values. All
rows are trainable in every head. Rows beyond the number of classes never get a gradient, so whether
they are kept changes no result.
"""

import io
import math

import numpy as np
import torch

from dnnlib.errors import ArgumentError
from dnnlib.util import is_url, open_url
from torch_utils.pickle_machine import PickleError
from torch_utils.pickle_values import ModuleRecord, TensorRecord, read_plain

EMBED_DIM = 320  # width of EfficientNet-Lite0's last stage, and of the official table
TABLE_SCALE = 1.078  # standard deviation of the official table
MAX_FILE_BYTES = 1 << 30


def make_class_table(
    label_dim: int,
    source: str,
    features: torch.Tensor | None = None,
    labels: torch.Tensor | None = None,
    all_rows: bool = False,
) -> torch.Tensor:
    """Make the table of class embeddings for `ProjectedDiscriminator`.

    Args:
        label_dim: Number of classes, >= 1.
        source:    Path or URL of a file (see `read_table`), 'random:SEED', or 'computed' for the class
                   means of `features`.
        features:  For 'computed': pooled backbone features [N, D], `ProjectedFeatures.pooled_features`.
        labels:    For 'computed': one-hot labels [N, label_dim] of the same images.
        all_rows:  Keep all rows of a file (official), not only the first `label_dim`.
    Returns:
        float32 [rows, D], rows >= label_dim; D is 320 for the official table and random ones.
    Raises:
        ArgumentError: Unknown source, unreadable file, more classes than rows, or a class without images.
    """
    if source == 'computed':
        return class_means(features, labels, label_dim)
    if source.startswith('random:'):
        return random_table(label_dim, source)
    if not source or not set(source) & set('./\\'):
        raise ArgumentError(
            f"class table {source!r} is unknown; use a path or URL of a file, 'random:0' or 'computed'"
        )
    table = read_table(label_dim, source)
    return table if all_rows else table[:label_dim].clone()


def random_table(label_dim: int, source: str) -> torch.Tensor:
    """Draw a table with the official standard deviation from 'random:SEED', the same on every machine.

    Raises:
        ArgumentError: SEED is not a whole number from 0 to 2**32 - 1.
    """
    seed = source.split(':', 1)[1]
    if not seed.isdecimal() or int(seed) >= 2**32:
        raise ArgumentError(
            f"class table {source!r}: the seed must be a whole number below 2**32, such as 'random:0'"
        )
    values = np.random.RandomState(int(seed)).standard_normal([label_dim, EMBED_DIM])
    return torch.from_numpy(TABLE_SCALE * values).to(torch.float32)


def read_table(label_dim: int, path_or_url: str) -> torch.Tensor:
    """Read a table from a file or, through the download cache, a URL.

    Args:
        label_dim:   Number of classes.
        path_or_url: An .npy file of floats [rows, D], or the pickle of the official code (of StyleGAN-XL, by
                     dill), a dict with a torch.nn.Embedding under 'embed', of which nothing is executed.
    Returns:
        float32 [rows, D], all rows.
    Raises:
        ArgumentError: The file is missing, unreadable, or does not fit `label_dim`.
    """
    name = f'class table {path_or_url!r}'
    try:
        path = open_url(path_or_url, return_filename=True) if is_url(path_or_url) else path_or_url
        with open(path, 'rb') as file:
            data = file.read(MAX_FILE_BYTES)
        table = _embedding_in_pickle(data) if data[:1] == b'\x80' else _array_in_npy(data)
    except Exception as error:  # NumPy raises nearly anything for a damaged file.
        reason = ' '.join(str(error).split())[:200]
        raise ArgumentError(
            f'{name} cannot be read ({type(error).__name__}: {reason}); give an .npy file of floats '
            "[rows, width], or use 'random'"
        ) from error
    if (
        not isinstance(table, np.ndarray)
        or table.ndim != 2
        or table.shape[1] < 1
        or not np.issubdtype(table.dtype, np.floating)
    ):
        found = f'{table.dtype} {list(table.shape)}' if isinstance(table, np.ndarray) else 'no single array'
        raise ArgumentError(
            f'{name} holds {found}; expected floats [rows, width], such as [1000, {EMBED_DIM}]'
        )
    if table.shape[0] < label_dim:
        raise ArgumentError(
            f'{name} has {table.shape[0]} rows, too few for {label_dim} classes; '
            "use 'random' or 'computed', or a table with a row for every class"
        )
    table = table.astype(np.float32)
    if not np.isfinite(table).all():
        raise ArgumentError(f"{name} holds values that are not finite numbers; use another file, or 'random'")
    return torch.from_numpy(table)


def _embedding_in_pickle(data: bytes) -> np.ndarray:
    # The official file is a plain pickle of a module.
    content = read_plain(data, 'a class table', embedding=True)
    module = content.get('embed') if isinstance(content, dict) else None
    parameters = module.state.get('_parameters') if isinstance(module, ModuleRecord) else None
    weight = parameters.get('weight') if isinstance(parameters, dict) else None
    if not isinstance(weight, TensorRecord):
        raise PickleError("there is no torch.nn.Embedding under 'embed' in it")
    if not weight.dtype.is_floating_point:
        raise PickleError(f'its Embedding holds {weight.dtype}, which are no floats')
    return weight.to_tensor().to(torch.float32).numpy()  # NumPy has no bfloat16


def _array_in_npy(data: bytes) -> np.ndarray:
    # np.load takes the memory that the header announces before it looks for the numbers.
    if not data.startswith(np.lib.format.MAGIC_PREFIX):
        raise ArgumentError('it is neither an .npy file nor a pickle of protocol 2 to 5')
    file = io.BytesIO(data)
    version = np.lib.format.read_magic(file)
    read_header = {(1, 0): np.lib.format.read_array_header_1_0}.get(
        version, np.lib.format.read_array_header_2_0
    )
    shape, fortran, dtype = read_header(file)
    present = len(data) - file.tell()
    if dtype.hasobject or math.prod(shape) * dtype.itemsize != present:
        raise ArgumentError(f'the header announces {dtype} {list(shape)}, but {present} bytes follow')
    return np.frombuffer(data, dtype, offset=file.tell()).reshape(shape, order='F' if fortran else 'C')


def class_means(features: torch.Tensor, labels: torch.Tensor, label_dim: int) -> torch.Tensor:
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
        ArgumentError: Missing or misshapen arguments, or a class without any image.
    """
    if features is None or labels is None or len(features) != len(labels) or labels.shape[1] != label_dim:
        raise ArgumentError(
            f"class table 'computed' needs features [N, D] and one-hot labels [N, {label_dim}]"
        )
    features, labels = features.to(torch.float64), labels.to(torch.float64)
    counts = labels.sum(dim=0)  # [K]
    empty = torch.nonzero(counts == 0).flatten().tolist()
    if empty:
        raise ArgumentError(
            f"class table 'computed': no image of class {empty[0]} among {len(labels)} "
            f"({len(empty)} such classes); use more images or 'random:0'"
        )
    means = labels.t() @ features / counts[:, None]  # [K, D]
    means = means - means.mean(dim=0)
    scale = TABLE_SCALE / means.square().mean().sqrt().clamp_min(1e-12)
    return (means * scale).to(torch.float32)
