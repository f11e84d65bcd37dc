# Copyright 2026 The GDD-1S authors.
# SPDX-License-Identifier: Apache-2.0
"""Gradients between backward() and the optimizer step: average over processes, sanitise, count.

One flattened all-reduce per optimizer step replaces torch's DistributedDataParallel: parameters
that are switched between frozen and trained, the second-order R1 term and accumulation over
micro-batches then need no special cases, and the order of summation is fixed.
"""
import torch

from torch_utils import distributed


def average_over_processes(params):
    """Replace every gradient by its mean over the processes.

    Args:
        params: Parameters with gradients, the same list on every process.
    """
    world_size = distributed.get_world_size()
    if world_size == 1 or not params:
        return
    flat = torch.cat([p.grad.reshape(-1) for p in params]).div_(world_size)
    distributed.all_reduce_sum_(flat)
    for p, grad in zip(params, flat.split([p.numel() for p in params])):
        p.grad.copy_(grad.view_as(p.grad))


def finish_gradients(params):
    """Average gradients over the processes and make them finite.

    NaN becomes 0 and +-inf becomes +-1e5, as in EDM and GDD; unlike there the replaced entries are counted.

    Args:
        params: Parameters; those without a gradient are left out.
    Returns:
        Number of non-finite entries, int64 scalar tensor on the device (no host synchronisation),
        and the gradient norm, float32 scalar tensor.
    """
    params = [p for p in params if p.grad is not None]
    average_over_processes(params)
    grads = [p.grad for p in params]
    norm = torch.stack(torch._foreach_norm(grads)).norm()
    # One finite norm proves every entry finite, so the count below is only paid for on trouble;
    # on the CPU reading the norm costs nothing, on a GPU the count runs without a host decision.
    if norm.device.type == 'cpu' and bool(norm.isfinite()):
        return torch.zeros([], dtype=torch.int64), norm
    bad = torch.stack([(~g.isfinite()).sum() for g in grads]).sum()
    for g in grads:
        torch.nan_to_num(g, nan=0.0, posinf=1e5, neginf=-1e5, out=g)
    return bad, norm
