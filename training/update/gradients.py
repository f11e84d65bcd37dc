# Copyright 2026 The GDD-1S authors.
# SPDX-License-Identifier: Apache-2.0
"""From backward() to the optimizer step: average gradients over processes, and keep non-finite ones out.

One flattened all-reduce per optimizer step replaces torch's DistributedDataParallel: parameters
that are switched between frozen and trained, the second-order R1 term and accumulation over
micro-batches then need no special cases, and the order of summation is fixed.

Whether a step is skipped depends on the averaged gradient, which is the same on every process, so
all decide alike without talking. On a GPU the decision stays there: fused Adam reads it from a
tensor (`optimizers.step_unless`), and the host never waits.
"""

from collections.abc import Callable, Sequence

import torch

from dnnlib.errors import ArgumentError, arg, as_option
from torch_utils import distributed, training_stats
from training.update.optimizers import replace_in_place, step_unless

NAN_MODES = ('skip', 'zero')
REDUCED = {'fp32': torch.float32, 'bf16': torch.bfloat16}


class NonFiniteError(ArgumentError):
    """Too many optimizer steps with non-finite gradients; the message is one line for the user."""


def average_over_processes(params: Sequence[torch.nn.Parameter], dtype: torch.dtype = torch.float32) -> None:
    """Replace every gradient by its mean over the processes.

    Args:
        params: Parameters with gradients, the same list on every process; frozen ones have none, and nothing
                is sent for them.
        dtype:  Number type that is sent and summed: float32, or bfloat16 for half of the bytes.
    """
    if distributed.is_alone() or not params:
        return
    world_size = distributed.get_world_size()

    def average(flat: torch.Tensor) -> None:
        sent = flat.div_(world_size).to(dtype)
        distributed.all_reduce_sum_(sent)
        if sent is not flat:
            flat.copy_(sent)

    replace_in_place([p.grad for p in params], average)


def finish_gradients(
    params: Sequence[torch.nn.Parameter], mode: str = 'skip', dtype: torch.dtype = torch.float32
) -> tuple[torch.Tensor, torch.Tensor]:
    """Average gradients over the processes, and tell whether they are finite.

    Judged by the norm: it is finite only if every entry is, and overflows (above 1.8e19) where the squares
    that Adam keeps would. With mode 'zero' NaN becomes 0 and +-inf becomes +-1e5, as in EDM and GDD.

    Args:
        params: Parameters; those without a gradient are left out.
        mode:   'skip' leaves non-finite gradients as they are, for the optimizer to pass over; or 'zero'.
        dtype:  As for `average_over_processes`.
    Returns:
        Whether the norm is not finite, 1.0 or 0.0, and the norm before any replacement: float32 scalar
        tensors on the device of the gradients, the same on every process. Nothing is read back from a GPU.
    """
    params = [p for p in params if p.grad is not None]
    average_over_processes(params, dtype)
    grads = [p.grad for p in params]
    norm = torch.stack(torch._foreach_norm(grads)).norm()
    found = norm.isfinite().logical_not().to(torch.float32)
    # On the CPU reading the norm costs nothing; on a GPU the replacement runs without a host decision.
    if mode == 'zero' and (norm.device.type != 'cpu' or found.item()):
        replace_in_place(
            grads, lambda flat: torch.nan_to_num(flat, nan=0.0, posinf=1e5, neginf=-1e5, out=flat)
        )
    return found, norm


