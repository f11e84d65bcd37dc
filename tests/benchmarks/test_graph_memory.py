# Copyright 2026 The GDD-1S authors.
# SPDX-License-Identifier: Apache-2.0
"""Tests of benchmarks/graph_memory.py: bytes by hand, and what the command says."""

import pytest
import torch
from click.testing import CliRunner

from benchmarks import graph_memory
from tests.support.tiny_runs import UNET
from training import networks
from training.student.freeze import freeze_layers


class Squares(torch.nn.Module):
    """A network of one weight: keeps what it multiplies, and the square root its result."""

    img_channels, img_resolution, label_dim = 3, 4, 0

    def __init__(self):
        super().__init__()
        self.model = torch.nn.Identity()
        self.weight = torch.nn.Parameter(torch.ones([], device='meta'))

    def forward(self, x, _sigma, _labels):
        return (self.model(x) * self.weight).sqrt()


@pytest.mark.parametrize('dtype, size', [(torch.float32, 4), (torch.float64, 8)])
def test_bytes_by_hand(dtype, size):
    """Two maps of 48 numbers per image; the result is in the larger type of map and weight."""
    net = Squares().to(dtype)
    assert graph_memory.kept_bytes(net, dtype, batch=5) == 2 * 5 * 48 * size
    assert graph_memory.bytes_per_image(net, dtype) == 2 * 48 * size


def test_short_numbers_keep_less():
    with torch.device('meta'):
        net = networks.GDDPrecond(img_resolution=8, img_channels=3, label_dim=3, **UNET).train()
    whole = graph_memory.bytes_per_image(net, torch.float32)
    freeze_layers(net, 1)
    frozen, short = (graph_memory.bytes_per_image(net, t) for t in (torch.float32, torch.bfloat16))
    assert whole >= frozen > short > 0  # convolutions keep their input also where nothing asks for it


def test_command():
    result = CliRunner().invoke(graph_memory.main, ['--recipe=gdd-i-cifar10'])
    assert result.exit_code == 0, result.output
    first, second = result.output.splitlines()
    assert first.startswith('gdd-i-cifar10, fp32: ') and first.endswith(' GiB for the 64 of a process')
    assert second.startswith('gdd-i-cifar10, bf16: ')
    result = CliRunner().invoke(graph_memory.main, ['--recipe=photos-teacher'])
    assert result.exit_code == 1 and 'try gdd-i-imagenet' in result.output
