# Copyright 2026 The GDD-1S authors.
# SPDX-License-Identifier: Apache-2.0
"""Write networks as EDM-compatible persistent objects (version 6).

EDM pickles a network as the call `_reconstruct_persistent_obj(meta)`, where `meta` holds the
class name, the attributes and the complete source text of the module that defines the class.
EDM rebuilds the object by running that text. This module writes such files, so that EDM's and
GDD's own tools can read our snapshots; it never runs text out of a file. Reading is the work of
`training.snapshots.pickle_reader`, `training.snapshots.snapshot.load_network` and, where the user asks for it,
`training.snapshots.trusted_pickle`.
"""

import copy
import copyreg
import functools
import inspect
import io
import pickle
import struct
import sys
from collections import OrderedDict

import numpy as np
import torch

PERSISTENCE_VERSION = 6  # the only version that EDM's reader accepts
PICKLE_PROTOCOL = 4  # readable from Python 3.4 on; EDM's era default

# The bookkeeping attributes that torch 1.12 and every later torch need in order to revive a
# module, besides its tensors and children; newer versions fill in the rest by themselves.
# torch takes weak references to the hook dictionaries, so they must not be plain dicts.
HOOK_KEYS = (
    '_backward_hooks',
    '_is_full_backward_hook',
    '_forward_hooks',
    '_forward_pre_hooks',
    '_state_dict_hooks',
    '_load_state_dict_pre_hooks',
    '_load_state_dict_post_hooks',
)

# Storage class names of torch's legacy storage format.
STORAGE_CLASSES = {
    torch.float32: 'FloatStorage',
    torch.float16: 'HalfStorage',
    torch.bfloat16: 'BFloat16Storage',
    torch.float64: 'DoubleStorage',
    torch.int64: 'LongStorage',
    torch.int32: 'IntStorage',
    torch.int16: 'ShortStorage',
    torch.int8: 'CharStorage',
    torch.uint8: 'ByteStorage',
    torch.bool: 'BoolStorage',
}
LEGACY_MAGIC = 0x1950A86A20F9469CFC6C
LEGACY_PROTOCOL = 1001

_module_sources = {}  # module name -> source text as it was when the module was imported


def persistent_class(cls):
    """Mark a class as persistent and record the constructor arguments of its instances.

    Instances get `_init_kwargs` (dict), a deep copy of the arguments of the outermost constructor
    call, positional ones under their names, defaults not filled in; and `_init_args`, which is ()
    as in EDM's files; `init_args` and `init_kwargs` are copies of them. The class object stays the
    same, so isinstance checks, copy.deepcopy and ordinary pickling work as without it.

    Args:
        cls: Class defined at the top level of a module whose source file can be read.
    Returns:
        The same class.
    """
    constructor = cls.__init__
    names = list(inspect.signature(constructor).parameters)[1:]
    _remember_source(cls.__module__)

    @functools.wraps(constructor)
    def recording_constructor(self, *args, **kwargs):
        # A subclass calls this through super(): only the outermost class speaks for the object.
        if type(self) is not cls:
            constructor(self, *args, **kwargs)
            return
        # Copied first, because the constructor may change a list or dict it is given.
        recorded = copy.deepcopy({**dict(zip(names, args)), **kwargs})
        constructor(self, *args, **kwargs)
        self._init_args, self._init_kwargs = (), recorded

    cls.__init__ = recording_constructor
    cls.init_args = property(lambda self: copy.deepcopy(self._init_args))
    cls.init_kwargs = property(lambda self: copy.deepcopy(self._init_kwargs))
    cls._persistent_class_name = cls.__name__
    return cls


def is_persistent(obj):
    """Tell whether an object's own class (not only a base of it) is persistent."""
    return '_persistent_class_name' in type(obj).__dict__


def dump(obj, file):
    """Pickle containers, persistent objects and primitives in EDM's snapshot format.

    Network parts are written as a finished snapshot needs them, whatever state they are in:
    eval mode, no gradients, tensors float32 (integers keep their type), contiguous, on the CPU.
    The objects themselves are not changed.

    Args:
        obj:  Nested dict/list/tuple of None, bool, int, float, str, tensors and persistent objects.
        file: Binary file object to write to.
    Raises:
        ValueError: something in `obj` has no place in a snapshot; the message names it.
    """
    _SnapshotPickler(file, protocol=PICKLE_PROTOCOL).dump(plain_value(obj))


def plain_value(value, where='snapshot'):
    """Copy nested containers, turning NumPy scalars into Python numbers.

    NumPy scalars would tie the file to NumPy 1.x or 2.x, whose pickles differ.

    Args:
        value: Nested dict/list/tuple/set of primitives, tensors and persistent objects.
        where: Name of the value for the error message.
    Returns:
        The same structure with plain containers.
    Raises:
        ValueError: a leaf of another type.
    """
    if isinstance(value, np.generic):
        return value.item()
    if type(value) in (type(None), bool, int, float, str) or is_persistent(value):
        return value
    if isinstance(value, torch.Tensor):
        return value
    if isinstance(value, dict):
        return {plain_value(k, where): plain_value(v, f'{where}[{k!r}]') for k, v in value.items()}
    if isinstance(value, (list, tuple, set)):
        items = [plain_value(v, where) for v in value]
        return tuple(items) if isinstance(value, tuple) else set(items) if isinstance(value, set) else items
    raise ValueError(
        f'{where} is a {type(value).__name__}, which a snapshot cannot hold; '
        'use None, bool, int, float, str, dict, list, tuple or a persistent class'
    )


