# Copyright 2026 The GDD-1S authors.
# SPDX-License-Identifier: Apache-2.0
"""A GPU that is only pretended: tensors keep CPU memory and real numbers, and carry the device they claim.

`with PretendedCuda() as gpu:` intercepts every torch function that Python calls, so that `x.device`,
`device=`, `.to('cuda')` and `torch.Generator('cuda')` behave as they would with a GPU. What a GPU would
refuse raises: tensors of two devices in one operation, a generator of another device, pinning what is on the
GPU, `.numpy()` of a GPU tensor, CUDA in a forked process. What would make the host wait is noted with the
line of the program, and `gpu.hot_loop()` fails where there is any of it.

What happens inside one call is not seen: the C++ of autograd, and `backward` of autograd functions in Python.
Nor are cuDNN, NCCL, atomics and streams there; a real GPU is still needed for those.
"""

import collections
import contextlib
import functools
import os
import sys
from collections.abc import Iterable, Iterator
from typing import Any

import torch
from torch.overrides import TorchFunctionMode
from torch.utils._pytree import tree_leaves

from tests.support import ROOT, pretended_runtime
from tests.support.pretended_runtime import CPU, place

# After these the host knows what the GPU has computed, so it has waited for it.
READS = set(
    'item tolist __bool__ __float__ __int__ __index__ __contains__ __format__ __repr__ equal allclose '
    'nonzero is_nonzero argwhere masked_select unique unique_consecutive bincount'.split()
)
# These take data of the host, or make new tensors: their operands need not be on one device.
FACTORIES = set(
    'zeros ones empty full rand randn randint randperm tensor as_tensor arange eye linspace logspace '
    'from_numpy frombuffer scalar_tensor empty_strided zeros_like ones_like empty_like full_like rand_like '
    'randn_like randint_like new_zeros new_ones new_empty new_full new_tensor'.split()
)
FROM_HOST_DATA = ('tensor', 'as_tensor', 'scalar_tensor', 'new_tensor')
# No operation on numbers, so operands of any device may meet.
NO_KERNEL = set(
    'type_as backward grad _has_compatible_shallow_copy_type __deepcopy__ _make_subclass set_ is_same_size '
    'is_set_to get_device is_pinned size stride dim numel element_size data_ptr register_hook'.split()
)
# CUDA takes a 0-dim tensor of the CPU as an operand of pointwise operations, but not of these.
NO_HOST_SCALARS = set(
    'cat stack concat hstack vstack mm matmul linear conv2d conv_transpose2d batch_norm group_norm '
    'layer_norm embedding bmm addmm mv dot index_select index_copy gather scatter_ lerp lerp_ einsum'.split()
)
PASS_THROUGH = {'_set_grad_enabled', 'set_grad_enabled', '_parse_to', 'is_grad_enabled', 'is_floating_point'}


class DeviceMismatch(RuntimeError):
    """Tensors or a generator of different devices met."""


class HostWaits(AssertionError):
    """The host waited for the GPU inside a hot loop; the message names every place."""


def on_gpu(x: torch.Tensor) -> bool:
    return place(x).type == 'cuda'


def mark(x: torch.Tensor, device: torch.device) -> None:
    """Let a tensor claim a device."""
    if x.device.type != 'meta':
        x._pretended = device


def tensors_in(*trees: Any) -> list[torch.Tensor]:
    """Return the tensors in nested arguments or results; without meta tensors, which have no numbers."""
    leaves = tree_leaves(trees)
    return [x for x in leaves if isinstance(x, torch.Tensor) and x.device.type != 'meta']


class PretendedEvent:
    """torch.cuda.Event: a moment in the work of the GPU."""

    def __init__(self, gpu: 'PretendedCuda', blocking: bool = False) -> None:
        self._gpu, self._moment = gpu, 0

    def record(self) -> None:
        self._moment = self._gpu.given

    def synchronize(self) -> None:
        self._gpu.synchronize(self._moment)


