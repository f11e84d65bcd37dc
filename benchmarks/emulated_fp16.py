# Copyright 2026 The GDD-1S authors.
# SPDX-License-Identifier: Apache-2.0
"""train.py with --perf=fast-16bit at a bearable speed on a CPU, for the comparison of number types.

    python -m benchmarks.emulated_fp16 --recipe=demo --perf=fast-16bit

A CPU without instructions for float16 takes many times as long for its convolutions. Here they are computed
in float32 from float16 numbers and rounded once, which is also what a GPU's tensor cores do; the order of the
sums may differ, so call such numbers emulated. Everything else is as in train.py.
"""

import sys
from typing import Any

import torch
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_map_only

import train
from dnnlib.cli import run_script

CONVOLUTIONS = (torch.ops.aten.convolution.default, torch.ops.aten.convolution_backward.default)


class RoundedConvolutions(TorchDispatchMode):
    """While it is active: convolutions of float16 tensors, and their gradients, as described above."""

    def __torch_dispatch__(self, func: Any, types: Any, args: tuple = (), kwargs: dict | None = None) -> Any:
        kwargs = kwargs or {}
        if func not in CONVOLUTIONS or args[0].dtype != torch.float16:
            return func(*args, **kwargs)
        wide = tree_map_only(torch.Tensor, torch.Tensor.float, (args, kwargs))
        return tree_map_only(torch.Tensor, torch.Tensor.half, func(*wide[0], **wide[1]))


if __name__ == '__main__':
    sys.argv[0] = 'train.py'
    with RoundedConvolutions():
        run_script(train.main)
