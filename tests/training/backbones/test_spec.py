# Copyright 2026 The GDD-1S authors.
# SPDX-License-Identifier: Apache-2.0
"""Test what is known about a backbone before it is built."""

import pytest

from training.backbones.spec import HALF, BackboneSpec, backbone_key, file_names


def test_names():
    assert backbone_key('vit_base_patch16_224.dino') == 'vit_base_patch16_224'
    assert backbone_key('resnet50') == 'resnet50'
    assert file_names('a.b', 'a-1234.pth') == ('a.b.safetensors', 'a.b.pth', 'a-1234.pth')


@pytest.mark.parametrize(
    'family, expected',
    [
        ('transformer', True),
        ('timm_transformer', True),
        ('efficientnet', False),
        ('vgg', False),
        ('timm', False),
    ],
)
def test_transformers_are_told_by_their_family(family, expected):
    spec = BackboneSpec('a.b', family, HALF, HALF, (1, 2, 3, 4), ())
    assert spec.key == 'a' and spec.is_transformer is expected and spec.input_size is None
