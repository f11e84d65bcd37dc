# Copyright 2026 The GDD-1S authors.
# SPDX-License-Identifier: Apache-2.0

"""A convolutional network with fixed random weights, as an encoder that no training can have favoured.

Naeem et al. 2020 (arXiv 2002.09797) measure with randomly initialised networks where pretrained ones do not
fit the data. Random features see coarse shape, colour and contrast, and little of what makes an object; they
judge nothing finer, but nothing that was learnt from ImageNet can lower a distance in them.

Architecture: images resized to 64x64; four 3x3 convolutions of stride 2 without biases (32, 64, 128 and 256
channels), each followed by ReLU; the 4x4 map is flattened and multiplied by a random matrix to 128 features.
All weights are normal with variance 2 / fan-in (He et al. 2015), the last with 1 / fan-in; they are drawn by
`numpy.random.RandomState(0)`, whose numbers NumPy promises not to change, in the order of the layers.

Legend: N batch, C channels, H W pixels, D features.
"""

import numpy as np
import torch
from torch.nn import functional

SEED = 0
INPUT_SIZE, FEATURE_DIM = 64, 128
_WIDTHS = (3, 32, 64, 128, 256)


def random_weights() -> dict[str, torch.Tensor]:
    """Return the weights by name, float32: conv1 to conv4 [C', C, 3, 3], and project [D, 4096]."""
    rng, state = np.random.RandomState(SEED), {}
    for i, (before, after) in enumerate(zip(_WIDTHS, _WIDTHS[1:]), 1):
        state[f'conv{i}.weight'] = rng.randn(after, before, 3, 3) * (2 / (9 * before)) ** 0.5
    size = _WIDTHS[-1] * (INPUT_SIZE // 16) ** 2
    state['project.weight'] = rng.randn(FEATURE_DIM, size) * size**-0.5
    return {name: torch.from_numpy(values.astype(np.float32)) for name, values in state.items()}


def random_features(weights: dict[str, torch.Tensor], images: torch.Tensor) -> torch.Tensor:
    """Return features, float32 [N, 128].

    Args:
        weights: From `random_weights`, on the device of the images.
        images: RGB images, uint8 [N, 3, H, W], 0..255.
    """
    x = functional.interpolate(images.float() / 127.5 - 1, size=(INPUT_SIZE, INPUT_SIZE), mode='bilinear')
    for i in range(1, len(_WIDTHS)):
        x = functional.conv2d(x, weights[f'conv{i}.weight'], stride=2, padding=1).relu()
    return x.flatten(1) @ weights['project.weight'].T  # [N, 256, 4, 4] -> [N, D]
