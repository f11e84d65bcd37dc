# Copyright 2026 The GDD-1S authors.
# SPDX-License-Identifier: Apache-2.0
"""The network of a one-step (or few-step) generator as diffusers loads it: structure from config.json."""

import torch
from diffusers import ConfigMixin, ModelMixin
from diffusers.configuration_utils import register_to_config

from .gdd_networks import EDMPrecond, GDDPrecond, VEPrecond, VPPrecond, iDDPMPrecond

CLASSES = {cls.__name__: cls for cls in (EDMPrecond, GDDPrecond, VEPrecond, VPPrecond, iDDPMPrecond)}


class GDDUNet(ModelMixin, ConfigMixin):
    """A U-Net with its preconditioning.

    Args:
        class_name:  Class of the network.
        init_kwargs: Arguments of its constructor; 'Infinity' stands for the number.
        attributes:  Numbers that were changed after construction: {module: {attribute: value}}.
        levels:      Noise levels at which the generator calls it, decreasing.
    """

    @register_to_config
    def __init__(self, class_name: str, init_kwargs: dict, attributes: dict, levels: list[float]) -> None:
        super().__init__()
        self.net = CLASSES[class_name](**{name: number(value) for name, value in init_kwargs.items()})
        modules = dict(self.net.named_modules())
        for module, values in attributes.items():
            for name, value in values.items():
                setattr(modules[module], name, number(value))

    def forward(
        self, sample: torch.Tensor, sigma: torch.Tensor, class_labels: torch.Tensor | None = None
    ) -> torch.Tensor:
        """Denoise.

        Args:
            sample:       Noisy images, [N, C, H, W].
            sigma:        Noise levels, [N, 1, 1, 1].
            class_labels: One-hot labels, [N, K]; None without classes.
        Returns:
            Images [N, C, H, W], nominally -1..1.
        """
        return self.net(sample, sigma, class_labels, force_fp32=True)


def number(value: object) -> object:
    """Return a value of the configuration; JSON writes infinity as a text."""
    return float('inf') if value == 'Infinity' else value
