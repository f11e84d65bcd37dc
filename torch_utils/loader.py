# Copyright 2026 The GDD-1S authors.
# SPDX-License-Identifier: Apache-2.0
"""Batches from loader processes, in which errors are one line and a lost process ends the program at once.

PyTorch's DataLoader hands batches over in shared memory, with descriptors for each, and wraps errors of its
processes in their tracebacks. Where /dev/shm is small (64 MB in a container), descriptors are few or one of
them is killed, it prints tracebacks and may wait for ever. Here batches travel as arrays through its pipe.
"""

import multiprocessing
import signal
import threading
from collections.abc import Callable, Iterator
from multiprocessing.process import BaseProcess
from types import FrameType
from typing import Any, NoReturn

import numpy as np
import torch

from dnnlib.errors import ArgumentError, arg
from dnnlib.os_errors import describe_os_error

_CURE = (
    '; use ',
    arg('workers', 0),
    ', or fewer processes; in a container give more shared memory, such as docker run --shm-size=8g',
)


class LoaderError(ArgumentError):
    """The loader processes cannot be started, or one of them has ended before its work was done."""


class _ErrorsAsItems(torch.utils.data.Dataset):
    # A dataset whose unusable items are the errors that describe them: these cross over as they are.

    def __init__(self, dataset: torch.utils.data.Dataset) -> None:
        self._dataset = dataset

    def __len__(self) -> int:
        return len(self._dataset)

    def __getitem__(self, idx: int) -> Any:
        try:
            return self._dataset[idx]
        except (ValueError, OSError, MemoryError) as error:
            return error


class _Collate:
    # Stacks items to a batch of arrays; the first error among the items instead of them.

    def __init__(self, collate: Callable[[list], Any]) -> None:
        self._collate = collate

    def __call__(self, items: list[Any]) -> Any:
        try:
            errors = [item for item in items if isinstance(item, Exception)]
            return errors[0] if errors else self._collate(items)
        except (ValueError, OSError, MemoryError) as error:
            return error


def stack_arrays(items: list[tuple]) -> tuple[np.ndarray, ...]:
    """Stack the N items of a batch, tuples of arrays, to one tuple of arrays [N, ...]."""
    return tuple(np.stack(arrays) for arrays in zip(*items))


def load_batches(
    dataset: torch.utils.data.Dataset,
    collate: Callable[[list], Any] = stack_arrays,
    num_workers: int = 0,
    pin_memory: bool = False,
    **loader_kwargs: Any,
) -> Iterator[Any]:
    """Yield the batches of a DataLoader.

    Args:
        dataset:       Its items are tuples of NumPy arrays; with `batch_size=None`, tuples of whole batches.
        collate:       Makes a tuple of arrays (or None) of a list of items; it can be pickled.
        num_workers:   Loader processes; 0 loads in this one.
        pin_memory:    Copy batches to page-locked memory, for transfers to a GPU.
        loader_kwargs: Further arguments of torch.utils.data.DataLoader.
    Yields:
        The tuples, with tensors instead of arrays.
    Raises:
        ValueError, OSError, MemoryError: What the dataset raised for an item, from whatever process.
        LoaderError: A process cannot be started or was ended; it can also come up between two batches.
    """
    if loader_kwargs.get('batch_size', 1) is not None:
        loader_kwargs['collate_fn'] = _Collate(collate)
    else:
        loader_kwargs['collate_fn'] = _unchanged
    loader_kwargs.update(dataset=_ErrorsAsItems(dataset), num_workers=num_workers)
    with _Processes(loader_kwargs) as processes:
        while (batch := processes.next_batch()) is not None:
            if isinstance(batch, Exception):
                raise batch
            yield tuple(_as_tensor(array, pin_memory) for array in batch)


def _unchanged(item: Any) -> Any:
    return item


