# Copyright 2026 The GDD-1S authors.
# SPDX-License-Identifier: Apache-2.0

"""The networks that turn images into features, under one interface.

A new detector is one loader function and one line in `_LOADERS`.

Legend: N batch, C channels, H W pixels, D features, K classes.
"""

import os

import torch

from dnnlib.util import file_sha256
from evaluations.mnist_classifier import FEATURE_DIM, NUM_CLASSES, RESOLUTION, load_classifier

PRETRAINED_DIR = os.path.join(os.path.dirname(os.path.dirname(os.path.abspath(__file__))), 'pretrained')


class Detector:
    """Turn uint8 images into features, and into class scores where it classifies.

    Args:
        name: Name under which numbers made with it are reported.
        run: Function of uint8 images [N, C, H, W] giving (features [N, D], logits [N, K] or None).
        feature_dim: D.
        sha256: Hexadecimal hash of the weights; two detectors are the same if it is.
        device: Where `run` expects its images.
        image_shape: The only (C, H, W) it accepts, or None for any.
        num_classes: K, or 0 if it does not classify.
    """

    def __init__(self, name, run, feature_dim, sha256, device, image_shape=None, num_classes=0):
        self.name = name
        self.feature_dim = feature_dim
        self.sha256 = sha256
        self.device = torch.device(device)
        self.image_shape = image_shape
        self.num_classes = num_classes
        self._run = run

    def check_shape(self, shape, what='images'):
        """Raise ValueError unless images of shape (C, H, W) can be measured."""
        if self.image_shape is not None and tuple(shape) != self.image_shape:
            raise ValueError(
                f'{what} of shape {tuple(shape)} (channels, height, width) cannot be measured with '
                f'detector {self.name}, which takes {self.image_shape}; choose another detector or images of that shape')

    def measure(self, images):
        """Return features and class scores from one pass.

        Args:
            images: uint8 [N, C, H, W], 0..255, on any device.
        Returns:
            (features float32 [N, D]; logits float32 [N, K], or None if it does not classify).
        Raises:
            ValueError: Images of another type or shape.
        """
        if images.dtype != torch.uint8 or images.ndim != 4:
            raise ValueError(
                f'detector {self.name} was given {images.dtype} {tuple(images.shape)}; it takes uint8 [N, C, H, W] '
                'with 0..255, as training.samplers.to_uint8 makes (then permuted)')
        self.check_shape(images.shape[1:])
        with torch.no_grad():
            return self._run(images.to(self.device))

    def features(self, images):
        """Return features, float32 [N, D], of uint8 images [N, C, H, W]."""
        return self.measure(images)[0]

    def logits(self, images):
        """Return class scores, float32 [N, K], of uint8 images [N, C, H, W].

        Raises:
            ValueError: The detector does not classify.
        """
        scores = self.measure(images)[1]
        if scores is None:
            raise ValueError(f'detector {self.name} does not classify; mnist-classifier does')
        return scores


def _load_mnist_classifier(device, pretrained_dir):
    """The classifier of `evaluations/mnist_classifier.py`."""
    model, sha256 = load_classifier(os.path.join(pretrained_dir, 'mnist-classifier.pt'))
    model.to(device)

    def run(images):
        features = model.features(images)           # [N, D]
        return features, model.head(features)       # [N, D], [N, K]

    return Detector('mnist-classifier', run, FEATURE_DIM, sha256, device,
                    image_shape=(1, RESOLUTION, RESOLUTION), num_classes=NUM_CLASSES)


def _load_efficientnet_lite0(device, pretrained_dir):
    """ImageNet features: the mean of the last EfficientNet-Lite0 stage, of images resized to 224 pixels."""
    from training.backbone_weights import find_weights     # late: needs timm
    from training.backbones import get_spec
    from training.features import ProjectedFeatures
    name = 'tf_efficientnet_lite0'
    sha256 = file_sha256(find_weights(get_spec(name), pretrained_dir))
    with torch.random.fork_rng(devices=[]):     # its random projections are drawn but not used here
        network = ProjectedFeatures([name], input_size=224, interpolate=True, pretrained_dir=pretrained_dir).to(device)

    def run(images):
        return network.pooled_features(images.to(torch.float32) / 127.5 - 1), None      # [N, 320]

    return Detector(name, run, get_spec(name).channels[-1], sha256, device)


_LOADERS = {
    'mnist-classifier': _load_mnist_classifier,
    'tf_efficientnet_lite0': _load_efficientnet_lite0,
}


def detector_names():
    """Return the names that `get_detector` accepts, in order."""
    return list(_LOADERS)


def get_detector(name, device='cpu', pretrained_dir=PRETRAINED_DIR):
    """Return a detector by its name, ready to measure.

    Args:
        name: One of `detector_names()`.
        device: Device to run on.
        pretrained_dir: Folder of the weights files.
    Returns:
        The `Detector`.
    Raises:
        ValueError: Unknown name, or weights that are missing or broken.
    """
    if name not in _LOADERS:
        raise ValueError(f'--detector={name} is not known; choose one of {", ".join(_LOADERS)}')
    return _LOADERS[name](torch.device(device), pretrained_dir)
