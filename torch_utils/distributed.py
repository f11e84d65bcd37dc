# Copyright 2026 The GDD-1S authors.
# SPDX-License-Identifier: Apache-2.0
"""Run the same code in one process or in several, as started by torchrun.

Every function works without a process group, where it behaves as rank 0 of 1. Tensors on the
CPU travel through gloo, tensors on a GPU through nccl.
"""

import os
import pickle
import time
from collections.abc import Callable
from typing import Any, TypeVar

import torch
import torch.distributed as dist
from torch.distributed.rendezvous import rendezvous

from dnnlib.errors import ArgumentError, FailedElsewhere, ProcessLost
from torch_utils.launch import end_with_launcher

T = TypeVar('T')

# The launcher ends a process as soon as another has failed; the one with the message goes first.
LAST_WORDS_SEC = 5


def init(device: str | None = None) -> None:
    """Join the process group described by torchrun's variables and select the device.

    Without torchrun, or with WORLD_SIZE=1, no process group is made, unless the environment variable
    FORCE_PROCESS_GROUP=1 asks for a group of one: on one GPU all collectives then run through nccl.

    Where a rank raises, let the error end the process: torchrun then ends the others. Call destroy() only on
    success, since leaving an nccl group while others wait in it can block.

    Args:
        device: 'cpu', 'cuda', or None for CUDA where present.
    Raises:
        ValueError: torchrun's variables contradict each other or the machine.
    """
    global _device
    end_with_launcher()
    world_size, rank = _environment_int('WORLD_SIZE', 1), _environment_int('RANK', 0)
    if not 0 <= rank < world_size:
        raise ValueError(
            f'RANK={rank} must lie in 0..{world_size - 1} (WORLD_SIZE={world_size}); '
            'start with: torchrun --standalone --nproc_per_node=N'
        )
    _device = _select_device(device)
    forced = world_size == 1 and _environment_int('FORCE_PROCESS_GROUP', 0)
    if dist.is_initialized() or (world_size == 1 and not forced):
        return
    if forced:
        _make_group(dist.HashStore(), 0, 1)
        return
    missing = [name for name in ('RANK', 'MASTER_ADDR', 'MASTER_PORT') if name not in os.environ]
    if missing:
        raise ValueError(
            f'WORLD_SIZE={world_size} needs {", ".join(missing)} as well; '
            'start with: torchrun --standalone --nproc_per_node=N'
        )
    try:
        store = next(rendezvous('env://', rank, world_size))[0]
        # With --max-restarts the launcher's store still holds the addresses of processes that have ended.
        store = dist.PrefixStore(f'attempt_{_environment_int("TORCHELASTIC_RESTART_COUNT", 0)}', store)
        _make_group(store, rank, world_size)
    except RuntimeError as error:  # DistNetworkError, or before torch 2.7 just this
        if not isinstance(error, dist.DistNetworkError) and 'EADDRINUSE' not in str(error):
            raise
        address = f'{os.environ["MASTER_ADDR"]}:{os.environ["MASTER_PORT"]}'
        raise ValueError(
            f'the processes cannot meet at MASTER_ADDR:MASTER_PORT={address} (port in use?); '
            'torchrun --standalone picks a free port'
        ) from error


def destroy() -> None:
    """Leave the process group, if there is one, and forget the device."""
    global _device
    _device = None
    if dist.is_initialized():
        dist.destroy_process_group()


def get_rank() -> int:
    """Return the index of this process, 0 without a process group."""
    return dist.get_rank() if dist.is_initialized() else 0


def get_world_size() -> int:
    """Return the number of processes, 1 without a process group."""
    return dist.get_world_size() if dist.is_initialized() else 1


def is_alone() -> bool:
    """Tell whether there is nobody to talk to: one process, and no group of one that was asked for."""
    return get_world_size() == 1 and not dist.is_initialized()


def get_device() -> torch.device:
    """Return the device of this process: `cuda:LOCAL_RANK`, or the CPU."""
    return _device if _device is not None else _select_device(None)


def print0(*values: Any, **options: Any) -> None:
    """Print on rank 0 only."""
    if get_rank() == 0:
        print(*values, **options)


def barrier() -> None:
    """Wait until all processes have come here."""
    if dist.is_initialized():
        # A reduction on the CPU: no stray CUDA context and no guess of a device by nccl.
        all_reduce_sum_(torch.zeros(1))


def raise_together(error: Exception | None) -> None:
    """End a piece of work on all ranks if any of them has an error; all ranks call this.

    Args:
        error: Exception of this rank, or None.
    Raises:
        Exception: On rank 0 the first error of all ranks.
        FailedElsewhere: On the others, a moment later, so that rank 0 is heard before the launcher ends it.
    """
    if not all_reduce_sum_(torch.tensor(float(error is not None))).item():
        return
    errors = gather_objects(_portable(error))
    if errors is not None:
        raise next(problem for problem in errors if problem is not None)
    time.sleep(LAST_WORDS_SEC)
    raise FailedElsewhere('another process has failed and says why')


