# Copyright 2026 The GDD-1S authors.
# SPDX-License-Identifier: Apache-2.0

"""Run the published frozen Inception graph with TensorFlow, as OpenAI's evaluator does.

For those who want to see that the PyTorch network gives the same numbers, or who do not trust
it. TensorFlow is optional (requirements/tensorflow.txt) and imported only here.

Legend: N images, C channels, H W pixels, D features, K classes, S spatial features.
"""

import os
import types
from collections.abc import Callable

import numpy as np
import torch

from dnnlib.errors import ArgumentError, arg
from dnnlib.util import file_sha256, open_url
from evaluations.detectors.inception import FEATURE_DIM, NUM_CLASSES, SPATIAL_CHANNELS, SPATIAL_DIM
from evaluations.detectors.inception_weights import read_inception_weights
from evaluations.detectors.registry import PRETRAINED_DIR, Detector, Measured
from evaluations.detectors.weights import PUBLISHED, state_sha256

# Nodes of the graph: where images go in, and what comes out.
_INPUT = 'ExpandDims:0'  # float32 [N, H, W, 3], 0..255
_POOLED = 'pool_3:0'  # [N, 1, 1, D]
_SPATIAL = 'mixed_6/conv:0'  # [N, 17, 17, 192]
_WEIGHTS = 'softmax/weights:0'  # [D, K]
_GRAPH_FILE = next(file for file in PUBLISHED['inception'] if file.name.endswith('.pb'))


def _import_tensorflow() -> types.ModuleType:
    os.environ.setdefault('TF_CPP_MIN_LOG_LEVEL', '2')  # its greetings would hide our lines
    try:
        import tensorflow
    except ImportError as err:
        raise ArgumentError(
            arg('backend', 'tensorflow'),
            ' needs TensorFlow, which cannot be imported; '
            'pip install -r requirements/tensorflow.txt, or use ',
            arg('backend', 'torch'),
            ', which needs none',
        ) from err
    return tensorflow


def find_graph(path: str | None = None) -> str:
    """Return the path of the frozen graph.

    Args:
        path: File to use, or a folder to search instead of pretrained/.
    Raises:
        ValueError: Not found and not downloadable, or not the published file although nobody named it.
    """
    if path is not None and not os.path.isdir(path):
        return path
    candidate = os.path.join(path or PRETRAINED_DIR, _GRAPH_FILE.name)
    if os.path.isfile(candidate):
        return open_url(candidate, sha256=_GRAPH_FILE.sha256, return_filename=True)
    try:
        return open_url(_GRAPH_FILE.url, sha256=_GRAPH_FILE.sha256, num_attempts=2, return_filename=True)
    except ValueError as err:
        raise ArgumentError(
            arg('backend', 'tensorflow'),
            f' runs {_GRAPH_FILE.name}, which is not in {path or PRETRAINED_DIR}; '
            f'fetch it from {_GRAPH_FILE.url} (SHA-256 {_GRAPH_FILE.sha256}) ({err})',
        ) from err


def _open_session(
    tf: types.ModuleType, path: str, use_gpu: bool
) -> Callable[[np.ndarray, bool], list[np.ndarray]]:
    """Load the graph; return a function of (float32 images [N, H, W, 3], spatial as well) giving arrays."""
    tf.config.experimental.enable_tensor_float_32_execution(False)
    definition = tf.compat.v1.GraphDef()
    with open(path, 'rb') as f:
        definition.ParseFromString(f.read())
    with tf.Graph().as_default() as graph:
        # The batch size is fixed to 1 where the image enters: the placeholder frees it.
        images = tf.compat.v1.placeholder(tf.float32, [None, None, None, 3])
        pooled, spatial, weights = tf.import_graph_def(
            definition, {_INPUT: images}, [_POOLED, _SPATIAL, _WEIGHTS], name='inception'
        )
        pooled = tf.reshape(pooled, [-1, FEATURE_DIM])  # [N, D]
        logits = tf.matmul(pooled, weights)  # [N, K], without the bias
        spatial = tf.reshape(
            spatial[..., :SPATIAL_CHANNELS], [-1, SPATIAL_DIM]
        )  # [N, S], row, column, channel
    config = tf.compat.v1.ConfigProto() if use_gpu else tf.compat.v1.ConfigProto(device_count={'GPU': 0})
    config.gpu_options.allow_growth = True  # PyTorch needs the rest
    session = tf.compat.v1.Session(graph=graph, config=config)
    return lambda batch, with_spatial: session.run(
        [pooled, logits] + [spatial] * with_spatial, {images: batch}
    )


def load_frozen_graph(device: torch.device | str, path: str | None = None) -> Detector:
    """Return a `Detector` that runs the frozen graph in TensorFlow.

    Args:
        device: torch device; TensorFlow uses a GPU unless it is the CPU. Results come back on the CPU.
        path: Frozen graph (`.pb`), or a folder that holds it, or None for pretrained/ or a download.
    Returns:
        The `Detector`, with the same `sha256` as the PyTorch one made from the same file.
    Raises:
        ValueError: TensorFlow is not installed, or the file is missing or another graph.
    """
    tf = _import_tensorflow()
    path = find_graph(path)
    state, notes = read_inception_weights(path)  # also makes sure that this is the Inception graph
    sha256, file_hash = state_sha256(state), file_sha256(path)
    published = file_hash == _GRAPH_FILE.sha256
    try:
        run_session = _open_session(tf, path, use_gpu=torch.device(device).type != 'cpu')
    except Exception as err:  # of TensorFlow, of protobuf: anything
        reason = (str(err).splitlines() or [type(err).__name__])[0]
        raise ArgumentError(
            arg('detector_path', path),
            f' cannot be run by TensorFlow: {reason}; give {_GRAPH_FILE.name} from {_GRAPH_FILE.url}',
        ) from err

    def run(images: torch.Tensor, spatial: bool) -> Measured:
        batch = images.expand(-1, 3, -1, -1).permute(0, 2, 3, 1).float().numpy()  # [N, H, W, 3]
        return Measured(*(torch.from_numpy(array) for array in run_session(batch, spatial)))

    return Detector(
        'inception' if published else f'inception-{sha256[:8]}',
        run,
        FEATURE_DIM,
        sha256,
        'cpu',
        num_classes=NUM_CLASSES,
        spatial_dim=SPATIAL_DIM,
        preprocessing='TensorFlow 1 bilinear to 299 pixels, (x - 128) / 128, in TensorFlow',
        weights_path=path,
        file_sha256=file_hash,
        notes=notes,
    )