def _as_tensor(array: np.ndarray | None, pin_memory: bool) -> torch.Tensor | None:
    if not isinstance(array, np.ndarray):
        return array
    tensor = torch.from_numpy(array if array.flags.writeable else array.copy())
    return tensor.pin_memory() if pin_memory else tensor


class _Processes:
    """The loader processes: they end with the block, whatever they do; one that ends earlier is an error."""

    def __init__(self, loader_kwargs: dict[str, Any]) -> None:
        self._loader_kwargs = loader_kwargs
        self._children = []
        self._batches = None
        self._lost = None
        self._watching = False
        self._previous = None

    def __enter__(self) -> '_Processes':
        before = set(multiprocessing.active_children())
        watched = threading.current_thread() is threading.main_thread() and hasattr(signal, 'SIGCHLD')
        self._previous = signal.getsignal(signal.SIGCHLD) if watched else None
        failure = None
        try:
            self._batches = iter(torch.utils.data.DataLoader(**self._loader_kwargs))
        except (OSError, RuntimeError) as error:
            failure = error
        finally:
            self._children = [child for child in multiprocessing.active_children() if child not in before]
            if watched and self._children and failure is None:
                # In place of torch's, whose error has no cure. Waiting alone would not do: of a batch that
                # a killed process has sent in part, the rest never comes.
                signal.signal(signal.SIGCHLD, self._check)
                self._watching = True
        if failure is not None:
            self._refuse(failure)
        return self

    def _refuse(self, error: OSError | RuntimeError) -> NoReturn:
        # Some processes may have started: the end of the program would wait for them. The half-made loader
        # lives on in the error's traceback, since its destructor fails.
        self._stop(abandon=False)
        _ABANDONED.append(error)
        words = describe_os_error(error) if isinstance(error, OSError) else ' '.join(str(error).split())[:200]
        raise LoaderError(f'the loader processes cannot be started ({words})', *_CURE) from error

    def next_batch(self) -> tuple[Any, ...] | Exception | None:
        """Return the next batch, None after the last."""
        try:
            return next(self._batches, None)
        except (RuntimeError, OSError, EOFError) as error:
            # An error of the dataset itself, a bug, comes with the traceback of its process.
            if self._lost is None and (not self._children or 'DataLoader worker process' in str(error)):
                raise
            self._fail(error)

    def _check(self, number: int, frame: FrameType | None) -> None:
        # SIGCHLD, which comes between any two lines of the program.
        if any(child.exitcode for child in self._children):
            self._fail(None)
        if callable(self._previous):
            self._previous(number, frame)

    def _fail(self, error: Exception | None) -> NoReturn:
        if self._lost is None:  # torch turns what `_check` raises while it waits into an error of its own
            ended = [child for child in self._children if child.exitcode]
            self._lost = LoaderError(_describe_end(ended, error), *_CURE)
        self._stop(abandon=True)
        raise self._lost from error

    def _stop(self, abandon: bool) -> None:
        if self._watching:
            signal.signal(signal.SIGCHLD, self._previous or signal.SIG_DFL)
            self._watching = False
        if abandon and self._batches is not None:
            # Its destructor would wait for locks that dead processes hold, except at the end of the program.
            _ABANDONED.append(self._batches)
        self._batches = None
        for child in self._children:
            child.kill()  # while training they ignore SIGTERM
            child.join(timeout=5)
        self._children = []

    def __exit__(self, kind: type | None, *_exception: Any) -> None:
        self._stop(abandon=kind is not None and bool(self._children))


_ABANDONED = []


def _describe_end(ended: list[BaseProcess], error: Exception | None) -> str:
    if not ended:
        return f'a loader process has failed ({" ".join(str(error).split())[:200]})'
    code = ended[0].exitcode
    if code > 0:
        return f'loader process {ended[0].pid} has ended with exit code {code}'
    name = signal.Signals(-code).name
    guess = {'SIGKILL': ' (out of memory?)', 'SIGBUS': ' (out of shared memory?)'}.get(name, '')
    return f'loader process {ended[0].pid} was ended by {name}{guess}'