def _portable(error: Exception | None) -> Exception | None:
    # Some exceptions cannot be sent, or not be made anew from what was sent; their words can.
    try:
        pickle.loads(pickle.dumps(error))
    except Exception:
        return ArgumentError(f'{type(error).__name__}: {error}')
    return error


def rank0_first(function: Callable[[], T]) -> T:
    """Call a function on rank 0, then on the others, so that a download happens once.

    Args:
        function: Called without arguments.
    Returns:
        Its result.
    Raises:
        Exception: On rank 0, what the function raised there.
        FailedElsewhere: On the others, where it failed on rank 0.
    """
    error = result = None
    if get_rank() == 0:
        try:
            result = function()
        except Exception as problem:
            error = problem
    raise_together(error)
    return result if get_rank() == 0 else function()


def rank0_only(function: Callable[[], T]) -> T | None:
    """Call a function on rank 0 only; where it fails, the others end quietly, as in `rank0_first`.

    Returns:
        Its result on rank 0, None elsewhere.
    """
    return rank0_first(lambda: function() if get_rank() == 0 else None)


def broadcast_(tensor: torch.Tensor, src: int = 0) -> torch.Tensor:
    """Overwrite a tensor with the values of rank `src`, in place.

    Args:
        tensor: Any shape and type, the same on all ranks.
        src:    Rank to copy from.
    Returns:
        The same tensor.
    """
    if dist.is_initialized():
        _in_place(tensor, lambda buffer: dist.broadcast(buffer, src=src))
    return tensor


def all_reduce_sum_(tensor: torch.Tensor) -> torch.Tensor:
    """Overwrite a tensor with its sum over all ranks, in place.

    Args:
        tensor: Any shape, the same on all ranks.
    Returns:
        The same tensor.
    """
    if dist.is_initialized():
        _in_place(tensor, lambda buffer: dist.all_reduce(buffer, op=dist.ReduceOp.SUM))
    return tensor


def gather_objects(obj: T) -> list[T] | None:
    """Collect one picklable object per rank.

    Args:
        obj: Object of this rank.
    Returns:
        List in rank order on rank 0, None elsewhere.
    """
    if not dist.is_initialized():
        return [obj]
    gathered = [None] * get_world_size() if get_rank() == 0 else None
    dist.gather_object(obj, gathered, dst=0)
    return gathered


def broadcast_object(obj: T) -> T:
    """Return rank 0's picklable object on every rank."""
    if not dist.is_initialized():
        return obj
    box = [obj if get_rank() == 0 else None]
    dist.broadcast_object_list(box, src=0)
    return box[0]


_device = None  # set by init()
BACKENDS = dict(cpu='gloo', cuda='cpu:gloo,cuda:nccl')  # by type of the device


def _make_group(store: dist.Store, rank: int, world_size: int) -> None:
    backend = BACKENDS[_device.type]
    # nccl then knows its GPU before the first collective, and finds out at once if it cannot be used.
    device_id = _device if 'nccl' in backend else None
    dist.init_process_group(
        backend=backend, store=store, rank=rank, world_size=world_size, device_id=device_id
    )


def _in_place(tensor: torch.Tensor, collective: Callable[[torch.Tensor], object]) -> None:
    # Collectives need contiguous memory, and must not become part of an autograd graph.
    with torch.no_grad():
        data = tensor.detach()
        buffer = data if data.is_contiguous() else data.contiguous()
        try:
            collective(buffer)
        except RuntimeError as error:
            raise ProcessLost(
                f'another process has ended or cannot be reached ({" ".join(str(error).split())[:120]}); '
                'its own message says why'
            ) from error
        if buffer is not data:
            data.copy_(buffer)


def _environment_int(name: str, default: int) -> int:
    text = os.environ.get(name, str(default))
    if not text.strip().isdigit():
        raise ValueError(
            f'environment variable {name}={text!r} must be a non-negative integer, such as {default}'
        )
    return int(text)


def _select_device(device: str | None) -> torch.device:
    if device is None:
        device = 'cuda' if torch.cuda.is_available() else 'cpu'
    if device not in ('cpu', 'cuda'):
        raise ValueError(f"device={device!r} must be 'cpu' or 'cuda'")
    if device == 'cpu':
        return torch.device('cpu')
    local_rank, count = _environment_int('LOCAL_RANK', 0), torch.cuda.device_count()
    if local_rank >= count:
        raise ValueError(
            f'process LOCAL_RANK={local_rank} needs GPU number {local_rank}, but this machine shows {count}; '
            f'start at most {max(count, 1)} process(es) per machine, or use the CPU'
        )
    torch.cuda.set_device(local_rank)
    return torch.device('cuda', local_rank)
