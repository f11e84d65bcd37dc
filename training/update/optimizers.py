# Copyright 2026 The GDD-1S authors.
# SPDX-License-Identifier: Apache-2.0
"""Optimizers of the training, by their official names, and steps that can be left out."""

from collections.abc import Callable, Sequence
from typing import Any

import torch

from dnnlib.errors import ArgumentError, arg


class RAdam(torch.optim.RAdam):
    """RAdam that leaves out steps like the fused Adam (see `step_unless`), on a GPU without waiting for it.

    torch has no fused RAdam that could do this itself. On a GPU the step is therefore taken with gradients of
    0 in place of those that are not finite, and taken back where the tensor says so; the step counter lives
    there as well (`capturable`), since only the GPU knows how many steps count.

    Args:
        params: Parameters, all on one device.
        kwargs: As for torch.optim.RAdam.
    """

    def __init__(self, params: Sequence[torch.nn.Parameter], **kwargs: Any) -> None:
        params = list(params)
        on_gpu = bool(params) and params[0].device.type == 'cuda'
        super().__init__(params, foreach=True, capturable=on_gpu, **kwargs)

    @torch.no_grad()
    def step(self, closure: Any = None) -> Any:
        found = getattr(self, 'found_inf', None)
        if found is None or found.device.type == 'cpu':  # there reading costs nothing
            return super().step(closure) if found is None or not found.item() else None
        params = [p for group in self.param_groups for p in group['params'] if p.grad is not None]
        # So that what is taken back below is finite.
        replace_in_place([p.grad for p in params], lambda flat: flat.nan_to_num_(0, 0, 0))
        contents = self._contents(params)
        before = dict(zip(contents, torch._foreach_mul(list(contents.values()), 1)))  # copies, in one launch
        result = super().step(closure)
        contents = self._contents(params)  # with the state that a first step has made, of zeros
        old = [before[key] if key in before else torch.zeros_like(value) for key, value in contents.items()]
        new = list(contents.values())
        torch._foreach_mul_(new, 1 - found)
        torch._foreach_add_(new, torch._foreach_mul(old, found))
        return result

    def _contents(self, params: Sequence[torch.nn.Parameter]) -> dict[tuple[int, str], torch.Tensor]:
        # All that a step changes.
        weights = {(i, 'weight'): p for i, p in enumerate(params)}
        state = {(i, key): x for i, p in enumerate(params) for key, x in self.state.get(p, {}).items()}
        return weights | state

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Continue from a state of any device."""
        own = [group['capturable'] for group in self.param_groups]
        groups = [dict(group, capturable=flag) for group, flag in zip(state_dict['param_groups'], own)]
        super().load_state_dict(dict(state_dict, param_groups=groups))
        for group in self.param_groups:
            for p in group['params']:  # torch leaves counters where they were
                if p in self.state:
                    where = p.device if group['capturable'] else 'cpu'
                    self.state[p]['step'] = self.state[p]['step'].to(where)


def replace_in_place(grads: Sequence[torch.Tensor], function: Callable[[torch.Tensor], object]) -> None:
    """Apply an in-place function to all gradients at once, as one vector."""
    # torch has no public name for these two, which do without a loop over the parameters in Python;
    # DistributedDataParallel uses them. This is the one place that does here.
    flat = torch._C._nn.flatten_dense_tensors(grads)
    function(flat)
    torch._foreach_copy_(grads, torch._C._nn.unflatten_dense_tensors(flat, grads))


def make_optimizer(kind: str, params: Sequence[torch.nn.Parameter], **kwargs: Any) -> torch.optim.Optimizer:
    """Make an optimizer.

    Args:
        kind:   'adam' (Kingma and Ba 2015) or 'radam' (Liu et al. 2020). The official code takes any other
                word for RAdam.
        params: Parameters.
        kwargs: lr, betas, eps, weight_decay (L2, added to the gradient).
    Returns:
        Optimizer whose steps need no Python work per parameter on CUDA.
    Raises:
        ArgumentError: Unknown kind.
    """
    if kind == 'adam':
        return torch.optim.Adam(params, fused=True, **kwargs)
    if kind == 'radam':
        return RAdam(params, **kwargs)
    raise ArgumentError(
        arg('optimizer_type', kind), ' is unknown; use ', arg('optimizer_type', 'adam'), ' or radam'
    )


def step_unless(optimizer: torch.optim.Optimizer, skip: torch.Tensor | None) -> None:
    """Take an optimizer step unless a tensor says not to, without the host having to read that tensor.

    `found_inf` is what torch made for its GradScaler, and has no other name: a fused optimizer reads it on
    its device, and where it is 1 leaves parameters, moments and its own step counter alone. This is the one
    place that sets it.

    Args:
        optimizer: From `make_optimizer`, or another fused one.
        skip:      1.0 to leave the step out or 0.0, scalar tensor on the device of the parameters; None for
                   0.
    """
    optimizer.found_inf = skip
    optimizer.step()