def _reconstruct_persistent_obj(_meta):
    """Refuse to revive an object: EDM's counterpart runs the source text found in the file."""
    raise pickle.UnpicklingError(
        'this snapshot carries program text that plain unpickling would run, so it is refused; '
        'read it with training.snapshots.snapshot.load_network'
    )


def register_source(module_name, source):
    """Give the source text of a module that was not imported from a file, before its classes are defined."""
    _module_sources[module_name] = source


def _remember_source(module_name):
    # Read once, at import: an edit of the file during a run must not end up in its snapshots,
    # and all parts of a network must share one identical text.
    if module_name not in _module_sources:
        try:
            _module_sources[module_name] = inspect.getsource(sys.modules[module_name])
        except (OSError, TypeError, KeyError):
            _module_sources[module_name] = None


class _SnapshotPickler(pickle.Pickler):
    """Pickler that reduces persistent objects and tensors to the forms EDM writes."""

    def reducer_override(self, obj):
        if isinstance(obj, torch.nn.Parameter):
            return torch._utils._rebuild_parameter, (_export_tensor(obj), False, OrderedDict())
        if isinstance(obj, torch.Tensor):
            tensor = _export_tensor(obj)
            args = (_StorageBytes(tensor), 0, tuple(tensor.shape), tensor.stride(), False, OrderedDict())
            return torch._utils._rebuild_tensor_v2, args
        if isinstance(obj, _StorageBytes):
            return torch.storage._load_from_bytes, (legacy_storage_bytes(obj.tensor),)
        if type(obj) is torch.nn.ModuleDict:
            return copyreg.__newobj__, (torch.nn.ModuleDict,), _module_state(obj)
        if is_persistent(obj):
            return _reconstruct_persistent_obj, (_meta(obj),)
        if isinstance(obj, torch.nn.Module):
            raise ValueError(
                f'a snapshot cannot hold the module {type(obj).__name__}; '
                'decorate its class with persistence.persistent_class'
            )
        return NotImplemented


class _StorageBytes:
    """Stand for the storage of one exported tensor inside the stream."""

    def __init__(self, tensor):
        self.tensor = tensor


def _export_tensor(tensor):
    tensor = tensor.detach()
    dtype = torch.float32 if tensor.is_floating_point() else tensor.dtype
    # `contiguous()` would leave odd strides of sides of length 1, by which convolutions choose their kernels.
    return tensor.to(device='cpu', dtype=dtype, copy=True, memory_format=torch.contiguous_format)


def _meta(obj):
    cls = type(obj)
    source = _module_sources.get(cls.__module__)
    if source is None:
        raise ValueError(
            f'class {cls.__name__} cannot be saved: the source file of module '
            f'{cls.__module__} cannot be read; define the class in a file'
        )
    state = _module_state(obj) if isinstance(obj, torch.nn.Module) else _attributes(obj, obj.__dict__)
    return {
        'type': 'class',
        'version': PERSISTENCE_VERSION,
        'module_src': source,
        'class_name': cls.__name__,
        'state': state,
    }


def _module_state(module):
    # The attribute dictionary of a torch module as torch 1.12 and later can both revive it.
    internal = torch.nn.Module().__dict__
    for key in internal:
        if key.endswith('_hooks') or '_hooks_' in key:
            if module.__dict__.get(key):
                raise ValueError(
                    f'{type(module).__name__} carries hooks ({key}), which a snapshot '
                    'cannot hold; remove them before saving'
                )
    state = {
        'training': False,
        '_parameters': OrderedDict(module._parameters),
        '_buffers': OrderedDict(module._buffers),
        '_non_persistent_buffers_set': set(module._non_persistent_buffers_set),
    }
    state.update((key, None if key == '_is_full_backward_hook' else OrderedDict()) for key in HOOK_KEYS)
    state['_modules'] = OrderedDict(module._modules)
    state.update(_attributes(module, {k: v for k, v in module.__dict__.items() if k not in internal}))
    return state


def _attributes(obj, attributes):
    name = type(obj).__name__
    return {key: plain_value(value, f'{name}.{key}') for key, value in attributes.items()}


class _LegacyStorageKey:
    """Stand for a storage class and its persistent id inside the legacy stream."""

    def __init__(self, tensor):
        self.tensor = tensor


class _LegacyPickler(pickle.Pickler):
    def persistent_id(self, obj):
        if isinstance(obj, _LegacyStorageKey):
            storage_class = getattr(torch, STORAGE_CLASSES[obj.tensor.dtype])
            return ('storage', storage_class, '0', 'cpu', obj.tensor.numel(), None)
        return None


def legacy_storage_bytes(tensor):
    """Encode the elements of a tensor in torch's legacy storage format.

    Five protocol-2 pickles (magic number, protocol, machine facts, storage reference, list of
    keys), then the element count (8 bytes) and the elements, all little-endian (as every machine
    this code runs on). Every torch version reads this through `torch.storage._load_from_bytes`.

    Args:
        tensor: Contiguous CPU tensor of a type in STORAGE_CLASSES.
    Returns:
        The bytes.
    """
    facts = {
        'protocol_version': LEGACY_PROTOCOL,
        'little_endian': True,
        'type_sizes': {'short': 2, 'int': 4, 'long': 4},
    }
    file = io.BytesIO()
    for head in (LEGACY_MAGIC, LEGACY_PROTOCOL, facts, _LegacyStorageKey(tensor), ['0']):
        _LegacyPickler(file, protocol=2).dump(head)
    file.write(struct.pack('<q', tensor.numel()))
    file.write(tensor.reshape(-1).view(torch.uint8).numpy().tobytes())
    return file.getvalue()