class PretendedCuda(TorchFunctionMode):
    """The pretended GPU, as a context manager.

    Args:
        count: Number of GPUs.
    Attributes:
        waits:  (what made the host wait, 'file:line function') -> how often.
        copies: Copies to and from the GPU that nothing waited for (pinned memory, non_blocking).
        calls:  Name of a torch function -> how often it ran on the GPU; a rough count of launches.
    """

    def __init__(self, count: int = 1) -> None:
        super().__init__()
        self.count = count
        self.waits = collections.Counter()
        self.copies = 0
        self.calls = collections.Counter()
        self._stack = contextlib.ExitStack()
        self._process = os.getpid()
        self.given = self._awaited = 0  # pieces of work that the GPU was given, and that are known to be done
        self._special = {
            'to': self._to,
            'cpu': self._to_cpu,
            'cuda': self._to_cuda,
            'pin_memory': self._pin_memory,
            'is_pinned': lambda func, args, kwargs: getattr(args[0], '_pinned', False),
            'get_device': lambda func, args, kwargs: -1 if not on_gpu(args[0]) else place(args[0]).index,
            'grad': self._grad,
            '__reduce_ex__': self._pickle,
        }

    def __enter__(self) -> 'PretendedCuda':
        event = functools.partial(PretendedEvent, self)
        self._stack = pretended_runtime.install(self.count, self.synchronize, event)
        return super().__enter__()

    def __exit__(self, *exception: Any) -> None:
        super().__exit__(*exception)
        self._stack.close()

    @contextlib.contextmanager
    def hot_loop(self, allowed: Iterable[str] = ()) -> Iterator[None]:
        """Fail if the host waits for the GPU inside.

        Args:
            allowed: Parts of 'file:line function' where it may.
        Raises:
            HostWaits: It did elsewhere.
        """
        before = self.waits.copy()
        yield
        new = {
            (kind, where): count
            for (kind, where), count in (self.waits - before).items()
            if not any(text in where for text in allowed)
        }
        if new:
            lines = [f'{count} x {kind}, {where}' for (kind, where), count in sorted(new.items())]
            raise HostWaits('the host waits for the GPU:\n' + '\n'.join(lines))

    def synchronize(self, moment: int | None = None) -> None:
        """Wait for the work up to a moment, or for all; noted if the GPU then has nothing else to do."""
        moment = self.given if moment is None else moment
        if moment == self.given:
            self._note('synchronize')
        self._awaited = max(self._awaited, moment)

    # ------------------------------------------------------------------------------------------------
    # Every torch function comes here.

    def __torch_function__(self, func, types, args=(), kwargs=None):
        kwargs = dict(kwargs or {})
        name = getattr(func, '__name__', str(func))
        if name in ('__get__', '__set__', '__delete__'):
            return self._attribute(func, name, getattr(func.__self__, '__name__', ''), args, kwargs)
        if name in PASS_THROUGH or 'record_function' in name:
            return func(*args, **kwargs)
        if name in self._special and (name == 'grad' or isinstance(args[0], torch.Tensor)):
            return self._special[name](func, args, kwargs)
        return self._operation(func, name, args, kwargs)

    def _operation(self, func, name, args, kwargs):
        tensors = tensors_in(args, kwargs)
        gpu = [x for x in tensors if on_gpu(x)]
        device = self._device_of_result(name, args, kwargs, gpu)
        self._check_generator(name, kwargs.get('generator'), device)
        self._check_arrivals(name, tensors)
        if gpu:
            self.calls[name] += 1
            self.given += 1
            self._check_operands(name, tensors, gpu)
            self._note_waits(name, args, kwargs)
        known = {id(x): place(x) for x in tensors}
        out = func(*args, **kwargs)
        if device is None:
            return out
        if isinstance(out, torch.Tensor) and known.get(id(out), device) != device and name in FACTORIES:
            out = out.clone()  # as_tensor(x, device=another)
            mark(out, device)
        for x in tensors_in(out):
            if id(x) not in known:
                mark(x, device)
        return out

    def _device_of_result(self, name, args, kwargs, gpu):
        """Return the claimed device of new tensors, None for that of torch; keep `device=` from torch."""
        if kwargs.get('device') is None:
            return place(gpu[0]) if gpu else None
        device = pretended_runtime.normal(kwargs['device'])
        if device.type == 'cuda':
            if os.getpid() != self._process:
                raise RuntimeError('Cannot re-initialize CUDA in forked subprocess')
            kwargs['device'] = CPU
            if name in FROM_HOST_DATA and not gpu:
                self._note(f'copy from ordinary memory, torch.{name}')
        elif gpu and name in FROM_HOST_DATA:
            self._note(f'copy to the host, torch.{name}')
        return device if device.type != 'meta' else None

    def _check_generator(self, name, generator, device):
        if generator is None or (device is not None and device.type == 'meta'):
            return
        wanted = device or CPU
        if generator.device != wanted:
            raise DeviceMismatch(
                f"Expected a '{wanted}' device type for generator but found '{generator.device}': {name} at "
                f'{where()}'
            )

    def _check_arrivals(self, name, tensors):
        if any(getattr(x, '_arrives', 0) > self._awaited for x in tensors):
            raise DeviceMismatch(f'{name} at {where()} reads a copy that may not have arrived yet')

    def _check_operands(self, name, tensors, gpu):
        if len({place(x) for x in gpu}) > 1:
            raise DeviceMismatch(f'two GPUs in {name} at {where()}')
        if name in FACTORIES | NO_KERNEL or name in ('copy_', '_foreach_copy_', '__getitem__', '__setitem__'):
            return
        host = [x for x in tensors if not on_gpu(x)]
        wrong = [x for x in host if x.ndim or name in NO_HOST_SCALARS]
        if not wrong and host and name.endswith('_') and not name.startswith('_') and tensors[0] is host[0]:
            wrong = host  # the result would have to be on the CPU
        if wrong:
            raise DeviceMismatch(
                f'Expected all tensors to be on the same device: {name} at {where()} with a CPU tensor '
                f'{list(wrong[0].shape)}'
            )

    def _note_waits(self, name, args, kwargs):
        if name in ('numpy', '__array__'):
            raise TypeError("can't convert a cuda tensor to numpy: use Tensor.cpu() first")
        if name in READS or (name == 'where' and len(args) == 1):
            self._note(f'read, {name}')
        elif name in ('__getitem__', '__setitem__', 'index_put', 'index_put_'):
            self._note_index(name, args[1])
        elif name == 'copy_':
            given = args[2] if len(args) > 2 else kwargs.get('non_blocking', False)
            self._note_copy(args[1], place(args[0]), given, name)
        elif name == '_foreach_copy_':
            for target, source in zip(args[0], args[1]):
                self._note_copy(source, place(target), False, name)

    def _note_index(self, name, index):
        for x in tensors_in(index):
            if x.dtype == torch.bool and name == '__getitem__':
                self._note('read, index by a mask')
            elif not on_gpu(x) and x.ndim:
                self._note('copy from ordinary memory, index on the CPU')
            elif x.ndim == 0 and on_gpu(x):
                self._note('read, index by a 0-dim tensor')

    # ------------------------------------------------------------------------------------------------
    # Attributes, such as x.device, x.grad, x.data = y.

    def _attribute(self, func, kind, name, args, kwargs):
        x = args[0]
        if kind == '__get__':
            return self._get(func, name, x, args, kwargs)
        if kind == '__set__' and name == 'grad' and isinstance(args[1], torch.Tensor):
            if place(args[1]) != place(x):
                raise DeviceMismatch(f'a gradient of another device is assigned at {where()}')
        out = func(*args, **kwargs)
        if kind == '__set__' and name == 'data' and place(args[1]) != place(x):
            mark(x, place(args[1]))
        return out

    def _get(self, func, name, x, args, kwargs):
        if name == 'device' and x.__dict__.get('_pretended') is not None:
            return place(x)
        if name in ('is_cuda', 'is_cpu'):
            return place(x).type == name[3:]
        out = func(*args, **kwargs)
        if isinstance(out, torch.Tensor) and on_gpu(x):
            mark(out, place(x))
        return out

    # ------------------------------------------------------------------------------------------------
    # Copies between devices.

    def _to(self, func, args, kwargs):
        x = args[0]
        device, dtype, non_blocking, options = parse_to(args[1:], kwargs)
        if x.device.type == 'meta' or (device is not None and torch.device(device).type == 'meta'):
            return func(*args, **kwargs)
        target = pretended_runtime.normal(device) if device is not None else place(x)
        if dtype is not None:
            options['dtype'] = dtype
        return self._move(x, target, non_blocking, options)

    def _to_cpu(self, func, args, kwargs):
        return self._move(args[0], CPU, False, {})

    def _to_cuda(self, func, args, kwargs):
        device = args[1] if len(args) > 1 else kwargs.get('device')
        target = pretended_runtime.normal('cuda' if device is None else device)
        return self._move(args[0], target, kwargs.get('non_blocking', False), {})

    def _move(self, x, target, non_blocking, options):
        if target.type == 'cuda' and os.getpid() != self._process:
            raise RuntimeError('Cannot re-initialize CUDA in forked subprocess')
        self._check_arrivals('to', [x])
        self._note_copy(x, target, non_blocking, 'to')
        out = x.to(**options) if options else x
        if out is x and place(x) != target:
            out = x.clone()
        if out is not x:
            self.calls['to'] += target.type == 'cuda'
            self.given += target.type == 'cuda'
            mark(out, target)
            if on_gpu(x) and target.type == 'cpu' and non_blocking:
                out._pinned, out._arrives = True, self.given
        return out

    def _note_copy(self, source, target, non_blocking, name):
        if place(source).type == target.type or not source.numel():
            return
        if target.type == 'cpu' and name == 'to' and non_blocking:
            self.copies += 1  # into pinned memory, which torch takes for it
            self.given += 1
        elif target.type == 'cpu':
            self._note(f'copy to the host, {name}')
        elif not getattr(source, '_pinned', False):
            self._note(f'copy from ordinary memory, {name}')
        elif not non_blocking:
            self._note(f'copy from pinned memory that is waited for, {name}')
        else:
            self.copies += 1

    def _pin_memory(self, func, args, kwargs):
        if on_gpu(args[0]):
            raise RuntimeError("cannot pin 'torch.cuda.FloatTensor' only dense CPU tensors can be pinned")
        out = args[0].clone()
        out._pinned = True
        return out

    # ------------------------------------------------------------------------------------------------
    # Others.

    def _grad(self, func, args, kwargs):
        inputs = args[1] if len(args) > 1 else kwargs['inputs']
        grads = func(*args, **kwargs)
        for grad, x in zip(grads, [inputs] if isinstance(inputs, torch.Tensor) else inputs):
            if grad is not None:
                mark(grad, place(x))
        return grads

    def _pickle(self, func, args, kwargs):
        claimed = args[0].__dict__.pop('_pretended', None)  # files hold what a CPU would have written
        try:
            return func(*args, **kwargs)
        finally:
            if claimed is not None:
                mark(args[0], claimed)

    def _note(self, what):
        self.waits[what, where()] += 1


def parse_to(args: Iterable[Any], kwargs: dict[str, Any]) -> tuple:
    """Read the arguments of Tensor.to, which come in any order: device, dtype, non_blocking, the others."""
    options = dict(kwargs)
    device, dtype = options.pop('device', None), options.pop('dtype', None)
    non_blocking, other = options.pop('non_blocking', False), options.pop('other', None)
    for value in args:
        if isinstance(value, bool):
            non_blocking = value
        elif isinstance(value, (str, int, torch.device)):
            device = value
        elif isinstance(value, torch.dtype):
            dtype = value
        elif isinstance(value, torch.Tensor):
            other = value
    return (device, dtype, non_blocking, options) if other is None else (
        place(other), other.dtype, non_blocking, options)  # fmt: skip


def where() -> str:
    """Return 'file:line function' of the innermost frame of the project, this harness aside."""
    frame = sys._getframe(1)
    while frame is not None:
        file = frame.f_code.co_filename
        inside = file.startswith(str(ROOT)) and 'site-packages' not in file
        if inside and not os.path.basename(file).startswith('pretended_'):
            return f'{os.path.relpath(file, ROOT)}:{frame.f_lineno} {frame.f_code.co_name}'
        frame = frame.f_back
    return '?'
