# Copyright 2026 The GDD-1S authors.
# SPDX-License-Identifier: Apache-2.0

"""The small digit classifier that measures MNIST runs.

An Inception network trained on photographs says little about 32x32 digits, so
the demo run is measured with a classifier of the digits themselves: its 64
features feed the Frechet distance, its 10 logits give the class accuracy.

Legend: N batch, C channels, H W pixels, D features, K classes.
"""

import hashlib
import io
import zipfile
from typing import Any

import torch

from dnnlib.errors import ArgumentError
from dnnlib.files import refuse_special_file

FORMAT = 'gdd-1s-mnist-classifier'
RESOLUTION = 32
NUM_CLASSES = 10
FEATURE_DIM = 64
_WIDTHS = (24, 48, 64, 96)


def _conv_unit(in_channels: int, out_channels: int, kernel: int, stride: int = 1) -> torch.nn.Sequential:
    """Return convolution, batch normalisation and SiLU; half the size when stride is 2."""
    return torch.nn.Sequential(
        torch.nn.Conv2d(in_channels, out_channels, kernel, stride=stride, padding=kernel // 2, bias=False),
        torch.nn.BatchNorm2d(out_channels),
        torch.nn.SiLU(),
    )


class MnistClassifier(torch.nn.Module):
    """Classify 32x32 grey digits, with a smooth 64-dimensional feature layer.

    SiLU and average pooling keep the features smooth in the pixels, so that the
    Gaussian fit behind the Frechet distance is a reasonable one. 119,730 parameters.
    """

    def __init__(self) -> None:
        super().__init__()
        a, b, c, d = _WIDTHS
        self.trunk = torch.nn.Sequential(
            _conv_unit(1, a, kernel=5, stride=2),
            _conv_unit(a, b, kernel=3),
            torch.nn.AvgPool2d(2),
            _conv_unit(b, c, kernel=3),
            torch.nn.AvgPool2d(2),
            _conv_unit(c, d, kernel=3),
            torch.nn.AvgPool2d(2),
        )
        self.embed = torch.nn.Sequential(
            torch.nn.Linear(d * 4, FEATURE_DIM, bias=False),
            torch.nn.BatchNorm1d(FEATURE_DIM),
            torch.nn.SiLU(),
        )
        self.head = torch.nn.Linear(FEATURE_DIM, NUM_CLASSES)

    def features(self, x: torch.Tensor) -> torch.Tensor:
        """Return the feature vectors of a batch.

        Args:
            x: Grey images, uint8 or float [N, 1, 32, 32], 0..255.
        Returns:
            Features, float32 [N, 64].
        """
        x = x.to(torch.float32) / 127.5 - 1  # [N, 1, 32, 32]
        x = self.trunk(x)  # [N, 96, 2, 2]
        return self.embed(x.flatten(1))  # [N, D]

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Return the logits of a batch.

        Args:
            x: Grey images, uint8 or float [N, 1, 32, 32], 0..255.
        Returns:
            Logits, float32 [N, 10].
        """
        return self.head(self.features(x))  # [N, K]


def class_accuracy(logits: torch.Tensor, labels: torch.Tensor) -> float:
    """Return the fraction of images whose largest logit is that of their label.

    Args:
        logits: Class scores, float tensor [N, K].
        labels: Class indices 0..K-1, int tensor [N].
    Returns:
        Accuracy, 0..1.
    Raises:
        ValueError: Shapes that do not fit, no images, or a label outside 0..K-1.
    """
    logits, labels = torch.as_tensor(logits), torch.as_tensor(labels)
    if logits.ndim != 2 or labels.shape != logits.shape[:1] or labels.numel() == 0:
        raise ValueError(
            f'logits have shape {tuple(logits.shape)} and labels {tuple(labels.shape)}; '
            'they must be [N, K] and [N] with N >= 1'
        )
    if labels.min() < 0 or labels.max() >= logits.shape[1]:
        raise ValueError(
            f'labels reach from {int(labels.min())} to {int(labels.max())}, but there are '
            f'{logits.shape[1]} classes, 0..{logits.shape[1] - 1}'
        )
    return float((logits.argmax(dim=1) == labels.to(logits.device)).double().mean())


def to_bytes(model: MnistClassifier, **facts: Any) -> bytes:
    """Serialise a classifier so that it can be read without executing code.

    Args:
        model: The classifier.
        facts: Plain values kept beside the weights (test accuracy, seed, ...).
    Returns:
        The content of the weights file, bytes (about 0.5 MB).
    """
    state = {k: v.detach().cpu().contiguous() for k, v in model.state_dict().items()}
    buffer = io.BytesIO()
    torch.save({'format': FORMAT, 'facts': facts, 'state_dict': state}, buffer)
    return buffer.getvalue()


def load_classifier(path: str) -> tuple[MnistClassifier, str]:
    """Read a weights file written by `evaluations.detectors.train_mnist_classifier`.

    Args:
        path: The weights file.
    Returns:
        (model in eval mode without gradients, on the CPU; sha256 of the file, hexadecimal).
    Raises:
        ArgumentError: The file is missing, damaged, or not such a weights file.
    """
    make = 'python -m evaluations.detectors.train_mnist_classifier makes it'
    refuse_special_file(path, 'detector_path')
    try:
        with open(path, 'rb') as file:
            data = file.read()
    except OSError as error:
        raise ArgumentError(f'MNIST classifier weights {path}: {error.strerror}; {make}') from error
    try:
        with zipfile.ZipFile(io.BytesIO(data)) as archive:  # torch does not look at the checksums
            damaged = archive.testzip()
        if damaged is not None:
            raise zipfile.BadZipFile(damaged)
        content = torch.load(io.BytesIO(data), map_location='cpu', weights_only=True)
        if content['format'] != FORMAT:
            raise KeyError(content['format'])
        model = MnistClassifier()
        model.load_state_dict(content['state_dict'])
    except Exception as error:  # torch.load raises many kinds; all mean the same to the reader
        raise ArgumentError(
            f'{path} is not an MNIST classifier weights file ({type(error).__name__}); {make}'
        ) from error
    return model.eval().requires_grad_(False), hashlib.sha256(data).hexdigest()
