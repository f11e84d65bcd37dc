# Copyright 2026 The GDD-1S authors.
# SPDX-License-Identifier: Apache-2.0
"""Count what an iteration does, as it does it: operations of products, bytes moved, kernels launched.

None of the three depends on the machine or on what else it does. A roofline follows from them: an operation
takes at least the time of its products at the rate of a large one, and of its bytes at the rate of a copy.
"""

import collections
import dataclasses
from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils.flop_counter import flop_registry

# Operations that launch nothing, besides those that torch itself calls views.
FREE = set(
    'detach view _unsafe_view _reshape_alias alias expand empty empty_like empty_strided new_empty '
    'new_empty_strided unsafe_split lift_fresh'.split()
)
CONVOLUTIONS = {'convolution': 8, 'convolution_backward': 9}  # name -> position of the number of groups


@dataclasses.dataclass
class Counts:
    """What one stage does.

    Attributes:
        flops:    Number type -> operations of products, convolutions and attention; an addition and a
                  multiplication count as two.
        bytes:    Read and written by all operations, each by itself: what fusing saves is in here.
        launches: Operations that are at least one kernel.
        work:     (number type, operations, bytes) of each; type None where bytes alone count: pointwise
                  operations, and convolutions in groups, which no product unit speeds up.
    """

    flops: dict = dataclasses.field(default_factory=lambda: collections.defaultdict(int))
    bytes: int = 0
    launches: int = 0
    work: list = dataclasses.field(default_factory=list)

    def floor(self, rates: dict, bandwidth: float) -> tuple[float, float]:
        """Return the least seconds of products, and of everything else.

        Args:
            rates:     Number type -> operations per second.
            bandwidth: Bytes per second.
        """
        products = memory = 0.0
        for dtype, flops, moved in self.work:
            if dtype is None:
                memory += moved / bandwidth
            else:
                products += max(flops / rates[dtype], moved / bandwidth)
        return products, memory


class OperationCounter(TorchDispatchMode):
    """Count all operations while active, forward and backward, by stage.

    Compiled functions hide their operations: count inside `torch.compiler.set_stance('force_eager')`.

    Args:
        stage: Function that names what is going on.
    Attributes:
        stages: Name -> `Counts`.
    """

    def __init__(self, stage: Callable[[], str] = lambda: '') -> None:
        super().__init__()
        self.stages = collections.defaultdict(Counts)
        self._stage = stage

    @property
    def flops(self) -> dict:
        """Number type -> operations of all stages."""
        total = collections.Counter()
        for counts in self.stages.values():
            total.update(counts.flops)
        return dict(total)

    def __torch_dispatch__(
        self,
        func: Any,
        types: Sequence[type],
        args: tuple[Any, ...] = (),
        kwargs: dict[str, Any] | None = None,
    ) -> Any:
        kwargs = kwargs or {}
        out = func(*args, **kwargs)
        name = func._overloadpacket.__name__
        if func.is_view or name in FREE:
            return out
        inputs, outputs = tensors((args, kwargs)), tensors(out)
        moved = sum(map(own_bytes, inputs)) + sum(map(own_bytes, outputs))
        counts = self.stages[self._stage()]
        counts.launches += 1
        counts.bytes += moved
        count, dtype, flops = flop_registry.get(func._overloadpacket), None, 0
        if count is not None:
            dtype, flops = inputs[0].dtype, int(count(*args, **kwargs, out_val=out))
            counts.flops[dtype] += flops
            if name in CONVOLUTIONS and args[CONVOLUTIONS[name]] > 1:
                dtype = None
        counts.work.append((dtype, flops, moved))
        return out


def tensors(tree: object) -> list[torch.Tensor]:
    """List the tensors in nested arguments."""
    return [leaf for leaf in torch.utils._pytree.tree_leaves(tree) if isinstance(leaf, torch.Tensor)]


def own_bytes(tensor: torch.Tensor) -> int:
    """Return the memory of a tensor; what is expanded counts once."""
    count = 1
    for size, stride in zip(tensor.shape, tensor.stride()):
        count *= size if stride else 1
    return count * tensor.element_size()
