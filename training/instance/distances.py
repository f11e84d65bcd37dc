# Copyright 2026 The GDD-1S authors.
# SPDX-License-Identifier: Apache-2.0
"""Distances that instance-based distillation minimises: LPIPS, squared and pseudo-Huber."""

import math
import os
import warnings
from collections.abc import Callable, Mapping

import torch
from torch.nn import functional

from dnnlib.errors import ArgumentError, arg
from training.backbones.weights import WeightsError, read_weights
from training.choices import DISTANCES

LPIPS_SIZE = 224
VGG_FILE = 'vgg16-397923af.pth'
VGG_URL = f'https://download.pytorch.org/models/{VGG_FILE}'
LPIPS = (arg('distance', 'lpips'), ' (or ', arg('lpips', 1), ')')  # parts of messages
NEEDS_NOTHING = (arg('distance', 'huber'), ', which needs nothing')


def l2_distance(a: torch.Tensor, b: torch.Tensor) -> torch.Tensor:
    """Mean squared difference of two image batches [N, C, H, W]; returns [N]."""
    return (a - b).square().mean(dim=[1, 2, 3])


def huber_distance(a: torch.Tensor, b: torch.Tensor) -> torch.Tensor:
    """Pseudo-Huber distance sqrt(|a - b|^2 + c^2) - c with c = 0.00054 sqrt(C H W).

    Song & Dhariwal 2023, Eq. 7. Unlike the square it does not let a few far-off images decide the gradient.

    Args:
        a, b: Images [N, C, H, W].
    Returns:
        [N], in units of the Euclidean norm of an image.
    """
    c = 0.00054 * math.sqrt(a[0].numel())
    return ((a - b).square().sum(dim=[1, 2, 3]) + c**2).sqrt() - c


class LPIPSDistance(torch.nn.Module):
    """LPIPS (Zhang et al. 2018) with its VGG16 net, on images resized to 224 x 224 (official GDD code).

    The package `lpips` computes it. Images of one channel are repeated to three.

    Args:
        vgg_weights: State dict of torchvision's vgg16, or None for a random net (tests).
    Raises:
        ArgumentError: The package is missing.
        WeightsError: The weights do not fit.
    """

    def __init__(self, vgg_weights: Mapping[str, torch.Tensor] | None) -> None:
        super().__init__()
        try:
            import lpips  # Late: an optional package.
        except ImportError as error:
            raise ArgumentError(
                *LPIPS, ' needs the package lpips: run `pip install lpips`, or use ', *NEEDS_NOTHING
            ) from error
        with warnings.catch_warnings():
            warnings.simplefilter('ignore')  # torchvision deprecates how lpips asks for an empty net
            self.net = lpips.LPIPS(net='vgg', pnet_rand=True, verbose=False)
        if vgg_weights is not None:
            load_vgg(self.net.net, vgg_weights)
        self.eval().requires_grad_(False)

    def forward(self, a: torch.Tensor, b: torch.Tensor) -> torch.Tensor:
        """Return the distance of each pair of images [N, C, H, W] in -1..1, C 1 or 3; [N]."""
        a, b = (
            functional.interpolate(
                x.expand(-1, 3, -1, -1), size=[LPIPS_SIZE, LPIPS_SIZE], mode='bilinear', align_corners=False
            )
            for x in (a, b)
        )
        return self.net(a, b).flatten()  # [N, 1, 1, 1] -> [N]


def load_vgg(net: torch.nn.Module, weights: Mapping[str, torch.Tensor]) -> None:
    """Copy torchvision's vgg16 into the trunk of lpips, whose slices keep the layer numbers.

    Args:
        net:     `lpips.pretrained_networks.vgg16`.
        weights: State dict with names `features.0.weight` ...; the classifier may be there or not.
    Raises:
        WeightsError: A tensor is missing or has another shape.
    """
    for name, tensor in net.state_dict().items():  # sliceI.J.weight
        source = weights.get('features.' + name.split('.', 1)[1])
        if source is None or source.shape != tensor.shape:
            raise WeightsError(
                f"{VGG_FILE}: not the weights of torchvision's vgg16 (features.{name.split('.', 1)[1]}); "
                'fetch the file again, or use another distance, such as huber'
            )
        tensor.copy_(source)


def find_vgg(pretrained_dir: str = 'pretrained') -> str:
    """Return the path of VGG16's weights, in the folder, or in torch.hub's cache, or downloaded there.

    Raises:
        ArgumentError: Not found, and the download failed.
    """
    cached = os.path.join(torch.hub.get_dir(), 'checkpoints', VGG_FILE)
    for path in (os.path.join(pretrained_dir, VGG_FILE), cached):
        if os.path.isfile(path):
            return path
    try:
        os.makedirs(os.path.dirname(cached), exist_ok=True)
        torch.hub.download_url_to_file(VGG_URL, cached, hash_prefix='397923af', progress=False)
        return cached
    except Exception as error:  # URL and file-system errors have no common base class.
        raise ArgumentError(
            *LPIPS,
            f' needs the file {VGG_FILE}, which is neither in {pretrained_dir!r} nor in the cache of '
            f'torch.hub, and cannot be downloaded ({type(error).__name__}); put it into {pretrained_dir!r}, '
            'or use ',
            *NEEDS_NOTHING,
        ) from None


def build_distance(
    name: str, device: torch.device, channels: int
) -> Callable[[torch.Tensor, torch.Tensor], torch.Tensor]:
    """Return the function (images, images) -> [N] called `name` (one of DISTANCES), on `device`.

    Raises:
        ArgumentError: Unknown name, or LPIPS cannot be had, or not for so many channels.
    """
    if name != 'lpips':
        if name not in DISTANCES:
            raise ArgumentError(arg('distance', name), f' is unknown; use one of {", ".join(DISTANCES)}')
        return {'l2': l2_distance, 'huber': huber_distance}[name]
    if channels not in (1, 3):
        raise ArgumentError(
            arg('distance', name),
            f' compares images of 1 or 3 channels, not {channels}; use ',
            arg('distance', 'huber'),
        )
    return LPIPSDistance(read_weights(find_vgg())).to(device)
