# Copyright 2026 The GDD-1S authors.
# SPDX-License-Identifier: Apache-2.0
"""What keeps an iteration the same however its batch is split over micro-batches and processes.

Losses and gradients are sums over images and need nothing. Two layers of the discriminator do: spectral
norms, which advance with every forward pass, and batch norms, which look at the images of one forward pass of
one process.

Letters in shape comments: N batch, C channels, H W pixels, P processes.
"""

from collections.abc import Iterator, Sequence
from typing import Any, TypeVar

import torch
from torch import nn

from torch_utils import distributed
from training.adversarial.discriminator import SpectralNormConv2d

Part = TypeVar('Part')


class SpectralVectors:
    """Let every micro-batch meet the spectral-norm vectors that the undivided batch would have met.

    Weights do not change within a stage, so the power iterations of each micro-batch repeat those of the
    first one exactly when they start from the same vectors.

    Args:
        module: Network with `SpectralNormConv2d` layers.
    """

    def __init__(self, module: nn.Module) -> None:
        layers = [layer for layer in module.modules() if isinstance(layer, SpectralNormConv2d)]
        self._vectors = [vector for layer in layers for vector in (layer.u, layer.v)]

    def same_for_each(self, parts: Sequence[Part]) -> Iterator[Part]:
        """Yield the micro-batches of a stage, each with the vectors that the first one has met.

        Args:
            parts: All micro-batches of a stage; what they are does not matter.
        """
        start = [vector.clone() for vector in self._vectors] if len(parts) > 1 else []
        for i, part in enumerate(parts):
            if i and start:
                torch._foreach_copy_(self._vectors, start)
            yield part

    @torch.no_grad()
    def take_those_of_rank_0(self) -> None:
        """Make the vectors equal on all processes, bit for bit. All ranks call this.

        Every process computes them from equal weights, but GPUs may choose different kernels for these
        products. As with `RunningStatistics`, doing this only before states would make them depend on when.
        """
        if not distributed.is_alone() and self._vectors:
            flat = distributed.broadcast_(torch.cat(self._vectors))
            torch._foreach_copy_(self._vectors, list(flat.split([len(vector) for vector in self._vectors])))


class RunningStatistics:
    """Keep the running statistics of batch norms equal on all processes.

    Nothing in training reads them, but they are part of states, which must not depend on the rank. Averaging
    in every iteration costs one reduction of a few thousand numbers; averaging only when a state is written
    would make their last bits depend on when that was.

    Args:
        module: Network with nn.BatchNorm2d layers.
    """

    def __init__(self, module: nn.Module) -> None:
        self._buffers = [
            buffer
            for norm in module.modules()
            if isinstance(norm, nn.BatchNorm2d)
            for buffer in (norm.running_mean, norm.running_var)
        ]

    @torch.no_grad()
    def average(self) -> None:
        """Replace the statistics by their means over the processes. All ranks call this."""
        if not distributed.is_alone() and self._buffers:
            flat = torch.cat(self._buffers).div_(distributed.get_world_size())
            distributed.all_reduce_sum_(flat)
            torch._foreach_copy_(self._buffers, list(flat.split([len(buffer) for buffer in self._buffers])))


class GlobalBatchNorm2d(nn.BatchNorm2d):
    """Batch norm over the images of all processes, differentiable any number of times.

    torch.nn.SyncBatchNorm can neither run on a CPU nor be differentiated twice, which R1 needs. In train mode
    this is nn.BatchNorm2d of the concatenated batch; every process must hold equally many images.
    Arguments are those of nn.BatchNorm2d.
    """

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        processes = distributed.get_world_size()
        if not self.training or processes == 1:
            return super().forward(x)
        given, x = x.dtype, x.to(self.weight.dtype)  # statistics are float32, whatever the convolutions are
        own = torch.stack([x.mean(dim=[0, 2, 3]), x.var(dim=[0, 2, 3], unbiased=False)])  # [2, C]
        place = torch.zeros([processes, 1, 1], dtype=x.dtype, device=x.device)
        place[distributed.get_rank()] = 1
        means, variances = SumOverProcesses.apply(place * own).unbind(dim=1)  # [P, C] each
        mean = means.mean(dim=0)  # [C]
        var = variances.mean(dim=0) + (means - mean).square().mean(dim=0)  # [C]
        self._update_running_statistics(mean.detach(), var.detach(), processes * x[:, 0].numel())
        x = (x - mean[:, None, None]) * (var + self.eps).rsqrt()[:, None, None]  # [N, C, H, W]
        return (x * self.weight[:, None, None] + self.bias[:, None, None]).to(given)

    @torch.no_grad()
    def _update_running_statistics(self, mean: torch.Tensor, var: torch.Tensor, count: int) -> None:
        self.num_batches_tracked += 1
        self.running_mean.lerp_(mean, self.momentum)
        self.running_var.lerp_(var * (count / max(count - 1, 1)), self.momentum)


class SumOverProcesses(torch.autograd.Function):
    """Sum a tensor over the processes; the derivative is the same sum, and so are all higher ones.

    Gradients are then those of the loss summed over all processes.
    """

    @staticmethod
    def forward(_ctx: Any, x: torch.Tensor) -> torch.Tensor:
        return distributed.all_reduce_sum_(x.detach().clone())

    @staticmethod
    def backward(_ctx: Any, grad: torch.Tensor) -> torch.Tensor:
        return SumOverProcesses.apply(grad)


def synchronise_batch_norms(module: nn.Module) -> nn.Module:
    """Turn every nn.BatchNorm2d of a network into a `GlobalBatchNorm2d`, in place; weights and names stay."""
    for layer in module.modules():
        if type(layer) is nn.BatchNorm2d:
            # The same data and constructor, another forward. A new layer would have to be hung into its
            # parent, with the parameters that optimizers and states refer to; this is the one place where a
            # class is exchanged.
            layer.__class__ = GlobalBatchNorm2d
    return module
