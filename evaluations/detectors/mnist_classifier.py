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

import torch

FORMAT = 'gdd-1s-mnist-classifier'
RESOLUTION = 32
NUM_CLASSES = 10
FEATURE_DIM = 64
_WIDTHS = (24, 48, 64, 96)


def _conv_unit(in_channels, out_channels, kernel, stride=1):
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

    def __init__(self):
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

    def features(self, x):
        """Return the feature vectors of a batch.

        Args:
            x: Grey images, uint8 or float [N, 1, 32, 32], 0..255.
        Returns:
            Features, float32 [N, 64].
        """
        x = x.to(torch.float32) / 127.5 - 1  # [N, 1, 32, 32]
        x = self.trunk(x)  # [N, 96, 2, 2]
        return self.embed(x.flatten(1))  # [N, D]

    def forward(self, x):
        """Return the logits of a batch.

        Args:
            x: Grey images, uint8 or float [N, 1, 32, 32], 0..255.
        Returns:
            Logits, float32 [N, 10].
        """
        return self.head(self.features(x))  # [N, K]


def to_bytes(model, **facts):
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


def load_classifier(path):
    """Read a weights file written by `evaluations.train_mnist_classifier`.

    Args:
        path: The weights file.
    Returns:
        (model in eval mode without gradients, on the CPU; sha256 of the file, hexadecimal).
    Raises:
        ValueError: The file is missing or is not such a weights file.
    """
    make = 'python -m evaluations.detectors.train_mnist_classifier makes it'
    try:
        with open(path, 'rb') as f:
            data = f.read()
    except OSError as err:
        raise ValueError(f'MNIST classifier weights {path}: {err.strerror}; {make}') from err
    try:
        content = torch.load(io.BytesIO(data), map_location='cpu', weights_only=True)
        if content['format'] != FORMAT:
            raise KeyError(content['format'])
        model = MnistClassifier()
        model.load_state_dict(content['state_dict'])
    except Exception as err:  # torch.load raises many kinds; all mean the same to the reader
        raise ValueError(
            f'{path} is not an MNIST classifier weights file ({type(err).__name__}); {make}'
        ) from err
    return model.eval().requires_grad_(False), hashlib.sha256(data).hexdigest()