class StepGuard:
    """Take optimizer steps, and skip and count those with non-finite gradients.

    A skipped step leaves parameters, moments and the step counter of Adam as they are, bit for bit.

    Args:
        mode:   'skip' for this, or 'zero' to replace non-finite entries and take the step, as EDM and GDD do.
        reduce: Number type of REDUCED in which gradients are averaged over processes.
    """

    def __init__(self, mode: str = 'skip', reduce: str = 'fp32') -> None:
        self.mode, self.dtype = mode, REDUCED[reduce]
        self._optimizers = {}  # optimizer -> name of its first step
        self._counts = {}  # name -> float32 scalar tensor on the device
        self._before = {}  # name -> int, from before a resume
        self._told = {}  # name -> int, as `news` has said last

    def step(
        self,
        name: str,
        optimizer: torch.optim.Optimizer,
        params: Sequence[torch.nn.Parameter],
        scaling: float = 1.0,
    ) -> torch.Tensor | None:
        """Finish the gradients and take one step; report Grad/NAME/norm and Grad/NAME/nonfinite.

        Args:
            name:      Whose step it is, such as 'G'; '' where there is only one.
            optimizer: torch.optim.Adam with fused=True, which is what can skip without the host.
            params:    Its parameters.
            scaling:   Factor of the loss, which the reported norm is divided by.
        Returns:
            1.0 if the step was skipped, else 0.0, as a tensor on the device; None if this guard skips
            nothing.
        """
        found, norm = finish_gradients(params, self.mode, self.dtype)
        label = _label('Grad', name)
        training_stats.report(f'{label}/nonfinite', found)
        training_stats.report(f'{label}/norm', norm / scaling)
        self._counts[name] = self._counts[name] + found if name in self._counts else found
        self._optimizers.setdefault(optimizer, name)
        skip = found if self.mode == 'skip' else None
        step_unless(optimizer, skip)
        return skip

    def counts(self) -> dict[str, int]:
        """Return name -> non-finite steps of the whole run, int. Waits for the GPU."""
        names = list(self._counts)
        new = torch.stack([self._counts[name] for name in names]).tolist() if names else []
        total = dict(self._before)
        for name, count in zip(names, new):
            total[name] = total.get(name, 0) + round(count)
        return total

    def report(self) -> None:
        """Report the learning rates and the number of non-finite steps; call once per tick, on all ranks."""
        for optimizer, name in self._optimizers.items():
            training_stats.report0(_label('LearningRate', name), optimizer.param_groups[0]['lr'])
        training_stats.report0('Progress/nonfinite_steps', sum(self.counts().values()))

    def news(self, limit: int) -> str | None:
        """Say how many steps were not finite, if there are more than at the last call. Waits for the GPU.

        A run that goes on says it once again, as the lines before may be in another log.

        Args:
            limit: As for `check`.
        Returns:
            One line, or None if there is nothing new.
        """
        counts = {name: count for name, count in self.counts().items() if count}
        if counts == self._told:
            return None
        self._told = counts
        done = 'skipped' if self.mode == 'skip' else 'taken with the entries replaced'
        end = f'; the run stops at {limit} ({as_option(arg("nan_limit"))})' if limit else ''
        return f'Warning: {_describe(counts)} had non-finite gradients so far and were {done}{end}'

    def check(self, limit: int, nimg: int, describe_files: Callable[[], str]) -> None:
        """Stop a run that has had too many non-finite steps.

        Args:
            limit:          Steps allowed are one fewer; 0 allows any number.
            nimg:           Images seen.
            describe_files: Function that says what the run has left behind.
        Raises:
            NonFiniteError: On every rank alike.
        """
        counts = {name: count for name, count in self.counts().items() if count} if limit else {}
        if sum(counts.values()) >= max(limit, 1):
            named = ', '.join(f'{name} {count}' for name, count in counts.items() if name)
            raise NonFiniteError(
                arg('nan_limit', limit),
                f' is reached: {sum(counts.values())} optimizer steps had non-finite gradients'
                f'{f" ({named})" if named else ""} by {nimg / 1000:g} kimg; {describe_files()}; go on from '
                'there with a lower ',
                arg('lr'),
                ' or ',
                arg('precision', 'fp32'),
                ', or with ',
                arg('nan_limit', 0),
                ' for any number',
            )

    def state_dict(self) -> dict[str, int]:
        """Return the numbers of non-finite steps."""
        return self.counts()

    def load_state_dict(self, state: dict[str, int]) -> None:
        """Continue from `state_dict()`."""
        self._before, self._counts, self._told = dict(state), {}, {}


def _label(prefix: str, name: str) -> str:
    return f'{prefix}/{name}' if name else prefix


def _describe(counts: dict[str, int]) -> str:
    named = ', '.join(f'{name} {count}' for name, count in counts.items() if name)
    return f'{sum(counts.values())} optimizer step(s){f" ({named})" if named else ""}'
