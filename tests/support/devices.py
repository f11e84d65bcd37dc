# Copyright 2026 The GDD-1S authors.
# SPDX-License-Identifier: Apache-2.0
"""Comparison of what two devices computed, for tests/cuda."""

import copy
from collections.abc import Sequence
from typing import Any

import torch

from tests.support import pretended_runs, tiny_runs
from torch_utils import distributed, training_stats
from torch_utils.randomness import BatchRandom, map_nested, to_device

# Relative distance of two results in float32. Gradients through frozen ReLU networks are further apart, since
# rounding decides the sign of single inputs (docs/development.md, "Golden numbers").
FORWARD, GRADIENT, THROUGH_RELUS = 1e-4, 1e-3, 5e-2
NO_DROPOUT = ('--dropout=0',)  # its numbers come from the generator of the device


def distance(found: torch.Tensor, expected: torch.Tensor) -> float:
    """Return the relative distance of two tensors, in the Euclidean norm."""
    found, expected = (x.detach().cpu().to(torch.float64) for x in (found, expected))
    return float((found - expected).norm() / expected.norm().clamp_min(1e-30))


def farthest(found: Sequence[torch.Tensor], expected: Sequence[torch.Tensor]) -> float:
    """Return the largest relative distance of pairs of tensors."""
    assert len(found) == len(expected) > 0
    return max(distance(a, b) for a, b in zip(found, expected))


def with_gradients(function: Any, net: torch.nn.Module, inputs: Sequence[torch.Tensor], device: Any) -> tuple:
    """Call function(net, *inputs) with copies on a device.

    Returns the result, a tensor, and the gradients of the sum of its squares: for the first input, then for
    the parameters of the network.
    """
    net = copy.deepcopy(net).to(device)
    moved = [x.to(device) for x in inputs]
    moved[0].requires_grad_(True)
    out = function(net, *moved)
    out.float().square().sum().backward()
    return out, [moved[0].grad, *(p.grad for p in net.parameters() if p.grad is not None)]


def draw_on_the_cpu(setattr_) -> None:
    """Let every device train with the same random numbers, those of the CPU."""
    original = BatchRandom.share

    def share(self, draw, count, purpose, device=None):
        drawn = original(self, draw, count, purpose, device='cpu')
        target = self.device if device is None else torch.device(device)
        return map_nested(lambda value: to_device(value, target), drawn)

    setattr_(BatchRandom, 'share', share)


def trained(options: Sequence[str], device: str, iterations: Sequence[int]) -> tuple:
    """Train iterations of these numbers; returns (run, means of the statistics)."""
    training_stats._counters.clear()
    distributed.init(device)
    run = pretended_runs.make_run((*options, *NO_DROPOUT), device)
    if device == 'cpu':
        pretended_runs.compute_as_on_cuda(run)
    batches = run.batches()
    for run.iteration in iterations:
        run.train_step(*next(batches))
    run.collector.update()
    return run, {name: run.collector.mean(name) for name in run.collector.names()}


def weights(run: Any) -> list[torch.Tensor]:
    """Return what a run has trained: parameters of its networks and of its average, on the CPU."""
    nets = [*run.task.replicas(), run.ema.net]
    return [p.detach().cpu() for net in nets for p in net.parameters()]


def lasting_tensors(state: dict) -> list[torch.Tensor]:
    """Return the float tensors of a state."""
    leaves = [value for _name, value in tiny_runs.flatten(state)]
    return [x.cpu() for x in leaves if isinstance(x, torch.Tensor) and x.is_floating_point() and x.numel()]
