# Copyright 2026 The GDD-1S authors.
# SPDX-License-Identifier: Apache-2.0
"""Helpers on the tensors of modules: listing, and comparison between processes."""

import re

import torch

from torch_utils import distributed


def named_params_and_buffers(module):
    """List (name, tensor) of all parameters, then of all buffers of a module."""
    return list(module.named_parameters()) + list(module.named_buffers())


@torch.no_grad()
def check_ddp_consistency(module, ignore_regex=None):
    """Make sure that all processes hold the same parameters and buffers. All ranks call this.

    Values are compared after `torch.nan_to_num`, as NaN differs from itself.

    Args:
        module:       Module to compare.
        ignore_regex: Pattern of full names `ClassName.tensor` to leave out, or None.
    Raises:
        ValueError: a tensor differs from that of rank 0; raised on every rank.
    """
    names, differs = [], []
    for name, tensor in named_params_and_buffers(module):
        full_name = f'{type(module).__name__}.{name}'
        if ignore_regex is not None and re.fullmatch(ignore_regex, full_name):
            continue
        values = tensor.detach().contiguous()
        if values.is_floating_point():
            values = torch.nan_to_num(values)
        reference = distributed.broadcast_(values.clone())
        names.append(full_name)
        differs.append((values != reference).any().cpu())
    if not names:
        return
    # Summed over the ranks, so that all of them stop, with the same message.
    totals = distributed.all_reduce_sum_(torch.stack(differs).to(torch.int64))
    bad = [name for name, total in zip(names, totals.tolist()) if total]
    if bad:
        raise ValueError(f'{len(bad)} tensor(s) differ between the processes, first {bad[0]}; all ranks must start from '
                         'the same weights and apply the same updates')
