# Copyright 2026 The GDD-1S authors.
# SPDX-License-Identifier: Apache-2.0
"""Helpers on tensors and modules.

The second half holds names of EDM's module `torch_utils.misc` that the program texts inside
snapshots import. They are used by `--trust-pickle` only, when such a text runs.
"""

import contextlib
import functools
import re
import warnings
import zlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

import torch
from torch.overrides import TorchFunctionMode

from torch_utils import distributed

# Of a tensor, and perhaps a number, they return a tensor of the same shape.
KEEP_THE_SHAPE = frozenset(
    getattr(torch.Tensor, name)
    for name in ('mul', '__mul__', '__rmul__', 'sub', '__sub__', 'div', '__truediv__', 'square')
)


class _ShapesAlone(TorchFunctionMode):
    """Answer operations that keep the shape with the tensor itself."""

    def __torch_function__(
        self,
        func: Callable[..., Any],
        types: Sequence[type],
        args: tuple[Any, ...] = (),
        kwargs: dict[str, Any] | None = None,
    ) -> Any:
        if func in KEEP_THE_SHAPE and not kwargs:
            first, *others = sorted((x for x in args if isinstance(x, torch.Tensor)), key=lambda x: -x.ndim)
            if not any(x.ndim for x in others):
                return first
        return func(*args, **(kwargs or {}))


@contextlib.contextmanager
def without_values() -> Iterator[None]:
    """Build modules on the meta device: their tensors have shapes and no values.

    Constructors scale each initial weight several times. torch works out the shape of every product in Python
    there, 0.2 ms each, which is more than half of the time to load a small network; here it costs nothing.
    """
    with torch.device('meta'), _ShapesAlone():
        yield


def named_params_and_buffers(module: torch.nn.Module) -> list[tuple[str, torch.Tensor]]:
    """List (name, tensor) of all parameters, then of all buffers of a module."""
    return list(module.named_parameters()) + list(module.named_buffers())


def take_over_from_rank0(*modules: torch.nn.Module) -> None:
    """Give all processes the parameters and buffers that rank 0 has, in place."""
    for module in modules:
        for _name, tensor in named_params_and_buffers(module):
            distributed.broadcast_(tensor.detach())


@torch.no_grad()
def check_ddp_consistency(module: torch.nn.Module, ignore_regex: str | None = None) -> None:
    """Make sure that all processes hold the same parameters and buffers. All ranks call this.

    Values are compared after `torch.nan_to_num`, as NaN differs from itself. The verdicts stay on the device
    until the end, so a GPU is waited for once; with one process nothing is done.

    Args:
        module:       Module to compare.
        ignore_regex: Pattern of full names `ClassName.tensor` to leave out, or None.
    Raises:
        ValueError: a tensor differs from that of rank 0; raised on every rank.
    """
    if distributed.is_alone():
        return
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
        differs.append((values != reference).any())
    if not names:
        return
    # Summed over the ranks, so that all of them stop, with the same message.
    totals = distributed.all_reduce_sum_(torch.stack(differs).to(torch.int64))
    bad = [name for name, total in zip(names, totals.tolist()) if total]
    if bad:
        raise ValueError(
            f'{len(bad)} tensor(s) differ between the processes, first {bad[0]}; all ranks must start from '
            'the same weights and apply the same updates'
        )


def checksum(tensors: Mapping[str, torch.Tensor]) -> int:
    """Return a CRC-32 of the values of a dict of tensors, in its order."""
    digest = 0
    for tensor in tensors.values():
        digest = zlib.crc32(tensor.detach().cpu().contiguous().numpy().tobytes(), digest)
    return digest


def full_precision() -> contextlib.AbstractContextManager[None]:
    """Keep GPUs from rounding float32 products to TF32, so that results do not depend on the GPU."""
    return tf32(False)


@contextlib.contextmanager
def tf32(allowed: bool) -> Iterator[None]:
    """Set whether GPUs may round float32 products (cuDNN, cuBLAS) to TF32 while inside; restore both."""
    before = torch.backends.cudnn.allow_tf32, torch.backends.cuda.matmul.allow_tf32
    torch.backends.cudnn.allow_tf32 = torch.backends.cuda.matmul.allow_tf32 = allowed
    try:
        yield
    finally:
        torch.backends.cudnn.allow_tf32, torch.backends.cuda.matmul.allow_tf32 = before


def constant(
    value: Any,
    shape: Sequence[int] | None = None,
    dtype: torch.dtype | None = None,
    device: torch.device | str | None = None,
    memory_format: torch.memory_format | None = None,
) -> torch.Tensor:
    """Return a constant tensor.

    Args:
        value:         Number, nested list, NumPy array or tensor.
        shape:         Shape to expand to, or None to keep it.
        dtype, device: Of the result; None for torch's default float type and the CPU.
        memory_format: Of the result; None for contiguous.
    Returns:
        Tensor with memory of its own.
    """
    tensor = torch.as_tensor(value).to(device=device or 'cpu', dtype=dtype or torch.get_default_dtype())
    tensor = tensor if shape is None else tensor.expand(shape)
    return tensor.clone(memory_format=memory_format or torch.contiguous_format)


def assert_shape(tensor: torch.Tensor, ref_shape: Sequence[int | None]) -> None:
    """Raise AssertionError unless a tensor has the given shape; None stands for any size."""
    shape = tuple(tensor.shape)
    if len(shape) != len(ref_shape) or any(
        want is not None and int(want) != have for want, have in zip(ref_shape, shape)
    ):
        raise AssertionError(f'the tensor has the shape {list(shape)}, but {list(ref_shape)} is expected')


def profiled_function(function: Callable) -> Callable:
    """Decorate a function so that profiler traces show its name."""

    @functools.wraps(function)
    def profiled(*args: Any, **kwargs: Any) -> Any:
        with torch.autograd.profiler.record_function(function.__name__):
            return function(*args, **kwargs)

    return profiled


@contextlib.contextmanager
def suppress_tracer_warnings() -> Iterator[None]:
    """Silence torch.jit.TracerWarning inside a with block."""
    with warnings.catch_warnings():
        warnings.simplefilter('ignore', category=torch.jit.TracerWarning)
        yield
