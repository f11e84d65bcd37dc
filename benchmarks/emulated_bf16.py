# Copyright 2026 The GDD-1S authors.
# SPDX-License-Identifier: Apache-2.0
"""train.py with --precision=bf16 taking effect on a CPU, for the comparison of number types.

    python -m benchmarks.emulated_bf16 --recipe=demo --precision=bf16

There train.py computes in float32, since bfloat16 gains nothing. Here the generator's U-Net gets bfloat16
images and so computes in bfloat16 (weights, norms and attention as on a GPU, training/networks.py). How a CPU
and a GPU round within a convolution may differ: call such numbers emulated.
"""

import sys

import torch

import train
from dnnlib.cli import run_script
from training.networks import GDDPrecond


def compute_in_bfloat16(net: torch.nn.Module, *args: object, **kwargs: object) -> torch.Tensor:
    """Call a generator whose U-Net gets bfloat16 input, if it is meant to; arguments as for its forward."""
    if not net.use_fp16 or kwargs.get('force_fp32'):
        return _forward(net, *args, **kwargs)
    # Not left in place: copies of the network (averages, snapshots) must not carry it.
    hook = net.model.register_forward_pre_hook(
        lambda _model, inputs, named: ((inputs[0].to(torch.bfloat16), *inputs[1:]), named), with_kwargs=True
    )
    try:
        return _forward(net, *args, **kwargs)
    finally:
        hook.remove()


_forward = GDDPrecond.forward

if __name__ == '__main__':
    sys.argv[0] = 'train.py'
    GDDPrecond.forward = compute_in_bfloat16
    run_script(train.main)
